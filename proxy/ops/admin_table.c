/* A table is its columns and a function below them that writes its rows, in the same order. */
#include "proxy/ops/admin_table.h"

#include <stdio.h>
#include <stdlib.h>

#include "protocol/memory.h"
#include "protocol/sql_lexer.h"
#include "proxy/events/sink.h"
#include "proxy/events/tally.h"
#include "proxy/ops/recent.h"
#include "proxy/pool/pool.h"
#include "proxy/version.h"

#define TEXT(column)  \
    {                 \
        column, false \
    }
#define NUMBER(column) \
    {                  \
        column, true   \
    }
#define END         \
    {               \
        NULL, false \
    }

/* --- requests and events -------------------------------------------------------------------------------- */

static uint64_t ms_since(uint64_t then_us, uint64_t now_us)
{
    return now_us > then_us ? (now_us - then_us) / 1000 : 0;
}

static const char *activity(const struct snapshot_client *c)
{
    if (c->busy)
        return "running";
    return c->status == 'E' ? "failed" : "waiting";
}

static const struct admin_column request_columns[] = { TEXT("request"),     TEXT("label"),  TEXT("route"),
                                                       TEXT("database"),    TEXT("user"),   TEXT("application_name"),
                                                       NUMBER("client_id"), TEXT("addr"),   TEXT("begun"),
                                                       NUMBER("age_ms"),    TEXT("state"),  NUMBER("statements"),
                                                       NUMBER("events"),    NUMBER("held"), END };

static void fill_requests(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)config;
    for (const struct snapshot_client *c = s->list; c < s->list + s->list_count; c++) {
        if (!c->in_request)
            continue;
        rows_begin(r);
        rows_id(r, c->request);
        rows_text(r, c->label);
        rows_text(r, c->route);
        rows_text(r, c->database);
        rows_text(r, c->user);
        rows_text(r, c->application);
        rows_number(r, c->id);
        rows_text(r, c->name);
        rows_time(r, c->begun_us);
        rows_number(r, ms_since(c->begun_us, s->now_us));
        rows_text(r, activity(c));
        rows_number(r, c->statements);
        rows_number(r, c->events);
        rows_number(r, c->held_events);
        rows_end(r);
    }
}

static const struct admin_column event_columns[] = { TEXT("id"),      TEXT("channel"),    TEXT("payload"),
                                                     NUMBER("bytes"), TEXT("state"),      TEXT("reason"),
                                                     TEXT("held"),    TEXT("settled"),    TEXT("request"),
                                                     TEXT("label"),   TEXT("route"),      TEXT("database"),
                                                     TEXT("user"),    TEXT("deliveries"), END };

/* "mail-hook retry 3: the sink's words; story delivered 1" */
static void write_deliveries(struct admin_rows *r, const struct recent_event *e)
{
    struct buffer text = { 0 };
    for (const struct recent_delivery *d = e->deliveries; d < e->deliveries + e->delivery_count; d++) {
        buffer_format(&text, "%s%s %s %u", text.size > 0 ? "; " : "", d->sink, recent_state_name(d->state), d->attempt);
        if (d->reason[0] != '\0')
            buffer_format(&text, ": %s", d->reason);
    }
    rows_span(r, buffer_span(&text));
    buffer_free(&text);
}

static void write_event(void *context, const struct recent_event *e)
{
    struct admin_rows *r = context;
    rows_begin(r);
    rows_id(r, e->id);
    rows_text(r, e->channel);
    if (e->payload.data != NULL)
        rows_span(r, e->payload);
    else
        rows_null(r);
    rows_number(r, e->payload_size);
    rows_text(r, recent_state_name(e->state));
    rows_text(r, e->reason != NULL ? e->reason : "");
    rows_time(r, e->held_us);
    rows_time(r, e->settled_us);
    if (e->request_known)
        rows_id(r, e->request);
    else
        rows_null(r);
    rows_text(r, e->label);
    rows_text(r, e->route);
    rows_text(r, e->database);
    rows_text(r, e->user);
    write_deliveries(r, e);
    rows_end(r);
}

