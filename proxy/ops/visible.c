/* What would move a cursor or ring a bell is written as \x1b, so that a payload cannot forge what a person reads. */
#include "proxy/ops/visible.h"

static bool is_control(const unsigned char *c)
{
    return *c < 0x20 || *c == 0x7f || (*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0);
}

static const unsigned char *append_escaped(struct buffer *b, const unsigned char *c)
{
    if (*c == '\n')
        buffer_append_text(b, "\\n");
    else if (*c == '\t')
        buffer_append_text(b, "\\t");
    else if (*c == 0xc2)
        buffer_format(b, "\\x%02x", *++c);
    else
        buffer_format(b, "\\x%02x", *c);
    return c + 1;
}

void visible_append(struct buffer *b, const char *text)
{
    const unsigned char *c = (const unsigned char *)text;

    while (*c != '\0') {
        const unsigned char *plain = c;
        while (!is_control(c)) /* and so no NUL */
            c++;
        buffer_append(b, plain, (size_t)(c - plain));
        if (*c != '\0')
            c = append_escaped(b, c);
    }
}
