/* A sink's outlet: a lane for each channel that has something for it.
 *
 *     outlet ─┬─ lane "mail"    waiting: e7 e9       out: e4        a lane is, at any time, one of
 *             ├─ lane "celery"  waiting: e8          out:
 *             └─ lane of e5     waiting: e5          out:               ready ──hand over──▶ out
 *                                                                        ▲ ▲                │
 *     An event whose channel keeps no order has a lane to itself.        │ └───delivered────┤
 *     A lane that is empty is gone.                                      └─wait over─ resting ◀─failed
 *
 * Ready lanes take turns, a shipment each. A sink that keeps order gets several of one lane; when the first of them fails, those behind
 * it fail with it, and wait in front of their lane, as before, without having used up a try.
 *
 * A sink that is down fails whatever it is given, and would burn a try of every event there is. So when many lanes have failed and none
 * has succeeded in between, the sink is *suspect*: it gets one shipment at a time, after pauses that grow. The first success ends that. */
#include "proxy/events/outlet.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "protocol/memory.h"
#include "proxy/ops/log.h"

enum {
    SUSPECT_LANES = 8,           /* failed, without a success in between */
    LONGEST_PAUSE_MS = 30 * 1000 /* of a suspect sink: it may be back at any time */
};

struct shipment_list {
    struct shipment *first, *last;
};

struct lane {
    struct outlet *outlet;
    struct lane *before, *next;        /* among the outlet's */
    char *channel;                     /* NULL: of one event, and in no order */
    struct shipment_list waiting, out; /* both by place */
    bool is_ready;                     /* in the outlet's queue, at `next_ready` */
    struct lane *next_ready;
    bool is_recovering; /* one has failed: what is still out comes back first */
    struct timer *rest; /* runs after a failure; NULL: there was none */
    uint64_t rests_until_us;
    uint64_t failed_at; /* outlet->successes when it failed last; 0: never */
};

struct outlet {
    const struct sink *block;
    struct config *config; /* a reference: the one that `block` is in */
    struct sink_host host;
    const struct sink_type *type;
    void *sink;             /* NULL: closed */
    void *lanes_by_channel; /* a tree */
    struct lane *lanes;
    struct lane *first_ready, **last_ready;
    size_t out_count;
    uint64_t next_place;
    char *stopped; /* why it wants nothing any more; NULL: it does */
    struct timer *pause;
    uint64_t paused_until_us;
    uint64_t successes;            /* counted from 1 */
    unsigned failed_lanes, pauses; /* since the last one */
};

/* --- lists --------------------------------------------------------------------------------------- */

static void list_insert_behind(struct shipment_list *list, struct shipment *before, struct shipment *s)
{
    s->before = before;
    s->next = before != NULL ? before->next : list->first;
    *(s->before != NULL ? &s->before->next : &list->first) = s;
    *(s->next != NULL ? &s->next->before : &list->last) = s;
}

static void list_append(struct shipment_list *list, struct shipment *s)
{
    list_insert_behind(list, list->last, s);
}

/* To its place, which is near the front: however many wait, only what was out with it can be ahead of it. */
static void list_put_back(struct shipment_list *list, struct shipment *s)
{
    struct shipment *before = NULL, *next = list->first;
    while (next != NULL && next->place < s->place) {
        before = next;
        next = next->next;
    }
    list_insert_behind(list, before, s);
}

static void list_remove(struct shipment_list *list, struct shipment *s)
{
    *(s->before != NULL ? &s->before->next : &list->first) = s->next;
    *(s->next != NULL ? &s->next->before : &list->last) = s->before;
    s->before = s->next = NULL;
}

/* --- lanes --------------------------------------------------------------------------------------- */

static int compare_lanes(const void *a, const void *b)
{
    return strcmp(((const struct lane *)a)->channel, ((const struct lane *)b)->channel);
}

