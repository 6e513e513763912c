/* Whose reply is this, and what does it mean?
 *
 * Every message of the server belongs to the entry at the head of `pending`, or to nobody (notices, parameters, notifications).
 * Transactions and events move here and nowhere else: when a reply says so. */
#include "proxy/session/machine.h"

static void after_reply(struct session *s)
{
    send_due(s);
    if (s->pending.count == 0) {
        s->controls = false;
        s->front = s->now;
    }
}

static bool is_hidden(const struct pending *entry)
{
    if (!entry)
        return false;
    const struct step *step = session_step_of(entry);
    return entry->swallow || (step && (step->swallow || (step->kind == STEP_OURS && step->reply.size > 0)));
}

static void forward(struct session *s, const struct frame *f)
{
    send_to_client(s, f->bytes);
}

static void forward_unless_hidden(struct session *s, const struct frame *f)
{
    if (is_hidden(pending_head(&s->pending)))
        s->out->rest = REST_DROP;
    else
        forward(s, f);
}

/* --- completion -------------------------------------------------------------------------------- */

/* The server's transaction behind a step that ended or mended it: a pipeline goes on long before its ReadyForQuery says so. */
static char status_behind(const struct step *step, char before)
{
    switch (step->effect) {
    case EFFECT_REQUEST_COMMIT:
    case EFFECT_REQUEST_ROLLBACK:
        return step->after.outer ? 'T' : 'I';
    case EFFECT_PLAIN_COMMIT:
    case EFFECT_PLAIN_ROLLBACK:
        return step->chains ? 'T' : 'I';
    case EFFECT_CLIENT_ROLLBACK:
    case EFFECT_ROLLBACK_TO:
        return 'T';
    default:
        return before;
    }
}

static void complete_step(struct session *s, struct pending *entry, struct step *step, const struct frame *f)
{
    struct plan *plan = entry->plan;
    struct span tag = { 0 };
    message_read_command_complete(frame_body(f), &tag);
    bool hidden = step->swallow || entry->swallow;
    bool fails = step->fails;
    struct range reply = step->reply;
    size_t at = plan->at;
    s->server_status = status_behind(step, s->server_status);
    bool committed = step->effect == EFFECT_REQUEST_COMMIT || step->effect == EFFECT_PLAIN_COMMIT;
    request_apply(s, plan, step, tag);
    if (plan->steps[at].effect == EFFECT_HOLD)
        s->events_in_flight--;
    if (plan->steps[at].row.size > 0 && plan->steps[at].undo != UNDO_NONE)
        durable_all_written(s);
    if (plan->steps[at].asks_xid)
        s->questions_in_flight--;
    if (plan->steps[at].effect == EFFECT_REQUEST_COMMIT || plan->steps[at].effect == EFFECT_PLAIN_COMMIT)
        s->commits_in_flight--;
    plan->at++;
    s->commit_told = committed && plan->at == plan->step_count;
    if (!hidden && reply.size > 0)
        send_to_client(s, actions_keep(s->out, plan_span(plan, reply)));
    else if (!hidden)
        forward(s, f);
    if (fails && entry->kind == PENDING_EXECUTE)
        s->skipping = s->unsynced > 0; /* unless its Sync is out already */
}

/* A COPY is complete, and with it the end of its data is answered: a string may hold another. */
static void forget_copy_end(struct session *s)
{
    struct pending_queue *q = &s->pending;
    size_t at = 1;
    s->copying = false;
    while (at < q->count && pending_at(q, at)->kind != PENDING_COPY_END)
        at++;
    if (at >= q->count)
        return;
    for (; at + 1 < q->count; at++)
        *pending_at(q, at) = *pending_at(q, at + 1);
    q->count--;
}

/* CommandComplete, EmptyQueryResponse, PortalSuspended. */
static void on_complete(struct session *s, const struct frame *f)
{
    struct pending *head = pending_head(&s->pending);
    struct step *step = session_step_of(head);
    s->commit_told = false;
    if (step && step->kind != STEP_LOCAL)
        complete_step(s, head, step, f);
    else if (!is_hidden(head))
        forward(s, f);
    s->copy_in = false;
    if (s->copying)
        forget_copy_end(s);
    if (head && head->kind == PENDING_EXECUTE)
        session_drop_head(s);
    after_reply(s);
}

