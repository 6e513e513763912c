/* The workers: threads with a loop each, among which the clients are spread (P11).
 *
 * A client lives and dies on one worker. The first worker is the thread that calls workers_run(); with `workers = 1` there is no other.
 * New connections go to the worker that has the fewest clients. */
#ifndef PROXY_WORKER_H
#define PROXY_WORKER_H

#include <stdatomic.h>

#include "config/config.h"
#include "proxy/auth/secrets.h"
#include "proxy/auth/verifiers.h"
#include "proxy/net/address.h"
#include "proxy/net/loop.h"
#include "proxy/net/resolve.h"
#include "proxy/ops/counts.h"
#include "proxy/pool/cancel.h"
#include "proxy/pool/control.h"
#include "proxy/pool/pool_part.h"
#include "proxy/pool/strangers.h"
#include "proxy/session/actions.h"
#include "proxy/session/attributes.h"

enum { SPARE_BACKLOGS = 64 };

struct client;
struct pooled;
struct statements;

/* The memory of what clients had to say while they waited: it goes from those who have waited to those who wait next. */
struct spare_backlogs {
    unsigned count;
    struct buffer list[SPARE_BACKLOGS];
};

enum worker_phase {
    WORKER_RUNNING,
    WORKER_DRAINING, /* each client is closed as soon as it is between requests */
    WORKER_STOPPING  /* every client has been told to end now */
};

struct worker {
    struct loop loop;
    struct resolver *resolver;
    struct config *config; /* a reference to the newest */
    struct cancel_requests cancels;
    struct controls controls;
    struct secrets secrets;
    struct verifiers verifiers;
    struct client *clients;                   /* a list */
    struct strangers strangers;               /* of the clients */
    struct pooled *first_awake, **last_awake; /* of those clients of pools that are awake, a queue */
    size_t awake_count;
    struct actions actions;      /* of the callback that runs */
    struct actions link_actions; /* what links have for servers */
    struct statements *statements;
    struct shared_attributes attributes; /* of its clients */
    struct pools pools;
    struct spare_backlogs spare_backlogs;
    unsigned number;      /* among the workers */
    struct counts counts; /* of what has ended */
    enum worker_phase phase;
    bool is_done;           /* it ends, and has no clients any more */
    bool patient;           /* DRAINING: who has just come may ask for something first */
    struct timer *deadline; /* of the phase */
    struct timer *sweep;    /* NULL unless patient */
    atomic_size_t client_count;
    pthread_t thread;
};

/* --- for main ------------------------------------------------------------------------------------ */

/* `count` workers; they run from workers_run() on. */
void workers_init(unsigned count, struct config *config);
/* The first worker's loop, for listeners and signals. */
struct loop *workers_first_loop(void);
/* Runs until all have ended, after workers_drain() or workers_stop(). */
void workers_run(void);
void workers_free(void);

/* These are for the first worker's thread. */
void workers_adopt(int fd, const struct address *peer);
/* P12: one that may only bring a cancel request, from the process that has taken our place. Also while draining. */
void workers_adopt_peer(int fd, const struct address *peer);
void workers_reload(struct config *config);
/* P12: clients are closed when they are between requests; after `timeout_ms` those that are left are ended. With `patient`, those that have
 * just come, and have found nobody else to turn to, are let in and get a moment to begin their first. */
void workers_drain(uint64_t timeout_ms, bool patient);
/* Ends every client now, and then the workers. */
void workers_stop(void);

/* --- for whoever watches ------------------------------------------------------------------------- */

/* Calls `act` on every worker's thread, one after the other, and then `on_done` on `home`, which is a worker's loop: always, and soon.
 * On a worker's thread. False, and nothing is called: the workers have ended. */
bool workers_ask(struct loop *home, void (*act)(void *context, struct worker *w), void (*on_done)(void *context),
                 void *context);
unsigned workers_count(void);

/* --- for pools ----------------------------------------------------------------------------------- */

struct worker *worker_at(unsigned number);

/* --- for clients --------------------------------------------------------------------------------- */

/* Counts a connection that wants a session; false when `limit` of them are there (limits.clients). */
bool workers_admit(size_t limit);
void workers_dismiss(void);

/* A client's entry in the worker's list has ended; the worker may have waited for it. */
void worker_client_ended(struct worker *w);

#endif
