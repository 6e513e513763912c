/* Bounded reading.
 *
 * Always true: at <= end. A failed reader stands at its end, so that nothing is left and every later read fails by
 * the same comparison that guards it anyway. */
#include "protocol/wire.h"

static void fail(struct wire *w)
{
    w->failed = true;
    w->at = w->end;
}

/* The next `size` bytes, or NULL. Compared with what is left, never added to a pointer first: `size` may be any number. */
static const char *take(struct wire *w, size_t size)
{
    if (wire_left(w) < size) {
        fail(w);
        return NULL;
    }
    const char *p = w->at;
    w->at += size;
    return p;
}

uint8_t wire_u8(struct wire *w)
{
    const char *p = take(w, 1);
    return p ? (uint8_t)*p : 0;
}

uint16_t wire_u16(struct wire *w)
{
    const char *p = take(w, 2);
    return p ? wire_get_u16(p) : 0;
}

uint32_t wire_u32(struct wire *w)
{
    const char *p = take(w, 4);
    return p ? wire_get_u32(p) : 0;
}

int32_t wire_i32(struct wire *w)
{
    return (int32_t)wire_u32(w);
}

struct span wire_string(struct wire *w)
{
    const char *nul = memchr(w->at, 0, wire_left(w));
    if (!nul) {
        fail(w);
        return (struct span){ 0 };
    }
    struct span s = span_make(w->at, (size_t)(nul - w->at));
    w->at = nul + 1;
    return s;
}

struct span wire_bytes(struct wire *w, size_t size)
{
    const char *p = take(w, size);
    return p ? span_make(p, size) : (struct span){ 0 };
}

struct span wire_items(struct wire *w, size_t count, size_t item_size)
{
    size_t size;
    if (__builtin_mul_overflow(count, item_size, &size)) {
        fail(w);
        return (struct span){ 0 };
    }
    return wire_bytes(w, size);
}

struct span wire_rest(struct wire *w)
{
    return wire_bytes(w, wire_left(w));
}

size_t wire_left(const struct wire *w)
{
    return (size_t)(w->end - w->at);
}

bool wire_done(const struct wire *w)
{
    return !w->failed && w->at == w->end;
}
