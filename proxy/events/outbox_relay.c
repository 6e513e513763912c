/* One statement at a time, the most urgent first:
 *
 *     what was delivered is deleted, what is dead is buried, what was dropped is let go, failures are noted, leases renewed; and when all
 *     that is done, more rows are claimed
 *
 * Each statement takes all that has gathered while the one before it was under way, so that batches grow with the load by themselves. A
 * statement that fails is said again after a while, with the rows it was about. Rows that somebody else has locked stay behind as well,
 * until then. */
#include "proxy/events/outbox_relay.h"

#include <string.h>
#include <time.h>

#include "protocol/memory.h"
#include "proxy/events/dispatch.h"
#include "proxy/events/outbox_rows.h"
#include "proxy/events/outbox_sql.h"
#include "proxy/events/pq_connection.h"
#include "proxy/ops/log.h"

enum {
    CONNECT_TIMEOUT_MS = 5000,
    ANSWER_TIMEOUT_MS = 30 * 1000,
    ANSWER_TIMEOUT_LEAST_MS = 5000,
    GATHER_MS = 10,  /* how long what was delivered waits for company */
    AGAIN_MS = 1000, /* before what failed is tried again */
    CLAIM_BYTES = 16 * 1024 * 1024,
    HAND_BATCHES = 64, /* rows in hand, in batches, beyond which nothing is claimed */
    FULL_LANES_MAX = 1000
};

struct relay {
    struct sink_host host;
    struct config *config; /* a reference */
    const struct outbox *outbox;
    char *name, *conninfo;
    void (*on_settled)(void);
    struct pq_connection *connection;
    struct ledger ledger;
    struct row_list out; /* the rows whose end is being written */
    int out_count;
    struct row_list behind; /* those that must wait for `again` */
    bool asking;            /* a statement is under way */
    bool paused;            /* a statement has failed: nothing is asked until `again` */
    bool claim_due, retired;
    uint64_t claimed_ms;      /* when rows were last claimed */
    uint64_t renew_before_ms; /* leases that began before that are due */
    struct timer *tick, *gather, *again;
    char *last_error; /* as it was logged; NULL: all is well */
};

static void work(struct relay *r);

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t at_most(uint64_t value, uint64_t limit)
{
    return value < limit ? value : limit;
}

/* --- failures ------------------------------------------------------------------------------------ */

static void log_trouble(struct relay *r, const char *error, const char *sqlstate)
{
    if (r->last_error != NULL && strcmp(r->last_error, error) == 0)
        return;
    free(r->last_error);
    r->last_error = memory_copy_text(error);
    if (strcmp(sqlstate, "42P01") == 0 || strcmp(sqlstate, "3F000") == 0)
        LOG(LOG_ERROR, "the outbox is not there: run pgatomic outbox install CONNINFO", log_text("outbox", r->name),
            log_text("error", error), log_text("sqlstate", sqlstate));
    else if (sqlstate[0] != '\0') /* of lost connections pq_connection tells */
        LOG(LOG_ERROR, "the outbox cannot be used", log_text("outbox", r->name), log_text("error", error),
            log_text("sqlstate", sqlstate));
}

static void log_recovery(struct relay *r)
{
    if (r->last_error != NULL)
        LOG(LOG_INFO, "the outbox can be used again", log_text("outbox", r->name));
    free(r->last_error);
    r->last_error = NULL;
}

/* True: the statement has failed, and the relay waits. */
static bool has_failed(struct relay *r, const PGresult *result, const char *error, const char *sqlstate)
{
    r->asking = false;
    if (result != NULL) {
        log_recovery(r);
        return false;
    }
    log_trouble(r, error, sqlstate);
    r->paused = true;
    timer_start(r->again, AGAIN_MS * 1000);
    return true;
}

/* --- ends ---------------------------------------------------------------------------------------- */

static void put_back(struct relay *r, struct row *row)
{
    TAILQ_REMOVE(&r->out, row, link);
    TAILQ_INSERT_TAIL(&r->behind, row, link);
}

