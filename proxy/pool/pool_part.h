/* The inside of a pool: shared by the files that make it up, and by the short ways of pool.h.
 *
 *     pool.c            a worker's part: the queue, the idle servers, who gets the next one
 *     pool_server.c     a server in the pool's own hands: connecting, logging in, idle, being cleaned
 *     pool_registry.c   the pools of the process, and what concerns all workers at once
 *     pool_pause.c      orders to hand out no servers
 *     pool_greeting.c   what clients are told at their login */
#ifndef PROXY_POOL_POOL_PART_H
#define PROXY_POOL_POOL_PART_H

#include <stdatomic.h>

#include "config/config.h"
#include "proxy/auth/credentials.h"
#include "proxy/net/loop.h"
#include "proxy/pool/server.h"

struct greeting;
struct link_server;
struct parameters;
struct pool;
struct pool_server;
struct server_login;
struct worker;

/* --- waiting ---------------------------------------------------------------------------------------- */

struct pool_refusal {
    const char *sqlstate, *message;
    bool late; /* queue_timeout is over */
};

/* `s`: a server, or NULL and `why`, which is valid for the call. */
typedef void pool_wait_ended(void *context, struct pool_server *s, const struct pool_refusal *why);

struct pool_wait {
    struct pool_wait *next, **link; /* in its part's queue; link NULL: it is in none */
    uint64_t ticket;                /* smaller than those of all who came later, in the process */
    uint64_t since_us;
    pool_wait_ended *ended;
    void *context;
};

/* --- the pool of the process ---------------------------------------------------------------------------- */

enum { POOL_WORDS_SIZE = 1200 };

/* A worker's part. What is atomic is looked at by others; all else is its worker's alone. */
struct pool {
    struct pool_shared *shared;
    struct worker *worker;

    struct pool_server *idle; /* a list, the one that was used last in front */
    struct pool_wait *first_wait, **last_wait;
    struct pool_server *servers; /* all that are here, in whatever state */
    bool resets_always;          /* server_reset = always */
    bool serving;                /* pool_serve() is under way */
    bool closed;                 /* the worker ends */
    bool linked;                 /* among its worker's pools */
    bool had_server;             /* a login to the upstream has gone well: there is such a database */
    size_t client_count, wait_count, active_count, connecting_count, cleaning_count;
    uint64_t handouts, waits, wait_us, timeouts, connects, connect_failures, pins;
    uint64_t query_us, transaction_us; /* of servers that have gone (stopwatch.h) */

    atomic_uint_fast64_t oldest; /* ticket of first_wait; TICKET_NONE: nobody waits */
    atomic_int need;        /* clients that wait, less the servers that are on their way to them from other workers */
    atomic_uint idle_count; /* written by its worker alone */
    atomic_bool called;     /* a call to serve is on its way */

    struct pool *next, **link; /* among its worker's pools */
    struct config *config;     /* a reference */
    const struct database *database;
    uint64_t generation; /* as far as this part has heard */
    struct timer *timer; /* of who waits; NULL until somebody does */
    uint64_t tick_us;    /* the time of the last tick: near enough for what is counted in seconds */

    /* of waits that queue_timeout has ended */
    uint64_t late_told_us; /* when the log heard of one for the last time; 0: never */
    uint64_t late_untold;  /* since then */

    /* after a failure */
    uint64_t retry_us;   /* not before then */
    uint64_t backoff_us; /* 0: all is well */
    bool minor_refused;  /* the upstream does not know minor versions of the protocol */
    char failure_sqlstate[6];
    char failure[POOL_WORDS_SIZE];

    struct greeting *greetings; /* a list, the one that was asked for last in front */
};

static const uint64_t TICKET_NONE = UINT64_MAX;

struct pool_shared {
    struct pool_shared *next; /* in the registry, under its lock */
    atomic_size_t references; /* of clients, servers, messages and linked parts */
    char *block, *name;
    char *user;      /* whom its servers are logged in as */
    uint32_t number; /* no other one has it */
    bool for_all;    /* the upstream names that one; else it is the clients' own */

    atomic_bool paused;
    atomic_uint_fast64_t resumed_us; /* when that was over, for the last time */
    atomic_uint wanted;              /* clients that wait, on all workers */
    atomic_uint servers;             /* on all workers, from connecting to closed */
    atomic_uint retired;             /* those of them that go when they come back */
    atomic_uint limit;               /* pool_size */
    atomic_uint_fast64_t last_ticket;
    atomic_uint_fast64_t generation; /* servers of older ones go as they come back */

    pthread_mutex_t lock; /* of what stands below */
    struct credentials credentials;
    struct greeting *greetings; /* a list, what any worker has learnt last in front */

    unsigned count; /* of workers */
    struct pool parts[];
};

static inline bool pool_is_paused(const struct pool *p)
{
    return atomic_load_explicit(&p->shared->paused, memory_order_acquire); /* of resumed_us */
}

static inline bool pool_is_wanted(const struct pool *p)
{
    return atomic_load_explicit(&p->shared->wanted, memory_order_relaxed) > 0;
}

/* --- a server ---------------------------------------------------------------------------------------------- */

