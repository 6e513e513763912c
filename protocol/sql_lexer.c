/* Three layers over the same bytes.
 *
 * At the bottom, one function per quoted thing says where it ends: '' and "" with doubled quotes, E'' with backslashes, $tag$, nested
 * comments. A literal may go on behind a line break ('a' <newline> 'b' is one literal), and goes on in the manner it began: an
 * E'' literal whose second piece holds \' would otherwise end too early.
 *
 * In the middle, sql_lexer_next makes tokens of them. It serves the few statements whose words matter.
 *
 * On top, sql_find_end looks for a semicolon without making tokens. This is the hot path of the whole proxy: almost all SQL is looked
 * at here and nowhere else, sixteen bytes at a time, for six bytes that may begin something. What kind of literal a
 * quote opens is told by looking back. Only CREATE, which may hold semicolons of its own, is walked by tokens. */
#include "protocol/sql_lexer.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
    BLANK = 1,      /* white space */
    WORD_START = 2, /* may begin an identifier */
    WORD_PART = 4,  /* may go on with one */
    DIGIT = 8,
    TAG_PART = 16, /* may stand in a dollar quote's tag */
    SPECIAL = 32   /* sql_find_end has to look at it */
};

enum {
    LETTER = WORD_START | WORD_PART | TAG_PART,
    NUMERAL = WORD_PART | DIGIT | TAG_PART,
};

/* \v is white space since PostgreSQL 16; before that it is a syntax error. */
static const uint8_t classes[256] = {
    [' '] = BLANK,    ['\t' ... '\r'] = BLANK,  ['a' ... 'z'] = LETTER,  ['A' ... 'Z'] = LETTER,
    ['_'] = LETTER,   [0x80 ... 0xFF] = LETTER, ['0' ... '9'] = NUMERAL, ['$'] = WORD_PART | SPECIAL,
    ['\''] = SPECIAL, ['"'] = SPECIAL,          ['-'] = SPECIAL,         ['/'] = SPECIAL,
    [';'] = SPECIAL,
};

static inline bool is(char c, unsigned class)
{
    return classes[(unsigned char)c] & class;
}

void sql_lexer_init(struct sql_lexer *l, struct span text, const struct sql_options *options)
{
    l->text = text;
    l->at = 0;
    l->backslash = !options->standard_conforming_strings;
    l->wide = encoding_is_ascii_safe(options->encoding) ? NULL : options->encoding;
}

/* The byte at `at`, or 0 behind the end: no rule asks for a NUL. */
static inline char peek(const struct sql_lexer *l, size_t at)
{
    return at < l->text.size ? l->text.data[at] : 0;
}

/* Behind the character at `at`. */
static inline size_t step(const struct sql_lexer *l, size_t at)
{
    if (!l->wide || (unsigned char)l->text.data[at] < 0x80)
        return at + 1;
    return at + encoding_character_size(l->wide, span_make(l->text.data + at, l->text.size - at));
}

/* The next `c` at or after `at`, or the size of the text. */
static size_t find(const struct sql_lexer *l, size_t at, char c)
{
    if (!l->wide) {
        const char *found = at < l->text.size ? memchr(l->text.data + at, c, l->text.size - at) : NULL;
        return found ? (size_t)(found - l->text.data) : l->text.size;
    }
    while (at < l->text.size && l->text.data[at] != c)
        at = step(l, at);
    return at;
}

/* --- quoted things ---------------------------------------------------------------------------------- */

/* What unfinished things end at: one more than any offset. */
static inline size_t unfinished(const struct sql_lexer *l)
{
    return l->text.size + 1;
}

static bool is_comment(const struct sql_lexer *l, size_t at)
{
    char c = peek(l, at);
    return (c == '-' && peek(l, at + 1) == '-') || (c == '/' && peek(l, at + 1) == '*');
}

static size_t skip_line_comment(const struct sql_lexer *l, size_t at)
{
    while (at < l->text.size && l->text.data[at] != '\n' && l->text.data[at] != '\r')
        at = step(l, at);
    return at;
}