static void fill_events(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)s, (void)config;
    recent_each(RECENT_MOST, write_event, r);
}

/* --- what the config names, and how it fares ------------------------------------------------------------- */

static const struct admin_column route_columns[] = { TEXT("route"),       TEXT("match"),         TEXT("application"),
                                                     TEXT("database"),    TEXT("user"),          TEXT("mode"),
                                                     NUMBER("committed"), NUMBER("rolled_back"), NUMBER("statements"),
                                                     NUMBER("events"),    NUMBER("avg_us"),      END };

static const struct route_counts *counts_of(const struct snapshot *s, const char *name)
{
    static const struct route_counts none;
    for (size_t i = 0; i < s->counts.route_count; i++)
        if (strcmp(s->counts.routes[i].name, name) == 0)
            return &s->counts.routes[i];
    return &none;
}

static void fill_routes(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    for (const struct route *route = config->routes; route < config->routes + config->route_count; route++) {
        const struct route_counts *counts = counts_of(s, route->name);
        uint64_t ended = 0;
        for (size_t i = 0; i < REQUEST_OUTCOMES; i++)
            ended += counts->outcomes[i];
        rows_begin(r);
        rows_text(r, route->name);
        if (route->match != NULL)
            rows_text(r, route->match);
        else
            rows_null(r);
        rows_text(r, route->application);
        rows_text(r, route->database);
        rows_text(r, route->user);
        rows_text(r, route_mode_name(route->mode));
        rows_number(r, counts->outcomes[REQUEST_COMMITTED]);
        rows_number(r, ended - counts->outcomes[REQUEST_COMMITTED]);
        rows_number(r, counts->statements);
        rows_number(r, counts->events);
        rows_number(r, ended > 0 ? counts->duration_us / ended : 0);
        rows_end(r);
    }
}

static const struct admin_column channel_columns[] = { TEXT("channel"),
                                                       TEXT("sinks"),
                                                       TEXT("forward"),
                                                       TEXT("delivery"),
                                                       TEXT("capture"),
                                                       NUMBER("held"),
                                                       NUMBER("discarded"),
                                                       NUMBER("released"),
                                                       NUMBER("delivered"),
                                                       NUMBER("retried"),
                                                       NUMBER("dead"),
                                                       NUMBER("dropped"),
                                                       END };

static void write_names(struct admin_rows *r, const char *const *names)
{
    struct buffer text = { 0 };
    for (; *names != NULL; names++)
        buffer_format(&text, "%s%s", text.size > 0 ? ", " : "", *names);
    rows_span(r, buffer_span(&text));
    buffer_free(&text);
}

static void write_fates(struct admin_rows *r, const struct tally *t)
{
    rows_number(r, tally_read(&t->released));
    rows_number(r, tally_read(&t->delivered));
    rows_number(r, tally_read(&t->retried));
    rows_number(r, tally_read(&t->dead));
    rows_number(r, tally_read(&t->dropped));
}

static void fill_channels(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)s;
    for (const struct channel *c = config->channels; c < config->channels + config->channel_count; c++) {
        const struct tally *t = tally_channel(c->pattern);
        rows_begin(r);
        rows_text(r, c->pattern);
        write_names(r, c->sinks);
        rows_bool(r, c->forward);
        rows_text(r, c->delivery == DELIVERY_OUTBOX ? "outbox" : "memory");
        rows_text(r, c->capture == CAPTURE_LISTEN ? "listen" : "wire");
        rows_number(r, tally_read(&t->held));
        rows_number(r, tally_read(&t->discarded));
        write_fates(r, t);
        rows_end(r);
    }
}

static const struct admin_column sink_columns[] = { TEXT("sink"),
                                                    TEXT("type"),
                                                    NUMBER("queued"),
                                                    NUMBER("queued_bytes"),
                                                    NUMBER("released"),
                                                    NUMBER("delivered"),
                                                    NUMBER("retried"),
                                                    NUMBER("dead"),
                                                    NUMBER("dropped"),
                                                    NUMBER("avg_latency_us"),
                                                    END };

