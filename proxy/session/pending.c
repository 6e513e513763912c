#include "proxy/session/pending.h"

#include <stdlib.h>

#include "protocol/memory.h"

void pending_grow(struct pending_queue *q)
{
    size_t capacity = q->capacity ? q->capacity * 2 : 8;
    struct pending *ring = or_abort(malloc(capacity * sizeof *ring));
    for (size_t i = 0; i < q->count; i++)
        ring[i] = *pending_at(q, i);
    free(q->ring);
    q->ring = ring;
    q->head = 0;
    q->capacity = capacity;
}

void pending_free(struct pending_queue *q)
{
    free(q->ring);
    *q = (struct pending_queue){ 0 };
}