static struct lane *lane_new(struct outlet *o, const char *channel)
{
    struct lane *l = or_abort(calloc(1, sizeof *l));
    l->outlet = o;
    l->next = o->lanes;
    if (l->next != NULL)
        l->next->before = l;
    o->lanes = l;
    if (channel != NULL) {
        l->channel = memory_copy_text(channel);
        or_abort(tsearch(l, &o->lanes_by_channel, compare_lanes));
    }
    return l;
}

static void lane_free(struct lane *l)
{
    struct outlet *o = l->outlet;
    if (l->channel != NULL)
        tdelete(l, &o->lanes_by_channel, compare_lanes);
    *(l->before != NULL ? &l->before->next : &o->lanes) = l->next;
    if (l->next != NULL)
        l->next->before = l->before;
    timer_free(l->rest);
    free(l->channel);
    free(l);
}

static struct lane *lane_for(struct outlet *o, const struct notification *e)
{
    if (e->channel->ordering == ORDERING_NONE)
        return lane_new(o, NULL);
    struct lane key = { .channel = e->name };
    struct lane **found = tfind(&key, &o->lanes_by_channel, compare_lanes);
    return found != NULL ? *found : lane_new(o, e->name);
}

static bool is_resting(const struct lane *l)
{
    return l->rest != NULL && timer_is_running(l->rest);
}

static bool may_go(const struct lane *l)
{
    if (l->waiting.first == NULL || is_resting(l))
        return false;
    return l->out.first == NULL || (l->outlet->type->keeps_order && !l->is_recovering);
}

/* To be called whenever something about a lane has changed; it may be gone afterwards. */
static void lane_changed(struct lane *l)
{
    struct outlet *o = l->outlet;
    if (l->out.first == NULL)
        l->is_recovering = false;
    if (l->is_ready)
        return;
    if (l->waiting.first == NULL && l->out.first == NULL) {
        lane_free(l);
    } else if (may_go(l)) {
        l->is_ready = true;
        l->next_ready = NULL;
        *o->last_ready = l;
        o->last_ready = &l->next_ready;
    }
}

static struct lane *take_ready(struct outlet *o)
{
    struct lane *l = o->first_ready;
    o->first_ready = l->next_ready;
    if (o->first_ready == NULL)
        o->last_ready = &o->first_ready;
    l->is_ready = false;
    return l;
}

static void on_rested(void *context)
{
    lane_changed(context);
}

/* --- waiting ------------------------------------------------------------------------------------- */

/* Between half of `ms` and all of it, so that what failed together does not come back together; in µs. */
static uint64_t jittered_us(uint64_t ms)
{
    uint64_t random = 0;
    (void)!getrandom(&random, sizeof random, 0);
    uint64_t half_us = ms * 500;
    return half_us + random % (half_us + 1);
}

/* `first`, doubled with each of `times`, up to `most`. */
static uint64_t backoff_ms(uint64_t first, unsigned times, uint64_t most)
{
    uint64_t wait = first;
    while (times-- > 0 && wait < most)
        wait *= 2;
    return wait < most ? wait : most;
}

static void on_pause_over(void *context)
{
    (void)context; /* the turn ends with outlet_hand_over() */
}

static void pause_for(struct outlet *o, uint64_t us)
{
    uint64_t until_us = loop_now_us(o->host.loop) + us;
    if (timer_is_running(o->pause) && until_us <= o->paused_until_us)
        return;
    o->paused_until_us = until_us;
    timer_start(o->pause, us);
}

static bool is_suspect(const struct outlet *o)
{
    return o->failed_lanes >= SUSPECT_LANES;
}

static void note_failure(struct outlet *o, struct lane *l)
{
    if (l->failed_at != o->successes)
        o->failed_lanes++;
    l->failed_at = o->successes;
    if (!is_suspect(o))
        return;
    uint64_t most = o->block->retry.max_ms < LONGEST_PAUSE_MS ? o->block->retry.max_ms : LONGEST_PAUSE_MS;
    pause_for(o, jittered_us(backoff_ms(o->block->retry.first_ms, o->pauses++, most)));
}

