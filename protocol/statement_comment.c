/* The route in a sqlcommenter comment: k='v',k2='v2', URL-encoded, with \' for a quote.
 *
 * Read leniently, for two libraries differ from the specification: Google's for Python doubles every percent sign for its driver, and
 * Rails' older comments are written k:v. */
#include "protocol/statement.h"

/* --- one comment ------------------------------------------------------------------------------ */

static size_t skip_spaces(struct span s, size_t at)
{
    while (at < s.size && (s.data[at] == ' ' || s.data[at] == '\t' || s.data[at] == '\n' || s.data[at] == '\r'))
        at++;
    return at;
}

/* The byte at *at of a value, decoded; *at moves behind it. */
static char read_byte(struct span s, size_t *at)
{
    char c = s.data[(*at)++];
    if (c == '\\' && *at < s.size && s.data[*at] == '\'')
        return s.data[(*at)++];
    if (c != '%')
        return c;
    if (*at < s.size && s.data[*at] == '%')
        ++*at;
    int high = *at + 1 < s.size ? sql_hex_digit(s.data[*at]) : -1;
    int low = high >= 0 ? sql_hex_digit(s.data[*at + 1]) : -1;
    if (low < 0)
        return c;
    *at += 2;
    return (char)(high << 4 | low);
}

/* The end of the value at `at`: its closing quote, or without quotes the next comma or space. */
static size_t value_end(struct span s, size_t at, bool quoted)
{
    for (; at < s.size; at++) {
        if (quoted && s.data[at] == '\\')
            at++;
        else if (quoted ? s.data[at] == '\'' : s.data[at] == ',' || s.data[at] == ' ')
            break;
    }
    return at < s.size ? at : s.size;
}

struct pair {
    struct span key, value; /* encoded */
};

/* The pair at *at, which moves to the end of its value. False, with *at at a comma or the end: there is none. */
static bool read_pair(struct span s, size_t *at, struct pair *out)
{
    size_t start = *at = skip_spaces(s, *at);
    while (*at < s.size && s.data[*at] != '=' && s.data[*at] != ':' && s.data[*at] != ',')
        ++*at;
    if (*at == s.size || s.data[*at] == ',')
        return false;
    size_t key_end = *at;
    while (key_end > start && s.data[key_end - 1] == ' ')
        key_end--;
    out->key = span_make(s.data + start, key_end - start);
    *at = skip_spaces(s, *at + 1);
    bool quoted = *at < s.size && s.data[*at] == '\'';
    if (quoted)
        ++*at;
    size_t end = value_end(s, *at, quoted);
    out->value = span_make(s.data + *at, end - *at);
    *at = end;
    return true;
}

/* Leaves *route as it is when the comment names none. */
static bool find_route(struct span comment, struct span *route)
{
    struct pair pair;
    for (size_t at = 0; at < comment.size; at++) {
        if (read_pair(comment, &at, &pair) && sql_word_is(pair.key, "route") && pair.value.size > 0) {
            *route = pair.value;
            return true;
        }
        const char *comma = at < comment.size ? memchr(comment.data + at, ',', comment.size - at) : NULL;
        at = comma ? (size_t)(comma - comment.data) : comment.size; /* and past it */
    }
    return false;
}

/* False, and nothing appended, for a route with a NUL in it. */
static bool decode_route(struct span route, struct buffer *out)
{
    char *to = buffer_reserve(out, route.size);
    size_t size = 0;
    for (size_t at = 0; at < route.size;) {
        to[size] = read_byte(route, &at);
        if (!to[size++])
            return false;
    }
    out->size += size;
    return true;
}

/* --- all comments ----------------------------------------------------------------------------- */

bool statement_route_comment(struct span text, const struct sql_options *options, struct buffer *out)
{
    if (text.size == 0 || !memmem(text.data, text.size, "/*", 2))
        return false;
    struct sql_lexer l;
    sql_lexer_init(&l, text, options);
    struct span route = { 0 }, comment;
    size_t at = 0;
    while (sql_next_comment(&l, &at, &comment))
        find_route(comment, &route);
    return route.size > 0 && decode_route(route, out);
}
