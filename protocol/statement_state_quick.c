/* The quick look, which every text of a pooled client gets: false for nearly all of them, without a token being cut.
 *
 * It relies on what the walk (statement_state.c, statement_state_walk.c) can find at all:
 *   - what a statement's first word says, of UPDATE the second, and of WITH and COPY whether pg_settings is named behind them. Statements begin at
 *     the text's start or behind a semicolon, be it one in a literal;
 *   - a call of one of a few functions: a name in front of a parenthesis;
 *   - a word that begins with temp;
 *   - a name whose letters are escaped: it begins with U&".
 * So sixteen bytes at a time are searched for `;`, `(`, `&` and the letters `em` or `mp`, and what stands around those is looked at. The letters
 * are compared two by two: of "temp" either `em` or `mp` stands at such a place. No byte that is searched for is the second
 * byte of a character in any encoding, but for the letters, and these can only be found too often. */
#include <endian.h>
#include <strings.h>

#include "protocol/sql_quote.h"
#include "protocol/statement_state.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* --- first words ------------------------------------------------------------------------------ */

/* Words that leave nothing behind as a statement's first one. There are more; these are the frequent ones. */
static bool is_harmless_word(uint64_t key, size_t size)
{
    switch (key) {
    case SQL_KEY('s', 'e', 'l', 'e', 'c', 't', 0, 0):
    case SQL_KEY('i', 'n', 's', 'e', 'r', 't', 0, 0):
    case SQL_KEY('d', 'e', 'l', 'e', 't', 'e', 0, 0):
    case SQL_KEY('v', 'a', 'l', 'u', 'e', 's', 0, 0):
    case SQL_KEY('m', 'e', 'r', 'g', 'e', 0, 0, 0):
    case SQL_KEY('c', 'a', 'l', 'l', 0, 0, 0, 0):
    case SQL_KEY('b', 'e', 'g', 'i', 'n', 0, 0, 0):
    case SQL_KEY('s', 't', 'a', 'r', 't', 0, 0, 0):
    case SQL_KEY('c', 'o', 'm', 'm', 'i', 't', 0, 0):
    case SQL_KEY('e', 'n', 'd', 0, 0, 0, 0, 0):
    case SQL_KEY('a', 'b', 'o', 'r', 't', 0, 0, 0):
    case SQL_KEY('r', 'e', 'l', 'e', 'a', 's', 'e', 0):
    case SQL_KEY('f', 'e', 't', 'c', 'h', 0, 0, 0):
    case SQL_KEY('c', 'l', 'o', 's', 'e', 0, 0, 0):
    case SQL_KEY('s', 'h', 'o', 'w', 0, 0, 0, 0):
    case SQL_KEY('n', 'o', 't', 'i', 'f', 'y', 0, 0):
    case SQL_KEY('l', 'o', 'c', 'k', 0, 0, 0, 0):
        return true;
    case SQL_KEY('r', 'o', 'l', 'l', 'b', 'a', 'c', 'k'):
        return size == sizeof "rollback" - 1;
    case SQL_KEY('s', 'a', 'v', 'e', 'p', 'o', 'i', 'n'):
        return size == sizeof "savepoint" - 1;
    }
    return false;
}

/* Whether the table behind UPDATE is none of the catalog's: pg_settings is a setting (statement_state_walk.c). */
static bool is_harmless_update(const struct sql_lexer *l, size_t at)
{
    at = sql_skip_empty(l, at);
    if (l->text.size - at < 4)
        return true;
    const char *name = l->text.data + at;
    return name[0] != '"' && strncasecmp(name, "pg_", 3) != 0 && strncasecmp(name, "only", 4) != 0;
}

/* Words with which an UPDATE may begin: WITH x AS (…) UPDATE …, COPY (UPDATE …) TO … */
static bool is_head_of_update(uint64_t key)
{
    return key == SQL_KEY('w', 'i', 't', 'h', 0, 0, 0, 0) || key == SQL_KEY('c', 'o', 'p', 'y', 0, 0, 0, 0);
}

/* Whether pg_settings is named from here to the text's end: a semicolon in between may stand in a literal. */
static bool names_settings(struct span text, size_t at)
{
    static const char name[] = "pg_settings";
    enum { BEFORE = 2, SIZE = sizeof name - 1 };
    const char *end = text.data + text.size, *from = text.data + at, *found;
    while ((found = memchr(from, '_', (size_t)(end - from)))) {
        from = found + 1;
        if (found - text.data >= BEFORE && end - found >= SIZE - BEFORE && strncasecmp(found - BEFORE, name, SIZE) == 0)
            return true;
    }
    return false;
}

/* So far behind a semicolon its statement's first word is looked for, and what that one may update. The semicolons in one comment are as many
 * looks at the rest of it. */
enum { AHEAD_MAX = 1024 };

