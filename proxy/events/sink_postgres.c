/* Delivery to PostgreSQL's own listeners: NOTIFY, after the commit and apart from it (E7).
 *
 * All that was gathered goes as one statement, so one transaction and one turn at the lock that every notifying commit of a cluster
 * takes. Nobody waits for it to reach the disk: PostgreSQL forgets undelivered notifications when it crashes, whatever its log says.
 * Where PostgreSQL would fold equal notifications of one transaction into one, the statement ends before the second (E11).
 *
 *     gathered --flush--> out --answer--> done; and the next
 *
 * Should PostgreSQL find something in a statement that it cannot take, the same events go again, one by one, so that only
 * that one is refused. */
#include "proxy/events/sink.h"

#include <search.h>
#include <stdio.h>
#include <string.h>

#include "protocol/memory.h"
#include "proxy/events/pq_connection.h"

/* Of PostgreSQL, with its usual build; both without a NUL. */
enum { PAYLOAD_MAX = 7999, CHANNEL_MAX = 63 };
enum { WINDOW = 1000 };

struct postgres_sink {
    struct pq_connection *connection;
    struct delivery *first, **last; /* in order; the first `out` of them are with the server */
    size_t out;
    size_t alone; /* so many of the first go one by one */
};

static void ignore_answer(void *context, const PGresult *result, const char *error, const char *sqlstate)
{
    (void)context, (void)result, (void)error, (void)sqlstate;
}

static void on_connected(void *context)
{
    struct postgres_sink *s = context;
    pq_connection_ask(s->connection, "SET synchronous_commit = off", NULL, false, ignore_answer, NULL);
}

static void *open_sink(const struct sink *config, const struct sink_host *host)
{
    struct postgres_sink *s = or_abort(calloc(1, sizeof *s));
    s->last = &s->first;
    s->connection = pq_connection_open(&(struct pq_options){ .loop = host->loop,
                                                             .resolver = host->resolver,
                                                             .role = "sink",
                                                             .name = config->name,
                                                             .conninfo = config->upstream,
                                                             .connect_timeout_ms = config->timeout_ms,
                                                             .answer_timeout_ms = config->timeout_ms,
                                                             .ends_statements = true,
                                                             .on_connected = on_connected,
                                                             .context = s });
    return s;
}

static void close_sink(void *sink)
{
    struct postgres_sink *s = sink;
    pq_connection_close(s->connection);
    free(s);
}

/* --- lists ------------------------------------------------------------------------------------- */

/* Off the list, which is not empty and has so many. */
static struct delivery *take_first(struct postgres_sink *s, size_t count)
{
    struct delivery *first = s->first, *end = first;
    while (--count > 0)
        end = end->sink_next;
    s->first = end->sink_next;
    if (s->first == NULL)
        s->last = &s->first;
    end->sink_next = NULL;
    return first;
}

static void finish(struct delivery *first, enum delivery_result result, const char *why)
{
    while (first != NULL) {
        struct delivery *next = first->sink_next;
        delivery_done(first, result, why, 0);
        first = next;
    }
}

static int compare(const void *left, const void *right)
{
    const struct notification *a = left, *b = right;
    int order = strcmp(a->name, b->name);
    if (order != 0)
        return order;
    if (a->payload_size != b->payload_size)
        return a->payload_size < b->payload_size ? -1 : 1;
    return memcmp(a->payload, b->payload, a->payload_size);
}

static void keep(void *event)
{
    (void)event;
}

/* So many of the first are all different from each other. */
static size_t count_different(const struct postgres_sink *s, size_t most)
{
    void *seen = NULL;
    size_t count = 0;
    for (const struct delivery *d = s->first; d != NULL && count < most; d = d->sink_next, count++) {
        const struct notification *const *found = or_abort(tsearch(d->event, &seen, compare));
        if (*found != d->event)
            break;
    }
    tdestroy(seen, keep);
    return count;
}