static size_t skip_block_comment(const struct sql_lexer *l, size_t at)
{
    size_t depth = 0;
    while (at < l->text.size) {
        char c = l->text.data[at];
        if (c == '/' && peek(l, at + 1) == '*') {
            depth++;
            at += 2;
        } else if (c == '*' && peek(l, at + 1) == '/') {
            at += 2;
            if (--depth == 0)
                return at;
        } else {
            at = step(l, at);
        }
    }
    return unfinished(l);
}

static size_t skip_comment(const struct sql_lexer *l, size_t at)
{
    return l->text.data[at] == '-' ? skip_line_comment(l, at) : skip_block_comment(l, at);
}

size_t sql_next_piece(const struct sql_lexer *l, size_t at)
{
    bool broken_line = false;
    for (; at < l->text.size; at++) {
        char c = l->text.data[at];
        if (c == '\n' || c == '\r') {
            broken_line = true;
        } else if (c == '-' && peek(l, at + 1) == '-') {
            at = skip_line_comment(l, at) - 1;
        } else if (!is(c, BLANK)) {
            return broken_line && c == '\'' ? at + 1 : 0;
        }
    }
    return 0;
}

/* How the inside of a literal is read. */
struct quoting {
    bool backslash; /* \ takes the next character with it */
    bool doubled;   /* '' stands for a quote */
};

/* The quote, or with backslashes the backslash, that comes next. */
static size_t find_in_string(const struct sql_lexer *l, size_t at, bool backslash)
{
    if (!backslash)
        return find(l, at, '\'');
    while (at < l->text.size && l->text.data[at] != '\'' && l->text.data[at] != '\\')
        at = step(l, at);
    return at;
}

/* `at` is the opening quote. */
static size_t skip_string(const struct sql_lexer *l, size_t at, struct quoting q)
{
    at++;
    for (;;) {
        at = find_in_string(l, at, q.backslash);
        if (at >= l->text.size)
            return unfinished(l);
        if (l->text.data[at] == '\\') {
            at = at + 1 < l->text.size ? step(l, at + 1) : unfinished(l);
            continue;
        }
        at++;
        if (q.doubled && peek(l, at) == '\'') {
            at++;
            continue;
        }
        size_t piece = sql_next_piece(l, at);
        if (!piece)
            return at;
        at = piece;
    }
}

static size_t skip_name(const struct sql_lexer *l, size_t at)
{
    at++;
    for (;;) {
        at = find(l, at, '"');
        if (at >= l->text.size)
            return unfinished(l);
        at++;
        if (peek(l, at) != '"')
            return at;
        at++;
    }
}

/* The size of the dollar quote's delimiter at `at`, or 0. */
static size_t dollar_delimiter(const struct sql_lexer *l, size_t at)
{
    size_t end = at + 1;
    if (is(peek(l, end), WORD_START))
        while (end < l->text.size && is(l->text.data[end], TAG_PART))
            end = step(l, end);
    return peek(l, end) == '$' ? end + 1 - at : 0;
}

static size_t skip_dollar(const struct sql_lexer *l, size_t at, size_t delimiter)
{
    struct span tag = span_make(l->text.data + at, delimiter);
    at = find(l, at + delimiter, '$');
    while (at + delimiter <= l->text.size) {
        if (span_equal(tag, span_make(l->text.data + at, delimiter)))
            return at + delimiter;
        at = find(l, at + 1, '$');
    }
    return unfinished(l);
}

/* How the literal whose opening quote is behind `prefix` is read; 0 for a plain one. */
static struct quoting quoting_of(const struct sql_lexer *l, char prefix)
{
    switch (prefix) {
    case 'e':
        return (struct quoting){ .backslash = true, .doubled = true };
    case 'b':
    case 'x':
        return (struct quoting){ .backslash = false, .doubled = false };
    case 'u': /* U&'', which is an error without standard_conforming_strings */
        return (struct quoting){ .backslash = false, .doubled = true };
    }
    return (struct quoting){ .backslash = l->backslash, .doubled = true };
}

/* --- tokens ------------------------------------------------------------------------------------------- */

size_t sql_skip_blank(const struct sql_lexer *l, size_t at)
{
    while (at < l->text.size) {
        size_t next = at + 1;
        if (!is(l->text.data[at], BLANK)) {
            if (!is_comment(l, at) || (next = skip_comment(l, at)) > l->text.size)
                return at;
        }
        at = next;
    }
    return at;
}

