/* What clients are told at their login: the ParameterStatus messages of a server that has a client's settings.
 *
 * They are learnt from a server, once for each set of settings, and told to the other workers, so that who connects for every request gets in
 * without any server. What was learnt a while ago is learnt anew, but nobody waits for that: a client that holds all servers itself, and
 * connects once more, would wait for ever. A few are kept, those that were asked for last. */
#include <stdlib.h>

#include "protocol/memory.h"
#include "proxy/pool/pool.h"
#include "proxy/worker.h"

enum { GREETINGS_MOST = 16, KEPT_US = 60 * 1000 * 1000 };

struct greeting {
    struct greeting *next;
    struct parameters *base; /* a reference */
    struct pool_greeting said;
    uint64_t learnt_us, generation;
};

static void free_greeting(struct greeting *g)
{
    if (g == NULL)
        return;
    parameters_release(g->base);
    buffer_free(&g->said.messages);
    free(g->said.told.application);
    free(g);
}

void pool_free_greetings(struct greeting **list)
{
    while (*list != NULL) {
        struct greeting *g = *list;
        *list = g->next;
        free_greeting(g);
    }
}

/* Takes it out of the list; NULL: it is not there. */
static struct greeting *take(struct greeting **list, const struct parameters *base)
{
    for (struct greeting **link = list; *link != NULL; link = &(*link)->next) {
        struct greeting *g = *link;
        if (parameters_equal(g->base, base)) {
            *link = g->next;
            return g;
        }
    }
    return NULL;
}

/* The ones that were asked for longest ago go. */
static void put_in_front(struct greeting **list, struct greeting *g)
{
    g->next = *list;
    *list = g;
    struct greeting **last = list;
    for (size_t i = 0; i < GREETINGS_MOST && *last != NULL; i++)
        last = &(*last)->next;
    pool_free_greetings(last);
}

static struct greeting *copy_of(const struct greeting *g)
{
    struct greeting *copy = or_abort(malloc(sizeof *copy));
    *copy = *g;
    parameters_retain(copy->base);
    copy->said.messages = (struct buffer){ 0 };
    buffer_append_span(&copy->said.messages, buffer_span(&g->said.messages));
    copy->said.told.application = memory_copy_text(g->said.told.application);
    return copy;
}

/* --- between workers ----------------------------------------------------------------------------------- */

static void tell_others(struct pool *p, const struct greeting *g)
{
    struct pool_shared *x = p->shared;
    struct greeting *copy = copy_of(g);
    pthread_mutex_lock(&x->lock);
    struct greeting *before = take(&x->greetings, g->base);
    put_in_front(&x->greetings, copy);
    pthread_mutex_unlock(&x->lock);
    free_greeting(before);
}

/* What whichever worker has learnt last; NULL: none has. */
static struct greeting *ask_others(struct pool *p, const struct parameters *base)
{
    struct pool_shared *x = p->shared;
    pthread_mutex_lock(&x->lock);
    struct greeting *g = take(&x->greetings, base);
    if (g != NULL)
        put_in_front(&x->greetings, g);
    struct greeting *copy = g != NULL && g->generation == p->generation ? copy_of(g) : NULL;
    pthread_mutex_unlock(&x->lock);
    return copy;
}

/* --- the worker's own ------------------------------------------------------------------------------------ */

static bool is_old(struct pool *p, const struct greeting *g)
{
    return loop_now_us(&p->worker->loop) > g->learnt_us + KEPT_US;
}

const struct pool_greeting *pool_find_greeting(struct pool *p, const struct parameters *base)
{
    struct greeting *g = take(&p->greetings, base);
    if (g == NULL || is_old(p, g)) {
        struct greeting *newer = ask_others(p, base);
        if (newer != NULL) {
            free_greeting(g);
            g = newer;
        }
    }
    if (g == NULL)
        return NULL;
    g->said.is_old = is_old(p, g);
    put_in_front(&p->greetings, g);
    return &g->said;
}

struct parameters *pool_share_settings(struct pool *p, struct parameters *take_base)
{
    struct greeting *g = take(&p->greetings, take_base);
    if (g == NULL)
        return take_base;
    put_in_front(&p->greetings, g);
    parameters_release(take_base);
    return parameters_retain(g->base);
}

const struct pool_greeting *pool_learn_greeting(struct pool *p, struct parameters *base,
                                                const struct pool_greeting *greeting_take)
{
    free_greeting(take(&p->greetings, base));
    struct greeting *g = or_abort(calloc(1, sizeof *g));
    g->base = parameters_retain(base);
    g->said = *greeting_take;
    g->learnt_us = loop_now_us(&p->worker->loop);
    g->generation = p->generation;
    put_in_front(&p->greetings, g);
    tell_others(p, g);
    return &g->said;
}