static void fill_sinks(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)s;
    for (const struct sink *sink = config->sinks; sink < config->sinks + config->sink_count; sink++) {
        const struct sink_type *type = sink_type_of(sink->kind);
        const struct tally *t = tally_sink(sink->name);
        uint64_t delivered = tally_read(&t->delivered);
        rows_begin(r);
        rows_text(r, sink->name);
        rows_text(r, type != NULL ? type->name : "not in this build");
        rows_number(r, tally_read(&t->held_events));
        rows_number(r, tally_read(&t->held_bytes));
        write_fates(r, t);
        rows_number(r, delivered > 0 ? tally_read(&t->latency_us) / delivered : 0);
        rows_end(r);
    }
}

static const struct admin_column outbox_columns[] = {
    TEXT("database"),   TEXT("channels"),    NUMBER("lease_ms"), NUMBER("poll_ms"), NUMBER("batch"),
    NUMBER("released"), NUMBER("delivered"), NUMBER("dead"),     NUMBER("dropped"), END
};

struct durable {
    struct buffer names;
    uint64_t released, delivered, dead, dropped;
};

/* Of all channels with rows: they are not counted by database. */
static struct durable durable_of(const struct config *config)
{
    struct durable all = { .released = 0 };
    for (const struct channel *c = config->channels; c < config->channels + config->channel_count; c++) {
        if (c->delivery != DELIVERY_OUTBOX)
            continue;
        const struct tally *t = tally_channel(c->pattern);
        buffer_format(&all.names, "%s%s", all.names.size > 0 ? ", " : "", c->pattern);
        all.released += tally_read(&t->released);
        all.delivered += tally_read(&t->delivered);
        all.dead += tally_read(&t->dead);
        all.dropped += tally_read(&t->dropped);
    }
    return all;
}

static void fill_outbox(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)s;
    struct durable all = durable_of(config);
    for (const struct outbox *o = config->outboxes; o < config->outboxes + config->outbox_count; o++) {
        rows_begin(r);
        rows_text(r, o->name);
        rows_span(r, buffer_span(&all.names));
        rows_number(r, o->lease_ms);
        rows_number(r, o->poll_ms);
        rows_number(r, o->batch);
        rows_number(r, all.released);
        rows_number(r, all.delivered);
        rows_number(r, all.dead);
        rows_number(r, all.dropped);
        rows_end(r);
    }
    buffer_free(&all.names);
}

/* --- clients and servers --------------------------------------------------------------------------------- */

static const struct admin_column pool_columns[] = {
    TEXT("database"),     TEXT("user"),       NUMBER("cl_active"), NUMBER("cl_waiting"), NUMBER("cl_idle"),
    NUMBER("sv_active"),  NUMBER("sv_idle"),  NUMBER("sv_used"),   NUMBER("sv_login"),   NUMBER("maxwait"),
    NUMBER("maxwait_us"), TEXT("pool_mode"),  NUMBER("pool_size"), TEXT("paused"),       NUMBER("waits"),
    NUMBER("wait_us"),    NUMBER("timeouts"), NUMBER("connects"),  NUMBER("pinned"),     END
};

static void fill_pools(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)config;
    for (const struct snapshot_pool *p = s->pools; p < s->pools + s->pool_count; p++) {
        rows_begin(r);
        rows_text(r, p->database);
        rows_text(r, p->user);
        rows_number(r, p->clients_active - p->clients_waiting);
        rows_number(r, p->clients_waiting);
        rows_number(r, p->clients_idle);
        rows_number(r, p->servers_active);
        rows_number(r, p->servers_idle);
        rows_number(r, p->servers_cleaning);
        rows_number(r, p->servers_connecting);
        rows_number(r, p->longest_wait_us / 1000000);
        rows_number(r, p->longest_wait_us % 1000000);
        rows_text(r, pool_mode_name(p->mode));
        rows_number(r, p->limit);
        rows_bool(r, p->paused);
        rows_number(r, p->waits);
        rows_number(r, p->wait_us);
        rows_number(r, p->timeouts);
        rows_number(r, p->connects);
        rows_number(r, p->pins);
        rows_end(r);
    }
}

