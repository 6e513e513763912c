/* SET: parameters, the forms with words of their own, SET TRANSACTION, and the marks. */
#include "protocol/sql_words.h"
#include "protocol/statement_reader.h"

/* --- SET name = value ------------------------------------------------------------------------- */

/* -1, 2.5, +3e4 */
static bool accept_number(struct statement_reader *r, struct operand *out)
{
    const char *start = r->token.text.data;
    if (!reader_accept_symbol(r, "-"))
        reader_accept_symbol(r, "+");
    if (r->token.kind != SQL_NUMBER)
        return false;
    size_t size = (size_t)(r->token.text.data + r->token.text.size - start);
    *out = (struct operand){ .kind = OPERAND_WORD, .raw = span_make(start, size) };
    reader_advance(r);
    return true;
}

static bool is_value_word(const struct statement_reader *r)
{
    return r->token.kind == SQL_WORD && (sql_word_can_be_value(r->token.text) || reader_sees_word(r, "true") ||
                                         reader_sees_word(r, "false") || reader_sees_word(r, "on"));
}

static bool accept_value(struct statement_reader *r, struct operand *out)
{
    if (r->token.kind == SQL_NAME)
        return reader_accept_name(r, out);
    if (is_value_word(r)) {
        *out = (struct operand){ .kind = OPERAND_WORD, .raw = r->token.text };
        reader_advance(r);
        return true;
    }
    return reader_accept_string(r, out) || accept_number(r, out);
}

/* A list of values, to the end. `first` gets the value when there is one alone. */
static bool accept_values_and_end(struct statement_reader *r, struct operand *first)
{
    struct operand more;
    if (!accept_value(r, first))
        return false;
    while (reader_accept_symbol(r, ",")) {
        first->kind = OPERAND_NONE;
        if (!accept_value(r, &more))
            return false;
    }
    return reader_at_end(r);
}

static enum statement_kind kind_of_parameter(const struct statement_reader *r, const struct operand *name)
{
    if (operand_is_ignoring_case(name, r->options, "pgatomic.request"))
        return STATEMENT_MARK_REQUEST;
    if (operand_is_ignoring_case(name, r->options, "pgatomic.outcome"))
        return STATEMENT_MARK_OUTCOME;
    return STATEMENT_SET;
}

/* SET to `value`, or to a list of values when that is NONE, which no mark can be set to. */
static enum statement_kind mark_or_set(const struct statement_reader *r, struct statement *s,
                                       const struct operand *value)
{
    enum statement_kind kind = kind_of_parameter(r, &s->name);
    if (kind == STATEMENT_SET)
        return STATEMENT_SET;
    if (value->kind == OPERAND_NONE)
        return STATEMENT_OTHER;
    s->args[0] = *value;
    s->args[1] = (struct operand){ .kind = OPERAND_NONE };
    s->arg_count = 1;
    s->as_row = false;
    return kind;
}

/* Behind the parameter's name. */
static enum statement_kind read_assignment(struct statement_reader *r, struct statement *s)
{
    struct operand value;
    if (reader_accept_words(r, "from", "current"))
        return reader_at_end(r) ? STATEMENT_SET : STATEMENT_OTHER;
    if (!reader_accept_word(r, "to") && !reader_accept_symbol(r, "="))
        return STATEMENT_OTHER;
    if (reader_accept_word(r, "default"))
        return reader_at_end(r) ? STATEMENT_SET : STATEMENT_OTHER;
    if (!accept_values_and_end(r, &value))
        return STATEMENT_OTHER;
    return mark_or_set(r, s, &value);
}

/* --- the forms with words of their own -------------------------------------------------------- */

static struct operand parameter_called(const char *name)
{
    return (struct operand){ .kind = OPERAND_NAME, .raw = span_of(name) };
}

/* What stands behind these words goes into a parameter of another name; what exactly may stand there is the server's to say. NAMES
 * alone may have nothing behind it. */
static bool accept_parameter_words(struct statement_reader *r, struct operand *name)
{
    if (reader_accept_word(r, "names")) {
        *name = parameter_called("client_encoding");
        return true;
    }
    if (reader_accept_words(r, "time", "zone"))
        *name = parameter_called("timezone");
    else if (reader_accept_words(r, "session", "authorization"))
        *name = parameter_called("session_authorization");
    else if (reader_accept_words(r, "xml", "option"))
        *name = parameter_called("xmloption");
    else if (reader_accept_word(r, "role"))
        *name = parameter_called("role");
    else if (reader_accept_word(r, "schema"))
        *name = parameter_called("search_path");
    else
        return false;
    return !reader_at_end(r);
}

static enum statement_kind read_special(struct statement_reader *r, struct statement *s, bool local)
{
    if (reader_accept_word(r, "transaction"))
        return reader_accept_modes(r, true, &s->modes) ? STATEMENT_SET_TRANSACTION : STATEMENT_OTHER;
    if (local)
        return STATEMENT_OTHER;
    if (reader_accept_words(r, "session", "characteristics")) {
        s->name = (struct operand){ .kind = OPERAND_NONE };
        bool whole = reader_accept_words(r, "as", "transaction") && reader_accept_modes(r, true, &s->modes);
        return whole ? STATEMENT_SET : STATEMENT_OTHER;
    }
    return accept_parameter_words(r, &s->name) ? STATEMENT_SET : STATEMENT_OTHER;
}

/* A parameter's name and what is done with it; what only begins like that is left for the other forms. */
static bool accept_assigned_name(struct statement_reader *r, struct operand *name)
{
    struct statement_reader start = *r;
    if (reader_accept_dotted_name(r, name) &&
        (reader_sees_symbol(r, "=") || reader_sees_word(r, "to") || reader_sees_word(r, "from")))
        return true;
    *r = start;
    return false;
}

bool reader_accept_parameter(struct statement_reader *r, struct operand *out)
{
    return accept_assigned_name(r, out) || accept_parameter_words(r, out);
}

static enum statement_kind read_rest(struct statement_reader *r, struct statement *s, bool local)
{
    if (!accept_assigned_name(r, &s->name))
        return read_special(r, s, local);
    return local ? STATEMENT_OTHER : read_assignment(r, s);
}

enum statement_kind statement_read_set(struct statement_reader *r, struct statement *s)
{
    if (accept_assigned_name(r, &s->name))
        return read_assignment(r, s);
    if (reader_accept_word(r, "local"))
        return read_rest(r, s, true);
    struct statement_reader start = *r;
    if (reader_accept_word(r, "session")) {
        /* SESSION alone, or the first word of SESSION AUTHORIZATION and SESSION CHARACTERISTICS */
        if (!reader_sees_word(r, "authorization") && !reader_sees_word(r, "characteristics"))
            return read_rest(r, s, false);
        *r = start;
    }
    return read_special(r, s, false);
}