static void on_simple_reply(struct session *s, const struct frame *f, enum pending_kind kind)
{
    struct pending *head = pending_head(&s->pending);
    forward_unless_hidden(s, f);
    if (!head || head->kind != kind)
        return;
    s->own_begin_prepared |= head->own_begin;
    if (head->prepared && kind == PENDING_PARSE)
        names_confirm(&s->names, head->prepared);
    if (head->prepared && kind == PENDING_CLOSE)
        names_forget_one(&s->names, head->prepared);
    session_drop_head(s);
    after_reply(s);
}

/* --- ReadyForQuery ----------------------------------------------------------------------------- */

/* The server has ended the request's transaction by itself: COMMIT failed, or nothing was left of it. */
static void notice_lost_wrapper(struct session *s)
{
    if (s->server_status != 'I' || !(s->now.wrapper || s->now.outer))
        return;
    request_finish_rolled_back(s, DISCARD_ERROR);
    s->now.wrapper = s->now.outer = false;
    s->now.unit = UNIT_NONE;
    s->now.client = CLIENT_NONE;
    if (s->now.marked) {
        s->now.marked = false;
        request_rules(s, s->who->label, &s->now);
    }
}

static void reapply_settings(struct session *s)
{
    if (s->settings.count == 0 || s->now.wrapper || s->now.outer || s->server_status != 'I')
        return;
    if (!s->settings_stand) {
        struct plan *plan = session_plan(s);
        struct decision d;
        decide_init(&d, s, plan, false);
        decide_settings(&d);
        send_own_unit(s, plan);
    }
    settings_forget(&s->settings);
    s->settings_stand = false;
}

/* Outside a transaction no portal survives its unit, nor a cursor that its own transaction opened (R7, R14). Those of the next
 * unit may be bound already. */
static void forget_portals(struct session *s)
{
    names_unbind_before(&s->names, s->unit_done);
    if (!s->close_cursors)
        return;
    s->close_cursors = false;
    bool any = false;
    for (struct cursor *c = s->names.cursors, *next; c; c = next) {
        next = c->next;
        if (!c->in_client)
            continue;
        if (s->now.wrapper || s->now.outer) {
            send_close_portal(s, span_of(c->name));
            any = true;
        }
        names_drop_cursor(&s->names, span_of(c->name));
    }
    if (any) {
        struct buffer sync = { 0 };
        message_add_sync(&sync);
        send_sync(s, actions_keep(s->out, buffer_span(&sync)), true);
        buffer_free(&sync);
    }
}

/* The string with the request's BEGIN was not even parsed; the request has failed all the same (R3, R9). */
static bool must_fail_late(struct session *s)
{
    bool early = s->begin_failed;
    s->begin_failed = false;
    bool begins = state_is_virtual(&s->now) || s->now.client == CLIENT_LAZY;
    return early && begins && (s->server_status == 'I' || s->now.stale_begin) && s->expiry == EXPIRY_NONE &&
           !s->client_gone && (!session_wants_units(&s->now) || s->now.client != CLIENT_NONE);
}

/* The last words of a unit (R9, sandbox): true when its ReadyForQuery has to wait for them. */
static bool has_last_words(struct session *s)
{
    enum undo undo = s->server_status == 'I' ? UNDO_NONE : s->undo; /* the server has done it */
    s->undo = UNDO_NONE;
    bool fail = must_fail_late(s);
    bool own_unit = state_is_virtual(&s->now) && s->now.unit == UNIT_SET && s->now.client == CLIENT_NONE;
    if (s->server_status == 'E' && undo == UNDO_NONE && own_unit)
        undo = UNDO_UNIT;
    bool implicit = s->server_status == 'T' && own_unit && s->now.mode == MODE_SANDBOX && !s->now.marked;
    if (undo == UNDO_NONE && !implicit && !fail)
        return false;

    struct plan *plan = session_plan(s);
    struct decision d;
    decide_init(&d, s, plan, false);
    d.st = s->now;
    d.failed = s->server_status == 'E' && !fail;
    s->undoing = undo != UNDO_NONE;
    if (s->undoing)
        decide_undo(&d, undo);
    else if (fail)
        decide_failure(&d);
    else
        decide_implicit_commit(&d);
    s->finishing = true;
    send_own_unit(s, plan);
    return true;
}

