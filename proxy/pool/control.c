/* Asking what became of a transaction.
 *
 *     identity --same as learnt--> status --committed, aborted--> known
 *        |                           | in progress: again, a little later
 *        +---another---> row <-------+ too old to be known
 *                         | there: committed
 *                         | not there: again, for an absent row proves nothing
 *
 * Whatever goes wrong (the server is still starting, the connection breaks) is tried again until the time is up. */
#include "proxy/pool/control.h"

#include <libpq-fe.h>
#include <stdlib.h>

#include "protocol/memory.h"
#include "proxy/events/pq_connection.h"
#include "proxy/ops/log.h"
#include "proxy/ops/uuid.h"

/* A standby knows the fate of what it has replayed, and not of what is in progress. */
#define IDENTITY                                                                             \
    "SELECT system_identifier::text || '/' || pg_catalog.substr(pg_catalog.pg_walfile_name(" \
    "pg_catalog.pg_current_wal_lsn()), 1, 8) FROM pg_catalog.pg_control_system()"
/* What pg_xact_status() says of a number that has not been given out yet. The same server had given out ours, so it has crashed since, and
 * nothing of the transaction had reached the disk: a COMMIT would have. */
#define IN_THE_FUTURE "22023"

/* Our own statement_timeout. */
#define TOO_SLOW "57014"

#define STATUS "SELECT pg_catalog.pg_xact_status($1::pg_catalog.xid8)"
#define ROW "SELECT 1 FROM pgatomic.outbox WHERE id = $1::pg_catalog.uuid"

enum { PAUSE_MS = 100, ANSWER_TIMEOUT_MS = 5000, IDENTITY_SIZE = 64 };

/* --- identities --------------------------------------------------------------------------------- */

/* Of all databases, by what connects to them. */
struct identity {
    struct identity *next;
    char *conninfo;
    char text[IDENTITY_SIZE];
    uint64_t learnt_us; /* when it was first seen */
};

static struct identity *identities;
static pthread_mutex_t identities_lock = PTHREAD_MUTEX_INITIALIZER;

static struct identity *identity_of(const char *conninfo)
{
    struct identity *i = identities;
    while (i != NULL && strcmp(i->conninfo, conninfo) != 0)
        i = i->next;
    if (i != NULL)
        return i;
    i = or_abort(calloc(1, sizeof *i));
    i->conninfo = memory_copy_text(conninfo);
    i->next = identities;
    identities = i;
    return i;
}

/* Notes what the server says that it is. True: it was the same already at `since_us`. */
static bool identity_was(const char *conninfo, const char *text, uint64_t since_us, uint64_t now_us)
{
    pthread_mutex_lock(&identities_lock);
    struct identity *i = identity_of(conninfo);
    bool same = strcmp(i->text, text) == 0;
    bool was = same && i->learnt_us <= since_us;
    if (!same) {
        snprintf(i->text, sizeof i->text, "%s", text);
        i->learnt_us = now_us;
    }
    pthread_mutex_unlock(&identities_lock);
    return was;
}

/* --- connections --------------------------------------------------------------------------------- */

struct control {
    struct control *next;
    struct controls *owner;
    char *conninfo;
    struct pq_connection *pq;
    struct control_question *first;
};

struct control_question {
    struct control_question *next;
    struct control *control;
    char *xid; /* "": not known */
    bool has_row;
    unsigned char row[EVENT_ID_SIZE];
    bool is_same;     /* the server is the one that the COMMIT was sent to */
    bool has_looked;  /* the row was looked for */
    bool is_out;      /* with the server */
    bool dropped;     /* and nobody wants the answer */
    bool only_learns; /* nobody waits; the identity is all that is wanted */
    uint64_t asked_us, limit_us;
    struct timer *pause;
    void (*answered)(void *context, enum session_outcome outcome);
    void *context;
};

