/* A client's transactions inside a wrapper: BEGIN is a savepoint, or nothing, or refused (R7, R8). */
#include "proxy/session/decision.h"

/* --- client transactions inside a wrapper (R7) -------------------------------------------------- */

/* Read uncommitted is read committed in PostgreSQL, which is also what no word about it means. */
static int strictness(enum statement_isolation isolation)
{
    return isolation == STATEMENT_SERIALIZABLE ? 2 : isolation == STATEMENT_REPEATABLE_READ ? 1 : 0;
}

static bool modes_fit(struct decision *d, const struct statement_modes *modes)
{
    if (d->st.wrapper && strictness(modes->isolation) > strictness(d->st.isolation))
        decide_refuse(d, "25001", "a stricter isolation level than the request's cannot begin inside it");
    else if (d->st.route && d->st.route->access == ACCESS_READ_ONLY && modes->access == STATEMENT_READ_WRITE)
        decide_refuse(d, "25001", "cannot set transaction read-write mode inside a read-only transaction");
    else
        return true;
    return false;
}

void decide_virtual_begin(struct decision *d, const struct statement *st, struct span slice)
{
    struct state *now = &d->st;
    if (d->failed) {
        decision_client(d, slice, EFFECT_NONE); /* 25P02 */
    } else if (now->client != CLIENT_NONE) {
        decision_warn(d, decision_local(d, EFFECT_NONE), "25001", "there is already a transaction in progress",
                      decision_begin_tag(st));
    } else if (now->mode == MODE_ATOMIC && now->route && now->route->nested == NESTED_REFUSE) {
        decide_refuse(d, "25001", "a durable transaction cannot be nested in an atomic request");
    } else if (modes_fit(d, &st->modes)) {
        bool adopted = d->adopted;
        d->adopted = false;
        now->client = adopted ? CLIENT_OPEN : CLIENT_LAZY;
        now->modes = st->modes;
        decision_reply_tag(d, decision_local(d, adopted ? EFFECT_NONE : EFFECT_CLIENT_BEGIN), decision_begin_tag(st));
        if (adopted && st->modes.access != STATEMENT_ACCESS_DEFAULT)
            decision_begin(d, "SET TRANSACTION", STATEMENT_ISOLATION_DEFAULT, st->modes.access, false, EFFECT_NONE);
    }
}

/* AND CHAIN: the next client transaction begins where this one ended, with the same modes. */
static void chain_client(struct decision *d, const struct statement *st)
{
    if (!st->chain || d->stopped)
        return;
    d->st.client = CLIENT_LAZY;
    decision_local(d, EFFECT_CLIENT_BEGIN);
}

void decide_roll_back_client(struct decision *d, const char *tag)
{
    decision_hidden(d, "ROLLBACK TO SAVEPOINT " SAVEPOINT_CLIENT, EFFECT_NONE);
    d->failed = false;
    d->st.client = CLIENT_NONE;
    struct step *step = decision_ours(d, "RELEASE SAVEPOINT " SAVEPOINT_CLIENT, EFFECT_CLIENT_ROLLBACK);
    if (tag)
        decision_reply_tag(d, step, tag);
}

/* The unit has opened the transaction that it is in, and set something ahead of that: all of it goes (R16). */
static void undo_whole_transaction(struct decision *d)
{
    d->st.unit = UNIT_NONE;
    d->st.wrapper = d->st.outer = false;
    d->st.isolation = STATEMENT_ISOLATION_DEFAULT;
    struct step *step = decision_hidden(d, "ROLLBACK", EFFECT_ROLLBACK_TO);
    decision_name(d, step, span_of(SAVEPOINT_UNIT));
    decision_discard(step, DISCARD_ERROR);
    step = decision_local(d, EFFECT_RELEASE);
    decision_name(d, step, span_of(SAVEPOINT_UNIT));
    step->swallow = true;
}

