/* A reader of JSON that walks, and keeps nothing but where it is.
 *
 *     VALUE ──{──► FIRST_KEY ──"key":──► VALUE          the same with [ and FIRST_VALUE
 *       │              └──}──┐             │
 *       └──── scalar ────────┴─► BEHIND_VALUE ──,──► KEY (in an object) or VALUE (in an array)
 *                                          └──} or ]──► BEHIND_VALUE of what is around it
 *
 * A text is over when the value at depth 0 is. The stack is a bit a level, so depth is bounded by a number, not by memory. */
#include "proxy/ops/json_reader.h"

#include "proxy/ops/json.h"

void json_reader_init(struct json_reader *r, struct span text)
{
    *r = (struct json_reader){ .text = text };
}

static enum json_token bad(struct json_reader *r, const char *expected)
{
    r->error = expected;
    r->place = PLACE_NOWHERE;
    return TOKEN_BAD;
}

/* The byte at `at`; '\0', which has no meaning in JSON, at the end. */
static char peek(const struct json_reader *r)
{
    return r->at < r->text.size ? r->text.data[r->at] : '\0';
}

static bool take(struct json_reader *r, char c)
{
    if (r->at >= r->text.size || r->text.data[r->at] != c)
        return false;
    r->at++;
    return true;
}

static void skip_space(struct json_reader *r)
{
    while (take(r, ' ') || take(r, '\n') || take(r, '\r') || take(r, '\t'))
        ;
}

/* --- scalars -------------------------------------------------------------------------------------- */

