#include "proxy/link/owed.h"

#include <stdlib.h>

#include "protocol/memory.h"

void owed_grow(struct owed_queue *q)
{
    size_t capacity = q->capacity > 0 ? q->capacity * 2 : 8;
    struct owed *ring = or_abort(malloc(capacity * sizeof *ring));
    for (size_t i = 0; i < q->count; i++)
        ring[i] = *owed_at(q, i);
    free(q->ring);
    *q = (struct owed_queue){ .ring = ring, .count = q->count, .capacity = capacity, .unit = q->unit };
}

void owed_free(struct owed_queue *q)
{
    free(q->ring);
    *q = (struct owed_queue){ 0 };
}
