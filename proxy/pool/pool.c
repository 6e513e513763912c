/* A worker's part of a pool: its queue, its idle servers, and who gets the next one.
 *
 *     pool_take -----------------------------> a client's --pool_give_back--> idle
 *     pool_wait --> queue --granted or refused-->                              |
 *                     ^                                                        |
 *                     +------------- pool_serve: oldest first <----------------+
 *
 * Workers do not share queues. Each shows when its oldest client began to wait (`oldest`, a ticket) and how many servers it could use
 * (`need`); whoever has an idle server looks at all of them and gives it to the oldest, over there if need be. One hazard is in that: a
 * worker may look just before another one begins to wait. So whoever begins to wait calls the others, those that seem to have idle servers
 * or all of them when nobody had waited before, and they look again.
 *
 * A new server is connected when there are clients that wait and fewer servers than the limit; a few at a time, so that an upstream that
 * comes back is not met by a crowd. When it fails and there is no server left that could come back, who waits is told why, and for a
 * moment nobody tries again (backoff). */
#include "proxy/pool/pool.h"

#include <stdio.h>
#include <stdlib.h>

#include "protocol/memory.h"
#include "proxy/ops/log.h"
#include "proxy/worker.h"

enum { CONNECTS_AT_ONCE = 4, BACKOFF_FIRST_US = 100 * 1000, BACKOFF_MOST_US = 1000 * 1000 };

/* --- the queue -------------------------------------------------------------------------------------- */

static void show_oldest(struct pool *p)
{
    atomic_store(&p->oldest, p->first_wait != NULL ? p->first_wait->ticket : TICKET_NONE);
}

static void enqueue(struct pool *p, struct pool_wait *wait)
{
    wait->next = NULL;
    wait->link = p->last_wait;
    *p->last_wait = wait;
    p->last_wait = &wait->next;
    p->wait_count++;
    show_oldest(p);
    atomic_fetch_add(&p->need, 1);
}

static void dequeue(struct pool *p, struct pool_wait *wait)
{
    *wait->link = wait->next;
    if (wait->next != NULL)
        wait->next->link = wait->link;
    else
        p->last_wait = wait->link;
    wait->link = NULL;
    p->wait_count--;
    p->wait_us += loop_now_us(&p->worker->loop) - wait->since_us;
    show_oldest(p);
    atomic_fetch_sub(&p->need, 1);
    atomic_fetch_sub(&p->shared->wanted, 1);
}

void pool_wait_leave(struct pool *p, struct pool_wait *wait)
{
    dequeue(p, wait);
}

static void refuse(struct pool *p, struct pool_wait *wait, const struct pool_refusal *why)
{
    dequeue(p, wait);
    wait->ended(wait->context, NULL, why);
}

static void refuse_all(struct pool *p, const struct pool_refusal *why)
{
    /* Who is refused may come back at once: those of now are meant. */
    uint64_t last = atomic_load(&p->shared->last_ticket);
    while (p->first_wait != NULL && p->first_wait->ticket <= last)
        refuse(p, p->first_wait, why);
}

/* --- time -------------------------------------------------------------------------------------------- */

static bool is_backing_off(struct pool *p)
{
    return p->backoff_us > 0 && loop_now_us(&p->worker->loop) < p->retry_us;
}

/* There is no server that could come back, and none will be tried for a while. */
static bool is_hopeless(struct pool *p)
{
    return is_backing_off(p) && atomic_load(&p->shared->servers) == 0;
}

/* From when on it counts that it waits: a pause is nothing that queue_timeout is for. */
static uint64_t counts_from_us(const struct pool *p, const struct pool_wait *wait)
{
    uint64_t resumed_us = atomic_load_explicit(&p->shared->resumed_us, memory_order_relaxed);
    return wait->since_us > resumed_us ? wait->since_us : resumed_us;
}

static void refuse_late(struct pool *p)
{
    uint64_t timeout_ms = p->database->queue_timeout_ms;
    struct buffer words = { 0 };
    buffer_format(&words, "no server of the pool came free in time: queue_timeout is %llu ms",
                  (unsigned long long)timeout_ms);
    buffer_append_u8(&words, '\0');
    struct pool_refusal why = { .sqlstate = "53300", .message = words.data, .late = true };
    uint64_t now_us = loop_now_us(&p->worker->loop);
    while (p->first_wait != NULL && counts_from_us(p, p->first_wait) + timeout_ms * 1000 <= now_us) {
        p->timeouts++;
        refuse(p, p->first_wait, &why);
    }
    buffer_free(&words);
}

