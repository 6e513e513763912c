/* The pools of the process, and what concerns all workers at once.
 *
 * A pool is found under one lock, once in a client's life. It is counted who needs it: clients, servers, messages between workers, and each
 * part that is linked to its worker. A part is unlinked by a tick of its worker when it has neither clients nor servers any more, and
 * with the last of them the pool goes. */
#include <stdlib.h>

#include "protocol/memory.h"
#include "proxy/pool/pool.h"
#include "proxy/worker.h"

enum { TICK_LEAST_US = 10 * 1000, TICK_MOST_US = 2 * 1000 * 1000, TICKS_IN_A_TIMEOUT = 8, PAUSE_LOOK_US = 5 * 1000 };

static struct {
    pthread_mutex_t lock; /* of what stands below */
    struct pool_shared *first;
    bool paused; /* all of them */
    char **paused_names;
    size_t paused_count, paused_capacity;
} registry = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* --- references --------------------------------------------------------------------------------------- */

void pool_hold(struct pool_shared *x)
{
    atomic_fetch_add_explicit(&x->references, 1, memory_order_relaxed);
}

static void free_shared(struct pool_shared *x)
{
    credentials_wipe(&x->credentials);
    pool_free_greetings(&x->greetings);
    pthread_mutex_destroy(&x->lock);
    free(x->block);
    free(x->name);
    free(x->user);
    free(x);
}

static void remove_shared(struct pool_shared *x)
{
    struct pool_shared **link = &registry.first;
    while (*link != x)
        link = &(*link)->next;
    *link = x->next;
    free_shared(x);
}

/* The last reference goes under the lock, where others might be finding the pool at this moment. */
void pool_let_go(struct pool_shared *x)
{
    size_t references = atomic_load(&x->references);
    while (references > 1)
        if (atomic_compare_exchange_weak(&x->references, &references, references - 1))
            return;
    pthread_mutex_lock(&registry.lock);
    if (atomic_fetch_sub(&x->references, 1) == 1)
        remove_shared(x);
    pthread_mutex_unlock(&registry.lock);
}

/* --- finding ------------------------------------------------------------------------------------------- */

static bool is_paused_by_name(const char *name)
{
    for (size_t i = 0; i < registry.paused_count; i++)
        if (strcmp(registry.paused_names[i], name) == 0)
            return true;
    return registry.paused;
}

static struct pool_shared *new_shared(const struct pool_key *key, const char *user)
{
    unsigned count = workers_count();
    struct pool_shared *x = or_abort(calloc(1, sizeof *x + count * sizeof x->parts[0]));
    x->block = memory_copy_text(key->database->name);
    x->name = memory_copy_text(key->name);
    x->user = memory_copy_text(user);
    x->count = count;
    pthread_mutex_init(&x->lock, NULL);
    atomic_init(&x->limit, key->database->pool_size);
    atomic_init(&x->paused, is_paused_by_name(key->name));
    for (unsigned i = 0; i < count; i++) {
        x->parts[i].shared = x;
        x->parts[i].worker = worker_at(i);
        x->parts[i].last_wait = &x->parts[i].first_wait;
        atomic_init(&x->parts[i].oldest, TICKET_NONE);
    }
    x->next = registry.first;
    registry.first = x;
    return x;
}

static struct pool_shared *find_shared(const struct pool_key *key, const char *user)
{
    pthread_mutex_lock(&registry.lock);
    struct pool_shared *x = registry.first;
    while (x != NULL && (strcmp(x->block, key->database->name) != 0 || strcmp(x->name, key->name) != 0 ||
                         strcmp(x->user, user) != 0))
        x = x->next;
    if (x == NULL)
        x = new_shared(key, user);
    pool_hold(x);
    pthread_mutex_unlock(&registry.lock);
    return x;
}

/* --- credentials ----------------------------------------------------------------------------------------- */

