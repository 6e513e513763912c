/* One function a panel of the page. */
#include "proxy/ops/state_json.h"

#include "proxy/events/sink.h"
#include "proxy/events/tally.h"
#include "proxy/ops/json_write.h"
#include "proxy/ops/recent.h"
#include "proxy/version.h"

enum { EVENTS_SHOWN = 60 };

static void add_totals(struct buffer *b, const struct snapshot *s)
{
    struct database_counts all = { 0 };
    for (size_t i = 0; i < s->counts.database_count; i++) {
        all.queries += s->counts.databases[i].queries;
        all.transactions += s->counts.databases[i].transactions;
        all.received += s->counts.databases[i].received;
        all.sent += s->counts.databases[i].sent;
    }
    size_t clients = 0;
    for (size_t i = 0; i < s->pool_count; i++)
        clients += s->pools[i].clients_active + s->pools[i].clients_idle;
    json_open(b, "totals", '{');
    json_number(b, "clients", clients);
    json_number(b, "requests", s->requests);
    json_number(b, "held", s->held_events);
    json_number(b, "queries", all.queries);
    json_number(b, "transactions", all.transactions);
    json_number(b, "received", all.received);
    json_number(b, "sent", all.sent);
    json_close(b, '}');
}

static const char *activity(const struct snapshot_client *c)
{
    if (c->busy)
        return "running";
    return c->status == 'E' ? "failed" : "waiting for the client";
}

static void add_request(struct buffer *b, const struct snapshot_client *c)
{
    json_open(b, NULL, '{');
    json_number(b, "client_id", c->id);
    json_text(b, "client", c->name);
    json_text(b, "application", c->application);
    json_text(b, "user", c->user);
    json_text(b, "database", c->database);
    json_text(b, "route", c->route);
    json_text(b, "activity", activity(c));
    json_number(b, "held", c->held_events);
    if (c->in_request) {
        json_id(b, "id", c->request);
        json_text(b, "label", c->label);
        json_time(b, "begun", c->begun_us);
        json_number(b, "statements", c->statements);
        json_number(b, "events", c->events);
    }
    json_close(b, '}');
}

static void add_requests(struct buffer *b, const struct snapshot *s)
{
    json_open(b, "requests", '[');
    for (size_t i = 0; i < s->list_count; i++)
        add_request(b, &s->list[i]);
    json_close(b, ']');
}

static void add_tally(struct buffer *b, const struct tally *t)
{
    json_number(b, "queued", tally_read(&t->held_events));
    json_number(b, "queued_bytes", tally_read(&t->held_bytes));
    json_number(b, "held", tally_read(&t->held));
    json_number(b, "discarded", tally_read(&t->discarded));
    json_number(b, "released", tally_read(&t->released));
    json_number(b, "delivered", tally_read(&t->delivered));
    json_number(b, "retried", tally_read(&t->retried));
    json_number(b, "dead", tally_read(&t->dead));
    json_number(b, "dropped", tally_read(&t->dropped));
    json_ms(b, "latency_ms", tally_read(&t->latency_us));
}

static void add_sinks(struct buffer *b, const struct config *config)
{
    json_open(b, "sinks", '[');
    for (size_t i = 0; i < config->sink_count; i++) {
        const struct sink *sink = &config->sinks[i];
        const struct sink_type *type = sink_type_of(sink->kind);
        json_open(b, NULL, '{');
        json_text(b, "name", sink->name);
        json_text(b, "type", type != NULL ? type->name : "not in this build");
        add_tally(b, tally_sink(sink->name));
        json_close(b, '}');
    }
    json_close(b, ']');
}

static void add_channels(struct buffer *b, const struct config *config)
{
    json_open(b, "channels", '[');
    for (size_t i = 0; i < config->channel_count; i++) {
        const struct channel *channel = &config->channels[i];
        json_open(b, NULL, '{');
        json_text(b, "name", channel->pattern);
        json_text(b, "delivery", channel->delivery == DELIVERY_OUTBOX ? "outbox" : "memory");
        add_tally(b, tally_channel(channel->pattern));
        json_close(b, '}');
    }
    json_close(b, ']');
}

static void add_routes(struct buffer *b, const struct snapshot *s, const struct config *config)
{
    json_open(b, "routes", '[');
    for (const struct route_counts *r = s->counts.routes; r < s->counts.routes + s->counts.route_count; r++) {
        uint64_t ended = 0;
        const struct route *block = config_route_named(config, r->name);
        for (size_t i = 0; i < REQUEST_OUTCOMES; i++)
            ended += r->outcomes[i];
        json_open(b, NULL, '{');
        json_text(b, "name", r->name);
        json_text(b, "mode", route_mode_name(block != NULL ? block->mode : MODE_AUTOCOMMIT));
        json_number(b, "committed", r->outcomes[REQUEST_COMMITTED]);
        json_number(b, "rolled_back", ended - r->outcomes[REQUEST_COMMITTED]);
        json_ms(b, "average_ms", ended > 0 ? r->duration_us / ended : 0);
        json_close(b, '}');
    }
    json_close(b, ']');
}

static void add_pools(struct buffer *b, const struct snapshot *s)
{
    json_open(b, "pools", '[');
    for (const struct snapshot_pool *p = s->pools; p < s->pools + s->pool_count; p++) {
        json_open(b, NULL, '{');
        json_text(b, "database", p->database);
        json_text(b, "user", p->user);
        json_number(b, "clients_active", p->clients_active);
        json_number(b, "clients_idle", p->clients_idle);
        json_number(b, "clients_waiting", p->clients_waiting);
        json_text(b, "mode", pool_mode_name(p->mode));
        json_bool(b, "paused", p->paused);
        json_number(b, "servers_active", p->servers_active);
        json_number(b, "servers_idle", p->servers_idle);
        json_close(b, '}');
    }
    json_close(b, ']');
}

void state_json_append(struct buffer *b, const struct snapshot *s, const struct config *config)
{
    json_open(b, NULL, '{');
    json_text(b, "version", PGATOMIC_VERSION);
    json_time(b, "now", s->now_us);
    json_number(b, "workers", workers_count());
    add_totals(b, s);
    add_requests(b, s);
    add_sinks(b, config);
    add_channels(b, config);
    add_routes(b, s, config);
    add_pools(b, s);
    recent_append_json(b, "events", EVENTS_SHOWN);
    json_close(b, '}');
}
