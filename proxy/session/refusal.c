/* What no server was to be had for (P3).
 *
 * The session has said it to nobody, so nothing of it has happened, and no transaction is open anywhere. Each Query, and each pipeline up to
 * its Sync, is answered as by a server that fails it. But no server remembers then what has failed with it; so the session does, and the client
 * is in a failed transaction that exists here alone:
 *
 *     the end of a request -----------------------------> it is over, and rolled back
 *     what was to open a transaction, or has an event --> the request, or the client's transaction, has failed (R3, R9)
 *     what else a request says that has begun already --> so has the request
 *     anything else ------------------------------------> it was alone */
#include "proxy/session/machine.h"

static bool is_end(const struct step *step)
{
    return step->effect == EFFECT_REQUEST_COMMIT || step->effect == EFFECT_REQUEST_ROLLBACK;
}

static bool opens(const struct state *now, const struct step *step)
{
    const struct state *after = &step->after;
    return (after->wrapper && !now->wrapper) || (after->outer && !now->outer) ||
           (now->client == CLIENT_LAZY && after->client == CLIENT_NONE);
}

/* Its COMMIT will never be one. */
static void end_request(struct session *s, const struct plan *plan, const struct step *step, struct span message)
{
    struct step end = *step;
    end.effect = EFFECT_REQUEST_ROLLBACK;
    if (step->effect == EFFECT_REQUEST_COMMIT)
        end.discard = DISCARD_ERROR;
    if (step->effect == EFFECT_REQUEST_COMMIT && (s->ending || s->client_gone))
        request_tell_commit_failed(s, message);
    request_apply(s, plan, &end, (struct span){ 0 });
}

/* The steps ahead of the first statement that is the client's own; marks among them are heeded. True: none is left to fail. */
static bool follow_plan(struct session *s, const struct plan *plan, struct span message, bool *opening)
{
    for (size_t i = plan->at; i < plan->step_count; i++) {
        const struct step *step = &plan->steps[i];
        if (step->kind == STEP_CLIENT || step->effect == EFFECT_HOLD)
            return false;
        if (is_end(step)) {
            end_request(s, plan, step, message);
            *opening = false;
            if (step->kind != STEP_LOCAL) /* the refusal is its reply */
                return true;
        } else if (step->effect == EFFECT_REQUEST_BEGIN) {
            request_apply(s, plan, step, (struct span){ 0 });
        } else {
            *opening |= opens(&s->now, step);
        }
    }
    return false;
}

/* Up to the end of the unit at the head of the queue, or to the first message that is the client's own. True: as above. */
static bool follow_unit(struct session *s, struct span message, bool *opening)
{
    for (size_t i = 0; i < s->pending.count; i++) {
        const struct pending *entry = pending_at(&s->pending, i);
        if (entry->plan && follow_plan(s, entry->plan, message, opening))
            return true;
        if (entry->kind == PENDING_SYNC || entry->kind == PENDING_QUERY || (!entry->plan && !entry->swallow))
            return false;
    }
    return false;
}

static bool has_begun(const struct session *s)
{
    return state_is_virtual(&s->now) &&
           (s->now.marked || s->txn.event_count > 0 || (s->request && s->request->events > 0));
}

/* The unit was to capture an event, with which a request begins, wherever in it that stands. */
static bool captures(const struct session *s)
{
    struct pending_queue q = s->pending;
    for (size_t i = 0; i < q.count; i++) {
        const struct pending *entry = pending_at(&q, i);
        for (size_t k = entry->plan ? entry->plan->at : 0; entry->plan && k < entry->plan->step_count; k++)
            if (entry->plan->steps[k].effect == EFFECT_HOLD)
                return state_is_virtual(&s->now);
        if (entry->kind == PENDING_SYNC || entry->kind == PENDING_QUERY)
            return false;
    }
    return false;
}

static void fail_with_unit(struct session *s, struct span message)
{
    bool opening = false;
    if (s->expiry != EXPIRY_NONE || follow_unit(s, message, &opening))
        return;
    bool undone_alone = session_wants_units(&s->now) && s->now.client == CLIENT_NONE; /* R9, sandbox */
    if (undone_alone || (!opening && !has_begun(s) && !captures(s)))
        return;
    request_end_early(s, DISCARD_ERROR);
    s->expiry = EXPIRY_REFUSED;
}

static void hear(struct session *s, char type, struct buffer *made)
{
    struct frame f = { .type = type, .bytes = actions_keep(s->out, buffer_span(made)) };
    buffer_free(made);
    server_frame(s, &f);
}

static void refuse_unit(struct session *s, const struct message_fault *fault)
{
    struct buffer made = { 0 };
    if (pending_head(&s->pending)->kind != PENDING_SYNC) {
        fail_with_unit(s, fault->message);
        message_add_error(&made, fault);
        hear(s, 'E', &made);
        s->begin_failed = false;
        s->undo = UNDO_NONE;
    }
    if (s->pending.count > 0) {
        message_add_ready(&made, 'I');
        hear(s, 'Z', &made);
    } else { /* its Sync is still to come, and no server has anything to do with that */
        s->server_skips = false;
        s->unsynced_sent = 0;
    }
}

void session_on_refused(struct session *s, const char *sqlstate, struct span message, struct actions *a)
{
    struct message_fault fault = { "ERROR", sqlstate, message, { 0 }, { 0 } };
    s->out = a;
    while (s->pending.count > 0 && !s->closing)
        refuse_unit(s, &fault);
    session_progress(s);
}
