/* The home half: connections, and who listens to what.
 *
 *     ear: asked --LISTEN confirmed--> confirmed --the last subscriber goes--> UNLISTEN, and it is gone
 *            | refused, or the connection is lost           | the connection is lost, or refuses it to somebody who had it
 *            v                                              v
 *          gone, those who wait hear that                 asked again by the next connection
 *
 * The server does what it is asked in order, so an ear that goes and comes again is another ear: answers name the one that asked. */
#include <search.h>
#include <stdlib.h>

#include "protocol/memory.h"
#include "protocol/message.h"
#include "proxy/events/pq_connection.h"
#include "proxy/ops/log.h"
#include "proxy/pool/listen_part.h"

enum { CONNECT_TIMEOUT_MS = 5000, ANSWER_TIMEOUT_MS = 10 * 1000 };

/* A channel that somebody listens to. */
struct ear {
    struct ear *next, **link;
    char *channel;
    uint64_t serial;
    bool confirmed;
    struct listen_subscriber **members;
    size_t member_count, member_capacity;
    struct listen_order *waiting;
};

/* A statement that is on its way. */
struct asking {
    struct asking *next, **link;
    struct listening *listening;
    uint64_t serial; /* its own; of a LISTEN and an UNLISTEN: that of its ear */
    char *channel;   /* of that ear */
    char *sql;
};

struct listening {
    struct listening *next, **link;
    struct listen_place place;
    struct pq_connection *connection; /* NULL: it has ended for good */
    bool works;                       /* it has listened to all that it was to listen to */
    void *tree;                       /* of ears */
    struct ear *ears;
    struct asking *askings;
    struct listen_subscriber *subscribers;
};

static struct {
    struct loop *loop;
    struct resolver *resolver;
    struct listening *first;
    uint64_t last_serial;
} home;

struct loop *listen_home(void)
{
    return home.loop;
}

/* --- statements ----------------------------------------------------------------------------------- */

static void asking_end(struct asking *a)
{
    *a->link = a->next;
    if (a->next != NULL)
        a->next->link = a->link;
    free(a->channel);
    free(a->sql);
    free(a);
}

/* `e`: the ear that asks; NULL: none does. */
static void ask(struct listening *l, const char *sql, const struct ear *e, pq_answered *answered)
{
    struct asking *a = or_abort(calloc(1, sizeof *a));
    a->sql = memory_copy_text(sql);
    a->channel = memory_copy_text(e != NULL ? e->channel : NULL);
    a->serial = e != NULL ? e->serial : ++home.last_serial;
    a->listening = l;
    a->link = &l->askings;
    a->next = l->askings;
    if (a->next != NULL)
        a->next->link = &a->next;
    l->askings = a;
    pq_connection_ask(l->connection, a->sql, NULL, false, answered, a);
}

/* `verb` is LISTEN or UNLISTEN. */
static void ask_about(struct listening *l, const char *verb, const struct ear *e, pq_answered *answered)
{
    struct buffer sql = { 0 };
    buffer_format(&sql, "%s \"", verb);
    for (const char *c = e->channel; *c != '\0'; c++)
        buffer_format(&sql, *c == '"' ? "\"\"" : "%c", *c);
    buffer_append_string(&sql, span_of("\""));
    ask(l, sql.data, e, answered);
    buffer_free(&sql);
}

/* --- ears ------------------------------------------------------------------------------------------- */

static int compare_ears(const void *a, const void *b)
{
    return strcmp(((const struct ear *)a)->channel, ((const struct ear *)b)->channel);
}

static struct ear *ear_find(const struct listening *l, const char *channel)
{
    struct ear key = { .channel = (char *)(uintptr_t)channel };
    struct ear **found = tfind(&key, &l->tree, compare_ears);
    return found != NULL ? *found : NULL;
}

static struct ear *ear_new(struct listening *l, const char *channel)
{
    struct ear *e = or_abort(calloc(1, sizeof *e));
    e->channel = memory_copy_text(channel);
    e->serial = ++home.last_serial;
    e->link = &l->ears;
    e->next = l->ears;
    if (e->next != NULL)
        e->next->link = &e->next;
    l->ears = e;
    or_abort(tsearch(e, &l->tree, compare_ears));
    return e;
}

static void ear_free(struct listening *l, struct ear *e)
{
    tdelete(e, &l->tree, compare_ears);
    *e->link = e->next;
    if (e->next != NULL)
        e->next->link = e->link;
    free(e->members);
    free(e->channel);
    free(e);
}

