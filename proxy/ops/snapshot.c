/* A walk over each worker's clients. */
#include "proxy/ops/snapshot.h"

#include <string.h>

#include "protocol/memory.h"
#include "proxy/ops/admin.h"
#include "proxy/pool/asleep.h"
#include "proxy/pool/pooled.h"
#include "proxy/session/session.h"

struct snapshot_question {
    struct snapshot snapshot;
    struct loop *home;
    void (*on_ready)(void *context, const struct snapshot *s); /* NULL: nobody waits */
    void *context;
};

/* --- a client ------------------------------------------------------------------------------------ */

static bool is_active(const struct session_facts *f)
{
    return f->request != NULL || f->busy || f->status != 'I';
}

static struct snapshot_pool *pool_of(struct snapshot *s, const char *database, const char *user)
{
    for (size_t i = 0; i < s->pool_count; i++)
        if (strcmp(s->pools[i].database, database) == 0 && strcmp(s->pools[i].user, user) == 0)
            return &s->pools[i];
    s->pools = memory_grow(s->pools, &s->pool_capacity, s->pool_count, sizeof *s->pools);
    struct snapshot_pool *pool = &s->pools[s->pool_count++];
    *pool =
        (struct snapshot_pool){ .database = memory_copy(&s->memory, database), .user = memory_copy(&s->memory, user) };
    return pool;
}

static void count_session(struct snapshot *s, const struct client *c, const struct session_facts *f)
{
    struct database_counts *d = counts_database(&s->counts, f->database);
    d->queries += f->queries;
    d->transactions += f->transactions;
    d->received += c->conn.received;
    d->sent += c->conn.sent;
    if (c->pooled == NULL && c->server != NULL)
        stopwatch_add(&c->server->watch, loop_now_us(&c->worker->loop), &d->query_us, &d->transaction_us);

    struct snapshot_pool *pool = pool_of(s, f->database, f->user);
    bool active = is_active(f), owns_server = !client_is_pooled(c) && server_is_open(c->server);
    pool->clients_active += active;
    pool->clients_idle += !active;
    pool->clients_served += c->pooled == NULL || !pooled_is_waiting(c->pooled);
    pool->servers_active += owns_server && active;
    pool->servers_idle += owns_server && !active;
    s->requests += f->request != NULL;
    s->held_events += f->held_events;
}

static const char *server_name(struct snapshot *s, const struct client *c)
{
    char text[ADDRESS_TEXT_SIZE];
    if (c->server == NULL || !server_is_open(c->server))
        return "";
    return memory_copy(&s->memory, address_format(&c->server->way.address, text));
}

static const char *describe_tls(struct snapshot *s, const struct tls *tls)
{
    char text[TLS_TEXT_SIZE];
    return tls != NULL ? memory_copy(&s->memory, tls_describe(tls, text)) : "";
}

static struct snapshot_server *add_server(struct snapshot *s, const char *database, const char *user)
{
    s->servers = memory_grow(s->servers, &s->server_capacity, s->server_count, sizeof *s->servers);
    struct snapshot_server *to = &s->servers[s->server_count++];
    *to = (struct snapshot_server){ .database = memory_copy(&s->memory, database),
                                    .user = memory_copy(&s->memory, user) };
    return to;
}

static void add_own_server(struct snapshot *s, const struct client *c, const struct session_facts *f)
{
    if (client_is_pooled(c) || !server_is_open(c->server))
        return;
    struct snapshot_server *to = add_server(s, f->database, f->user);
    to->state = is_active(f) ? "active" : "idle";
    to->name = server_name(s, c);
    to->tls = describe_tls(s, c->server->conn.tls);
    to->client_id = c->id;
    to->since_us = c->since_us;
}

static void describe_session(struct snapshot *s, struct snapshot_client *to, const struct session_facts *f)
{
    to->user = memory_copy(&s->memory, f->user);
    to->database = memory_copy(&s->memory, f->database);
    to->application = memory_copy(&s->memory, f->application);
    to->route = memory_copy(&s->memory, f->request != NULL ? f->request->route : f->route);
    to->queries = f->queries;
    to->transactions = f->transactions;
    to->busy = f->busy;
    to->status = f->status;
    to->held_events = f->held_events;
    to->in_request = f->request != NULL;
    if (f->request == NULL)
        return;
    memcpy(to->request, f->request->id, sizeof to->request);
    to->label = memory_copy(&s->memory, f->request->label);
    to->begun_us = f->request->begun_us;
    to->statements = f->request->statements;
    to->events = f->request->events;
}

static void describe_wait(struct snapshot_client *to, const struct client *c)
{
    to->waiting = c->pooled != NULL && pooled_is_waiting(c->pooled);
    if (to->waiting)
        to->wait_us = loop_now_us(&c->worker->loop) - c->pooled->wait.since_us;
}

static void describe_admin(struct snapshot *s, struct snapshot_client *to, const struct admin *a)
{
    to->user = memory_copy(&s->memory, admin_user(a));
    to->database = ADMIN_DATABASE;
}

static void add_client(struct snapshot *s, const struct client *c, const struct session_facts *f)
{
    s->list = memory_grow(s->list, &s->list_capacity, s->list_count, sizeof *s->list);
    struct snapshot_client *to = &s->list[s->list_count++];
    *to = (struct snapshot_client){ .id = c->id,
                                    .name = memory_copy(&s->memory, c->name),
                                    .state = c->state,
                                    .user = "",
                                    .database = "",
                                    .application = "",
                                    .tls = describe_tls(s, c->conn.tls),
                                    .server = server_name(s, c),
                                    .since_us = c->since_us,
                                    .received = c->conn.received,
                                    .sent = c->conn.sent,
                                    .status = 'I',
                                    .route = "",
                                    .label = "" };
    describe_wait(to, c);
    if (c->state == CLIENT_ADMIN)
        describe_admin(s, to, c->admin);
    if (f != NULL)
        describe_session(s, to, f);
}

