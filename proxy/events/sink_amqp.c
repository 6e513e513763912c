/* An event as a message for an AMQP broker: its payload the body, its channel the routing key and the type. */
#include "protocol/memory.h"
#include "proxy/clock.h"
#include "proxy/events/amqp_publisher.h"
#include "proxy/events/facts.h"

enum { US_PER_S = 1000000, TYPE_MAX_SIZE = 255 };

struct sink_amqp {
    const struct sink *config;
    struct amqp_publisher *publisher;
};

static void *open_amqp(const struct sink *config, const struct sink_host *host)
{
    struct sink_amqp *s = or_abort(malloc(sizeof *s));
    *s = (struct sink_amqp){ .config = config, .publisher = amqp_publisher_new(config, host) };
    return s;
}

static json_t *headers_of(const struct notification *e)
{
    json_t *headers = or_abort(json_object());
    struct facts facts;
    facts_of(e, &facts);
    for (size_t i = 0; i < facts.count; i++)
        json_object_set_new_nocheck(headers, facts.list[i].name, json_string_nocheck(facts.list[i].value));
    return headers;
}

static void free_headers(void *headers)
{
    json_decref(headers);
}

static void deliver_amqp(void *sink, struct delivery *d)
{
    struct sink_amqp *s = sink;
    const struct notification *e = d->event;
    struct amqp_message m = {
        .exchange = s->config->exchange,
        .routing_key = s->config->routing_key[0] != '\0' ? s->config->routing_key : e->name,
        .body = span_make(e->payload, e->payload_size),
        .content_type = "text/plain",
        .content_encoding = "utf-8",
        .type = strlen(e->name) <= TYPE_MAX_SIZE ? e->name : NULL,
        .app_id = "pgatomic",
        .headers = headers_of(e),
        .priority = -1,
        .timestamp = clock_to_wall_us(e->held_us) / US_PER_S,
    };
    amqp_publisher_send(s->publisher, d, &m, m.headers, free_headers);
}

static void flush_amqp(void *sink)
{
    struct sink_amqp *s = sink;
    amqp_publisher_flush(s->publisher);
}

static void close_amqp(void *sink)
{
    struct sink_amqp *s = sink;
    amqp_publisher_close(s->publisher);
    free(s);
}

const struct sink_type sink_amqp_type = {
    .name = "amqp",
    .window = AMQP_WINDOW,
    .keeps_order = true,
    .open = open_amqp,
    .deliver = deliver_amqp,
    .flush = flush_amqp,
    .close = close_amqp,
};
