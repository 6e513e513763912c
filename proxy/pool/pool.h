/* Pools of servers (P3, P11).
 *
 * There is one pool for each database block, database and user that has clients or servers. It lives in the process, its limit holds for all
 * workers together, and each worker has a part of it: its own idle servers, the one that was used last in front, and its own queue of
 * clients that wait. Taking and giving back an idle server stays within a worker and costs a few instructions. Only who has to wait is
 * told to the other workers, and whoever waits longest gets the next server, from wherever it comes.
 *
 * A server is in no more than one pair of hands: a client's, from pool_take() or a granted wait up to pool_give_back() or
 * pool_discard(), or else the pool's. */
#ifndef PROXY_POOL_POOL_H
#define PROXY_POOL_POOL_H

#include "proxy/auth/credentials.h"
#include "proxy/link/link.h"
#include "proxy/pool/login.h"
#include "proxy/pool/pool_part.h"

struct worker;

/* --- joining ------------------------------------------------------------------------------------- */

/* Whose servers they are. Borrowed. */
struct pool_key {
    const struct database *database; /* of the worker's config, or of `config` */
    struct config *config;           /* that it is part of */
    const char *name;                /* of the database, as the client asked for it */
    const char *user;                /* of the client; not looked at where the upstream names one user for all */
};

/* The worker's part of the pool, which stays until pool_leave(): that of whom its servers are logged in as, the client's user unless the upstream
 * names one. `credentials` are those of a login that has just gone well. */
struct pool *pool_join(struct worker *w, const struct pool_key *key, const struct credentials *credentials);
void pool_leave(struct pool *p);

/* --- a server ------------------------------------------------------------------------------------- */

static inline bool pool_can_give(const struct pool *p)
{
    return p->idle != NULL && p->first_wait == NULL && !pool_is_paused(p);
}

/* An idle server, or NULL: then somebody waits already, none is idle, or the pool is paused. It has no owner: see pool_server_own(). */
static inline struct pool_server *pool_take(struct pool *p)
{
    struct pool_server *s = p->idle;
    if (!pool_can_give(p))
        return NULL;
    pool_unlink_idle(s);
    p->active_count++;
    return s;
}

/* Gets in the queue. `wait` is the caller's, and lives until it has ended: with a server, which is the caller's from then on, or with the
 * reason why there is none. Never before this returns. */
void pool_wait(struct pool *p, struct pool_wait *wait, pool_wait_ended *ended, void *context);
/* Leaves the queue. */
void pool_wait_leave(struct pool *p, struct pool_wait *wait);

/* What the client that has it hears of its connection. */
static inline void pool_server_own(struct pool_server *s, void (*on_ready)(void *owner, bool readable), void *owner)
{
    s->server.conn.on_ready = on_ready;
    s->server.conn.owner = owner;
}

/* Back to the pool: no bytes are under way in either direction. */
static inline void pool_give_back(struct pool_server *s)
{
    struct pool *p = s->pool;
    p->active_count--;
    p->handouts++;
    if (s->retired || p->resets_always || s->guard.pending > 0 || link_server_needs_reset(s->record)) {
        pool_server_clean(s);
        return;
    }
    pool_server_own(s, pool_on_idle_ready, s);
    pool_link_idle(s);
    conn_want_input(&s->server.conn, true);
    if (pool_is_wanted(p))
        pool_serve(p);
}
/* It is closed, in whatever state. */
void pool_discard(struct pool_server *s);

/* --- what is told to clients at their login ---------------------------------------------------------- */

struct pool_greeting {
    struct buffer messages; /* the ParameterStatus messages of a server */
    struct login_told told; /* what they say */
    bool is_old;            /* and should be learnt anew, if that costs no wait */
};

/* What a client with these settings is told, when it has been learnt; else NULL. Valid until the loop turns. */
const struct pool_greeting *pool_find_greeting(struct pool *p, const struct parameters *base);
/* The same settings as the pool knows them already: clients that share them are told apart from none by one comparison. Takes the reference. */
struct parameters *pool_share_settings(struct pool *p, struct parameters *take_base);
/* Takes what `greeting` owns. */
const struct pool_greeting *pool_learn_greeting(struct pool *p, struct parameters *base,
                                                const struct pool_greeting *greeting_take);

/* --- for the worker --------------------------------------------------------------------------------- */

/* Its config is a new one: changed limits hold, and servers of another upstream go as they come back. */
void pools_reload(struct worker *w);
/* Closes the worker's servers; its clients have gone. Nothing is taken in any more. */
void pools_close(struct worker *w);
/* When all workers are closed. */
void pools_free(void);

/* --- for administrators. From any thread of a worker -------------------------------------------------- */

/* `database`: the name as clients ask for it, or NULL: all. */
enum pool_pause_end {
    POOL_PAUSE_HOLDS,   /* no server is open any more, and none will be, up to pool_resume() */
    POOL_PAUSE_LATE,    /* there was still one after `limit_ms`: the order is taken back, and no other one */
    POOL_PAUSE_RESUMED, /* pool_resume() came first */
};
/* Nobody gets a server any more. `done` is called on `home`, whose thread this is, and never before this returns. */
void pool_pause(const char *database, struct worker *home, uint64_t limit_ms,
                void (*done)(void *context, enum pool_pause_end end), void *context);
/* `done` will not be called any more, and the order is taken back. */
void pool_pause_forget(struct worker *home, void *context);
/* Takes back the orders that were given for `database`; NULL: for whichever. False: there were none. */
bool pool_resume(const char *database);
/* Every server is closed, as soon as it is not in use. */
void pool_reconnect(const char *database);

/* There is a pool for a database of this name: it has clients, or servers that are left of them. */
bool pool_exists(const char *database);
/* Whether there is an order for all databases. */
bool pools_are_paused(void);
/* Whether there is one for a database that this block of the config is for. */
bool pool_is_block_paused(const struct config *config, const struct database *d);

/* A worker's part of a pool, in numbers. Counters begin when the worker's first client of the pool comes. */
struct pool_facts {
    const char *block, *database, *user; /* `block`: of the config */
    enum pool_mode mode;
    unsigned limit; /* of the whole pool */
    bool paused;
    bool had_server; /* ever, on this worker */
    size_t clients, waiting;
    size_t active, idle, connecting, cleaning; /* servers */
    uint64_t longest_wait_us;                  /* of those who wait now */
    uint64_t handouts; /* servers that came back from clients: transactions, with pool = transaction */
    uint64_t waits, wait_us, timeouts;
    uint64_t connects, connect_failures;
    uint64_t pins;
    uint64_t query_us, transaction_us; /* its servers' work */
};
/* Calls `tell` for each pool of this worker, on its own thread. */
void pools_tell_facts(struct worker *w, void (*tell)(void *context, const struct pool_facts *facts), void *context);

struct pool_server_facts {
    const char *block, *database, *user;
    const char *state; /* "active", "idle", "connecting", "cleaning" */
    const struct address *address;
    const struct tls *tls; /* NULL: plain */
    uint32_t process_id;
    uint64_t client_id;                   /* of whoever has it; 0: nobody */
    uint64_t connected_us, idle_since_us; /* idle_since_us is 0 unless it is idle */
};
void pools_tell_servers(struct worker *w, void (*tell)(void *context, const struct pool_server_facts *facts),
                        void *context);
/* A client of this pool has pinned its server. */
static inline void pool_count_pin(struct pool *p)
{
    p->pins++;
}

#endif
