#include <criterion/criterion.h>
#include <stdlib.h>

#include "proxy/session/plan.h"

/* A rewritten string, built as the session builds one: the client's own statements between brackets, ours outside. In
 *     "BEGIN;" "[SELECT 1;]" "{NOTIFY x;}" "[SELECT 2]"
 * {…} is a statement of the client's that the server never gets. */
struct rewriting {
    struct plan *plan;
    struct buffer client; /* the string as the client sent it */
    const struct encoding *encoding;
};

static struct rewriting open_rewriting(const char *encoding)
{
    struct plan *plan = calloc(1, sizeof *plan);
    cr_assert_not_null(plan);
    return (struct rewriting){ .plan = plan, .encoding = encoding_find(span_of(encoding)) };
}

static void close_rewriting(struct rewriting *r)
{
    plan_free(r->plan);
    buffer_free(&r->client);
}

static void client(struct rewriting *r, const char *sql)
{
    plan_append_client(r->plan, span_of(sql), encoding_count(r->encoding, buffer_span(&r->client)));
    buffer_append_text(&r->client, sql);
}

static void kept_back(struct rewriting *r, const char *sql)
{
    buffer_append_text(&r->client, sql);
}

static void ours(struct rewriting *r, const char *sql)
{
    plan_append_ours(r->plan, span_of(sql));
}

/* Where `needle` begins, in characters from 1. */
static size_t position_in(struct span text, const char *needle, const struct encoding *encoding)
{
    const char *at = memmem(text.data, text.size, needle, strlen(needle));
    cr_assert_not_null(at, "%s", needle);
    return encoding_count(encoding, span_make(text.data, (size_t)(at - text.data))) + 1;
}

/* An error at `needle` in the server's string is one at `needle` in the client's. */
static void expect_found(const struct rewriting *r, const char *needle)
{
    size_t server = position_in(buffer_span(&r->plan->text), needle, r->encoding);
    size_t want = position_in(buffer_span(&r->client), needle, r->encoding);
    size_t got = plan_client_position(r->plan, r->encoding, server);
    cr_expect_eq(got, want, "%s: %zu of the server's is %zu, not %zu", needle, server, got, want);
}

Test(plan, R13_a_string_is_one_string_again_with_every_statement_closed)
{
    struct rewriting r = open_rewriting("UTF8");

    ours(&r, "BEGIN");
    client(&r, "SELECT 1;");
    client(&r, " SELECT 2 -- no semicolon");
    ours(&r, "COMMIT");
    cr_expect(span_is(buffer_span(&r.plan->text), "BEGIN;SELECT 1;\n; SELECT 2 -- no semicolon\n;COMMIT;"));
    close_rewriting(&r);
}

Test(plan, R13_positions_behind_what_is_longer_or_shorter_or_gone_are_those_of_the_clients_string)
{
    struct rewriting r = open_rewriting("UTF8");

    ours(&r, "BEGIN ISOLATION LEVEL SERIALIZABLE");
    client(&r, "SELECT first;");
    kept_back(&r, " NOTIFY x, 'long enough to matter';");
    client(&r, " SELECT second;");
    ours(&r, "SAVEPOINT pgatomic_1");
    kept_back(&r, " BEGIN;");
    client(&r, " SELECT third");
    expect_found(&r, "first");
    expect_found(&r, "second");
    expect_found(&r, "third");
    close_rewriting(&r);
}

Test(plan, R13_positions_count_characters_of_more_than_one_byte_once)
{
    struct rewriting r = open_rewriting("UTF8");

    ours(&r, "SAVEPOINT pgatomic_1");
    client(&r, "SELECT 'žluťoučký', first;");
    kept_back(&r, "NOTIFY x, '日本語 🐎';");
    client(&r, "SELECT '日本語', second");
    expect_found(&r, "first");
    expect_found(&r, "second");
    close_rewriting(&r);
}

/* The second byte of 表 is a backslash, that of ソ too; half-width katakana are one byte each. */
Test(plan, R13_positions_are_counted_in_the_encoding_of_the_client)
{
    struct rewriting r = open_rewriting("SJIS");

    ours(&r, "SAVEPOINT pgatomic_1");
    client(&r, "SELECT '\x95\x5c\x83\x5c', first;");
    kept_back(&r, "NOTIFY x, '\xb1\xb2\x95\x5c';");
    client(&r, "SELECT '\x95\x5c\xb1', second");
    expect_found(&r, "first");
    expect_found(&r, "second");
    close_rewriting(&r);
}

Test(plan, R13_an_error_at_the_end_of_input_is_at_the_end_of_the_clients)
{
    struct rewriting r = open_rewriting("UTF8");

    ours(&r, "BEGIN");
    client(&r, "SELECT 1 +");
    size_t end = encoding_count(r.encoding, buffer_span(&r.plan->text)) + 1;
    cr_expect_eq(plan_client_position(r.plan, r.encoding, end), strlen("SELECT 1 +") + 1);
    close_rewriting(&r);
}

Test(plan, R13_an_error_in_a_statement_of_ours_is_nowhere)
{
    struct rewriting r = open_rewriting("UTF8");

    ours(&r, "SAVEPOINT pgatomic_1");
    client(&r, "SELECT 1");
    cr_expect_eq(plan_client_position(r.plan, r.encoding, 3), 0);
    cr_expect_eq(plan_client_position(r.plan, r.encoding, 0), 0, "nor is one without a position");
    cr_expect_eq(plan_client_position(r.plan, r.encoding, 4000), strlen("SELECT 1") + 1, "past the end is the end");
    close_rewriting(&r);
}

Test(plan, R6_a_string_that_follows_ours_unchanged_is_moved_by_its_length)
{
    struct rewriting r = open_rewriting("UTF8");

    r.plan->prefix = strlen("BEGIN;");
    cr_expect_eq(plan_client_position(r.plan, r.encoding, 6 + 8), 8);
    cr_expect_eq(plan_client_position(r.plan, r.encoding, 6 + 1), 1);
    cr_expect_eq(plan_client_position(r.plan, r.encoding, 6), 0);
    close_rewriting(&r);
}

Test(plan, a_plan_is_as_good_as_new_after_a_reset)
{
    struct rewriting r = open_rewriting("UTF8");
    struct plan *p = r.plan;

    plan_add(p, STEP_OURS)->name = plan_keep(p, span_of("name"));
    plan_add(p, STEP_CLIENT);
    client(&r, "SELECT 1");
    p->controls = true;
    cr_expect(span_is(plan_span(p, p->steps[0].name), "name"));
    plan_reset(p);
    cr_expect_eq(p->step_count + p->segment_count + p->text.size + p->bytes.size + p->prefix, 0);
    cr_expect_not(p->controls);
    client(&r, "SELECT 2");
    cr_expect(span_is(buffer_span(&p->text), "SELECT 2"), "nothing is left open");
    close_rewriting(&r);
}

Test(plan, a_plan_of_many_steps_keeps_each)
{
    struct rewriting r = open_rewriting("UTF8");
    char name[16];

    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "s%d", i);
        plan_add(r.plan, STEP_LOCAL)->name = plan_keep(r.plan, span_of(name));
    }
    for (size_t i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "s%zu", i);
        cr_expect(span_is(plan_span(r.plan, r.plan->steps[i].name), name));
        cr_expect_eq(r.plan->steps[i].effect, EFFECT_NONE);
    }
    close_rewriting(&r);
}
