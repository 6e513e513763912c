/* One connection to Redis, over TCP, TLS or a unix socket: made when there is something to send, and made again when it was lost. */
#ifndef PROXY_EVENTS_REDIS_CONNECTION_H
#define PROXY_EVENTS_REDIS_CONNECTION_H

#include "protocol/buffer.h"
#include "proxy/events/redis_replies.h"
#include "proxy/events/sink.h"

struct redis_connection;

/* Never called before redis_connection_send() returns. Texts end with the call; they hold no secret, and nothing of what was sent. */
struct redis_callbacks {
    redis_on_error *on_error;
    /* All replies have come. `elements`: of the last one, if it is an array. Sending again from here is fine. */
    void (*on_done)(void *context, size_t elements);
    /* No connection, or no more, or no answer in time: it is not known what the server did. on_error may have been called before. */
    void (*on_lost)(void *context, const char *reason);
};

/* Of `config`, which outlives it: url, ca, timeout. Never NULL. */
struct redis_connection *redis_connection_new(const struct sink *config, const struct sink_host *host,
                                              const struct redis_callbacks *callbacks, void *context);
/* No callback comes any more. */
void redis_connection_free(struct redis_connection *c);

/* Sends commands that have `replies` answers together; connects and logs in first, if need be. All of it has the time of one try. Not
 * again before on_done or on_lost. */
void redis_connection_send(struct redis_connection *c, struct span commands, size_t replies);

/* Appends a command. False: it is larger than Redis takes. */
bool redis_append_command(struct buffer *b, const struct span *words, size_t count);

#endif
