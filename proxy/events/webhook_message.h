/* What is posted for an event: its body, and the headers that describe it.
 *
 *     raw          the payload, and pgatomic-channel
 *     binary       the payload, and CloudEvents 1.0 in headers: ce-id, ce-source, ce-type, ce-time
 *     structured   a CloudEvents 1.0 object with the payload as its data
 *
 * In all of them webhook-id and webhook-timestamp, and webhook-signature if there is a key (Standard Webhooks). */
#ifndef PROXY_EVENTS_WEBHOOK_MESSAGE_H
#define PROXY_EVENTS_WEBHOOK_MESSAGE_H

#include "config/config.h"
#include "protocol/buffer.h"
#include "proxy/events/event.h"

struct webhook_message {
    struct span body;    /* in `made`, or the event's own payload */
    struct buffer made;  /* the body, if the payload alone is not it */
    struct buffer lines; /* headers, "name: value", each with a NUL behind it */
};

/* `key` as webhook_sign_key() gives it; empty: unsigned. `now_us`: wall clock. The message, zeroed or used before, borrows from `e`. */
void webhook_message_make(struct webhook_message *m, const struct notification *e, enum webhook_body kind,
                          struct span key, uint64_t now_us);
void webhook_message_free(struct webhook_message *m);

#endif
