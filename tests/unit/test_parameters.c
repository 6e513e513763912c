#include <criterion/criterion.h>

#include "proxy/link/parameters.h"

static struct parameters *with(struct parameters *take, const char *name, const char *value)
{
    return parameters_with(take, span_of(name), value != NULL ? span_of(value) : (struct span){ 0 });
}

Test(parameters, P5_a_set_that_changes_is_a_new_one_and_the_old_one_stays)
{
    struct parameters *old = with(parameters_none(), "a.b", "1");
    struct parameters *new = with(parameters_retain(old), "a.b", "2");
    cr_assert_str_eq(parameters_value(old, span_of("a.b")), "1");
    cr_assert_str_eq(parameters_value(new, span_of("a.b")), "2");
    cr_assert_not(parameters_equal(old, new));
    parameters_release(old);
    parameters_release(new);
}

Test(parameters, P5_a_change_that_changes_nothing_is_the_same_set)
{
    struct parameters *p = with(parameters_none(), "a.b", "1");
    cr_assert_eq(with(p, "A.B", "1"), p);
    cr_assert_eq(with(p, "a.c", NULL), p);
    parameters_release(p);
}

Test(parameters, P5_names_are_compared_without_regard_to_case_and_kept_as_they_came_first)
{
    struct parameters *p = with(with(with(parameters_none(), "TimeZone", "UTC"), "a.b", "1"), "TIMEZONE", "CET");
    cr_assert_eq(parameters_count(p), 2);
    cr_assert_str_eq(parameters_value(p, span_of("timezone")), "CET");
    cr_assert_null(parameters_value(p, span_of("timezones")));
    cr_assert_str_eq(parameters_at(p, 0)->name, "a.b", "in the order of their names");
    p = with(p, "timezone", NULL);
    cr_assert_null(parameters_value(p, span_of("TimeZone")));
    parameters_release(p);
}

Test(parameters, P5_sets_are_equal_however_they_came_to_be)
{
    struct parameters *a = with(with(parameters_none(), "x.a", "1"), "x.b", "");
    struct parameters *b = with(with(with(parameters_none(), "X.B", ""), "x.c", "3"), "x.a", "1");
    cr_assert_not(parameters_equal(a, b));
    b = with(b, "x.c", NULL);
    cr_assert(parameters_equal(a, b));
    parameters_release(a);
    parameters_release(b);
}

Test(parameters, P5_a_setting_goes_with_its_role_which_makes_no_set_another)
{
    struct parameters *plain = with(parameters_none(), "x.a", "1");
    struct parameters *p = parameters_with_role(parameters_retain(plain), span_of("x.a"), span_of("1"), "strong");
    cr_assert_neq(p, plain);
    cr_assert(parameters_equal(p, plain));
    cr_assert_null(parameters_at(plain, 0)->role);
    p = with(p, "x.b", "2");
    cr_assert_str_eq(parameters_at(p, 0)->role, "strong", "also in what is made of it");
    parameters_release(plain);
    parameters_release(p);
}

Test(parameters, P2_a_set_knows_its_size_however_it_came_to_be)
{
    struct parameters *p = parameters_with(parameters_none(), span_of("a"), span_of("12"));
    struct parameters *kept = parameters_retain(p);
    p = parameters_with(p, span_of("b"), span_of("1"));
    cr_expect_eq(parameters_size(p), 5);
    p = parameters_with(p, span_of("A"), span_of("1234"));
    p = parameters_with(p, span_of("c"), span_of(""));
    cr_expect_eq(parameters_size(p), 8);
    p = parameters_with(p, span_of("b"), (struct span){ 0 });
    cr_expect_eq(parameters_size(p), 6);
    cr_expect_eq(parameters_size(kept), 3);
    cr_expect_eq(parameters_size(parameters_none()), 0);
    parameters_release(kept);
    parameters_release(p);
}
