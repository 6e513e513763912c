/* How much of a text is read to know what it leaves behind: twice the text may cost twice as much, and no more. What is counted are the bytes
 * of the tokens that are cut from it, and of the comments that are skipped. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "protocol/sql_quote.h"
#include "protocol/statement_state.h"
#include "tests/unit/statements.h"

struct sql_token __real_sql_lexer_next(struct sql_lexer *l);
struct sql_token __wrap_sql_lexer_next(struct sql_lexer *l);
size_t __real_sql_skip_comment(const struct sql_lexer *l, size_t at);
size_t __wrap_sql_skip_comment(const struct sql_lexer *l, size_t at);

static size_t bytes_read;

struct sql_token __wrap_sql_lexer_next(struct sql_lexer *l)
{
    size_t at = l->at;
    struct sql_token token = __real_sql_lexer_next(l);
    bytes_read += l->at - at;
    return token;
}

size_t __wrap_sql_skip_comment(const struct sql_lexer *l, size_t at)
{
    size_t end = __real_sql_skip_comment(l, at);
    bytes_read += end - at;
    return end;
}

static void ignore(void *owner, const struct statement_state *state)
{
    (void)owner;
    (void)state;
}

/* What is read of `unit` so many times behind `head`. */
static size_t bytes_read_of(const char *head, const char *unit, size_t size)
{
    struct sql_options options = standard();
    struct buffer text = { 0 };
    buffer_append_text(&text, head);
    while (text.size < size)
        buffer_append_text(&text, unit);
    bytes_read = 0;
    if (statement_may_leave_state(buffer_span(&text)))
        statement_states(buffer_span(&text), &options, ignore, NULL);
    buffer_free(&text);
    return bytes_read;
}

Test(statement_work, P2_what_a_text_costs_grows_no_faster_than_its_length)
{
    static const struct {
        const char *head, *unit;
    } rows[] = {
        { "", "create temp " },
        { "", "create temp (" },
        { "", "create temp;" },
        { "select ", "set_config(" },
        { "select ", "set_config('a'," },
        { "select ", "set_config(x,y,[(" },
        { "select ", "set_config('search_path','',true)," },
        { "select ", "query_to_xml('a'," },
        { "select ", "ts_stat('' " },
        { "select ", "ts_stat('ts_stat('''')', " },
        { "create table ", "(" },
        { "explain create table ", "(x" },
        { "explain ", "(" },
        { "", "create table (;" },
        { "select ", "set_config('a', (" },
        { "update ", "pg_x." },
        { "with x as (select 1) ", "update pg_settings " },
        { "select 1", ";with pg_x" },
        { "set ", "x." },
        { "prepare x ", "(" },
        { "do ", "'x''" },
        { "do $$", "$a$execute" },
        { "do $$", "begin set x; " },
        { "do $$", "execute format('" },
        { "do $$", "ts_stat('' create temp " },
        { "select 1", ";--" },
        { "select 1", ";/*" },
        { "select 1", "\n(--" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t once = bytes_read_of(rows[i].head, rows[i].unit, 40000);
        size_t twice = bytes_read_of(rows[i].head, rows[i].unit, 80000);
        cr_expect(once > 0, "%s is not read", rows[i].unit);
        cr_expect(twice < once * 5 / 2, "%s: %zu, then %zu", rows[i].unit, once, twice);
    }
}

/* Each literal holds a call that runs the next one. */
static void append_nested(struct buffer *text, size_t depth)
{
    for (size_t i = 0; i < depth; i++)
        buffer_format(text, "ts_stat($a%zu$ ", i);
    for (size_t i = depth; i-- > 0;)
        buffer_format(text, "$a%zu$) ", i);
}

static void count_pins(void *owner, const struct statement_state *state)
{
    size_t *pins = owner;
    *pins += state->kind == STATE_PIN && state->cause == STATE_UNKNOWN_SETTING;
}

Test(statement_work, P2_texts_in_texts_are_read_to_a_depth_and_pin_beyond_it)
{
    static const struct {
        size_t depth;
        bool pins;
    } rows[] = { { 1, false }, { 7, false }, { 20, true }, { 50000, true } };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sql_options options = standard();
        struct buffer text = { 0 };
        size_t pins = 0;
        buffer_append_text(&text, "select ");
        append_nested(&text, rows[i].depth);
        cr_assert(statement_may_leave_state(buffer_span(&text)));
        bytes_read = 0;
        statement_states(buffer_span(&text), &options, count_pins, &pins);
        cr_expect_eq(pins > 0, rows[i].pins, "%zu deep: %zu pins", rows[i].depth, pins);
        cr_expect(bytes_read < 60 * text.size, "%zu deep: %zu of %zu bytes", rows[i].depth, bytes_read, text.size);
        buffer_free(&text);
    }
}
