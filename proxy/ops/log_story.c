/* The lines that tell the story of requests and their events.
 *
 * Every line of an event names the event and its request in full, so that one grep finds a story, whichever part of it one
 * starts from. */
#include "proxy/ops/log.h"

#include <assert.h>

#include "proxy/clock.h"
#include "proxy/ops/json.h"
#include "proxy/ops/recent.h"

enum { PREVIEW_BYTES = 64, MAX_FIELDS = 24 };

struct story {
    struct log_field fields[MAX_FIELDS];
    size_t count;
};

static void add(struct story *s, struct log_field field)
{
    assert(s->count < MAX_FIELDS);
    s->fields[s->count++] = field;
}

static void tell(struct story *s, enum log_level level, uint64_t now_us)
{
    add(s, (struct log_field){ .kind = LOG_FIELD_END });
    log_write(level, clock_to_wall_us(now_us), s->fields);
}

/* A row of the outbox has the time of its database's clock. */
static uint64_t since(uint64_t then_us, uint64_t now_us)
{
    return now_us > then_us ? now_us - then_us : 0;
}

/* --- events -------------------------------------------------------------------------------------- */

static void add_payload(struct story *s, const struct notification *e, enum log_payloads how)
{
    struct span payload = span_make(e->payload, e->payload_size);

    switch (how) {
    case PAYLOADS_FULL:
        add(s, log_span("payload", payload));
        break;
    case PAYLOADS_PREVIEW:
        add(s, log_span("payload", utf8_cut(payload, PREVIEW_BYTES)));
        break;
    case PAYLOADS_NONE:
        break;
    }
    add(s, log_number("payload_bytes", e->payload_size));
}

static struct story event_story_showing(const char *msg, const struct notification *e, enum log_payloads how)
{
    const struct request *r = e->request;
    struct story s = { .count = 0 };

    add(&s, log_text("msg", msg));
    add(&s, log_id("id", e->id));
    add(&s, log_text("channel", e->name));
    add_payload(&s, e, how);
    if (request_is_known(r))
        add(&s, log_id("request", r->id));
    add(&s, log_text("route", r->route));
    add(&s, log_text("label", r->label));
    add(&s, log_text("database", r->database));
    add(&s, log_text("user", r->user));
    add(&s, log_text("application", r->application));
    add(&s, log_text("client", r->client));
    return s;
}

static struct story event_story(const char *msg, const struct notification *e)
{
    return event_story_showing(msg, e, log_payloads());
}

/* What a sink made of it, and how long after its release. */
static void tell_try(struct story *s, enum log_level level, const struct notification *e, uint64_t latency_us,
                     uint64_t now_us)
{
    add(s, log_ms("latency_ms", latency_us));
    if (e->sandbox)
        add(s, log_bool("sandbox", true));
    tell(s, level, now_us);
}

void log_event_held(const struct notification *e)
{
    recent_on_held(e);
    if (!log_is_on(LOG_INFO))
        return;
    struct story s = event_story("event_held", e);
    tell(&s, LOG_INFO, e->held_us);
}

void log_event_released(const struct notification *e, uint64_t now_us)
{
    recent_on_released(e, now_us);
    if (!log_is_on(LOG_INFO))
        return;
    struct story s = event_story("event_released", e);
    add(&s, log_ms("held_ms", since(e->held_us, now_us)));
    if (e->xid > 0)
        add(&s, log_number("xid", e->xid));
    if (e->sandbox)
        add(&s, log_bool("sandbox", true));
    tell(&s, LOG_INFO, now_us);
}

void log_event_discarded(const struct notification *e, enum discard_reason reason, uint64_t now_us)
{
    recent_on_discarded(e, reason, now_us);
    if (!log_is_on(LOG_INFO))
        return;
    struct story s = event_story("event_discarded", e);
    add(&s, log_ms("held_ms", since(e->held_us, now_us)));
    if (e->xid > 0)
        add(&s, log_number("xid", e->xid));
    add(&s, log_text("reason", discard_reason_name(reason)));
    tell(&s, LOG_INFO, now_us);
}

