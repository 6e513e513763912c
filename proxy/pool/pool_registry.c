/* The pools of the process, and what concerns all workers at once.
 *
 * A pool is found under one lock, once in a client's life. It is counted who needs it: clients, servers, messages between workers, and each
 * part that is linked to its worker. A part is unlinked by a tick of its worker when it has neither clients nor servers any more, and
 * with the last of them the pool goes. */
#include <stdlib.h>

#include "config/users.h"
#include "protocol/memory.h"
#include "proxy/pool/pool.h"
#include "proxy/worker.h"

enum { TICK_LEAST_US = 10 * 1000, TICK_MOST_US = 2 * 1000 * 1000, TICKS_IN_A_TIMEOUT = 8 };

static struct {
    pthread_mutex_t lock; /* of what stands below */
    struct pool_shared *first;
    uint32_t last_number;
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

/* Whom the servers of its clients are logged in as. */
static const char *user_of(const struct pool_key *key)
{
    return key->database->user != NULL ? key->database->user : key->user;
}

static struct pool_shared *new_shared(const struct pool_key *key)
{
    unsigned count = workers_count();
    struct pool_shared *x = or_abort(calloc(1, sizeof *x + count * sizeof x->parts[0]));
    x->block = memory_copy_text(key->database->name);
    x->name = memory_copy_text(key->name);
    x->user = memory_copy_text(user_of(key));
    x->number = ++registry.last_number;
    x->for_all = key->database->user != NULL;
    x->count = count;
    pthread_mutex_init(&x->lock, NULL);
    atomic_init(&x->limit, key->database->pool_size);
    atomic_init(&x->paused, pool_pause_holds(key->name));
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

static bool is_of(const struct pool_shared *x, const struct pool_key *key)
{
    return strcmp(x->block, key->database->name) == 0 && strcmp(x->name, key->name) == 0 &&
           strcmp(x->user, user_of(key)) == 0 && x->for_all == (key->database->user != NULL);
}

static struct pool_shared *find_shared(const struct pool_key *key)
{
    pthread_mutex_lock(&registry.lock);
    struct pool_shared *x = registry.first;
    while (x != NULL && !is_of(x, key))
        x = x->next;
    if (x == NULL)
        x = new_shared(key);
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

/* What was counted outlives the pool, unless no server of it could ever be had: clients may ask for any name. */
static void leave_times(struct pool *p)
{
    if (!p->had_server)
        return;
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

void pool_call_all(struct pool_shared *x)
{
    for (unsigned i = 0; i < x->count; i++)
        pool_call(&x->parts[i]);
}

/* --- a new config ----------------------------------------------------------------------------------------------- */

static bool is_same_upstream(const struct database *a, const struct database *b)
{
    return strcmp(a->upstream, b->upstream) == 0;
}

/* A password that has been changed reaches those who stay connected, too: their pool may be logging in long after any login of theirs. */
static void learn_secret(struct pool *p)
{
    const struct users *users = p->config->users;
    const char *secret = users != NULL ? users_password(users, p->shared->user) : NULL;
    struct credentials credentials = { 0 };
    if (secret == NULL || p->shared->for_all)
        return;
    credentials_set_secret(&credentials, span_of(secret));
    set_credentials(p->shared, &credentials);
    credentials_wipe(&credentials);
}

/* Nobody becomes somebody else by a reload. */
static bool has_same_user(const struct pool_shared *x, const struct database *d)
{
    return x->for_all ? d->user != NULL && strcmp(d->user, x->user) == 0 : d->user == NULL;
}

/* A block that is gone, has no pool any more, or logs in as another user, stays as it was for who is still connected. */
static void reload_part(struct pool *p, struct config *config)
{
    const struct database *database = config_database(config, p->shared->name);
    if (database == NULL || database->pool == POOL_DEDICATED || strcmp(database->name, p->shared->block) != 0 ||
        !has_same_user(p->shared, database))
        return;
    if (!is_same_upstream(database, p->database)) {
        /* Each part finds it changed, and the first one is enough; but one generation more costs nothing. */
        atomic_fetch_add(&p->shared->generation, 1);
        p->minor_refused = false;
    }
    set_config(p, config, database);
    learn_secret(p);
    pool_free_greetings(&p->greetings);
    hear_generation(p);
    if (p->timer != NULL)
        timer_stop(p->timer); /* it rings when queue_timeout was over */
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
    struct pool_shared *x = find_shared(key);
    struct pool *p = &x->parts[w->number];
    if (!p->linked) {
        link_part(p, key);
        if (key->config != w->config) /* there was a reload while the client logged in */
            reload_part(p, w->config);
    }
    if (!x->for_all)
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
    pool_pauses_close(w);
    timer_free(w->pools.tick);
    w->pools.tick = NULL;
}

void pools_free(void)
{
    pool_pauses_free();
}

/* --- administrators ------------------------------------------------------------------------------------------------ */

void pools_visit(void (*look)(void *context, struct pool_shared *x), void *context)
{
    pthread_mutex_lock(&registry.lock);
    for (struct pool_shared *x = registry.first; x != NULL; x = x->next)
        look(context, x);
    pthread_mutex_unlock(&registry.lock);
}

static void replace_servers(void *context, struct pool_shared *x)
{
    const char *const *database = context;
    if (*database != NULL && strcmp(x->name, *database) != 0)
        return;
    atomic_fetch_add(&x->generation, 1);
    pool_call_all(x);
}

bool pool_exists(const char *database)
{
    pthread_mutex_lock(&registry.lock);
    const struct pool_shared *x = registry.first;
    while (x != NULL && strcmp(x->name, database) != 0)
        x = x->next;
    pthread_mutex_unlock(&registry.lock);
    return x != NULL;
}

void pool_reconnect(const char *database)
{
    pools_visit(replace_servers, &database);
}
