#include <criterion/criterion.h>

#include "proxy/session/names.h"

static struct names names;

static void forget_everything(void)
{
    names_free(&names);
}

TestSuite(names, .fini = forget_everything);

static struct prepared *prepare(const char *name, const char *sql, uint64_t unit)
{
    struct sql_options options = { .standard_conforming_strings = true, .encoding = encoding_utf8() };
    struct prepared *p = names_prepare(&names, span_of(name), span_of(sql), &options);
    p->unit = unit;
    return p;
}

static struct prepared *find(const char *name)
{
    return names_find(&names, span_of(name));
}

static const char *text_of(const char *name)
{
    const struct prepared *p = find(name);
    return p ? p->text : "(none)";
}

/* --- statements -------------------------------------------------------------------------------- */

Test(names, so_much_text_is_kept_and_no_more)
{
    static char text[NAMES_BYTES_MAX / 2 + 1];
    memset(text, ' ', sizeof text - 1);
    memcpy(text, "COMMIT", 6);
    prepare("a", text, 1);
    prepare("a", text, 2); /* shadows the first until it is confirmed */
    cr_assert(names_are_many(&names));
    names_confirm(&names, find("a"));
    cr_expect_not(names_are_many(&names));
    prepare("b", text, 2);
    cr_assert(names_are_many(&names));
    names_forget(&names, span_of("b"));
    cr_expect_not(names_are_many(&names));
    names_forget_all(&names);
    cr_expect_eq(names.prepared_bytes, 0);
}

Test(names, a_statement_is_found_by_its_name_and_knows_what_it_is)
{
    prepare("a", "COMMIT", 1);
    prepare("b", "SELECT pg_notify($1, $2)", 1);

    cr_expect_eq(find("a")->statement.kind, STATEMENT_COMMIT);
    cr_expect_eq(find("b")->statement.kind, STATEMENT_PG_NOTIFY);
    cr_expect_null(find("c"));
    cr_expect_null(find(""));
}

Test(names, a_statement_owns_its_text)
{
    char sql[] = "SAVEPOINT s";
    struct sql_options options = { .standard_conforming_strings = true, .encoding = encoding_utf8() };
    struct prepared *p = names_prepare(&names, span_of("a"), span_of(sql), &options);
    memset(sql, 'x', sizeof sql - 1);

    cr_expect(span_is(p->statement.text, "SAVEPOINT s"));
    cr_expect(span_is(p->statement.name.raw, "s"));
}

Test(names, the_unnamed_statement_takes_the_place_of_the_older)
{
    prepare("", "BEGIN", 1);
    prepare("", "COMMIT", 1);

    cr_expect_str_eq(text_of(""), "COMMIT");
    names_forget(&names, span_of(""));
    cr_expect_null(find(""));
}

Test(names, P4_a_parse_that_an_error_made_the_server_skip_is_undone)
{
    names_confirm(&names, prepare("kept", "BEGIN", 7));
    prepare("skipped", "COMMIT", 7);
    prepare("later", "ROLLBACK", 8);

    names_undo(&names, 7);
    cr_expect_str_eq(text_of("kept"), "BEGIN", "its ParseComplete had come");
    cr_expect_null(find("skipped"));
    cr_expect_str_eq(text_of("later"), "ROLLBACK", "the error was not in its unit");
}

Test(names, P4_a_parse_of_a_name_in_use_fails_and_leaves_the_older)
{
    names_confirm(&names, prepare("a", "BEGIN", 1));
    prepare("a", "COMMIT", 2);

    names_undo(&names, 2); /* 42P05 */
    cr_expect_str_eq(text_of("a"), "BEGIN");
}

Test(names, P4_a_parse_that_succeeded_proves_that_the_older_was_gone)
{
    names_confirm(&names, prepare("a", "BEGIN", 1));
    names_confirm(&names, prepare("b", "SAVEPOINT s", 1));
    names_confirm(&names, prepare("a", "COMMIT", 2));

    cr_expect_str_eq(text_of("a"), "COMMIT");
    names_forget(&names, span_of("a"));
    cr_expect_null(find("a"), "only one was left");
    cr_expect_str_eq(text_of("b"), "SAVEPOINT s");
}

Test(names, P4_one_is_forgotten_though_another_has_its_name)
{
    struct prepared *closed = prepare("a", "BEGIN", 1);
    names_confirm(&names, closed);
    prepare("a", "COMMIT", 2);

    names_forget_one(&names, closed);
    cr_expect_str_eq(text_of("a"), "COMMIT");
}

Test(names, P4_deallocate_all_forgets_everything)
{
    prepare("a", "BEGIN", 1);
    prepare("", "COMMIT", 1);
    names_forget_all(&names);

    cr_expect_null(names.prepared);
}

/* --- portals ----------------------------------------------------------------------------------- */

Test(names, P4_closing_a_portal_is_not_closing_a_statement)
{
    struct prepared *p = prepare("a", "BEGIN", 1);
    names_bind(&names, span_of("a"), p);

    names_unbind(&names, span_of("a"));
    cr_expect_null(names_portal(&names, span_of("a")));
    cr_expect_str_eq(text_of("a"), "BEGIN");
}

Test(names, P4_a_portal_keeps_the_statement_that_it_was_bound_to)
{
    names_bind(&names, span_of("p"), prepare("", "BEGIN", 1));
    prepare("", "COMMIT", 1);
    names_forget_all(&names);

    cr_expect_eq(names_portal(&names, span_of("p"))->prepared->statement.kind, STATEMENT_BEGIN);
}

Test(names, R14_a_second_bind_takes_the_place_of_the_first)
{
    names_bind(&names, span_of(""), prepare("a", "BEGIN", 1));
    names_bind(&names, span_of(""), prepare("b", "COMMIT", 1));

    cr_expect_eq(names_portal(&names, span_of(""))->prepared->statement.kind, STATEMENT_COMMIT);
    names_unbind(&names, span_of(""));
    cr_expect_null(names_portal(&names, span_of("")));
}

Test(names, R14_all_portals_go_at_the_end_of_a_transaction)
{
    struct prepared *p = prepare("a", "BEGIN", 1);
    names_bind(&names, span_of(""), p);
    names_bind(&names, span_of("p"), p);
    names_unbind_all(&names);

    cr_expect_null(names.portals);
    cr_expect_eq(p->references, 1);
}

/* --- cursors ----------------------------------------------------------------------------------- */

Test(names, R14_a_cursor_is_remembered_once_with_what_was_said_last)
{
    names_add_cursor(&names, span_of("c"), false, true);
    names_add_cursor(&names, span_of("d"), true, false);
    names_add_cursor(&names, span_of("c"), true, false);

    cr_expect_str_eq(names.cursors->name, "c");
    cr_expect(names.cursors->in_client);
    cr_expect_not(names.cursors->at_sync);
    names_drop_cursor(&names, span_of("c"));
    names_drop_cursor(&names, span_of("unknown"));
    cr_expect_str_eq(names.cursors->name, "d");
    cr_expect_null(names.cursors->next);
}
