/* Events to Redis: a message, an element of a list, or an entry of a stream.
 *
 *     publish    PUBLISH key payload                                   subscribers that listen now get it, nobody else
 *     rpush      RPUSH key payload                                     oldest first: consumers take from the left (BLPOP)
 *     lpush      LPUSH key payload                                     oldest last: consumers take from the right (BRPOP)
 *     xadd       XADD key * id ID channel CHANNEL payload PAYLOAD      `id` is the event's: the same in every try
 *
 * The key is the sink's, or else the event's channel. What Redis refuses is tried again, whatever it is: memory, a missing permission, a
 * key of another type can all be mended by a person before the tries run out. */
#include "protocol/memory.h"
#include "proxy/events/redis_publisher.h"
#include "proxy/ops/uuid.h"

struct sink_redis {
    const struct sink *config;
    struct redis_publisher *publisher;
};

static void *open_sink(const struct sink *config, const struct sink_host *host)
{
    struct sink_redis *s = or_abort(malloc(sizeof *s));
    *s = (struct sink_redis){ config, redis_publisher_new(config, host) };
    return s;
}

static void add_entry(struct sink_redis *s, struct delivery *d, struct span key, struct span payload)
{
    char id[UUID_TEXT_SIZE];
    uuid_format(d->event->id, id);
    struct span words[] = { span_of("XADD"),
                            key,
                            span_of("*"),
                            span_of("id"),
                            span_of(id),
                            span_of("channel"),
                            span_of(d->event->name),
                            span_of("payload"),
                            payload };
    redis_publisher_send(s->publisher, d, words, sizeof words / sizeof *words);
}

static void deliver(void *sink, struct delivery *d)
{
    static const char *const commands[] = {
        [REDIS_PUBLISH] = "PUBLISH", [REDIS_LPUSH] = "LPUSH", [REDIS_RPUSH] = "RPUSH"
    };
    struct sink_redis *s = sink;
    struct span key = span_of(s->config->key[0] != '\0' ? s->config->key : d->event->name);
    struct span payload = span_make(d->event->payload, d->event->payload_size);
    if (s->config->command == REDIS_XADD) {
        add_entry(s, d, key, payload);
        return;
    }
    struct span words[] = { span_of(commands[s->config->command]), key, payload };
    redis_publisher_send(s->publisher, d, words, 3);
}

static void flush(void *sink)
{
    struct sink_redis *s = sink;
    redis_publisher_flush(s->publisher);
}

static void close_sink(void *sink)
{
    struct sink_redis *s = sink;
    redis_publisher_close(s->publisher);
    free(s);
}

const struct sink_type sink_redis_type = {
    .name = "redis",
    .window = REDIS_WINDOW,
    .keeps_order = true,
    .open = open_sink,
    .deliver = deliver,
    .flush = flush,
    .close = close_sink,
};
