/* A ring under a lock, which is held for as long as it takes to copy a few words or write one event down: never for all of them.
 *
 *     number    …  1041  1042  1043  1044        the newest is number - 1
 *     place        17    18    19    20          number modulo RECENT_MOST
 *
 * An event is found by its id, from the newest on: most lines are about what has just happened. Ids stand in an array of their own, so
 * that looking for one that has left the ring is a walk over 4 kB and no more. */
#include "proxy/ops/recent.h"

#include <pthread.h>
#include <string.h>

#include "protocol/memory.h"
#include "proxy/ops/json.h"
#include "proxy/ops/json_write.h"
#include "proxy/ops/log.h"

enum { PREVIEW_BYTES = 64, STRINGS = 7 };

/* One allocation: the event, and behind it its strings and payload. */
struct entry {
    struct recent_event event;
    size_t kept; /* bytes of payload */
    char bytes[];
};

static struct {
    pthread_mutex_t lock;
    atomic_bool on;
    uint64_t next; /* number of the next event */
    unsigned char ids[RECENT_MOST][EVENT_ID_SIZE];
    struct entry *entries[RECENT_MOST];
} ring = { .lock = PTHREAD_MUTEX_INITIALIZER };

static const char *const names[] = {
    [RECENT_HELD] = "held",           [RECENT_RELEASED] = "released", [RECENT_DISCARDED] = "discarded",
    [RECENT_DELIVERED] = "delivered", [RECENT_RETRY] = "retry",       [RECENT_DEAD] = "dead",
};

const char *recent_state_name(enum recent_state state)
{
    return names[state];
}

/* --- entries -------------------------------------------------------------------------------------- */

static void entry_free(struct entry *entry)
{
    if (entry == NULL)
        return;
    for (size_t i = 0; i < entry->event.delivery_count; i++)
        free(entry->event.deliveries[i].sink);
    free(entry);
}

static const char *put(char **at, const char *text)
{
    const char *copy = *at;
    *at = stpcpy(*at, text) + 1;
    return copy;
}

static struct entry *entry_new(const struct notification *e)
{
    const struct request *r = e->request;
    const char *const texts[STRINGS] = { e->name, r->route, r->label, r->database, r->user, r->application, r->client };
    size_t kept = utf8_cut(span_make(e->payload, e->payload_size), RECENT_PAYLOAD_MOST).size, size = kept;
    for (size_t i = 0; i < STRINGS; i++)
        size += strlen(texts[i]) + 1;
    struct entry *entry = or_abort(malloc(sizeof *entry + size));
    char *at = entry->bytes + kept;
    *entry = (struct entry){ .kept = kept };
    entry->event = (struct recent_event){ .request_known = request_is_known(r),
                                          .durable = e->durable,
                                          .channel = put(&at, e->name),
                                          .payload_size = e->payload_size,
                                          .held_us = e->held_us };
    entry->event.route = put(&at, r->route);
    entry->event.label = put(&at, r->label);
    entry->event.database = put(&at, r->database);
    entry->event.user = put(&at, r->user);
    entry->event.application = put(&at, r->application);
    entry->event.client = put(&at, r->client);
    memcpy(entry->event.id, e->id, EVENT_ID_SIZE);
    memcpy(entry->event.request, r->id, EVENT_ID_SIZE);
    memcpy(entry->bytes, e->payload, kept);
    return entry;
}

/* --- the ring, under the lock ---------------------------------------------------------------------- */

static struct entry *find(const unsigned char *id)
{
    uint64_t oldest = ring.next > RECENT_MOST ? ring.next - RECENT_MOST : 0;
    for (uint64_t number = ring.next; number > oldest; number--) {
        size_t place = (number - 1) % RECENT_MOST;
        if (memcmp(ring.ids[place], id, EVENT_ID_SIZE) == 0)
            return ring.entries[place];
    }
    return NULL;
}

/* Returns what has to make room. */
static struct entry *insert(struct entry *take)
{
    size_t place = ring.next++ % RECENT_MOST;
    struct entry *oldest = ring.entries[place];
    ring.entries[place] = take;
    memcpy(ring.ids[place], take->event.id, EVENT_ID_SIZE);
    return oldest;
}

static struct recent_delivery *delivery_to(struct recent_event *e, const char *sink)
{
    for (size_t i = 0; i < e->delivery_count; i++)
        if (strcmp(e->deliveries[i].sink, sink) == 0)
            return &e->deliveries[i];
    if (e->delivery_count == RECENT_DELIVERIES_MOST)
        return NULL;
    struct recent_delivery *d = &e->deliveries[e->delivery_count++];
    *d = (struct recent_delivery){ .sink = memory_copy_text(sink) };
    return d;
}

/* What needs most attention comes last in the enum. */
static enum recent_state worst_of(const struct recent_event *e)
{
    enum recent_state worst = RECENT_DELIVERED;
    for (size_t i = 0; i < e->delivery_count; i++)
        if (e->deliveries[i].state > worst)
            worst = e->deliveries[i].state;
    return worst;
}

/* --- what is told ---------------------------------------------------------------------------------- */

struct news {
    enum recent_state state;
    const char *sink, *reason;
    unsigned attempt;
    uint64_t latency_us, now_us;
};

static void apply(struct recent_event *e, const struct notification *told, const struct news *news)
{
    e->sandbox = told->sandbox;
    e->durable = told->durable;
    if (news->sink == NULL) {
        e->state = news->state;
        e->reason = news->reason;
        e->settled_us = news->state == RECENT_HELD ? 0 : news->now_us;
        return;
    }
    struct recent_delivery *d = delivery_to(e, news->sink);
    if (d == NULL)
        return;
    d->state = news->state;
    d->attempt = news->attempt;
    d->latency_us = news->latency_us;
    d->at_us = news->now_us;
    struct span reason = utf8_cut(span_of(news->reason != NULL ? news->reason : ""), RECENT_REASON_SIZE - 1);
    memcpy(d->reason, reason.data, reason.size);
    d->reason[reason.size] = '\0';
    e->state = worst_of(e);
}

