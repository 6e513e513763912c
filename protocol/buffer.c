/* Growable output: one block that doubles.
 *
 * Always true: size <= capacity, and data is NULL exactly when capacity is 0. Memory that runs out aborts, for there
 * is no state to go back to in the middle of a message; so does a size that no object can have. */
#include "protocol/buffer.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "protocol/wire.h"

enum { SMALLEST_BLOCK = 256 };

static void grow(struct buffer *b, size_t extra)
{
    /* Half of the address space is more than any object may have, and doubling stays clear of overflow below it. */
    if (extra > SIZE_MAX / 4 || b->size > SIZE_MAX / 4)
        abort();
    size_t needed = b->size + extra;
    size_t capacity = b->capacity ? b->capacity : SMALLEST_BLOCK;
    while (capacity < needed)
        capacity *= 2;
    b->data = realloc(b->data, capacity);
    if (!b->data)
        abort();
    b->capacity = capacity;
}

char *buffer_reserve(struct buffer *b, size_t extra)
{
    if (b->capacity - b->size < extra || !b->data)
        grow(b, extra);
    return b->data + b->size;
}

void buffer_append(struct buffer *b, const void *data, size_t size)
{
    if (size == 0) /* data may be NULL then, which memcpy does not allow */
        return;
    memcpy(buffer_reserve(b, size), data, size);
    b->size += size;
}

void buffer_append_span(struct buffer *b, struct span s)
{
    buffer_append(b, s.data, s.size);
}

void buffer_append_text(struct buffer *b, const char *text)
{
    buffer_append(b, text, strlen(text));
}

void buffer_append_string(struct buffer *b, struct span s)
{
    if (s.size > 0)
        buffer_append(b, s.data, strnlen(s.data, s.size));
    buffer_append_u8(b, 0);
}

void buffer_append_u8(struct buffer *b, uint8_t v)
{
    *buffer_reserve(b, 1) = (char)v;
    b->size += 1;
}

void buffer_append_u16(struct buffer *b, uint16_t v)
{
    wire_put_u16(buffer_reserve(b, 2), v);
    b->size += 2;
}

void buffer_append_u32(struct buffer *b, uint32_t v)
{
    wire_put_u32(buffer_reserve(b, 4), v);
    b->size += 4;
}

void buffer_format(struct buffer *b, const char *format, ...)
{
    va_list measure, print;
    va_start(print, format);
    va_copy(measure, print);
    int length = vsnprintf(NULL, 0, format, measure);
    va_end(measure);
    assert(length >= 0);
    size_t size = (size_t)length;
    vsnprintf(buffer_reserve(b, size + 1), size + 1, format, print); /* its NUL is not counted */
    va_end(print);
    b->size += size;
}

void buffer_consume(struct buffer *b, size_t size)
{
    assert(size <= b->size);
    b->size -= size;
    if (b->size > 0 && size > 0)
        memmove(b->data, b->data + size, b->size);
}

void buffer_free(struct buffer *b)
{
    free(b->data);
    *b = (struct buffer){ 0 };
}
