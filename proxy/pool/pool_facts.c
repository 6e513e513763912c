/* A worker's pools in numbers, for whoever watches. */
#include "proxy/pool/client.h"
#include "proxy/pool/pool.h"
#include "proxy/worker.h"

void pools_tell_facts(struct worker *w, void (*tell)(void *context, const struct pool_facts *facts), void *context)
{
    uint64_t now_us = loop_now_us(&w->loop);
    for (const struct pool *p = w->pools.first; p != NULL; p = p->next) {
        struct pool_facts facts = {
            .block = p->shared->block,
            .database = p->shared->name,
            .user = p->shared->user,
            .mode = p->database->pool,
            .limit = atomic_load(&p->shared->limit),
            .paused = pool_is_paused(p),
            .had_server = p->had_server,
            .clients = p->client_count,
            .waiting = p->wait_count,
            .active = p->active_count,
            .idle = pool_idle_count(p),
            .connecting = p->connecting_count,
            .cleaning = p->cleaning_count,
            .longest_wait_us = p->first_wait != NULL ? now_us - p->first_wait->since_us : 0,
            .handouts = p->handouts,
            .waits = p->waits,
            .wait_us = p->wait_us,
            .timeouts = p->timeouts,
            .connects = p->connects,
            .connect_failures = p->connect_failures,
            .pins = p->pins,
            .query_us = p->query_us,
            .transaction_us = p->transaction_us,
        };
        for (const struct pool_server *s = p->servers; s != NULL; s = s->next)
            stopwatch_add(&s->server.watch, now_us, &facts.query_us, &facts.transaction_us);
        tell(context, &facts);
    }
}

static const char *state_of(const struct pool_server *s)
{
    switch (s->state) {
    case POOL_SERVER_CONNECTING:
        return "connecting";
    case POOL_SERVER_CLEANING:
        return "cleaning";
    case POOL_SERVER_READY:
        break;
    }
    return s->idle_link != NULL ? "idle" : "active";
}

/* A client that has a server hears its connection. */
static uint64_t holder_of(const struct pool_server *s)
{
    const struct client *c = s->server.conn.owner;
    return s->server.conn.on_ready == client_on_server_ready ? c->id : 0;
}

void pools_tell_servers(struct worker *w, void (*tell)(void *context, const struct pool_server_facts *facts),
                        void *context)
{
    for (const struct pool *p = w->pools.first; p != NULL; p = p->next) {
        for (const struct pool_server *s = p->servers; s != NULL; s = s->next) {
            struct pool_server_facts facts = {
                .block = p->shared->block,
                .database = p->shared->name,
                .user = p->shared->user,
                .state = state_of(s),
                .address = &s->server.way.address,
                .tls = s->server.conn.tls,
                .process_id = s->process_id,
                .client_id = holder_of(s),
                .connected_us = s->connected_us,
                .idle_since_us = s->idle_link != NULL ? s->idle_since_us : 0,
            };
            tell(context, &facts);
        }
    }
}
