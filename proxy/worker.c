/* The workers.
 *
 *     RUNNING --drain--> DRAINING --deadline or stop--> STOPPING --deadline--> (clients dropped)
 *                            +---- no clients left ----------+---- no clients left ----> ended
 *
 * What concerns all of them (a new config, the end) is posted to each one's loop, so that a worker's state is only ever
 * touched by its own thread. */
#include "proxy/worker.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "protocol/memory.h"
#include "proxy/ops/log.h"
#include "proxy/pool/asleep.h"
#include "proxy/pool/listen.h"
#include "proxy/pool/pooled.h"

/* How long a client that was told to end may take over its last words. */
enum { STOP_TIMEOUT_US = 5 * 1000 * 1000, SWEEP_US = 200 * 1000 };

static struct {
    struct worker *list;
    unsigned count;
    unsigned done;          /* of the others than the first; its thread counts them */
    atomic_bool ended;      /* no loop will turn again */
    atomic_uint questions;  /* workers_ask(): under way */
    atomic_size_t sessions; /* connections that have asked for a session */
} workers;

static void on_turn_end(void *context)
{
    clients_doze(context);
    log_flush();
}

static void worker_init(struct worker *w, struct config *config)
{
    loop_init(&w->loop, on_turn_end, w);
    w->resolver = resolver_new(&w->loop);
    w->config = config_retain(config);
    w->cancels.loop = &w->loop;
    w->cancels.aim = pooled_aim;
    w->controls.loop = &w->loop;
    w->controls.resolver = w->resolver;
    w->secrets.loop = &w->loop;
    w->secrets.resolver = w->resolver;
    w->last_awake = &w->first_awake;
    strangers_init(&w->strangers);
    w->statements = statements_new();
    w->number = (unsigned)(w - workers.list);
}

/* What is under way from one thread to another meets nobody any more once all of them are empty. */
static void worker_empty(struct worker *w)
{
    while (w->clients != NULL)
        client_drop(w->clients);
    pools_close(w);
    cancel_requests_drop(&w->cancels);
}

static void worker_destroy(struct worker *w)
{
    controls_free(&w->controls);
    secrets_free(&w->secrets);
    verifiers_forget(&w->verifiers);
    resolver_free(w->resolver);
    timer_free(w->deadline);
    timer_free(w->sweep);
    actions_free(&w->actions);
    actions_free(&w->link_actions);
    statements_free(w->statements);
    while (w->spare_backlogs.count > 0)
        buffer_free(&w->spare_backlogs.list[--w->spare_backlogs.count]);
    counts_free(&w->counts);
    loop_destroy(&w->loop);
    config_release(w->config);
}

/* --- phases -------------------------------------------------------------------------------------- */

static void end_if_done(struct worker *w);

static void note_done(void *context)
{
    (void)context;
    workers.done++;
    end_if_done(&workers.list[0]);
}

static void stop_loop(void *context)
{
    loop_stop(context);
}

/* All loops turn until all are done, for whoever asks the workers something waits for each of them. The first worker ends last:
 * signals reach the process through it. */
static void end_if_done(struct worker *w)
{
    struct worker *first = &workers.list[0];
    if (w->phase == WORKER_RUNNING || w->clients != NULL || w->is_done)
        return;
    if (w != first) {
        w->is_done = true;
        loop_post(&first->loop, note_done, NULL);
    } else if (workers.done + 1 == workers.count && atomic_load(&workers.questions) == 0) {
        w->is_done = true;
        atomic_store(&workers.ended, true);
        for (unsigned i = 0; i < workers.count; i++)
            loop_post(&workers.list[i].loop, stop_loop, &workers.list[i].loop);
    }
}

static void on_deadline(void *context);

/* The one place where the phase changes. */
static void enter_phase(struct worker *w, enum worker_phase phase, uint64_t deadline_us)
{
    w->phase = phase;
    if (w->deadline == NULL)
        w->deadline = timer_new(&w->loop, on_deadline, w);
    timer_start(w->deadline, deadline_us);
    for (struct client *c = w->clients, *next; c != NULL; c = next) {
        next = client_next(c);
        if (phase == WORKER_STOPPING)
            client_shut_down(c);
        else
            client_drain(c);
    }
    end_if_done(w);
}

