/* A released event on its way: one shipment to each of its sinks.
 *
 *     parcel_new()  ──▶ each shipment is settled once: delivered, dead, or dropped ──▶ the last one ends the parcel
 *
 * It is made on the thread that released the event, and handed to the dispatcher's thread, where all else happens. What it weighs is
 * held against each of its sinks until the shipment to it is settled (E13). */
#ifndef PROXY_EVENTS_PARCEL_H
#define PROXY_EVENTS_PARCEL_H

#include "proxy/events/sink.h"
#include "proxy/events/tally.h"

struct lane;

struct shipment {
    struct delivery delivery; /* what the sink sees; first, so that one is the other */
    struct parcel *parcel;
    const struct sink *sink; /* as the event's own config has it */
    struct tally *sink_tally;
    struct lane *lane;              /* in which it waits, or from which it was handed over */
    struct shipment *before, *next; /* there */
    uint64_t place;                 /* in the order in which its outlet got it */
    unsigned attempts;              /* tries so far */
};

struct parcel {
    struct parcel *next; /* in the dispatcher's inbox */
    struct notification *event;
    struct tally *channel_tally;
    uint64_t released_us;   /* a time (clock.h) */
    size_t weight;          /* bytes of memory that it takes */
    size_t open;            /* shipments that are not settled */
    bool is_dropped;        /* one of them was given up */
    unsigned most_attempts; /* of those that are settled */
    char *death;            /* why one of them will never be delivered; NULL: none is dead */
    size_t shipment_count;
    struct shipment shipments[];
};

/* NULL, and nothing was taken: there is no sink for it. */
struct parcel *parcel_new(struct notification *event_take, uint64_t released_us);
/* Its event is here already, or on its way, as another parcel: this one has never been. */
void parcel_forget(struct parcel *p);

/* A try failed; the next comes after `wait_us`. */
void shipment_retried(struct shipment *s, const char *reason, uint64_t wait_us, uint64_t now_us);

/* Each of these says what became of a shipment in the end, once; the parcel may be gone afterwards. */
void shipment_delivered(struct shipment *s, uint64_t now_us);
void shipment_dead(struct shipment *s, const char *reason, uint64_t now_us);
/* It leaves memory untried: dead if that is all there is of it, dropped if a row is still there to be read back (E13). */
void shipment_given_up(struct shipment *s, const char *reason, uint64_t now_us);

#endif
