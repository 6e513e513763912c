/* What a worker has counted: requests by route and outcome, and traffic by database.
 *
 * Only the worker's own thread touches them: nothing is atomic, nothing is locked. Clients that are still there keep their own counts in
 * their sessions and connections; they come here when the client goes, so ordinary traffic does not come here at all. */
#ifndef PROXY_OPS_COUNTS_H
#define PROXY_OPS_COUNTS_H

#include "proxy/events/event.h"

/* How requests end: committed, or rolled back for one of the reasons that discard their events. */
enum request_outcome { REQUEST_COMMITTED, REQUEST_ROLLED_BACK /* and the others, in the order of discard_reason */ };

enum { REQUEST_OUTCOMES = REQUEST_ROLLED_BACK + DISCARD_NO_OUTCOME + 1 };

/* "committed", "rollback", "error", … */
const char *request_outcome_name(enum request_outcome outcome);

static inline enum request_outcome request_outcome_of(enum discard_reason reason)
{
    return (enum request_outcome)((int)REQUEST_ROLLED_BACK + (int)reason);
}

/* Durations up to these, in µs, and one for all that take longer. */
enum { DURATION_STEPS = 10 };
extern const uint64_t duration_steps_us[DURATION_STEPS];

struct route_counts {
    char *name; /* "": no block matched */
    uint64_t outcomes[REQUEST_OUTCOMES];
    uint64_t durations[DURATION_STEPS + 1];
    uint64_t duration_us; /* sum */
    uint64_t statements, events;
    uint64_t timeouts, idle_timeouts; /* of requests and of clients' own transactions */
};

/* Clients that keep their server, for one cause. */
struct pin_count {
    const char *cause; /* constant words */
    uint64_t count;
};

struct database_counts {
    char *name; /* as clients name it */
    uint64_t logins, queries, transactions;
    uint64_t query_us, transaction_us; /* how long those took, summed */
    uint64_t wait_us;                  /* for servers */
    uint64_t received, sent;           /* bytes, from and to clients */
    struct pin_count *pins;
    size_t pin_count, pin_capacity;
};

/* A zeroed one is empty. */
struct counts {
    struct route_counts *routes;
    size_t route_count, route_capacity;
    struct database_counts *databases;
    size_t database_count, database_capacity;
};

void counts_free(struct counts *c);

/* The entry of that name, made if need be; valid until the next is asked for. Names are chosen by others, who could choose without end:
 * when there are COUNTS_MOST, the rest shares one that is called "*". */
enum { COUNTS_MOST = 1000 };
struct route_counts *counts_route(struct counts *c, const char *name);
struct database_counts *counts_database(struct counts *c, const char *name);

/* A client of this database keeps its server from now on. `cause` is for ever, and there are few. */
void counts_pin(struct counts *c, const char *database, const char *cause);
/* A request has ended. */
void counts_request(struct counts *c, const struct request *r, enum request_outcome outcome, uint64_t now_us);
/* `timeout` or `idle_timeout` of a route has ended a request, or a transaction of the client's own. */
void counts_timeout(struct counts *c, const char *route, bool idle);
/* Adds all of `from` to `to`. */
void counts_add(struct counts *to, const struct counts *from);

#endif
