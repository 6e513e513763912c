/* The kinds of sink that this build has, and when two blocks of a config mean the same sink.
 *
 * The kinds are weak symbols here: to have one, or not to, is a matter of which files are linked. */
#include "proxy/events/sink.h"

#include <string.h>

#pragma weak sink_postgres_type
#pragma weak sink_webhook_type
#pragma weak sink_redis_type
#pragma weak sink_celery_type
#pragma weak sink_amqp_type
#pragma weak sink_kafka_type

const struct sink_type *sink_type_of(enum sink_kind kind)
{
    static const struct sink_type *const types[] = {
        [SINK_LOG] = &sink_log_type,     [SINK_POSTGRES] = &sink_postgres_type, [SINK_WEBHOOK] = &sink_webhook_type,
        [SINK_REDIS] = &sink_redis_type, [SINK_CELERY] = &sink_celery_type,     [SINK_AMQP] = &sink_amqp_type,
        [SINK_KAFKA] = &sink_kafka_type,
    };
    return types[kind];
}

/* NULL stands for what was not said. */
static bool same_text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool same_retry(const struct sink_retry *a, const struct sink_retry *b)
{
    return a->first_ms == b->first_ms && a->max_ms == b->max_ms && a->attempts == b->attempts;
}

bool sink_is_same(const struct sink *a, const struct sink *b)
{
    return a->kind == b->kind && same_text(a->name, b->name) && same_text(a->url, b->url) && same_text(a->ca, b->ca) &&
           same_text(a->upstream, b->upstream) && a->command == b->command && same_text(a->key, b->key) &&
           same_text(a->queue, b->queue) && same_text(a->exchange, b->exchange) &&
           same_text(a->routing_key, b->routing_key) && same_text(a->topic, b->topic) &&
           same_text(a->secret, b->secret) && a->body == b->body && a->timeout_ms == b->timeout_ms &&
           same_retry(&a->retry, &b->retry);
}
