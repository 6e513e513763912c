/* One round of connecting at a time, whose answer goes to all who wait, and to those who come within the next second. */
#include "proxy/ops/readiness.h"

#include <stdlib.h>
#include <unistd.h>

#include "protocol/buffer.h"
#include "protocol/memory.h"
#include "proxy/net/dial.h"
#include "proxy/net/resolve.h"

enum { FRESH_US = 1000 * 1000, LONGEST_MS = 3000 };

struct readiness_wait {
    struct readiness_wait *next, **link;
    void (*on_known)(void *context, const char *why_not);
    void *context;
};

struct attempt {
    struct readiness *owner;
    const struct database *database;
    struct dial *dial; /* NULL: it has ended */
};

struct readiness {
    struct loop *loop;
    struct resolver *resolver;
    struct readiness_wait *waits;
    struct config *config; /* a reference: of the round under way; NULL: none is */
    struct attempt *attempts;
    size_t attempt_count, open;
    struct buffer failures; /* of this round, or of the last one */
    uint64_t known_us;      /* when the last one ended */
};

struct readiness *readiness_new(struct loop *l)
{
    struct readiness *r = or_abort(calloc(1, sizeof *r));
    r->loop = l;
    r->resolver = resolver_new(l);
    return r;
}

static void end_round(struct readiness *r)
{
    for (size_t i = 0; i < r->attempt_count; i++)
        dial_cancel(r->attempts[i].dial);
    free(r->attempts);
    r->attempts = NULL;
    r->attempt_count = 0;
    if (r->config != NULL)
        config_release(r->config);
    r->config = NULL;
}

void readiness_free(struct readiness *r)
{
    end_round(r);
    resolver_free(r->resolver);
    buffer_free(&r->failures);
    free(r);
}

static const char *why_not(const struct readiness *r)
{
    return r->failures.size > 0 ? r->failures.data : NULL;
}

static void tell_all(struct readiness *r)
{
    for (struct readiness_wait *w; (w = r->waits) != NULL;) {
        void (*on_known)(void *, const char *) = w->on_known;
        void *context = w->context;
        readiness_forget(w);
        on_known(context, why_not(r));
    }
}

static void on_dialed(void *context, int fd, const struct address *to, const char *error)
{
    (void)to;
    struct attempt *attempt = context;
    struct readiness *r = attempt->owner;
    attempt->dial = NULL;
    if (fd >= 0)
        close(fd);
    else
        buffer_format(&r->failures, "%sdatabase \"%s\": %s", r->failures.size > 0 ? "\n" : "", attempt->database->name,
                      error);
    if (--r->open > 0)
        return;
    if (r->failures.size > 0)
        buffer_append_u8(&r->failures, '\0');
    r->known_us = loop_now_us(r->loop);
    end_round(r);
    tell_all(r);
}

static void begin_round(struct readiness *r, struct config *config)
{
    r->config = config_retain(config);
    buffer_free(&r->failures);
    r->attempt_count = r->open = config->database_count;
    r->attempts = or_abort(calloc(r->attempt_count, sizeof *r->attempts));
    for (size_t i = 0; i < r->attempt_count; i++) {
        const struct database *d = &config->databases[i];
        uint64_t timeout_ms = d->connect_timeout_ms < LONGEST_MS ? d->connect_timeout_ms : LONGEST_MS;
        struct dial_targets targets = {
            .hosts = d->hosts, .ports = d->ports, .timeout_ms = timeout_ms, .tcp = &d->tcp
        };
        r->attempts[i] = (struct attempt){ .owner = r, .database = d };
        r->attempts[i].dial = dial_hosts(r->loop, r->resolver, &targets, on_dialed, &r->attempts[i]);
    }
}

static bool is_fresh(const struct readiness *r)
{
    uint64_t now_us = loop_now_us(r->loop);
    return r->known_us > 0 && now_us >= r->known_us && now_us - r->known_us < FRESH_US;
}

struct readiness_wait *readiness_ask(struct readiness *r, struct config *config,
                                     void (*on_known)(void *context, const char *why_not), void *context)
{
    if (r->config == NULL && is_fresh(r)) {
        on_known(context, why_not(r));
        return NULL;
    }
    struct readiness_wait *w = or_abort(malloc(sizeof *w));
    *w = (struct readiness_wait){ r->waits, &r->waits, on_known, context };
    if (w->next != NULL)
        w->next->link = &w->next;
    r->waits = w;
    if (r->config == NULL)
        begin_round(r, config);
    return w;
}

void readiness_forget(struct readiness_wait *w)
{
    if (w == NULL)
        return;
    *w->link = w->next;
    if (w->next != NULL)
        w->next->link = w->link;
    free(w);
}
