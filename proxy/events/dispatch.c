/* The dispatcher: a thread with a loop of its own.
 *
 *     RUNNING ──dispatch_finish──▶ DRAINING ──nothing left that can go, or time is up──▶ SETTLING ──▶ ENDED
 *
 * While SETTLING the sinks are closed, and the outbox writes down what has become of its rows.
 *
 * Whatever a turn of the loop has brought (new events, confirmations, the end of a wait), the outlets hand over once, when the turn
 * ends: so a sink sees as much as possible at once. */
#include "proxy/events/dispatch.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/memory.h"
#include "proxy/events/capture.h"
#include "proxy/events/outbox.h"
#include "proxy/events/outlet.h"
#include "proxy/ops/log.h"

enum phase { RUNNING, DRAINING, SETTLING, ENDED };

enum { SETTLE_US = 2 * 1000 * 1000 };

static struct {
    struct loop loop;
    struct sink_host host;
    struct config *config; /* a reference to the newest */
    struct outlet **outlets;
    size_t outlet_count;
    enum phase phase;
    struct timer *deadline;
    uint64_t deadline_us;
    void (*on_finished)(void *context);
    void *context;
    pthread_t thread;
} dispatcher;

/* What has come from other threads. */
static struct {
    pthread_mutex_t lock;
    struct parcel *first, **last;
} inbox = { .lock = PTHREAD_MUTEX_INITIALIZER, .last = &inbox.first };

/* --- on the dispatcher's thread ------------------------------------------------------------------- */

static struct outlet *outlet_named(const char *name)
{
    for (size_t i = 0; i < dispatcher.outlet_count; i++)
        if (strcmp(outlet_name(dispatcher.outlets[i]), name) == 0)
            return dispatcher.outlets[i];
    return NULL;
}

static const char sink_is_gone[] = "the sink is no longer in the config";

static bool is_over_the_limit(const struct shipment *s)
{
    return tally_read(&s->sink_tally->held_bytes) > dispatcher.config->limits.held;
}

static void send_shipment(struct shipment *s)
{
    struct outlet *o = outlet_named(s->sink->name);
    if (o == NULL)
        shipment_dead(s, sink_is_gone, loop_now_us(&dispatcher.loop));
    else if (s->parcel->event->durable && is_over_the_limit(s))
        shipment_given_up(s, "limits.held", loop_now_us(&dispatcher.loop));
    else
        outlet_add(o, s);
}

/* The parcel ends with the last of its shipments. */
static void send_parcel(struct parcel *p)
{
    for (size_t i = 0, count = p->shipment_count; i < count; i++)
        send_shipment(&p->shipments[i]);
}

static void empty_inbox(void *context)
{
    (void)context;
    pthread_mutex_lock(&inbox.lock);
    struct parcel *p = inbox.first;
    inbox.first = NULL;
    inbox.last = &inbox.first;
    pthread_mutex_unlock(&inbox.lock);
    while (p != NULL) {
        struct parcel *next = p->next;
        if (p->event->durable && !outbox_event_arrived(p->event))
            parcel_forget(p);
        else
            send_parcel(p);
        p = next;
    }
}

/* What is claimed once more has perhaps been where there is room: it waits for all of its sinks, or each claim would be another copy. */
static void send_claimed(struct parcel *p)
{
    bool has_room = true;
    for (size_t i = 0; i < p->shipment_count; i++)
        has_room = has_room && !is_over_the_limit(&p->shipments[i]);
    if (has_room) {
        send_parcel(p);
        return;
    }
    for (size_t i = 0, count = p->shipment_count; i < count; i++)
        shipment_given_up(&p->shipments[i], "limits.held", loop_now_us(&dispatcher.loop));
}

void dispatch_take_claimed(struct notification *first_take)
{
    while (first_take != NULL) {
        struct notification *e = first_take;
        first_take = e->next;
        e->next = NULL;
        tally_add(&tally_channel(e->channel->pattern)->released, 1);
        struct parcel *p = parcel_new(e, loop_now_us(&dispatcher.loop));
        if (p != NULL) {
            send_claimed(p);
        } else {
            outbox_event_dropped(e);
            notification_free(e);
        }
    }
}