/* --- answers ----------------------------------------------------------------------------------- */

/* In order: what comes behind a failure has failed too. */
static void fail_all(struct postgres_sink *s, const char *why)
{
    struct delivery *first = s->first;
    s->first = NULL;
    s->last = &s->first;
    s->out = s->alone = 0;
    finish(first, DELIVERY_FAILED, why);
}

static void settle_out(struct postgres_sink *s, enum delivery_result result, const char *why)
{
    struct delivery *first = take_first(s, s->out);
    s->alone -= s->alone < s->out ? s->alone : s->out;
    s->out = 0;
    finish(first, result, why);
}

/* "Data exception": it is these values that PostgreSQL does not take, and it will not tomorrow. */
static bool is_about_values(const char *sqlstate)
{
    return strncmp(sqlstate, "22", 2) == 0;
}

static void send_some(struct postgres_sink *s);

static void on_answer(void *context, const PGresult *result, const char *error, const char *sqlstate)
{
    struct postgres_sink *s = context;
    if (result != NULL) {
        settle_out(s, DELIVERED, NULL);
    } else if (!is_about_values(sqlstate)) {
        fail_all(s, error);
        return;
    } else if (s->out > 1) {
        s->alone = s->out;
        s->out = 0;
    } else {
        settle_out(s, DELIVERY_REFUSED, error);
    }
    send_some(s);
}

/* --- sending ----------------------------------------------------------------------------------- */

static void send_some(struct postgres_sink *s)
{
    if (s->out > 0 || s->first == NULL)
        return;
    struct pq_values values = { 0 };
    s->out = count_different(s, s->alone > 0 ? 1 : WINDOW);
    size_t i = 0;
    pq_values_begin_array(&values, PQ_TEXT);
    for (const struct delivery *d = s->first; i < s->out; d = d->sink_next, i++)
        pq_values_add_element(&values, span_of(d->event->name));
    i = 0;
    pq_values_begin_array(&values, PQ_TEXT);
    for (const struct delivery *d = s->first; i < s->out; d = d->sink_next, i++)
        pq_values_add_element(&values, span_make(d->event->payload, d->event->payload_size));
    pq_connection_ask(s->connection,
                      "SELECT pg_catalog.count(pg_catalog.pg_notify(channel, payload)) FROM (SELECT channel, payload"
                      " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH ORDINALITY AS e(channel, "
                      "payload, place) ORDER BY place) AS e",
                      &values, false, on_answer, s);
}

/* What no PostgreSQL takes is not even asked. */
static bool refuse(struct delivery *d)
{
    const struct notification *e = d->event;
    size_t channel_size = strlen(e->name);
    char why[96];
    if (e->payload_size > PAYLOAD_MAX)
        snprintf(why, sizeof why, "its payload has %zu bytes, and PostgreSQL's NOTIFY takes %d", e->payload_size,
                 PAYLOAD_MAX);
    else if (channel_size > CHANNEL_MAX)
        snprintf(why, sizeof why, "its channel's name has %zu bytes, and PostgreSQL's NOTIFY takes %d", channel_size,
                 CHANNEL_MAX);
    else if (memchr(e->payload, '\0', e->payload_size) != NULL)
        snprintf(why, sizeof why, "its payload holds a NUL, which PostgreSQL's NOTIFY does not take");
    else
        return false;
    delivery_done(d, DELIVERY_REFUSED, why, 0);
    return true;
}

static void deliver(void *sink, struct delivery *d)
{
    struct postgres_sink *s = sink;
    if (refuse(d))
        return;
    d->sink_next = NULL;
    *s->last = d;
    s->last = &d->sink_next;
}

static void flush(void *sink)
{
    send_some(sink);
}

const struct sink_type sink_postgres_type = { .name = "postgres",
                                              .window = WINDOW,
                                              .keeps_order = true,
                                              .open = open_sink,
                                              .deliver = deliver,
                                              .flush = flush,
                                              .close = close_sink };
