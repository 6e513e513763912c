/* One function a family of metrics, in the order in which they are told.
 *
 * Names end in the unit, or in _total for what only grows. Label values are anybody's text (users, databases): they are escaped, and what
 * is not UTF-8 is replaced. */
#include "proxy/ops/metrics.h"

#include "proxy/events/tally.h"
#include "proxy/ops/json.h"
#include "proxy/ops/timestamp.h"
#include "proxy/version.h"

/* --- the format ------------------------------------------------------------------------------------ */

static void family(struct buffer *b, const char *name, const char *type, const char *help)
{
    buffer_format(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void append_label_text(struct buffer *b, struct span s)
{
    while (s.size > 0) {
        size_t size = utf8_character_size(s);
        if (size == 0)
            utf8_append(b, 0xfffd);
        else if (s.data[0] == '\n')
            buffer_append_text(b, "\\n");
        else if (s.data[0] == '"' || s.data[0] == '\\')
            buffer_format(b, "\\%c", s.data[0]);
        else
            buffer_append(b, s.data, size);
        size = size > 0 ? size : 1;
        s = span_make(s.data + size, s.size - size);
    }
}

struct label {
    const char *name, *value;
};

enum { LABELS_MOST = 3 };

/* Up to the first label without a name. */
static void begin_sample(struct buffer *b, const char *name, const struct label *labels)
{
    buffer_append_text(b, name);
    const char *before = "{";
    for (const struct label *l = labels; l < labels + LABELS_MOST && l->name != NULL; l++) {
        buffer_format(b, "%s%s=\"", before, l->name);
        append_label_text(b, span_of(l->value));
        buffer_append_text(b, "\"");
        before = ",";
    }
    buffer_append_text(b, *before == ',' ? "} " : " ");
}

#define LABELS(...)                   \
    (const struct label[LABELS_MOST]) \
    {                                 \
        __VA_ARGS__                   \
    }

static void sample(struct buffer *b, const char *name, const struct label *labels, uint64_t value)
{
    begin_sample(b, name, labels);
    number_append(b, value, 1);
    buffer_append_text(b, "\n");
}

static void append_seconds(struct buffer *b, uint64_t us)
{
    number_append(b, us / 1000000, 1);
    buffer_append_u8(b, '.');
    number_append(b, us % 1000000, 6);
}

static void sample_seconds(struct buffer *b, const char *name, const struct label *labels, uint64_t us)
{
    begin_sample(b, name, labels);
    append_seconds(b, us);
    buffer_append_text(b, "\n");
}

/* --- clients, servers, traffic ----------------------------------------------------------------------- */

static void add_process(struct buffer *b)
{
    family(b, "pgatomic_info", "gauge", "Which pgatomic this is.");
    sample(b, "pgatomic_info", LABELS({ "version", PGATOMIC_VERSION }), 1);
    family(b, "pgatomic_workers", "gauge", "Threads that carry traffic.");
    sample(b, "pgatomic_workers", LABELS({ 0 }), workers_count());
}

static void add_clients(struct buffer *b, const struct snapshot *s)
{
    family(b, "pgatomic_client_connections", "gauge", "Connections of clients, by how far they are.");
    for (int state = 0; state < CLIENT_STATES; state++)
        sample(b, "pgatomic_client_connections", LABELS({ "state", client_state_name((enum client_state)state) }),
               s->clients[state]);
    family(b, "pgatomic_clients", "gauge", "Clients that are logged in.");
    for (const struct snapshot_pool *p = s->pools; p < s->pools + s->pool_count; p++) {
        const char *name = "pgatomic_clients";
        sample(b, name, LABELS({ "database", p->database }, { "user", p->user }, { "state", "active" }),
               p->clients_active);
        sample(b, name, LABELS({ "database", p->database }, { "user", p->user }, { "state", "idle" }), p->clients_idle);
    }
}

static void add_servers(struct buffer *b, const struct snapshot *s)
{
    const char *name = "pgatomic_servers";
    family(b, name, "gauge", "Connections to PostgreSQL.");
    for (const struct snapshot_pool *p = s->pools; p < s->pools + s->pool_count; p++) {
        const struct {
            const char *state;
            size_t count;
        } states[] = { { "active", p->servers_active },
                       { "idle", p->servers_idle },
                       { "connecting", p->servers_connecting },
                       { "cleaning", p->servers_cleaning } };
        for (size_t i = 0; i < sizeof states / sizeof *states; i++)
            sample(b, name, LABELS({ "database", p->database }, { "user", p->user }, { "state", states[i].state }),
                   states[i].count);
    }
}

static const struct {
    const char *name, *type, *help;
    size_t offset;
} pooling[] = {
    { "pgatomic_clients_waiting", "gauge", "Clients that wait for a server of their pool.",
      offsetof(struct snapshot_pool, clients_waiting) },
    { "pgatomic_waits_total", "counter", "Times that a client had to wait for a server.",
      offsetof(struct snapshot_pool, waits) },
    { "pgatomic_wait_timeouts_total", "counter", "Waits that queue_timeout has ended.",
      offsetof(struct snapshot_pool, timeouts) },
    { "pgatomic_server_connects_total", "counter", "Connections that a pool has made to PostgreSQL.",
      offsetof(struct snapshot_pool, connects) },
    { "pgatomic_server_connect_failures_total", "counter", "Those that failed.",
      offsetof(struct snapshot_pool, connect_failures) },
};

static void add_pins(struct buffer *b, const struct counts *c)
{
    family(b, "pgatomic_pinned_total", "counter",
           "Servers that stayed with a client for what it left in their session, by what that is.");
    for (const struct database_counts *d = c->databases; d < c->databases + c->database_count; d++)
        for (const struct pin_count *p = d->pins; p < d->pins + d->pin_count; p++)
            sample(b, "pgatomic_pinned_total", LABELS({ "database", d->name }, { "cause", p->cause }), p->count);
}

static void add_pools(struct buffer *b, const struct snapshot *s)
{
    const struct snapshot_pool *end = s->pools + s->pool_count;
    for (size_t i = 0; i < sizeof pooling / sizeof *pooling; i++) {
        family(b, pooling[i].name, pooling[i].type, pooling[i].help);
        for (const struct snapshot_pool *p = s->pools; p < end; p++) {
            uint64_t value;
            memcpy(&value, (const char *)p + pooling[i].offset, sizeof value);
            sample(b, pooling[i].name, LABELS({ "database", p->database }, { "user", p->user }), value);
        }
    }
    add_pins(b, &s->counts);
    family(b, "pgatomic_pool_paused", "gauge", "1 while an administrator keeps a pool from handing out servers.");
    for (const struct snapshot_pool *p = s->pools; p < end; p++)
        sample(b, "pgatomic_pool_paused", LABELS({ "database", p->database }, { "user", p->user }), p->paused);
}

static const struct {
    const char *name, *help;
    size_t offset;
} traffic[] = {
    { "pgatomic_logins_total", "Clients that have logged in.", offsetof(struct database_counts, logins) },
    { "pgatomic_queries_total", "Queries and Syncs that were answered.", offsetof(struct database_counts, queries) },
    { "pgatomic_transactions_total", "Transactions of PostgreSQL that have ended.",
      offsetof(struct database_counts, transactions) },
    { "pgatomic_received_bytes_total", "Bytes from clients.", offsetof(struct database_counts, received) },
    { "pgatomic_sent_bytes_total", "Bytes to clients.", offsetof(struct database_counts, sent) },
};

static void add_times(struct buffer *b, const struct counts *c)
{
    const struct database_counts *end = c->databases + c->database_count;
    family(b, "pgatomic_query_seconds_total", "counter", "How long servers have run what clients asked.");
    for (const struct database_counts *d = c->databases; d < end; d++)
        sample_seconds(b, "pgatomic_query_seconds_total", LABELS({ "database", d->name }), d->query_us);
    family(b, "pgatomic_transaction_seconds_total", "counter",
           "How long servers were in transactions, running something or waiting for the client.");
    for (const struct database_counts *d = c->databases; d < end; d++)
        sample_seconds(b, "pgatomic_transaction_seconds_total", LABELS({ "database", d->name }), d->transaction_us);
    family(b, "pgatomic_wait_seconds_total", "counter", "How long clients have waited for servers.");
    for (const struct database_counts *d = c->databases; d < end; d++)
        sample_seconds(b, "pgatomic_wait_seconds_total", LABELS({ "database", d->name }), d->wait_us);
}

static void add_traffic(struct buffer *b, const struct snapshot *s)
{
    add_times(b, &s->counts);
    for (size_t i = 0; i < sizeof traffic / sizeof *traffic; i++) {
        family(b, traffic[i].name, "counter", traffic[i].help);
        for (const struct database_counts *d = s->counts.databases; d < s->counts.databases + s->counts.database_count;
             d++) {
            uint64_t value;
            memcpy(&value, (const char *)d + traffic[i].offset, sizeof value);
            sample(b, traffic[i].name, LABELS({ "database", d->name }), value);
        }
    }
}

/* --- requests ---------------------------------------------------------------------------------------- */

static void add_durations(struct buffer *b, const struct route_counts *r)
{
    uint64_t so_far = 0;
    for (size_t i = 0; i < DURATION_STEPS; i++) {
        struct buffer step = { 0 };
        append_seconds(&step, duration_steps_us[i]);
        buffer_append_u8(&step, '\0');
        so_far += r->durations[i];
        sample(b, "pgatomic_request_duration_seconds_bucket", LABELS({ "route", r->name }, { "le", step.data }),
               so_far);
        buffer_free(&step);
    }
    so_far += r->durations[DURATION_STEPS];
    sample(b, "pgatomic_request_duration_seconds_bucket", LABELS({ "route", r->name }, { "le", "+Inf" }), so_far);
    sample_seconds(b, "pgatomic_request_duration_seconds_sum", LABELS({ "route", r->name }), r->duration_us);
    sample(b, "pgatomic_request_duration_seconds_count", LABELS({ "route", r->name }), so_far);
}

static void add_timeouts(struct buffer *b, const struct counts *c)
{
    const char *name = "pgatomic_timeouts_total";
    family(b, name, "counter", "Requests, and transactions of clients, that a time limit of their route has ended.");
    for (const struct route_counts *r = c->routes; r < c->routes + c->route_count; r++) {
        sample(b, name, LABELS({ "route", r->name }, { "limit", "timeout" }), r->timeouts);
        sample(b, name, LABELS({ "route", r->name }, { "limit", "idle_timeout" }), r->idle_timeouts);
    }
}

static void add_requests(struct buffer *b, const struct snapshot *s)
{
    const struct route_counts *first = s->counts.routes, *end = first + s->counts.route_count;
    family(b, "pgatomic_requests_in_flight", "gauge", "Requests that are open.");
    sample(b, "pgatomic_requests_in_flight", LABELS({ 0 }), s->requests);
    family(b, "pgatomic_requests_total", "counter",
           "Requests that have ended, by outcome: committed, or why they were rolled back.");
    for (const struct route_counts *r = first; r < end; r++)
        for (int outcome = 0; outcome < REQUEST_OUTCOMES; outcome++)
            sample(b, "pgatomic_requests_total",
                   LABELS({ "route", r->name }, { "outcome", request_outcome_name((enum request_outcome)outcome) }),
                   r->outcomes[outcome]);
    add_timeouts(b, &s->counts);
    family(b, "pgatomic_request_statements_total", "counter", "Statements of requests that have ended.");
    for (const struct route_counts *r = first; r < end; r++)
        sample(b, "pgatomic_request_statements_total", LABELS({ "route", r->name }), r->statements);
    family(b, "pgatomic_request_duration_seconds", "histogram", "How long requests took.");
    for (const struct route_counts *r = first; r < end; r++)
        add_durations(b, r);
}

/* --- events ------------------------------------------------------------------------------------------ */

static void add_fates(struct buffer *b, const char *name, const char *label, const struct tally *t)
{
    const struct {
        const char *fate;
        const _Atomic uint64_t *count;
    } fates[] = { { "held", &t->held },           { "discarded", &t->discarded }, { "released", &t->released },
                  { "delivered", &t->delivered }, { "retried", &t->retried },     { "dead", &t->dead },
                  { "dropped", &t->dropped } };
    for (size_t i = 0; i < sizeof fates / sizeof *fates; i++)
        sample(b, name, LABELS({ label, t->name }, { "fate", fates[i].fate }), tally_read(fates[i].count));
}

static void add_channels(struct buffer *b, const struct snapshot *s)
{
    family(b, "pgatomic_events_held", "gauge", "Events that wait for the COMMIT of their request.");
    sample(b, "pgatomic_events_held", LABELS({ 0 }), s->held_events);
    family(b, "pgatomic_events_total", "counter",
           "Events by channel block and what has become of them; an event passes through several.");
    for (const struct tally *t = tally_channels(); t != NULL; t = t->next)
        add_fates(b, "pgatomic_events_total", "channel", t);
}

static void add_sinks(struct buffer *b)
{
    family(b, "pgatomic_sink_events_total", "counter", "Events by sink and what has become of them there.");
    for (const struct tally *t = tally_sinks(); t != NULL; t = t->next)
        add_fates(b, "pgatomic_sink_events_total", "sink", t);
    family(b, "pgatomic_sink_queue_events", "gauge", "Released events that wait for a sink.");
    for (const struct tally *t = tally_sinks(); t != NULL; t = t->next)
        sample(b, "pgatomic_sink_queue_events", LABELS({ "sink", t->name }), tally_read(&t->held_events));
    family(b, "pgatomic_sink_queue_bytes", "gauge", "The memory that they take.");
    for (const struct tally *t = tally_sinks(); t != NULL; t = t->next)
        sample(b, "pgatomic_sink_queue_bytes", LABELS({ "sink", t->name }), tally_read(&t->held_bytes));
    family(b, "pgatomic_sink_delivery_seconds_total", "counter",
           "From release to confirmation, summed over the events that were delivered.");
    for (const struct tally *t = tally_sinks(); t != NULL; t = t->next)
        sample_seconds(b, "pgatomic_sink_delivery_seconds_total", LABELS({ "sink", t->name }),
                       tally_read(&t->latency_us));
}

/* Tallies are made when they are first asked for. */
static void know_all(const struct config *config)
{
    for (size_t i = 0; i < config->sink_count; i++)
        tally_sink(config->sinks[i].name);
    for (size_t i = 0; i < config->channel_count; i++)
        tally_channel(config->channels[i].pattern);
}

void metrics_append(struct buffer *b, const struct snapshot *s, const struct config *config)
{
    know_all(config);
    add_process(b);
    add_clients(b, s);
    add_servers(b, s);
    add_pools(b, s);
    add_traffic(b, s);
    add_requests(b, s);
    add_channels(b, s);
    add_sinks(b);
}
