/* The ends of requests, and the marks that begin and end them (R2 to R5, R11, R12). */
#include "proxy/session/decision.h"

#include <strings.h>

/* --- ends of requests -------------------------------------------------------------------------- */

void decision_check_constraints(struct decision *d, enum undo undo)
{
    decision_hidden(d, "SET CONSTRAINTS ALL IMMEDIATE", EFFECT_NONE)->undo = undo;
    decision_hidden(d, "SET CONSTRAINTS ALL DEFERRED", EFFECT_NONE)->undo = undo;
}

/* The rules behind the request: those of the connection's unmarked requests. A client's BEGIN that has run nothing stays. */
void decide_leave(struct decision *d)
{
    struct state *st = &d->st;
    if (st->client != CLIENT_LAZY)
        st->client = CLIENT_NONE;
    st->marked = st->wrapper = false;
    st->isolation = STATEMENT_ISOLATION_DEFAULT;
    st->unit = UNIT_NONE;
    request_rules(d->s, d->s->who->label, st);
}

/* Ends the transaction of a sandbox when the rules that follow are not a sandbox's. */
static bool sandbox_ends_with(const struct decision *d, const struct state *next)
{
    return d->st.mode == MODE_SANDBOX && d->st.outer && next->mode != MODE_SANDBOX;
}

static struct step *end_sandbox_request(struct decision *d, bool commit, enum effect effect)
{
    struct state next = d->st;
    request_rules(d->s, d->s->who->label, &next);
    bool leave = sandbox_ends_with(d, &next);
    if (commit)
        decision_check_constraints(d, UNDO_WRAPPER);
    if (leave) {
        decide_leave(d);
        d->st.outer = false;
        return decision_ours(d, "ROLLBACK", effect);
    }
    if (!commit)
        decision_hidden(d, "ROLLBACK TO SAVEPOINT " SAVEPOINT_REQUEST, EFFECT_NONE);
    decide_leave(d);
    return decision_ours(d, "RELEASE SAVEPOINT " SAVEPOINT_REQUEST, effect);
}

/* PostgreSQL's own transaction around a string, or around a pipeline up to Sync, has run something: COMMIT and ROLLBACK end that, too. */
static bool in_implicit_transaction(const struct decision *d)
{
    bool outside = d->s->server_status == 'I' || d->plain_ended;
    return !state_is_virtual(&d->st) && outside && (d->ran || d->s->unit_ran);
}

/* The step whose completion ends the request; the caller gives it its reply. */
struct step *decide_end(struct decision *d, bool commit, enum discard_reason reason)
{
    enum effect effect = commit ? EFFECT_REQUEST_COMMIT : EFFECT_REQUEST_ROLLBACK;
    bool own = !state_is_virtual(&d->st) && d->s->server_status != 'I' && !d->plain_ended && !d->st.stale_begin;
    bool open = d->st.wrapper || in_implicit_transaction(d) || (own && (d->s->tx_used || session_is_failed(d->s)));
    bool sandbox = d->st.mode == MODE_SANDBOX;
    struct step *step;
    if (commit && state_is_virtual(&d->st) && !sandbox && durable_is_owed(d)) {
        decide_wrapper(d);
        open = true;
        durable_write_all(d, UNDO_WRAPPER);
    }
    if (commit && open && !sandbox)
        doubt_ask_ahead_of_commit(d);
    decision_settle(d);
    if (open && sandbox) {
        step = end_sandbox_request(d, commit, effect);
    } else {
        decide_leave(d);
        bool stale =
            d->st.stale_begin && d->st.client == CLIENT_NONE; /* the client has ended what the server still holds */
        d->st.stale_begin &= !stale;
        step = open || stale ? decision_ours(d, commit && open ? "COMMIT" : "ROLLBACK", effect)
                             : decision_local(d, effect);
    }
    decision_discard(step, reason);
    d->failed = false;
    d->ran = false;
    d->moved = true;
    return step;
}

void decide_request_end(struct decision *d, bool commit, enum discard_reason reason, struct span reply)
{
    struct step *step = decide_end(d, commit, reason);
    if (reply.size > 0)
        step->reply = plan_keep(d->plan, reply);
    else
        step->swallow = true;
}

bool decide_lazy_has_events(const struct decision *d)
{
    if (d->capture != EFFECT_NONE)
        return d->capture == EFFECT_HOLD;
    const struct txn *t = &d->s->txn;
    size_t begun = txn_find(t, span_of(SAVEPOINT_CLIENT));
    return begun > 0 && t->marks[begun - 1].events < t->event_count;
}

