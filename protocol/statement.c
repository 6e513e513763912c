/* Finds a statement, looks at its first word, and reads on only where that word is one of some twenty.
 *
 * Almost all SQL is SELECT, INSERT, UPDATE, DELETE or WITH. For these, finding the end is all there is to do, but for a SELECT
 * whose second word may be a function that we know. The readers of the other statements (statement_*.c) are handed the
 * statement's own bytes and nothing behind them. */
#include "protocol/statement.h"

#include <endian.h>

#include "protocol/statement_reader.h"

/* --- the first word --------------------------------------------------------------------------- */

/* The reader for statements that begin with the word of `size` bytes; NULL when all of them are OTHER. */
static statement_read *reader_of(uint64_t key, size_t size)
{
    switch (key) {
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
        return size == sizeof "rollback" - 1 ? statement_read_rollback : NULL;
    case SQL_KEY('a', 'b', 'o', 'r', 't', 0, 0, 0):
        return statement_read_abort;
    case SQL_KEY('s', 'a', 'v', 'e', 'p', 'o', 'i', 'n'):
        return size == sizeof "savepoint" - 1 ? statement_read_savepoint : NULL;
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
        return size == sizeof "unlisten" - 1 ? statement_read_unlisten : NULL;
    case SQL_KEY('n', 'o', 't', 'i', 'f', 'y', 0, 0):
        return statement_read_notify;
    case SQL_KEY('p', 'r', 'e', 'p', 'a', 'r', 'e', 0):
        return statement_read_prepare;
    case SQL_KEY('e', 'x', 'e', 'c', 'u', 't', 'e', 0):
        return statement_read_execute;
    case SQL_KEY('d', 'e', 'a', 'l', 'l', 'o', 'c', 'a'):
        return size == sizeof "deallocate" - 1 ? statement_read_deallocate : NULL;
    case SQL_KEY('d', 'e', 'c', 'l', 'a', 'r', 'e', 0):
        return statement_read_declare;
    case SQL_KEY('c', 'l', 'o', 's', 'e', 0, 0, 0):
        return statement_read_close;
    }
    return NULL;
}

/* Whether a select list may begin with a function that we know, or with white space or a comment in front of one. */
static inline bool may_call_ours(char first)
{
    switch (first) {
    case 'p':
    case 'P':
    case 's':
    case 'S':
    case 'u':
    case 'U':
    case '"':
    case '-':
    case '/':
        return true;
    }
    return first <= ' ' && first > 0;
}

/* Almost every statement: one of four words, a space, and no function that we know. Said by a look at eight bytes. */
static inline bool is_obviously_other(struct span text, size_t at)
{
    uint64_t word;
    if (text.size - at < sizeof word)
        return false;
    memcpy(&word, text.data + at, sizeof word);
    switch ((le64toh(word) | SQL_LOWER_CASE) << 8) {
    case SQL_KEY(0, 's', 'e', 'l', 'e', 'c', 't', ' '):
        return !may_call_ours(text.data[at + 7]);
    case SQL_KEY(0, 'i', 'n', 's', 'e', 'r', 't', ' '):
    case SQL_KEY(0, 'u', 'p', 'd', 'a', 't', 'e', ' '):
    case SQL_KEY(0, 'd', 'e', 'l', 'e', 't', 'e', ' '):
        return true;
    }
    return false;
}

/* Whether the select list at `at` begins with a function that we know, or in a way that is too rare to be looked into here. */
static bool calls_ours(const struct sql_lexer *l, size_t at)
{
    at = sql_skip_blank(l, at);
    if (at == l->text.size || !may_call_ours(l->text.data[at]))
        return false;
    struct span word = span_make(l->text.data + at, sql_skip_word(l, at) - at);
    bool quoted = l->text.data[at] == '"' || (word.size == 1 && l->text.size - at > 1 && l->text.data[at + 1] == '&');
    return quoted || sql_word_is(word, "pg_notify") || sql_word_is(word, "set_config") ||
           sql_word_is(word, "pg_catalog");
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
    struct head h = { .at = at };
    uint64_t key = sql_keyword_key(l, at, &h.word_end);
    h.read = reader_of(key, h.word_end - at);
    h.is_create = key == SQL_KEY('c', 'r', 'e', 'a', 't', 'e', 0, 0);
    if (h.read == statement_read_select && !calls_ours(l, h.word_end))
        h.read = NULL;
    return h;
}

/* --- statements ------------------------------------------------------------------------------- */

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
    struct head h = { .at = at };
    if (!is_obviously_other(text, at))
        h = look_at_head(&l, at);
    struct sql_extent extent = h.is_create ? sql_find_create_end(&l, at) : sql_find_end(&l, at);
    *offset = extent.next;
    out->text = span_make(text.data + at, extent.end - at);
    out->kind = h.read ? read_kind(&h, options, out) : STATEMENT_OTHER;
    return true;
}

/* One statement is all that there is from `at` on, if it ends at `next`. */
static inline bool is_last(const struct sql_lexer *l, size_t next)
{
    return next == l->text.size || sql_skip_empty(l, next) == l->text.size;
}

/* The same for a text that does not begin with one of the usual words. */
static __attribute__((noinline)) bool is_unusual_plain(const struct sql_lexer *l)
{
    size_t at = sql_skip_empty(l, 0);
    if (at == l->text.size)
        return false;
    if (is_obviously_other(l->text, at))
        return is_last(l, sql_find_next(l, at));
    struct head h = look_at_head(l, at);
    return !h.read && is_last(l, h.is_create ? sql_find_create_end(l, at).next : sql_find_next(l, at));
}

bool statement_is_plain(struct span text, const struct sql_options *options)
{
    struct sql_lexer l;
    sql_lexer_init(&l, text, options);
    return is_obviously_other(text, 0) ? is_last(&l, sql_find_next(&l, 0)) : is_unusual_plain(&l);
}