static void undo_unit(struct decision *d)
{
    if (d->s->settings_precede_unit) {
        undo_whole_transaction(d);
        return;
    }
    struct step *step = decision_hidden(d, "ROLLBACK TO SAVEPOINT " SAVEPOINT_UNIT, EFFECT_ROLLBACK_TO);
    decision_name(d, step, span_of(SAVEPOINT_UNIT));
    decision_discard(&d->plan->steps[d->plan->step_count - 1], DISCARD_ERROR);
    d->st.unit = UNIT_NONE;
    decision_name(d, decision_hidden(d, "RELEASE SAVEPOINT " SAVEPOINT_UNIT, EFFECT_RELEASE), span_of(SAVEPOINT_UNIT));
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
        decide_roll_back_client(d, NULL);
        d->plan->steps[d->plan->step_count - 1].swallow = true;
        break;
    case UNDO_WRAPPER:
        decide_request_end(d, false, DISCARD_ERROR, (struct span){ 0 });
        break;
    case UNDO_PLAIN:
        decision_discard(decision_hidden(d, "ROLLBACK", EFFECT_PLAIN_ROLLBACK), DISCARD_ERROR);
        break;
    }
}

/* COMMIT or ROLLBACK of a request that has failed outside a client transaction. */
static void decide_end_of_failed(struct decision *d)
{
    if (d->s->expiry != EXPIRY_NONE && !d->st.marked) {
        decide_leave(d);
        decision_reply_tag(d, decision_local(d, EFFECT_REQUEST_OVER), "ROLLBACK");
    } else if (d->st.marked || d->st.client == CLIENT_JOINED) {
        d->st.client = CLIENT_NONE;
        decision_reply_tag(d, decision_local(d, EFFECT_FAILED_SEEN), "ROLLBACK");
    } else if (d->st.mode == MODE_SANDBOX) {
        decide_leave(d);
        d->st.outer = false;
        struct step *step = decision_ours(d, "ROLLBACK", EFFECT_REQUEST_ROLLBACK);
        decision_discard(step, DISCARD_ERROR);
        d->failed = false;
        decision_reply_tag(d, step, "ROLLBACK");
    } else {
        decision_reply_tag(d, decide_end(d, false, DISCARD_ERROR), "ROLLBACK");
    }
}

static bool refuse_chain_outside(struct decision *d, const struct statement *st)
{
    if (!st->chain)
        return false;
    decide_refuse_lightly(d, "25P01",
                          st->kind == STATEMENT_COMMIT ? "COMMIT AND CHAIN can only be used in transaction blocks"
                                                       : "ROLLBACK AND CHAIN can only be used in transaction blocks");
    return true;
}

static void commit_client(struct decision *d)
{
    if (d->st.mode == MODE_SANDBOX)
        decision_check_constraints(d, UNDO_CLIENT);
    d->st.client = CLIENT_NONE;
    decision_reply_tag(d, decision_ours(d, "RELEASE SAVEPOINT " SAVEPOINT_CLIENT, EFFECT_CLIENT_COMMIT), "COMMIT");
}

/* The server has not heard of it; or it holds its BEGIN still, from before the mark. */
static void end_empty_client(struct decision *d, enum effect effect, const char *tag)
{
    bool stale = d->st.stale_begin;
    d->st.client = CLIENT_NONE;
    d->st.stale_begin = false;
    decision_reply_tag(d, stale ? decision_ours(d, "ROLLBACK", effect) : decision_local(d, effect), tag);
}

