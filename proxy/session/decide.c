/* What a statement becomes under the rules in force (R2 to R11).
 *
 * Decisions that move a transaction are made when nothing is owed, so `d->st` starts as what the server has confirmed; it
 * runs ahead along the string, statement by statement, as if each succeeded. Where a rule refuses, a statement that must
 * fail takes the place of the client's, and its error is rewritten (R15): then the server's transaction, the pipeline and the
 * client agree about what happened. */
#include "proxy/session/machine.h"

#include <ctype.h>

/* --- building steps ---------------------------------------------------------------------------- */

static struct step *settle(struct decision *d, struct step *step, enum effect effect)
{
    step->effect = effect;
    step->after = d->st;
    return step;
}

static struct step *add_client(struct decision *d, struct span slice, enum effect effect)
{
    if (d->simple)
        plan_append_client(d->plan, slice, d->client_characters);
    d->ran = true;
    return settle(d, plan_add(d->plan, STEP_CLIENT), effect);
}

static struct step *add_ours(struct decision *d, const char *sql, enum effect effect)
{
    struct step *step = plan_add(d->plan, STEP_OURS);
    step->sql = plan_keep(d->plan, span_of(sql));
    if (d->simple)
        plan_append_ours(d->plan, span_of(sql));
    return settle(d, step, effect);
}

static struct step *add_hidden(struct decision *d, const char *sql, enum effect effect)
{
    struct step *step = add_ours(d, sql, effect);
    step->swallow = true;
    return step;
}

static struct step *add_local(struct decision *d, enum effect effect)
{
    return settle(d, plan_add(d->plan, STEP_LOCAL), effect);
}

static void name_step(struct decision *d, struct step *step, struct span name)
{
    step->name = plan_keep(d->plan, name);
}

static void reply_with(struct decision *d, struct step *step, struct buffer *made)
{
    step->reply = plan_keep(d->plan, buffer_span(made));
    buffer_free(made);
}

static void reply_tag(struct decision *d, struct step *step, const char *tag)
{
    struct buffer made = { 0 };
    message_add_command_complete(&made, span_of(tag));
    reply_with(d, step, &made);
}

/* PostgreSQL warns and goes on. */
static void reply_warning(struct decision *d, struct step *step, const char *sqlstate, const char *text, const char *tag)
{
    struct buffer made = { 0 };
    message_add_notice(&made, &(struct message_fault){ "WARNING", sqlstate, span_of(text), { 0 }, { 0 } });
    message_add_command_complete(&made, span_of(tag));
    reply_with(d, step, &made);
}

static void reply_error(struct decision *d, struct step *step, const char *sqlstate, const char *text, struct span detail)
{
    struct buffer made = { 0 };
    message_add_error(&made, &(struct message_fault){ "ERROR", sqlstate, span_of(text), detail, { 0 } });
    reply_with(d, step, &made);
    step->fails = true;
    d->stopped = true;
}

static const char *output_column(struct decision *d, const struct statement *st, const char *function, struct buffer *name)
{
    if (st->column.kind != OPERAND_NAME || !operand_decode(&st->column, &d->s->sql, name))
        buffer_append_text(name, function);
    buffer_append_u8(name, '\0');
    return name->data;
}

/* The row of a function that was answered without the server: in a Query with its description. */
static void reply_row(struct decision *d, struct step *step, const struct statement *st, const char *function,
                      bool is_text, struct span value)
{
    struct buffer made = { 0 }, name = { 0 };
    const char *column = output_column(d, st, function, &name);
    if (d->simple)
        message_add_row_description(&made, span_of(column), is_text ? 25 : 2278, is_text ? -1 : 4, 0);
    message_add_data_row(&made, value);
    message_add_command_complete(&made, span_of("SELECT 1"));
    buffer_free(&name);
    reply_with(d, step, &made);
}

static void reply_to_mark(struct decision *d, struct step *step, const struct statement *st, struct span value)
{
    if (st->as_row)
        reply_row(d, step, st, "set_config", true, value);
    else
        reply_tag(d, step, "SET");
}

/* --- refusing ---------------------------------------------------------------------------------- */

/* No transaction is open, and the server has nothing to do with this string or pipeline. */
static bool server_is_out_of_it(const struct decision *d)
{
    const struct session *s = d->s;
    return s->server_status == 'I' && session_is_settled(s) && s->unsynced_sent == 0 && d->st.client == CLIENT_NONE &&
           (!d->simple || d->plan->text.size == 0);
}

void decide_refusal(struct decision *d, const char *sqlstate, const char *message, struct span detail)
{
    if (server_is_out_of_it(d)) {
        reply_error(d, add_local(d, EFFECT_NONE), sqlstate, message, detail);
        return;
    }
    decide_prelude(d);
    struct buffer made = { 0 };
    message_add_error(&made, &(struct message_fault){ "ERROR", sqlstate, span_of(message), detail, { 0 } });
    struct step *step = add_ours(d, "ROLLBACK TO SAVEPOINT " PORTAL_REFUSED, EFFECT_NONE);
    step->refusal = plan_keep(d->plan, buffer_span(&made));
    buffer_free(&made);
    d->stopped = true;
}

static void refuse(struct decision *d, const char *sqlstate, const char *message)
{
    decide_refusal(d, sqlstate, message, (struct span){ 0 });
}

/* --- the prelude ------------------------------------------------------------------------------- */

static const char *isolation_words(enum statement_isolation isolation)
{
    switch (isolation) {
    case STATEMENT_ISOLATION_DEFAULT:
        return "";
    case STATEMENT_READ_UNCOMMITTED:
        return " ISOLATION LEVEL READ UNCOMMITTED";
    case STATEMENT_READ_COMMITTED:
        return " ISOLATION LEVEL READ COMMITTED";
    case STATEMENT_REPEATABLE_READ:
        return " ISOLATION LEVEL REPEATABLE READ";
    case STATEMENT_SERIALIZABLE:
        return " ISOLATION LEVEL SERIALIZABLE";
    }
    return "";
}