static const char *client_state(const struct snapshot_client *c)
{
    if (c->state != CLIENT_SESSION)
        return client_state_name(c->state);
    if (c->waiting)
        return "waiting";
    return c->in_request || c->busy || c->status != 'I' ? "active" : "idle";
}

static const struct admin_column client_columns[] = { NUMBER("id"),       TEXT("user"),
                                                      TEXT("database"),   TEXT("application_name"),
                                                      TEXT("state"),      TEXT("addr"),
                                                      TEXT("server"),     TEXT("connect_time"),
                                                      NUMBER("queries"),  NUMBER("transactions"),
                                                      NUMBER("received"), NUMBER("sent"),
                                                      TEXT("route"),      TEXT("label"),
                                                      TEXT("request"),    NUMBER("statements"),
                                                      NUMBER("held"),     END };

static void fill_clients(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)config;
    for (const struct snapshot_client *c = s->list; c < s->list + s->list_count; c++) {
        rows_begin(r);
        rows_number(r, c->id);
        rows_text(r, c->user);
        rows_text(r, c->database);
        rows_text(r, c->application);
        rows_text(r, client_state(c));
        rows_text(r, c->name);
        rows_text(r, c->server);
        rows_time(r, c->since_us);
        rows_number(r, c->queries);
        rows_number(r, c->transactions);
        rows_number(r, c->received);
        rows_number(r, c->sent);
        rows_text(r, c->route);
        rows_text(r, c->label);
        if (c->in_request)
            rows_id(r, c->request);
        else
            rows_null(r);
        rows_number(r, c->statements);
        rows_number(r, c->held_events);
        rows_end(r);
    }
}

static const struct admin_column server_columns[] = { TEXT("database"),     TEXT("user"),
                                                      TEXT("state"),        TEXT("addr"),
                                                      NUMBER("remote_pid"), NUMBER("client_id"),
                                                      TEXT("connect_time"), END };

static void write_number_if(struct admin_rows *r, uint64_t value)
{
    if (value > 0)
        rows_number(r, value);
    else
        rows_null(r);
}

static void fill_servers(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)config;
    for (const struct snapshot_server *server = s->servers; server < s->servers + s->server_count; server++) {
        rows_begin(r);
        rows_text(r, server->database);
        rows_text(r, server->user);
        rows_text(r, server->state);
        rows_text(r, server->name);
        write_number_if(r, server->process_id);
        write_number_if(r, server->client_id);
        rows_time(r, server->since_us);
        rows_end(r);
    }
}

static const struct admin_column database_columns[] = { TEXT("name"),        TEXT("host"),
                                                        NUMBER("port"),      TEXT("database"),
                                                        NUMBER("pool_size"), TEXT("pool_mode"),
                                                        TEXT("paused"),      END };

static void fill_databases(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)s;
    for (const struct database *d = config->databases; d < config->databases + config->database_count; d++) {
        rows_begin(r);
        rows_text(r, d->name);
        write_names(r, d->hosts);
        rows_number(r, d->ports[0]);
        if (d->dbname != NULL)
            rows_text(r, d->dbname);
        else
            rows_null(r);
        rows_number(r, d->pool_size);
        rows_text(r, pool_mode_name(d->pool));
        rows_bool(r, pool_is_paused_by_order(d->name));
        rows_end(r);
    }
}

static const struct admin_column stats_columns[] = { TEXT("database"),
                                                     NUMBER("total_login_count"),
                                                     NUMBER("total_xact_count"),
                                                     NUMBER("total_query_count"),
                                                     NUMBER("total_received"),
                                                     NUMBER("total_sent"),
                                                     END };

static void fill_stats(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)config;
    for (const struct database_counts *d = s->counts.databases; d < s->counts.databases + s->counts.database_count;
         d++) {
        rows_begin(r);
        rows_text(r, d->name);
        rows_number(r, d->logins);
        rows_number(r, d->transactions);
        rows_number(r, d->queries);
        rows_number(r, d->received);
        rows_number(r, d->sent);
        rows_end(r);
    }
}

