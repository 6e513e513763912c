/* One function per quoted thing says where it ends: '' and "" with doubled quotes, E'' with backslashes, $tag$, nested comments.
 *
 * A literal may go on behind a line break ('a' <newline> 'b' is one literal), and goes on in the manner it began: an E'' literal whose
 * second piece holds \' would otherwise end too early. */
#include "protocol/sql_quote.h"

enum {
    LETTER = SQL_WORD_START | SQL_WORD_PART | SQL_TAG_PART,
    NUMERAL = SQL_WORD_PART | SQL_DIGIT | SQL_TAG_PART,
};

/* \v is white space since PostgreSQL 16; before that it is a syntax error. */
const uint8_t sql_classes[256] = {
    [' '] = SQL_BLANK,    ['\t' ... '\r'] = SQL_BLANK, ['a' ... 'z'] = LETTER,  ['A' ... 'Z'] = LETTER,
    ['_'] = LETTER,       [0x80 ... 0xFF] = LETTER,    ['0' ... '9'] = NUMERAL, ['$'] = SQL_WORD_PART | SQL_SPECIAL,
    ['\''] = SQL_SPECIAL, ['"'] = SQL_SPECIAL,         ['-'] = SQL_SPECIAL,     ['/'] = SQL_SPECIAL,
    [';'] = SQL_SPECIAL,
};

/* The next `c` at or after `at`, or the size of the text. */
static inline size_t find(const struct sql_lexer *l, size_t at, char c)
{
    if (at >= l->text.size)
        return l->text.size;
    if (__builtin_expect(!l->wide, 1)) {
        const char *found = memchr(l->text.data + at, c, l->text.size - at);
        return found ? (size_t)(found - l->text.data) : l->text.size;
    }
    while (at < l->text.size && l->text.data[at] != c)
        at = sql_step(l, at);
    return at;
}

/* --- comments --------------------------------------------------------------------------------- */

static size_t skip_line_comment(const struct sql_lexer *l, size_t at)
{
    while (at < l->text.size && l->text.data[at] != '\n' && l->text.data[at] != '\r')
        at = sql_step(l, at);
    return at;
}

static size_t skip_block_comment(const struct sql_lexer *l, size_t at)
{
    size_t depth = 0;
    while (at < l->text.size) {
        char c = l->text.data[at];
        if (c == '/' && sql_peek(l, at + 1) == '*') {
            depth++;
            at += 2;
        } else if (c == '*' && sql_peek(l, at + 1) == '/') {
            at += 2;
            if (--depth == 0)
                return at;
        } else {
            at = sql_step(l, at);
        }
    }
    return sql_unfinished(l);
}

size_t sql_skip_comment(const struct sql_lexer *l, size_t at)
{
    return l->text.data[at] == '-' ? skip_line_comment(l, at) : skip_block_comment(l, at);
}

/* --- literals --------------------------------------------------------------------------------- */

size_t sql_next_piece(const struct sql_lexer *l, size_t at)
{
    bool broken_line = false;
    for (; at < l->text.size; at++) {
        char c = l->text.data[at];
        if (c == '\n' || c == '\r') {
            broken_line = true;
        } else if (c == '-' && sql_peek(l, at + 1) == '-') {
            at = skip_line_comment(l, at) - 1;
        } else if (!sql_is(c, SQL_BLANK)) {
            return broken_line && c == '\'' ? at + 1 : 0;
        }
    }
    return 0;
}

/* Says no, quickly, to nearly every literal that does not go on: behind it, or behind the space that follows it, stands something
 * that is neither white space nor a comment. */
static inline bool may_go_on(const struct sql_lexer *l, size_t at)
{
    char c = sql_peek(l, at);
    if (c == ' ')
        c = sql_peek(l, at + 1);
    return c == '-' || sql_is(c, SQL_BLANK);
}

/* The quote, or with backslashes the backslash, that comes next. */
static inline size_t find_in_string(const struct sql_lexer *l, size_t at, bool backslash)
{
    if (!backslash)
        return find(l, at, '\'');
    while (at < l->text.size && l->text.data[at] != '\'' && l->text.data[at] != '\\')
        at = sql_step(l, at);
    return at;
}

/* U&'' has no backslashes that matter here; without standard_conforming_strings it is an error. */
static bool has_backslashes(const struct sql_lexer *l, char prefix)
{
    return prefix == 'e' || (prefix == 0 && l->backslash);
}

/* Bit strings alone end at every quote. */
static bool has_doubled_quotes(char prefix)
{
    return prefix != 'b' && prefix != 'x';
}

size_t sql_skip_string(const struct sql_lexer *l, size_t at, char prefix)
{
    bool backslash = has_backslashes(l, prefix);
    for (at++;;) {
        at = find_in_string(l, at, backslash);
        if (at >= l->text.size)
            return sql_unfinished(l);
        if (l->text.data[at] == '\\') {
            at = at + 1 < l->text.size ? sql_step(l, at + 1) : sql_unfinished(l);
            continue;
        }
        at++;
        if (sql_peek(l, at) == '\'' && has_doubled_quotes(prefix)) {
            at++;
            continue;
        }
        size_t piece = may_go_on(l, at) ? sql_next_piece(l, at) : 0;
        if (!piece)
            return at;
        at = piece;
    }
}

size_t sql_skip_name(const struct sql_lexer *l, size_t at)
{
    for (at++;;) {
        at = find(l, at, '"');
        if (at >= l->text.size)
            return sql_unfinished(l);
        at++;
        if (sql_peek(l, at) != '"')
            return at;
        at++;
    }
}

/* --- dollar quotes ---------------------------------------------------------------------------- */

size_t sql_dollar_delimiter(const struct sql_lexer *l, size_t at)
{
    size_t end = at + 1;
    if (sql_is(sql_peek(l, end), SQL_WORD_START))
        while (end < l->text.size && sql_is(l->text.data[end], SQL_TAG_PART))
            end = sql_step(l, end);
    return sql_peek(l, end) == '$' ? end + 1 - at : 0;
}

size_t sql_skip_dollar(const struct sql_lexer *l, size_t at, size_t delimiter)
{
    struct span tag = span_make(l->text.data + at, delimiter);
    at = find(l, at + delimiter, '$');
    while (at + delimiter <= l->text.size) {
        if (span_equal(tag, span_make(l->text.data + at, delimiter)))
            return at + delimiter;
        at = find(l, at + 1, '$');
    }
    return sql_unfinished(l);
}