static const char *access_words(enum statement_access access)
{
    switch (access) {
    case STATEMENT_ACCESS_DEFAULT:
        return "";
    case STATEMENT_READ_ONLY:
        return " READ ONLY";
    case STATEMENT_READ_WRITE:
        return " READ WRITE";
    }
    return "";
}

static void add_begin(struct decision *d, const char *verb, enum statement_isolation isolation,
                      enum statement_access access, bool deferrable, enum effect effect)
{
    struct buffer sql = { 0 };
    buffer_append_text(&sql, verb);
    buffer_append_text(&sql, isolation_words(isolation));
    buffer_append_text(&sql, access_words(access));
    if (deferrable)
        buffer_append_text(&sql, " DEFERRABLE");
    buffer_append_u8(&sql, '\0');
    add_hidden(d, sql.data, effect);
    buffer_free(&sql);
}

/* What a route asks for; the two enums are in the same order on purpose. */
static enum statement_isolation route_isolation(const struct route *route)
{
    return route ? (enum statement_isolation)route->isolation : STATEMENT_ISOLATION_DEFAULT;
}

static enum statement_access route_access(const struct route *route)
{
    return route ? (enum statement_access)route->access : STATEMENT_ACCESS_DEFAULT;
}

static void open_wrapper(struct decision *d)
{
    struct state *st = &d->st;
    if (st->mode == MODE_ATOMIC)
        request_ensure(d->s);
    if (st->mode == MODE_SANDBOX) {
        if (!st->outer) {
            st->outer = true;
            add_hidden(d, "BEGIN", EFFECT_NONE);
        }
        if (st->marked && !st->wrapper) {
            st->wrapper = true;
            name_step(d, add_hidden(d, "SAVEPOINT " SAVEPOINT_REQUEST, EFFECT_NONE), (struct span){ 0 });
        }
        return;
    }
    if (st->wrapper)
        return;
    st->wrapper = true;
    enum statement_isolation isolation = route_isolation(st->route);
    if (st->client == CLIENT_LAZY && st->modes.isolation > isolation)
        isolation = st->modes.isolation;
    st->isolation = isolation;
    add_begin(d, "BEGIN", isolation, route_access(st->route), false, EFFECT_NONE);
}

static void open_unit(struct decision *d)
{
    struct state *st = &d->st;
    if (st->unit == UNIT_DONE) {
        st->unit = UNIT_NONE;
        name_step(d, add_hidden(d, "RELEASE SAVEPOINT " SAVEPOINT_UNIT, EFFECT_RELEASE), span_of(SAVEPOINT_UNIT));
    }
    if (d->wants_unit && st->client == CLIENT_NONE && st->unit == UNIT_NONE) {
        st->unit = UNIT_SET;
        name_step(d, add_hidden(d, "SAVEPOINT " SAVEPOINT_UNIT, EFFECT_SAVEPOINT), span_of(SAVEPOINT_UNIT));
    }
}

static void open_client(struct decision *d)
{
    struct state *st = &d->st;
    if (st->client != CLIENT_LAZY)
        return;
    if (st->route && st->route->nested == NESTED_JOIN) {
        st->client = CLIENT_JOINED;
        if (d->plan->step_count > 0)
            d->plan->steps[d->plan->step_count - 1].after = *st;
        else
            d->s->now.client = d->s->front.client = CLIENT_JOINED;
        return;
    }
    st->client = CLIENT_OPEN;
    add_hidden(d, "SAVEPOINT " SAVEPOINT_CLIENT, EFFECT_NONE);
    if (st->modes.access != STATEMENT_ACCESS_DEFAULT)
        add_begin(d, "SET TRANSACTION", STATEMENT_ISOLATION_DEFAULT, st->modes.access, false, EFFECT_NONE);
}

/* A client's BEGIN that stands between requests, told but not sent. */
static void open_plain(struct decision *d)
{
    struct state *st = &d->st;
    if (st->client != CLIENT_LAZY)
        return;
    st->client = CLIENT_NONE;
    if (st->stale_begin) { /* it is there already */
        st->stale_begin = false;
        d->s->now.client = d->s->front.client = CLIENT_NONE;
        d->s->now.stale_begin = d->s->front.stale_begin = false;
        return;
    }
    enum statement_access access = st->modes.access;
    if (st->mode == MODE_REQUIRED && access == STATEMENT_ACCESS_DEFAULT)
        access = STATEMENT_READ_WRITE;
    add_begin(d, "BEGIN", st->modes.isolation, access, st->modes.deferrable, EFFECT_NONE);
}

void decide_prelude(struct decision *d)
{
    if (d->failed)
        return;
    if (!state_is_virtual(&d->st)) {
        open_plain(d);
        return;
    }
    if (d->st.stale_begin) {
        d->st.stale_begin = false;
        add_hidden(d, "ROLLBACK", EFFECT_NONE);
    }
    open_wrapper(d);
    open_unit(d);
    open_client(d);
}

void decide_adopt(struct decision *d)
{
    if (d->failed || !state_is_virtual(&d->st) || d->st.client != CLIENT_NONE)
        return;
    decide_prelude(d);
    add_hidden(d, "SAVEPOINT " SAVEPOINT_CLIENT, EFFECT_CLIENT_BEGIN);
    d->adopted = true;
}

void decide_init(struct decision *d, struct session *s, struct plan *plan, bool simple)
{
    *d = (struct decision){ .s = s, .plan = plan, .st = s->front, .simple = simple };
    d->failed = session_is_failed(s) && s->pending.count == 0;
    d->wants_unit = session_wants_units(&d->st);
}

bool session_wants_units(const struct state *st)
{
    return st->mode == MODE_SANDBOX ||
           (st->mode == MODE_ATOMIC && st->route && st->route->on_error == ON_ERROR_ROLLBACK_STATEMENT);
}

