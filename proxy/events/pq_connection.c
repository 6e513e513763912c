/* libpq without waiting.
 *
 *     DOWN --something to do, pause over--> RESOLVING --addresses--> CONNECTING --ready--> UP
 *       ^                                       |                        |                 |
 *       +------- why ---------------------------+------------------------+-----------------+
 *
 * The socket is libpq's and may change while it tries one host after the other, so while connecting each wait is for one event. What
 * is asked stands in a queue; the first of it is with the server, if anything is. */
#include "proxy/events/pq_connection.h"

#include <event2/event.h>
#include <inttypes.h>
#include <string.h>

#include "protocol/memory.h"
#include "proxy/ops/log.h"
#include "proxy/events/pq_target.h"

#define STATEMENT_LIMIT "SELECT pg_catalog.set_config('statement_timeout', $1, false)"

enum { PAUSE_FIRST_MS = 100, PAUSE_MAX_MS = 5000, PAUSE_REFUSED_MS = 1000 };

enum pq_state { PQ_DOWN, PQ_RESOLVING, PQ_CONNECTING, PQ_UP };

struct question {
    struct question *next;
    const char *sql;
    struct pq_values values;
    bool binary;
    pq_answered *answered;
    void *context;
};

struct pq_connection {
    struct pq_options options;
    char *role, *name;
    enum pq_state state;
    struct pq_target *target;
    PGconn *pg;           /* from CONNECTING on */
    struct event *read;   /* while UP: whatever comes */
    struct event *once;   /* what connecting waits for; while UP: room to write */
    struct timer *pause;  /* DOWN: until the next attempt */
    struct timer *expiry; /* of the attempt, or of the answer */
    uint64_t pause_ms;    /* the next one */
    char *last_why;       /* as it was logged; NULL: nothing since it was up */

    struct question *first, **last;
    bool is_out;             /* the first has been sent */
    PGresult *result;        /* the first one of its results that is an error, else the last */
    struct question **ahead; /* in introduce(): where what is asked goes; else NULL */
};

static void attempt(void *context);
static void send_next(struct pq_connection *c);

static bool has_work(const struct pq_connection *c)
{
    return c->first != NULL || c->options.stays_connected;
}

static void plan_attempt(struct pq_connection *c)
{
    if (c->state == PQ_DOWN && has_work(c) && !timer_is_running(c->pause))
        timer_start(c->pause, c->pause_ms * 1000);
}

/* --- losing it ----------------------------------------------------------------------------------- */

static void forget_event(struct event **e)
{
    if (*e != NULL)
        event_free(*e);
    *e = NULL;
}

static void question_free(struct question *q)
{
    pq_values_free(&q->values);
    free(q);
}

static void let_go(struct pq_connection *c)
{
    forget_event(&c->read);
    forget_event(&c->once);
    timer_stop(c->expiry);
    pq_target_stop(c->target);
    PQclear(c->result);
    c->result = NULL;
    c->is_out = false;
    PQfinish(c->pg);
    c->pg = NULL;
    c->state = PQ_DOWN;
}

static void log_loss(struct pq_connection *c, const char *why)
{
    if (c->last_why != NULL && strcmp(c->last_why, why) == 0)
        return;
    LOG(LOG_WARN, "no connection to PostgreSQL", log_text("role", c->role), log_text("name", c->name),
        log_text("error", why));
    free(c->last_why);
    c->last_why = memory_copy_text(why);
}

static void fail_all(struct question *first, const char *why)
{
    while (first != NULL) {
        struct question *q = first;
        first = q->next;
        q->answered(q->context, NULL, why, "");
        question_free(q);
    }
}

static void begin_again(struct pq_connection *c, uint64_t pause_ms, const char *why)
{
    let_go(c);
    c->pause_ms = pause_ms;
    struct question *failed = c->first;
    c->first = NULL;
    c->last = &c->first;
    if (c->options.on_lost != NULL)
        c->options.on_lost(c->options.context, why);
    fail_all(failed, why);
    plan_attempt(c);
}

/* `why` may be libpq's own text, which goes with the connection. */
static void lose(struct pq_connection *c, const char *why)
{
    uint64_t twice = c->pause_ms * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS : c->pause_ms * 2;
    char *words = memory_copy_span(span_make(why, strlen(why)));
    for (size_t size = strlen(words); size > 0 && words[size - 1] == '\n'; size--)
        words[size - 1] = '\0';
    log_loss(c, words);
    begin_again(c, twice > 0 ? twice : PAUSE_FIRST_MS, words);
    free(words);
}

void pq_connection_try_elsewhere(struct pq_connection *c, const char *why)
{
    if (c->state != PQ_UP)
        return;
    pq_target_turn(c->target);
    begin_again(c, PAUSE_REFUSED_MS, why);
}

