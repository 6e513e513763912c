/* Where a statement ends.
 *
 * This is the hot path of the whole proxy: almost all SQL is looked at here and nowhere else. So there are no tokens: sixteen bytes at a
 * time are searched for the few that may begin a quoted thing or a comment, or are a semicolon. What kind of literal a quote
 * opens is told by looking back.
 *
 * Only CREATE may hold semicolons of its own, and is walked by tokens. Parentheses hide semicolons there and nowhere else: in any
 * other statement the server refuses them, and with them the whole string. */
#include "protocol/sql_quote.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* --- special bytes ---------------------------------------------------------------------------- */

/* Whether `c` begins something or is a semicolon, by the byte behind it: - alone and / alone are operators, $1 is a parameter. */
static inline bool is_beginning(char c, char next)
{
    if (!sql_is(c, SQL_SPECIAL))
        return false;
    switch (c) {
    case '-':
        return next == '-';
    case '/':
        return next == '*';
    case '$':
        return !sql_is(next, SQL_DIGIT);
    }
    return true;
}

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

/* The first of the bytes in `lanes`, the lowest of which is *bytes, that begins something; the end of the text when none does. */
static inline const char *first_beginning(const char *bytes, const char *end, unsigned lanes)
{
    for (; lanes; lanes &= lanes - 1) {
        const char *found = bytes + __builtin_ctz(lanes);
        if (*found == ';' || is_beginning(*found, found + 1 < end ? found[1] : 0))
            return found;
    }
    return end;
}

/* The first byte of [at, end) that begins something, or `end`. The text may be read from `start` on. */
static inline __attribute__((always_inline)) const char *find_in_bytes(const char *start, const char *at,
                                                                       const char *end)
{
    if (__builtin_expect(end - start >= LANES, 1)) {
        const char *last = end - LANES;
        for (; at <= last; at += LANES) {
            unsigned lanes = special_lanes(at);
            if (__builtin_expect(lanes == 0, 1))
                continue;
            const char *found = first_beginning(at, end, lanes);
            if (found < end)
                return found;
        }
        /* The last sixteen again; those that were seen before fall out of the mask. */
        return first_beginning(at, end, special_lanes(last) >> (at - last));
    }
    for (; at < end; at++)
        if (is_beginning(*at, at + 1 < end ? at[1] : 0))
            return at;
    return end;
}

#else

static inline __attribute__((always_inline)) const char *find_in_bytes(const char *start, const char *at,
                                                                       const char *end)
{
    (void)start;
    while (at < end && !is_beginning(*at, at + 1 < end ? at[1] : 0))
        at++;
    return at;
}

#endif

/* The next byte at or after `at` that begins a quoted thing or a comment, or is a semicolon; or the size of the text. */
static size_t find_special(const struct sql_lexer *l, size_t at)
{
    const char *text = l->text.data;
    if (!l->wide)
        return (size_t)(find_in_bytes(text, text + at, text + l->text.size) - text);
    while (at < l->text.size && !is_beginning(text[at], sql_peek(l, at + 1)))
        at = sql_step(l, at);
    return at;
}

/* --- statements ------------------------------------------------------------------------------- */

/* What has been passed on the way to the end. */
struct walk {
    size_t quoted;        /* behind the last quoted thing: no word reaches back over it */
    size_t blank, unused; /* from, to: the last run of white space and comments that ended in a comment */
};

/* Whether a word is still going on in front of `at`, or a number or parameter, behind which no literal may stand. */
static bool is_inside_word(const struct sql_lexer *l, const struct walk *w, size_t at)
{
    return at > w->quoted && sql_is(l->text.data[at - 1], SQL_WORD_PART);
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
    while (at > w->unused && sql_is(l->text.data[at - 1], SQL_BLANK))
        at--;
    return at;
}

static size_t pass_comment(const struct sql_lexer *l, struct walk *w, size_t at)
{
    size_t blank = skip_blank_back(l, w, at);
    size_t end = sql_skip_comment(l, at);
    if (end > l->text.size) /* it stands for a token that the server will refuse */
        return end;
    if (blank != w->unused)
        w->blank = blank;
    w->unused = end;
    return end;
}

/* Behind what begins at `at`. */
static size_t pass(const struct sql_lexer *l, struct walk *w, size_t at)
{
    size_t delimiter;
    switch (l->text.data[at]) {
    case '\'':
        return w->quoted = sql_skip_string(l, at, string_prefix(l, w, at));
    case '"':
        return w->quoted = sql_skip_name(l, at);
    case '$':
        if (!is_inside_word(l, w, at) && (delimiter = sql_dollar_delimiter(l, at)))
            return w->quoted = sql_skip_dollar(l, at, delimiter);
        break;
    case '-':
    case '/':
        return pass_comment(l, w, at);
    }
    return at + 1;
}

static inline struct walk walk_from(size_t at)
{
    return (struct walk){ .quoted = at, .blank = at, .unused = at };
}

/* From something special at `at` on: the semicolon, or the size of the text, or one more when the text ends inside of something. */
static size_t walk_to_semicolon(const struct sql_lexer *l, struct walk *w, size_t at)
{
    while (at < l->text.size && l->text.data[at] != ';') {
        at = pass(l, w, at);
        if (at > l->text.size)
            break;
        at = find_special(l, at);
    }
    return at;
}

static __attribute__((noinline)) size_t walk_to_next(const struct sql_lexer *l, size_t begin, size_t at)
{
    struct walk w = walk_from(begin);
    at = walk_to_semicolon(l, &w, at);
    return at < l->text.size ? at + 1 : l->text.size;
}

/* Most statements have nothing special in them but a semicolon, if that; for these nothing is called and nothing is kept. */
size_t sql_find_next(const struct sql_lexer *l, size_t at)
{
    if (__builtin_expect(l->wide != NULL, 0))
        return walk_to_next(l, at, find_special(l, at));
    const char *text = l->text.data, *end = text + l->text.size;
    const char *special = find_in_bytes(text, text + at, end);
    if (special == end)
        return l->text.size;
    if (*special == ';')
        return (size_t)(special - text) + 1;
    return walk_to_next(l, at, (size_t)(special - text));
}

struct sql_extent sql_find_end(const struct sql_lexer *l, size_t at)
{
    struct walk w = walk_from(at);
    at = walk_to_semicolon(l, &w, find_special(l, at));
    if (at > l->text.size)
        return (struct sql_extent){ l->text.size, l->text.size };
    size_t end = skip_blank_back(l, &w, at);
    if (end == w.unused)
        end = w.blank;
    return (struct sql_extent){ end, at < l->text.size ? at + 1 : at };
}

bool sql_next_comment(const struct sql_lexer *l, size_t *at, struct span *comment)
{
    struct walk w = walk_from(*at);
    for (size_t start; (start = find_special(l, *at)) < l->text.size;) {
        *at = pass(l, &w, start);
        if (*at > l->text.size)
            return false;
        if (l->text.data[start] == '/') {
            *comment = span_make(l->text.data + start + 2, *at - start - 4);
            return true;
        }
    }
    return false;
}

/* --- CREATE ----------------------------------------------------------------------------------- */

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
