/* Session commands, prepared statements, cursors, and NOTIFY. */
#include "protocol/statement_reader.h"

/* --- SHOW, RESET, DISCARD --------------------------------------------------------------------- */

/* A parameter by its name, or by words of its own. */
static bool accept_parameter(struct statement_reader *r, struct operand *name)
{
    struct statement_reader start = *r;
    const char *called = NULL;
    if (reader_accept_words(r, "time", "zone"))
        called = "timezone";
    else if (reader_accept_words(r, "session", "authorization"))
        called = "session_authorization";
    else if (reader_accept_words(r, "transaction", "isolation") && reader_accept_word(r, "level"))
        called = "transaction_isolation";
    if (called) {
        *name = (struct operand){ .kind = OPERAND_NAME, .raw = span_of(called) };
        return true;
    }
    *r = start;
    return reader_accept_dotted_name(r, name);
}

enum statement_kind statement_read_show(struct statement_reader *r, struct statement *s)
{
    s->name = (struct operand){ .kind = OPERAND_NONE };
    if (reader_accept_word(r, "all"))
        return reader_at_end(r) ? STATEMENT_SHOW : STATEMENT_OTHER;
    if (!accept_parameter(r, &s->name) || !reader_at_end(r))
        return STATEMENT_OTHER;
    return operand_is_ignoring_case(&s->name, r->options, "pgatomic.request") ? STATEMENT_SHOW_REQUEST : STATEMENT_SHOW;
}

enum statement_kind statement_read_reset(struct statement_reader *r, struct statement *s)
{
    if (reader_accept_word(r, "all"))
        return reader_at_end(r) ? STATEMENT_RESET_ALL : STATEMENT_OTHER;
    return accept_parameter(r, &s->name) && reader_at_end(r) ? STATEMENT_RESET : STATEMENT_OTHER;
}

enum statement_kind statement_read_discard(struct statement_reader *r, struct statement *s)
{
    (void)s;
    enum statement_kind kind = STATEMENT_OTHER;
    if (reader_accept_word(r, "all"))
        kind = STATEMENT_DISCARD_ALL;
    else if (reader_accept_word(r, "plans") || reader_accept_word(r, "sequences") || reader_accept_word(r, "temp") ||
             reader_accept_word(r, "temporary"))
        kind = STATEMENT_DISCARD;
    return reader_at_end(r) ? kind : STATEMENT_OTHER;
}

/* --- LISTEN, UNLISTEN, NOTIFY ----------------------------------------------------------------- */

enum statement_kind statement_read_listen(struct statement_reader *r, struct statement *s)
{
    return reader_accept_name(r, &s->name) && reader_at_end(r) ? STATEMENT_LISTEN : STATEMENT_OTHER;
}

enum statement_kind statement_read_unlisten(struct statement_reader *r, struct statement *s)
{
    s->name = (struct operand){ .kind = OPERAND_NONE };
    if (!reader_accept_symbol(r, "*") && !reader_accept_name(r, &s->name))
        return STATEMENT_OTHER;
    return reader_at_end(r) ? STATEMENT_UNLISTEN : STATEMENT_OTHER;
}

enum statement_kind statement_read_notify(struct statement_reader *r, struct statement *s)
{
    s->args[1] = (struct operand){ .kind = OPERAND_NONE };
    s->arg_count = 1;
    if (!reader_accept_name(r, &s->args[0]))
        return STATEMENT_OTHER;
    if (reader_accept_symbol(r, ",")) {
        s->arg_count = 2;
        if (!reader_accept_string(r, &s->args[1]))
            return STATEMENT_OTHER;
    }
    return reader_at_end(r) ? STATEMENT_NOTIFY : STATEMENT_OTHER;
}

/* --- PREPARE, EXECUTE, DEALLOCATE ------------------------------------------------------------- */

bool reader_accept_parentheses(struct statement_reader *r)
{
    size_t depth = 0;
    do {
        if (reader_sees_symbol(r, "("))
            depth++;
        else if (reader_sees_symbol(r, ")"))
            depth--;
        else if (depth == 0 || reader_at_end(r))
            return false;
        reader_advance(r);
    } while (depth > 0);
    return true;
}

/* The first word of a SELECT, in all its forms. */
static bool sees_query(const struct statement_reader *r)
{
    return reader_sees_word(r, "select") || reader_sees_word(r, "with") || reader_sees_word(r, "values") ||
           reader_sees_word(r, "table") || reader_sees_symbol(r, "(");
}

static bool sees_preparable(const struct statement_reader *r)
{
    return sees_query(r) || reader_sees_word(r, "insert") || reader_sees_word(r, "update") ||
           reader_sees_word(r, "delete") || reader_sees_word(r, "merge");
}