static void open_outlet(const struct sink *block, struct config *config)
{
    const struct sink_type *type = sink_type_of(block->kind);
    if (type == NULL) {
        LOG(LOG_ERROR, "this build does not have the kind of sink", log_text("sink", block->name));
        return;
    }
    size_t size = (dispatcher.outlet_count + 1) * sizeof *dispatcher.outlets;
    dispatcher.outlets = or_abort(realloc(dispatcher.outlets, size));
    dispatcher.outlets[dispatcher.outlet_count++] = outlet_new(type, block, config, &dispatcher.host);
}

static void open_outlets(struct config *config)
{
    for (size_t i = 0; i < config->sink_count; i++)
        if (outlet_named(config->sinks[i].name) == NULL)
            open_outlet(&config->sinks[i], config);
}

static void reload(void *context)
{
    struct config *config = context; /* with its reference */
    size_t kept = 0;
    if (dispatcher.phase >= SETTLING) {
        config_release(config);
        return;
    }
    for (size_t i = 0; i < dispatcher.outlet_count; i++) {
        struct outlet *o = dispatcher.outlets[i];
        const struct sink *block = config_sink(config, outlet_name(o));
        const struct sink_type *type = block != NULL ? sink_type_of(block->kind) : NULL;
        if (type != NULL) {
            outlet_reload(o, type, block, config);
            dispatcher.outlets[kept++] = o;
        } else {
            outlet_give_up(o, sink_is_gone, false);
            outlet_free(o);
        }
    }
    dispatcher.outlet_count = kept;
    open_outlets(config);
    config_release(dispatcher.config);
    dispatcher.config = config;
    outbox_reload(config);
    capture_reload(config);
}

/* --- the end -------------------------------------------------------------------------------------- */

static void end_now(void *context)
{
    (void)context;
    dispatcher.phase = ENDED;
    timer_stop(dispatcher.deadline);
    outbox_close();
    loop_stop(&dispatcher.loop);
}

static void settle_now(void)
{
    dispatcher.phase = SETTLING;
    for (size_t i = 0; i < dispatcher.outlet_count; i++)
        outlet_give_up(dispatcher.outlets[i], "shutdown", true);
    timer_start(dispatcher.deadline, SETTLE_US);
    outbox_stop(end_now, NULL);
}

static void on_deadline(void *context)
{
    if (dispatcher.phase == DRAINING)
        settle_now();
    else
        end_now(context);
}

static bool is_busy(void)
{
    for (size_t i = 0; i < dispatcher.outlet_count; i++)
        if (outlet_is_busy(dispatcher.outlets[i], dispatcher.deadline_us))
            return true;
    return false;
}

struct finish {
    uint64_t timeout_us;
    void (*on_finished)(void *context);
    void *context;
};

static void begin_to_finish(void *context)
{
    struct finish *f = context;
    if (dispatcher.phase < SETTLING) {
        dispatcher.phase = DRAINING;
        outbox_stop_claiming();
        capture_stop();
        empty_inbox(NULL); /* nothing comes any more */
        dispatcher.on_finished = f->on_finished;
        dispatcher.context = f->context;
        dispatcher.deadline_us = loop_now_us(&dispatcher.loop) + f->timeout_us;
        timer_start(dispatcher.deadline, f->timeout_us);
    }
    free(f);
}

void dispatch_finish(uint64_t timeout_ms, void (*on_finished)(void *context), void *context)
{
    struct finish *f = or_abort(malloc(sizeof *f));
    *f = (struct finish){ timeout_ms * 1000, on_finished, context };
    loop_post(&dispatcher.loop, begin_to_finish, f);
}

/* --- the thread ----------------------------------------------------------------------------------- */

static void on_turn_end(void *context)
{
    (void)context;
    if (dispatcher.phase < SETTLING)
        for (size_t i = 0; i < dispatcher.outlet_count; i++)
            outlet_hand_over(dispatcher.outlets[i]);
    if (dispatcher.phase == DRAINING && !is_busy())
        settle_now();
    log_flush();
}

