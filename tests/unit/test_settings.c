#include <criterion/criterion.h>

#include "proxy/session/settings.h"

static void remember(struct settings *s, const char *name, const char *sql)
{
    settings_remember(s, span_of(name), span_of(sql), 0);
}

static void remember_behind(struct settings *s, size_t savepoints, const char *name, const char *sql)
{
    settings_remember(s, span_of(name), span_of(sql), savepoints);
    settings_end_unit(s, false);
}

/* What is said again, whole. */
static void expect_said(const struct settings *s, const char *want)
{
    struct buffer out = { 0 };
    settings_append(s, &out);
    cr_expect(span_is(buffer_span(&out), want), "<%.*s>, not <%s>", (int)out.size, out.data, want);
    buffer_free(&out);
}

Test(settings, R16_settings_are_said_again_as_they_were_written_and_in_their_order)
{
    struct settings s = { 0 };
    remember(&s, "search_path", "SET search_path = a, b");
    remember(&s, "work_mem", "SET SESSION work_mem TO '4MB' -- much");
    expect_said(&s, "SET search_path = a, b\n;SET SESSION work_mem TO '4MB' -- much\n;");
    settings_free(&s);
}

Test(settings, R16_the_newest_statement_for_a_name_takes_the_place_of_the_older)
{
    struct settings s = { 0 };
    remember(&s, "a", "SET a = 1");
    remember(&s, "b", "SET b = 1");
    remember(&s, "a", "RESET a");
    expect_said(&s, "SET b = 1\n;RESET a\n;");
    settings_end_unit(&s, false);
    remember_behind(&s, 0, "b", "SET b = 2");
    expect_said(&s, "RESET a\n;SET b = 2\n;");
    settings_free(&s);
}

Test(settings, R16_statements_without_a_name_are_all_kept)
{
    struct settings s = { 0 };
    remember(&s, "", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY");
    remember(&s, "", "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE");
    settings_end_unit(&s, false);
    cr_expect_eq(s.count, 2);
    settings_free(&s);
}

Test(settings, R16_what_a_failed_string_set_is_forgotten_and_what_it_replaced_is_not)
{
    struct settings s = { 0 };
    remember(&s, "a", "SET a = 1");
    remember(&s, "b", "SET b = 1");
    settings_end_unit(&s, false);
    remember(&s, "a", "SET a = 2");
    remember(&s, "c", "SET c = 2");
    settings_end_unit(&s, true);
    expect_said(&s, "SET a = 1\n;SET b = 1\n;");
    settings_free(&s);
}

Test(settings, R16_rolling_back_to_a_savepoint_forgets_what_was_set_behind_it)
{
    struct settings s = { 0 };
    remember_behind(&s, 0, "a", "SET a = 0");
    remember_behind(&s, 1, "a", "SET a = 1");
    remember_behind(&s, 2, "a", "SET a = 2");
    expect_said(&s, "SET a = 0\n;SET a = 1\n;SET a = 2\n;");
    settings_rollback_to(&s, 2);
    expect_said(&s, "SET a = 0\n;SET a = 1\n;");
    settings_rollback_to(&s, 1);
    expect_said(&s, "SET a = 0\n;");
    settings_free(&s);
}

Test(settings, R16_releasing_a_savepoint_merges_upward)
{
    struct settings s = { 0 };
    remember_behind(&s, 2, "a", "SET a = 2");
    settings_release(&s, 1);
    settings_rollback_to(&s, 2);
    expect_said(&s, "SET a = 2\n;");
    settings_release(&s, 0);
    settings_rollback_to(&s, 1);
    expect_said(&s, "SET a = 2\n;");
    remember_behind(&s, 0, "a", "SET a = 3");
    expect_said(&s, "SET a = 3\n;");
    settings_free(&s);
}

Test(settings, R16_what_was_committed_need_not_be_said_again)
{
    struct settings s = { 0 };
    remember(&s, "a", "SET a = 1");
    settings_forget(&s);
    expect_said(&s, "");
    remember(&s, "a", "SET a = 2");
    expect_said(&s, "SET a = 2\n;");
    settings_free(&s);
}

Test(settings, R16_setting_one_name_for_ever_needs_no_more_room_than_setting_it_twice)
{
    struct settings s = { 0 };
    for (int i = 0; i < 100000; i++) {
        remember(&s, "a", i % 2 ? "SET a = 1" : "SET a = 2");
        if (i % 3 == 0)
            settings_end_unit(&s, i % 2);
    }
    cr_expect_leq(s.count, 2);
    cr_expect_leq(s.capacity, 4);
    settings_free(&s);
}
