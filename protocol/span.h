/* A borrowed view of bytes.
 *
 * A span owns nothing: it dies when the input it points into is consumed. Keeping one means
 * copying it (see buffer.h). `data` may be NULL only when `size` is 0. */
#ifndef PROTOCOL_SPAN_H
#define PROTOCOL_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct span {
    const char *data;
    size_t size;
};

/* The span of a string literal or of any NUL-terminated string, its NUL left out. */
static inline struct span span_of(const char *text)
{
    return (struct span){ text, strlen(text) };
}

static inline struct span span_make(const char *data, size_t size)
{
    return (struct span){ data, size };
}

static inline bool span_equal(struct span a, struct span b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline bool span_is(struct span a, const char *text)
{
    return span_equal(a, span_of(text));
}

#endif
