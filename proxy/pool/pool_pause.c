/* Orders to hand out no servers.
 *
 *     PAUSE --> held, and waited for --no server is open any more--> held, until RESUME
 *                  +--too late, or whoever gave it goes--> taken back
 *                  +--RESUME of somebody else--> taken back, and told so
 *
 * Each order is a hold of its own, and a pool is paused while any hold means its database. So who takes an order back leaves alone what
 * others have ordered, and whatever nobody was told to be paused does not stay so. */
#include <stdlib.h>

#include "protocol/memory.h"
#include "proxy/clock.h"
#include "proxy/pool/pool.h"
#include "proxy/worker.h"

enum { LOOK_US = 5 * 1000 };

/* --- holds ------------------------------------------------------------------------------------------- */

struct hold {
    uint64_t number;
    char *database;  /* NULL: all */
    bool is_settled; /* nobody waits for it any more */
};

static struct {
    pthread_mutex_t lock; /* of what stands below; taken under the registry's, never the other way round */
    struct hold *list;
    size_t count, capacity;
    uint64_t last_number;
} holds = { .lock = PTHREAD_MUTEX_INITIALIZER };

static bool is_same(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* Whether what was ordered for `ordered` is meant for `database`. */
static bool is_meant(const char *ordered, const char *database)
{
    return ordered == NULL || strcmp(ordered, database) == 0;
}

bool pool_pause_holds(const char *database)
{
    bool found = false;
    pthread_mutex_lock(&holds.lock);
    for (size_t i = 0; i < holds.count && !found; i++)
        found = is_meant(holds.list[i].database, database);
    pthread_mutex_unlock(&holds.lock);
    return found;
}

/* The next three are called under the lock. */
static struct hold *find_number(uint64_t number)
{
    for (size_t i = 0; i < holds.count; i++)
        if (holds.list[i].number == number)
            return &holds.list[i];
    return NULL;
}

static void remove_hold(struct hold *h)
{
    free(h->database);
    *h = holds.list[--holds.count];
}

/* True: another one says the same. */
static bool is_superfluous(const struct hold *h)
{
    for (const struct hold *other = holds.list; other < holds.list + holds.count; other++)
        if (other != h && other->is_settled && is_same(other->database, h->database))
            return true;
    return false;
}

static uint64_t add(const char *database)
{
    pthread_mutex_lock(&holds.lock);
    uint64_t number = ++holds.last_number;
    holds.list = memory_grow(holds.list, &holds.capacity, holds.count, sizeof *holds.list);
    holds.list[holds.count++] =
        (struct hold){ .number = number, .database = database != NULL ? memory_copy_text(database) : NULL };
    pthread_mutex_unlock(&holds.lock);
    return number;
}

static bool is_there(uint64_t number)
{
    pthread_mutex_lock(&holds.lock);
    bool found = find_number(number) != NULL;
    pthread_mutex_unlock(&holds.lock);
    return found;
}

/* It has come true, and stays. False: it has been resumed meanwhile. */
static bool settle(uint64_t number)
{
    pthread_mutex_lock(&holds.lock);
    struct hold *h = find_number(number);
    bool found = h != NULL;
    if (found && is_superfluous(h))
        remove_hold(h);
    else if (found)
        h->is_settled = true;
    pthread_mutex_unlock(&holds.lock);
    return found;
}

static void take_back(uint64_t number)
{
    pthread_mutex_lock(&holds.lock);
    struct hold *h = find_number(number);
    if (h != NULL)
        remove_hold(h);
    pthread_mutex_unlock(&holds.lock);
}

/* All that were ordered for this one, or all. False: there was none. */
static bool remove_all(const char *database)
{
    pthread_mutex_lock(&holds.lock);
    size_t before = holds.count;
    for (size_t i = before; i > 0; i--)
        if (database == NULL || is_same(holds.list[i - 1].database, database))
            remove_hold(&holds.list[i - 1]);
    bool any = holds.count < before;
    pthread_mutex_unlock(&holds.lock);
    return any;
}

/* --- pools --------------------------------------------------------------------------------------------- */

/* Who has waited meanwhile is told to go on waiting for as long as if it came now, ahead of being told that it may. */
static void look_again(void *context, struct pool_shared *x)
{
    (void)context;
    bool paused = pool_pause_holds(x->name);
    if (paused == atomic_load(&x->paused))
        return;
    if (!paused)
        atomic_store(&x->resumed_us, clock_now_us());
    atomic_store(&x->paused, paused);
    pool_call_all(x);
}

struct search {
    const char *database;
    bool found;
};

static void look_for_servers(void *context, struct pool_shared *x)
{
    struct search *search = context;
    if (is_meant(search->database, x->name) && atomic_load(&x->servers) > 0)
        search->found = true;
}

static bool has_servers(const char *database)
{
    struct search search = { .database = database };
    pools_visit(look_for_servers, &search);
    return search.found;
}

/* --- waiting ------------------------------------------------------------------------------------------- */

/* Somebody waits until nothing is open any more. Whether that is so is looked at every few milliseconds: it is rare, and no server's end
 * has to think of it. */
struct pool_pause {
    struct pool_pause *next; /* of its worker's */
    struct worker *home;
    uint64_t number; /* of the hold */
    char *database;  /* NULL: all */
    struct timer *timer;
    uint64_t until_us;
    void (*done)(void *context, enum pool_pause_end end);
    void *context;
};

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

static void end_pause(struct pool_pause *pause, enum pool_pause_end end)
{
    void (*done)(void *, enum pool_pause_end) = pause->done;
    void *context = pause->context;
    free_pause(pause);
    done(context, end);
}

static void on_look(void *context)
{
    struct pool_pause *pause = context;
    if (!is_there(pause->number)) {
        end_pause(pause, POOL_PAUSE_RESUMED);
    } else if (!has_servers(pause->database)) {
        end_pause(pause, settle(pause->number) ? POOL_PAUSE_HOLDS : POOL_PAUSE_RESUMED);
    } else if (loop_now_us(&pause->home->loop) < pause->until_us) {
        timer_start(pause->timer, LOOK_US);
    } else {
        take_back(pause->number);
        pools_visit(look_again, NULL);
        end_pause(pause, POOL_PAUSE_LATE);
    }
}

void pool_pause(const char *database, struct worker *home, uint64_t limit_ms,
                void (*done)(void *context, enum pool_pause_end end), void *context)
{
    struct pool_pause *pause = or_abort(calloc(1, sizeof *pause));
    *pause = (struct pool_pause){ .next = home->pools.pauses, .home = home, .done = done, .context = context };
    pause->database = database != NULL ? memory_copy_text(database) : NULL;
    pause->number = add(database);
    pause->until_us = loop_now_us(&home->loop) + limit_ms * 1000;
    pause->timer = timer_new(&home->loop, on_look, pause);
    home->pools.pauses = pause;
    timer_start(pause->timer, 0);
    pools_visit(look_again, NULL);
}

void pool_pause_forget(struct worker *home, void *context)
{
    for (struct pool_pause *pause = home->pools.pauses, *next; pause != NULL; pause = next) {
        next = pause->next;
        if (pause->context != context)
            continue;
        take_back(pause->number);
        free_pause(pause);
    }
    pools_visit(look_again, NULL);
}

bool pool_resume(const char *database)
{
    bool any = remove_all(database);
    pools_visit(look_again, NULL);
    return any;
}

/* --- for whoever watches -------------------------------------------------------------------------------- */

bool pools_are_paused(void)
{
    bool found = false;
    pthread_mutex_lock(&holds.lock);
    for (size_t i = 0; i < holds.count && !found; i++)
        found = holds.list[i].database == NULL;
    pthread_mutex_unlock(&holds.lock);
    return found;
}

bool pool_is_block_paused(const struct config *config, const struct database *d)
{
    bool found = false;
    if (d->pool == POOL_DEDICATED)
        return false;
    pthread_mutex_lock(&holds.lock);
    for (size_t i = 0; i < holds.count && !found; i++)
        found = holds.list[i].database == NULL || config_database(config, holds.list[i].database) == d;
    pthread_mutex_unlock(&holds.lock);
    return found;
}

/* --- the end --------------------------------------------------------------------------------------------- */

void pool_pauses_close(struct worker *w)
{
    while (w->pools.pauses != NULL)
        free_pause(w->pools.pauses);
}

void pool_pauses_free(void)
{
    while (holds.count > 0)
        remove_hold(&holds.list[holds.count - 1]);
    free(holds.list);
}