static void note_success(struct outlet *o)
{
    if (o->failed_lanes > 0)
        o->successes++;
    o->failed_lanes = 0;
    o->pauses = 0;
}

/* How long a failed shipment waits: as the retry block says, or longer if the receiver has asked for it. */
static uint64_t wait_after(struct outlet *o, const struct shipment *s, uint64_t retry_after_ms)
{
    const struct sink_retry *retry = &o->block->retry;
    uint64_t wait_us = jittered_us(backoff_ms(retry->first_ms, s->attempts - 1, retry->max_ms));
    uint64_t asked_us = (retry_after_ms < retry->max_ms ? retry_after_ms : retry->max_ms) * 1000;
    if (asked_us > 0)
        pause_for(o, asked_us);
    return wait_us > asked_us ? wait_us : asked_us;
}

/* --- there and back ------------------------------------------------------------------------------- */

static void hand_over_one(struct outlet *o)
{
    struct lane *l = take_ready(o);
    struct shipment *s = l->waiting.first;
    list_remove(&l->waiting, s);
    list_append(&l->out, s);
    o->out_count++;
    s->delivery.attempt = ++s->attempts;
    s->delivery.sink_data = NULL;
    s->delivery.sink_next = NULL;
    lane_changed(l);
    o->type->deliver(o->sink, &s->delivery);
}

static bool can_hand_over(const struct outlet *o)
{
    return o->first_ready != NULL && o->out_count < (is_suspect(o) ? 1 : o->type->window) &&
           !timer_is_running(o->pause);
}

void outlet_hand_over(struct outlet *o)
{
    while (can_hand_over(o)) {
        while (can_hand_over(o))
            hand_over_one(o);
        if (o->type->flush != NULL)
            o->type->flush(o->sink);
    }
}

/* To where it was, as if it had not been tried. */
static void put_back(struct shipment *s)
{
    s->attempts--;
    list_put_back(&s->lane->waiting, s);
}

static void on_failed(struct shipment *s, bool is_first, const char *reason, uint64_t retry_after_ms)
{
    struct lane *l = s->lane;
    struct outlet *o = l->outlet;
    uint64_t now_us = loop_now_us(o->host.loop);
    l->is_recovering = true;
    if (o->stopped != NULL) {
        shipment_dead(s, o->stopped, now_us);
        return;
    }
    if (!is_first) {
        put_back(s);
        return;
    }
    note_failure(o, l);
    uint64_t wait_us = wait_after(o, s, retry_after_ms);
    if (s->attempts >= o->block->retry.attempts) {
        shipment_dead(s, reason, now_us);
        return;
    }
    shipment_retried(s, reason, wait_us, now_us);
    list_put_back(&l->waiting, s);
    if (l->rest == NULL)
        l->rest = timer_new(o->host.loop, on_rested, l);
    l->rests_until_us = now_us + wait_us;
    timer_start(l->rest, wait_us);
}

/* Settles all that waits. */
static void settle_waiting(struct outlet *o, const char *reason, bool durable_stays)
{
    uint64_t now_us = loop_now_us(o->host.loop);
    for (struct lane *l = o->lanes, *next; l != NULL; l = next) {
        next = l->next;
        for (struct shipment *s; (s = l->waiting.first) != NULL;) {
            list_remove(&l->waiting, s);
            if (durable_stays)
                shipment_given_up(s, reason, now_us);
            else
                shipment_dead(s, reason, now_us);
        }
    }
    while (o->first_ready != NULL)
        take_ready(o);
    for (struct lane *l = o->lanes, *next; l != NULL; l = next) {
        next = l->next;
        lane_changed(l);
    }
}

static void stop(struct outlet *o, const char *reason)
{
    free(o->stopped);
    o->stopped = memory_copy_text(reason);
    LOG(LOG_ERROR, "sink stopped", log_text("sink", o->block->name), log_text("reason", reason));
    settle_waiting(o, o->stopped, false);
}

