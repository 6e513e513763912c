/* The client's half: orders that go home, and what comes from there.
 *
 * The halves talk by loop_post() alone, which keeps the order in both directions. So when the home thread has forgotten a subscriber, its last
 * word is that it may be freed, and nothing for it can come behind that. */
#include "proxy/pool/listen.h"

#include <stdlib.h>

#include "protocol/memory.h"
#include "proxy/pool/listen_part.h"

/* --- orders ------------------------------------------------------------------------------------- */

static struct listen_order *order_new(struct listen_subscriber *s, struct span channel)
{
    struct listen_order *o = or_abort(calloc(1, sizeof *o + channel.size + 1));
    o->subscriber = s;
    if (channel.size > 0)
        memcpy(o->channel, channel.data, channel.size);
    return o;
}

static void send_home(struct listen_subscriber *s, struct span channel, void (*act)(void *order))
{
    loop_post(listen_home(), act, order_new(s, channel));
}

static struct listen_place place_of(const struct database *database, const char *name)
{
    return (struct listen_place){ .name = memory_copy_text(name),
                                  .conninfo = database->control != NULL ? memory_copy_text(database->control) : NULL,
                                  .dbname = memory_copy_text(config_dbname(database, name)) };
}

void listen_place_free(struct listen_place *p)
{
    free(p->name);
    free(p->conninfo);
    free(p->dbname);
}

struct listen_subscriber *listen_subscribe(struct loop *loop, const struct database *database, const char *name,
                                           void (*on_ready)(void *context), void *context)
{
    struct listen_subscriber *s = or_abort(calloc(1, sizeof *s));
    s->loop = loop;
    s->on_ready = on_ready;
    s->context = context;
    s->place = place_of(database, name);
    return s;
}

void listen_move(struct listen_subscriber *s, const struct database *database, const char *name)
{
    if (database->control == NULL)
        return;
    struct listen_removal *r = or_abort(malloc(sizeof *r));
    *r = (struct listen_removal){ s, place_of(database, name) };
    loop_post(listen_home(), listen_home_move, r);
}

void listen_unsubscribe(struct listen_subscriber *s)
{
    if (s == NULL)
        return;
    s->closed = true;
    buffer_free(&s->queue);
    send_home(s, (struct span){ 0 }, listen_home_leave);
}

void listen_add(struct listen_subscriber *s, struct span channel, void (*done)(void *context, bool ok))
{
    struct listen_order *o = order_new(s, channel);
    o->done = done;
    loop_post(listen_home(), listen_home_add, o);
}

void listen_remove(struct listen_subscriber *s, struct span channel)
{
    send_home(s, channel, listen_home_remove);
}

/* --- what comes from home ------------------------------------------------------------------------- */

static void obey_answer(void *context)
{
    struct listen_order *o = context;
    if (!o->subscriber->closed)
        o->done(o->subscriber->context, o->ok);
    free(o);
}

void listen_answer(struct listen_order *order_take, bool ok)
{
    order_take->ok = ok;
    loop_post(order_take->subscriber->loop, obey_answer, order_take);
}

struct delivery {
    struct listen_subscriber *subscriber;
    struct listen_parcel *parcel;
};

void listen_parcel_release(struct listen_parcel *p)
{
    if (atomic_fetch_sub(&p->references, 1) == 1)
        free(p);
}

static void take_in(struct listen_subscriber *s, const struct listen_parcel *p)
{
    bool was_empty = s->queue.size == 0;
    if (s->closed || s->overrun)
        return;
    if (s->queue.size + p->size > LISTEN_QUEUE_MAX) {
        s->overrun = true;
        buffer_free(&s->queue);
    } else {
        buffer_append(&s->queue, p->bytes, p->size);
    }
    if (was_empty || s->overrun)
        s->on_ready(s->context);
}

static void obey_delivery(void *context)
{
    struct delivery *d = context;
    take_in(d->subscriber, d->parcel);
    listen_parcel_release(d->parcel);
    free(d);
}

void listen_deliver(struct listen_subscriber *s, struct listen_parcel *parcel)
{
    struct delivery *d = or_abort(malloc(sizeof *d));
    *d = (struct delivery){ s, parcel };
    atomic_fetch_add(&parcel->references, 1);
    loop_post(s->loop, obey_delivery, d);
}

static void obey_forget(void *context)
{
    struct listen_subscriber *s = context;
    listen_place_free(&s->place);
    free(s);
}

void listen_forget(struct listen_subscriber *s)
{
    loop_post(s->loop, obey_forget, s);
}

struct buffer *listen_queue(struct listen_subscriber *s)
{
    return &s->queue;
}

bool listen_is_overrun(const struct listen_subscriber *s)
{
    return s->overrun;
}
