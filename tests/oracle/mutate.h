/* Texts made from statements, the same ones for the same seed. */
#ifndef TESTS_ORACLE_MUTATE_H
#define TESTS_ORACLE_MUTATE_H

#include <stdint.h>

#include "protocol/buffer.h"

struct pool {
    const char **list; /* statements, each with its semicolon */
    size_t count, capacity;
};

struct random {
    uint64_t state; /* not 0 */
};

/* Replaces `out` by a text, without a NUL in it but with one behind it, that was made from some statements of the pool, put one behind the
 * other: changed, every second time only so that it means the same, and else cut, spoilt, and spliced with those of the other pool. */
void mutate(struct random *r, const struct pool *pool, const struct pool *other, struct buffer *out);

#endif