bool state_needs_prelude(const struct session *s, const struct state *st)
{
    if (s->server_status == 'E' && s->pending.count == 0)
        return false;
    if (!state_is_virtual(st))
        return st->client == CLIENT_LAZY;
    return st->stale_begin || st->client == CLIENT_LAZY || (st->mode == MODE_SANDBOX ? !st->outer : false) ||
           ((st->mode == MODE_ATOMIC || st->marked) && !st->wrapper) || st->unit == UNIT_DONE ||
           (session_wants_units(st) && st->client == CLIENT_NONE && st->unit == UNIT_NONE);
}

/* --- ends of requests -------------------------------------------------------------------------- */

static void check_constraints(struct decision *d, enum undo undo)
{
    add_hidden(d, "SET CONSTRAINTS ALL IMMEDIATE", EFFECT_NONE)->undo = undo;
    add_hidden(d, "SET CONSTRAINTS ALL DEFERRED", EFFECT_NONE)->undo = undo;
}

/* The rules behind the request: those of the connection's unmarked requests. A client's BEGIN that has run nothing stays. */
static void leave_request(struct decision *d)
{
    struct state *st = &d->st;
    if (st->client != CLIENT_LAZY)
        st->client = CLIENT_NONE;
    st->marked = st->wrapper = false;
    st->isolation = STATEMENT_ISOLATION_DEFAULT;
    st->unit = UNIT_NONE;
    request_rules(d->s, d->s->label, st);
}

static void discard_with(struct step *step, enum discard_reason reason)
{
    step->discard = reason;
}

/* Ends the transaction of a sandbox when the rules that follow are not a sandbox's. */
static bool sandbox_ends_with(const struct decision *d, const struct state *next)
{
    return d->st.mode == MODE_SANDBOX && d->st.outer && next->mode != MODE_SANDBOX;
}

static struct step *end_sandbox_request(struct decision *d, bool commit, enum effect effect)
{
    struct state next = d->st;
    request_rules(d->s, d->s->label, &next);
    bool leave = sandbox_ends_with(d, &next);
    if (commit)
        check_constraints(d, UNDO_WRAPPER);
    if (leave) {
        leave_request(d);
        d->st.outer = false;
        return add_ours(d, "ROLLBACK", effect);
    }
    if (!commit)
        add_hidden(d, "ROLLBACK TO SAVEPOINT " SAVEPOINT_REQUEST, EFFECT_NONE);
    leave_request(d);
    return add_ours(d, "RELEASE SAVEPOINT " SAVEPOINT_REQUEST, effect);
}

/* The step whose completion ends the request; the caller gives it its reply. */
static struct step *end_request(struct decision *d, bool commit, enum discard_reason reason)
{
    enum effect effect = commit ? EFFECT_REQUEST_COMMIT : EFFECT_REQUEST_ROLLBACK;
    bool own = !state_is_virtual(&d->st) && d->s->server_status != 'I' && !d->plain_ended && !d->st.stale_begin;
    bool open = d->st.wrapper || (own && (d->s->tx_used || !commit));
    bool sandbox = d->st.mode == MODE_SANDBOX;
    struct step *step;
    if (open && sandbox) {
        step = end_sandbox_request(d, commit, effect);
    } else {
        leave_request(d);
        step = open ? add_ours(d, commit ? "COMMIT" : "ROLLBACK", effect) : add_local(d, effect);
    }
    discard_with(step, reason);
    d->failed = false;
    d->ran = false;
    return step;
}

void decide_request_end(struct decision *d, bool commit, enum discard_reason reason, struct span reply)
{
    struct step *step = end_request(d, commit, reason);
    if (reply.size > 0)
        step->reply = plan_keep(d->plan, reply);
    else
        step->swallow = true;
}

/* R5: an unmarked request ends as its route says, but never with a failed transaction, nor with a client transaction still open. */
void decide_unmarked_end(struct decision *d)
{
    bool commit = d->st.route && d->st.route->end == END_COMMIT && !d->failed && d->st.client != CLIENT_JOINED;
    if (commit && d->st.client == CLIENT_OPEN)
        add_hidden(d, "ROLLBACK TO SAVEPOINT " SAVEPOINT_CLIENT, EFFECT_CLIENT_ROLLBACK);
    decide_request_end(d, commit, d->failed ? DISCARD_ERROR : DISCARD_ROLLBACK, (struct span){ 0 });
}

/* Whatever request is open ends here, because something else begins. */
static void end_open_request(struct decision *d)
{
    struct session *s = d->s;
    if (s->expiry != EXPIRY_NONE)
        add_local(d, EFFECT_REQUEST_OVER);
    if (d->st.marked)
        decide_request_end(d, false, DISCARD_NO_OUTCOME, (struct span){ 0 });
    else if (d->st.mode == MODE_ATOMIC && d->st.wrapper)
        decide_unmarked_end(d);
    else if (d->st.mode == MODE_ATOMIC && s->request)
        decide_request_end(d, d->st.route && d->st.route->end == END_COMMIT, DISCARD_ROLLBACK, (struct span){ 0 });
}

void decide_failure(struct decision *d)
{
    decide_prelude(d);
    add_hidden(d, "ROLLBACK TO SAVEPOINT " PORTAL_REFUSED, EFFECT_NONE);
}

/* Sandbox: as a COMMIT would, but for the commit. */
void decide_implicit_commit(struct decision *d)
{
    check_constraints(d, UNDO_UNIT);
    d->st.unit = UNIT_NONE;
    name_step(d, add_hidden(d, "RELEASE SAVEPOINT " SAVEPOINT_UNIT, EFFECT_IMPLICIT_COMMIT), span_of(SAVEPOINT_UNIT));
}

static void undo_unit(struct decision *d)
{
    struct step *step = add_hidden(d, "ROLLBACK TO SAVEPOINT " SAVEPOINT_UNIT, EFFECT_ROLLBACK_TO);
    name_step(d, step, span_of(SAVEPOINT_UNIT));
    discard_with(&d->plan->steps[d->plan->step_count - 1], DISCARD_ERROR);
    d->st.unit = UNIT_NONE;
    name_step(d, add_hidden(d, "RELEASE SAVEPOINT " SAVEPOINT_UNIT, EFFECT_RELEASE), span_of(SAVEPOINT_UNIT));
}

