/* Bytes of a test: from literals, and in places where a read past their end is seen. */
#ifndef TESTS_UNIT_BYTES_H
#define TESTS_UNIT_BYTES_H

#include <stdlib.h>

#include "protocol/span.h"

/* A string literal with the NULs inside it, without the one behind it. */
#define BYTES(literal) span_make(literal, sizeof(literal) - 1)
/* The same where a constant is needed: in a table. */
#define BYTES_INIT(literal)          \
    {                                \
        literal, sizeof(literal) - 1 \
    }

/* A copy in a block of exactly its size, so that AddressSanitizer stops whoever reads one byte more. To be freed. */
static inline struct span bytes_exact(struct span s)
{
    char *copy = malloc(s.size ? s.size : 1);
    if (!copy)
        abort();
    if (s.size > 0)
        memcpy(copy, s.data, s.size);
    return span_make(copy, s.size);
}

static inline void bytes_free(struct span s)
{
    free((void *)(size_t)s.data);
}

#endif