static struct span rest_of(const struct statement_reader *r)
{
    struct span text = r->lexer.text;
    return span_make(r->token.text.data, (size_t)(text.data + text.size - r->token.text.data));
}

enum statement_kind statement_read_prepare(struct statement_reader *r, struct statement *s)
{
    struct statement_reader start = *r;
    struct operand identifier;
    if (reader_accept_word(r, "transaction") && reader_accept_string(r, &identifier))
        return reader_at_end(r) ? STATEMENT_PREPARE_TRANSACTION : STATEMENT_OTHER;
    *r = start;
    if (!reader_accept_name(r, &s->name))
        return STATEMENT_OTHER;
    if (reader_sees_symbol(r, "(") && !reader_accept_parentheses(r))
        return STATEMENT_OTHER;
    if (!reader_accept_word(r, "as") || !sees_preparable(r))
        return STATEMENT_OTHER;
    s->body = rest_of(r);
    return STATEMENT_PREPARE;
}

/* A number whose text, as a value of type text, is how it is written: 7 and 0.50, but not 007, 1e3 or .5. */
static bool is_plain_number(struct span text)
{
    size_t points = 0;
    for (size_t i = 0; i < text.size; i++) {
        bool point = text.data[i] == '.' && i > 0 && i + 1 < text.size && points++ == 0;
        if (!point && (text.data[i] < '0' || text.data[i] > '9'))
            return false;
    }
    return text.data[0] != '0' || text.size == 1 || text.data[1] == '.';
}

static bool accept_plain_argument(struct statement_reader *r, struct operand *out)
{
    if (r->token.kind == SQL_NUMBER && is_plain_number(r->token.text)) {
        *out = (struct operand){ .kind = OPERAND_WORD, .raw = r->token.text };
        reader_advance(r);
        return true;
    }
    return r->token.kind != SQL_PARAMETER && reader_accept_literal(r, out);
}

/* The arguments and the end, when all of them are literals. */
static bool accept_plain_arguments(struct statement_reader *r, struct statement *s)
{
    s->arg_count = 0;
    if (reader_at_end(r))
        return true;
    if (!reader_accept_symbol(r, "("))
        return false;
    do {
        if (s->arg_count == STATEMENT_ARGS_MAX || !accept_plain_argument(r, &s->args[s->arg_count]))
            return false;
        s->arg_count++;
    } while (reader_accept_symbol(r, ","));
    return reader_accept_symbol(r, ")") && reader_at_end(r);
}

enum statement_kind statement_read_execute(struct statement_reader *r, struct statement *s)
{
    if (!reader_accept_name(r, &s->name))
        return STATEMENT_OTHER;
    struct statement_reader arguments = *r;
    s->args_plain = accept_plain_arguments(r, s);
    if (s->args_plain)
        return STATEMENT_EXECUTE;
    s->arg_count = 0;
    *r = arguments;
    return reader_accept_parentheses(r) && reader_at_end(r) ? STATEMENT_EXECUTE : STATEMENT_OTHER;
}

enum statement_kind statement_read_deallocate(struct statement_reader *r, struct statement *s)
{
    reader_accept_noise(r, "prepare");
    if (reader_accept_word(r, "all"))
        return reader_at_end(r) ? STATEMENT_DEALLOCATE_ALL : STATEMENT_OTHER;
    return reader_accept_name(r, &s->name) && reader_at_end(r) ? STATEMENT_DEALLOCATE : STATEMENT_OTHER;
}

/* --- cursors ---------------------------------------------------------------------------------- */

static void accept_cursor_options(struct statement_reader *r)
{
    while (reader_accept_word(r, "binary") || reader_accept_word(r, "insensitive") ||
           reader_accept_word(r, "asensitive") || reader_accept_word(r, "scroll") ||
           reader_accept_words(r, "no", "scroll"))
        ;
}

enum statement_kind statement_read_declare(struct statement_reader *r, struct statement *s)
{
    if (!reader_accept_name(r, &s->name))
        return STATEMENT_OTHER;
    accept_cursor_options(r);
    if (!reader_accept_word(r, "cursor"))
        return STATEMENT_OTHER;
    s->hold = reader_accept_words(r, "with", "hold");
    if (!s->hold)
        reader_accept_words(r, "without", "hold");
    return reader_accept_word(r, "for") && sees_query(r) ? STATEMENT_DECLARE : STATEMENT_OTHER;
}

enum statement_kind statement_read_close(struct statement_reader *r, struct statement *s)
{
    s->name = (struct operand){ .kind = OPERAND_NONE };
    if (!reader_accept_word(r, "all") && !reader_accept_name(r, &s->name))
        return STATEMENT_OTHER;
    return reader_at_end(r) ? STATEMENT_CLOSE : STATEMENT_OTHER;
}