/* --- marks ------------------------------------------------------------------------------------- */

/* A client transaction that has run something. */
static bool client_transaction_is_used(const struct decision *d)
{
    const struct session *s = d->s;
    if (d->st.client == CLIENT_OPEN || d->st.client == CLIENT_JOINED)
        return true;
    if (state_is_virtual(&d->st) || d->st.stale_begin)
        return false;
    bool in_plain = s->server_status != 'I' && !d->plain_ended;
    return (in_plain && (s->tx_used || s->server_status == 'E')) || d->ran || s->unit_ran;
}

static void decide_mark_request(struct decision *d, const struct statement *st, const struct arguments *arguments)
{
    struct session *s = d->s;
    if (client_transaction_is_used(d)) {
        refuse(d, "25001", "a request cannot begin inside a transaction that has run something");
        return;
    }
    bool adopts = !state_is_virtual(&d->st) && s->server_status == 'T' && !d->plain_ended && d->st.client == CLIENT_NONE;
    end_open_request(d);
    if (d->stopped)
        return;

    struct buffer label = { 0 };
    buffer_append_string(&label, arguments->first);
    struct state next = d->st;
    request_rules(s, label.data, &next);
    if (sandbox_ends_with(d, &next)) {
        next.outer = false;
        d->st.outer = false;
        add_hidden(d, "ROLLBACK", EFFECT_NONE);
    }
    if (next.mode == MODE_REQUIRED && d->several) {
        buffer_free(&label);
        refuse(d, "0A000", "a request of a route with mode = required cannot begin inside a string of several statements");
        return;
    }
    next.marked = true;
    if (adopts) {
        next.client = CLIENT_LAZY;
        next.stale_begin = true;
        next.modes = s->tx_modes;
    }
    d->st = next;
    d->failed = false;
    d->wants_unit = session_wants_units(&d->st);
    struct step *step = add_local(d, EFFECT_REQUEST_BEGIN);
    name_step(d, step, arguments->first);
    reply_to_mark(d, step, st, arguments->first);
    buffer_free(&label);
}

/* R3: the request did not live to its commit. */
static void refuse_commit(struct decision *d)
{
    struct session *s = d->s;
    if (s->expiry != EXPIRY_NONE) {
        add_local(d, EFFECT_REQUEST_OVER)->swallow = true;
        leave_request(d);
        reply_error(d, add_local(d, EFFECT_NONE), s->expiry == EXPIRY_TIMEOUT ? "25P04" : "25P03",
                    s->expiry == EXPIRY_TIMEOUT ? "request was rolled back: it ran longer than its route's timeout"
                                                : "request was rolled back: it was idle longer than its route's idle_timeout",
                    (struct span){ 0 });
        return;
    }
    reply_error(d, end_request(d, false, DISCARD_ERROR), "25P02", "request was rolled back: an earlier statement failed",
                buffer_span(&s->failure));
}

static void decide_commit_outcome(struct decision *d, const struct statement *st, struct span value)
{
    if (!d->st.marked) {
        refuse(d, "25P01", "no request is open");
    } else if (d->failed || d->s->expiry != EXPIRY_NONE) {
        refuse_commit(d);
    } else if (d->st.client == CLIENT_OPEN || d->st.client == CLIENT_JOINED || client_transaction_is_used(d)) {
        reply_error(d, end_request(d, false, DISCARD_ERROR), "25001",
                    "request was rolled back: a transaction is still open inside it", (struct span){ 0 });
    } else {
        reply_to_mark(d, end_request(d, true, DISCARD_ROLLBACK), st, value);
    }
}

static void decide_rollback_outcome(struct decision *d, const struct statement *st, struct span value)
{
    if (!d->st.marked) {
        reply_to_mark(d, add_local(d, EFFECT_NONE), st, value);
        return;
    }
    if (d->s->expiry != EXPIRY_NONE)
        add_local(d, EFFECT_REQUEST_OVER)->swallow = true;
    reply_to_mark(d, end_request(d, false, DISCARD_OUTCOME), st, value);
}

static bool is_word(struct span value, const char *word)
{
    return value.size == strlen(word) && strncasecmp(value.data, word, value.size) == 0;
}

static void decide_mark_outcome(struct decision *d, const struct statement *st, const struct arguments *arguments)
{
    if (is_word(arguments->first, "commit"))
        decide_commit_outcome(d, st, arguments->first);
    else if (is_word(arguments->first, "rollback"))
        decide_rollback_outcome(d, st, arguments->first);
    else
        refuse(d, "22023", "pgatomic.outcome must be 'commit' or 'rollback'");
}

static void decide_show_request(struct decision *d, const struct statement *st)
{
    const struct session *s = d->s;
    struct span label = span_of(s->request && d->st.marked ? s->request->label : s->label ? s->label : "");
    struct buffer made = { 0 };
    (void)st;
    if (d->simple)
        message_add_row_description(&made, span_of("pgatomic.request"), 25, -1, 0);
    message_add_data_row(&made, label);
    message_add_command_complete(&made, span_of("SHOW"));
    reply_with(d, add_local(d, EFFECT_NONE), &made);
}

/* --- events ------------------------------------------------------------------------------------ */

static bool over_the_limits(struct decision *d, size_t payload)
{
    const struct session *s = d->s;
    size_t captured = s->txn.event_count + s->events_in_flight;
    for (size_t i = 0; i < d->plan->step_count; i++)
        captured += d->plan->steps[i].effect == EFFECT_HOLD;
    if (payload > s->config->limits.event) {
        refuse(d, "54000", "event is larger than limits.event allows");
        return true;
    }
    if (captured >= s->config->limits.events_per_request) {
        refuse(d, "54000", "too many events in one request: limits.events_per_request");
        return true;
    }
    return false;
}

