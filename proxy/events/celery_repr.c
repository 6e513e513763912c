/* Python's repr() of JSON values.
 *
 * Lists and dictionaries are shown in the order in which they are written; a key that comes twice is shown twice, so that a person sees it.
 * Strings stand in single quotes, unless only double quotes spare escapes; characters that nobody can see are escaped. A float is the shortest
 * text that reads back as the same number, with an exponent only where Python writes one. */
#include "proxy/events/celery_repr.h"

#include <math.h>
#include <stdio.h>

#include "protocol/memory.h"
#include "proxy/ops/json.h"
#include "proxy/ops/json_reader.h"

/* --- strings -------------------------------------------------------------------------------------- */

/* Controls, spaces but the usual one, invisible and private characters, halves of surrogate pairs. */
static bool is_printable(uint32_t c)
{
    static const struct {
        uint32_t first, last;
    } hidden[] = { { 0x00, 0x1f },     { 0x7f, 0xa0 },     { 0xad, 0xad },       { 0x1680, 0x1680 }, { 0x2000, 0x200f },
                   { 0x2028, 0x202f }, { 0x205f, 0x206f }, { 0x3000, 0x3000 },   { 0xd800, 0xf8ff }, { 0xfeff, 0xfeff },
                   { 0xfff0, 0xfffb }, { 0xfffe, 0xffff }, { 0xe0000, 0x10ffff } };
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        if (c >= hidden[i].first && c <= hidden[i].last)
            return false;
    return true;
}

static void append_character(struct buffer *out, uint32_t c, char quote)
{
    if (c == '\n')
        buffer_append_text(out, "\\n");
    else if (c == '\r')
        buffer_append_text(out, "\\r");
    else if (c == '\t')
        buffer_append_text(out, "\\t");
    else if (c == '\\' || c == (unsigned char)quote)
        buffer_format(out, "\\%c", (char)c);
    else if (is_printable(c))
        utf8_append(out, c);
    else if (c <= 0xff)
        buffer_format(out, "\\x%02x", c);
    else
        buffer_format(out, c <= 0xffff ? "\\u%04x" : "\\U%08x", c);
}

static char quote_for(struct span inside)
{
    bool has_single = false, has_double = false;
    for (struct span rest = inside; rest.size > 0;) {
        uint32_t c = json_string_character(&rest);
        has_single |= c == '\'';
        has_double |= c == '"';
    }
    return has_single && !has_double ? '"' : '\'';
}

static bool is_full(const struct buffer *out, size_t start)
{
    return out->size - start > CELERY_REPR_SIZE;
}

static void append_string(struct buffer *out, struct span raw, size_t start)
{
    struct span rest = json_string_inside(raw);
    char quote = quote_for(rest);
    buffer_append_u8(out, (uint8_t)quote);
    while (rest.size > 0 && !is_full(out, start))
        append_character(out, json_string_character(&rest), quote);
    buffer_append_u8(out, (uint8_t)quote);
}

/* --- numbers -------------------------------------------------------------------------------------- */

static void append_integer(struct buffer *out, struct span raw)
{
    bool is_minus_zero = span_is(raw, "-0");
    buffer_append_span(out, is_minus_zero ? span_of("0") : span_make(raw.data, raw.size < 1100 ? raw.size : 1100));
}

/* `digits` of a number 0.DIGITS * 10^point, without an exponent. */
static void append_plain(struct buffer *out, const char *digits, int point)
{
    int count = (int)strlen(digits);
    if (point <= 0)
        buffer_append_text(out, "0.");
    for (int i = point; i < 0; i++)
        buffer_append_u8(out, '0');
    for (int i = 0; i < count; i++) {
        if (i == point && i > 0)
            buffer_append_u8(out, '.');
        buffer_append_u8(out, (uint8_t)digits[i]);
    }
    for (int i = count; i < point; i++)
        buffer_append_u8(out, '0');
    if (count <= point)
        buffer_append_text(out, ".0");
}

static void append_with_exponent(struct buffer *out, const char *digits, int exponent)
{
    buffer_append_u8(out, (uint8_t)digits[0]);
    if (digits[1] != '\0')
        buffer_format(out, ".%s", digits + 1);
    buffer_format(out, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
}

/* The fewest digits that read back as `value`, which is finite and not negative: D.DDDD * 10^(result). */
static int shortest_digits(double value, char digits[20])
{
    char text[32];
    for (int behind = 0; behind < 17; behind++) {
        snprintf(text, sizeof text, "%.*e", behind, value);
        if (strtod(text, NULL) == value)
            break;
    }
    size_t count = 0;
    const char *c = text;
    for (; *c != 'e'; c++)
        if (*c != '.')
            digits[count++] = *c;
    digits[count] = '\0';
    return (int)strtol(c + 1, NULL, 10);
}

static void append_float(struct buffer *out, struct span raw)
{
    if (raw.data[0] == '-') {
        buffer_append_u8(out, '-');
        raw = span_make(raw.data + 1, raw.size - 1);
    }
    char *text = memory_copy_span(raw);
    double value = strtod(text, NULL);
    free(text);
    if (isinf(value)) {
        buffer_append_text(out, "inf");
        return;
    }
    char digits[20];
    int exponent = shortest_digits(value, digits);
    if (exponent < -4 || exponent >= 16)
        append_with_exponent(out, digits, exponent);
    else
        append_plain(out, digits, exponent + 1);
}

/* --- values --------------------------------------------------------------------------------------- */

static void append_token(struct buffer *out, enum json_token token, struct span raw, size_t start)
{
    switch (token) {
    case TOKEN_STRING:
        append_string(out, raw, start);
        return;
    case TOKEN_KEY:
        append_string(out, raw, start);
        buffer_append_text(out, ": ");
        return;
    case TOKEN_INTEGER:
        append_integer(out, raw);
        return;
    case TOKEN_FLOAT:
        append_float(out, raw);
        return;
    case TOKEN_TRUE:
        buffer_append_text(out, "True");
        return;
    case TOKEN_FALSE:
        buffer_append_text(out, "False");
        return;
    case TOKEN_NULL:
        buffer_append_text(out, "None");
        return;
    case TOKEN_OBJECT:
    case TOKEN_OBJECT_END:
    case TOKEN_ARRAY:
    case TOKEN_ARRAY_END:
        buffer_append_span(out, raw);
        return;
    case TOKEN_END:
    case TOKEN_BAD:
        return;
    }
}

/* Whether a comma stands between a token and the one before it. */
static bool is_next_of_several(enum json_token before, enum json_token token)
{
    bool ends = token == TOKEN_OBJECT_END || token == TOKEN_ARRAY_END || token == TOKEN_END;
    return !ends && before != TOKEN_OBJECT && before != TOKEN_ARRAY && before != TOKEN_KEY && before != TOKEN_END;
}

void celery_repr(struct span json, struct buffer *out)
{
    size_t start = out->size;
    struct json_reader r;
    json_reader_init(&r, json);
    enum json_token before = TOKEN_END, token;
    for (struct span raw; !is_full(out, start); before = token) {
        token = json_reader_next(&r, &raw);
        if (token == TOKEN_END || token == TOKEN_BAD)
            return;
        if (is_next_of_several(before, token))
            buffer_append_text(out, ", ");
        append_token(out, token, raw, start);
    }
    struct span shown = utf8_cut(span_make(out->data + start, out->size - start), CELERY_REPR_SIZE - 3);
    out->size = start + shown.size;
    buffer_append_text(out, "...");
}
