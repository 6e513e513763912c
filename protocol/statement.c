/* Finds a statement, looks at its first word, and reads on only where that word is one of some twenty.
 *
 * Almost all SQL is SELECT, INSERT, UPDATE, DELETE or WITH. For these, finding the end is all there is to do, but for a SELECT
 * whose second word may be a function that we know. The readers of the other statements (statement_*.c) are handed the
 * statement's own bytes and nothing behind them. */
#include "protocol/statement.h"

#include "protocol/statement_reader.h"

/* --- the first word --------------------------------------------------------------------------------------------- */

/* The reader for statements that begin with `word`; NULL when all of them are OTHER. */
static statement_read *reader_of(struct span word)
{
    switch (sql_word_key(word)) {
    case SQL_KEY('s', 'e', 'l', 'e', 'c', 't', 0, 0):
        return statement_read_select;
    case SQL_KEY('b', 'e', 'g', 'i', 'n', 0, 0, 0):
        return statement_read_begin;
    case SQL_KEY('s', 't', 'a', 'r', 't', 0, 0, 0):
        return statement_read_start;
    case SQL_KEY('c', 'o', 'm', 'm', 'i', 't', 0, 0):
        return statement_read_commit;
    case SQL_KEY('e', 'n', 'd', 0, 0, 0, 0, 0):
        return statement_read_end;
    case SQL_KEY('r', 'o', 'l', 'l', 'b', 'a', 'c', 'k'):
        return word.size == sizeof "rollback" - 1 ? statement_read_rollback : NULL;
    case SQL_KEY('a', 'b', 'o', 'r', 't', 0, 0, 0):
        return statement_read_abort;
    case SQL_KEY('s', 'a', 'v', 'e', 'p', 'o', 'i', 'n'):
        return sql_word_is(word, "savepoint") ? statement_read_savepoint : NULL;
    case SQL_KEY('r', 'e', 'l', 'e', 'a', 's', 'e', 0):
        return statement_read_release;
    case SQL_KEY('s', 'e', 't', 0, 0, 0, 0, 0):
        return statement_read_set;
    case SQL_KEY('r', 'e', 's', 'e', 't', 0, 0, 0):
        return statement_read_reset;
    case SQL_KEY('s', 'h', 'o', 'w', 0, 0, 0, 0):
        return statement_read_show;
    case SQL_KEY('d', 'i', 's', 'c', 'a', 'r', 'd', 0):
        return statement_read_discard;
    case SQL_KEY('l', 'i', 's', 't', 'e', 'n', 0, 0):
        return statement_read_listen;
    case SQL_KEY('u', 'n', 'l', 'i', 's', 't', 'e', 'n'):
        return word.size == sizeof "unlisten" - 1 ? statement_read_unlisten : NULL;
    case SQL_KEY('n', 'o', 't', 'i', 'f', 'y', 0, 0):
        return statement_read_notify;
    case SQL_KEY('p', 'r', 'e', 'p', 'a', 'r', 'e', 0):
        return statement_read_prepare;
    case SQL_KEY('e', 'x', 'e', 'c', 'u', 't', 'e', 0):
        return statement_read_execute;
    case SQL_KEY('d', 'e', 'a', 'l', 'l', 'o', 'c', 'a'):
        return sql_word_is(word, "deallocate") ? statement_read_deallocate : NULL;
    case SQL_KEY('d', 'e', 'c', 'l', 'a', 'r', 'e', 0):
        return statement_read_declare;
    case SQL_KEY('c', 'l', 'o', 's', 'e', 0, 0, 0):
        return statement_read_close;
    }
    return NULL;
}

/* Whether the select list at `at` may begin with a function that we know. One look at one byte says no to nearly all. */
static bool may_call_ours(const struct sql_lexer *l, size_t at)
{
    at = sql_skip_blank(l, at);
    if (at == l->text.size)
        return false;
    char c = sql_lower(l->text.data[at]);
    if (c != 'p' && c != 's')
        return c == '"' || c == 'u';
    struct span word = span_make(l->text.data + at, sql_skip_word(l, at) - at);
    return sql_word_is(word, "pg_notify") || sql_word_is(word, "set_config") || sql_word_is(word, "pg_catalog");
}

/* The beginning of a statement. */
struct head {
    size_t at;
    size_t word_end;
    statement_read *read; /* NULL: it is OTHER */
    bool is_create;
};

static struct head look_at_head(const struct sql_lexer *l, size_t at)
{
    struct head h = { .at = at, .word_end = sql_skip_word(l, at) };
    struct span word = span_make(l->text.data + at, h.word_end - at);
    h.read = reader_of(word);
    h.is_create = !h.read && sql_word_is(word, "create");
    if (h.read == statement_read_select && !may_call_ours(l, h.word_end))
        h.read = NULL;
    return h;
}

static struct sql_extent find_end(const struct sql_lexer *l, const struct head *h)
{
    return h->is_create ? sql_find_create_end(l, h->at) : sql_find_end(l, h->at);
}

/* --- statements ------------------------------------------------------------------------------------------------- */

static enum statement_kind read_kind(const struct head *h, const struct sql_options *options, struct statement *out)
{
    struct statement_reader r;
    size_t word = h->word_end - h->at;
    reader_init(&r, span_make(out->text.data + word, out->text.size - word), options);
    return h->read(&r, out);
}

bool statement_next(struct span text, size_t *offset, const struct sql_options *options, struct statement *out)
{
    struct sql_lexer l;
    sql_lexer_init(&l, text, options);
    size_t at = sql_skip_empty(&l, *offset);
    *offset = at;
    if (at == text.size)
        return false;
    struct head h = look_at_head(&l, at);
    struct sql_extent extent = find_end(&l, &h);
    *offset = extent.next;
    out->text = span_make(text.data + at, extent.end - at);
    out->kind = h.read ? read_kind(&h, options, out) : STATEMENT_OTHER;
    return true;
}

bool statement_is_plain(struct span text, const struct sql_options *options)
{
    struct sql_lexer l;
    sql_lexer_init(&l, text, options);
    size_t at = sql_skip_empty(&l, 0);
    if (at == text.size)
        return false;
    struct head h = look_at_head(&l, at);
    struct sql_extent extent = find_end(&l, &h);
    if (extent.next != text.size && sql_skip_empty(&l, extent.next) != text.size)
        return false;
    if (!h.read)
        return true;
    struct statement s;
    s.text = span_make(text.data + at, extent.end - at);
    return read_kind(&h, options, &s) == STATEMENT_OTHER;
}