static void watch_time(struct pool *p);

static void on_time(void *context)
{
    struct pool *p = context;
    pool_hold(p->shared);
    if (is_hopeless(p)) {
        struct pool_refusal why = { .sqlstate = p->failure_sqlstate, .message = p->failure };
        refuse_all(p, &why);
    } else if (p->database->queue_timeout_ms > 0 && !pool_is_paused(p)) {
        refuse_late(p);
    }
    if (p->first_wait != NULL)
        pool_serve(p);
    watch_time(p);
    pool_let_go(p->shared);
}

/* The time at which something is due for those who wait; 0: nothing is. */
static uint64_t next_time(struct pool *p)
{
    uint64_t now_us = loop_now_us(&p->worker->loop);
    uint64_t timeout_us = p->database->queue_timeout_ms * 1000;
    uint64_t late_us = timeout_us > 0 && !pool_is_paused(p) ? counts_from_us(p, p->first_wait) + timeout_us : 0;
    if (is_hopeless(p))
        return now_us;
    if (is_backing_off(p) && (late_us == 0 || p->retry_us < late_us))
        return p->retry_us;
    return late_us;
}

/* Sees to it that who waits is told in time. The timer is not moved for each client that comes and goes: it rings, and sees who is late. */
static void watch_time(struct pool *p)
{
    if (p->first_wait == NULL || p->closed)
        return;
    uint64_t at_us = next_time(p), now_us = loop_now_us(&p->worker->loop);
    if (at_us == 0)
        return;
    if (p->timer == NULL)
        p->timer = timer_new(&p->worker->loop, on_time, p);
    timer_start(p->timer, at_us > now_us ? at_us - now_us : 0);
}

/* --- connecting -------------------------------------------------------------------------------------- */

static inline bool has_room(const struct pool_shared *x)
{
    return atomic_load(&x->servers) < atomic_load_explicit(&x->limit, memory_order_relaxed);
}

/* One more server may be there: it is counted. */
static bool reserve(struct pool_shared *x)
{
    unsigned servers = atomic_load(&x->servers);
    while (servers < atomic_load_explicit(&x->limit, memory_order_relaxed))
        if (atomic_compare_exchange_weak(&x->servers, &servers, servers + 1))
            return true;
    return false;
}

static bool connect_one(struct pool *p)
{
    if (p->closed || pool_is_paused(p) || p->connecting_count >= CONNECTS_AT_ONCE || is_backing_off(p) ||
        !reserve(p->shared))
        return false;
    p->connects++;
    pool_server_connect(p);
    return true;
}

static size_t need_of(const struct pool *p)
{
    int need = atomic_load(&p->need);
    return need > 0 ? (size_t)need : 0;
}

/* Most of the time all the servers that there may be are there. */
static inline void connect_as_needed(struct pool *p)
{
    while (has_room(p->shared) && need_of(p) > p->connecting_count && connect_one(p))
        continue;
}

void pool_connect_failed(struct pool *p, const char *sqlstate, const char *message)
{
    p->connect_failures++;
    p->backoff_us = p->backoff_us == 0 ? BACKOFF_FIRST_US : p->backoff_us * 2;
    if (p->backoff_us > BACKOFF_MOST_US)
        p->backoff_us = BACKOFF_MOST_US;
    p->retry_us = loop_now_us(&p->worker->loop) + p->backoff_us;
    snprintf(p->failure_sqlstate, sizeof p->failure_sqlstate, "%s", sqlstate);
    snprintf(p->failure, sizeof p->failure, "%s", message);
    LOG(LOG_WARN, "a server of the pool could not be connected", log_text("database", p->shared->name),
        log_text("user", p->shared->user), log_text("sqlstate", sqlstate), log_text("detail", message));
}

/* --- serving ------------------------------------------------------------------------------------------ */

/* The part whose first client waits longest, of those that are not served yet. */
static struct pool *find_neediest(struct pool_shared *x)
{
    struct pool *found = NULL;
    uint64_t oldest = TICKET_NONE;
    for (unsigned i = 0; i < x->count; i++) {
        uint64_t ticket = atomic_load(&x->parts[i].oldest);
        if (ticket < oldest && atomic_load(&x->parts[i].need) > 0) {
            oldest = ticket;
            found = &x->parts[i];
        }
    }
    return found;
}

