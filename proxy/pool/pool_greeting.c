/* What clients are told at their login: the ParameterStatus messages of a server that has a client's settings.
 *
 * They are learnt from a server, once for each set of settings, and kept for a while, so that who connects for every request gets in without
 * any server. A few are kept, those that were asked for last. */
#include <stdlib.h>

#include "protocol/memory.h"
#include "proxy/pool/pool.h"
#include "proxy/worker.h"

enum { GREETINGS_MOST = 16, KEPT_US = 60 * 1000 * 1000 };

struct greeting {
    struct greeting *next;
    struct parameters *base; /* a reference */
    struct pool_greeting said;
    uint64_t learnt_us;
};

static void free_greeting(struct greeting *g)
{
    parameters_release(g->base);
    buffer_free(&g->said.messages);
    free(g->said.told.application);
    free(g);
}

void pool_forget_greetings(struct pool *p)
{
    while (p->greetings != NULL) {
        struct greeting *g = p->greetings;
        p->greetings = g->next;
        free_greeting(g);
    }
}

/* Takes it out of the list; NULL: it is not there. */
static struct greeting *take(struct pool *p, const struct parameters *base)
{
    for (struct greeting **link = &p->greetings; *link != NULL; link = &(*link)->next) {
        struct greeting *g = *link;
        if (parameters_equal(g->base, base)) {
            *link = g->next;
            return g;
        }
    }
    return NULL;
}

static void put_in_front(struct pool *p, struct greeting *g)
{
    g->next = p->greetings;
    p->greetings = g;
}

const struct pool_greeting *pool_find_greeting(struct pool *p, const struct parameters *base)
{
    struct greeting *g = take(p, base);
    if (g == NULL)
        return NULL;
    if (loop_now_us(&p->worker->loop) > g->learnt_us + KEPT_US) {
        free_greeting(g);
        return NULL;
    }
    put_in_front(p, g);
    return &g->said;
}

struct parameters *pool_share_settings(struct pool *p, struct parameters *take_base)
{
    struct greeting *g = take(p, take_base);
    if (g == NULL)
        return take_base;
    put_in_front(p, g);
    parameters_release(take_base);
    return parameters_retain(g->base);
}

static void drop_behind(struct pool *p, size_t most)
{
    struct greeting **link = &p->greetings;
    for (size_t i = 0; i < most && *link != NULL; i++)
        link = &(*link)->next;
    while (*link != NULL) {
        struct greeting *g = *link;
        *link = g->next;
        free_greeting(g);
    }
}

const struct pool_greeting *pool_learn_greeting(struct pool *p, struct parameters *base,
                                                const struct pool_greeting *greeting_take)
{
    struct greeting *g = take(p, base);
    if (g != NULL)
        free_greeting(g);
    g = or_abort(calloc(1, sizeof *g));
    g->base = parameters_retain(base);
    g->said = *greeting_take;
    g->learnt_us = loop_now_us(&p->worker->loop);
    put_in_front(p, g);
    drop_behind(p, GREETINGS_MOST);
    return &g->said;
}