/* The answer names the rows that were there, and whether it is done. */
static void keep_left(struct relay *r, const PGresult *result)
{
    for (int i = 0; i < PQntuples(result); i++) {
        struct row *row = ledger_find(&r->ledger, (const unsigned char *)PQgetvalue(result, i, 0));
        bool is_done = PQgetvalue(result, i, 1)[0] != 0;
        if (!is_done && row != NULL && row->state != ROW_IN_HAND)
            put_back(r, row);
    }
    if (!TAILQ_EMPTY(&r->behind) && !timer_is_running(r->again))
        timer_start(r->again, AGAIN_MS * 1000);
}

/* Another process took them over, because a lease was not renewed in time; or this outbox is not the one that they were written to. */
static void tell_missing(const struct relay *r, const PGresult *result)
{
    if (PQntuples(result) < r->out_count)
        LOG(LOG_WARN, "events were no longer in the outbox", log_text("outbox", r->name),
            log_number("events", (uint64_t)(r->out_count - PQntuples(result))));
}

static void on_ends_written(void *context, const PGresult *result, const char *error, const char *sqlstate)
{
    struct relay *r = context;
    if (has_failed(r, result, error, sqlstate)) {
        TAILQ_CONCAT(&r->behind, &r->out, link);
        return;
    }
    tell_missing(r, result);
    keep_left(r, result);
    for (struct row *row; (row = TAILQ_FIRST(&r->out)) != NULL;) {
        TAILQ_REMOVE(&r->out, row, link);
        ledger_forget(&r->ledger, row);
    }
    r->claim_due |= r->ledger.claim_wanted;
    r->ledger.claim_wanted = false;
    work(r);
}

/* A batch of rows with the same end; false when there are none. */
static bool write_ends(struct relay *r, enum row_state end, const char *sql)
{
    struct row_list *list = &r->ledger.rows[end];
    if (TAILQ_EMPTY(list))
        return false;
    r->out_count = 0;
    for (unsigned count = 0; count < r->outbox->batch && !TAILQ_EMPTY(list); count++, r->out_count++) {
        struct row *row = TAILQ_FIRST(list);
        TAILQ_REMOVE(list, row, link);
        TAILQ_INSERT_TAIL(&r->out, row, link);
    }
    struct pq_values values = { 0 };
    rows_add_ids(&values, &r->out);
    if (end == ROW_DEAD)
        rows_add_words(&values, &r->out);
    r->asking = true;
    pq_connection_ask(r->connection, sql, &values, true, on_ends_written, r);
    return true;
}

/* --- notes and leases ------------------------------------------------------------------------------- */

/* What is not written down is lost: the next failure brings another note, and the lease is renewed with the next tick. */
static void on_hand_written(void *context, const PGresult *result, const char *error, const char *sqlstate)
{
    struct relay *r = context;
    if (has_failed(r, result, error, sqlstate))
        r->renew_before_ms = now_ms() + 1;
    else
        work(r);
}

static bool write_notes(struct relay *r)
{
    struct ledger *l = &r->ledger;
    if (TAILQ_EMPTY(&l->notes))
        return false;
    struct pq_values values = { 0 };
    rows_take_notes(&values, l, r->outbox->batch, now_ms());
    pq_values_add_int(&values, (int64_t)r->outbox->lease_ms);
    r->asking = true;
    pq_connection_ask(r->connection, outbox_sql_note, &values, true, on_hand_written, r);
    return true;
}

static bool renew_leases(struct relay *r)
{
    const struct row *oldest = TAILQ_FIRST(&r->ledger.rows[ROW_IN_HAND]);
    if (oldest == NULL || oldest->leased_ms >= r->renew_before_ms)
        return false;
    struct pq_values values = { 0 };
    rows_take_leases(&values, &r->ledger, r->outbox->batch, r->renew_before_ms, now_ms());
    pq_values_add_int(&values, (int64_t)r->outbox->lease_ms);
    r->asking = true;
    pq_connection_ask(r->connection, outbox_sql_renew, &values, true, on_hand_written, r);
    return true;
}

/* --- claims -------------------------------------------------------------------------------------- */

/* They came too late for us. */
static void return_claimed(struct relay *r, struct notification *first)
{
    for (struct notification *e = first; e != NULL; e = e->next)
        relay_event_ended(r, e, ROW_DROPPED, 0, NULL);
    notification_list_free(first);
}