void delivery_done(struct delivery *d, enum delivery_result result, const char *reason, uint64_t retry_after_ms)
{
    struct shipment *s = (struct shipment *)d;
    struct lane *l = s->lane;
    struct outlet *o = l->outlet;
    bool is_first = l->out.first == s && (l->waiting.first == NULL || l->waiting.first->place > s->place);
    list_remove(&l->out, s);
    o->out_count--;
    switch (result) {
    case DELIVERED:
        note_success(o);
        shipment_delivered(s, loop_now_us(o->host.loop));
        break;
    case DELIVERY_FAILED:
        on_failed(s, is_first, reason, retry_after_ms);
        break;
    case DELIVERY_REFUSED:
    case DELIVERY_STOPPED:
        shipment_dead(s, reason, loop_now_us(o->host.loop));
        break;
    }
    lane_changed(l);
    if (result == DELIVERY_STOPPED)
        stop(o, reason);
}

void outlet_add(struct outlet *o, struct shipment *s)
{
    if (o->stopped != NULL) {
        shipment_dead(s, o->stopped, loop_now_us(o->host.loop));
        return;
    }
    s->place = o->next_place++;
    s->lane = lane_for(o, s->parcel->event);
    list_append(&s->lane->waiting, s);
    lane_changed(s->lane);
}

/* --- the sink ------------------------------------------------------------------------------------ */

static void open_sink(struct outlet *o, const struct sink_type *type, const struct sink *block, struct config *config)
{
    struct config *before = o->config;
    o->block = block;
    o->config = config_retain(config);
    if (before != NULL)
        config_release(before);
    o->type = type;
    o->sink = o->type->open(block, &o->host);
}

/* What it had in hand waits again. */
static void close_sink(struct outlet *o)
{
    if (o->sink == NULL)
        return;
    o->type->close(o->sink);
    o->sink = NULL;
    o->out_count = 0;
    for (struct lane *l = o->lanes; l != NULL; l = l->next) {
        for (struct shipment *s; (s = l->out.last) != NULL;) {
            list_remove(&l->out, s);
            put_back(s);
        }
        lane_changed(l); /* it is not empty */
    }
}

struct outlet *outlet_new(const struct sink_type *type, const struct sink *block, struct config *config,
                          const struct sink_host *host)
{
    struct outlet *o = or_abort(calloc(1, sizeof *o));
    o->host = *host;
    o->last_ready = &o->first_ready;
    o->successes = 1;
    o->pause = timer_new(host->loop, on_pause_over, o);
    open_sink(o, type, block, config);
    return o;
}

void outlet_free(struct outlet *o)
{
    close_sink(o);
    config_release(o->config);
    timer_free(o->pause);
    free(o->stopped);
    free(o);
}

const char *outlet_name(const struct outlet *o)
{
    return o->block->name;
}

void outlet_reload(struct outlet *o, const struct sink_type *type, const struct sink *block, struct config *config)
{
    free(o->stopped);
    o->stopped = NULL;
    if (sink_is_same(o->block, block))
        return;
    close_sink(o);
    timer_stop(o->pause);
    o->failed_lanes = o->pauses = 0;
    o->successes++;
    open_sink(o, type, block, config);
}

bool outlet_is_busy(const struct outlet *o, uint64_t until_us)
{
    if (o->out_count > 0)
        return true;
    if (timer_is_running(o->pause) && o->paused_until_us > until_us)
        return false;
    if (o->first_ready != NULL)
        return true;
    for (const struct lane *l = o->lanes; l != NULL; l = l->next)
        if (is_resting(l) && l->rests_until_us <= until_us)
            return true;
    return false;
}

void outlet_give_up(struct outlet *o, const char *reason, bool durable_stays)
{
    close_sink(o);
    settle_waiting(o, reason, durable_stays);
}
