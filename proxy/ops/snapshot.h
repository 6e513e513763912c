/* What goes on at the moment, gathered from all workers, for whoever wants to see it: HTTP and the admin console.
 *
 * Each worker writes down its share on its own thread, so nothing that carries traffic takes a lock or waits. What is gathered is a copy:
 * shares are a few microseconds apart, and old when they are read. */
#ifndef PROXY_OPS_SNAPSHOT_H
#define PROXY_OPS_SNAPSHOT_H

#include "config/memory.h"
#include "proxy/ops/counts.h"
#include "proxy/pool/client.h"

/* Which clients are told of one by one; they are counted anyway. */
enum snapshot_scope {
    SNAPSHOT_COUNTS,   /* none */
    SNAPSHOT_REQUESTS, /* those with a request or a transaction open, at most SNAPSHOT_REQUESTS_MOST a worker */
    SNAPSHOT_CLIENTS,  /* all */
    SNAPSHOT_CENSUS    /* none, and no worker is asked: there is a census (census.h) and nothing else */
};

enum { SNAPSHOT_REQUESTS_MOST = 100 };

/* Strings are never NULL. */
struct snapshot_client {
    uint64_t id;
    const char *name; /* "127.0.0.1:53122" */
    enum client_state state;
    const char *user, *database, *application; /* "" until it is logged in */
    const char *tls;                           /* as tls_describe() says; "": plain */
    const char *server;                        /* where its server is; "": it has none */
    bool waiting;                              /* for one */
    uint64_t wait_us;                          /* and for so long */
    uint64_t since_us, received, sent, queries, transactions;
    bool busy;          /* replies are outstanding */
    char status;        /* of its transaction, as it sees it: I, T, E */
    const char *route;  /* of its request, or the one that would begin next; "": none matches */
    size_t held_events; /* captured, and waiting for COMMIT */

    bool in_request; /* and if so: */
    unsigned char request[EVENT_ID_SIZE];
    const char *label;
    uint64_t begun_us, statements, events;
};

/* The clients of one user in one database, and their servers. */
struct snapshot_pool {
    const char *database, *user;
    enum pool_mode mode;
    size_t clients_active; /* in a request or transaction, or with replies outstanding */
    size_t clients_idle;
    uint64_t clients_waiting; /* for a server; those who have not been logged in yet are neither active nor idle */
    size_t clients_served;    /* active or idle, and waiting for nothing */
    size_t servers_active, servers_idle, servers_connecting, servers_cleaning;

    /* Of pooled ones: */
    unsigned limit; /* servers that it may have */
    bool paused;
    uint64_t longest_wait_us; /* of those who wait now */
    uint64_t waits, wait_us, timeouts, connects, connect_failures, pins;
};

struct snapshot_server {
    const char *database, *user;
    const char *state;   /* "active", "idle", "connecting", "cleaning" */
    const char *name;    /* "127.0.0.1:5432" */
    const char *tls;     /* as tls_describe() says; "": plain */
    uint64_t client_id;  /* that has it; 0: nobody */
    uint64_t process_id; /* 0: not known */
    uint64_t since_us;   /* 0: not known */
};

struct census;

struct snapshot {
    uint64_t now_us;
    struct counts counts; /* with those of clients that are still there */
    size_t clients[CLIENT_STATES];
    size_t requests;    /* open */
    size_t held_events; /* captured by requests that are open */
    struct snapshot_client *list;
    size_t list_count;
    struct snapshot_pool *pools;
    size_t pool_count;
    struct snapshot_server *servers; /* with SNAPSHOT_CLIENTS */
    size_t server_count;
    const struct census *census; /* NULL: none was taken */

    enum snapshot_scope scope;
    size_t list_capacity, pool_capacity, server_capacity;
    struct memory memory; /* of all strings */
};

struct snapshot_question;

/* One of those that are told of one by one; NULL: it is not among them. */
const struct snapshot_client *snapshot_find_client(const struct snapshot *s, uint64_t id);

/* Gathers one, and calls `on_ready` on `home`, a worker's loop, on whose thread this is called; the snapshot is gone when it returns.
 * NULL: the process is about to end, and nothing will be called. */
struct snapshot_question *snapshot_ask(struct loop *home, enum snapshot_scope scope,
                                       void (*on_ready)(void *context, const struct snapshot *s), void *context);
/* Nobody wants the answer any more. Before on_ready only; NULL: nothing. */
void snapshot_forget(struct snapshot_question *q);

#endif