static struct control *control_open(struct controls *c, const char *name, const char *conninfo)
{
    for (struct control *k = c->first; k != NULL; k = k->next)
        if (strcmp(k->conninfo, conninfo) == 0)
            return k;
    struct control *k = or_abort(calloc(1, sizeof *k));
    k->owner = c;
    k->conninfo = memory_copy_text(conninfo);
    struct pq_options options = { .loop = c->loop,
                                  .resolver = c->resolver,
                                  .role = "control",
                                  .name = name,
                                  .conninfo = conninfo,
                                  .connect_timeout_ms = ANSWER_TIMEOUT_MS,
                                  .answer_timeout_ms = ANSWER_TIMEOUT_MS,
                                  .ends_statements = true };
    k->pq = pq_connection_open(&options);
    k->next = c->first;
    c->first = k;
    return k;
}

static void unlink_question(struct control_question *q)
{
    struct control_question **link = &q->control->first;
    while (*link != q)
        link = &(*link)->next;
    *link = q->next;
}

static void question_free(struct control_question *q)
{
    unlink_question(q);
    timer_free(q->pause);
    free(q->xid);
    free(q);
}

void control_drop(struct control_question *q)
{
    if (q == NULL)
        return;
    if (q->is_out)
        q->dropped = true;
    else
        question_free(q);
}

/* Closes the one that `link` points to. */
static void control_close(struct control **link)
{
    struct control *k = *link;
    *link = k->next;
    pq_connection_close(k->pq); /* what is out is not answered any more */
    while (k->first != NULL)
        question_free(k->first);
    free(k->conninfo);
    free(k);
}

void controls_free(struct controls *c)
{
    while (c->first != NULL)
        control_close(&c->first);
}

static bool is_awaited(const struct control *k)
{
    for (const struct control_question *q = k->first; q != NULL; q = q->next)
        if (!q->dropped && !q->only_learns)
            return true;
    return false;
}

void controls_reload(struct controls *c, const struct config *config)
{
    for (struct control **link = &c->first; *link != NULL;) {
        if (config_names_control(config, (*link)->conninfo) || is_awaited(*link))
            link = &(*link)->next;
        else
            control_close(link);
    }
}

/* --- asking -------------------------------------------------------------------------------------- */

static void begin(void *context);

static void settle(struct control_question *q, enum session_outcome outcome)
{
    void (*answered)(void *, enum session_outcome) = q->answered;
    void *context = q->context;
    static const char *const words[] = { "committed", "rolled back", "unknown" };
    bool learns = q->only_learns;
    if (!learns)
        LOG(outcome == OUTCOME_UNKNOWN ? LOG_ERROR : LOG_WARN, "the server was lost at a COMMIT",
            log_text("outcome", words[outcome]), log_text("xid", q->xid));
    question_free(q);
    if (!learns)
        answered(context, outcome);
}

static void try_later(struct control_question *q)
{
    uint64_t now_us = loop_now_us(q->control->owner->loop);
    if (!q->only_learns && now_us >= q->limit_us)
        settle(q, OUTCOME_UNKNOWN);
    else
        timer_start(q->pause, PAUSE_MS * 1000);
}

static void ask(struct control_question *q, const char *sql, struct pq_values *values, pq_answered *answered)
{
    q->is_out = true;
    pq_connection_ask(q->control->pq, sql, values, false, answered, q);
}

/* What every answer begins with. False: nobody wants it. */
static bool is_wanted(struct control_question *q)
{
    q->is_out = false;
    if (!q->dropped)
        return true;
    question_free(q);
    return false;
}

static const char *only_value(const PGresult *result)
{
    bool there = result != NULL && PQntuples(result) == 1 && !PQgetisnull(result, 0, 0);
    return there ? PQgetvalue(result, 0, 0) : "";
}

static void on_row(void *context, const PGresult *result, const char *error, const char *sqlstate)
{
    struct control_question *q = context;
    (void)error, (void)sqlstate;
    if (!is_wanted(q))
        return;
    if (result != NULL && PQntuples(result) > 0) {
        settle(q, OUTCOME_COMMITTED);
        return;
    }
    uint64_t limit_us = loop_now_us(q->control->owner->loop) + CONTROL_ROW_TIMEOUT_MS * 1000ULL;
    if (result != NULL && limit_us < q->limit_us && !q->has_looked)
        q->limit_us = limit_us;
    q->has_looked |= result != NULL;
    try_later(q);
}