static void hold(struct decision *d, struct step *step, const struct channel *channel, const struct arguments *arguments)
{
    step->channel = channel;
    step->name = plan_keep(d->plan, arguments->first);
    step->payload = plan_keep(d->plan, arguments->second);
}

static void reply_to_notify(struct decision *d, struct step *step, const struct statement *st)
{
    if (st->kind == STATEMENT_NOTIFY)
        reply_tag(d, step, "NOTIFY");
    else
        reply_row(d, step, st, "pg_notify", st->cast_text, span_of(""));
}

static void decide_notify(struct decision *d, const struct statement *st, struct span slice,
                          const struct arguments *arguments)
{
    bool usual = arguments->known && arguments->first.size > 0 && arguments->first.size <= 63;
    const struct channel *channel =
        usual ? config_channel(d->s->request ? d->s->request->config : d->s->config, arguments->first.data,
                               arguments->first.size)
              : NULL;
    if (!channel || d->failed) {
        decide_prelude(d);
        add_client(d, slice, EFFECT_NONE);
        return;
    }
    if (over_the_limits(d, arguments->second.size))
        return;
    if (channel->forward) {
        decide_prelude(d);
        hold(d, add_client(d, slice, EFFECT_HOLD), channel, arguments);
        return;
    }
    struct step *step = add_local(d, EFFECT_HOLD);
    hold(d, step, channel, arguments);
    reply_to_notify(d, step, st);
}

/* --- client transactions inside a wrapper (R7) -------------------------------------------------- */

static const char *begin_tag(const struct statement *st)
{
    return st->text.size > 0 && tolower((unsigned char)st->text.data[0]) == 's' ? "START TRANSACTION" : "BEGIN";
}

/* Read uncommitted is read committed in PostgreSQL, which is also what no word about it means. */
static int strictness(enum statement_isolation isolation)
{
    return isolation == STATEMENT_SERIALIZABLE ? 2 : isolation == STATEMENT_REPEATABLE_READ ? 1 : 0;
}

static bool isolation_fits(struct decision *d, const struct statement_modes *modes)
{
    if (!d->st.wrapper || strictness(modes->isolation) <= strictness(d->st.isolation))
        return true;
    refuse(d, "25001", "a stricter isolation level than the request's cannot begin inside it");
    return false;
}

static void decide_virtual_begin(struct decision *d, const struct statement *st, struct span slice)
{
    struct state *now = &d->st;
    if (d->failed) {
        add_client(d, slice, EFFECT_NONE); /* 25P02 */
    } else if (now->client != CLIENT_NONE) {
        reply_warning(d, add_local(d, EFFECT_NONE), "25001", "there is already a transaction in progress", begin_tag(st));
    } else if (now->mode == MODE_ATOMIC && now->route && now->route->nested == NESTED_REFUSE) {
        refuse(d, "25001", "a durable transaction cannot be nested in an atomic request");
    } else if (isolation_fits(d, &st->modes)) {
        bool adopted = d->adopted;
        d->adopted = false;
        now->client = adopted ? CLIENT_OPEN : CLIENT_LAZY;
        now->modes = st->modes;
        reply_tag(d, add_local(d, adopted ? EFFECT_NONE : EFFECT_CLIENT_BEGIN), begin_tag(st));
        if (adopted && st->modes.access != STATEMENT_ACCESS_DEFAULT)
            add_begin(d, "SET TRANSACTION", STATEMENT_ISOLATION_DEFAULT, st->modes.access, false, EFFECT_NONE);
    }
}

/* AND CHAIN: the next client transaction begins where this one ended, with the same modes. */
static void end_client(struct decision *d, const struct statement *st)
{
    d->st.client = CLIENT_NONE;
    (void)st;
}

static void chain_client(struct decision *d, const struct statement *st)
{
    if (!st->chain || d->stopped)
        return;
    d->st.client = CLIENT_LAZY;
    add_local(d, EFFECT_CLIENT_BEGIN);
}

static void roll_back_client(struct decision *d, const char *tag)
{
    add_hidden(d, "ROLLBACK TO SAVEPOINT " SAVEPOINT_CLIENT, EFFECT_NONE);
    d->failed = false;
    d->st.client = CLIENT_NONE;
    struct step *step = add_ours(d, "RELEASE SAVEPOINT " SAVEPOINT_CLIENT, EFFECT_CLIENT_ROLLBACK);
    if (tag)
        reply_tag(d, step, tag);
}

void decide_undo(struct decision *d, enum undo undo)
{
    switch (undo) {
    case UNDO_NONE:
        break;
    case UNDO_UNIT:
        undo_unit(d);
        break;
    case UNDO_CLIENT:
        roll_back_client(d, NULL);
        d->plan->steps[d->plan->step_count - 1].swallow = true;
        break;
    case UNDO_WRAPPER:
        decide_request_end(d, false, DISCARD_ERROR, (struct span){ 0 });
        break;
    }
}

void decide_expiry(struct decision *d)
{
    struct state *st = &d->st;
    const char *sql = "ROLLBACK";
    if (st->mode == MODE_SANDBOX && st->wrapper)
        sql = "ROLLBACK TO SAVEPOINT " SAVEPOINT_REQUEST;
    else if (st->mode == MODE_SANDBOX && st->client == CLIENT_OPEN)
        sql = "ROLLBACK TO SAVEPOINT " SAVEPOINT_CLIENT;
    else
        st->outer = false;
    bool sandboxed = st->outer && st->wrapper;
    st->wrapper = sandboxed; /* its savepoint stays, and is as good as new */
    st->client = CLIENT_NONE;
    st->unit = UNIT_NONE;
    struct step *step = add_hidden(d, sql, EFFECT_REQUEST_ROLLBACK);
    discard_with(step, DISCARD_TIMEOUT);
}

