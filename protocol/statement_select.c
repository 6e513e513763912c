/* The two SELECTs that matter: pg_notify(a, b) (E1) and set_config(name, value, is_local) (marks), alone in their statement, with
 * nothing but literals, NULL and parameters in their parentheses.
 *
 * Every token up to the end of the statement is accounted for here. That is what makes it certain that there is no FROM, no
 * WHERE and no second column, without a list of what must not stand there. */
#include "protocol/sql_words.h"
#include "protocol/statement_reader.h"

enum function { FUNCTION_NONE, FUNCTION_PG_NOTIFY, FUNCTION_SET_CONFIG };

static enum function accept_function(struct statement_reader *r)
{
    struct operand name;
    if (!reader_accept_dotted_name(r, &name) || !reader_accept_symbol(r, "("))
        return FUNCTION_NONE;
    if (operand_is(&name, r->options, "pg_notify") || operand_is(&name, r->options, "pg_catalog.pg_notify"))
        return FUNCTION_PG_NOTIFY;
    if (operand_is(&name, r->options, "set_config") || operand_is(&name, r->options, "pg_catalog.set_config"))
        return FUNCTION_SET_CONFIG;
    return FUNCTION_NONE;
}

/* [::text], which changes nothing but the result's type. False: a cast to something else. */
static bool accept_text_cast(struct statement_reader *r, bool *cast)
{
    struct operand type;
    *cast = reader_accept_symbol(r, "::");
    if (!*cast)
        return true;
    return reader_accept_dotted_name(r, &type) &&
           (operand_is(&type, r->options, "text") || operand_is(&type, r->options, "pg_catalog.text"));
}

/* Types that leave a text, or a boolean, the value it is; without a length, which could cut it. */
static const char *const text_types[] = { "text", "varchar", NULL };
static const char *const boolean_types[] = { "boolean", "bool", NULL };

static bool accept_type(struct statement_reader *r, const char *const *types)
{
    for (; *types; types++)
        if (reader_accept_word(r, *types))
            return true;
    return false;
}

enum { ARGUMENT_DEPTH_MAX = 16 };

/* Opening parentheses, as drivers put them around each argument; how many. */
static unsigned accept_opening(struct statement_reader *r)
{
    unsigned depth = 0;
    while (depth < ARGUMENT_DEPTH_MAX && reader_accept_symbol(r, "("))
        depth++;
    return depth;
}

/* What may stand behind an argument: casts that do not change it, and as many closing parentheses as were opened. */
static bool accept_closing(struct statement_reader *r, unsigned depth, const char *const *types)
{
    for (;;) {
        if (reader_accept_symbol(r, "::")) {
            bool is_text = types == text_types && reader_accept_word(r, "pg_catalog");
            if (is_text && !reader_accept_symbol(r, "."))
                return false;
            if (!accept_type(r, types))
                return false;
        } else if (depth > 0 && reader_accept_symbol(r, ")")) {
            depth--;
        } else {
            return depth == 0;
        }
    }
}

bool reader_accept_text_argument(struct statement_reader *r, struct operand *out)
{
    unsigned depth = accept_opening(r);
    return reader_accept_literal(r, out) && accept_closing(r, depth, text_types);
}

/* [[AS] name] and the end. */
static bool accept_column_and_end(struct statement_reader *r, struct operand *column)
{
    *column = (struct operand){ .kind = OPERAND_NONE };
    bool as = reader_accept_word(r, "as");
    if (r->token.kind == SQL_NAME) {
        reader_accept_name(r, column);
    } else if (r->token.kind == SQL_WORD && (as || sql_word_can_be_bare_label(r->token.text))) {
        *column = (struct operand){ .kind = OPERAND_NAME, .raw = r->token.text };
        reader_advance(r);
    } else if (as) {
        return false;
    }
    return reader_at_end(r);
}

/* From the closing parenthesis on. */
static bool accept_tail(struct statement_reader *r, struct statement *s)
{
    return reader_accept_symbol(r, ")") && accept_text_cast(r, &s->cast_text) && accept_column_and_end(r, &s->column);
}

