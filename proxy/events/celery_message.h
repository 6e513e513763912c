/* An event's payload as a task message of Celery (protocol 2), for Redis and for AMQP.
 *
 * A payload is one of two JSON objects:
 *
 *   a call       {"task": "shop.tasks.welcome", "args": [7], "kwargs": {}, "queue": "mail", "countdown": 5, "eta": "2026-01-31T08:00:00Z",
 *                 "expires": 60, "priority": 3, "id": "…"}
 *                Only `task` is required; null is as good as nothing. `countdown`, and `expires` when it is a number, are seconds from the moment
 *                of capture, so that every try means the same time. `eta`, and `expires` when it is text, are ISO 8601; without a zone they
 *                are UTC. What nobody here knows is refused, for a misspelt option would otherwise be lost in silence.
 *   a message    {"body": "…", "headers": {…}, "properties": {…}, "content-type": …, "content-encoding": …}, as Celery itself puts it on Redis:
 *                passed on as it is.
 *
 * `args` and `kwargs` reach the worker to the letter: numbers of any size, text and duplicate keys are what the application wrote.
 *
 * Pure: the time, the ids and the name of the machine are arguments. */
#ifndef PROXY_EVENTS_CELERY_MESSAGE_H
#define PROXY_EVENTS_CELERY_MESSAGE_H

#include <jansson.h>
#include <stdint.h>

#include "protocol/buffer.h"

/* What a call does not say itself. */
struct celery_defaults {
    const char *id;     /* the event's, as text */
    const char *queue;  /* the sink's */
    const char *origin; /* "pgatomic@host", in UTF-8 */
    uint64_t now_us;    /* when the event was captured: wall clock, µs since 1970 */
};

enum { CELERY_NO_PRIORITY = -1, CELERY_REASON_SIZE = 160 };

/* A message, and its parts as a publisher of AMQP needs them. All of it is owned. Zeroed: empty. */
struct celery_message {
    char *exchange;                        /* "": the default exchange, always for a call */
    char *routing_key;                     /* the queue */
    char *content_type, *content_encoding; /* "application/json" and "utf-8" for a call */
    json_t *headers;                       /* the headers table: task, id, eta, … */
    struct buffer body;                    /* plain, no base64: [args, kwargs, {…}] */
    char *correlation_id, *reply_to;
    int priority;   /* as it was said, 0 to 255: of which end is urgent, brokers differ; or CELERY_NO_PRIORITY */
    bool transient; /* the message asks not to be kept on disk; never for a call */
    json_t *whole;  /* of a payload that is a message: all of it; NULL for a call */
};

/* Reads a payload into `m`, which is empty. False, and `reason` says why, when no worker could take it: it never will. */
bool celery_message_read(struct celery_message *m, struct span payload, const struct celery_defaults *defaults,
                         char reason[CELERY_REASON_SIZE]);
void celery_message_reset(struct celery_message *m);

#endif