/* --- the rest --------------------------------------------------------------------------------------------- */

static const struct admin_column config_columns[] = { TEXT("config"), END };

/* As `pgatomic check` prints it: no secret is among the lines. */
static void fill_config(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)s;
    char *text = NULL;
    size_t size = 0;
    FILE *out = or_abort(open_memstream(&text, &size));
    config_print(config, out);
    fclose(out);
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL && rest != NULL;) {
        rows_begin(r);
        rows_text(r, line);
        rows_end(r);
    }
    free(text);
}

static const struct admin_column version_columns[] = { TEXT("version"), END };

static void fill_version(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)s, (void)config;
    rows_begin(r);
    rows_text(r, "pgatomic " PGATOMIC_VERSION);
    rows_end(r);
}

static const struct admin_column help_columns[] = { TEXT("command"), TEXT("what_it_does"), END };

static void write_help(struct admin_rows *r, const char *command, const char *what)
{
    rows_begin(r);
    rows_text(r, command);
    rows_text(r, what);
    rows_end(r);
}

static void fill_help(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)s, (void)config;
    for (const struct admin_table *t = admin_tables; t->subject != NULL; t++) {
        char command[64];
        snprintf(command, sizeof command, "SHOW %s", t->subject);
        write_help(r, command, t->help);
    }
    write_help(r, "RELOAD", "read the config again");
    write_help(r, "SET route.NAME.mode = 'MODE'", "the mode of requests that begin from now on, until the next reload");
    write_help(r, "PAUSE [DATABASE]", "hand out no servers; wait until all have come back and are closed");
    write_help(r, "RESUME [DATABASE]", "go on");
    write_help(r, "RECONNECT [DATABASE]", "close every server as soon as it is not in use");
    write_help(r, "KILL ID", "end the client with this id, as in SHOW CLIENTS");
    write_help(r, "SHUTDOWN [WAIT]", "stop now, or when each client is between requests");
}

const struct admin_table admin_tables[] = {
    { "REQUESTS", "requests that are open", SNAPSHOT_CLIENTS, fill_requests, request_columns },
    { "EVENTS", "the newest events and what has become of them", SNAPSHOT_COUNTS, fill_events, event_columns },
    { "ROUTES", "the routes and how their requests ended", SNAPSHOT_COUNTS, fill_routes, route_columns },
    { "CHANNELS", "the channels and what became of their events", SNAPSHOT_COUNTS, fill_channels, channel_columns },
    { "SINKS", "where events go, and what waits for it", SNAPSHOT_COUNTS, fill_sinks, sink_columns },
    { "OUTBOX", "the databases with durable events", SNAPSHOT_COUNTS, fill_outbox, outbox_columns },
    { "POOLS", "clients and servers by database and user", SNAPSHOT_COUNTS, fill_pools, pool_columns },
    { "CLIENTS", "every client", SNAPSHOT_CLIENTS, fill_clients, client_columns },
    { "SERVERS", "every connection to PostgreSQL", SNAPSHOT_CLIENTS, fill_servers, server_columns },
    { "DATABASES", "the databases of the config", SNAPSHOT_COUNTS, fill_databases, database_columns },
    { "STATS", "what databases have been asked since the start", SNAPSHOT_COUNTS, fill_stats, stats_columns },
    { "CONFIG", "the config as it is understood, without secrets", SNAPSHOT_COUNTS, fill_config, config_columns },
    { "VERSION", "which pgatomic this is", SNAPSHOT_COUNTS, fill_version, version_columns },
    { "HELP", "this list", SNAPSHOT_COUNTS, fill_help, help_columns },
    { .subject = NULL },
};

const struct admin_table *admin_table_find(struct span subject)
{
    for (const struct admin_table *t = admin_tables; t->subject != NULL; t++)
        if (subject.size == strlen(t->subject) && strncasecmp(subject.data, t->subject, subject.size) == 0)
            return t;
    return NULL;
}