size_t sql_skip_empty(const struct sql_lexer *l, size_t at)
{
    for (at = sql_skip_blank(l, at); peek(l, at) == ';'; at = sql_skip_blank(l, at))
        at++;
    return at;
}

size_t sql_skip_word(const struct sql_lexer *l, size_t at)
{
    if (!is(peek(l, at), WORD_START))
        return at;
    while (at < l->text.size && is(l->text.data[at], WORD_PART))
        at = step(l, at);
    return at;
}

/* Digits with a point and an exponent, and whatever letters cling to them: 0x1F and 1_000 are numbers, 1abc is none, which the
 * server will say. */
static size_t skip_number(const struct sql_lexer *l, size_t at)
{
    bool point_allowed = true;
    for (; at < l->text.size; at++) {
        char c = l->text.data[at];
        bool sign = (c == '+' || c == '-') && sql_lower(l->text.data[at - 1]) == 'e' && is(peek(l, at + 1), DIGIT);
        bool point = c == '.' && point_allowed && peek(l, at + 1) != '.';
        if (!is(c, TAG_PART) && !point && !sign)
            return at;
        if (point || (is(c, WORD_START) && c != '_'))
            point_allowed = false;
    }
    return at;
}

static size_t skip_parameter(const struct sql_lexer *l, size_t at)
{
    do
        at++;
    while (is(peek(l, at), DIGIT));
    return at;
}

static size_t word_token(const struct sql_lexer *l, size_t at, enum sql_token_kind *kind)
{
    char first = sql_lower(l->text.data[at]), second = peek(l, at + 1);
    if (second == '\'' && (first == 'e' || first == 'b' || first == 'x')) {
        *kind = first == 'e' ? SQL_STRING : SQL_BITS;
        return skip_string(l, at + 1, quoting_of(l, first));
    }
    if (first == 'u' && second == '&' && peek(l, at + 2) == '\'') {
        *kind = SQL_STRING;
        return skip_string(l, at + 2, quoting_of(l, first));
    }
    if (first == 'u' && second == '&' && peek(l, at + 2) == '"') {
        *kind = SQL_NAME;
        return skip_name(l, at + 2);
    }
    *kind = SQL_WORD;
    return sql_skip_word(l, at);
}

static size_t dollar_token(const struct sql_lexer *l, size_t at, enum sql_token_kind *kind)
{
    size_t delimiter = dollar_delimiter(l, at);
    if (delimiter) {
        *kind = SQL_STRING;
        return skip_dollar(l, at, delimiter);
    }
    if (is(peek(l, at + 1), DIGIT)) {
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
    if (is(c, WORD_START))
        return word_token(l, at, kind);
    if (is(c, DIGIT) || (c == '.' && is(peek(l, at + 1), DIGIT))) {
        *kind = SQL_NUMBER;
        return skip_number(l, at);
    }
    switch (c) {
    case '\'':
        *kind = SQL_STRING;
        return skip_string(l, at, quoting_of(l, 0));
    case '"':
        *kind = SQL_NAME;
        return skip_name(l, at);
    case '$':
        return dollar_token(l, at, kind);
    case '/':
        if (peek(l, at + 1) == '*')
            return unfinished(l);
        break;
    }
    *kind = SQL_SYMBOL;
    bool is_pair = (c == ':' || c == '.') && peek(l, at + 1) == c;
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

/* --- the end of a statement ----------------------------------------------------------------------------- */

#ifdef __SSE2__

enum { LANES = sizeof(__m128i) };

/* A bit for each of sixteen bytes that may be special: `"` to `'`, `-`, `/` and `;`. Three bytes between the first two are let in with
 * them, for one comparison less. */
static inline unsigned special_lanes(const char *bytes)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)bytes);
    __m128i above = _mm_sub_epi8(v, _mm_set1_epi8('"'));
    __m128i quote = _mm_cmpeq_epi8(_mm_min_epu8(above, _mm_set1_epi8('\'' - '"')), above);
    __m128i comment = _mm_cmpeq_epi8(_mm_or_si128(v, _mm_set1_epi8('-' ^ '/')), _mm_set1_epi8('/'));
    __m128i semicolon = _mm_cmpeq_epi8(v, _mm_set1_epi8(';'));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, comment), semicolon));
}

