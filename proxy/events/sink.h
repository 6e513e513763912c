/* What a kind of sink is: where released events are delivered.
 *
 * Everything here happens on the dispatcher's thread, on its loop; a sink whose library blocks keeps a thread of its own and comes back
 * with loop_post(). A sink is handed deliveries, one event each, and gives every one of them back with delivery_done(), once: now, or
 * when it knows. Retrying, waiting, order, giving up, logging and counting are the dispatcher's business, not the sink's; connecting, and
 * connecting again, is the sink's. */
#ifndef PROXY_EVENTS_SINK_H
#define PROXY_EVENTS_SINK_H

#include "config/config.h"
#include "proxy/events/event.h"
#include "proxy/net/loop.h"
#include "proxy/net/resolve.h"

/* One event on its way to one sink. */
struct delivery {
    const struct notification *event; /* lives as long as the delivery is in the sink's hands */
    unsigned attempt;                 /* 1 for the first try */
    void *sink_data;                  /* the sink's own; NULL when handed over */
    struct delivery *sink_next;       /* likewise, for a list */
};

enum delivery_result {
    DELIVERED,
    DELIVERY_FAILED,  /* try again later, if there are tries left */
    DELIVERY_REFUSED, /* it will never be taken: dead at once */
    DELIVERY_STOPPED /* the receiver wants nothing any more (HTTP 410): this one is dead, and so is what follows until a reload */
};

/* Hands a delivery back. `reason`: the receiver's words when it was not delivered, else NULL; copied. It never holds a secret.
 * `retry_after_ms`: do not come back to this sink sooner; 0: as the sink's retry block says. */
void delivery_done(struct delivery *d, enum delivery_result result, const char *reason, uint64_t retry_after_ms);

struct sink_host {
    struct loop *loop;         /* the dispatcher's */
    struct resolver *resolver; /* on it */
};

struct sink_type {
    const char *name; /* as in `type = …` */
    /* How many deliveries may be in its hands at once. */
    size_t window;
    /* Several of one channel may be in its hands at once: they reach the receiver in the order of deliver(), and when one of them
     * fails, those behind it fail too. Otherwise the dispatcher hands over one of each channel at a time (ordering = channel). */
    bool keeps_order;
    /* `config` outlives the sink. Never NULL: what cannot be reached now will be tried with the first delivery. */
    void *(*open)(const struct sink *config, const struct sink_host *host);
    /* Begins. May call delivery_done() before it returns. */
    void (*deliver)(void *sink, struct delivery *d);
    /* The dispatcher has handed over all that it has for now: what was gathered goes. NULL: nothing is gathered. */
    void (*flush)(void *sink);
    /* Lets go of everything without waiting; deliveries still in its hands are the dispatcher's again, and delivery_done() must not be
     * called for them any more. Threads are joined. */
    void (*close)(void *sink);
};

/* One in a file each, sink_NAME.c. A kind whose file is left out of the build (`make WITHOUT=…`) does not exist: ask sink_type_of(). */
extern const struct sink_type sink_log_type, sink_postgres_type, sink_webhook_type, sink_redis_type, sink_celery_type,
    sink_amqp_type, sink_kafka_type;

/* NULL: this build does not have it. */
const struct sink_type *sink_type_of(enum sink_kind kind);
/* The two blocks say the same: what was opened for one serves the other. */
bool sink_is_same(const struct sink *a, const struct sink *b);

#endif
