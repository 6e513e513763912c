/* Bounded reading of integers and strings from one message body.
 *
 * The first failure sticks: after it every read gives 0 or an empty span, and `failed` is true.
 * So a decoder reads everything it expects and asks once, at the end, with wire_done().
 * This is the only place that does arithmetic on lengths which a peer sent. */
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
    return (struct wire){ body.data, body.data + body.size, false };
}

uint8_t wire_u8(struct wire *w);
uint16_t wire_u16(struct wire *w);
uint32_t wire_u32(struct wire *w);
int32_t wire_i32(struct wire *w);
struct span wire_string(struct wire *w);             /* up to a NUL, which is consumed and not part of it */
struct span wire_bytes(struct wire *w, size_t size);
struct span wire_rest(struct wire *w);
size_t wire_left(const struct wire *w);
/* Nothing failed and nothing is left over. */
bool wire_done(const struct wire *w);

/* Big-endian integers at p, which the caller knows to hold them. */
uint16_t wire_get_u16(const char *p);
uint32_t wire_get_u32(const char *p);
void wire_put_u32(char *p, uint32_t v);

#endif
