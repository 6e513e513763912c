/* What a receiver may want to know of an event, next to its payload: names that all sinks use alike. */
#ifndef PROXY_EVENTS_FACTS_H
#define PROXY_EVENTS_FACTS_H

#include "proxy/events/event.h"
#include "proxy/ops/uuid.h"

enum { FACTS_MAX = 6 };

struct fact {
    const char *name, *value;
};

struct facts {
    struct fact list[FACTS_MAX]; /* id, channel, request, route, label, database; those that are empty are left out */
    size_t count;
    char id[UUID_TEXT_SIZE], request[UUID_TEXT_SIZE];
};

/* Borrowed from `e` and from `out`, which must stay where it is. */
void facts_of(const struct notification *e, struct facts *out);

#endif
