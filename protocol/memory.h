/* Small allocations: when they fail, the process has nothing better to do than to end.
 *
 * Sizes that a peer chose do not come here before their caller has capped them. */
#ifndef PROTOCOL_MEMORY_H
#define PROTOCOL_MEMORY_H

#include <stdlib.h>

#include "protocol/span.h"

static inline void *or_abort(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

/* A NUL-terminated copy, to be freed. */
static inline char *memory_copy_span(struct span s)
{
    return (char *)or_abort(strndup(s.size ? s.data : "", s.size));
}

/* The same of a string; NULL counts as an empty one. */
static inline char *memory_copy_text(const char *text)
{
    return (char *)or_abort(strdup(text ? text : ""));
}

/* An array with room for one more than `count` elements of `size` bytes: the same or a larger one. */
static inline void *memory_grow(void *array, size_t *capacity, size_t count, size_t size)
{
    if (count < *capacity)
        return array;
    *capacity = *capacity ? *capacity * 2 : 4;
    return or_abort(realloc(array, *capacity * size));
}

#endif
