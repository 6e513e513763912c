/* Messages for an AMQP 0-9-1 broker, confirmed by it.
 *
 * A publisher belongs to one sink and lives on its loop; the library underneath blocks, so it works on a thread of its own. It
 * publishes in the order in which it was handed the messages, persistent and mandatory, and gives every delivery back with
 * delivery_done(): delivered when the broker has confirmed the message. When one fails, those of the same channel behind it fail
 * too, so that what is tried again arrives in order. It connects, and connects again, when there is something to publish. It never
 * declares an exchange or a queue. */
#ifndef PROXY_EVENTS_AMQP_PUBLISHER_H
#define PROXY_EVENTS_AMQP_PUBLISHER_H

#include <jansson.h>

#include "proxy/events/sink.h"

enum { AMQP_WINDOW = 1000 /* messages that are worth having in its hands at once */ };

/* The message-id is always the event's id. Strings are borrowed from the event, the sink's config, or from what is given with them
 * as `owner`; one that is NULL is not sent. */
struct amqp_message {
    const char *exchange; /* "": the default exchange */
    const char *routing_key;
    struct span body;
    const char *content_type, *content_encoding;
    const char *correlation_id, *reply_to, *type, *app_id;
    json_t *headers; /* an object: text, numbers, true, false, null, arrays and objects become what AMQP calls them */
    uint64_t timestamp; /* seconds since 1970; 0: not said */
    int priority;       /* 0 to 255; below 0: not said */
    bool transient;     /* the broker need not keep it on disk */
};

struct amqp_publisher;

/* Never NULL. Of `config` it reads name, url and its parts, ca and timeout; host "" is this machine, path "" the virtual host "/",
 * a user that is not said is "guest". */
struct amqp_publisher *amqp_publisher_new(const struct sink *config, const struct sink_host *host);
/* Takes `d`, and `owner_take`, which is freed with `owner_free` when the strings of `m` are no longer needed; NULL: nothing to free.
 * What no broker could ever take is refused before this returns. */
void amqp_publisher_send(struct amqp_publisher *p, struct delivery *d, const struct amqp_message *m, void *owner_take,
                         void (*owner_free)(void *owner));
/* What was handed over since the last time goes. */
void amqp_publisher_flush(struct amqp_publisher *p);
/* As sink_type.close. */
void amqp_publisher_close(struct amqp_publisher *p);

#endif
