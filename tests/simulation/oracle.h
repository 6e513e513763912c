/* What the client of a proxy is promised: the model's protocol, with the design's rules about requests in the place of PostgreSQL's about
 * transactions.
 *
 * The oracle is fed what the client sends, as if there were no proxy, and answers what the client has to see. It is no proxy:
 * it rewrites nothing and injects nothing, but does to a store directly what the rules say (a client's transaction is a level of the
 * request's, a mark commits or aborts), and so cannot share the proxy's mistakes. What it has committed, rows and events, is
 * what has to be committed, and released, on the other side. */
#ifndef TESTS_SIMULATION_ORACLE_H
#define TESTS_SIMULATION_ORACLE_H

#include "config/config.h"
#include "tests/simulation/block.h"

enum request_state { REQUEST_NONE, REQUEST_UNMARKED, REQUEST_MARKED };

/* How far everything had come at some point, to go back to. */
struct mark_point {
    struct level levels; /* its counts and modes */
    unsigned level_count;
};

struct oracle {
    struct block block; /* first: routes that are not atomic are PostgreSQL's own business */
    struct config *config;
    struct request_attributes attributes;
    const struct route *connection; /* of unmarked requests */
    const struct route *route;      /* in force */

    enum request_state request;
    char label[SQL_TEXT_MAX];
    bool wrapper;       /* the store's transaction is the request's */
    bool in_client;     /* a client's transaction is open */
    bool used;          /* something has run in it */
    bool failed;        /* 25P02 until somebody gets it out of there */
    bool failed_inside; /* in the client's transaction, whose end gets it out */
    bool hushed;        /* failed, but the client has said ROLLBACK: its status is I */
    bool join;
    const char *expired;              /* SQLSTATE of the limit that the request has passed; NULL: none */
    char reason[BACKEND_MESSAGE_MAX]; /* of the failure */
    bool unit_open;
    bool ran;             /* something has run since `implicit` */
    bool unit_used;       /* something has run in it outside of a client's transaction */
    bool unit_inside;     /* it began in a client's transaction: it counts from that one's end */
    bool unit_savepoints; /* this unit speaks of savepoints: it is not undone on its own */
    struct mark_point unit, implicit, client;
};

extern const struct transaction_rules oracle_rules;

/* The attributes' strings are borrowed. */
struct backend *oracle_new(struct committed *db, struct config *config, const struct request_attributes *attributes);
void oracle_free(struct backend *b);
/* A limit of the request passes (R12): "25P04" timeout, "25P03" idle_timeout. */
void oracle_expire(struct backend *b, const char *sqlstate);
bool oracle_is_request_open(const struct backend *b);

#endif