void decide_virtual_commit(struct decision *d, const struct statement *st)
{
    switch (d->st.client) {
    case CLIENT_NONE:
        if (d->failed || d->s->expiry != EXPIRY_NONE) {
            decide_end_of_failed(d);
        } else if (!refuse_chain_outside(d, st)) {
            decision_warn(d, decision_local(d, EFFECT_NONE), "25P01", "there is no transaction in progress", "COMMIT");
            d->ran = false;
        }
        return;
    case CLIENT_LAZY:
        end_empty_client(d, EFFECT_CLIENT_COMMIT, "COMMIT");
        break;
    case CLIENT_JOINED:
        if (d->failed) {
            decide_end_of_failed(d);
            return;
        }
        d->st.client = CLIENT_NONE;
        decision_reply_tag(d, decision_local(d, EFFECT_CLIENT_COMMIT), "COMMIT");
        break;
    case CLIENT_OPEN:
        if (d->failed)
            decide_roll_back_client(d, "ROLLBACK");
        else
            commit_client(d);
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
    struct step *step = decision_ours(d, "ROLLBACK TO SAVEPOINT " PORTAL_REFUSED, EFFECT_FAILED_SEEN);
    step->refusal = plan_keep(d->plan, buffer_span(&made));
    step->refusal_is_success = true;
    buffer_free(&made);
    d->stopped = d->simple;
    d->failed = true;
}

void decide_virtual_rollback(struct decision *d, const struct statement *st)
{
    switch (d->st.client) {
    case CLIENT_NONE:
        if (d->failed || d->s->expiry != EXPIRY_NONE) {
            decide_end_of_failed(d);
        } else if (!refuse_chain_outside(d, st)) {
            if (d->adopted) {
                d->adopted = false;
                decide_roll_back_client(d, NULL);
                decision_warn(d, &d->plan->steps[d->plan->step_count - 1], "25P01",
                              "there is no transaction in progress", "ROLLBACK");
            } else if (!d->simple && d->s->unit_ran) {
                decide_refuse(d, "0A000",
                              "ROLLBACK cannot undo the statements before it in this pipeline: end it with Sync first");
            } else {
                decision_warn(d, decision_local(d, EFFECT_NONE), "25P01", "there is no transaction in progress",
                              "ROLLBACK");
            }
            d->ran = false;
        }
        return;
    case CLIENT_LAZY:
        if (d->st.route && d->st.route->nested == NESTED_JOIN && decide_lazy_has_events(d)) {
            decide_prelude(d);
            fail_request(d);
            return;
        }
        end_empty_client(d, EFFECT_CLIENT_ROLLBACK, "ROLLBACK");
        break;
    case CLIENT_JOINED:
        if (d->failed)
            decide_end_of_failed(d);
        else
            fail_request(d);
        return;
    case CLIENT_OPEN:
        decide_roll_back_client(d, "ROLLBACK");
        break;
    }
    chain_client(d, st);
}

void decide_virtual_set_transaction(struct decision *d, const struct statement *st, struct span slice)
{
    struct state *now = &d->st;
    if (d->failed || now->client == CLIENT_OPEN || now->client == CLIENT_JOINED) {
        decision_client(d, slice, EFFECT_NONE);
    } else if (now->client == CLIENT_NONE) {
        decision_warn(d, decision_local(d, EFFECT_NONE), "25P01",
                      "SET TRANSACTION can only be used in transaction blocks", "SET");
    } else if (modes_fit(d, &st->modes)) {
        if (st->modes.isolation != STATEMENT_ISOLATION_DEFAULT)
            now->modes.isolation = st->modes.isolation;
        if (st->modes.access != STATEMENT_ACCESS_DEFAULT)
            now->modes.access = st->modes.access;
        decision_reply_tag(d, decision_local(d, EFFECT_NONE), "SET");
    }
}

/* --- savepoints (R8) --------------------------------------------------------------------------- */

static void replay_step(struct txn *marks, const struct plan *plan, const struct step *step)
{
    struct notification *none;
    struct span name = plan_span(plan, step->name);
    if (step->effect == EFFECT_CLIENT_BEGIN)
        txn_savepoint(marks, span_of(SAVEPOINT_CLIENT));
    else if (step->effect == EFFECT_CLIENT_COMMIT || step->effect == EFFECT_CLIENT_ROLLBACK ||
             step->effect == EFFECT_FAILED_SEEN)
        txn_release(marks, span_of(SAVEPOINT_CLIENT));
    else if (step->effect == EFFECT_REQUEST_COMMIT || step->effect == EFFECT_REQUEST_ROLLBACK)
        txn_free(marks);
    else if (step->effect == EFFECT_SAVEPOINT)
        txn_savepoint(marks, name);
    else if (step->effect == EFFECT_RELEASE)
        txn_release(marks, name);
    else if (step->effect == EFFECT_ROLLBACK_TO)
        txn_rollback_to(marks, name, &none);
}

/* The savepoints, as they will stand when the steps so far have succeeded. */
static const struct txn *replay_savepoints(struct decision *d)
{
    struct plan *plan = d->plan;
    const struct txn *confirmed = &d->s->txn;
    for (size_t i = 0; !plan->replays && i < confirmed->mark_count; i++)
        txn_savepoint(&plan->savepoints, span_of(confirmed->marks[i].name));
    plan->replays = true;
    for (; plan->replayed < plan->step_count; plan->replayed++)
        replay_step(&plan->savepoints, plan, &plan->steps[plan->replayed]);
    return &plan->savepoints;
}

/* A savepoint from before the client transaction would not exist for it on plain PostgreSQL; nor would one of a transaction that is over,
 * though on the server it may still stand (join). */
static bool savepoint_is_out_of_reach(struct decision *d, struct span name)
{
    if (!state_is_virtual(&d->st))
        return false;
    const struct txn *marks = replay_savepoints(d);
    size_t begun = d->st.client == CLIENT_NONE ? 0 : txn_find(marks, span_of(SAVEPOINT_CLIENT));
    return txn_find(marks, name) <= begun;
}

static void refuse_savepoint(struct decision *d, struct span name)
{
    struct buffer text = { 0 };
    buffer_format(&text, "savepoint \"%.*s\" does not exist", (int)name.size, name.data);
    buffer_append_u8(&text, '\0');
    decide_refuse(d, "3B001", text.data);
    buffer_free(&text);
}

static const char *savepoint_verb(enum effect effect)
{
    return effect == EFFECT_SAVEPOINT ? "SAVEPOINT"
           : effect == EFFECT_RELEASE ? "RELEASE SAVEPOINT"
                                      : "ROLLBACK TO SAVEPOINT";
}

/* In a sandbox each statement outside a client transaction is one by itself, as without it (R11). */
static bool refuse_outside(struct decision *d, enum effect effect)
{
    if (d->st.mode != MODE_SANDBOX || d->st.marked || d->st.client != CLIENT_NONE || d->failed)
        return false;
    struct buffer text = { 0 };
    buffer_format(&text, "%s can only be used in transaction blocks", savepoint_verb(effect));
    buffer_append_u8(&text, '\0');
    decide_refuse(d, "25P01", text.data);
    buffer_free(&text);
    return true;
}

/* Units with savepoints of the client's own are not wrapped (R9). */
static void give_up_unit(struct decision *d)
{
    if (d->st.unit == UNIT_SET && d->st.client == CLIENT_NONE && !d->failed) {
        d->st.unit = UNIT_EXEMPT;
        decision_name(d, decision_hidden(d, "RELEASE SAVEPOINT " SAVEPOINT_UNIT, EFFECT_RELEASE),
                      span_of(SAVEPOINT_UNIT));
    } else if (d->st.unit == UNIT_NONE) {
        d->st.unit = UNIT_EXEMPT;
    } else if (d->st.unit == UNIT_DONE && d->st.client != CLIENT_NONE) {
        d->st.unit = UNIT_DONE_EXEMPT;
    }
}

void decide_savepoint(struct decision *d, const struct statement *st, struct span slice, enum effect effect)
{
    struct buffer name = { 0 };
    bool lost = d->failed && effect != EFFECT_ROLLBACK_TO; /* 25P02 */
    if (lost || !operand_decode(&st->name, &d->s->sql, &name)) {
        decide_prelude(d);
        decision_client(d, slice, EFFECT_NONE);
    } else if (statement_name_is_reserved(&st->name)) {
        decide_refuse(d, "42939", "savepoint names that begin with pgatomic_ are reserved");
    } else if (!refuse_outside(d, effect)) {
        if (state_is_virtual(&d->st) && (d->st.mode != MODE_SANDBOX || d->st.marked))
            give_up_unit(d);
        if (effect != EFFECT_SAVEPOINT && savepoint_is_out_of_reach(d, buffer_span(&name))) {
            refuse_savepoint(d, buffer_span(&name));
            buffer_free(&name);
            return;
        }
        decide_prelude(d);
        if (effect == EFFECT_ROLLBACK_TO)
            d->failed = false;
        struct step *step = decision_client(d, slice, effect);
        decision_name(d, step, buffer_span(&name));
        decision_discard(step, DISCARD_SAVEPOINT);
    }
    buffer_free(&name);
}