/* The newest are the ones that are good; a login that has shown nothing takes nothing from those that have. */
static void set_credentials(struct pool_shared *x, const struct credentials *credentials)
{
    pthread_mutex_lock(&x->lock);
    if (credentials->kind != CREDENTIALS_NONE && !credentials_equal(&x->credentials, credentials)) {
        credentials_wipe(&x->credentials);
        credentials_copy(&x->credentials, credentials);
    }
    pthread_mutex_unlock(&x->lock);
}

void pool_copy_credentials(struct pool *p, struct credentials *to)
{
    pthread_mutex_lock(&p->shared->lock);
    credentials_copy(to, &p->shared->credentials);
    pthread_mutex_unlock(&p->shared->lock);
}

/* --- a worker's part -------------------------------------------------------------------------------------- */

static void on_tick(void *context);

static uint64_t sooner(uint64_t a_us, uint64_t timeout_ms)
{
    uint64_t b_us = timeout_ms * 1000 / TICKS_IN_A_TIMEOUT;
    return timeout_ms > 0 && b_us < a_us ? b_us : a_us;
}

static void start_tick(struct worker *w)
{
    uint64_t period_us = TICK_MOST_US;
    for (const struct pool *p = w->pools.first; p != NULL; p = p->next)
        period_us = sooner(sooner(period_us, p->database->server_idle_timeout_ms), p->database->server_lifetime_ms);
    if (w->pools.tick == NULL)
        w->pools.tick = timer_new(&w->loop, on_tick, w);
    timer_start(w->pools.tick, period_us < TICK_LEAST_US ? TICK_LEAST_US : period_us);
}

static void set_config(struct pool *p, struct config *config, const struct database *database)
{
    config_retain(config);
    if (p->config != NULL)
        config_release(p->config);
    p->config = config;
    p->database = database;
    p->resets_always = database->server_reset == RESET_ALWAYS;
    atomic_store_explicit(&p->shared->limit, database->pool_size, memory_order_relaxed);
}

static void link_part(struct pool *p, const struct pool_key *key)
{
    struct worker *w = p->worker;
    p->linked = true;
    p->next = w->pools.first;
    p->link = &w->pools.first;
    if (p->next != NULL)
        p->next->link = &p->next;
    w->pools.first = p;
    p->tick_us = loop_now_us(&w->loop);
    p->generation = atomic_load(&p->shared->generation);
    set_config(p, key->config, key->database);
    pool_hold(p->shared);
    start_tick(w);
}

/* What was counted outlives the pool. */
static void leave_times(struct pool *p)
{
    struct database_counts *to = counts_database(&p->worker->counts, p->shared->name);
    to->wait_us += p->wait_us;
    to->query_us += p->query_us;
    to->transaction_us += p->transaction_us;
    p->wait_us = p->query_us = p->transaction_us = 0;
}

static void unlink_part(struct pool *p)
{
    *p->link = p->next;
    if (p->next != NULL)
        p->next->link = p->link;
    p->linked = false;
    leave_times(p);
    pool_free_greetings(&p->greetings);
    timer_free(p->timer);
    p->timer = NULL;
    config_release(p->config);
    p->config = NULL;
    pool_let_go(p->shared);
}

static void hear_generation(struct pool *p)
{
    uint64_t generation = atomic_load(&p->shared->generation);
    if (generation == p->generation)
        return;
    p->generation = generation;
    pool_free_greetings(&p->greetings);
}

static void on_tick(void *context)
{
    struct worker *w = context;
    uint64_t now_us = loop_now_us(&w->loop);
    for (struct pool *p = w->pools.first, *next; p != NULL; p = next) {
        next = p->next;
        hear_generation(p);
        pool_hold(p->shared);
        pool_tick(p, now_us);
        if (p->client_count == 0 && p->servers == NULL)
            unlink_part(p);
        pool_let_go(p->shared);
    }
    if (w->pools.first != NULL)
        start_tick(w);
}