/* The next byte at or after `at` that may be special, or the size of the text. */
static inline size_t find_special_byte(struct span text, size_t at)
{
    for (; at + LANES <= text.size; at += LANES) {
        unsigned lanes = special_lanes(text.data + at);
        if (lanes)
            return at + (unsigned)__builtin_ctz(lanes);
    }
    if (text.size >= LANES) { /* the last sixteen again; those seen before fall out of the mask */
        size_t again = text.size - LANES;
        unsigned lanes = special_lanes(text.data + again) >> (at - again);
        return lanes ? at + (unsigned)__builtin_ctz(lanes) : text.size;
    }
    while (at < text.size && !is(text.data[at], SPECIAL))
        at++;
    return at;
}

#else

static inline size_t find_special_byte(struct span text, size_t at)
{
    while (at < text.size && !is(text.data[at], SPECIAL))
        at++;
    return at;
}

#endif

static inline size_t find_special(const struct sql_lexer *l, size_t at)
{
    if (!l->wide)
        return find_special_byte(l->text, at);
    while (at < l->text.size && !is(l->text.data[at], SPECIAL))
        at = step(l, at);
    return at;
}

/* What sql_find_end has passed. */
struct walk {
    size_t quoted;        /* behind the last quoted thing: no word reaches back over it */
    size_t blank, unused; /* from, to: the last run of white space and comments that ended in a comment */
};

/* Whether a word is still going on in front of `at`, or a number or parameter, behind which no literal may stand. */
static bool is_inside_word(const struct sql_lexer *l, const struct walk *w, size_t at)
{
    return at > w->quoted && is(l->text.data[at - 1], WORD_PART);
}

/* The prefix of the literal that opens at `at`, found by looking back. */
static char string_prefix(const struct sql_lexer *l, const struct walk *w, size_t at)
{
    if (at == w->quoted)
        return 0;
    char c = sql_lower(l->text.data[at - 1]);
    if (c == 'e' || c == 'b' || c == 'x')
        return is_inside_word(l, w, at - 1) ? 0 : c;
    if (c == '&' && at - 1 > w->quoted && sql_lower(l->text.data[at - 2]) == 'u')
        return is_inside_word(l, w, at - 2) ? 0 : 'u';
    return 0;
}

/* White space goes back to a token, or to a comment, which may have white space of its own. */
static size_t skip_blank_back(const struct sql_lexer *l, const struct walk *w, size_t at)
{
    while (at > w->unused && is(l->text.data[at - 1], BLANK))
        at--;
    return at;
}

static size_t pass_comment(const struct sql_lexer *l, struct walk *w, size_t at)
{
    size_t blank = skip_blank_back(l, w, at);
    size_t end = skip_comment(l, at);
    if (end > l->text.size) /* it stands for a token that the server will refuse */
        return end;
    if (blank != w->unused)
        w->blank = blank;
    w->unused = end;
    return end;
}

/* Behind the special byte at `at` and what it begins. */
static size_t pass(const struct sql_lexer *l, struct walk *w, size_t at)
{
    size_t delimiter;
    switch (l->text.data[at]) {
    case '\'':
        return w->quoted = skip_string(l, at, quoting_of(l, string_prefix(l, w, at)));
    case '"':
        return w->quoted = skip_name(l, at);
    case '$':
        if (!is_inside_word(l, w, at) && (delimiter = dollar_delimiter(l, at)))
            return w->quoted = skip_dollar(l, at, delimiter);
        break;
    case '-':
    case '/':
        if (is_comment(l, at))
            return pass_comment(l, w, at);
        break;
    }
    return at + 1;
}

struct sql_extent sql_find_end(const struct sql_lexer *l, size_t at)
{
    struct walk w = { .quoted = at, .blank = at, .unused = at };
    while ((at = find_special(l, at)) < l->text.size && l->text.data[at] != ';') {
        at = pass(l, &w, at);
        if (at > l->text.size)
            return (struct sql_extent){ l->text.size, l->text.size };
    }
    size_t end = skip_blank_back(l, &w, at);
    if (end == w.unused)
        end = w.blank;
    return (struct sql_extent){ end, at < l->text.size ? at + 1 : at };
}

