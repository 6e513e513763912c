/* The two halves of listen.h, and what passes between them: orders on their way home and back, and deliveries. */
#ifndef PROXY_POOL_LISTEN_PART_H
#define PROXY_POOL_LISTEN_PART_H

#include <stdatomic.h>

#include "protocol/buffer.h"
#include "proxy/pool/listen.h"

struct listening;

/* The connection that a subscriber needs. */
struct listen_place {
    char *name;     /* for the log */
    char *conninfo; /* NULL: there is none */
    char *dbname;
};

struct listen_subscriber {
    struct loop *loop;

    /* the client's thread */
    void (*on_ready)(void *context);
    void *context;
    struct buffer queue;
    bool overrun;
    bool closed; /* freed as soon as the other half has forgotten it */

    /* the home thread */
    struct listen_place place;
    struct listening *listening;    /* NULL: it has not asked for anything yet */
    struct listen_subscriber *next; /* of the same connection */
    uint64_t gap;                   /* since when it misses something, of which it is not told yet; 0: it does not */
};

/* A wish of a subscriber's, and then its answer. */
struct listen_order {
    struct listen_order *next; /* of the same channel's that wait */
    struct listen_subscriber *subscriber;
    void (*done)(void *context, bool ok);
    bool ok;
    char channel[]; /* "": all, or none in particular */
};

/* A subscriber's new place. */
struct listen_removal {
    struct listen_subscriber *subscriber;
    struct listen_place place;
};

/* A message, shared by all who get it. */
struct listen_parcel {
    atomic_size_t references;
    size_t size;
    char bytes[];
};

/* --- listen_home.c: on the home thread, context is the order, which they free or answer --------------- */

void listen_home_add(void *order);
void listen_home_remove(void *order);
/* Takes a listen_removal. */
void listen_home_move(void *removal);
/* And the subscriber is freed on its own thread. */
void listen_home_leave(void *order);
struct loop *listen_home(void);

/* --- listen.c: from the home thread ------------------------------------------------------------------- */

/* Takes the order. */
void listen_answer(struct listen_order *order_take, bool ok);
void listen_deliver(struct listen_subscriber *s, struct listen_parcel *parcel);
void listen_forget(struct listen_subscriber *s);
void listen_parcel_release(struct listen_parcel *p);
void listen_place_free(struct listen_place *p);

#endif