/* --- calls --------------------------------------------------------------------------------------------------- */

static void answer_call(void *context)
{
    struct pool *p = context;
    atomic_store(&p->called, false);
    if (p->linked && !p->closed) {
        hear_generation(p);
        pool_serve_called(p);
    }
    pool_let_go(p->shared);
}

void pool_call(struct pool *p)
{
    if (atomic_exchange(&p->called, true))
        return;
    pool_hold(p->shared);
    loop_post(&p->worker->loop, answer_call, p);
}

static void call_all(struct pool_shared *x)
{
    for (unsigned i = 0; i < x->count; i++)
        pool_call(&x->parts[i]);
}

/* --- a new config ----------------------------------------------------------------------------------------------- */

static bool is_same_upstream(const struct database *a, const struct database *b)
{
    return strcmp(a->upstream, b->upstream) == 0;
}

/* A block that is gone, or has no pool any more, stays as it was for who is still connected. */
static void reload_part(struct pool *p, struct config *config)
{
    const struct database *database = config_database(config, p->shared->name);
    if (database == NULL || database->pool == POOL_DEDICATED || strcmp(database->name, p->shared->block) != 0)
        return;
    if (!is_same_upstream(database, p->database)) {
        /* Each part finds it changed, and the first one is enough; but one generation more costs nothing. */
        atomic_fetch_add(&p->shared->generation, 1);
        p->minor_refused = false;
    }
    set_config(p, config, database);
    pool_free_greetings(&p->greetings);
    hear_generation(p);
    pool_serve_called(p);
}

void pools_reload(struct worker *w)
{
    for (struct pool *p = w->pools.first, *next; p != NULL; p = next) {
        next = p->next;
        reload_part(p, w->config);
    }
    if (w->pools.first != NULL)
        start_tick(w);
}

/* --- joining ----------------------------------------------------------------------------------- */

struct pool *pool_join(struct worker *w, const struct pool_key *key, const struct credentials *credentials)
{
    struct pool_shared *x = find_shared(key, key->user);
    struct pool *p = &x->parts[w->number];
    if (!p->linked) {
        link_part(p, key);
        if (key->config != w->config) /* there was a reload while the client logged in */
            reload_part(p, w->config);
    }
    set_credentials(x, credentials);
    p->client_count++;
    return p;
}