static __attribute__((noinline)) bool is_unusual_harmless(struct span text, size_t start)
{
    size_t at = start, left = text.size - at, near = left < AHEAD_MAX ? left : AHEAD_MAX;
    struct sql_lexer l = { .text = span_make(text.data, at + near) };
    at = sql_skip_empty(&l, at);
    if (at == l.text.size)
        return near == left;
    l.text = text;
    size_t end = at;
    uint64_t key = sql_keyword_key(&l, at, &end);
    if (key == SQL_KEY('u', 'p', 'd', 'a', 't', 'e', 0, 0))
        return is_harmless_update(&l, end);
    if (is_head_of_update(key))
        return (start == 0 || near == left) && !names_settings(text, end);
    return is_harmless_word(key, end - at);
}

/* The first eight bytes at `at` in lower case, with spaces behind the end of the text. */
static inline uint64_t first_bytes(struct span text, size_t at)
{
    uint64_t word = 0;
    size_t left = text.size - at;
    if (__builtin_expect(left >= sizeof word, 1))
        memcpy(&word, text.data + at, sizeof word);
    else
        memcpy(&word, text.data + at, left);
    return le64toh(word) | SQL_LOWER_CASE;
}

/* Whether the name at `at` is certainly not pg_settings. */
static inline bool is_plain_table(struct span text, size_t at)
{
    if (text.size < at + 3)
        return false;
    char first = sql_lower(text.data[at]);
    return (first >= 'a' && first <= 'z' && first != 'o' && first != 'p' && first != 'u') ||
           (first == 'p' && text.data[at + 2] != '_');
}

/* Whether the statement that would begin at `at` leaves nothing behind by its first word. The most frequent ones are known at a look. */
static inline bool is_harmless(struct span text, size_t at)
{
    switch (first_bytes(text, at) << 8) {
    case SQL_KEY(0, 's', 'e', 'l', 'e', 'c', 't', ' '):
    case SQL_KEY(0, 'i', 'n', 's', 'e', 'r', 't', ' '):
    case SQL_KEY(0, 'd', 'e', 'l', 'e', 't', 'e', ' '):
    case SQL_KEY(0, 'b', 'e', 'g', 'i', 'n', ' ', ' '):
    case SQL_KEY(0, 'b', 'e', 'g', 'i', 'n', ';', ' '):
    case SQL_KEY(0, 'c', 'o', 'm', 'm', 'i', 't', ' '):
    case SQL_KEY(0, 'c', 'o', 'm', 'm', 'i', 't', ';'):
        return true;
    case SQL_KEY(0, 'u', 'p', 'd', 'a', 't', 'e', ' '):
        if (is_plain_table(text, at + sizeof "update"))
            return true;
        break;
    }
    return is_unusual_harmless(text, at);
}

/* --- calls ------------------------------------------------------------------------------------ */

/* What SQL_LOWER_CASE makes of an underscore. */
enum { UNDERSCORE = '_' | 0x20 };

/* Whether a name that ends at `end` may be one of the walk's functions, by its last eight letters. */
static bool may_be_ours(struct span text, size_t end)
{
    uint64_t last;
    if (end < sizeof last)
        return false;
    memcpy(&last, text.data + end - sizeof last, sizeof last);
    last = le64toh(last) | SQL_LOWER_CASE;
    switch (last) {
    case SQL_KEY('t', UNDERSCORE, 'c', 'o', 'n', 'f', 'i', 'g'): /* set_config */
    case SQL_KEY('o', 'r', 'y', UNDERSCORE, 'l', 'o', 'c', 'k'): /* pg_advisory_lock, but not pg_advisory_xact_lock */
    case SQL_KEY('k', UNDERSCORE, 's', 'h', 'a', 'r', 'e', 'd'):
    case SQL_KEY('u', 'p', UNDERSCORE, 's', 't', 'a', 'r', 't'): /* pg_backup_start */
    case SQL_KEY('t', UNDERSCORE, 'b', 'a', 'c', 'k', 'u', 'p'): /* pg_start_backup */
    case SQL_KEY('o', 'n', UNDERSCORE, 's', 'e', 't', 'u', 'p'): /* pg_replication_origin_session_setup */
    case SQL_KEY('i', 'o', 'n', UNDERSCORE, 's', 'l', 'o', 't'): /* pg_create_logical_replication_slot */
    case SQL_KEY(UNDERSCORE, 'c', 'o', 'n', 'n', 'e', 'c', 't'): /* dblink_connect */
    case SQL_KEY('o', 'n', 'n', 'e', 'c', 't', UNDERSCORE, 'u'):
    case SQL_KEY('y', UNDERSCORE, 't', 'o', UNDERSCORE, 'x', 'm', 'l'): /* query_to_xml */
    case SQL_KEY('m', 'l', 's', 'c', 'h', 'e', 'm', 'a'):
        return true;
    }
    return last >> 8 == SQL_KEY('s', 'e', 't', 's', 'e', 'e', 'd', 0) ||
           last >> 8 == SQL_KEY('t', 's', UNDERSCORE, 's', 't', 'a', 't', 0);
}

