/* Whose reply is this?
 *
 * The FIFO of replies that the server owes, in the order in which the messages went out. A reply belongs to the entry at the head. An
 * entry of kind LOCAL is owed by nobody: it is a reply of pgatomic's own that waits for its turn, so that the client gets
 * everything in the order of its messages, and that is dropped when an error makes the server skip to the next Sync. */
#ifndef PROXY_SESSION_PENDING_H
#define PROXY_SESSION_PENDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct plan;
struct prepared;

enum pending_kind {
    PENDING_PARSE,
    PENDING_BIND,
    PENDING_DESCRIBE,
    PENDING_EXECUTE,
    PENDING_CLOSE,
    PENDING_SYNC,     /* ends in ReadyForQuery */
    PENDING_QUERY,    /* ends in ReadyForQuery; FunctionCall too */
    PENDING_COPY_END, /* CopyDone or CopyFail: no reply of its own, but a Sync before it may get none either */
    PENDING_LOCAL
};

struct pending {
    enum pending_kind kind;
    bool swallow;              /* pgatomic asked, not the client */
    bool own_begin;            /* PARSE: of the BEGIN that is prepared once */
    struct plan *plan;         /* owned; NULL: an ordinary statement, whose replies go through as they are */
    struct prepared *prepared; /* PARSE: a reference to what it makes; usually NULL */
};

struct pending_queue {
    struct pending *ring;
    size_t head, count, capacity; /* capacity is a power of two */
};

void pending_grow(struct pending_queue *q);
void pending_free(struct pending_queue *q);

static inline struct pending *pending_at(struct pending_queue *q, size_t i)
{
    return &q->ring[(q->head + i) & (q->capacity - 1)];
}

/* NULL when nothing is owed. */
static inline struct pending *pending_head(struct pending_queue *q)
{
    return q->count ? &q->ring[q->head] : NULL;
}

static inline void pending_push(struct pending_queue *q, struct pending entry)
{
    if (q->count == q->capacity)
        pending_grow(q);
    *pending_at(q, q->count++) = entry;
}

/* Takes the head away, and the ends of COPY behind it, which nobody answers. */
static inline void pending_pop(struct pending_queue *q)
{
    do {
        q->head = (q->head + 1) & (q->capacity - 1);
        q->count--;
    } while (q->count > 0 && q->ring[q->head].kind == PENDING_COPY_END);
}

#endif
