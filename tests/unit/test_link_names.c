/* What a client's names stand for: handles.h over statements.h. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "proxy/link/handles.h"
#include "tests/unit/statements.h"

/* A Parse's body behind its name: the text, and that it declares no types. To be let go. */
static struct shared_statement *share(struct statements *all, const char *text)
{
    char body[64] = "";
    struct sql_options usual = standard();
    snprintf(body, sizeof body - 3, "%s", text);
    return statements_share(all, span_make(body, strlen(text) + 3), false, &usual);
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
    struct shared_statement *a = statements_share(all, body, false, &usual);
    struct shared_statement *b = statements_share(all, body, false, &other);
    struct shared_statement *c = statements_share(all, body, true, &usual);
    cr_assert(a != b && a != c && b != c);
    statements_release(all, a);
    statements_release(all, b);
    statements_release(all, c);
    statements_free(all);
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
        struct shared_statement *s = statements_share(all, body, rows[i].by_sql, &usual);
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