static void on_claimed(void *context, const PGresult *result, const char *error, const char *sqlstate)
{
    struct relay *r = context;
    if (has_failed(r, result, error, sqlstate))
        return;
    r->claimed_ms = now_ms();
    if (PQntuples(result) > 0)
        r->claim_due = true;
    else
        ledger_claim_was_last(&r->ledger);
    struct rows_claim claim = { r->config, r->name, &r->ledger, r->claimed_ms };
    struct notification *first = rows_read_claim(&claim, result);
    if (r->retired)
        return_claimed(r, first);
    else if (first != NULL)
        dispatch_take_claimed(first);
    work(r);
}

static bool claim(struct relay *r)
{
    const struct ledger *l = &r->ledger;
    bool has_room = l->in_hand < (size_t)HAND_BATCHES * r->outbox->batch && l->full_lanes < FULL_LANES_MAX;
    if (!r->claim_due || r->retired || !has_room)
        return false;
    struct pq_values values = { 0 };
    pq_values_add_int(&values, r->outbox->batch);
    pq_values_add_int(&values, (int64_t)r->outbox->lease_ms);
    ledger_claim_begins(&r->ledger);
    rows_add_closed_lanes(&values, l);
    pq_values_add_int(&values, CLAIM_BYTES);
    pq_values_add_int(&values, (int64_t)r->config->limits.event);
    r->claim_due = false; /* what happens in the meantime may ask for more */
    r->asking = true;
    pq_connection_ask(r->connection, outbox_sql_claim, &values, true, on_claimed, r);
    return true;
}

/* --- the order of work ------------------------------------------------------------------------------ */

static void work(struct relay *r)
{
    if (r->asking || r->paused)
        return;
    bool gathering = timer_is_running(r->gather);
    bool has_asked =
        ((!gathering && write_ends(r, ROW_DELIVERED, outbox_sql_delete)) || write_ends(r, ROW_DEAD, outbox_sql_bury) ||
         write_ends(r, ROW_DROPPED, outbox_sql_let_go) || write_notes(r) || renew_leases(r) || claim(r));
    if (!has_asked && relay_is_settled(r, false))
        r->on_settled();
}

static void on_gathered(void *context)
{
    work(context);
}

static void on_again(void *context)
{
    struct relay *r = context;
    r->paused = false;
    for (struct row *row; (row = TAILQ_FIRST(&r->behind)) != NULL;) {
        TAILQ_REMOVE(&r->behind, row, link);
        TAILQ_INSERT_TAIL(&r->ledger.rows[row->state], row, link);
    }
    work(r);
}

/* A lease is renewed when a third of it has passed, so that it survives a try or two that fail. */
static void on_tick(void *context)
{
    struct relay *r = context;
    uint64_t now = now_ms();
    const struct outbox *o = r->outbox;
    if (now > o->lease_ms / 3 && now - o->lease_ms / 3 > r->renew_before_ms)
        r->renew_before_ms = now - o->lease_ms / 3;
    if (now - r->claimed_ms >= at_most(o->poll_ms, o->lease_ms)) {
        r->claim_due = true;
        ledger_open_lanes(&r->ledger);
    }
    timer_start(r->tick, 1000 * (at_most(o->poll_ms, o->lease_ms / 4) + 1));
    work(r);
}

/* --- what became of events --------------------------------------------------------------------------- */

bool relay_event_arrived(struct relay *r, const struct notification *e)
{
    if (ledger_find(&r->ledger, e->id) != NULL)
        return false;
    if (ledger_spill(&r->ledger, e->id, e->name, now_ms())) {
        work(r);
        return false;
    }
    ledger_add(&r->ledger, e->id, e->name, now_ms());
    return true;
}

void relay_event_failed(struct relay *r, const struct notification *e, unsigned attempts, const char *reason)
{
    struct row *row = ledger_find(&r->ledger, e->id);
    if (row == NULL || row->state != ROW_IN_HAND)
        return;
    ledger_note(&r->ledger, row, attempts, reason);
    work(r);
}