static void grant(struct pool *p, struct pool_server *s)
{
    struct pool_wait *wait = p->first_wait;
    dequeue(p, wait);
    p->active_count++;
    wait->ended(wait->context, s, NULL);
}

struct handover {
    struct pool_server *server;
    struct pool *to;
};

static void arrive(void *context)
{
    struct handover *h = context;
    atomic_fetch_add(&h->to->need, 1);
    pool_server_arrive(h->server, h->to);
    pool_server_ready(h->server);
    free(h);
}

/* The need is met from now on, so that nobody else meets it again. */
static void hand_over(struct pool_server *s, struct pool *to)
{
    struct handover *h = or_abort(malloc(sizeof *h));
    *h = (struct handover){ s, to };
    atomic_fetch_sub(&to->need, 1);
    pool_server_leave(s);
    loop_post(&to->worker->loop, arrive, h);
}

static void serve_idle(struct pool *p)
{
    while (p->idle != NULL && !pool_is_paused(p)) {
        struct pool *to = find_neediest(p->shared);
        if (to == NULL)
            return;
        struct pool_server *s = p->idle;
        pool_unlink_idle(s);
        if (to == p)
            grant(p, s);
        else
            hand_over(s, to);
    }
}

void pool_serve(struct pool *p)
{
    if (p->serving || p->closed || !p->linked)
        return; /* whoever serves already sees what has changed */
    p->serving = true;
    pool_hold(p->shared);
    atomic_thread_fence(memory_order_seq_cst);
    serve_idle(p);
    connect_as_needed(p);
    p->serving = false;
    pool_let_go(p->shared);
}

void pool_server_ready(struct pool_server *s)
{
    struct pool *p = s->pool;
    bool is_alone = !p->linked; /* it has come from another worker, and whom it was for has gone */
    if (s->retired || p->closed || is_alone || pool_is_paused(p)) {
        pool_server_close(s);
        return;
    }
    s->state = POOL_SERVER_READY;
    p->had_server = true;
    pool_server_own(s, pool_on_idle_ready, s);
    conn_want_input(&s->server.conn, true);
    pool_link_idle(s);
    pool_serve(p);
}

/* There is room for another server: somebody may have waited for that. */
void pool_on_room(struct pool *p)
{
    if (!pool_is_wanted(p))
        return;
    struct pool *to = find_neediest(p->shared);
    if (to == p)
        pool_serve(p);
    else if (to != NULL)
        pool_call(to);
}

/* Another worker has called, or the pool is not paused any more. */
void pool_serve_called(struct pool *p)
{
    if (!p->linked || p->closed)
        return;
    pool_sweep(p, loop_now_us(&p->worker->loop));
    pool_serve(p);
    watch_time(p);
}

/* --- waiting ------------------------------------------------------------------------------------------- */

/* Their idle servers are nobody's but whoever's turn it is. */
static void call_others(struct pool *p, bool first)
{
    struct pool_shared *x = p->shared;
    for (unsigned i = 0; i < x->count; i++)
        if (&x->parts[i] != p && (first || pool_idle_count(&x->parts[i]) > 0))
            pool_call(&x->parts[i]);
}

void pool_wait(struct pool *p, struct pool_wait *wait, pool_wait_ended *ended, void *context)
{
    struct pool_shared *x = p->shared;
    bool first = p->first_wait == NULL;
    *wait = (struct pool_wait){ .ticket = atomic_fetch_add(&x->last_ticket, 1) + 1,
                                .since_us = loop_now_us(&p->worker->loop),
                                .ended = ended,
                                .context = context };
    enqueue(p, wait);
    atomic_fetch_add(&x->wanted, 1);
    p->waits++;
    connect_as_needed(p);
    if (need_of(p) > p->connecting_count)
        call_others(p, first);
    if (p->timer == NULL || !timer_is_running(p->timer) || is_hopeless(p))
        watch_time(p);
}

/* Those who wait may be another worker's, which was not called while a server was on its way here. It may have one idle, or the room now. */
void pool_after_failure(struct pool *p)
{
    if (pool_is_wanted(p))
        call_others(p, true);
    watch_time(p);
}

/* --- ticks ----------------------------------------------------------------------------------------------- */

void pool_tick(struct pool *p, uint64_t now_us)
{
    p->tick_us = now_us;
    pool_sweep(p, now_us);
    if (p->client_count > 0 && p->connecting_count == 0 && atomic_load(&p->shared->servers) < p->database->min_size)
        connect_one(p);
    if (pool_is_wanted(p))
        pool_serve(p);
}