static bool is_hexadecimal(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool take_escape(struct json_reader *r)
{
    char c = peek(r);
    if (c == '\0' || strchr("\"\\/bfnrtu", c) == NULL)
        return false;
    r->at++;
    for (int i = 0; c == 'u' && i < 4; i++, r->at++)
        if (!is_hexadecimal(peek(r)))
            return false;
    return true;
}

static bool take_string(struct json_reader *r)
{
    if (!take(r, '"'))
        return bad(r, "a string"), false;
    while (!take(r, '"')) {
        struct span rest = span_make(r->text.data + r->at, r->text.size - r->at);
        size_t size = utf8_character_size(rest);
        if (rest.size == 0)
            return bad(r, "the end of a string"), false;
        if (size == 0)
            return bad(r, "UTF-8"), false;
        if ((unsigned char)rest.data[0] < 0x20)
            return bad(r, "control characters to be escaped"), false;
        r->at += size;
        if (rest.data[0] == '\\' && !take_escape(r))
            return bad(r, "a valid escape in a string"), false;
    }
    return true;
}

static bool take_digits(struct json_reader *r)
{
    size_t start = r->at;
    while (peek(r) >= '0' && peek(r) <= '9')
        r->at++;
    return r->at > start;
}

static enum json_token take_number(struct json_reader *r)
{
    enum json_token kind = TOKEN_INTEGER;
    (void)take(r, '-');
    if (!take(r, '0') && !take_digits(r))
        return bad(r, "a value");
    if (take(r, '.')) {
        kind = TOKEN_FLOAT;
        if (!take_digits(r))
            return bad(r, "digits behind the point of a number");
    }
    if (take(r, 'e') || take(r, 'E')) {
        kind = TOKEN_FLOAT;
        (void)(take(r, '+') || take(r, '-'));
        if (!take_digits(r))
            return bad(r, "digits in the exponent of a number");
    }
    return kind;
}

static enum json_token take_word(struct json_reader *r, const char *word, enum json_token kind)
{
    for (const char *c = word; *c != '\0'; c++)
        if (!take(r, *c))
            return bad(r, "a value");
    return kind;
}

static enum json_token take_scalar(struct json_reader *r)
{
    r->place = PLACE_BEHIND_VALUE;
    switch (peek(r)) {
    case '"':
        return take_string(r) ? TOKEN_STRING : TOKEN_BAD;
    case 't':
        return take_word(r, "true", TOKEN_TRUE);
    case 'f':
        return take_word(r, "false", TOKEN_FALSE);
    case 'n':
        return take_word(r, "null", TOKEN_NULL);
    default:
        return take_number(r);
    }
}

/* --- structure ------------------------------------------------------------------------------------ */

static enum json_token enter(struct json_reader *r, bool object)
{
    if (r->depth == JSON_READER_DEPTH)
        return bad(r, "at most 256 levels of objects and arrays");
    r->in_object[++r->depth] = object;
    r->place = object ? PLACE_FIRST_KEY : PLACE_FIRST_VALUE;
    return object ? TOKEN_OBJECT : TOKEN_ARRAY;
}

static enum json_token leave(struct json_reader *r)
{
    bool object = r->in_object[r->depth--];
    r->place = PLACE_BEHIND_VALUE;
    return object ? TOKEN_OBJECT_END : TOKEN_ARRAY_END;
}

static enum json_token take_value(struct json_reader *r)
{
    if (take(r, '{'))
        return enter(r, true);
    if (take(r, '['))
        return enter(r, false);
    return take_scalar(r);
}

/* The key and its colon; what is told of it is the key. */
static enum json_token take_key(struct json_reader *r, size_t *end)
{
    if (!take_string(r))
        return TOKEN_BAD;
    *end = r->at;
    skip_space(r);
    if (!take(r, ':'))
        return bad(r, "a colon behind a key");
    r->place = PLACE_VALUE;
    return TOKEN_KEY;
}

/* What may follow a value decides what stands around it. True: a comma was taken, and `place` says what must come now. */
static bool goes_on(struct json_reader *r)
{
    if (r->depth == 0 || !take(r, ','))
        return false;
    skip_space(r);
    r->place = r->in_object[r->depth] ? PLACE_KEY : PLACE_VALUE;
    return true;
}

static enum json_token take_end(struct json_reader *r)
{
    if (r->depth == 0)
        return r->at == r->text.size ? TOKEN_END : bad(r, "nothing behind the value");
    if (take(r, r->in_object[r->depth] ? '}' : ']'))
        return leave(r);
    return bad(r, r->in_object[r->depth] ? "a comma or the end of an object" : "a comma or the end of an array");
}

static enum json_token take_token(struct json_reader *r, size_t *end)
{
    switch (r->place) {
    case PLACE_FIRST_VALUE:
        return take(r, ']') ? leave(r) : take_value(r);
    case PLACE_VALUE:
        return take_value(r);
    case PLACE_FIRST_KEY:
        return take(r, '}') ? leave(r) : take_key(r, end);
    case PLACE_KEY:
        return take_key(r, end);
    case PLACE_BEHIND_VALUE:
        return take_end(r);
    case PLACE_NOWHERE:
        break;
    }
    return TOKEN_BAD;
}

enum json_token json_reader_next(struct json_reader *r, struct span *raw)
{
    skip_space(r);
    if (r->place == PLACE_BEHIND_VALUE)
        (void)goes_on(r);
    size_t start = r->at;
    size_t end = 0;
    enum json_token token = take_token(r, &end);
    *raw = span_make(r->text.data + start, (end > 0 ? end : r->at) - start);
    return token;
}

enum json_token json_reader_value(struct json_reader *r, struct span *raw)
{
    unsigned depth = r->depth;
    enum json_token first = json_reader_next(r, raw);
    const char *start = raw->data;
    enum json_token token = first;
    while (token != TOKEN_BAD && r->depth > depth)
        token = json_reader_next(r, raw);
    *raw = span_make(start, (size_t)(raw->data + raw->size - start));
    return token == TOKEN_BAD ? TOKEN_BAD : first;
}

/* --- strings -------------------------------------------------------------------------------------- */

static uint32_t take_hexadecimal(struct span *s)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        char c = s->data[i];
        value = value << 4 | (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    *s = span_make(s->data + 4, s->size - 4);
    return value;
}

/* Behind a backslash and a u. */
static uint32_t take_unicode_escape(struct span *s)
{
    uint32_t first = take_hexadecimal(s);
    bool has_second = (first & 0xfc00) == 0xd800 && s->size >= 6 && s->data[0] == '\\' && s->data[1] == 'u';
    if (!has_second)
        return first;
    struct span rest = span_make(s->data + 2, s->size - 2);
    uint32_t second = take_hexadecimal(&rest);
    if ((second & 0xfc00) != 0xdc00)
        return first;
    *s = rest;
    return 0x10000 + ((first & 0x3ff) << 10 | (second & 0x3ff));
}

static uint32_t take_plain(struct span *s)
{
    static const unsigned char leads[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
    size_t size = utf8_character_size(*s);
    uint32_t value = (unsigned char)s->data[0] & leads[size];
    for (size_t i = 1; i < size; i++)
        value = value << 6 | ((unsigned char)s->data[i] & 0x3f);
    *s = span_make(s->data + size, s->size - size);
    return value;
}

uint32_t json_string_character(struct span *inside)
{
    if (inside->data[0] != '\\')
        return take_plain(inside);
    char c = inside->data[1];
    *inside = span_make(inside->data + 2, inside->size - 2);
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'u':
        return take_unicode_escape(inside);
    default:
        return (unsigned char)c;
    }
}

bool json_string_decode(struct span raw, struct buffer *out)
{
    struct span rest = json_string_inside(raw);
    while (rest.size > 0) {
        uint32_t character = json_string_character(&rest);
        if (character >= 0xd800 && character <= 0xdfff)
            return false;
        utf8_append(out, character);
    }
    return true;
}