static void on_deadline(void *context)
{
    struct worker *w = context;
    if (w->phase == WORKER_DRAINING) {
        enter_phase(w, WORKER_STOPPING, STOP_TIMEOUT_US);
        return;
    }
    while (w->clients != NULL)
        client_drop(w->clients);
}

void worker_client_ended(struct worker *w)
{
    atomic_fetch_sub_explicit(&w->client_count, 1, memory_order_relaxed);
    end_if_done(w);
}

/* Clients that were let be may have had their moment. */
static void on_sweep(void *context)
{
    struct worker *w = context;
    if (w->phase != WORKER_DRAINING)
        return;
    for (struct client *c = w->clients, *next; c != NULL; c = next) {
        next = client_next(c);
        client_drain(c);
    }
    timer_start(w->sweep, SWEEP_US);
}

static void begin_draining(struct worker *w, uint64_t timeout_us, bool patient)
{
    w->patient = patient;
    if (patient) {
        w->sweep = timer_new(&w->loop, on_sweep, w);
        timer_start(w->sweep, SWEEP_US);
    }
    enter_phase(w, WORKER_DRAINING, timeout_us);
}

/* --- orders from the first worker's thread --------------------------------------------------------- */

struct order {
    struct worker *worker;
    int fd;
    struct address peer;
    struct config *config;
    uint64_t timeout_us;
    bool patient;
};

static struct order *order_new(struct worker *w)
{
    struct order *o = or_abort(calloc(1, sizeof *o));
    o->worker = w;
    return o;
}

static void adopt(struct worker *w, int fd, const struct address *peer)
{
    if (w->phase == WORKER_RUNNING) {
        client_new(w, fd, peer);
    } else {
        atomic_fetch_sub_explicit(&w->client_count, 1, memory_order_relaxed);
        close(fd);
    }
}

static void obey_adopt(void *context)
{
    struct order *o = context;
    adopt(o->worker, o->fd, &o->peer);
    free(o);
}

static void obey_reload(void *context)
{
    struct order *o = context;
    struct worker *w = o->worker;
    config_release(w->config);
    w->config = o->config; /* the order's reference */
    pools_reload(w);
    for (struct client *c = w->clients; c != NULL; c = client_next(c))
        client_reload(c);
    verifiers_forget(&w->verifiers);
    secrets_reload(&w->secrets, w->config);
    controls_reload(&w->controls, w->config);
    if (w == &workers.list[0])
        controls_learn(&w->controls, w->config);
    free(o);
}

static void obey_drain(void *context)
{
    struct order *o = context;
    if (o->worker->phase == WORKER_RUNNING)
        begin_draining(o->worker, o->timeout_us, o->patient);
    free(o);
}

static void obey_stop(void *context)
{
    struct order *o = context;
    if (o->worker->phase != WORKER_STOPPING)
        enter_phase(o->worker, WORKER_STOPPING, STOP_TIMEOUT_US);
    free(o);
}

void workers_adopt(int fd, const struct address *peer)
{
    struct worker *least = &workers.list[0];
    for (unsigned i = 1; i < workers.count; i++) {
        struct worker *w = &workers.list[i];
        if (atomic_load_explicit(&w->client_count, memory_order_relaxed) <
            atomic_load_explicit(&least->client_count, memory_order_relaxed))
            least = w;
    }
    atomic_fetch_add_explicit(&least->client_count, 1, memory_order_relaxed);
    if (least == &workers.list[0]) {
        adopt(least, fd, peer);
        return;
    }
    struct order *o = order_new(least);
    o->fd = fd;
    o->peer = *peer;
    loop_post(&least->loop, obey_adopt, o);
}

void workers_adopt_peer(int fd, const struct address *peer)
{
    struct worker *first = &workers.list[0];
    if (first->phase == WORKER_STOPPING || first->is_done) {
        close(fd);
        return;
    }
    atomic_fetch_add_explicit(&first->client_count, 1, memory_order_relaxed);
    client_know_peer(client_new(first, fd, peer));
}

