/* Events and requests: made, shared, freed.
 *
 * A request is kept by whoever still has something to tell about it: its session, and each of its events, which may be on their way
 * to a sink on another thread. Hence the atomic count; all else of a request is settled by then. */
#include "proxy/events/event.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

static char *copy_text(const char *text)
{
    char *copy = strdup(text != NULL ? text : "");
    assert(copy != NULL);
    return copy;
}

static char *copy_span(struct span s)
{
    char *copy = malloc(s.size + 1);
    assert(copy != NULL);

    if (s.size > 0)
        memcpy(copy, s.data, s.size);
    copy[s.size] = '\0';
    return copy;
}

struct request *request_new(const unsigned char id[EVENT_ID_SIZE], const struct request_names *names,
                            struct config *config, uint64_t now_us)
{
    struct request *r = calloc(1, sizeof *r);
    assert(r != NULL);

    memcpy(r->id, id, EVENT_ID_SIZE);
    r->route = copy_text(names->route);
    r->label = copy_text(names->label);
    r->database = copy_text(names->database);
    r->user = copy_text(names->user);
    r->application = copy_text(names->application);
    r->client = copy_text(names->client);
    r->begun_us = now_us;
    r->config = config_retain(config);
    atomic_init(&r->references, 1);
    return r;
}

struct request *request_retain(struct request *r)
{
    atomic_fetch_add_explicit(&r->references, 1, memory_order_relaxed);
    return r;
}

void request_release(struct request *r)
{
    if (atomic_fetch_sub_explicit(&r->references, 1, memory_order_acq_rel) > 1)
        return;
    free(r->route);
    free(r->label);
    free(r->database);
    free(r->user);
    free(r->application);
    free(r->client);
    config_release(r->config);
    free(r);
}

bool request_is_known(const struct request *r)
{
    static const unsigned char none[EVENT_ID_SIZE];
    return memcmp(r->id, none, EVENT_ID_SIZE) != 0;
}

const char *discard_reason_name(enum discard_reason reason)
{
    switch (reason) {
    case DISCARD_ROLLBACK:
        return "rollback";
    case DISCARD_SAVEPOINT:
        return "savepoint";
    case DISCARD_ERROR:
        return "error";
    case DISCARD_DISCONNECT:
        return "disconnect";
    case DISCARD_TIMEOUT:
        return "timeout";
    case DISCARD_OUTCOME:
        return "outcome";
    case DISCARD_SERVER_LOST:
        return "server_lost";
    case DISCARD_NO_OUTCOME:
        return "no_outcome";
    }
    abort();
}

struct notification *notification_new(const unsigned char id[EVENT_ID_SIZE], struct request *request,
                                      const struct channel *channel, struct span name, struct span payload)
{
    struct notification *e = calloc(1, sizeof *e);
    assert(e != NULL);

    memcpy(e->id, id, EVENT_ID_SIZE);
    e->request = request_retain(request);
    e->channel = channel;
    e->name = copy_span(name);
    e->payload = copy_span(payload);
    e->payload_size = payload.size;
    return e;
}

void notification_free(struct notification *e)
{
    if (e == NULL)
        return;
    request_release(e->request);
    free(e->name);
    free(e->payload);
    free(e);
}

void notification_list_free(struct notification *first)
{
    while (first != NULL) {
        struct notification *next = first->next;
        notification_free(first);
        first = next;
    }
}
