/* What pgatomic is for, as tables: requests and events, and how the routes, channels and sinks of the config fare. */
#include "proxy/events/sink.h"
#include "proxy/events/tally.h"
#include "proxy/ops/admin_table.h"
#include "proxy/ops/census.h"
#include "proxy/ops/recent.h"

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
    TEXT("database"), TEXT("channel"), TEXT("state"), NUMBER("events"), TEXT("oldest"), TEXT("error"), END
};

static void write_census_line(void *context, const struct census_line *line)
{
    struct admin_rows *r = context;
    rows_begin(r);
    rows_text(r, line->database);
    if (line->channel.data != NULL)
        rows_span(r, line->channel);
    else
        rows_null(r);
    rows_text(r, line->state);
    if (line->error == NULL)
        rows_number(r, line->count);
    else
        rows_null(r);
    rows_time(r, line->oldest_us);
    rows_text(r, line->error != NULL ? line->error : "");
    rows_end(r);
}

static void fill_outbox(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)config;
    census_each(s->census, write_census_line, r);
}

const struct admin_table admin_request_tables[] = {
    { "REQUESTS", "requests that are open", SNAPSHOT_CLIENTS, fill_requests, request_columns },
    { "EVENTS", "the newest events and what has become of them", SNAPSHOT_COUNTS, fill_events, event_columns },
    { "ROUTES", "the routes and how their requests ended", SNAPSHOT_COUNTS, fill_routes, route_columns },
    { "CHANNELS", "the channels and what became of their events", SNAPSHOT_COUNTS, fill_channels, channel_columns },
    { "SINKS", "where events go, and what waits for it", SNAPSHOT_COUNTS, fill_sinks, sink_columns },
    { "OUTBOX", "what stands in the outboxes, as their databases say now", SNAPSHOT_CENSUS, fill_outbox,
      outbox_columns },
    { .subject = NULL },
};