/* Nothing that is released has to be known: it may have come from elsewhere, or have waited for long. */
static void tell(const struct notification *e, const struct news *news)
{
    if (!atomic_load_explicit(&ring.on, memory_order_relaxed))
        return;
    struct entry *known = NULL, *oldest = NULL, *fresh = news->state == RECENT_HELD ? entry_new(e) : NULL;
    pthread_mutex_lock(&ring.lock);
    if (fresh == NULL)
        known = find(e->id);
    if (known == NULL && fresh == NULL && news->state == RECENT_RELEASED)
        fresh = entry_new(e);
    if (fresh != NULL) {
        known = fresh;
        oldest = insert(fresh);
    }
    if (known != NULL)
        apply(&known->event, e, news);
    pthread_mutex_unlock(&ring.lock);
    entry_free(oldest);
}

void recent_on_held(const struct notification *e)
{
    tell(e, &(struct news){ .state = RECENT_HELD, .now_us = e->held_us });
}

void recent_on_released(const struct notification *e, uint64_t now_us)
{
    tell(e, &(struct news){ .state = RECENT_RELEASED, .now_us = now_us });
}

void recent_on_discarded(const struct notification *e, enum discard_reason reason, uint64_t now_us)
{
    tell(e, &(struct news){ .state = RECENT_DISCARDED, .reason = discard_reason_name(reason), .now_us = now_us });
}

void recent_on_try(const struct notification *e, const char *sink, enum recent_state state, unsigned attempt,
                   const char *reason, uint64_t latency_us, uint64_t now_us)
{
    tell(e, &(struct news){ state, sink, reason, attempt, latency_us, now_us });
}

void recent_keep(bool on)
{
    atomic_store(&ring.on, on);
    if (on)
        return;
    pthread_mutex_lock(&ring.lock);
    for (size_t place = 0; place < RECENT_MOST; place++) {
        entry_free(ring.entries[place]);
        ring.entries[place] = NULL;
    }
    ring.next = 0;
    memset(ring.ids, 0, sizeof ring.ids);
    pthread_mutex_unlock(&ring.lock);
}

/* --- what is shown --------------------------------------------------------------------------------- */

static void show_payload(struct entry *entry)
{
    switch (log_payloads()) {
    case PAYLOADS_FULL:
        entry->event.payload = span_make(entry->bytes, entry->kept);
        return;
    case PAYLOADS_PREVIEW:
        entry->event.payload = utf8_cut(span_make(entry->bytes, entry->kept), PREVIEW_BYTES);
        return;
    case PAYLOADS_NONE:
        entry->event.payload = (struct span){ 0 };
        return;
    }
}

/* The lock is let go between two events, which may push out the next: then that was all. */
void recent_each(size_t most, void (*see)(void *context, const struct recent_event *e), void *context)
{
    pthread_mutex_lock(&ring.lock);
    uint64_t number = ring.next;
    pthread_mutex_unlock(&ring.lock);
    for (; most > 0 && number > 0; most--, number--) {
        pthread_mutex_lock(&ring.lock);
        struct entry *entry = ring.next <= number - 1 + RECENT_MOST ? ring.entries[(number - 1) % RECENT_MOST] : NULL;
        if (entry != NULL) {
            show_payload(entry);
            see(context, &entry->event);
        }
        pthread_mutex_unlock(&ring.lock);
    }
}

static void append_delivery(struct buffer *b, const struct recent_delivery *d)
{
    json_open(b, NULL, '{');
    json_text(b, "sink", d->sink);
    json_text(b, "state", recent_state_name(d->state));
    json_number(b, "attempt", d->attempt);
    json_time(b, "at", d->at_us);
    json_ms(b, "latency_ms", d->latency_us);
    if (d->reason[0] != '\0')
        json_text(b, "reason", d->reason);
    json_close(b, '}');
}

static void append_event(void *context, const struct recent_event *e)
{
    struct buffer *b = context;
    json_open(b, NULL, '{');
    json_id(b, "id", e->id);
    json_text(b, "channel", e->channel);
    if (e->payload.data != NULL)
        json_span(b, "payload", e->payload);
    json_number(b, "payload_bytes", e->payload_size);
    json_text(b, "state", recent_state_name(e->state));
    if (e->reason != NULL)
        json_text(b, "reason", e->reason);
    if (e->held_us > 0)
        json_time(b, "held", e->held_us);
    if (e->settled_us > 0)
        json_time(b, "settled", e->settled_us);
    if (e->held_us > 0 && e->settled_us >= e->held_us)
        json_ms(b, "held_ms", e->settled_us - e->held_us);
    if (e->request_known)
        json_id(b, "request", e->request);
    json_text(b, "route", e->route);
    json_text(b, "label", e->label);
    json_text(b, "database", e->database);
    json_text(b, "user", e->user);
    json_text(b, "application", e->application);
    json_text(b, "client", e->client);
    json_bool(b, "durable", e->durable);
    json_bool(b, "sandbox", e->sandbox);
    json_open(b, "deliveries", '[');
    for (size_t i = 0; i < e->delivery_count; i++)
        append_delivery(b, &e->deliveries[i]);
    json_close(b, ']');
    json_close(b, '}');
}

void recent_append_json(struct buffer *b, const char *name, size_t most)
{
    json_open(b, name, '[');
    recent_each(most, append_event, b);
    json_close(b, ']');
}
