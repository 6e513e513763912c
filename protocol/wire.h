/* Bounded reading of integers and strings from one message body.
 *
 * The first failure sticks: after it every read gives 0 or an empty span, and `failed` is true.
 * So a decoder reads everything it expects and asks once, at the end, with wire_done().
 * Arithmetic on lengths that a peer sent is done here and in frame.c, and nowhere else. */
#ifndef PROTOCOL_WIRE_H
#define PROTOCOL_WIRE_H

#include <stdint.h>

#include "protocol/span.h"

struct wire {
    const char *at;
    const char *end;
    bool failed;
};

static inline struct wire wire_open(struct span body)
{
    const char *start = body.data ? body.data : ""; /* NULL + 0 is not defined */
    return (struct wire){ start, start + body.size, false };
}

uint8_t wire_u8(struct wire *w);
uint16_t wire_u16(struct wire *w);
uint32_t wire_u32(struct wire *w);
int32_t wire_i32(struct wire *w);
struct span wire_string(struct wire *w); /* up to a NUL, which is consumed and not part of it */
struct span wire_bytes(struct wire *w, size_t size);
/* `count` items of `item_size` bytes each; the product may be anything. */
struct span wire_items(struct wire *w, size_t count, size_t item_size);
struct span wire_rest(struct wire *w);
size_t wire_left(const struct wire *w);
/* Nothing failed and nothing is left over. */
bool wire_done(const struct wire *w);

/* Big-endian integers at p, which the caller knows to hold them. Compilers make one load and a byte swap of each. */
static inline uint16_t wire_get_u16(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    return (uint16_t)(u[0] << 8 | u[1]);
}

static inline uint32_t wire_get_u32(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

static inline void wire_put_u16(char *p, uint16_t v)
{
    p[0] = (char)(v >> 8);
    p[1] = (char)v;
}

static inline void wire_put_u32(char *p, uint32_t v)
{
    p[0] = (char)(v >> 24);
    p[1] = (char)(v >> 16);
    p[2] = (char)(v >> 8);
    p[3] = (char)v;
}

#endif