static void ask_for_row(struct control_question *q)
{
    struct pq_values values = { 0 };
    char id[UUID_TEXT_SIZE];
    if (!q->has_row) {
        settle(q, OUTCOME_UNKNOWN);
        return;
    }
    uuid_format(q->row, id);
    pq_values_add_text(&values, span_of(id));
    ask(q, ROW, &values, on_row);
}

static void on_status(void *context, const PGresult *result, const char *error, const char *sqlstate)
{
    struct control_question *q = context;
    const char *status = only_value(result);
    (void)error;
    if (!is_wanted(q))
        return;
    if (strcmp(status, "committed") == 0)
        settle(q, OUTCOME_COMMITTED);
    else if (strcmp(status, "aborted") == 0 || strcmp(sqlstate, IN_THE_FUTURE) == 0)
        settle(q, OUTCOME_ROLLED_BACK);
    else if (strcmp(status, "in progress") == 0 || strcmp(sqlstate, TOO_SLOW) == 0 ||
             (result == NULL && sqlstate[0] == '\0'))
        try_later(q);
    else
        ask_for_row(q);
}

static void ask_for_status(struct control_question *q)
{
    struct pq_values values = { 0 };
    pq_values_add_text(&values, span_of(q->xid));
    ask(q, STATUS, &values, on_status);
}

static void on_identity(void *context, const PGresult *result, const char *error, const char *sqlstate)
{
    struct control_question *q = context;
    const char *identity = only_value(result);
    (void)error, (void)sqlstate;
    if (!is_wanted(q))
        return;
    if (identity[0] == '\0') { /* it is a standby still, or not there yet */
        try_later(q);
        return;
    }
    q->is_same = identity_was(q->control->conninfo, identity, q->asked_us, loop_now_us(q->control->owner->loop));
    if (q->only_learns)
        settle(q, OUTCOME_UNKNOWN);
    else if (q->is_same && q->xid[0] != '\0')
        ask_for_status(q);
    else
        ask_for_row(q);
}

static void begin(void *context)
{
    struct control_question *q = context;
    ask(q, IDENTITY, NULL, on_identity);
}

static struct control_question *question_new(struct control *k, struct span xid)
{
    struct control_question *q = or_abort(calloc(1, sizeof *q));
    q->control = k;
    q->xid = memory_copy_span(xid);
    q->asked_us = loop_now_us(k->owner->loop);
    q->limit_us = q->asked_us + CONTROL_TIMEOUT_MS * 1000ULL;
    q->pause = timer_new(k->owner->loop, begin, q);
    q->next = k->first;
    k->first = q;
    return q;
}

struct control_question *control_ask(struct controls *c, const struct database *database, struct span xid,
                                     const unsigned char *row,
                                     void (*answered)(void *context, enum session_outcome outcome), void *context)
{
    struct control *k = control_open(c, database->name, database->control);
    struct control_question *q = question_new(k, xid);
    q->has_row = row != NULL;
    if (row != NULL)
        memcpy(q->row, row, sizeof q->row);
    q->answered = answered;
    q->context = context;
    begin(q);
    return q;
}

static bool is_known(const char *conninfo)
{
    pthread_mutex_lock(&identities_lock);
    bool known = identity_of(conninfo)->text[0] != '\0';
    pthread_mutex_unlock(&identities_lock);
    return known;
}

void controls_learn(struct controls *c, struct config *config)
{
    for (size_t i = 0; i < config->database_count; i++) {
        const struct database *database = &config->databases[i];
        if (database->control == NULL || is_known(database->control))
            continue;
        struct control_question *q =
            question_new(control_open(c, database->name, database->control), (struct span){ 0 });
        q->only_learns = true;
        begin(q);
    }
}
