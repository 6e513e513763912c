/* Strings of SQL statements, in all encodings.
 *
 * An input is the name of an encoding, with a minus in front of it for standard_conforming_strings = off, a NUL, and a text. What must
 * hold: tokens and statements move on, stay inside the text, and leave out nothing but white space, comments and semicolons; a
 * statement alone is what it is among others; the quick looks are never wrong; no value is longer than what it is
 * written as. */
#include "protocol/statement_state.h"
#include "tests/fuzz/fuzz.h"

static bool is_inside(struct span inner, struct span outer)
{
    return inner.data >= outer.data && inner.data + inner.size <= outer.data + outer.size;
}

static void check_tokens(struct span text, const struct sql_options *options)
{
    struct sql_lexer l;
    sql_lexer_init(&l, text, options);
    for (size_t at = 0;; at = l.at) {
        struct sql_token t = sql_lexer_next(&l);
        MUST(is_inside(t.text, text));
        MUST(l.at == (size_t)(t.text.data - text.data) + t.text.size);
        if (t.kind == SQL_END)
            break;
        MUST(t.text.size > 0 && l.at > at);
    }
    MUST(l.at == text.size);
}

static void check_operand(const struct operand *o, const struct sql_options *options)
{
    struct buffer out = { 0 };
    buffer_append_text(&out, "x");
    bool decoded = operand_decode(o, options, &out);
    MUST(decoded ? out.size - 1 <= o->raw.size : out.size == 1);
    MUST(!decoded || o->kind == OPERAND_NAME || o->kind == OPERAND_TEXT || o->kind == OPERAND_WORD);
    if (o->kind == OPERAND_NAME)
        statement_name_is_reserved(o);
    buffer_free(&out);
}

static void check_arguments(const struct statement *s, const struct sql_options *options)
{
    MUST(s->arg_count <= STATEMENT_ARGS_MAX);
    for (unsigned i = 0; i < s->arg_count; i++)
        check_operand(&s->args[i], options);
}

static void check_details(const struct statement *s, const struct sql_options *options)
{
    switch (s->kind) {
    case STATEMENT_SAVEPOINT:
    case STATEMENT_RELEASE:
    case STATEMENT_ROLLBACK_TO:
    case STATEMENT_SET:
    case STATEMENT_RESET:
    case STATEMENT_SHOW:
    case STATEMENT_SHOW_REQUEST:
    case STATEMENT_LISTEN:
    case STATEMENT_UNLISTEN:
    case STATEMENT_DEALLOCATE:
    case STATEMENT_DECLARE:
    case STATEMENT_CLOSE:
        check_operand(&s->name, options);
        break;
    case STATEMENT_PREPARE:
        check_operand(&s->name, options);
        MUST(s->body.size > 0 && is_inside(s->body, s->text));
        break;
    case STATEMENT_EXECUTE:
        check_operand(&s->name, options);
        check_arguments(s, options);
        break;
    case STATEMENT_PG_NOTIFY:
    case STATEMENT_SET_CONFIG:
        check_operand(&s->column, options);
        check_arguments(s, options);
        break;
    case STATEMENT_NOTIFY:
    case STATEMENT_MARK_REQUEST:
    case STATEMENT_MARK_OUTCOME:
        check_arguments(s, options);
        break;
    case STATEMENT_OTHER:
    case STATEMENT_BEGIN:
    case STATEMENT_COMMIT:
    case STATEMENT_ROLLBACK:
    case STATEMENT_PREPARE_TRANSACTION:
    case STATEMENT_COMMIT_PREPARED:
    case STATEMENT_ROLLBACK_PREPARED:
    case STATEMENT_SET_TRANSACTION:
    case STATEMENT_RESET_ALL:
    case STATEMENT_DISCARD:
    case STATEMENT_DISCARD_ALL:
    case STATEMENT_DEALLOCATE_ALL:
        break;
    }
}

static void check_alone(const struct statement *s, const struct sql_options *options)
{
    struct statement alone;
    size_t offset = 0;
    MUST(statement_next(s->text, &offset, options, &alone));
    MUST(alone.kind == s->kind && span_equal(alone.text, s->text) && offset == s->text.size);
    MUST(!statement_is_plain(s->text, options) || s->kind == STATEMENT_OTHER);
}

static void check_gap(struct span gap, const struct sql_options *options)
{
    struct sql_lexer l;
    sql_lexer_init(&l, gap, options);
    MUST(sql_skip_empty(&l, 0) == gap.size);
}

static void check_statements(struct span text, const struct sql_options *options)
{
    struct statement s;
    size_t offset = 0, end = 0, count = 0;
    bool plain = false;
    for (; statement_next(text, &offset, options, &s); count++) {
        size_t start = (size_t)(s.text.data - text.data);
        MUST(s.text.size > 0 && is_inside(s.text, text));
        MUST(start >= end && offset >= start + s.text.size && offset <= text.size);
        check_gap(span_make(text.data + end, start - end), options);
        end = start + s.text.size;
        check_alone(&s, options);
        check_details(&s, options);
        plain = s.kind == STATEMENT_OTHER;
    }
    MUST(offset == text.size);
    check_gap(span_make(text.data + end, text.size - end), options);
    MUST(!statement_is_plain(text, options) || (plain && count == 1));
}

struct states {
    struct span text;
    const struct sql_options *options;
    size_t index, count;
};

static void check_state(void *owner, const struct statement_state *state)
{
    struct states *seen = owner;
    struct buffer name = { 0 };
    MUST(is_inside(state->statement, seen->text));
    MUST(state->index >= seen->index);
    seen->index = state->index;
    seen->count++;
    switch (state->kind) {
    case STATE_PREPARE:
    case STATE_EXECUTE:
    case STATE_DEALLOCATE:
        MUST(is_inside(state->name.raw, state->statement));
        /* fall through */
    case STATE_SETTING:
    case STATE_LISTEN:
    case STATE_UNLISTEN:
        statement_state_name(state, seen->options, &name);
        MUST(state->name.kind == OPERAND_NAME || state->name.kind == OPERAND_TEXT);
        break;
    case STATE_PIN:
        MUST(*statement_state_cause(state->cause));
        break;
    case STATE_LOCAL_SETTING:
        statement_state_name(state, seen->options, &name);
        break;
    case STATE_RESET_ALL:
    case STATE_DISCARD_ALL:
    case STATE_DISCARD_PLANS:
    case STATE_DISCARD_SEQUENCES:
    case STATE_DISCARD_TEMP:
    case STATE_DEALLOCATE_ALL:
    case STATE_UNLISTEN_ALL:
        break;
    }
    buffer_free(&name);
}

static void check_states(struct span text, const struct sql_options *options)
{
    struct states seen = { .text = text, .options = options };
    statement_states(text, options, check_state, &seen);
    MUST(seen.count == 0 || statement_may_leave_state(text));
}

static void check_route(struct span text, const struct sql_options *options)
{
    struct buffer out = { 0 };
    bool found = statement_route_comment(text, options, &out);
    MUST(found == (out.size > 0));
    MUST(!found || !memchr(out.data, 0, out.size));
    buffer_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    if (!nul)
        return 0;
    struct span name = span_make((const char *)data, (size_t)(nul - data));
    struct span text = span_make((const char *)nul + 1, size - name.size - 1);
    struct sql_options options = { .standard_conforming_strings = name.size == 0 || name.data[0] != '-',
                                   .encoding = encoding_find(name) };
    check_tokens(text, &options);
    check_statements(text, &options);
    check_states(text, &options);
    check_route(text, &options);
    return 0;
}