static enum statement_kind read_pg_notify(struct statement_reader *r, struct statement *s)
{
    s->arg_count = 2;
    s->as_row = true;
    bool whole = reader_accept_text_argument(r, &s->args[0]) && reader_accept_symbol(r, ",") &&
                 reader_accept_text_argument(r, &s->args[1]) && accept_tail(r, s);
    return whole ? STATEMENT_PG_NOTIFY : STATEMENT_OTHER;
}

/* --- set_config ------------------------------------------------------------------------------- */

static bool is_one_of(const struct operand *o, const struct sql_options *options, const char *const *words)
{
    for (; *words; words++)
        if (operand_is_ignoring_case(o, options, *words))
            return true;
    return false;
}

static bool accept_boolean(struct statement_reader *r, struct operand *out)
{
    static const char *const yes[] = { "t", "true", "on", "y", "yes", "1", NULL };
    static const char *const no[] = { "f", "false", "off", "n", "no", "0", NULL };
    if (reader_sees_word(r, "true") || reader_sees_word(r, "false")) {
        *out = (struct operand){ .kind = OPERAND_WORD, .raw = r->token.text };
        reader_advance(r);
        return true;
    }
    if (!reader_accept_literal(r, out))
        return false;
    if (out->kind == OPERAND_PARAMETER)
        return true;
    bool local = is_one_of(out, r->options, yes);
    if (!local && out->kind != OPERAND_NULL && !is_one_of(out, r->options, no))
        return false;
    *out = (struct operand){ .kind = OPERAND_WORD, .raw = span_of(local ? "true" : "false") };
    return true;
}

bool reader_accept_is_local(struct statement_reader *r, struct operand *out)
{
    unsigned depth = accept_opening(r);
    return accept_boolean(r, out) && accept_closing(r, depth, boolean_types);
}

static enum statement_kind mark_kind(const struct statement_reader *r, const struct statement *s)
{
    bool local = s->args[2].kind == OPERAND_WORD && sql_word_is(s->args[2].raw, "true");
    if (local || s->args[0].kind != OPERAND_TEXT)
        return STATEMENT_SET_CONFIG;
    if (operand_is_ignoring_case(&s->args[0], r->options, "pgatomic.request"))
        return STATEMENT_MARK_REQUEST;
    if (operand_is_ignoring_case(&s->args[0], r->options, "pgatomic.outcome"))
        return STATEMENT_MARK_OUTCOME;
    return STATEMENT_SET_CONFIG;
}

static enum statement_kind read_set_config(struct statement_reader *r, struct statement *s)
{
    s->arg_count = 3;
    s->as_row = true;
    bool whole = reader_accept_text_argument(r, &s->args[0]) && reader_accept_symbol(r, ",") &&
                 reader_accept_text_argument(r, &s->args[1]) && reader_accept_symbol(r, ",") &&
                 reader_accept_is_local(r, &s->args[2]) && accept_tail(r, s);
    if (!whole || s->args[0].kind == OPERAND_NULL)
        return STATEMENT_OTHER;
    enum statement_kind kind = mark_kind(r, s);
    if (kind != STATEMENT_SET_CONFIG) {
        s->args[0] = s->args[1];
        s->args[1] = s->args[2].kind == OPERAND_PARAMETER ? s->args[2] : (struct operand){ .kind = OPERAND_NONE };
        s->arg_count = s->args[1].kind == OPERAND_NONE ? 1 : 2;
    }
    return kind;
}

enum statement_kind statement_read_select(struct statement_reader *r, struct statement *s)
{
    switch (accept_function(r)) {
    case FUNCTION_PG_NOTIFY:
        return read_pg_notify(r, s);
    case FUNCTION_SET_CONFIG:
        return read_set_config(r, s);
    case FUNCTION_NONE:
        break;
    }
    return STATEMENT_OTHER;
}