void relay_event_ended(struct relay *r, const struct notification *e, enum row_state end, unsigned attempts,
                       const char *reason)
{
    struct row *row = ledger_find(&r->ledger, e->id);
    if (row == NULL || row->state != ROW_IN_HAND)
        return;
    bool alone = TAILQ_EMPTY(&r->ledger.rows[end]);
    if (end == ROW_DROPPED)
        ledger_close_lane(&r->ledger, row->lane);
    r->claim_due |= ledger_end(&r->ledger, row, end, attempts, reason);
    if (alone && end == ROW_DELIVERED && !timer_is_running(r->gather))
        timer_start(r->gather, GATHER_MS * 1000);
    work(r);
}

/* --- the whole ------------------------------------------------------------------------------------- */

static void ignore_answer(void *context, const PGresult *result, const char *error, const char *sqlstate)
{
    (void)context, (void)result, (void)error, (void)sqlstate;
}

static void on_connected(void *context)
{
    struct relay *r = context;
    pq_connection_ask(r->connection, outbox_sql_settings, NULL, false, ignore_answer, NULL);
}

/* A server that has gone silent should not cost the leases; but one that is slow must be given the time that it needs. */
static uint64_t answer_timeout_ms(const struct relay *r)
{
    uint64_t half_lease_ms = r->outbox->lease_ms / 2;
    return half_lease_ms < ANSWER_TIMEOUT_LEAST_MS ? ANSWER_TIMEOUT_LEAST_MS
                                                   : at_most(half_lease_ms, ANSWER_TIMEOUT_MS);
}

static void open_connection(struct relay *r)
{
    r->connection = pq_connection_open(&(struct pq_options){ .loop = r->host.loop,
                                                             .resolver = r->host.resolver,
                                                             .role = "outbox",
                                                             .name = r->name,
                                                             .conninfo = r->conninfo,
                                                             .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                                                             .answer_timeout_ms = answer_timeout_ms(r),
                                                             .ends_statements = true,
                                                             .on_connected = on_connected,
                                                             .context = r });
}

static void take_config(struct relay *r, struct config *config, const struct outbox *outbox)
{
    struct config *old = r->config;
    r->config = config_retain(config);
    r->outbox = outbox;
    if (old != NULL)
        config_release(old);
    free(r->conninfo);
    r->conninfo = memory_copy_text(outbox->upstream);
    r->claim_due = true;
}

struct relay *relay_open(const struct sink_host *host, struct config *config, const struct outbox *outbox,
                         void (*on_settled)(void))
{
    struct relay *r = or_abort(calloc(1, sizeof *r));
    r->host = *host;
    r->on_settled = on_settled;
    r->name = memory_copy_text(outbox->name);
    ledger_init(&r->ledger, outbox->batch);
    TAILQ_INIT(&r->out);
    TAILQ_INIT(&r->behind);
    take_config(r, config, outbox);
    r->tick = timer_new(host->loop, on_tick, r);
    r->gather = timer_new(host->loop, on_gathered, r);
    r->again = timer_new(host->loop, on_again, r);
    open_connection(r);
    on_tick(r);
    return r;
}

static void return_out(struct relay *r)
{
    for (struct row *row; (row = TAILQ_FIRST(&r->out)) != NULL;)
        put_back(r, row);
    r->asking = false;
    on_again(r);
}

void relay_reload(struct relay *r, struct config *config, const struct outbox *outbox)
{
    bool moved = strcmp(r->conninfo, outbox->upstream) != 0;
    r->retired = false;
    r->ledger.lane_limit = outbox->batch;
    take_config(r, config, outbox);
    if (moved) {
        pq_connection_close(r->connection);
        open_connection(r);
        return_out(r);
    }
    on_tick(r);
}

void relay_retire(struct relay *r)
{
    r->retired = true;
}

bool relay_is_retired(const struct relay *r)
{
    return r->retired;
}

bool relay_is_settled(const struct relay *r, bool hand)
{
    return !r->asking && TAILQ_EMPTY(&r->out) && TAILQ_EMPTY(&r->behind) && ledger_is_settled(&r->ledger) &&
           (!hand || r->ledger.in_hand == 0);
}

const char *relay_name(const struct relay *r)
{
    return r->name;
}

void relay_close(struct relay *r)
{
    pq_connection_close(r->connection);
    timer_free(r->tick);
    timer_free(r->gather);
    timer_free(r->again);
    ledger_free(&r->ledger);
    config_release(r->config);
    free(r->last_error);
    free(r->conninfo);
    free(r->name);
    free(r);
}