/* Whether a line comment may end at the line break in front of `at`: then what stands there is no name. */
static bool is_behind_line_comment(struct span text, size_t at)
{
    while (at > 1 && text.data[at - 1] != '\n' && text.data[at - 1] != '\r') {
        at--;
        if (text.data[at] == '-' && text.data[at - 1] == '-')
            return true;
    }
    return false;
}

/* Whether the parenthesis at `at` may be that of a call that leaves something behind. */
static bool may_be_call(struct span text, size_t at)
{
    bool broken_line = false;
    for (; at > 0 && sql_is(text.data[at - 1], SQL_BLANK); at--)
        broken_line = broken_line || text.data[at - 1] == '\n' || text.data[at - 1] == '\r';
    if (at == 0)
        return false;
    if (text.data[at - 1] == '/' || (broken_line && is_behind_line_comment(text, at)))
        return true; /* a comment in between */
    return may_be_ours(text, text.data[at - 1] == '"' ? at - 1 : at);
}

/* --- the search ------------------------------------------------------------------------------- */

/* Whether "temp" stands around the `m` at `at`, in letters of any case. */
static inline bool is_temp(struct span text, size_t at)
{
    uint32_t word;
    if (at < 2 || text.size - at < 2)
        return false;
    memcpy(&word, text.data + at - 2, sizeof word);
    return (le32toh(word) | 0x20202020) == (uint32_t)SQL_KEY('t', 'e', 'm', 'p', 0, 0, 0, 0);
}

/* Whether the byte at `at` is part of something that may leave state; of a pair of letters it is the first. */
static bool may_matter(struct span text, size_t at)
{
    char c = text.data[at];
    switch (c) {
    case ';':
        return at + 1 < text.size && !is_harmless(text, at + 1);
    case '(':
        return may_be_call(text, at);
    case '&':
        return at + 1 < text.size && text.data[at + 1] == '"';
    }
    return is_temp(text, sql_lower(c) == 'e' ? at + 1 : at);
}

#ifdef __SSE2__

enum { LANES = sizeof(__m128i) };

/* A bit for each of sixteen bytes that may_matter should see. */
static inline unsigned lanes_of(const char *bytes)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)bytes);
    __m128i lower = _mm_or_si128(v, _mm_set1_epi8(0x20));
    __m128i em = _mm_cmpeq_epi16(lower, _mm_set1_epi16('e' | 'm' << 8));
    __m128i mp = _mm_cmpeq_epi16(lower, _mm_set1_epi16('m' | 'p' << 8));
    __m128i pairs = _mm_and_si128(_mm_or_si128(em, mp), _mm_set1_epi16(0xFF));
    __m128i semicolon = _mm_cmpeq_epi8(v, _mm_set1_epi8(';'));
    __m128i parenthesis = _mm_cmpeq_epi8(v, _mm_set1_epi8('('));
    __m128i ampersand = _mm_cmpeq_epi8(v, _mm_set1_epi8('&'));
    __m128i special = _mm_or_si128(_mm_or_si128(semicolon, parenthesis), ampersand);
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(pairs, special));
}

static inline bool find_in_lanes(struct span text, size_t at, unsigned lanes)
{
    for (; lanes; lanes &= lanes - 1)
        if (may_matter(text, at + (unsigned)__builtin_ctz(lanes)))
            return true;
    return false;
}

/* The letters of "temp" are seen whether a block begins at an even or an odd offset, and also where an even one overlaps the last one, which
 * may be odd. */
static bool find(struct span text)
{
    size_t at = 0, last = text.size - LANES;
    if (__builtin_expect(text.size < LANES, 0)) {
        char padded[LANES] = "";
        memcpy(padded, text.data, text.size);
        return find_in_lanes(text, 0, lanes_of(padded));
    }
    for (; at < last; at += LANES) {
        unsigned lanes = lanes_of(text.data + at);
        if (__builtin_expect(lanes != 0, 0) && find_in_lanes(text, at, lanes))
            return true;
    }
    return find_in_lanes(text, last, lanes_of(text.data + last));
}

#else

static bool find(struct span text)
{
    for (size_t at = 0; at < text.size; at++) {
        char c = text.data[at];
        bool sought = c == ';' || c == '(' || c == '&' || sql_lower(c) == 'm';
        if (sought && may_matter(text, at))
            return true;
    }
    return false;
}

#endif

bool statement_may_leave_state(struct span text)
{
    return text.size > 0 && (!is_harmless(text, 0) || find(text));
}
