/* The newest events and what has become of each: what /events, the live page and SHOW EVENTS show.
 *
 * Fed by what writes the event lines of the log, whatever the level of the log is. The oldest makes room for the newest, so memory is
 * bounded; payloads are shown as log.payloads allows at the moment of showing. Any thread. */
#ifndef PROXY_OPS_RECENT_H
#define PROXY_OPS_RECENT_H

#include "protocol/buffer.h"
#include "proxy/events/event.h"

enum {
    RECENT_MOST = 256,          /* events */
    RECENT_PAYLOAD_MOST = 1024, /* bytes that are kept of a payload */
    RECENT_REASON_SIZE = 160,   /* bytes that are kept of a sink's words, with a NUL */
    RECENT_DELIVERIES_MOST = 8  /* sinks of one event */
};

enum recent_state { RECENT_HELD, RECENT_RELEASED, RECENT_DISCARDED, RECENT_DELIVERED, RECENT_RETRY, RECENT_DEAD };

/* "held", "released", "discarded", "delivered", "retry", "dead" */
const char *recent_state_name(enum recent_state state);

/* What the newest try of one sink came to. */
struct recent_delivery {
    char *sink;
    enum recent_state state; /* DELIVERED, RETRY or DEAD */
    unsigned attempt;
    char reason[RECENT_REASON_SIZE]; /* the sink's words; "": delivered */
    uint64_t latency_us, at_us;
};

struct recent_event {
    unsigned char id[EVENT_ID_SIZE], request[EVENT_ID_SIZE];
    bool request_known, sandbox, durable;
    enum recent_state state; /* the most that is known: of its deliveries the one that needs most attention */
    const char *reason;      /* why it was discarded; NULL: it was not */
    const char *channel, *route, *label, *database, *user, *application, *client;
    struct span payload; /* as much as may be shown; the whole has payload_size bytes */
    size_t payload_size;
    uint64_t held_us, settled_us; /* 0: not yet */
    struct recent_delivery deliveries[RECENT_DELIVERIES_MOST];
    size_t delivery_count;
};

/* Whether somebody may want to see them: off, nothing is kept. Off at first. */
void recent_keep(bool on);

void recent_on_held(const struct notification *e);
void recent_on_released(const struct notification *e, uint64_t now_us);
void recent_on_discarded(const struct notification *e, enum discard_reason reason, uint64_t now_us);
/* `reason`: NULL when it was delivered. */
void recent_on_try(const struct notification *e, const char *sink, enum recent_state state, unsigned attempt,
                   const char *reason, uint64_t latency_us, uint64_t now_us);

/* Calls `see` for the newest `most`, the newest first. What it is given is borrowed for the call, during which nobody else can tell
 * anything of events: be short. */
void recent_each(size_t most, void (*see)(void *context, const struct recent_event *e), void *context);

/* Appends an array of objects, the newest first, as json_write.h does. */
void recent_append_json(struct buffer *b, const char *name, size_t most);

#endif
