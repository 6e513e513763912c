/* Tokens. They serve the few statements whose words matter; that almost all SQL can do without them is sql_end.c's story. */
#include "protocol/sql_quote.h"

#include <endian.h>

void sql_lexer_init(struct sql_lexer *l, struct span text, const struct sql_options *options)
{
    l->text = text;
    l->at = 0;
    l->backslash = !options->standard_conforming_strings;
    l->wide = encoding_is_ascii_safe(options->encoding) ? NULL : options->encoding;
}

/* --- between tokens --------------------------------------------------------------------------- */

size_t sql_skip_blank(const struct sql_lexer *l, size_t at)
{
    while (at < l->text.size) {
        size_t next = at + 1;
        if (!sql_is(l->text.data[at], SQL_BLANK)) {
            if (!sql_is_comment(l, at) || (next = sql_skip_comment(l, at)) > l->text.size)
                return at;
        }
        at = next;
    }
    return at;
}

size_t sql_skip_empty(const struct sql_lexer *l, size_t at)
{
    for (at = sql_skip_blank(l, at); sql_peek(l, at) == ';'; at = sql_skip_blank(l, at))
        at++;
    return at;
}

/* --- tokens ----------------------------------------------------------------------------------- */

size_t sql_skip_word(const struct sql_lexer *l, size_t at)
{
    struct span text = l->text;
    if (!sql_is(sql_peek(l, at), SQL_WORD_START))
        return at;
    if (l->wide) {
        while (at < text.size && sql_is(text.data[at], SQL_WORD_PART))
            at = sql_step(l, at);
        return at;
    }
    while (at < text.size && sql_is(text.data[at], SQL_WORD_PART))
        at++;
    return at;
}

/* Digits with a point and an exponent, and whatever letters cling to them: 0x1F and 1_000 are numbers, 1abc is none, which the
 * server will say. */
static size_t skip_number(const struct sql_lexer *l, size_t at)
{
    bool point_allowed = true;
    for (; at < l->text.size; at++) {
        char c = l->text.data[at];
        bool sign =
            (c == '+' || c == '-') && sql_lower(l->text.data[at - 1]) == 'e' && sql_is(sql_peek(l, at + 1), SQL_DIGIT);
        bool point = c == '.' && point_allowed && sql_peek(l, at + 1) != '.';
        if (!sql_is(c, SQL_TAG_PART) && !point && !sign)
            return at;
        if (point || (sql_is(c, SQL_WORD_START) && c != '_'))
            point_allowed = false;
    }
    return at;
}

static size_t skip_parameter(const struct sql_lexer *l, size_t at)
{
    do
        at++;
    while (sql_is(sql_peek(l, at), SQL_DIGIT));
    return at;
}

static size_t word_token(const struct sql_lexer *l, size_t at, enum sql_token_kind *kind)
{
    char first = sql_lower(l->text.data[at]), second = sql_peek(l, at + 1);
    if (second == '\'' && (first == 'e' || first == 'b' || first == 'x')) {
        *kind = first == 'e' ? SQL_STRING : SQL_BITS;
        return sql_skip_string(l, at + 1, first);
    }
    if (first == 'u' && second == '&' && sql_peek(l, at + 2) == '\'') {
        *kind = SQL_STRING;
        return sql_skip_string(l, at + 2, first);
    }
    if (first == 'u' && second == '&' && sql_peek(l, at + 2) == '"') {
        *kind = SQL_NAME;
        return sql_skip_name(l, at + 2);
    }
    *kind = SQL_WORD;
    return sql_skip_word(l, at);
}

static size_t dollar_token(const struct sql_lexer *l, size_t at, enum sql_token_kind *kind)
{
    size_t delimiter = sql_dollar_delimiter(l, at);
    if (delimiter) {
        *kind = SQL_STRING;
        return sql_skip_dollar(l, at, delimiter);
    }
    if (sql_is(sql_peek(l, at + 1), SQL_DIGIT)) {
        *kind = SQL_PARAMETER;
        return skip_parameter(l, at);
    }
    *kind = SQL_SYMBOL;
    return at + 1;
}

/* The end and kind of the token at `at`. */
static size_t token_end(const struct sql_lexer *l, size_t at, enum sql_token_kind *kind)
{
    char c = l->text.data[at];
    if (sql_is(c, SQL_WORD_START))
        return word_token(l, at, kind);
    if (sql_is(c, SQL_DIGIT) || (c == '.' && sql_is(sql_peek(l, at + 1), SQL_DIGIT))) {
        *kind = SQL_NUMBER;
        return skip_number(l, at);
    }
    switch (c) {
    case '\'':
        *kind = SQL_STRING;
        return sql_skip_string(l, at, 0);
    case '"':
        *kind = SQL_NAME;
        return sql_skip_name(l, at);
    case '$':
        return dollar_token(l, at, kind);
    case '/':
        if (sql_is_comment(l, at)) /* that does not end, or it would have been skipped */
            return sql_unfinished(l);
        break;
    }
    *kind = SQL_SYMBOL;
    bool is_pair = (c == ':' || c == '.') && sql_peek(l, at + 1) == c;
    return is_pair ? at + 2 : at + 1;
}

struct sql_token sql_lexer_next(struct sql_lexer *l)
{
    struct sql_token token = { .kind = SQL_END };
    size_t at = sql_skip_blank(l, l->at);
    size_t end = at;
    if (at < l->text.size) {
        end = token_end(l, at, &token.kind);
        if (end > l->text.size) {
            token.kind = SQL_BROKEN;
            end = l->text.size;
        }
    }
    token.text = span_make(l->text.data + at, end - at);
    l->at = end;
    return token;
}

/* --- words ------------------------------------------------------------------------------------ */

bool sql_word_is(struct span text, const char *word)
{
    size_t i = 0;
    while (i < text.size && word[i] && sql_lower(text.data[i]) == word[i])
        i++;
    return i == text.size && !word[i];
}

/* The first `size` bytes of a key. */
static inline uint64_t cut_key(uint64_t key, size_t size)
{
    return size < sizeof key ? key & (((uint64_t)1 << 8 * size) - 1) : key;
}

/* A bit, the highest of its byte, for each byte that is a lower-case letter. All eight at once: a byte below 0x80 plus a distance carries
 * into its highest bit exactly when it reaches a bound. */
static inline uint64_t letters_of(uint64_t key)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones * 0x80;
    uint64_t low = key & ~high;
    uint64_t from_a = low + ones * (0x80 - 'a'), over_z = low + ones * (0x7F - 'z');
    return from_a & ~over_z & ~key & high;
}

uint64_t sql_keyword_key(const struct sql_lexer *l, size_t at, size_t *end)
{
    uint64_t key = 0;
    size_t left = l->text.size - at;
    if (left >= sizeof key)
        memcpy(&key, l->text.data + at, sizeof key);
    else
        memcpy(&key, l->text.data + at, left);
    key = le64toh(key) | SQL_LOWER_CASE;
    uint64_t others = letters_of(key) ^ UINT64_C(0x8080808080808080);
    size_t size = others ? (size_t)__builtin_ctzll(others) / 8 : sizeof key;
    *end = at + size;
    if (!sql_is(sql_peek(l, at + size), SQL_WORD_PART))
        return cut_key(key, size);
    *end = sql_skip_word(l, at);
    return size == sizeof key ? key : 0;
}