static bool ear_has(const struct ear *e, const struct listen_subscriber *s)
{
    for (size_t i = 0; i < e->member_count; i++)
        if (e->members[i] == s)
            return true;
    return false;
}

static void ear_add(struct ear *e, struct listen_subscriber *s)
{
    if (ear_has(e, s))
        return;
    e->members = memory_grow(e->members, &e->member_capacity, e->member_count, sizeof(struct listen_subscriber *));
    e->members[e->member_count++] = s;
}

static void on_unlistened(void *context, const PGresult *result, const char *error, const char *sqlstate)
{
    (void)result, (void)error, (void)sqlstate; /* a connection that is lost hears nothing, either */
    asking_end(context);
}

static void close_ear(struct listening *l, struct ear *e)
{
    if (l->connection != NULL)
        ask_about(l, "UNLISTEN", e, on_unlistened);
    ear_free(l, e);
}

/* The orders of the subscriber's that wait for the ear, which they do no more. */
static struct listen_order *take_waiting(struct ear *e, const struct listen_subscriber *s)
{
    struct listen_order *taken = NULL;
    for (struct listen_order **link = &e->waiting; *link != NULL;) {
        struct listen_order *o = *link;
        if (o->subscriber != s) {
            link = &o->next;
            continue;
        }
        *link = o->next;
        o->next = taken;
        taken = o;
    }
    return taken;
}

static void answer_all(struct listen_order *orders, bool ok)
{
    while (orders != NULL) {
        struct listen_order *o = orders;
        orders = o->next;
        listen_answer(o, ok);
    }
}

/* The subscriber is none of the ear's any more, and with the last one the ear goes. */
static void ear_drop(struct listening *l, struct ear *e, const struct listen_subscriber *s)
{
    size_t kept = 0;
    for (size_t i = 0; i < e->member_count; i++)
        if (e->members[i] != s)
            e->members[kept++] = e->members[i];
    e->member_count = kept;
    answer_all(take_waiting(e, s), false);
    if (e->member_count == 0)
        close_ear(l, e);
}

/* --- what is heard ------------------------------------------------------------------------------------ */

static struct listen_parcel *parcel_new(struct buffer *message_take)
{
    struct listen_parcel *p = or_abort(malloc(sizeof *p + message_take->size));
    atomic_init(&p->references, 1);
    p->size = message_take->size;
    memcpy(p->bytes, message_take->data, message_take->size);
    buffer_free(message_take);
    return p;
}

static void on_notification(void *context, const PGnotify *n)
{
    struct listening *l = context;
    struct ear *e = ear_find(l, n->relname);
    if (e == NULL)
        return;
    struct buffer message = { 0 };
    size_t start = message_begin(&message, 'A');
    buffer_append_u32(&message, (uint32_t)n->be_pid);
    buffer_append_string(&message, span_of(n->relname));
    buffer_append_string(&message, span_of(n->extra));
    message_end(&message, start);
    struct listen_parcel *p = parcel_new(&message);
    for (size_t i = 0; i < e->member_count; i++)
        listen_deliver(e->members[i], p);
    listen_parcel_release(p);
}

static struct listen_parcel *gap_new(void)
{
    struct buffer message = { 0 };
    struct message_fault fault = { .severity = "WARNING", .sqlstate = "01000" };
    fault.message = span_of("notifications may have been missed: the connection that listens was lost or replaced");
    message_add_notice(&message, &fault);
    return parcel_new(&message);
}

/* Those who had begun to miss something when `serial` was asked, behind all LISTENs of theirs. */
static void tell_gap(struct listening *l, uint64_t serial)
{
    struct listen_parcel *p = gap_new();
    bool any = false;
    for (struct listen_subscriber *s = l->subscribers; s != NULL; s = s->next) {
        if (s->gap == 0 || s->gap > serial)
            continue;
        any = true;
        s->gap = 0;
        listen_deliver(s, p);
    }
    if (any)
        LOG(LOG_WARN, "notifications may have been missed", log_text("database", l->place.name));
    listen_parcel_release(p);
}

/* --- the connection ------------------------------------------------------------------------------------ */

/* The ear that has asked, unless it is gone. */
static struct ear *ear_of(const struct asking *a)
{
    struct ear *e = ear_find(a->listening, a->channel);
    return e != NULL && e->serial == a->serial ? e : NULL;
}

