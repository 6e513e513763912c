/* Events as commands to Redis, in order.
 *
 * A publisher belongs to one sink and lives on its loop. It gathers commands until a flush, sends them as one transaction (MULTI … EXEC),
 * gathers the next ones while the answer is on its way, and gives every delivery back with delivery_done(). */
#ifndef PROXY_EVENTS_REDIS_PUBLISHER_H
#define PROXY_EVENTS_REDIS_PUBLISHER_H

#include "proxy/events/sink.h"

enum { REDIS_WINDOW = 1000 /* deliveries that are worth having in its hands at once */ };

struct redis_publisher;

/* As sink_type.open. */
struct redis_publisher *redis_publisher_new(const struct sink *config, const struct sink_host *host);
/* Takes `d`; the words of its command are copied. */
void redis_publisher_send(struct redis_publisher *p, struct delivery *d, const struct span *words, size_t count);
/* As sink_type.flush and sink_type.close. */
void redis_publisher_flush(struct redis_publisher *p);
void redis_publisher_close(struct redis_publisher *p);

#endif
