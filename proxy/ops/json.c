/* RFC 8259, section 7, and RFC 3629 for what a character is. */
#include "proxy/ops/json.h"

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* The bounds of the second byte leave out what a shorter form could say, the surrogates, and all above U+10FFFF. */
static bool is_second(unsigned char first, char second)
{
    unsigned char c = (unsigned char)second;

    switch (first) {
    case 0xe0:
        return c >= 0xa0 && c <= 0xbf;
    case 0xed:
        return c >= 0x80 && c <= 0x9f;
    case 0xf0:
        return c >= 0x90 && c <= 0xbf;
    case 0xf4:
        return c >= 0x80 && c <= 0x8f;
    default:
        return is_continuation(second);
    }
}

static size_t announced_size(unsigned char first)
{
    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first <= 0xdf)
        return 2;
    if (first >= 0xe0 && first <= 0xef)
        return 3;
    if (first >= 0xf0 && first <= 0xf4)
        return 4;
    return 0;
}

size_t utf8_character_size(struct span s)
{
    if (s.size == 0)
        return 0;
    size_t size = announced_size((unsigned char)s.data[0]);
    if (size == 0 || size > s.size)
        return 0;
    if (size > 1 && !is_second((unsigned char)s.data[0], s.data[1]))
        return 0;
    for (size_t i = 2; i < size; i++)
        if (!is_continuation(s.data[i]))
            return 0;
    return size;
}

bool utf8_is_valid(struct span s)
{
    while (s.size > 0) {
        size_t size = utf8_character_size(s);
        if (size == 0)
            return false;
        s = span_make(s.data + size, s.size - size);
    }
    return true;
}

void utf8_append_clean(struct buffer *b, struct span s)
{
    while (s.size > 0) {
        size_t size = utf8_character_size(s);
        if (size > 0)
            buffer_append(b, s.data, size);
        else
            buffer_append_text(b, replacement);
        size = size > 0 ? size : 1;
        s = span_make(s.data + size, s.size - size);
    }
}

void utf8_append(struct buffer *b, uint32_t character)
{
    static const unsigned char leads[] = { 0, 0xc0, 0xe0, 0xf0 };
    unsigned tail = character > 0xffff ? 3 : character > 0x7ff ? 2 : character > 0x7f ? 1 : 0;
    buffer_append_u8(b, (uint8_t)(leads[tail] | character >> 6 * tail));
    while (tail-- > 0)
        buffer_append_u8(b, (uint8_t)(0x80 | (character >> 6 * tail & 0x3f)));
}

struct span utf8_cut(struct span s, size_t size)
{
    if (s.size <= size)
        return s;
    size_t end = size;
    while (end > 0 && size - end < 3 && is_continuation(s.data[end]))
        end--;
    /* Back to the start of the character that the cut would hit; bytes that are no character may be cut anywhere. */
    if (utf8_character_size(span_make(s.data + end, s.size - end)) <= size - end)
        end = size;
    return span_make(s.data, end);
}

static void append_escaped(struct buffer *b, unsigned char c)
{
    switch (c) {
    case '"':
        buffer_append_text(b, "\\\"");
        return;
    case '\\':
        buffer_append_text(b, "\\\\");
        return;
    case '\n':
        buffer_append_text(b, "\\n");
        return;
    case '\r':
        buffer_append_text(b, "\\r");
        return;
    case '\t':
        buffer_append_text(b, "\\t");
        return;
    default:
        buffer_format(b, "\\u%04x", c);
    }
}

static bool is_plain_ascii(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* Bytes at the front that stand for themselves. */
static size_t plain_run(struct span s)
{
    size_t size = 0;

    while (size < s.size) {
        if (is_plain_ascii((unsigned char)s.data[size])) {
            size++;
            continue;
        }
        if ((unsigned char)s.data[size] < 0x80)
            break;
        size_t character = utf8_character_size(span_make(s.data + size, s.size - size));
        if (character == 0)
            break;
        size += character;
    }
    return size;
}

/* What can be copied as it is, which is nearly always all. */
static void append_quoted(struct buffer *b, struct span s)
{
    char *at = buffer_reserve(b, s.size + 2);

    *at = '"';
    if (s.size > 0)
        memcpy(at + 1, s.data, s.size);
    at[s.size + 1] = '"';
    b->size += s.size + 2;
}

void json_append_string(struct buffer *b, struct span s)
{
    size_t plain = plain_run(s);

    if (plain == s.size) {
        append_quoted(b, s);
        return;
    }
    buffer_append_u8(b, '"');
    while (s.size > 0) {
        buffer_append(b, s.data, plain);
        s = span_make(s.data + plain, s.size - plain);
        if (s.size == 0)
            break;
        if ((unsigned char)s.data[0] < 0x80)
            append_escaped(b, (unsigned char)s.data[0]);
        else
            buffer_append_text(b, replacement);
        s = span_make(s.data + 1, s.size - 1);
        plain = plain_run(s);
    }
    buffer_append_u8(b, '"');
}
