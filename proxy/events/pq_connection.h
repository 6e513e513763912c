/* A connection of pgatomic's own to PostgreSQL: libpq on the loop, connecting again by itself.
 *
 * Statements are asked one at a time, in order; each is answered exactly once, with a result or an error, unless the connection is closed
 * first. When the server is lost or cannot be reached, everything asked so far fails; what is asked later waits for the
 * next attempt, which comes after a pause: short at first, then doubled up to some seconds. Losses and recoveries are logged here. Names are
 * resolved by the loop's resolver, never by libpq, which would make the loop wait. */
#ifndef PROXY_EVENTS_PQ_CONNECTION_H
#define PROXY_EVENTS_PQ_CONNECTION_H

#include <libpq-fe.h>

#include "proxy/events/pq_values.h"
#include "proxy/net/loop.h"
#include "proxy/net/resolve.h"

struct pq_connection;

struct pq_options {
    struct loop *loop;
    struct resolver *resolver;
    const char *role, *name;     /* for the log: "outbox", "shop"; copied */
    const char *conninfo;        /* secret; copied */
    const char *dbname;          /* in place of the conninfo's; NULL: that; copied */
    uint64_t connect_timeout_ms; /* for one attempt, over all of its hosts */
    uint64_t answer_timeout_ms;  /* a statement that takes longer loses its connection */
    bool ends_statements;        /* the server does, after four fifths of that: who waits for a lock sees no loss */
    bool stays_connected;        /* connects without having been asked anything; for those who LISTEN */
    /* Any of these may be NULL. They may ask, but not close. */
    void (*on_connected)(void *context); /* what it asks goes ahead of what waits */
    void (*on_lost)(
        void *context,
        const char *why); /* also: an attempt has failed; `why` ends without a newline, and holds no secret */
    void (*on_notification)(void *context, const PGnotify *n);
    void *context;
};

/* Never NULL. */
struct pq_connection *pq_connection_open(const struct pq_options *options);
/* Nothing that was asked is answered any more. */
void pq_connection_close(struct pq_connection *c);

/* `result`: PGRES_COMMAND_OK or PGRES_TUPLES_OK, freed by the connection afterwards; or NULL, and `error` and `sqlstate` say why it failed.
 * `sqlstate` is "" when the server did not say: it may or may not have done it. May ask, but not close. */
typedef void pq_answered(void *context, const PGresult *result, const char *error, const char *sqlstate);

/* One statement; values in `values_take` are $1, $2 …, NULL for none. `sql` outlives the answer. Results come in text, or in binary. The
 * answer never comes before this returns. */
void pq_connection_ask(struct pq_connection *c, const char *sql, struct pq_values *values_take, bool binary_result,
                       pq_answered *answered, void *context);

/* For who was refused what this connection is for, in an answer: what else was asked fails, on_lost() is told `why`, and it connects again after
 * a pause, to the next of several hosts. Nothing, unless it is up. */
void pq_connection_try_elsewhere(struct pq_connection *c, const char *why);

bool pq_connection_is_up(const struct pq_connection *c);
/* Of the server at the other end; 0 when there is none. */
int pq_connection_server_version(const struct pq_connection *c);

#endif