/* R5: an unmarked request ends as its route says, but never with a failed transaction. A client transaction that is still open is undone
 * to before its BEGIN, failed or not; one that is joined is the request's own. */
void decide_unmarked_end(struct decision *d)
{
    enum discard_reason reason = d->failed ? DISCARD_ERROR : DISCARD_ROLLBACK;
    bool undone = d->st.client == CLIENT_OPEN;
    bool joins = d->st.route && d->st.route->nested == NESTED_JOIN;
    bool joined = d->st.client == CLIENT_JOINED || (joins && d->st.client == CLIENT_LAZY && decide_lazy_has_events(d));
    bool commit = d->st.route && d->st.route->end == END_COMMIT && (!d->failed || undone) && !joined;
    if (commit && undone)
        decide_roll_back_client(d, NULL);
    else if (commit && d->st.client == CLIENT_LAZY)
        decision_local(d, EFFECT_CLIENT_ROLLBACK);
    decide_request_end(d, commit, reason, (struct span){ 0 });
}

/* Whatever request is open ends here, because something else begins. */
void decide_end_open(struct decision *d)
{
    struct session *s = d->s;
    if (s->expiry != EXPIRY_NONE)
        decision_local(d, EFFECT_REQUEST_OVER);
    if (d->st.marked)
        decide_request_end(d, false, DISCARD_NO_OUTCOME, (struct span){ 0 });
    else if (d->st.mode == MODE_ATOMIC && d->st.wrapper)
        decide_unmarked_end(d);
    else if (d->st.mode == MODE_ATOMIC && s->request)
        decide_request_end(d, d->st.route && d->st.route->end == END_COMMIT, DISCARD_ROLLBACK, (struct span){ 0 });
}

/* What the request did goes; in a sandbox that goes on, with its savepoint, which stays and is as good as new. */
void decide_expiry(struct decision *d)
{
    struct state *st = &d->st;
    struct state next = *st;
    request_rules(d->s, d->s->who->label, &next);
    bool inside = st->mode == MODE_SANDBOX && !sandbox_ends_with(d, &next);
    const char *sql = "ROLLBACK";
    if (inside && st->wrapper)
        sql = "ROLLBACK TO SAVEPOINT " SAVEPOINT_REQUEST;
    else if (inside && st->client == CLIENT_OPEN)
        sql = "ROLLBACK TO SAVEPOINT " SAVEPOINT_CLIENT;
    else
        st->outer = false;
    st->wrapper = st->outer && st->wrapper;
    st->client = CLIENT_NONE;
    st->unit = UNIT_NONE;
    decision_discard(decision_hidden(d, sql, EFFECT_REQUEST_ROLLBACK), DISCARD_TIMEOUT);
}

void decide_failure(struct decision *d)
{
    decide_prelude(d);
    decision_hidden(d, "ROLLBACK TO SAVEPOINT " PORTAL_REFUSED, EFFECT_NONE);
}

/* Sandbox: as a COMMIT would, but for the commit. */
void decide_implicit_commit(struct decision *d)
{
    decision_check_constraints(d, UNDO_UNIT);
    d->st.unit = UNIT_NONE;
    decision_name(d, decision_hidden(d, "RELEASE SAVEPOINT " SAVEPOINT_UNIT, EFFECT_IMPLICIT_COMMIT),
                  span_of(SAVEPOINT_UNIT));
}

/* --- marks ------------------------------------------------------------------------------------- */

static void reply_to_mark(struct decision *d, struct step *step, const struct statement *st, struct span value)
{
    if (st->as_row)
        decision_reply_row_complete(d, step, st, "set_config", true, value);
    else
        decision_reply_tag(d, step, "SET");
}

/* A client transaction that has run something. */
static bool client_transaction_is_used(const struct decision *d)
{
    const struct session *s = d->s;
    if (d->st.client == CLIENT_OPEN || d->st.client == CLIENT_JOINED)
        return true;
    if (d->st.client == CLIENT_LAZY && decide_lazy_has_events(d))
        return true;
    if (state_is_virtual(&d->st) || d->st.stale_begin)
        return false;
    bool in_plain = s->server_status != 'I' && !d->plain_ended;
    return (in_plain && (s->tx_used || s->server_status == 'E')) || d->ran || s->unit_ran;
}

