/* What a client's names stand for: handles.h over statements.h. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "proxy/link/handles.h"
#include "proxy/link/meaning.h"
#include "tests/unit/statements.h"

/* A Parse's body behind its name: the text, and that it declares no types. To be let go. */
static struct shared_statement *share(struct statements *all, const char *text)
{
    char body[64] = "";
    struct sql_options usual = standard();
    snprintf(body, sizeof body - 3, "%s", text);
    return statements_share(all, 0, span_make(body, strlen(text) + 3), false, &usual, 0);
}

Test(statements, P4_the_same_text_is_one_statement_under_one_name_on_servers)
{
    struct statements *all = statements_new();
    struct shared_statement *a = share(all, "SELECT 1"), *b = share(all, "SELECT 1"), *c = share(all, "SELECT 2");
    cr_assert_eq(a, b);
    cr_assert_neq(a, c);
    cr_assert_str_neq(a->name, c->name);
    cr_assert(span_is(shared_statement_text(a), "SELECT 1"));
    statements_release(all, a);
    statements_release(all, b);
    statements_release(all, c);
    statements_free(all);
}

Test(statements, P4_what_is_read_in_another_way_is_another_statement)
{
    struct statements *all = statements_new();
    struct sql_options usual = standard(), other = standard();
    other.standard_conforming_strings = false;
    struct span body = span_make("SELECT '\\'\0\0", 13);
    struct shared_statement *a = statements_share(all, 0, body, false, &usual, 0);
    struct shared_statement *b = statements_share(all, 0, body, false, &other, 0);
    struct shared_statement *c = statements_share(all, 0, body, true, &usual, 0);
    cr_assert(a != b && a != c && b != c);
    statements_release(all, a);
    statements_release(all, b);
    statements_release(all, c);
    statements_free(all);
}

Test(statements, P4_a_text_that_means_something_else_is_another_statement_and_one_of_nobody_knows_what_is_each_time)
{
    struct statements *all = statements_new();
    struct sql_options usual = standard();
    struct span body = span_make("SELECT 1\0\0", 11);
    static const struct {
        uint64_t first, second;
        bool shared;
    } rows[] = { { 0, 0, true }, { 7, 7, true }, { 0, 7, false }, { MEANING_OF_ONE, MEANING_OF_ONE, false } };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct shared_statement *a = statements_share(all, 0, body, false, &usual, rows[i].first);
        struct shared_statement *b = statements_share(all, 0, body, false, &usual, rows[i].second);
        cr_expect_eq(a == b, rows[i].shared, "%zu", i);
        statements_release(all, a);
        statements_release(all, b);
    }
    statements_free(all);
}

Test(statements, P4_clients_of_different_pools_share_nothing)
{
    struct statements *all = statements_new();
    struct sql_options usual = standard();
    struct span body = span_make("SELECT 1\0\0", 11);
    struct shared_statement *a = statements_share(all, 1, body, false, &usual, 0);
    struct shared_statement *b = statements_share(all, 2, body, false, &usual, 0);
    struct shared_statement *c = statements_share(all, 1, body, false, &usual, 0);
    cr_assert_neq(a, b);
    cr_assert_eq(a, c);
    statements_release(all, a);
    statements_release(all, b);
    statements_release(all, c);
    statements_free(all);
}

/* Takes the settings. */
static uint64_t meaning_of(struct statements *all, const char *name, const char *value)
{
    struct parameters *p = parameters_with(parameters_none(), span_of(name), span_of(value));
    uint64_t meaning = statements_meaning(all, p);
    parameters_release(p);
    return meaning;
}

Test(statements, P4_settings_that_decide_what_a_text_means_are_told_apart_by_a_number)
{
    enum { MANY = 1100 };
    struct statements *all = statements_new();
    uint64_t utc = meaning_of(all, "TimeZone", "UTC");
    cr_assert_eq(meaning_of(all, "work_mem", "3MB"), 0);
    cr_assert_neq(utc, 0);
    cr_assert_eq(meaning_of(all, "timezone", "UTC"), utc);
    cr_assert_neq(meaning_of(all, "timezone", "Japan"), utc);
    cr_assert_neq(meaning_of(all, "search_path", "UTC"), utc);
    for (int i = 0; i < MANY; i++) {
        char path[32];
        snprintf(path, sizeof path, "tenant_%d", i);
        cr_assert_neq(meaning_of(all, "search_path", path), utc, "a number is never given twice");
    }
    char *longest = calloc(1, 10000);
    memset(longest, 'x', 9999);
    cr_assert_eq(meaning_of(all, "search_path", longest), MEANING_OF_ONE, "what is very long is not kept");
    free(longest);
    statements_free(all);
}