static void confirm(struct ear *e)
{
    struct listen_order *waiting = e->waiting;
    e->confirmed = true;
    e->waiting = NULL;
    answer_all(waiting, true);
}

/* Those who wait for it do without; who has it already waits for the next connection. True: somebody does. */
static bool refuse(struct listening *l, struct ear *e)
{
    bool last = false;
    while (!last && e->waiting != NULL) {
        last = e->member_count == 1;
        ear_drop(l, e, e->waiting->subscriber);
    }
    return !last;
}

static void on_listening(void *context, const PGresult *result, const char *error, const char *sqlstate)
{
    struct asking *a = context;
    struct listening *l = a->listening;
    struct ear *e = ear_of(a);
    asking_end(a);
    if (e == NULL)
        return;
    if (result != NULL) {
        confirm(e);
        return;
    }
    if (sqlstate[0] == '\0') /* on_lost() has been there, or will be */
        return;
    LOG(LOG_ERROR, "cannot listen for notifications", log_text("database", l->place.name), log_text("error", error));
    if (!refuse(l, e))
        return;
    l->works = false;
    pq_connection_try_elsewhere(l->connection, error); /* a standby may be promoted without losing a connection */
}

static void on_gap_over(void *context, const PGresult *result, const char *error, const char *sqlstate)
{
    struct asking *a = context;
    (void)error, (void)sqlstate;
    a->listening->works |= result != NULL;
    if (result != NULL)
        tell_gap(a->listening, a->serial);
    asking_end(a);
}

static void on_prepared(void *context, const PGresult *result, const char *error, const char *sqlstate)
{
    (void)result, (void)error, (void)sqlstate; /* PostgreSQL can convert everything to UTF-8 */
    asking_end(context);
}

static void on_connected(void *context)
{
    struct listening *l = context;
    ask(l, "SET client_encoding TO 'UTF8'", NULL, on_prepared);
    for (const struct ear *e = l->ears; e != NULL; e = e->next)
        ask_about(l, "LISTEN", e, on_listening);
    ask(l, "SELECT 1", NULL, on_gap_over);
}

/* When it has worked, who waits goes on waiting for one attempt to make it work again: without it, they would keep their servers for good. */
static void on_lost(void *context, const char *why)
{
    struct listening *l = context;
    bool waits = l->works;
    (void)why;
    l->works = false;
    for (struct ear *e = l->ears, *next; e != NULL; e = next) {
        next = e->next;
        for (size_t i = 0; e->confirmed && i < e->member_count; i++)
            e->members[i]->gap = ++home.last_serial;
        e->confirmed = false;
        if (!waits)
            refuse(l, e);
    }
}

/* --- connections ---------------------------------------------------------------------------------------- */

/* `a` may be none. */
static bool is_same_place(const struct listen_place *a, const struct listen_place *b)
{
    return a->conninfo != NULL && strcmp(a->conninfo, b->conninfo) == 0 && strcmp(a->dbname, b->dbname) == 0;
}

static struct listening *listening_find(const struct listen_subscriber *s)
{
    struct listening *l = home.first;
    while (l != NULL && !is_same_place(&l->place, &s->place))
        l = l->next;
    return l;
}

static struct listening *listening_open(const struct listen_subscriber *s)
{
    struct listening *l = or_abort(calloc(1, sizeof *l));
    l->place.name = memory_copy_text(s->place.name);
    l->place.conninfo = memory_copy_text(s->place.conninfo);
    l->place.dbname = memory_copy_text(s->place.dbname);
    l->link = &home.first;
    l->next = home.first;
    if (l->next != NULL)
        l->next->link = &l->next;
    home.first = l;
    l->connection = pq_connection_open(&(struct pq_options){ .loop = home.loop,
                                                             .resolver = home.resolver,
                                                             .role = "listen",
                                                             .name = l->place.name,
                                                             .conninfo = l->place.conninfo,
                                                             .dbname = l->place.dbname,
                                                             .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                                                             .answer_timeout_ms = ANSWER_TIMEOUT_MS,
                                                             .stays_connected = true,
                                                             .on_connected = on_connected,
                                                             .on_lost = on_lost,
                                                             .on_notification = on_notification,
                                                             .context = l });
    return l;
}

static void listening_close(struct listening *l)
{
    pq_connection_close(l->connection);
    while (l->askings != NULL)
        asking_end(l->askings);
    *l->link = l->next;
    if (l->next != NULL)
        l->next->link = l->link;
    listen_place_free(&l->place);
    free(l);
}