static void *run_thread(void *context)
{
    (void)context;
    loop_run(&dispatcher.loop);
    log_end_thread();
    dispatcher.on_finished(dispatcher.context);
    return NULL;
}

void dispatch_start(struct config *config)
{
    loop_init(&dispatcher.loop, on_turn_end, NULL);
    dispatcher.host = (struct sink_host){ &dispatcher.loop, resolver_new(&dispatcher.loop) };
    dispatcher.deadline = timer_new(&dispatcher.loop, on_deadline, NULL);
    dispatcher.config = config_retain(config);

    /* Signals are for the first worker: not for this thread, nor for those that sinks start. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    open_outlets(config);
    outbox_start(&dispatcher.host, config);
    capture_start(&dispatcher.host, config);
    if (pthread_create(&dispatcher.thread, NULL, run_thread, NULL) != 0)
        abort();
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void dispatch_reload(struct config *config)
{
    loop_post(&dispatcher.loop, reload, config_retain(config));
}

void dispatch_free(void)
{
    pthread_join(dispatcher.thread, NULL);
    for (size_t i = 0; i < dispatcher.outlet_count; i++)
        outlet_free(dispatcher.outlets[i]);
    free(dispatcher.outlets);
    timer_free(dispatcher.deadline);
    resolver_free(dispatcher.host.resolver);
    loop_destroy(&dispatcher.loop);
    config_release(dispatcher.config);
}

/* --- from any thread ------------------------------------------------------------------------------ */

/* In the order in which the callers come (E5). */
static void put_into_inbox(struct parcel *first, struct parcel **last)
{
    pthread_mutex_lock(&inbox.lock);
    bool was_empty = inbox.first == NULL;
    *inbox.last = first;
    inbox.last = last;
    if (was_empty)
        loop_post(&dispatcher.loop, empty_inbox, NULL);
    pthread_mutex_unlock(&inbox.lock);
}

/* The line in the log is all there is to deliver. */
static bool is_for_logs_only(const struct parcel *p)
{
    for (size_t i = 0; i < p->shipment_count; i++)
        if (p->shipments[i].sink->kind != SINK_LOG)
            return false;
    return !p->event->durable;
}

static void deliver_to_logs(struct parcel *p, uint64_t now_us)
{
    for (size_t i = 0, count = p->shipment_count; i < count; i++) {
        p->shipments[i].attempts = 1;
        shipment_delivered(&p->shipments[i], now_us);
    }
}

/* What the dispatcher has to do about it; NULL: nothing. */
static struct parcel *release(struct notification *e_take, uint64_t now_us)
{
    e_take->next = NULL;
    log_event_released(e_take, now_us);
    tally_add(&tally_channel(e_take->channel->pattern)->released, 1);
    struct parcel *p = parcel_new(e_take, now_us);
    if (p == NULL) {
        notification_free(e_take);
    } else if (is_for_logs_only(p)) {
        deliver_to_logs(p, now_us);
        p = NULL;
    }
    return p;
}

void dispatch_publish(struct notification *first_take, uint64_t now_us)
{
    struct parcel *first = NULL, **last = &first;
    while (first_take != NULL) {
        struct notification *e = first_take;
        first_take = e->next;
        struct parcel *p = release(e, now_us);
        if (p != NULL) {
            *last = p;
            last = &p->next;
        }
    }
    if (first == NULL)
        return;
    log_flush(); /* what becomes of them, another thread writes below this */
    put_into_inbox(first, last);
}

const char *dispatch_sink_behind(const struct channel *channel, const struct config *config, size_t bytes)
{
    if (channel->delivery == DELIVERY_OUTBOX)
        return NULL;
    for (const char *const *name = channel->sinks; *name != NULL; name++)
        if (tally_read(&tally_sink(*name)->held_bytes) + bytes > config->limits.held)
            return *name;
    return NULL;
}