static void on_expiry(void *context)
{
    struct pq_connection *c = context;
    if (c->state == PQ_CONNECTING)
        pq_target_turn(c->target);
    lose(c, c->state == PQ_UP ? "the server did not answer in time" : "the connection was not made in time");
}

/* --- answers ------------------------------------------------------------------------------------- */

static bool is_good(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

static void answer(struct pq_connection *c)
{
    struct question *q = c->first;
    PGresult *result = c->result;
    c->result = NULL;
    c->is_out = false;
    c->first = q->next;
    if (c->first == NULL)
        c->last = &c->first;
    timer_stop(c->expiry);
    c->pause_ms = 0;
    if (result != NULL && is_good(result)) {
        q->answered(q->context, result, NULL, "");
    } else {
        const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
        q->answered(q->context, NULL, message ? message : "the server gave no result", state ? state : "");
    }
    PQclear(result);
    question_free(q);
}

static void keep_result(struct pq_connection *c, PGresult *result)
{
    if (c->result != NULL && !is_good(c->result)) {
        PQclear(result);
        return;
    }
    PQclear(c->result);
    c->result = result;
}

static void read_notifications(struct pq_connection *c)
{
    for (PGnotify *n; (n = PQnotifies(c->pg)) != NULL; PQfreemem(n))
        if (c->options.on_notification != NULL)
            c->options.on_notification(c->options.context, n);
}

static void read_answers(struct pq_connection *c)
{
    while (c->is_out && PQisBusy(c->pg) == 0) {
        PGresult *result = PQgetResult(c->pg);
        if (result != NULL) {
            keep_result(c, result);
            continue;
        }
        answer(c);
        send_next(c);
    }
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct pq_connection *c = arg;
    if (PQconsumeInput(c->pg) == 0) {
        lose(c, PQerrorMessage(c->pg));
        return;
    }
    read_notifications(c);
    read_answers(c);
    read_notifications(c); /* libpq looks behind an answer only when that is taken */
    if (c->state == PQ_UP && PQstatus(c->pg) == CONNECTION_BAD)
        lose(c, PQerrorMessage(c->pg));
}

/* --- asking -------------------------------------------------------------------------------------- */

static void flush_out(struct pq_connection *c);

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct pq_connection *c = arg;
    forget_event(&c->once);
    flush_out(c);
}

static void flush_out(struct pq_connection *c)
{
    int left = PQflush(c->pg);
    if (left < 0) {
        lose(c, PQerrorMessage(c->pg));
    } else if (left > 0 && c->once == NULL) {
        c->once = or_abort(event_new(c->options.loop->base, PQsocket(c->pg), EV_WRITE, on_writable, c));
        event_add(c->once, NULL);
    }
}

static bool send_question(struct pq_connection *c, const struct question *q)
{
    const char *values[PQ_VALUES_MAX];
    int lengths[PQ_VALUES_MAX], formats[PQ_VALUES_MAX];
    for (int i = 0; i < q->values.count; i++) {
        const struct buffer *b = &q->values.values[i];
        values[i] = b->data != NULL ? b->data : "";
        lengths[i] = (int)b->size;
        formats[i] = 1;
    }
    return PQsendQueryParams(c->pg, q->sql, q->values.count, q->values.types, values, lengths, formats, q->binary) == 1;
}

static void send_next(struct pq_connection *c)
{
    if (c->state != PQ_UP || c->is_out || c->first == NULL)
        return;
    if (!send_question(c, c->first)) {
        lose(c, PQerrorMessage(c->pg));
        return;
    }
    c->is_out = true;
    if (c->options.answer_timeout_ms > 0)
        timer_start(c->expiry, c->options.answer_timeout_ms * 1000);
    flush_out(c);
}

static void on_pause_over(void *context)
{
    struct pq_connection *c = context;
    if (c->state == PQ_DOWN && has_work(c))
        attempt(c);
    else
        send_next(c);
}

void pq_connection_ask(struct pq_connection *c, const char *sql, struct pq_values *values_take, bool binary_result,
                       pq_answered *answered, void *context)
{
    struct question *q = or_abort(calloc(1, sizeof *q));
    *q = (struct question){ .sql = sql, .binary = binary_result, .answered = answered, .context = context };
    if (values_take != NULL) {
        q->values = *values_take;
        *values_take = (struct pq_values){ 0 };
    }
    struct question **link = c->ahead != NULL ? c->ahead : c->last;
    q->next = *link;
    *link = q;
    if (c->ahead != NULL)
        c->ahead = &q->next;
    if (q->next == NULL)
        c->last = &q->next;
    if (c->state == PQ_DOWN)
        plan_attempt(c);
    else if (c->state == PQ_UP && !c->is_out && !timer_is_running(c->pause))
        timer_start(c->pause, 0); /* from the loop, so that no answer comes from inside */
}

/* --- connecting ---------------------------------------------------------------------------------- */