static void unit_is_over(struct session *s)
{
    s->settings_precede_unit = false;
    if (s->now.unit == UNIT_SET && !s->going_ahead) /* else its message is still to come */
        s->now.unit = UNIT_DONE;
    else if (s->now.unit == UNIT_EXEMPT)
        s->now.unit = UNIT_NONE;
    else if (s->now.unit == UNIT_DONE_EXEMPT)
        s->now.unit = UNIT_DONE;
    if (s->now.unit == UNIT_DONE)
        request_end_unit(s);
    if (session_client_status(s) == 'I' || s->close_cursors)
        forget_portals(s);
    reapply_settings(s);
    if (session_client_status(s) == 'I' && !s->request && !s->now.marked && !s->now.wrapper && !s->now.outer) {
        s->now.route = s->base_route; /* a comment had chosen another */
        s->now.mode = s->base_mode;
    }
    if (s->pending.count == 0) {
        s->front = s->now;
        s->controls = false;
    }
}

/* `local`: the server had no part in it, so that nothing stands between it and its end. */
static void settle_unit(struct session *s, bool local)
{
    notice_lost_wrapper(s);
    bool own = !state_is_virtual(&s->now) && s->server_status == 'I';
    bool sandbox = s->now.mode == MODE_SANDBOX && !s->now.marked && (local || !s->now.outer);
    if ((own || sandbox) && s->now.client == CLIENT_NONE)
        request_settle_implicit(s);
    if (s->settings.count > 0)
        settings_end_unit(&s->settings, s->unit_failed);
    s->settings_stand &= !s->unit_failed;
    s->unit_failed = false;
}

void server_end_local_unit(struct session *s)
{
    s->unit++;
    s->unit_done++;
    settle_unit(s, true);
    unit_is_over(s);
    send_ready(s);
}

static void finish_unit(struct session *s, const struct frame *f)
{
    settle_unit(s, false);
    if (has_last_words(s))
        return;
    unit_is_over(s);
    if (f) {
        ((char *)f->bytes.data)[FRAME_HEADER_SIZE] = session_client_status(s);
        forward(s, f);
    } else {
        send_ready(s);
    }
}

static void on_ready(struct session *s, const struct frame *f)
{
    struct pending *head = pending_head(&s->pending);
    if (frame_body(f).size < 1)
        return;
    s->server_status = frame_body(f).data[0];
    s->transactions += s->server_status == 'I';
    s->copy_in = s->commit_told = false;
    if (!head) {
        forward(s, f);
        return;
    }
    bool swallow = head->swallow, query = head->kind == PENDING_QUERY;
    session_drop_head(s);
    if (query)
        session_ends_pipeline(s);
    s->unit_done++;
    bool ahead = swallow && s->going_ahead;
    if (!swallow) {
        finish_unit(s, f);
    } else if (s->finishing && !ahead && s->pending.count == 0) {
        s->finishing = s->undoing = false;
        finish_unit(s, NULL);
    } else {
        settle_unit(s, false);
        bool undone = ahead && s->undo != UNDO_NONE && has_last_words(s);
        if (s->pending.count == 0 && !undone) {
            s->finishing = s->undoing = false;
            unit_is_over(s);
            s->going_ahead = false;
        }
    }
    after_reply(s);
}

/* --- what may come at any time ------------------------------------------------------------------- */

static void follow_parameter(struct session *s, struct span name, struct span value)
{
    if (span_is(name, "client_encoding")) {
        s->sql.encoding = encoding_find(value);
    } else if (span_is(name, "standard_conforming_strings")) {
        s->sql.standard_conforming_strings = span_is(value, "on");
    } else if (span_is(name, "default_transaction_read_only")) {
        s->client_read_only = span_is(value, "on");
    } else if (span_is(name, "application_name") && !span_is(value, s->who->application)) {
        session_rename(s, value);
    }
}

/* Of what was switched for a route (R11) the client knows nothing: neither that it has reset it, nor that a ROLLBACK has brought it back. */
static bool is_about_our_switch(struct session *s, struct span value)
{
    if (is_hidden(pending_head(&s->pending)))
        return true;
    bool is_on = span_is(value, "on");
    if (is_on ? !s->read_only_lost : !s->now.read_only_sent)
        return false;
    s->read_only_lost = !is_on;
    return true;
}