/* --- pools ------------------------------------------------------------------------------------------ */

/* A name that clients ask for through "*" may be nobody's: it counts from the first server on that was had. */
static void add_times(struct snapshot *s, const struct pool_facts *f)
{
    if (!f->had_server)
        return;
    struct database_counts *d = counts_database(&s->counts, f->database);
    d->wait_us += f->wait_us;
    d->query_us += f->query_us;
    d->transaction_us += f->transaction_us;
}

/* A worker's part of one. */
static void add_pool(void *context, const struct pool_facts *f)
{
    struct snapshot *s = context;
    struct snapshot_pool *pool = pool_of(s, f->database, f->user);
    pool->mode = f->mode;
    pool->limit = f->limit;
    pool->paused = f->paused;
    pool->clients_waiting += f->waiting;
    pool->servers_active += f->active;
    pool->servers_idle += f->idle;
    pool->servers_connecting += f->connecting;
    pool->servers_cleaning += f->cleaning;
    if (pool->longest_wait_us < f->longest_wait_us)
        pool->longest_wait_us = f->longest_wait_us;
    pool->waits += f->waits;
    pool->wait_us += f->wait_us;
    add_times(s, f);
    pool->timeouts += f->timeouts;
    pool->connects += f->connects;
    pool->connect_failures += f->connect_failures;
    pool->pins += f->pins;
}

static void add_pool_server(void *context, const struct pool_server_facts *f)
{
    struct snapshot *s = context;
    char text[ADDRESS_TEXT_SIZE];
    struct snapshot_server *to = add_server(s, f->database, f->user);
    to->state = f->state;
    to->name = memory_copy(&s->memory, f->address->size > 0 ? address_format(f->address, text) : "");
    to->tls = describe_tls(s, f->tls);
    to->process_id = f->process_id;
    to->client_id = f->client_id;
    to->since_us = f->connected_us;
}

/* --- a worker ------------------------------------------------------------------------------------- */

static bool is_wanted(const struct snapshot *s, const struct session_facts *f, size_t told)
{
    switch (s->scope) {
    case SNAPSHOT_COUNTS:
    case SNAPSHOT_CENSUS:
        return false;
    case SNAPSHOT_REQUESTS:
        return f != NULL && told < SNAPSHOT_REQUESTS_MOST && (f->request != NULL || f->status != 'I');
    case SNAPSHOT_CLIENTS:
        return true;
    }
    return false;
}

static void write_down(void *context, struct worker *w)
{
    struct snapshot_question *q = context;
    struct snapshot *s = &q->snapshot;
    size_t told = 0;
    counts_add(&s->counts, &w->counts);
    for (const struct client *c = w->clients; c != NULL; c = client_next(c)) {
        struct session_facts facts;
        bool has_session = client_tell_facts(c, &facts);
        if (has_session) {
            count_session(s, c, &facts);
            if (s->scope == SNAPSHOT_CLIENTS)
                add_own_server(s, c, &facts);
        }
        s->clients[c->state]++;
        const struct session_facts *f = has_session ? &facts : NULL;
        if (is_wanted(s, f, told)) {
            add_client(s, c, f);
            told++;
        }
    }
    pools_tell_facts(w, add_pool, s);
    if (s->scope == SNAPSHOT_CLIENTS)
        pools_tell_servers(w, add_pool_server, s);
}

/* --- all of them ---------------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
    const struct snapshot_client *one = a, *other = b;
    return (one->id > other->id) - (one->id < other->id);
}

const struct snapshot_client *snapshot_find_client(const struct snapshot *s, uint64_t id)
{
    struct snapshot_client key = { .id = id };
    return s->list_count > 0 ? bsearch(&key, s->list, s->list_count, sizeof *s->list, by_id) : NULL;
}

static int by_client(const void *a, const void *b)
{
    const struct snapshot_server *one = a, *other = b;
    if (one->client_id != other->client_id)
        return (one->client_id > other->client_id) - (one->client_id < other->client_id);
    return (one->process_id > other->process_id) - (one->process_id < other->process_id);
}

static void hand_over(void *context)
{
    struct snapshot_question *q = context;
    struct snapshot *s = &q->snapshot;
    if (q->on_ready != NULL) {
        s->now_us = loop_now_us(q->home);
        if (s->list_count > 0)
            qsort(s->list, s->list_count, sizeof *s->list, by_id);
        if (s->server_count > 0)
            qsort(s->servers, s->server_count, sizeof *s->servers, by_client);
        q->on_ready(q->context, s);
    }
    counts_free(&s->counts);
    memory_free(&s->memory);
    free(s->list);
    free(s->pools);
    free(s->servers);
    free(q);
}

struct snapshot_question *snapshot_ask(struct loop *home, enum snapshot_scope scope,
                                       void (*on_ready)(void *context, const struct snapshot *s), void *context)
{
    struct snapshot_question *q = or_abort(calloc(1, sizeof *q));
    *q = (struct snapshot_question){
        .snapshot = { .scope = scope }, .home = home, .on_ready = on_ready, .context = context
    };
    if (workers_ask(home, write_down, hand_over, q))
        return q;
    free(q);
    return NULL;
}

void snapshot_forget(struct snapshot_question *q)
{
    if (q != NULL)
        q->on_ready = NULL;
}
