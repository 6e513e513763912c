/* What the server owes the link: one entry for each message that gets a reply, in the order in which they went out.
 *
 * An entry of the kind OWN is owed by nobody: a reply of the link's own that waits for its turn. */
#ifndef PROXY_LINK_OWED_H
#define PROXY_LINK_OWED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct change;

enum owed_kind {
    OWED_PARSE,
    OWED_BIND,
    OWED_DESCRIBE,
    OWED_EXECUTE,
    OWED_CLOSE,
    OWED_SYNC,     /* ends in ReadyForQuery */
    OWED_QUERY,    /* ends in ReadyForQuery; FunctionCall too */
    OWED_COPY_END, /* CopyDone or CopyFail: no reply of its own, but a Sync before it may get none either */
    OWED_OWN       /* `reply` */
};

enum owed_purpose {
    FOR_CLIENT,
    FOR_NOTHING,  /* of the link's own, and nothing to learn from it */
    FOR_SETTINGS, /* the server is told the client's settings */
    FOR_ANSWER,   /* the server is asked for the values of settings */
    FOR_CHANNELS, /* and for the channels that it listens to, which it forgets */
    FOR_RESET     /* DISCARD ALL */
};

struct owed {
    uint8_t kind, purpose;
    char reply;            /* OWN: a message without a body */
    bool unnamed;          /* PARSE, CLOSE: of the unnamed statement */
    bool replaces;         /* and the server had the client's own before */
    uint32_t unit;         /* in which it was sent; the server skips no more than what is left of one */
    struct change *change; /* owned: what its success makes true; usually NULL */
    uint64_t statement;    /* PARSE, BIND, DESCRIBE, CLOSE: the one on the server; 0: none of ours */
};

struct owed_queue {
    struct owed *ring;
    size_t head, count, capacity; /* capacity is a power of two */
    uint32_t unit;                /* that is being sent: up to a Sync or Query */
};

void owed_grow(struct owed_queue *q);
void owed_free(struct owed_queue *q);

static inline struct owed *owed_at(const struct owed_queue *q, size_t i)
{
    return &q->ring[(q->head + i) & (q->capacity - 1)];
}

static inline struct owed *owed_head(const struct owed_queue *q)
{
    return q->count > 0 ? &q->ring[q->head] : NULL;
}

static inline struct owed *owed_push(struct owed_queue *q, enum owed_kind kind, enum owed_purpose purpose)
{
    if (q->count == q->capacity)
        owed_grow(q);
    struct owed *entry = owed_at(q, q->count++);
    *entry = (struct owed){ .kind = (uint8_t)kind, .purpose = (uint8_t)purpose, .unit = q->unit };
    q->unit += kind == OWED_SYNC || kind == OWED_QUERY;
    return entry;
}

/* Takes the head away, and the ends of COPY behind it, which nobody answers. */
static inline void owed_pop(struct owed_queue *q)
{
    do {
        q->head = (q->head + 1) & (q->capacity - 1);
        q->count--;
    } while (q->count > 0 && q->ring[q->head].kind == OWED_COPY_END);
}

#endif