void workers_reload(struct config *config)
{
    for (unsigned i = 0; i < workers.count; i++) {
        struct order *o = order_new(&workers.list[i]);
        o->config = config_retain(config);
        loop_post(&o->worker->loop, obey_reload, o);
    }
}

void workers_drain(uint64_t timeout_ms, bool patient)
{
    for (unsigned i = 0; i < workers.count; i++) {
        struct order *o = order_new(&workers.list[i]);
        o->timeout_us = timeout_ms * 1000;
        o->patient = patient;
        loop_post(&o->worker->loop, obey_drain, o);
    }
}

void workers_stop(void)
{
    for (unsigned i = 0; i < workers.count; i++)
        loop_post(&workers.list[i].loop, obey_stop, order_new(&workers.list[i]));
}

/* --- questions to all of them ------------------------------------------------------------------------ */

struct question {
    struct loop *home;
    void (*act)(void *context, struct worker *w);
    void (*on_done)(void *context);
    void *context;
    unsigned next; /* of the workers that have not been asked, the last one's number, counted from 1 */
};

static void check_end(void *context)
{
    end_if_done(context);
}

static void finish_question(void *context)
{
    struct question *q = context;
    q->on_done(q->context);
    free(q);
    if (atomic_fetch_sub(&workers.questions, 1) == 1)
        loop_post(&workers.list[0].loop, check_end, &workers.list[0]);
}

/* One after the other, so that what they gather needs no lock. */
static void ask_next(void *context)
{
    struct question *q = context;
    q->act(q->context, &workers.list[--q->next]);
    if (q->next > 0)
        loop_post(&workers.list[q->next - 1].loop, ask_next, q);
    else
        loop_post(q->home, finish_question, q);
}

bool workers_ask(struct loop *home, void (*act)(void *context, struct worker *w), void (*on_done)(void *context),
                 void *context)
{
    if (atomic_load(&workers.ended))
        return false;
    atomic_fetch_add(&workers.questions, 1);
    struct question *q = or_abort(malloc(sizeof *q));
    *q = (struct question){ home, act, on_done, context, workers.count };
    loop_post(&workers.list[q->next - 1].loop, ask_next, q);
    return true;
}

unsigned workers_count(void)
{
    return workers.count;
}

/* --- all of them ----------------------------------------------------------------------------------- */

void workers_init(unsigned count, struct config *config)
{
    workers.list = or_abort(calloc(count, sizeof *workers.list));
    workers.count = count;
    for (unsigned i = 0; i < count; i++)
        worker_init(&workers.list[i], config);
    controls_learn(&workers.list[0].controls, config);
    listen_start(&workers.list[0].loop, workers.list[0].resolver);
}

struct loop *workers_first_loop(void)
{
    return &workers.list[0].loop;
}

static void *run_thread(void *arg)
{
    struct worker *w = arg;
    loop_run(&w->loop);
    log_end_thread();
    return NULL;
}

void workers_run(void)
{
    /* Signals go to the first worker alone. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 1; i < workers.count; i++)
        if (pthread_create(&workers.list[i].thread, NULL, run_thread, &workers.list[i]) != 0)
            abort();
    pthread_sigmask(SIG_SETMASK, &before, NULL);

    loop_run(&workers.list[0].loop);
    for (unsigned i = 1; i < workers.count; i++)
        pthread_join(workers.list[i].thread, NULL);
}

void workers_free(void)
{
    for (unsigned i = 0; i < workers.count; i++)
        worker_empty(&workers.list[i]);
    listen_stop();
    for (unsigned i = 0; i < workers.count; i++)
        worker_destroy(&workers.list[i]);
    pools_free();
    free(workers.list);
}

struct worker *worker_at(unsigned number)
{
    return &workers.list[number];
}

bool workers_admit(size_t limit)
{
    if (atomic_fetch_add_explicit(&workers.sessions, 1, memory_order_relaxed) < limit)
        return true;
    workers_dismiss();
    return false;
}

void workers_dismiss(void)
{
    atomic_fetch_sub_explicit(&workers.sessions, 1, memory_order_relaxed);
}