void decide_mark_request(struct decision *d, const struct statement *st, const struct arguments *arguments)
{
    struct session *s = d->s;
    if (client_transaction_is_used(d)) {
        decide_refuse_lightly(d, "25001", "a request cannot begin inside a transaction that has run something");
        return;
    }
    bool adopts =
        !state_is_virtual(&d->st) && s->server_status == 'T' && !d->plain_ended && d->st.client == CLIENT_NONE;
    decide_end_open(d);
    if (d->stopped)
        return;

    struct buffer label = { 0 };
    buffer_append_string(&label, arguments->first);
    struct state next = d->st;
    request_rules(s, label.data, &next);
    if (sandbox_ends_with(d, &next)) {
        next.outer = false;
        d->st.outer = false;
        decision_hidden(d, "ROLLBACK", EFFECT_NONE);
    }
    if (next.mode == MODE_REQUIRED && d->several) {
        buffer_free(&label);
        decide_refuse_lightly(
            d, "0A000", "a request of a route with mode = required cannot begin inside a string of several statements");
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
    d->moved = true;
    d->wants_unit = session_wants_units(&d->st);
    struct step *step = decision_local(d, EFFECT_REQUEST_BEGIN);
    decision_name(d, step, arguments->first);
    reply_to_mark(d, step, st, arguments->first);
    buffer_free(&label);
}

/* R3: the request did not live to its commit. */
static void refuse_commit(struct decision *d)
{
    struct session *s = d->s;
    if (s->expiry != EXPIRY_NONE) {
        const struct expiry_words *words = request_expiry_words(s);
        struct span detail = s->expiry == EXPIRY_REFUSED ? buffer_span(&s->failure) : (struct span){ 0 };
        decision_local(d, EFFECT_REQUEST_OVER)->swallow = true;
        decide_leave(d);
        decision_fail(d, decision_local(d, EFFECT_NONE), words->sqlstate, words->commit, detail);
        return;
    }
    decision_fail(d, decide_end(d, false, DISCARD_ERROR), "25P02",
                  "request was rolled back: an earlier statement failed", buffer_span(&s->failure));
}

static void decide_commit_outcome(struct decision *d, const struct statement *st, struct span value)
{
    if (!d->st.marked) {
        decide_refuse_lightly(d, "25P01", "no request is open");
    } else if (d->failed || d->s->expiry != EXPIRY_NONE) {
        refuse_commit(d);
    } else if (client_transaction_is_used(d) && !in_implicit_transaction(d)) {
        d->st.client = CLIENT_NONE;
        decision_fail(d, decide_end(d, false, DISCARD_ERROR), "25001",
                      "request was rolled back: a transaction is still open inside it", (struct span){ 0 });
    } else {
        reply_to_mark(d, decide_end(d, true, DISCARD_ROLLBACK), st, value);
    }
}

static void decide_rollback_outcome(struct decision *d, const struct statement *st, struct span value)
{
    if (!d->st.marked) {
        reply_to_mark(d, decision_local(d, EFFECT_NONE), st, value);
        return;
    }
    if (d->s->expiry != EXPIRY_NONE)
        decision_local(d, EFFECT_REQUEST_OVER)->swallow = true;
    if (client_transaction_is_used(d))
        d->st.client = CLIENT_NONE;
    reply_to_mark(d, decide_end(d, false, DISCARD_OUTCOME), st, value);
}

static bool is_word(struct span value, const char *word)
{
    return value.size == strlen(word) && strncasecmp(value.data, word, value.size) == 0;
}

void decide_mark_outcome(struct decision *d, const struct statement *st, const struct arguments *arguments)
{
    if (is_word(arguments->first, "commit"))
        decide_commit_outcome(d, st, arguments->first);
    else if (is_word(arguments->first, "rollback"))
        decide_rollback_outcome(d, st, arguments->first);
    else
        decide_refuse_lightly(d, "22023", "pgatomic.outcome must be 'commit' or 'rollback'");
}

void decide_show_request(struct decision *d)
{
    const struct session *s = d->s;
    struct span label = span_of(s->request && d->st.marked ? s->request->label : s->who->label ? s->who->label : "");
    struct buffer made = { 0 };
    if (d->simple)
        message_add_row_description(&made, span_of("pgatomic.request"), 25, -1, 0);
    message_add_data_row(&made, label);
    message_add_command_complete(&made, span_of("SHOW"));
    decision_reply(d, decision_local(d, EFFECT_NONE), &made);
}
