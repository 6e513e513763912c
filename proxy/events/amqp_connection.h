/* One connection to an AMQP 0-9-1 broker, with one channel on which the broker confirms what is published.
 *
 * For one thread; everything but amqp_connection_next() may block for as long as the timeout says, or until somebody shuts its socket
 * down. Reasons hold the broker's words and never a password. */
#ifndef PROXY_EVENTS_AMQP_CONNECTION_H
#define PROXY_EVENTS_AMQP_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/events/amqp_publisher.h"

enum { AMQP_REASON_SIZE = 512, AMQP_ID_SIZE = 64, AMQP_HEARTBEAT_S = 30 };

/* Copies, for the thread may outlive the config. */
struct amqp_settings {
    char *host, *virtual_host, *user;
    char *password; /* secret */
    char *ca;       /* "": the system's */
    uint16_t port;
    bool tls;
    uint64_t timeout_ms;
};

struct amqp_connection;

/* Opens a socket, and TLS on it. Cannot be interrupted: it looks up the name, too. NULL, and why. */
struct amqp_connection *amqp_connection_dial(const struct amqp_settings *s, char reason[AMQP_REASON_SIZE]);
/* For poll(), and shutdown() by another thread. */
int amqp_connection_socket(const struct amqp_connection *c);
bool amqp_connection_log_in(struct amqp_connection *c, const struct amqp_settings *s, char reason[AMQP_REASON_SIZE]);
/* The broker has closed the channel, and with it forgotten what it had not confirmed: opens another. */
bool amqp_connection_open_channel(struct amqp_connection *c, char reason[AMQP_REASON_SIZE]);

enum amqp_outcome {
    AMQP_SENT,
    AMQP_UNFIT, /* it can be sent to no broker; the connection is of no use any more */
    AMQP_BROKEN /* the connection is of no use any more */
};

/* `id`: the message-id. The nth message that was sent on a channel has the number n in the broker's answers. */
enum amqp_outcome amqp_connection_publish(struct amqp_connection *c, const struct amqp_message *m, const char *id,
                                          char reason[AMQP_REASON_SIZE]);

enum amqp_news_kind {
    AMQP_NOTHING_NEW,
    AMQP_CONFIRMED,      /* `number`, and with `multiple` all below it */
    AMQP_REJECTED,       /* likewise */
    AMQP_RETURNED,       /* no queue takes the message with `id`: `reason`; it will be confirmed nevertheless */
    AMQP_CHANNEL_CLOSED, /* `reason` */
    AMQP_PAUSED,         /* the broker takes no messages for now: `reason` */
    AMQP_RESUMED,
    AMQP_LOST /* `reason`; the connection is of no use any more */
};

struct amqp_news {
    enum amqp_news_kind kind;
    uint64_t number;
    bool multiple;
    char id[AMQP_ID_SIZE];
    char reason[AMQP_REASON_SIZE];
};

/* What the broker said, without waiting. Keeps the heartbeat, too: to be called at least every AMQP_HEARTBEAT_S / 2 seconds. */
void amqp_connection_next(struct amqp_connection *c, struct amqp_news *news);

/* With `politely` the broker is told first, without waiting for its answer. */
void amqp_connection_free(struct amqp_connection *c, bool politely);

#endif
