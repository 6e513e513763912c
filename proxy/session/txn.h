/* The events of one transaction, and the savepoints they stand behind.
 *
 * One array of events and a stack of marks: a savepoint is a name and the number of events that had been captured when it was
 * set. Rolling back to it cuts the array there; releasing it forgets the name and so merges its events upward (E4). The
 * savepoints that pgatomic sets itself are marks like any other, under names that no client may use. */
#ifndef PROXY_SESSION_TXN_H
#define PROXY_SESSION_TXN_H

#include "proxy/events/event.h"

struct txn_mark {
    char *name;
    size_t events; /* captured before it */
};

struct txn {
    struct notification **events;
    size_t event_count, event_capacity;
    size_t bytes; /* of their payloads */
    struct txn_mark *marks;
    size_t mark_count, mark_capacity;
};

/* A zeroed struct txn is an empty one. Frees its events too. */
void txn_free(struct txn *t);

/* Takes the event. */
void txn_hold(struct txn *t, struct notification *take);
/* An equal one is held already. */
bool txn_holds(const struct txn *t, struct span name, struct span payload);
void txn_savepoint(struct txn *t, struct span name);
/* Forgets the newest savepoint `name` and all after it; their events stay. False, and no change, if it is unknown. */
bool txn_release(struct txn *t, struct span name);
/* Cuts off what was captured since `name`, as the server just did, into *cut (a list, in order; NULL when empty). The savepoint itself
 * stays. False, and no change, if it is unknown. */
bool txn_rollback_to(struct txn *t, struct span name, struct notification **cut);
/* All events, in order, as a list; the transaction is empty afterwards. */
struct notification *txn_take(struct txn *t);

/* Forgets the savepoint at `place` (txn_find) alone; those behind it stay. */
void txn_forget(struct txn *t, size_t place);

/* The place of the newest savepoint `name` in the stack, counted from 1; 0 if it is unknown. */
size_t txn_find(const struct txn *t, struct span name);

#endif