/* --- orders ----------------------------------------------------------------------------------------------- */

static void join(struct listen_subscriber *s)
{
    if (s->listening != NULL || s->place.conninfo == NULL)
        return;
    s->listening = listening_find(s);
    if (s->listening == NULL)
        s->listening = listening_open(s);
    s->next = s->listening->subscribers;
    s->listening->subscribers = s;
}

static void unlink_subscriber(struct listen_subscriber *s)
{
    struct listen_subscriber **link = &s->listening->subscribers;
    while (*link != s)
        link = &(*link)->next;
    *link = s->next;
    s->listening = NULL;
}

static void close_if_unused(struct listening *l)
{
    if (l->subscribers == NULL)
        listening_close(l);
}

/* The ear that hears the channel for it from now on. */
static struct ear *hear(struct listen_subscriber *s, const char *channel)
{
    struct listening *l = s->listening;
    struct ear *e = ear_find(l, channel);
    if (e == NULL) {
        e = ear_new(l, channel);
        ask_about(l, "LISTEN", e, on_listening);
    }
    ear_add(e, s);
    return e;
}

/* Answered when the ear is confirmed. */
static void await(struct ear *e, struct listen_order *order)
{
    if (e->confirmed) {
        listen_answer(order, true);
        return;
    }
    order->next = e->waiting;
    e->waiting = order;
}

/* Who has waited for the channel waits for it at its new ear; who has had it may miss something. */
static void move_ear(struct ear *from, struct ear *to, struct listen_subscriber *s)
{
    struct listen_order *moved = take_waiting(from, s);
    if (moved == NULL)
        s->gap = ++home.last_serial;
    while (moved != NULL) {
        struct listen_order *o = moved;
        moved = o->next;
        await(to, o);
    }
}

/* From the connection that it had to that of its place, which is another. */
static void move(struct listen_subscriber *s)
{
    struct listening *from = s->listening;
    unlink_subscriber(s);
    join(s);
    for (struct ear *e = from->ears, *next; e != NULL; e = next) {
        next = e->next;
        if (!ear_has(e, s))
            continue;
        move_ear(e, hear(s, e->channel), s);
        ear_drop(from, e, s);
    }
    ask(s->listening, "SELECT 1", NULL, on_gap_over);
    close_if_unused(from);
}

static void drop_all(struct listen_subscriber *s)
{
    struct listening *l = s->listening;
    for (struct ear *e = l != NULL ? l->ears : NULL, *next; e != NULL; e = next) {
        next = e->next;
        if (ear_has(e, s))
            ear_drop(l, e, s);
    }
}

void listen_home_add(void *order)
{
    struct listen_order *o = order;
    struct listen_subscriber *s = o->subscriber;
    join(s);
    struct listening *l = s->listening;
    if (l == NULL || l->connection == NULL) {
        listen_answer(o, false);
        return;
    }
    await(hear(s, o->channel), o);
}

void listen_home_remove(void *order)
{
    struct listen_order *o = order;
    struct listen_subscriber *s = o->subscriber;
    struct ear *e = s->listening != NULL ? ear_find(s->listening, o->channel) : NULL;
    if (e != NULL && ear_has(e, s))
        ear_drop(s->listening, e, s);
    free(o);
}

void listen_home_move(void *removal)
{
    struct listen_removal *r = removal;
    struct listen_subscriber *s = r->subscriber;
    if (!is_same_place(&s->place, &r->place)) {
        struct listen_place before = s->place;
        s->place = r->place;
        r->place = before;
        if (s->listening != NULL && s->listening->connection != NULL)
            move(s);
    }
    listen_place_free(&r->place);
    free(r);
}

void listen_home_leave(void *order)
{
    struct listen_order *o = order;
    struct listen_subscriber *s = o->subscriber;
    free(o);
    struct listening *l = s->listening;
    if (l != NULL) {
        drop_all(s);
        unlink_subscriber(s);
        close_if_unused(l);
    }
    listen_forget(s);
}

/* --- the whole ---------------------------------------------------------------------------------------------- */

void listen_start(struct loop *loop, struct resolver *resolver)
{
    home.loop = loop;
    home.resolver = resolver;
}

void listen_stop(void)
{
    for (struct listening *l = home.first; l != NULL; l = l->next) {
        pq_connection_close(l->connection);
        l->connection = NULL;
    }
}