void pool_leave(struct pool *p)
{
    p->client_count--;
    pool_let_go(p->shared);
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

static void free_pauses(struct worker *w);

void pools_close(struct worker *w)
{
    w->pools.closed = true;
    for (struct pool *p = w->pools.first, *next; p != NULL; p = next) {
        next = p->next;
        p->closed = true;
        while (p->servers != NULL)
            pool_server_close(p->servers);
        unlink_part(p);
    }
    free_pauses(w);
    timer_free(w->pools.tick);
    w->pools.tick = NULL;
}

void pools_free(void)
{
    for (size_t i = 0; i < registry.paused_count; i++)
        free(registry.paused_names[i]);
    free(registry.paused_names);
}

/* --- administrators ------------------------------------------------------------------------------------------------ */

static bool is_meant(const struct pool_shared *x, const char *database)
{
    return database == NULL || strcmp(x->name, database) == 0;
}

/* Called under the lock. */
static void remember_pause(const char *database)
{
    if (database == NULL) {
        registry.paused = true;
        return;
    }
    for (size_t i = 0; i < registry.paused_count; i++)
        if (strcmp(registry.paused_names[i], database) == 0)
            return;
    registry.paused_names = memory_grow(registry.paused_names, &registry.paused_capacity, registry.paused_count,
                                        sizeof *registry.paused_names);
    registry.paused_names[registry.paused_count++] = memory_copy_text(database);
}

static void forget_pause(const char *database)
{
    size_t kept = 0;
    for (size_t i = 0; i < registry.paused_count; i++) {
        if (database == NULL || strcmp(registry.paused_names[i], database) == 0)
            free(registry.paused_names[i]);
        else
            registry.paused_names[kept++] = registry.paused_names[i];
    }
    registry.paused_count = kept;
    if (database == NULL)
        registry.paused = false;
}

/* Somebody waits until nothing is open any more. Whether that is so is looked at every few milliseconds: it is rare, and no server's end
 * has to think of it. */
struct pool_pause {
    struct pool_pause *next;
    struct worker *home;
    char *database; /* NULL: all */
    struct timer *timer;
    uint64_t until_us;
    void (*done)(void *context, bool in_time);
    void *context;
};

static bool is_over(const char *database)
{
    bool over = true;
    pthread_mutex_lock(&registry.lock);
    for (const struct pool_shared *x = registry.first; x != NULL; x = x->next)
        if (is_meant(x, database) && atomic_load(&x->paused) && atomic_load(&x->servers) > 0)
            over = false;
    pthread_mutex_unlock(&registry.lock);
    return over;
}

static void free_pause(struct pool_pause *pause)
{
    struct pool_pause **link = &pause->home->pools.pauses;
    while (*link != pause)
        link = &(*link)->next;
    *link = pause->next;
    timer_free(pause->timer);
    free(pause->database);
    free(pause);
}

static void free_pauses(struct worker *w)
{
    while (w->pools.pauses != NULL)
        free_pause(w->pools.pauses);
}

static void look_at_pause(void *context)
{
    struct pool_pause *pause = context;
    bool over = is_over(pause->database);
    if (!over && loop_now_us(&pause->home->loop) < pause->until_us) {
        timer_start(pause->timer, PAUSE_LOOK_US);
        return;
    }
    pause->done(pause->context, over);
    free_pause(pause);
}

/* Called under the lock. */
static void set_paused(const char *database, bool paused)
{
    for (struct pool_shared *x = registry.first; x != NULL; x = x->next) {
        if (!is_meant(x, database))
            continue;
        atomic_store(&x->paused, paused || is_paused_by_name(x->name));
        call_all(x);
    }
}

void pool_pause(const char *database, struct worker *home, uint64_t limit_ms, void (*done)(void *context, bool in_time),
                void *context)
{
    pthread_mutex_lock(&registry.lock);
    remember_pause(database);
    set_paused(database, true);
    pthread_mutex_unlock(&registry.lock);

    struct pool_pause *pause = or_abort(calloc(1, sizeof *pause));
    *pause = (struct pool_pause){ .next = home->pools.pauses, .home = home, .done = done, .context = context };
    pause->database = database != NULL ? memory_copy_text(database) : NULL;
    pause->until_us = loop_now_us(&home->loop) + limit_ms * 1000;
    pause->timer = timer_new(&home->loop, look_at_pause, pause);
    home->pools.pauses = pause;
    timer_start(pause->timer, 0);
}

bool pool_is_paused_by_order(const char *database)
{
    pthread_mutex_lock(&registry.lock);
    bool paused = database != NULL ? is_paused_by_name(database) : registry.paused || registry.paused_count > 0;
    pthread_mutex_unlock(&registry.lock);
    return paused;
}

void pool_pause_forget(struct worker *home, void *context)
{
    for (struct pool_pause *pause = home->pools.pauses, *next; pause != NULL; pause = next) {
        next = pause->next;
        if (pause->context == context)
            free_pause(pause);
    }
}

void pool_resume(const char *database)
{
    pthread_mutex_lock(&registry.lock);
    forget_pause(database);
    set_paused(database, false);
    pthread_mutex_unlock(&registry.lock);
}

void pool_reconnect(const char *database)
{
    pthread_mutex_lock(&registry.lock);
    for (struct pool_shared *x = registry.first; x != NULL; x = x->next) {
        if (!is_meant(x, database))
            continue;
        atomic_fetch_add(&x->generation, 1);
        call_all(x);
    }
    pthread_mutex_unlock(&registry.lock);
}