static void ignore_answer(void *context, const PGresult *result, const char *error, const char *sqlstate)
{
    (void)context, (void)result, (void)error, (void)sqlstate;
}

static void limit_statements(struct pq_connection *c)
{
    struct pq_values values = { 0 };
    char limit[24];
    uint64_t limit_ms = c->options.answer_timeout_ms * 4 / 5;
    snprintf(limit, sizeof limit, "%" PRIu64, limit_ms > 0 ? limit_ms : 1); /* 0 would be none */
    pq_values_add_text(&values, span_of(limit));
    pq_connection_ask(c, STATEMENT_LIMIT, &values, false, ignore_answer, NULL);
}

/* What goes ahead of everything that waits. */
static void introduce(struct pq_connection *c)
{
    c->ahead = &c->first;
    if (c->options.ends_statements)
        limit_statements(c);
    if (c->options.on_connected != NULL)
        c->options.on_connected(c->options.context);
    c->ahead = NULL;
}

static void on_up(struct pq_connection *c)
{
    c->state = PQ_UP;
    timer_stop(c->expiry);
    if (PQsetnonblocking(c->pg, 1) != 0) {
        lose(c, PQerrorMessage(c->pg));
        return;
    }
    if (c->last_why != NULL)
        LOG(LOG_INFO, "connected to PostgreSQL again", log_text("role", c->role), log_text("name", c->name));
    free(c->last_why);
    c->last_why = NULL;
    c->read = or_abort(event_new(c->options.loop->base, PQsocket(c->pg), EV_READ | EV_PERSIST, on_readable, c));
    event_add(c->read, NULL);
    introduce(c);
    send_next(c);
}

static void poll_connect(struct pq_connection *c);

static void on_connect_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct pq_connection *c = arg;
    forget_event(&c->once);
    poll_connect(c);
}

static void wait_to_connect(struct pq_connection *c, short what)
{
    c->once = or_abort(event_new(c->options.loop->base, PQsocket(c->pg), what, on_connect_event, c));
    event_add(c->once, NULL);
}

static void poll_connect(struct pq_connection *c)
{
    switch (PQconnectPoll(c->pg)) {
    case PGRES_POLLING_READING:
        wait_to_connect(c, EV_READ);
        break;
    case PGRES_POLLING_WRITING:
        wait_to_connect(c, EV_WRITE);
        break;
    case PGRES_POLLING_OK:
        on_up(c);
        break;
    case PGRES_POLLING_FAILED:
    case PGRES_POLLING_ACTIVE:
        lose(c, PQerrorMessage(c->pg));
        break;
    }
}

/* PostgreSQL's notices are for people at a terminal. */
static void ignore_notice(void *arg, const PGresult *result)
{
    (void)arg, (void)result;
}

static void on_started(void *context, PGconn *pg, const char *error)
{
    struct pq_connection *c = context;
    if (pg == NULL) {
        lose(c, error);
        return;
    }
    c->pg = pg;
    c->state = PQ_CONNECTING;
    PQsetNoticeReceiver(pg, ignore_notice, NULL);
    if (PQstatus(pg) == CONNECTION_BAD)
        lose(c, PQerrorMessage(pg));
    else
        wait_to_connect(c, EV_WRITE);
}

static void attempt(void *context)
{
    struct pq_connection *c = context;
    c->state = PQ_RESOLVING;
    if (c->options.connect_timeout_ms > 0)
        timer_start(c->expiry, c->options.connect_timeout_ms * 1000);
    pq_target_start(c->target);
}

/* --- the whole ----------------------------------------------------------------------------------- */

struct pq_connection *pq_connection_open(const struct pq_options *options)
{
    struct pq_connection *c = or_abort(calloc(1, sizeof *c));
    c->options = *options;
    c->role = memory_copy_text(options->role);
    c->name = memory_copy_text(options->name);
    c->last = &c->first;
    c->target = pq_target_new(options->resolver, options->conninfo, options->dbname, on_started, c);
    c->pause = timer_new(options->loop, on_pause_over, c);
    c->expiry = timer_new(options->loop, on_expiry, c);
    c->options.conninfo = c->options.dbname = c->options.role = c->options.name = NULL;
    plan_attempt(c);
    return c;
}

void pq_connection_close(struct pq_connection *c)
{
    if (c == NULL)
        return;
    let_go(c);
    while (c->first != NULL) {
        struct question *q = c->first;
        c->first = q->next;
        question_free(q);
    }
    pq_target_free(c->target);
    timer_free(c->pause);
    timer_free(c->expiry);
    free(c->last_why);
    free(c->role);
    free(c->name);
    free(c);
}

bool pq_connection_is_up(const struct pq_connection *c)
{
    return c->state == PQ_UP;
}

int pq_connection_server_version(const struct pq_connection *c)
{
    return c->state == PQ_UP ? PQserverVersion(c->pg) : 0;
}