Test(meaning, P4_a_literal_may_stand_for_the_moment_in_which_it_is_read)
{
    static const struct {
        const char *sql;
        bool is;
    } rows[] = {
        { "SELECT 'now'::timestamptz", true },
        { "SELECT date $$ Today $$", true },
        { "SELECT 'TOMORROW 12:00'", true },
        { "SELECT date 'yesterday'", true },
        { "SELECT now(), today FROM now", false },
        { "SELECT 'unknown', 'nowhere', 'is_now'", false },
        { "SELECT 1 -- 'now'", false },
        { "", false },
    };
    struct sql_options options = standard();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect_eq(meaning_is_of_the_moment(span_of(rows[i].sql), &options), rows[i].is, "%s", rows[i].sql);
}

Test(statements, P4_a_statement_that_nobody_uses_is_kept_for_who_comes_back_until_there_are_many)
{
    enum { MANY = 1100 };
    struct statements *all = statements_new();
    struct shared_statement *s = share(all, "SELECT 1");
    uint64_t id = s->id;
    statements_release(all, s);
    s = share(all, "SELECT 1");
    cr_assert_eq(s->id, id);
    statements_release(all, s);
    for (int i = 0; i < MANY; i++) {
        char text[32];
        snprintf(text, sizeof text, "SELECT 1 + %d", i);
        statements_release(all, share(all, text));
    }
    s = share(all, "SELECT 1");
    cr_assert_neq(s->id, id, "an id is never given twice");
    statements_release(all, s);
    statements_free(all);
}

Test(statements, P5_a_statement_knows_whether_running_it_leaves_something_behind)
{
    struct statements *all = statements_new();
    struct sql_options usual = standard();
    static const struct {
        const char *text;
        bool by_sql, leaves;
    } rows[] = {
        { "SELECT 1", false, false },
        { "SET a.b = 1", false, true },
        { " (int) AS SELECT $1", true, false },
        { " AS SELECT set_config('a.b', 'c', false)", true, true },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct span body = span_make(rows[i].text, strlen(rows[i].text) + !rows[i].by_sql);
        struct shared_statement *s = statements_share(all, 0, body, rows[i].by_sql, &usual, 0);
        cr_expect_eq(s->leaves_state, rows[i].leaves, "%s", rows[i].text);
        statements_release(all, s);
    }
    statements_free(all);
}

Test(handles, P4_a_name_stands_for_what_it_was_set_to_last)
{
    struct statements *all = statements_new();
    struct handles h = { 0 };
    struct shared_statement *one = share(all, "SELECT 1"), *two = share(all, "SELECT 2");
    cr_assert_null(handles_find(&h, span_of("a")));
    cr_assert_null(handles_set(&h, span_of("a"), one));
    cr_assert_eq(handles_set(&h, span_of("a"), two), one, "the caller gets what it stood for");
    cr_assert_eq(handles_find(&h, span_of("a")), two);
    cr_assert_null(handles_find(&h, span_of("A")));
    cr_assert_str_eq(handles_find_there(&h, span_of(two->name))->name, "a");
    cr_assert_null(handles_find_there(&h, span_of(one->name)));
    cr_assert_eq(handles_set(&h, span_of("a"), NULL), two);
    cr_assert_null(handles_set(&h, span_of("a"), NULL));
    cr_assert_eq(h.count, 0);
    statements_release(all, one);
    statements_release(all, two);
    handles_free(&h, all);
    statements_free(all);
}

