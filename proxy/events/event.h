/* One captured notification, and the request it belongs to.
 *
 * An event is made when its statement is understood, *held* once the server has confirmed the statement (E2), and then either
 * *released* or *discarded*, exactly once. Events are owned by one list at a time; requests are shared by their events. */
#ifndef PROXY_EVENTS_EVENT_H
#define PROXY_EVENTS_EVENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/span.h"

struct config;
struct channel;

enum { EVENT_ID_SIZE = 16 };

/* Who asked: shared by all events and log lines of one request. Strings are owned, never NULL. Not thread-safe
 * but for the reference count. */
struct request {
    unsigned char id[EVENT_ID_SIZE]; /* UUIDv7 */
    char *route;                     /* "" when no block matched */
    char *label;                     /* "" when it has none */
    char *database, *user, *application, *client;
    uint64_t begun_us; /* a time (clock.h) */
    uint64_t statements, events;
    struct config *config; /* a reference: channels and sinks as they were when it began */
    atomic_int references;
};

struct request_names {
    const char *route, *label, *database, *user, *application, *client;
};

struct request *request_new(const unsigned char id[EVENT_ID_SIZE], const struct request_names *names,
                            struct config *config, uint64_t now_us);
struct request *request_retain(struct request *r);
void request_release(struct request *r);
/* False: nobody knows it, the event came from another program. Its id is all zeros then. */
bool request_is_known(const struct request *r);

enum discard_reason {
    DISCARD_ROLLBACK,
    DISCARD_SAVEPOINT,
    DISCARD_ERROR,
    DISCARD_DISCONNECT,
    DISCARD_TIMEOUT,
    DISCARD_OUTCOME,
    DISCARD_SERVER_LOST,
    DISCARD_NO_OUTCOME
};

/* "rollback", "savepoint", "error", "disconnect", "timeout", "outcome", "server_lost", "no_outcome" */
const char *discard_reason_name(enum discard_reason reason);

/* Not named "event", nor its functions, for those names are libevent's. */
struct notification {
    struct notification *next; /* in the list that owns it */
    unsigned char id[EVENT_ID_SIZE];
    struct request *request;       /* a reference */
    const struct channel *channel; /* rules; lives as long as request->config */
    char *name;                    /* the channel's name in UTF-8 */
    char *payload;                 /* UTF-8, payload_size bytes, a NUL behind them */
    size_t payload_size;
    uint64_t held_us;  /* the time (clock.h) when it was held */
    bool sandbox;      /* released in a sandbox: it was never really committed */
    bool durable;      /* it is a committed row of pgatomic.outbox (E8) */
    unsigned attempts; /* tries before this process had it */
    uint64_t xid;      /* the number of its transaction; 0: not known */
};

/* Copies name and payload. */
struct notification *notification_new(const unsigned char id[EVENT_ID_SIZE], struct request *request,
                                      const struct channel *channel, struct span name, struct span payload);
void notification_free(struct notification *e);
void notification_list_free(struct notification *first);

#endif