static void on_parameter_status(struct session *s, const struct frame *f)
{
    struct span name, value;
    if (!message_read_parameter_status(frame_body(f), &name, &value))
        return;
    if (span_is(name, "default_transaction_read_only") && is_about_our_switch(s, value))
        return;
    follow_parameter(s, name, value);
    forward(s, f);
}

/* An outcome that ends an implicit transaction: the server finds its COMMIT or ROLLBACK out of place. */
static bool is_about_our_end(const struct step *step, const struct frame *f)
{
    struct message_error notice = { 0 };
    if (!step || (step->effect != EFFECT_REQUEST_COMMIT && step->effect != EFFECT_REQUEST_ROLLBACK))
        return false;
    return message_read_error(frame_body(f), &notice) && span_is(notice.sqlstate, "25P01");
}

/* What the server says of statements that the client never sent is not for the client; but a deferred trigger may speak at a COMMIT. */
static void on_notice(struct session *s, const struct frame *f)
{
    const struct pending *head = pending_head(&s->pending);
    const struct step *step = session_step_of(head);
    if ((head && (head->swallow || (step && step->swallow))) || is_about_our_end(step, f))
        s->out->rest = REST_DROP;
    else
        forward(s, f);
}

/* COPY FROM STDIN reads what was sent behind it. It passes over a Sync (libpq sends one behind each Execute), which was not the end of
 * the unit then; anything else that is not its data ends it with an error, and is lost. */
static void lose_in_copy(struct session *s, const struct pending *entry, bool extended)
{
    if (entry->kind == PENDING_SYNC || entry->kind == PENDING_QUERY)
        s->unit--;
    if (entry->kind == PENDING_SYNC && extended) {
        s->unsynced++;
        s->unsynced_sent++;
    }
    if (entry->prepared)
        prepared_release(entry->prepared);
    session_plan_done(s, entry->plan);
}

static void on_copy_in(struct session *s)
{
    struct pending_queue *q = &s->pending;
    s->copying = true;
    s->copy_in = true;
    if (q->count == 0)
        return;
    bool extended = pending_head(q)->kind == PENDING_EXECUTE;
    size_t kept = 1;
    for (size_t i = 1; i < q->count; i++) {
        struct pending entry = *pending_at(q, i);
        if (entry.kind == PENDING_COPY_END)
            s->copy_in = false;
        if (!s->copy_in || entry.kind == PENDING_LOCAL) {
            *pending_at(q, kept++) = entry;
            continue;
        }
        s->copy_in = entry.kind == PENDING_SYNC;
        lose_in_copy(s, &entry, extended);
    }
    q->count = kept;
    if (s->client_gone || s->rollback_owed)
        session_break_copy(s, "the client has gone, or the request has timed out");
}

/* A part of what nobody has asked for: the rest may never come, and an answer of our own would get into the middle of it. */
static bool is_stray_part(const struct session *s, const struct frame *f)
{
    return f->left > 0 && s->pending.count == 0;
}

void server_frame(struct session *s, const struct frame *f)
{
    if (is_stray_part(s, f)) {
        s->out->rest = REST_DROP;
        return;
    }
    switch (f->type) {
    case 'D':
    case 'T':
    case 't':
    case 'n': {
        struct pending *head = pending_head(&s->pending);
        if (f->type == 'D')
            doubt_read_row(s, f);
        forward_unless_hidden(s, f);
        if ((f->type == 'T' || f->type == 'n') && head && head->kind == PENDING_DESCRIBE) {
            session_drop_head(s);
            after_reply(s);
        }
        break;
    }
    case 'C':
    case 'I':
    case 's':
        on_complete(s, f);
        break;
    case '1':
        on_simple_reply(s, f, PENDING_PARSE);
        break;
    case '2':
        on_simple_reply(s, f, PENDING_BIND);
        break;
    case '3':
        on_simple_reply(s, f, PENDING_CLOSE);
        break;
    case 'Z':
        on_ready(s, f);
        break;
    case 'E':
        server_error(s, f);
        after_reply(s);
        break;
    case 'S':
        on_parameter_status(s, f);
        break;
    case 'N':
        on_notice(s, f);
        break;
    case 'G':
    case 'W':
        on_copy_in(s);
        forward(s, f);
        break;
    default: /* CopyData, CopyDone, CopyOutResponse, NotificationResponse, FunctionCallResponse, … */
        forward(s, f);
        break;
    }
}