/* COMMIT or ROLLBACK of a request that has failed outside a client transaction. */
static void decide_end_of_failed(struct decision *d)
{
    if (d->s->expiry != EXPIRY_NONE && !d->st.marked) {
        leave_request(d);
        reply_tag(d, add_local(d, EFFECT_REQUEST_OVER), "ROLLBACK");
    } else if (d->st.marked || d->st.client == CLIENT_JOINED) {
        d->st.client = CLIENT_NONE;
        reply_tag(d, add_local(d, EFFECT_FAILED_SEEN), "ROLLBACK");
    } else if (d->st.mode == MODE_SANDBOX) {
        leave_request(d);
        d->st.outer = false;
        struct step *step = add_ours(d, "ROLLBACK", EFFECT_REQUEST_ROLLBACK);
        discard_with(step, DISCARD_ERROR);
        d->failed = false;
        reply_tag(d, step, "ROLLBACK");
    } else {
        reply_tag(d, end_request(d, false, DISCARD_ERROR), "ROLLBACK");
    }
}

static bool refuse_chain_outside(struct decision *d, const struct statement *st)
{
    if (!st->chain)
        return false;
    refuse(d, "25P01",
           st->kind == STATEMENT_COMMIT ? "COMMIT AND CHAIN can only be used in transaction blocks"
                                        : "ROLLBACK AND CHAIN can only be used in transaction blocks");
    return true;
}

static void commit_client(struct decision *d, const struct statement *st)
{
    if (d->st.mode == MODE_SANDBOX)
        check_constraints(d, UNDO_CLIENT);
    end_client(d, st);
    reply_tag(d, add_ours(d, "RELEASE SAVEPOINT " SAVEPOINT_CLIENT, EFFECT_CLIENT_COMMIT), "COMMIT");
}

static void decide_virtual_commit(struct decision *d, const struct statement *st)
{
    switch (d->st.client) {
    case CLIENT_NONE:
        if (d->failed || d->s->expiry != EXPIRY_NONE) {
            decide_end_of_failed(d);
        } else if (!refuse_chain_outside(d, st)) {
            reply_warning(d, add_local(d, EFFECT_NONE), "25P01", "there is no transaction in progress", "COMMIT");
            d->ran = false;
        }
        return;
    case CLIENT_LAZY:
        end_client(d, st);
        reply_tag(d, add_local(d, EFFECT_CLIENT_COMMIT), "COMMIT");
        break;
    case CLIENT_JOINED:
        if (d->failed) {
            decide_end_of_failed(d);
            return;
        }
        end_client(d, st);
        reply_tag(d, add_local(d, EFFECT_CLIENT_COMMIT), "COMMIT");
        break;
    case CLIENT_OPEN:
        if (d->failed)
            roll_back_client(d, "ROLLBACK");
        else
            commit_client(d, st);
        break;
    }
    chain_client(d, st);
}

/* join: what the client rolls back is the request's, so the request fails (Django's savepoint=False). */
static void fail_request(struct decision *d)
{
    struct buffer made = { 0 };
    message_add_command_complete(&made, span_of("ROLLBACK"));
    d->st.client = CLIENT_NONE;
    struct step *step = add_ours(d, "ROLLBACK TO SAVEPOINT " PORTAL_REFUSED, EFFECT_FAILED_SEEN);
    step->refusal = plan_keep(d->plan, buffer_span(&made));
    step->refusal_is_success = true;
    buffer_free(&made);
    d->stopped = d->simple;
    d->failed = true;
}

static void decide_virtual_rollback(struct decision *d, const struct statement *st)
{
    switch (d->st.client) {
    case CLIENT_NONE:
        if (d->failed || d->s->expiry != EXPIRY_NONE) {
            decide_end_of_failed(d);
        } else if (!refuse_chain_outside(d, st)) {
            if (d->adopted) {
                d->adopted = false;
                roll_back_client(d, NULL);
                reply_warning(d, &d->plan->steps[d->plan->step_count - 1], "25P01", "there is no transaction in progress",
                              "ROLLBACK");
            } else if (!d->simple && d->s->unit_ran) {
                refuse(d, "0A000", "ROLLBACK cannot undo the statements before it in this pipeline: end it with Sync first");
            } else {
                reply_warning(d, add_local(d, EFFECT_NONE), "25P01", "there is no transaction in progress", "ROLLBACK");
            }
            d->ran = false;
        }
        return;
    case CLIENT_LAZY:
        end_client(d, st);
        reply_tag(d, add_local(d, EFFECT_CLIENT_ROLLBACK), "ROLLBACK");
        break;
    case CLIENT_JOINED:
        if (d->failed)
            decide_end_of_failed(d);
        else
            fail_request(d);
        return;
    case CLIENT_OPEN:
        roll_back_client(d, "ROLLBACK");
        break;
    }
    chain_client(d, st);
}

static void decide_virtual_set_transaction(struct decision *d, const struct statement *st, struct span slice)
{
    struct state *now = &d->st;
    if (d->failed || now->client == CLIENT_OPEN || now->client == CLIENT_JOINED) {
        add_client(d, slice, EFFECT_NONE);
    } else if (now->client == CLIENT_NONE) {
        reply_warning(d, add_local(d, EFFECT_NONE), "25P01", "SET TRANSACTION can only be used in transaction blocks",
                      "SET");
    } else if (isolation_fits(d, &st->modes)) {
        if (st->modes.isolation != STATEMENT_ISOLATION_DEFAULT)
            now->modes.isolation = st->modes.isolation;
        if (st->modes.access != STATEMENT_ACCESS_DEFAULT)
            now->modes.access = st->modes.access;
        reply_tag(d, add_local(d, EFFECT_NONE), "SET");
    }
}

/* --- savepoints (R8) --------------------------------------------------------------------------- */

/* True when the string sets `name` in its client transaction before this statement. */
static bool planned_savepoint(const struct decision *d, struct span name)
{
    for (size_t i = d->plan->step_count; i > 0; i--) {
        const struct step *step = &d->plan->steps[i - 1];
        if (step->effect == EFFECT_CLIENT_BEGIN)
            return false;
        if (step->effect == EFFECT_SAVEPOINT && span_equal(plan_span(d->plan, step->name), name))
            return true;
        if (step->effect == EFFECT_RELEASE && span_equal(plan_span(d->plan, step->name), name))
            return false;
    }
    return false;
}

