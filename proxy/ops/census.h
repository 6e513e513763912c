/* What stands in the outboxes, for SHOW OUTBOX: each database is asked, over a connection of its own that is closed again.
 *
 * Whoever wants to know waits, and nobody else does: not the relays, which have connections of theirs, and not a client. A database that
 * cannot be asked within a few seconds has a line that says so. */
#ifndef PROXY_OPS_CENSUS_H
#define PROXY_OPS_CENSUS_H

#include "config/config.h"
#include "protocol/span.h"

struct worker;
struct census;

/* Events of one channel in one state. */
struct census_line {
    const char *database;
    struct span channel; /* data NULL: of the database as a whole */
    const char *state;   /* "waiting", "in hand", "retrying", "dead"; "empty", "unknown" */
    uint64_t count;
    uint64_t oldest_us; /* a time (clock.h); 0: not known */
    const char *error;  /* of "unknown"; else NULL */
};

/* Asks all outboxes of the worker's config. `on_taken` is called on its thread, never before this returns; the census is gone when it
 * returns. */
struct census *census_take(struct worker *w, void (*on_taken)(void *context, const struct census *c), void *context);
/* Nobody wants it any more. Before on_taken only; NULL: nothing. */
void census_forget(struct census *c);

/* By database, and by channel and state within it. */
void census_each(const struct census *c, void (*tell)(void *context, const struct census_line *line), void *context);

#endif
