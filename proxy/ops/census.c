/* One question to each database; the last answer ends the census, on the next turn of the loop, for a connection cannot be closed while it
 * answers. */
#include "proxy/ops/census.h"

#include <stdlib.h>

#include "protocol/memory.h"
#include "protocol/wire.h"
#include "proxy/clock.h"
#include "proxy/events/pq_connection.h"
#include "proxy/worker.h"

enum { CONNECT_MS = 2000, ANSWER_MS = 5000 };

struct inquiry {
    struct census *census;
    const struct outbox *outbox;
    struct pq_connection *pq;
    PGresult *result; /* a copy; NULL: `error` says why */
    char *error;
};

struct census {
    struct worker *worker;
    struct config *config; /* a reference */
    struct inquiry *list;
    size_t count, open;
    bool ending; /* on its way to on_taken */
    void (*on_taken)(void *context, const struct census *c);
    void *context;
};

/* Nobody's search_path is trusted. */
static const char settings[] = "SELECT pg_catalog.set_config('search_path', 'pg_catalog', false)";

/* Names come as the bytes that they are, so that none has to be converted. */
static const char question[] =
    "SELECT convert_to(left(channel, 200), getdatabaseencoding()), state, count(*), min(created) FROM ("
    " SELECT channel, created_at, CASE WHEN attempts > 0 THEN 'retrying'"
    " WHEN leased_until >= clock_timestamp() THEN 'in hand' ELSE 'waiting' END AS state FROM pgatomic.outbox"
    " UNION ALL SELECT channel, created_at, 'dead' FROM pgatomic.dead_letter) AS events,"
    " LATERAL (SELECT CASE WHEN isfinite(created_at) THEN (extract(epoch FROM created_at) * 1000000)::bigint END"
    " AS created) AS times"
    " GROUP BY channel, state ORDER BY channel, state LIMIT 1000";

static void close_connections(struct census *c)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->list[i].pq != NULL) {
            pq_connection_close(c->list[i].pq);
            c->list[i].pq = NULL;
        }
}

static void census_free(struct census *c)
{
    close_connections(c);
    for (size_t i = 0; i < c->count; i++) {
        PQclear(c->list[i].result);
        free(c->list[i].error);
    }
    config_release(c->config);
    free(c->list);
    free(c);
}

static void end(void *context)
{
    struct census *c = context;
    if (c->on_taken != NULL)
        c->on_taken(c->context, c);
    census_free(c);
}

static void end_if_complete(struct census *c)
{
    if (c->open > 0)
        return;
    c->ending = true;
    loop_post(&c->worker->loop, end, c);
}

static void on_answer(void *context, const PGresult *result, const char *error, const char *sqlstate)
{
    struct inquiry *q = context;
    (void)sqlstate;
    if (result != NULL)
        q->result = or_abort(PQcopyResult(result, PG_COPYRES_ATTRS | PG_COPYRES_TUPLES));
    else
        q->error = memory_copy_text(error);
    q->census->open--;
    end_if_complete(q->census);
}

static void ignore(void *context, const PGresult *result, const char *error, const char *sqlstate)
{
    (void)context, (void)result, (void)error, (void)sqlstate;
}

static void on_connected(void *context)
{
    struct inquiry *q = context;
    struct pq_values none = { 0 };
    pq_connection_ask(q->pq, settings, &none, false, ignore, q);
}

static void ask(struct inquiry *q)
{
    struct pq_values none = { 0 };
    struct pq_options options = { .loop = &q->census->worker->loop,
                                  .resolver = q->census->worker->resolver,
                                  .role = "outbox census",
                                  .name = q->outbox->name,
                                  .conninfo = q->outbox->upstream,
                                  .connect_timeout_ms = CONNECT_MS,
                                  .answer_timeout_ms = ANSWER_MS,
                                  .ends_statements = true,
                                  .on_connected = on_connected,
                                  .context = q };
    q->pq = pq_connection_open(&options);
    pq_connection_ask(q->pq, question, &none, true, on_answer, q);
}

struct census *census_take(struct worker *w, void (*on_taken)(void *context, const struct census *c), void *context)
{
    struct census *c = or_abort(calloc(1, sizeof *c));
    c->worker = w;
    c->config = config_retain(w->config);
    c->on_taken = on_taken;
    c->context = context;
    c->count = c->open = c->config->outbox_count;
    c->list = or_abort(calloc(c->count + 1, sizeof *c->list));
    for (size_t i = 0; i < c->count; i++) {
        c->list[i] = (struct inquiry){ .census = c, .outbox = &c->config->outboxes[i] };
        ask(&c->list[i]);
    }
    end_if_complete(c);
    return c;
}

void census_forget(struct census *c)
{
    if (c == NULL)
        return;
    c->on_taken = NULL;
    close_connections(c);
    if (!c->ending)
        census_free(c);
}

/* --- reading ----------------------------------------------------------------------------------------- */

static uint64_t read_number(const PGresult *result, int row, int column)
{
    const char *bytes = PQgetvalue(result, row, column);
    if (PQgetlength(result, row, column) != 8)
        return 0;
    return (uint64_t)wire_get_u32(bytes) << 32 | wire_get_u32(bytes + 4);
}

static uint64_t read_time(const PGresult *result, int row, int column)
{
    uint64_t wall_us = read_number(result, row, column);
    return wall_us > 0 ? clock_from_wall_us(wall_us) : 0;
}

static void tell_row(const struct inquiry *q, int row, void (*tell)(void *context, const struct census_line *line),
                     void *context)
{
    struct census_line line = {
        .database = q->outbox->name,
        .channel = span_make(PQgetvalue(q->result, row, 0), (size_t)PQgetlength(q->result, row, 0)),
        .state = PQgetvalue(q->result, row, 1),
        .count = read_number(q->result, row, 2),
        .oldest_us = read_time(q->result, row, 3),
    };
    tell(context, &line);
}

void census_each(const struct census *c, void (*tell)(void *context, const struct census_line *line), void *context)
{
    for (const struct inquiry *q = c->list; q < c->list + c->count; q++) {
        struct census_line whole = { .database = q->outbox->name, .state = "empty", .error = q->error };
        int rows = q->result != NULL ? PQntuples(q->result) : 0;
        if (q->result == NULL)
            whole.state = "unknown";
        if (rows == 0)
            tell(context, &whole);
        for (int row = 0; row < rows; row++)
            tell_row(q, row, tell, context);
    }
}
