/* SQL as PostgreSQL's own scanner cuts it, as far as tokens and statement ends go.
 *
 * The lexer never fails: what PostgreSQL would refuse (an unfinished literal, a stray byte) comes out as SQL_BROKEN or as a symbol, and
 * the server is left to say so. It works on the client's bytes, so in encodings whose second bytes look like ASCII it steps
 * by characters (R13); in all others no byte below 0x80 is part of anything else. */
#ifndef PROTOCOL_SQL_LEXER_H
#define PROTOCOL_SQL_LEXER_H

#include <stdint.h>

#include "protocol/encoding.h"

/* How string literals are read: the server's standard_conforming_strings and the client's encoding. */
struct sql_options {
    bool standard_conforming_strings;
    const struct encoding *encoding;
};

struct sql_lexer {
    struct span text;
    size_t at;                   /* where the next token is looked for */
    bool backslash;              /* '' literals have escapes as E'' ones do */
    const struct encoding *wide; /* NULL: bytes below 0x80 are characters of their own */
};

enum sql_token_kind {
    SQL_END,       /* nothing but white space and comments was left */
    SQL_WORD,      /* a keyword or an unquoted identifier */
    SQL_NAME,      /* "…" or U&"…" */
    SQL_STRING,    /* '', E'', U&'' or $$ $$, with the pieces that follow on further lines */
    SQL_BITS,      /* B'' or X'' */
    SQL_NUMBER,    /* without a sign */
    SQL_PARAMETER, /* $n */
    SQL_SYMBOL,    /* one byte of anything else; "::" and ".." are one symbol each */
    SQL_BROKEN     /* an unfinished literal, name or comment, up to the end of the text */
};

struct sql_token {
    enum sql_token_kind kind;
    struct span text;
};

/* Where a statement ends. */
struct sql_extent {
    size_t end;  /* behind its last token */
    size_t next; /* behind its semicolon, or the size of the text */
};

void sql_lexer_init(struct sql_lexer *l, struct span text, const struct sql_options *options);
struct sql_token sql_lexer_next(struct sql_lexer *l);

/* The first byte at or after `at` that is neither white space nor in a comment. An unfinished comment is not skipped. */
size_t sql_skip_blank(const struct sql_lexer *l, size_t at);
/* The same, skipping semicolons too: where a statement begins. */
size_t sql_skip_empty(const struct sql_lexer *l, size_t at);
/* The end of the word that begins at `at`; `at` itself when none does. */
size_t sql_skip_word(const struct sql_lexer *l, size_t at);

/* The end of the statement that begins at `at`: at the first semicolon outside of quotes and comments. sql_find_next says only what is
 * behind it. */
struct sql_extent sql_find_end(const struct sql_lexer *l, size_t at);
size_t sql_find_next(const struct sql_lexer *l, size_t at);
/* The same for one that begins with CREATE: semicolons in parentheses (the actions of a rule) and in a BEGIN ATOMIC body are
 * its own. */
struct sql_extent sql_find_create_end(const struct sql_lexer *l, size_t at);

/* The inside of the next block comment at or after *at, which moves behind it; semicolons do not matter. False: there is none. */
bool sql_next_comment(const struct sql_lexer *l, size_t *at, struct span *comment);

/* `at` stands behind the closing quote of a piece of a literal. When it goes on behind a line break, the offset behind the opening
 * quote of the next piece; else 0. */
size_t sql_next_piece(const struct sql_lexer *l, size_t at);

/* ASCII letters only, as PostgreSQL compares keywords; `word` is in lower case. */
bool sql_word_is(struct span text, const char *word);
/* The word at `at` as something that a switch over keywords can look at: its first eight letters, in lower case, in one integer.
 * 0 when there is no word, or one that is no keyword for it has something else in it. *end gets its end. */
uint64_t sql_keyword_key(const struct sql_lexer *l, size_t at, size_t *end);

#define SQL_KEY(a, b, c, d, e, f, g, h)                                                                     \
    ((uint64_t)(a) | (uint64_t)(b) << 8 | (uint64_t)(c) << 16 | (uint64_t)(d) << 24 | (uint64_t)(e) << 32 | \
     (uint64_t)(f) << 40 | (uint64_t)(g) << 48 | (uint64_t)(h) << 56)

/* Set in each byte of a key, it makes capital letters small ones. */
#define SQL_LOWER_CASE UINT64_C(0x2020202020202020)

static inline char sql_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* The value of a hexadecimal digit, or -1. */
static inline int sql_hex_digit(char c)
{
    char lower = sql_lower(c);
    if (c >= '0' && c <= '9')
        return c - '0';
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

#endif