Test(handles, P4_thousands_of_names_are_all_found)
{
    enum { MANY = 3000 };
    struct statements *all = statements_new();
    struct handles h = { 0 };
    struct shared_statement *s = share(all, "SELECT 1");
    char name[16];
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "s%d", i);
        handles_set(&h, span_of(name), shared_statement_retain(s));
    }
    cr_assert_eq(h.count, MANY);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "s%d", i);
        cr_assert_eq(handles_find(&h, span_of(name)), s, "%s", name);
    }
    statements_release(all, s);
    handles_free(&h, all);
    statements_free(all);
}

Test(statements, P4_all_of_them_take_so_much_memory_and_no_more)
{
    enum { BYTES = 4000 };
    struct statements *all = statements_new_of(BYTES);
    struct shared_statement *list[BYTES];
    size_t count = 0;
    char text[20];
    do {
        snprintf(text, sizeof text, "SELECT %zu", count);
    } while ((list[count] = share(all, text)) != NULL && ++count < BYTES);
    cr_assert(count > 1 && count < BYTES / sizeof **list + 1, "%zu", count);
    struct shared_statement *again = share(all, "SELECT 0");
    cr_assert_eq(again, list[0], "what is there already can be had");
    statements_release(all, again);
    for (size_t i = 0; i < count; i++)
        statements_release(all, list[i]);
    statements_free(all);
}

Test(statements, P4_what_nobody_uses_gives_way)
{
    struct statements *all = statements_new_of(4000);
    char text[20];
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "SELECT %d", i);
        struct shared_statement *s = share(all, text);
        cr_assert_not_null(s, "%d", i);
        statements_release(all, s);
    }
    statements_free(all);
}

Test(handles, P4_a_client_is_told_once_of_columns_that_have_changed_unless_it_has_seen_them)
{
    struct statements *all = statements_new();
    struct handles mine = { 0 }, others = { 0 };
    struct shared_statement *s = share(all, "TABLE t");
    handles_set(&mine, span_of("a"), s);
    handles_set(&mine, span_of("b"), shared_statement_retain(s));
    handles_set(&others, span_of("c"), shared_statement_retain(s));
    s->columns = 1000;
    handles_note_change(&mine, s->id);
    cr_assert_eq(s->columns, COLUMNS_CHANGED, "nobody knows what they are");
    cr_assert_not(handles_tell_change(&mine, span_of("a")) || handles_tell_change(&mine, span_of("b")));
    cr_assert(handles_tell_change(&others, span_of("c")));
    cr_assert_not(handles_tell_change(&others, span_of("c")), "once");
    s->changes++;
    handles_see(&mine, span_of("a"), s);
    cr_assert_not(handles_tell_change(&mine, span_of("a")));
    cr_assert(handles_tell_change(&mine, span_of("b")));
    handles_outdate(&mine, span_of("a"));
    cr_assert(handles_tell_change(&mine, span_of("a")));
    s->columns = COLUMNS_UNKNOWN;
    handles_note_change(&mine, s->id);
    cr_assert_eq(s->columns, COLUMNS_UNKNOWN, "nobody has asked for them");
    handles_see(&mine, span_of("nothing"), s);
    handles_outdate(&mine, span_of("nothing"));
    handles_free(&mine, all);
    handles_free(&others, all);
    statements_free(all);
}

Test(handles, P4_a_client_has_room_for_so_many_bytes_and_no_more)
{
    static char text[HANDLE_BYTES_MAX];
    struct statements *all = statements_new();
    struct handles h = { 0 };
    struct sql_options usual = standard();
    char name[24];
    memset(text, 'x', sizeof text - 3);
    cr_expect_not(handles_have_room(&h, HANDLE_BYTES_MAX + 1));
    for (int round = 0; round < 2; round++) {
        size_t count = 0;
        struct span body = span_make(text, sizeof text - sizeof name);
        for (; handles_have_room(&h, body.size + sizeof name); count++) {
            snprintf(name, sizeof name, "%7zu", count);
            handles_set(&h, span_of(name), statements_share(all, 0, body, true, &usual, 0));
        }
        cr_expect_eq(count, HANDLES_BYTES_MAX / HANDLE_BYTES_MAX);
        while (count-- > 0) {
            snprintf(name, sizeof name, "%7zu", count);
            statements_release(all, handles_set(&h, span_of(name), NULL));
        }
        cr_expect_eq(h.bytes, 0);
    }
    handles_free(&h, all);
    statements_free(all);
}