enum pool_server_state {
    POOL_SERVER_CONNECTING, /* up to the end of its login */
    POOL_SERVER_READY,      /* idle, or a client's */
    POOL_SERVER_CLEANING,   /* DISCARD ALL is under way, or a cancel request that was for it */
};

struct pool_server {
    struct server server;
    struct link_server *record;
    struct pool *pool;
    struct cancel_guard guard;
    struct pool_server *next_idle, **idle_link; /* idle_link NULL: it is not idle */
    struct pool_server *next, **link;           /* among all of its part's */
    struct config *config;                      /* while it connects: a reference */
    const struct database *database;            /* of that config, while it connects */
    struct server_login *login;                 /* while it logs in */
    struct timer *timer;                        /* while it is cleaned */
    uint64_t connected_us, idle_since_us;
    uint64_t generation;
    uint32_t process_id;
    int fd; /* while it moves from one worker to another, as `tls` and `kept` */
    struct tls *tls;
    struct buffer kept; /* the beginning of a message of which more is to come */
    enum pool_server_state state;
    bool any_will_do; /* no server that is preferred was found */
    bool retired;     /* it goes when it comes back */
    bool reset_due;   /* before anybody else gets it */
    bool unwell;      /* what it said while it was cleaned was not what it should */
};

static inline unsigned pool_idle_count(const struct pool *p)
{
    return atomic_load_explicit(&p->idle_count, memory_order_relaxed);
}

static inline void pool_count_idle(struct pool *p, int by)
{
    atomic_store_explicit(&p->idle_count, pool_idle_count(p) + (unsigned)by, memory_order_relaxed);
}

static inline void pool_link_idle(struct pool_server *s)
{
    struct pool *p = s->pool;
    s->idle_since_us = p->tick_us;
    s->next_idle = p->idle;
    s->idle_link = &p->idle;
    if (s->next_idle != NULL)
        s->next_idle->idle_link = &s->next_idle;
    p->idle = s;
    pool_count_idle(p, 1);
}

static inline void pool_unlink_idle(struct pool_server *s)
{
    *s->idle_link = s->next_idle;
    if (s->next_idle != NULL)
        s->next_idle->idle_link = s->idle_link;
    s->idle_link = NULL;
    pool_count_idle(s->pool, -1);
}

/* An idle server's connection has something, which it never has if all is well. */
void pool_on_idle_ready(void *owner, bool readable);
/* A server comes back in no state to be handed on: it is closed, or cleaned first. */
void pool_server_clean(struct pool_server *s);
/* Gives idle servers to who waits longest, here or elsewhere, and connects new ones as far as they are needed and allowed. */
void pool_serve(struct pool *p);

/* --- a worker's pools ----------------------------------------------------------------------------------- */

struct pool_pause;

/* A zeroed one is empty. */
struct pools {
    struct pool *first;
    struct timer *tick; /* runs while there are pools */
    struct pool_pause *pauses;
    bool closed;
};

/* --- between the files ------------------------------------------------------------------------------------- */

/* pool_server.c */
/* Begins to connect a server, which counts already. */
void pool_server_connect(struct pool *p);
/* Closes it, and takes it out of every count. The part may have to be served then. */
void pool_server_close(struct pool_server *s);
/* From one worker to another. Neither idle nor anybody's on the way. */
void pool_server_leave(struct pool_server *s);
void pool_server_arrive(struct pool_server *s, struct pool *p);
/* Marks what has to go, and closes what is idle of it. */
void pool_sweep(struct pool *p, uint64_t now_us);

/* pool.c */
/* A server has come out of login or cleaning, or from another worker: it goes to who waits, or is idle. */
void pool_server_ready(struct pool_server *s);
/* A server could not be connected; it still counts. */
void pool_connect_failed(struct pool *p, const char *sqlstate, const char *message);
/* It does not count any more: who waits is told, or served otherwise. */
void pool_after_failure(struct pool *p);
/* One server less: another one may be connected. */
void pool_on_room(struct pool *p);
void pool_serve_called(struct pool *p);
/* How old a server may get: up to a tenth less than server_lifetime (0: as old as it likes), and not the same for all, lest those that were opened in
 * one burst all go at once. */
uint64_t pool_lifetime_us(uint64_t server_lifetime_ms, uint32_t process_id);
/* Idle times, lifetimes, min_size. */
void pool_tick(struct pool *p, uint64_t now_us);

/* pool_registry.c */
void pool_hold(struct pool_shared *x);
/* The pool may be gone then. */
void pool_let_go(struct pool_shared *x);
/* What the upstream is logged into with. `to` holds nothing. */
void pool_copy_credentials(struct pool *p, struct credentials *to);
/* Has pool_serve() called on the thread of another worker's part. */
void pool_call(struct pool *p);
void pool_call_all(struct pool_shared *x);
/* Looks at every pool, under the registry's lock. */
void pools_visit(void (*look)(void *context, struct pool_shared *x), void *context);

/* pool_pause.c */
/* Whether an order to hand out no servers is meant for the database of that name. */
bool pool_pause_holds(const char *database);
/* The worker ends; all have. */
void pool_pauses_close(struct worker *w);
void pool_pauses_free(void);

/* pool_greeting.c */
void pool_free_greetings(struct greeting **list);

#endif
