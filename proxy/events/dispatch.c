/* Delivery on the releasing thread: a line in the log is delivered when it is written down. */
#include "proxy/events/dispatch.h"

#include <stdlib.h>

#include "config/config.h"
#include "proxy/ops/log.h"

static void deliver(const struct notification *e, const struct sink *sink, uint64_t now_us)
{
    switch (sink->kind) {
    case SINK_LOG:
        log_event_delivered(e, sink->name, 1, 0, now_us);
        return;
    case SINK_POSTGRES:
    case SINK_WEBHOOK:
    case SINK_REDIS:
    case SINK_CELERY:
    case SINK_AMQP:
    case SINK_KAFKA:
        break;
    }
    abort();
}

static void publish_one(const struct notification *e, uint64_t now_us)
{
    for (const char *const *name = e->channel->sinks; *name != NULL; name++)
        deliver(e, config_sink(e->request->config, *name), now_us);
}

void dispatch_publish(struct notification *first_take, uint64_t now_us)
{
    while (first_take != NULL) {
        struct notification *e = first_take;
        first_take = e->next;
        log_event_released(e, now_us);
        publish_one(e, now_us);
        notification_free(e);
    }
}
