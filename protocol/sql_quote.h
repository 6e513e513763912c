/* Bytes and quoted things: what sql_lexer.c and sql_end.c are made of, and nobody else should need.
 *
 * Every sql_skip_… function takes the offset at which the thing begins, and returns the one behind it, or, when the text ends first,
 * sql_unfinished: one more than any offset. */
#ifndef PROTOCOL_SQL_QUOTE_H
#define PROTOCOL_SQL_QUOTE_H

#include "protocol/sql_lexer.h"

enum {
    SQL_BLANK = 1,      /* white space */
    SQL_WORD_START = 2, /* may begin an identifier */
    SQL_WORD_PART = 4,  /* may go on with one */
    SQL_DIGIT = 8,
    SQL_TAG_PART = 16, /* may stand in a dollar quote's tag */
    SQL_SPECIAL = 32   /* may begin a quoted thing or a comment, or end a statement */
};

extern const uint8_t sql_classes[256];

static inline bool sql_is(char c, unsigned class)
{
    return sql_classes[(unsigned char)c] & class;
}

/* The byte at `at`, or 0 behind the end: no rule asks for a NUL. */
static inline char sql_peek(const struct sql_lexer *l, size_t at)
{
    return at < l->text.size ? l->text.data[at] : 0;
}

/* Behind the character at `at`. */
static inline size_t sql_step(const struct sql_lexer *l, size_t at)
{
    if (__builtin_expect(!l->wide, 1) || (unsigned char)l->text.data[at] < 0x80)
        return at + 1;
    return at + encoding_character_size(l->wide, span_make(l->text.data + at, l->text.size - at));
}

static inline size_t sql_unfinished(const struct sql_lexer *l)
{
    return l->text.size + 1;
}

static inline bool sql_is_comment(const struct sql_lexer *l, size_t at)
{
    char c = l->text.data[at];
    return (c == '-' && sql_peek(l, at + 1) == '-') || (c == '/' && sql_peek(l, at + 1) == '*');
}

size_t sql_skip_comment(const struct sql_lexer *l, size_t at);

/* `at` is the opening quote; `prefix` what stands in front of it: 'e', 'b', 'x', 'u' for U&, or 0. */
size_t sql_skip_string(const struct sql_lexer *l, size_t at, char prefix);
size_t sql_skip_name(const struct sql_lexer *l, size_t at);

/* The size of the dollar quote's delimiter at `at`, or 0. */
size_t sql_dollar_delimiter(const struct sql_lexer *l, size_t at);
size_t sql_skip_dollar(const struct sql_lexer *l, size_t at, size_t delimiter);

#endif
