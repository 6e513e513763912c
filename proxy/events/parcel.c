/* Parcels and their shipments: made, weighed, settled. */
#include "proxy/events/parcel.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/memory.h"
#include "proxy/events/outbox.h"
#include "proxy/ops/log.h"

static bool is_among(const char *const *names, const char *name)
{
    for (; names != NULL && *names != NULL; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

/* In a sandbox an event goes to a log, or where the route says (R11). */
static bool may_go_to(const struct notification *e, const struct sink *sink)
{
    if (!e->sandbox || sink->kind == SINK_LOG)
        return true;
    const struct route *route = config_route_named(e->request->config, e->request->route);
    return route != NULL && is_among(route->sandbox_sinks, sink->name);
}

static const struct sink *sink_named(const struct notification *e, const char *name)
{
    const struct sink *sink = config_sink(e->request->config, name);
    return sink != NULL && may_go_to(e, sink) ? sink : NULL;
}

static size_t count_sinks(const struct notification *e)
{
    size_t count = 0;
    for (const char *const *name = e->channel->sinks; *name != NULL; name++)
        count += sink_named(e, *name) != NULL;
    return count;
}

static void add_shipment(struct parcel *p, const struct sink *sink)
{
    struct shipment *s = &p->shipments[p->open++];
    s->delivery.event = p->event;
    s->parcel = p;
    s->sink = sink;
    s->attempts = p->event->attempts;
    s->sink_tally = tally_sink(sink->name);
    tally_add(&s->sink_tally->released, 1);
    tally_add(&s->sink_tally->held_events, 1);
    tally_add(&s->sink_tally->held_bytes, p->weight);
}

struct parcel *parcel_new(struct notification *event_take, uint64_t released_us)
{
    size_t count = count_sinks(event_take), size = sizeof(struct parcel) + count * sizeof(struct shipment);
    if (count == 0)
        return NULL;
    struct parcel *p = or_abort(calloc(1, size));
    p->event = event_take;
    p->channel_tally = tally_channel(event_take->channel->pattern);
    p->released_us = released_us;
    p->weight = size + sizeof *event_take + strlen(event_take->name) + event_take->payload_size;
    p->shipment_count = count;
    for (const char *const *name = event_take->channel->sinks; *name != NULL; name++) {
        const struct sink *sink = sink_named(event_take, *name);
        if (sink != NULL)
            add_shipment(p, sink);
    }
    return p;
}

/* What has not reached all of its sinks, and is not dead, will come again (E8). */
static void tell_outbox(const struct parcel *p)
{
    if (p->is_dropped)
        outbox_event_dropped(p->event);
    else if (p->death != NULL)
        outbox_event_dead(p->event, p->most_attempts, p->death);
    else
        outbox_event_delivered(p->event);
}

static void parcel_end(struct parcel *p)
{
    if (p->event->durable)
        tell_outbox(p);
    notification_free(p->event);
    free(p->death);
    free(p);
}

static void settle(struct shipment *s)
{
    struct parcel *p = s->parcel;
    tally_take(&s->sink_tally->held_events, 1);
    tally_take(&s->sink_tally->held_bytes, p->weight);
    if (p->most_attempts < s->attempts)
        p->most_attempts = s->attempts;
    if (--p->open == 0)
        parcel_end(p);
}

void parcel_forget(struct parcel *p)
{
    p->event->durable = false;
    tally_take(&p->channel_tally->released, 1);
    for (size_t i = 0, count = p->shipment_count; i < count; i++) {
        tally_take(&p->shipments[i].sink_tally->released, 1);
        settle(&p->shipments[i]);
    }
}

static uint64_t latency_us(const struct shipment *s, uint64_t now_us)
{
    return now_us > s->parcel->released_us ? now_us - s->parcel->released_us : 0;
}

void shipment_retried(struct shipment *s, const char *reason, uint64_t wait_us, uint64_t now_us)
{
    tally_add(&s->sink_tally->retried, 1);
    tally_add(&s->parcel->channel_tally->retried, 1);
    log_event_retry(s->parcel->event, s->sink->name, s->attempts, reason, wait_us, latency_us(s, now_us), now_us);
    if (s->parcel->event->durable)
        outbox_event_failed(s->parcel->event, s->attempts, reason);
}

void shipment_delivered(struct shipment *s, uint64_t now_us)
{
    struct parcel *p = s->parcel;
    uint64_t latency = latency_us(s, now_us);
    tally_add(&s->sink_tally->delivered, 1);
    tally_add(&s->sink_tally->latency_us, latency);
    tally_add(&p->channel_tally->delivered, 1);
    tally_add(&p->channel_tally->latency_us, latency);
    log_event_delivered(p->event, s->sink->name, s->attempts, latency, now_us);
    settle(s);
}

void shipment_dead(struct shipment *s, const char *reason, uint64_t now_us)
{
    struct parcel *p = s->parcel;
    tally_add(&s->sink_tally->dead, 1);
    tally_add(&p->channel_tally->dead, 1);
    log_event_dead(p->event, s->sink->name, s->attempts, reason, latency_us(s, now_us), now_us);
    if (p->death == NULL)
        p->death = memory_copy_text(reason);
    settle(s);
}

static void drop(struct shipment *s)
{
    tally_add(&s->sink_tally->dropped, 1);
    tally_add(&s->parcel->channel_tally->dropped, 1);
    s->parcel->is_dropped = true;
    settle(s);
}

void shipment_given_up(struct shipment *s, const char *reason, uint64_t now_us)
{
    if (s->parcel->event->durable)
        drop(s);
    else
        shipment_dead(s, reason, now_us);
}