/* A savepoint from before the client transaction would not exist for it on plain PostgreSQL. */
static bool savepoint_is_out_of_reach(const struct decision *d, struct span name)
{
    if (d->st.client == CLIENT_NONE || !state_is_virtual(&d->st))
        return false;
    size_t place = txn_find(&d->s->txn, name);
    size_t begun = txn_find(&d->s->txn, span_of(SAVEPOINT_CLIENT));
    return place > 0 && place < begun && !planned_savepoint(d, name);
}

static void refuse_savepoint(struct decision *d, struct span name)
{
    struct buffer text = { 0 };
    buffer_format(&text, "savepoint \"%.*s\" does not exist", (int)name.size, name.data);
    buffer_append_u8(&text, '\0');
    refuse(d, "3B001", text.data);
    buffer_free(&text);
}

/* Units with savepoints of the client's own are not wrapped (R9). */
static void give_up_unit(struct decision *d)
{
    if (d->st.unit == UNIT_SET && d->st.client == CLIENT_NONE && !d->failed) {
        d->st.unit = UNIT_EXEMPT;
        name_step(d, add_hidden(d, "RELEASE SAVEPOINT " SAVEPOINT_UNIT, EFFECT_RELEASE), span_of(SAVEPOINT_UNIT));
    } else if (d->st.unit == UNIT_NONE) {
        d->st.unit = UNIT_EXEMPT;
    }
}

static void decide_savepoint(struct decision *d, const struct statement *st, struct span slice, enum effect effect)
{
    struct buffer name = { 0 };
    if (!operand_decode(&st->name, &d->s->sql, &name)) {
        decide_prelude(d);
        add_client(d, slice, EFFECT_NONE);
    } else if (statement_name_is_reserved(&st->name)) {
        refuse(d, "42939", "savepoint names that begin with pgatomic_ are reserved");
    } else if (effect != EFFECT_SAVEPOINT && savepoint_is_out_of_reach(d, buffer_span(&name))) {
        refuse_savepoint(d, buffer_span(&name));
    } else {
        if (state_is_virtual(&d->st))
            give_up_unit(d);
        decide_prelude(d);
        if (effect == EFFECT_ROLLBACK_TO)
            d->failed = false;
        struct step *step = add_client(d, slice, effect);
        name_step(d, step, buffer_span(&name));
        discard_with(step, DISCARD_SAVEPOINT);
    }
    buffer_free(&name);
}

/* --- session commands and the rest ------------------------------------------------------------- */

static void name_after(struct decision *d, struct step *step, const struct operand *operand)
{
    struct buffer name = { 0 };
    if (operand->kind != OPERAND_NONE)
        operand_decode(operand, &d->s->sql, &name);
    name_step(d, step, buffer_span(&name));
    buffer_free(&name);
}

static void decide_session_command(struct decision *d, const struct statement *st, struct span slice)
{
    bool outside = d->st.client == CLIENT_NONE;
    bool in_wrapper = state_is_virtual(&d->st) && outside && (d->st.wrapper || d->st.outer);
    if (!outside || in_wrapper)
        decide_prelude(d);

    struct step *step;
    if ((st->kind == STATEMENT_SET || st->kind == STATEMENT_RESET) && in_wrapper) {
        step = add_client(d, slice, EFFECT_SETTING);
        name_after(d, step, &st->name);
        step->payload = plan_keep(d->plan, st->text);
    } else if (st->kind == STATEMENT_PREPARE) {
        step = add_client(d, slice, EFFECT_PREPARE);
        name_after(d, step, &st->name);
        step->payload = plan_keep(d->plan, st->body);
    } else if (st->kind == STATEMENT_DEALLOCATE) {
        step = add_client(d, slice, EFFECT_DEALLOCATE);
        name_after(d, step, &st->name);
    } else {
        add_client(d, slice, st->kind == STATEMENT_DEALLOCATE_ALL ? EFFECT_DEALLOCATE_ALL : EFFECT_NONE);
    }
}

void decide_end_for_reset(struct decision *d)
{
    end_open_request(d);
    if (!d->st.outer)
        return;
    d->st.outer = false;
    add_hidden(d, "ROLLBACK", EFFECT_NONE);
}

/* DISCARD ALL, RESET ALL: between two users of one connection (R2, R4, R5). */
static void decide_reset(struct decision *d, const struct statement *st, struct span slice)
{
    if (d->st.client != CLIENT_NONE || (!state_is_virtual(&d->st) && !d->st.marked))
        decide_prelude(d);
    else
        decide_end_for_reset(d);
    add_client(d, slice, st->kind == STATEMENT_DISCARD_ALL ? EFFECT_DISCARD_ALL : EFFECT_NONE);
}

static void decide_prepare_transaction(struct decision *d, struct span slice)
{
    bool captured = d->s->txn.event_count + d->s->events_in_flight > 0;
    if (state_is_virtual(&d->st))
        refuse(d, "0A000", "PREPARE TRANSACTION cannot be used in an atomic request");
    else if (captured)
        refuse(d, "0A000", "PREPARE TRANSACTION cannot be used in a transaction with captured notifications");
    else {
        decide_prelude(d);
        add_client(d, slice, EFFECT_NONE);
    }
}

static void decide_cursor(struct decision *d, const struct statement *st, struct span slice)
{
    decide_prelude(d);
    struct step *step = add_client(d, slice, EFFECT_NONE);
    if (st->kind == STATEMENT_DECLARE && !st->hold && d->st.client == CLIENT_OPEN) {
        step->effect = EFFECT_CURSOR;
        name_after(d, step, &st->name);
    }
}

/* --- transactions that are the client's own (autocommit, required) -------------------------------- */