bool sql_next_comment(const struct sql_lexer *l, size_t *at, struct span *comment)
{
    struct walk w = { .quoted = *at, .blank = *at, .unused = *at };
    for (size_t start = find_special(l, *at); start < l->text.size; start = find_special(l, *at)) {
        *at = pass(l, &w, start);
        if (*at > l->text.size)
            return false;
        if (l->text.data[start] == '/' && *at > start + 1) {
            *comment = span_make(l->text.data + start + 2, *at - start - 4);
            return true;
        }
    }
    return false;
}

/* --- CREATE ------------------------------------------------------------------------------------------------ */

/* How far the words CREATE [OR REPLACE] FUNCTION have been read. */
enum create_head { HEAD_START, HEAD_CREATE, HEAD_OR, HEAD_REPLACE, HEAD_ROUTINE, HEAD_BEGIN, HEAD_OTHER };

struct create {
    enum create_head head; /* of the statement that the walk is in, the innermost */
    size_t parentheses;
    size_t bodies; /* BEGIN ATOMIC … END that are open */
};

static enum create_head create_next_head(enum create_head head, struct span word)
{
    switch (head) {
    case HEAD_START:
        return sql_word_is(word, "create") ? HEAD_CREATE : HEAD_OTHER;
    case HEAD_CREATE:
        if (sql_word_is(word, "or"))
            return HEAD_OR;
        break;
    case HEAD_OR:
        return sql_word_is(word, "replace") ? HEAD_REPLACE : HEAD_OTHER;
    case HEAD_REPLACE:
        break;
    case HEAD_ROUTINE:
    case HEAD_BEGIN: /* arguments, result and options, up to a body */
        return sql_word_is(word, "begin") ? HEAD_BEGIN : HEAD_ROUTINE;
    case HEAD_OTHER:
        return HEAD_OTHER;
    }
    return sql_word_is(word, "function") || sql_word_is(word, "procedure") ? HEAD_ROUTINE : HEAD_OTHER;
}

/* A word outside of parentheses. The END of a body stands where a statement would begin, unlike that of CASE, and unlike a column
 * that is called so. */
static void create_on_word(struct create *c, struct span word)
{
    if (c->bodies > 0 && c->head == HEAD_START && sql_word_is(word, "end")) {
        c->bodies--;
        c->head = HEAD_OTHER;
    } else if (c->head == HEAD_BEGIN && sql_word_is(word, "atomic")) {
        c->bodies++;
        c->head = HEAD_START;
    } else {
        c->head = create_next_head(c->head, word);
    }
}

/* Anything else that stands between words. */
static void create_on_other(struct create *c, char first)
{
    if (first == '(')
        c->parentheses++;
    else if (first == ')' && c->parentheses > 0)
        c->parentheses--;
    if (c->head == HEAD_BEGIN)
        c->head = HEAD_ROUTINE;
    else if (c->head != HEAD_ROUTINE)
        c->head = HEAD_OTHER;
}

struct sql_extent sql_find_create_end(const struct sql_lexer *l, size_t at)
{
    struct sql_lexer walk = *l;
    struct create c = { .head = HEAD_START };
    walk.at = at;
    for (size_t end = at;; end = walk.at) {
        struct sql_token token = sql_lexer_next(&walk);
        if (token.kind == SQL_END)
            return (struct sql_extent){ end, walk.text.size };
        if (token.kind == SQL_SYMBOL && token.text.data[0] == ';' && c.parentheses == 0) {
            if (c.bodies == 0)
                return (struct sql_extent){ end, walk.at };
            c.head = HEAD_START;
        } else if (token.kind != SQL_WORD) {
            create_on_other(&c, token.text.data[0]);
        } else if (c.parentheses == 0) {
            create_on_word(&c, token.text);
        }
    }
}

/* --- words --------------------------------------------------------------------------------------------------- */

bool sql_word_is(struct span text, const char *word)
{
    size_t i = 0;
    while (i < text.size && word[i] && sql_lower(text.data[i]) == word[i])
        i++;
    return i == text.size && !word[i];
}

uint64_t sql_word_key(struct span word)
{
    uint64_t key = 0;
    for (size_t i = word.size < sizeof key ? word.size : sizeof key; i-- > 0;)
        key = key << 8 | (unsigned char)sql_lower(word.data[i]);
    return key;
}
