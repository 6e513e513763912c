/* Growable output.
 *
 * A buffer owns its bytes. A zeroed struct buffer is an empty one. Growing aborts when memory runs
 * out; sizes that a peer chose are capped by their caller before they come here. What is appended must not be
 * part of the buffer itself, for growing moves it. */
#ifndef PROTOCOL_BUFFER_H
#define PROTOCOL_BUFFER_H

#include <stdint.h>

#include "protocol/span.h"

struct buffer {
    char *data;
    size_t size;
    size_t capacity;
};

/* Room for `extra` more bytes at data + size; valid until the next call. */
char *buffer_reserve(struct buffer *b, size_t extra);
void buffer_append(struct buffer *b, const void *data, size_t size);
void buffer_append_span(struct buffer *b, struct span s);
void buffer_append_text(struct buffer *b, const char *text); /* without its NUL */
void buffer_append_string(struct buffer *b, struct span s);  /* cut at a NUL inside, and a NUL behind it */
void buffer_append_u8(struct buffer *b, uint8_t v);
void buffer_append_u16(struct buffer *b, uint16_t v); /* network byte order, as all below */
void buffer_append_u32(struct buffer *b, uint32_t v);
void buffer_format(struct buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Drops the first `size` bytes and moves the rest down. */
void buffer_consume(struct buffer *b, size_t size);
/* Empty, keeping the memory. */
static inline void buffer_clear(struct buffer *b)
{
    b->size = 0;
}
/* Empty, giving the memory back. */
void buffer_free(struct buffer *b);

static inline struct span buffer_span(const struct buffer *b)
{
    return span_make(b->data, b->size);
}

#endif
