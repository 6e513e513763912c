/* The pooled side of a client: the link between its session and whatever server it has at the moment (P3, P8).
 *
 *     session --TO_SERVER--> [backlog, while it waits] --> link --> server, from the first message
 *     session <------------------------------------------ link <-- server, up to the end of the transaction
 *
 * A client of pool = dedicated has none of this. A client of a pool has a server only as long as its link holds on to it: the server is asked
 * for when there is something to send, and goes back at the end of the batch that has settled everything. */
#ifndef PROXY_POOL_POOLED_H
#define PROXY_POOL_POOLED_H

#include "proxy/pool/client.h"
#include "proxy/pool/listen.h"
#include "proxy/pool/pool.h"

struct pooled {
    struct client *client;
    struct pooled *next_awake, **awake_link; /* in its worker's queue */
    struct pool *pool;
    struct link *link;
    struct pool_wait wait;
    struct buffer backlog;              /* what the session has for the server that the client waits for */
    struct listen_subscriber *listener; /* NULL: it has not asked to LISTEN (P6) */
    struct cancel_key *key;
    bool cut; /* its server was lost: there will be no other */
};

/* The client's part of a pool that it has joined, which is left when the client is freed. */
struct pooled *pooled_new(struct client *c, struct pool *pool, struct parameters *base);
void pooled_free(struct client *c); /* with whatever it still holds */
/* It has no server, waits for none, and listens to nothing. */
bool pooled_may_sleep(const struct client *c);
/* It is no more, but for its place in the pool, its key and what is left in *out. */
void pooled_sleep(struct client *c, struct link_asleep *out);
void pooled_wake(struct client *c, struct pool *pool, struct cancel_key *key, const struct link_asleep *asleep);
/* Its pool has a new config. */
void pooled_reload(struct client *c);
/* Whose turn it is in the queue of the worker's clients that are awake, which goes to its end. There is one. */
struct client *pooled_next_awake(struct worker *w);

static inline bool pooled_is_waiting(const struct pooled *p)
{
    return p->wait.link != NULL;
}
/* Gets in the queue; see pool_wait(). */
void pooled_wait(struct client *c);
/* The server that it was given, or that it waited for. */
void pooled_attach(struct client *c, struct pool_server *s);

/* What the session has for the server. Nothing leaves before pooled_flush(). */
void pooled_to_server(struct client *c, struct span bytes);
/* Sends what the link has for the server. */
void pooled_flush(struct client *c);

/* In CLIENT_SESSION: */
/* Bytes of the server, with what was kept. */
void pooled_on_server_bytes(struct client *c, struct span input);
/* Cancels what runs, if anything does; `closed` is told of it. False: nothing runs any more, for the wait has ended with 57014 or there
 * was nothing. */
bool pooled_cancel(struct client *c, cancel_closed *closed);
void pooled_on_cancelled(struct client *c);
/* Who waits does so no longer: its statements fail with this. */
void pooled_refuse(struct client *c, const char *sqlstate, const char *message);
/* Where a cancel request for a client of a pool has to go. */
cancel_aim pooled_aim;
/* The link has something for the session without the server. */
void pooled_hear_due(struct client *c);
/* Lets go of the server. */
void pooled_release(struct client *c);
/* Nothing more of the client is looked at: it waits for a server, for the listener, or for an answer. */
static inline bool pooled_is_held(const struct pooled *p)
{
    return pooled_is_waiting(p) || link_is_held(p->link) || link_is_full(p->link);
}
/* The client is told what the listener has heard for it, when it is between transactions. */
void pooled_tell_heard(struct client *c);
/* Lets go of the server if it is free. */
static inline void pooled_settle_server(struct client *c)
{
    struct server *s = c->server;
    if (s == NULL)
        return;
    if (c->state == CLIENT_SESSION && link_has_due(c->pooled->link))
        pooled_hear_due(c);
    if (c->server != s || !link_may_release(c->pooled->link) || conn_queued(&s->conn) > 0 || s->conn.in.size > 0)
        return;
    if (s->conn.ending) /* behind a part of a message, on a client that is lost */
        return;
    if (c->deferred.size == 0 && c->replies.left == 0 && !stream_is_inside_message(&c->stream))
        pooled_release(c);
}
/* The end of every batch. */
static inline void pooled_settle(struct client *c)
{
    pooled_settle_server(c);
    if (__builtin_expect(c->pooled->listener != NULL, 0))
        pooled_tell_heard(c);
}
/* The server is closed, and there will be no other. */
void pooled_cut(struct client *c);

/* In CLIENT_LOGIN and CLIENT_CLOSING: */
/* Hands the server's bytes to the link; nobody hears what it makes of them. How many are done with. */
size_t pooled_skip_pieces(struct client *c, struct span input);
/* The client goes. False: it has no server that would need time to get clean. */
bool pooled_begin_end(struct client *c);
void pooled_on_ending_input(struct client *c);
/* The end has taken too long. */
void pooled_abandon(struct client *c);

#endif