static void decide_plain_begin(struct decision *d, const struct statement *st, struct span slice)
{
    bool inside = d->s->server_status != 'I' && !d->plain_ended;
    if (d->st.mode == MODE_REQUIRED && !inside && st->modes.access == STATEMENT_ACCESS_DEFAULT) {
        bool has_modes = st->modes.isolation != STATEMENT_ISOLATION_DEFAULT || st->modes.deferrable || st->modes.not_deferrable;
        struct buffer sql = { 0 };
        buffer_append_span(&sql, st->text);
        buffer_append_text(&sql, has_modes ? ", READ WRITE" : " READ WRITE");
        buffer_append_u8(&sql, '\0');
        add_ours(d, sql.data, EFFECT_NONE);
        buffer_free(&sql);
        return;
    }
    add_client(d, slice, EFFECT_NONE);
}

static void decide_plain_end(struct decision *d, const struct statement *st, struct span slice)
{
    enum effect effect = st->kind == STATEMENT_COMMIT ? EFFECT_PLAIN_COMMIT : EFFECT_PLAIN_ROLLBACK;
    const char *tag = st->kind == STATEMENT_COMMIT ? "COMMIT" : "ROLLBACK";
    if (d->s->expiry != EXPIRY_NONE) {
        reply_tag(d, add_local(d, EFFECT_REQUEST_OVER), "ROLLBACK");
        return;
    }
    if (d->st.client == CLIENT_LAZY && d->st.stale_begin)
        decide_prelude(d);
    if (d->st.client == CLIENT_LAZY) {
        if (!st->chain)
            d->st.client = CLIENT_NONE;
        reply_tag(d, add_local(d, effect), tag);
        return;
    }
    add_client(d, slice, effect);
    d->plain_ended = !st->chain;
    d->ran = false;
}

/* --- the table --------------------------------------------------------------------------------- */

static void decide_transaction_control(struct decision *d, const struct statement *st, struct span slice)
{
    bool is_virtual = state_is_virtual(&d->st);
    if (!is_virtual && d->st.client == CLIENT_LAZY && st->kind == STATEMENT_BEGIN) {
        reply_warning(d, add_local(d, EFFECT_NONE), "25001", "there is already a transaction in progress", begin_tag(st));
    } else if (st->kind == STATEMENT_BEGIN) {
        if (is_virtual)
            decide_virtual_begin(d, st, slice);
        else
            decide_plain_begin(d, st, slice);
    } else if (!is_virtual) {
        decide_plain_end(d, st, slice);
    } else if (st->kind == STATEMENT_COMMIT) {
        decide_virtual_commit(d, st);
    } else {
        decide_virtual_rollback(d, st);
    }
}

static bool speaks_of_the_end(enum statement_kind kind)
{
    return kind == STATEMENT_COMMIT || kind == STATEMENT_ROLLBACK || kind == STATEMENT_MARK_REQUEST ||
           kind == STATEMENT_MARK_OUTCOME || kind == STATEMENT_SHOW_REQUEST || kind == STATEMENT_DISCARD_ALL ||
           kind == STATEMENT_RESET_ALL;
}

static bool refuse_expired(struct decision *d, const struct statement *st)
{
    if (d->s->expiry == EXPIRY_NONE || speaks_of_the_end(st->kind))
        return false;
    if (d->s->expiry == EXPIRY_TIMEOUT)
        refuse(d, "25P04", "request was rolled back: it ran longer than its route's timeout");
    else
        refuse(d, "25P03", "request was rolled back: it was idle longer than its route's idle_timeout");
    return true;
}

void decide_statement(struct decision *d, const struct statement *st, struct span slice, const struct arguments *arguments)
{
    if (refuse_expired(d, st))
        return;
    switch (st->kind) {
    case STATEMENT_BEGIN:
    case STATEMENT_COMMIT:
    case STATEMENT_ROLLBACK:
        decide_transaction_control(d, st, slice);
        break;
    case STATEMENT_SAVEPOINT:
        decide_savepoint(d, st, slice, EFFECT_SAVEPOINT);
        break;
    case STATEMENT_RELEASE:
        decide_savepoint(d, st, slice, EFFECT_RELEASE);
        break;
    case STATEMENT_ROLLBACK_TO:
        decide_savepoint(d, st, slice, EFFECT_ROLLBACK_TO);
        break;
    case STATEMENT_PREPARE_TRANSACTION:
        decide_prepare_transaction(d, slice);
        break;
    case STATEMENT_SET_TRANSACTION:
        if (state_is_virtual(&d->st)) {
            decide_virtual_set_transaction(d, st, slice);
        } else {
            decide_prelude(d);
            add_client(d, slice, EFFECT_NONE);
        }
        break;
    case STATEMENT_SET:
    case STATEMENT_RESET:
    case STATEMENT_SHOW:
    case STATEMENT_DISCARD:
    case STATEMENT_LISTEN:
    case STATEMENT_UNLISTEN:
    case STATEMENT_PREPARE:
    case STATEMENT_DEALLOCATE:
    case STATEMENT_DEALLOCATE_ALL:
        decide_session_command(d, st, slice);
        break;
    case STATEMENT_RESET_ALL:
    case STATEMENT_DISCARD_ALL:
        decide_reset(d, st, slice);
        break;
    case STATEMENT_DECLARE:
    case STATEMENT_CLOSE:
        decide_cursor(d, st, slice);
        break;
    case STATEMENT_NOTIFY:
    case STATEMENT_PG_NOTIFY:
        decide_notify(d, st, slice, arguments);
        break;
    case STATEMENT_MARK_REQUEST:
        decide_mark_request(d, st, arguments);
        break;
    case STATEMENT_MARK_OUTCOME:
        decide_mark_outcome(d, st, arguments);
        break;
    case STATEMENT_SHOW_REQUEST:
        decide_show_request(d, st);
        break;
    case STATEMENT_EXECUTE:
    case STATEMENT_COMMIT_PREPARED:
    case STATEMENT_ROLLBACK_PREPARED:
    case STATEMENT_SET_CONFIG:
    case STATEMENT_OTHER:
        decide_prelude(d);
        add_client(d, slice, EFFECT_NONE);
        break;
    }
}
