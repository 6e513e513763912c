/* What would move a cursor or ring a bell is written as \x1b, so that a payload cannot forge what a person reads. */
#include "proxy/ops/visible.h"

#include "proxy/ops/json.h"

static bool is_c1(const unsigned char *c)
{
    return *c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0;
}

static bool is_control(const unsigned char *c)
{
    return *c < 0x20 || *c == 0x7f || is_c1(c);
}

static const unsigned char *append_escaped(struct buffer *b, const unsigned char *c)
{
    if (*c == '\n')
        buffer_append_text(b, "\\n");
    else if (*c == '\t')
        buffer_append_text(b, "\\t");
    else if (is_c1(c))
        buffer_format(b, "\\x%02x", *++c);
    else
        buffer_format(b, "\\x%02x", *c);
    return c + 1;
}

void visible_append(struct buffer *b, const char *text)
{
    const unsigned char *c = (const unsigned char *)text;
    unsigned char limit = utf8_is_valid(span_of(text)) ? 0xff : 0x7f; /* in other bytes, only ASCII is plain */

    while (*c != '\0') {
        const unsigned char *plain = c;
        while (!is_control(c) && *c <= limit) /* and so no NUL */
            c++;
        buffer_append(b, plain, (size_t)(c - plain));
        if (*c != '\0')
            c = append_escaped(b, c);
    }
}