void log_event_delivered(const struct notification *e, const char *sink, unsigned attempt, uint64_t latency_us,
                         uint64_t now_us)
{
    recent_on_try(e, sink, RECENT_DELIVERED, attempt, NULL, latency_us, now_us);
    if (!log_is_on(LOG_INFO))
        return;
    struct story s = event_story("event_delivered", e);
    add(&s, log_text("sink", sink));
    add(&s, log_number("attempt", attempt));
    tell_try(&s, LOG_INFO, e, latency_us, now_us);
}

void log_event_retry(const struct notification *e, const char *sink, unsigned attempt, const char *reason,
                     uint64_t wait_us, uint64_t latency_us, uint64_t now_us)
{
    recent_on_try(e, sink, RECENT_RETRY, attempt, reason, latency_us, now_us);
    if (!log_is_on(LOG_WARN))
        return;
    struct story s = event_story("event_retry", e);
    add(&s, log_text("sink", sink));
    add(&s, log_number("attempt", attempt));
    add(&s, log_text("reason", reason));
    add(&s, log_ms("next_ms", wait_us));
    tell_try(&s, LOG_WARN, e, latency_us, now_us);
}

void log_event_dead(const struct notification *e, const char *sink, unsigned attempt, const char *reason,
                    uint64_t latency_us, uint64_t now_us)
{
    recent_on_try(e, sink, RECENT_DEAD, attempt, reason, latency_us, now_us);
    enum log_payloads how = log_payloads() == PAYLOADS_NONE ? PAYLOADS_NONE : PAYLOADS_FULL;
    struct story s = event_story_showing("event_dead", e, how);
    add(&s, log_text("sink", sink));
    add(&s, log_number("attempt", attempt));
    add(&s, log_text("reason", reason));
    tell_try(&s, LOG_ERROR, e, latency_us, now_us);
}

/* --- requests ------------------------------------------------------------------------------------ */

static struct story request_story(const char *msg, const struct request *r, uint64_t now_us)
{
    struct story s = { .count = 0 };

    add(&s, log_text("msg", msg));
    add(&s, log_id("request", r->id));
    add(&s, log_text("route", r->route));
    add(&s, log_text("label", r->label));
    add(&s, log_text("database", r->database));
    add(&s, log_text("user", r->user));
    add(&s, log_text("client", r->client));
    add(&s, log_number("statements", r->statements));
    add(&s, log_number("events", r->events));
    add(&s, log_ms("duration_ms", since(r->begun_us, now_us)));
    return s;
}

void log_request_begun(const struct request *r)
{
    if (!log_is_on(LOG_INFO))
        return;
    struct story s = request_story("request_begun", r, r->begun_us);
    tell(&s, LOG_INFO, r->begun_us);
}

void log_request_committed(const struct request *r, uint64_t now_us)
{
    if (!log_is_on(LOG_INFO))
        return;
    struct story s = request_story("request_committed", r, now_us);
    tell(&s, LOG_INFO, now_us);
}

void log_request_rolled_back(const struct request *r, enum discard_reason reason, uint64_t now_us)
{
    if (!log_is_on(LOG_INFO))
        return;
    struct story s = request_story("request_rolled_back", r, now_us);
    add(&s, log_text("reason", discard_reason_name(reason)));
    tell(&s, LOG_INFO, now_us);
}

void log_commit_unknown(const struct request *r, struct span xid, uint64_t now_us)
{
    struct story s = request_story("commit_unknown", r, now_us);
    if (xid.size > 0)
        add(&s, log_span("xid", xid));
    tell(&s, LOG_ERROR, now_us);
}

void log_commit_failed(const struct request *r, struct span error, uint64_t now_us)
{
    struct story s = request_story("commit_failed", r, now_us);
    add(&s, log_span("error", error));
    tell(&s, LOG_ERROR, now_us);
}
