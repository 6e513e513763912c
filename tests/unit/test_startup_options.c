#include <criterion/criterion.h>

#include "proxy/pool/startup_options.h"

static const struct {
    const char *name, *options, *want; /* want NULL: it is not set */
} rows[] = {
    { "short", "-c pgatomic.request=/a", "/a" },
    { "short, one word", "-cpgatomic.request=/a", "/a" },
    { "long", "--pgatomic.request=/a", "/a" },
    { "among others", "-c work_mem=1MB -c pgatomic.request=/a -c geqo=off", "/a" },
    { "the last one counts", "-c pgatomic.request=/a --pgatomic.request=/b", "/b" },
    { "escaped blanks", "-c pgatomic.request=/a\\ b\\\\c", "/a b\\c" },
    { "any blanks", " \t-c\n pgatomic.request=/a ", "/a" },
    { "any case", "-c PgAtomic.Request=/A", "/A" },
    { "empty value", "-c pgatomic.request=", "" },
    { "equals signs in it", "-c pgatomic.request=a=b", "a=b" },
    { "nothing", "", NULL },
    { "another", "-c pgatomic.requests=/a", NULL },
    { "no value", "-c pgatomic.request", NULL },
    { "nothing behind -c", "-c", NULL },
    { "other flags", "-d 5 -e pgatomic.request=/a", NULL },
    { "ends in a backslash", "-c pgatomic.request=/a\\", "/a" },
};

Test(startup_options, the_label_is_found_where_postgresql_would_find_a_setting)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buffer value = { 0 };
        bool found = startup_option(span_of(rows[i].options), "pgatomic.request", &value);
        cr_assert_eq(found, rows[i].want != NULL, "%s", rows[i].name);
        if (found)
            cr_assert(span_is(buffer_span(&value), rows[i].want), "%s: %.*s", rows[i].name, (int)value.size,
                      value.data);
        buffer_free(&value);
    }
}

Test(startup_options, what_was_in_the_buffer_stays)
{
    struct buffer value = { 0 };
    buffer_append_text(&value, "before ");
    cr_assert(startup_option(span_of("-c a.b=1 -c a.b=2"), "a.b", &value));
    cr_assert(span_is(buffer_span(&value), "before 2"));
    buffer_free(&value);
}

Test(startup_options, P3_what_is_no_setting_is_odd)
{
    static const char *const odd[] = { "-c", "-c a", "-d 5", "-e", "nonsense", "-c a=1 -s", "--a", "a=1" };
    static const char *const usual[] = { "", "  ", "-c a=", "--a=1 -c b=2 -cc=3" };
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        cr_assert(startup_options_are_odd(span_of(odd[i])), "%s", odd[i]);
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        cr_assert_not(startup_options_are_odd(span_of(usual[i])), "%s", usual[i]);
}

Test(startup_options, dashes_in_a_name_are_underscores)
{
    struct buffer value = { 0 };
    cr_assert(startup_option(span_of("--work-mem=1-2"), "work_mem", &value));
    cr_assert(span_is(buffer_span(&value), "1-2"));
    buffer_free(&value);
}

Test(startup_options, R2_replication_is_what_postgresql_takes_for_it)
{
    static const char *const yes[] = { "database", "true", "on", "yes", "1", "t", "TRUE", "y" };
    static const char *const no[] = { "", "false", "off", "no", "0", "f", "o", "truest", "databases", "2" };
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        cr_assert(startup_replication(span_of(yes[i])), "%s", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        cr_assert_not(startup_replication(span_of(no[i])), "%s", no[i]);
}
