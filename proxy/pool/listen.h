/* LISTEN for clients whose servers change (P6).
 *
 * For each database one connection of pgatomic's own, made as its `control` says, listens to all channels that any client has asked for, and
 * what it hears goes to the queues of those clients. PostgreSQL notifies within a database, so this one is the clients', whichever
 * `control` names: one block may have many, and its `control` another one for the auth query. The connection lives on the first worker's thread, a subscriber on its client's. When the
 * connection is lost it is made again, every channel is listened to again, and who listened to any gets a NOTICE that it may have
 * missed something.
 *
 * What is in a queue is whole messages, to be sent to the client as they are, between its transactions. */
#ifndef PROXY_POOL_LISTEN_H
#define PROXY_POOL_LISTEN_H

#include "config/config.h"
#include "protocol/buffer.h"
#include "proxy/net/loop.h"
#include "proxy/net/resolve.h"

/* A client that does not read its notifications is ended when there are more of them than this. */
enum { LISTEN_QUEUE_MAX = 8 * 1024 * 1024 };

struct listen_subscriber;

/* --- for the worker ------------------------------------------------------------------------------ */

/* `home` is the loop on which connections live, before anybody subscribes. */
void listen_start(struct loop *home, struct resolver *resolver);
/* Closes all connections, when the loops have ended: nothing is heard any more, and nothing answered. */
void listen_stop(void);

/* --- for clients, on `loop`'s thread --------------------------------------------------------------- */

/* `name` is what the client has asked for. Where `database` has no control connection (a reload may have taken it away) no channel can be had.
 * `on_ready` is called when something has come into an empty queue, or the queue is overrun. */
struct listen_subscriber *listen_subscribe(struct loop *loop, const struct database *database, const char *name,
                                           void (*on_ready)(void *context), void *context);
/* The config is a new one. Who listens goes on where it says now, and is told that it may have missed something, if that is another connection
 * or database; what has been asked for is waited for there. Where there is no control connection any more it goes on as before. */
void listen_move(struct listen_subscriber *s, const struct database *database, const char *name);
/* Nothing is called any more; NULL: nothing. */
void listen_unsubscribe(struct listen_subscriber *s);

/* Hears the channel from now on; `done` is called when the database has confirmed that: ok. Or it could not be had, and the subscriber does
 * not hear it. Never before this returns. */
void listen_add(struct listen_subscriber *s, struct span channel, void (*done)(void *context, bool ok));
void listen_remove(struct listen_subscriber *s, struct span channel);

/* What has come; the caller takes it out with buffer_clear(). */
struct buffer *listen_queue(struct listen_subscriber *s);
/* There was more than the queue holds. */
bool listen_is_overrun(const struct listen_subscriber *s);

#endif
