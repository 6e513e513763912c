/* Commits in doubt (E9): the server is lost when COMMIT has been sent and not been answered.
 *
 *     COMMIT is out --server lost--> IN DOUBT --committed----> released, and the client gets the reply that was owed
 *                                       |
 *                                       +-------rolled back--> discarded, ERROR 40000
 *                                       +-------unknown------> discarded, and told loudly, FATAL 08007
 *
 * The server remembers the fate of a transaction under its number. So a transaction with captured events is asked for that number before
 * its COMMIT is written; and where both leave in one write, the question goes ahead of it and the server is made to send its
 * answer at once, by a Flush, or, where none can stand, by a row that fills its output buffer. Rows of the outbox can tell it too. Who is
 * asked, over which connection and for how long, is the shell's business. */
#include "proxy/session/decision.h"

#include <ctype.h>
#include <stdlib.h>

#define QUESTION "SELECT pg_catalog.pg_current_xact_id()"
#define PUSH "SELECT pg_catalog.repeat(' ', 8192)"

/* --- the number ----------------------------------------------------------------------------------- */

static bool is_asked(const struct decision *d)
{
    return d->asked || (d->settled == 0 && (d->s->xid[0] != '\0' || d->s->questions_in_flight > 0));
}

/* `rides`: what it stands behind would have failed in a failed transaction; else that has to be known not to be one. */
static void ask(struct decision *d, bool rides, bool push)
{
    struct step *step = decision_hidden(d, QUESTION, EFFECT_NONE);
    step->asks_xid = true;
    step->rides = rides;
    d->asked = true;
    if (push && d->simple)
        decision_hidden(d, PUSH, EFFECT_NONE)->rides = rides;
}

static bool may_ask(const struct decision *d)
{
    return d->s->can_ask && !d->failed && !d->stopped && d->st.mode != MODE_SANDBOX && !is_asked(d);
}

void doubt_ask_ahead_of_commit(struct decision *d)
{
    if (may_ask(d) && decision_captured(d) > d->settled)
        ask(d, false, true);
}

void doubt_ask_behind(struct decision *d)
{
    if (!d->simple && may_ask(d))
        ask(d, true, false);
}

void doubt_ask_ahead(struct decision *d)
{
    if (d->simple && d->last && may_ask(d) && !state_is_virtual(&d->st) && durable_needs_row_now(d))
        ask(d, true, true);
}

static bool is_about_transactions(enum statement_kind kind)
{
    return kind == STATEMENT_COMMIT || kind == STATEMENT_ROLLBACK || kind == STATEMENT_ROLLBACK_TO ||
           kind == STATEMENT_PREPARE_TRANSACTION || kind == STATEMENT_MARK_REQUEST || kind == STATEMENT_MARK_OUTCOME;
}

/* A string that has anything else in it makes them fail. */
static bool stands_alone(enum statement_kind kind)
{
    return kind == STATEMENT_DISCARD_ALL || kind == STATEMENT_COMMIT_PREPARED || kind == STATEMENT_ROLLBACK_PREPARED;
}

void doubt_ask_ahead_of_last(struct decision *d, enum statement_kind kind)
{
    if (!is_about_transactions(kind) && !stands_alone(kind) && decision_captured(d) > d->settled)
        doubt_ask_ahead(d);
}

void doubt_ask_at_end(struct decision *d)
{
    bool open = state_is_virtual(&d->st) ? d->st.wrapper : !durable_needs_row_now(d);
    if (open && d->plan->text.size > 0 && may_ask(d) && decision_captured(d) > d->settled)
        ask(d, true, false);
}

/* The messages up to a Sync are a transaction of their own, if none was open before them. */
void doubt_ask_ahead_of_sync(struct session *s)
{
    if (!s->can_ask || s->unsynced_sent == 0 || s->server_skips || state_is_virtual(&s->front) ||
        s->server_status != 'I' || !s->unit_clean || s->events_in_flight + s->txn.event_count == 0)
        return;
    struct plan *plan = session_plan(s);
    struct decision d;
    decide_init(&d, s, plan, false);
    doubt_ask_behind(&d);
    send_prelude_plan(s, plan, false);
}

static const struct step *asking_step(const struct session *s)
{
    struct pending_queue q = s->pending;
    const struct step *step = session_step_of(pending_head(&q));
    return step && step->asks_xid ? step : NULL;
}

bool session_wants_whole_row(const struct session *s)
{
    return asking_step(s) != NULL;
}

void doubt_read_row(struct session *s, const struct frame *f)
{
    struct span body = frame_body(f);
    if (!asking_step(s) || f->left > 0 || body.size < 7 || body.size >= 6 + sizeof s->xid)
        return;
    size_t size = 0; /* one column: its count and its size stand in front */
    while (6 + size < body.size && isdigit((unsigned char)body.data[6 + size])) {
        s->xid[size] = body.data[6 + size];
        size++;
    }
    s->xid[size] = '\0';
}

uint64_t doubt_take_number(struct session *s)
{
    uint64_t number = strtoull(s->xid, NULL, 10);
    s->xid[0] = '\0';
    return number;
}

/* --- what is in doubt ------------------------------------------------------------------------------ */

/* The first transaction among what is owed that has captured something and whose end has been sent. */
struct doubt {
    size_t entry, step; /* of its COMMIT; step SIZE_MAX: the end of that Query or Sync */
    bool captured;      /* there is something to release */
    bool first;         /* it is the one that was open when the server was lost */
    struct span row;    /* the id of a row that it has written; empty: none */
};

static struct span written_row(const struct session *s)
{
    for (size_t i = 0; i < s->txn.event_count; i++)
        if (s->txn.events[i]->durable)
            return span_make((const char *)s->txn.events[i]->id, EVENT_ID_SIZE);
    return (struct span){ 0 };
}

static bool is_commit(const struct step *step)
{
    return step->kind != STEP_LOCAL && (step->effect == EFFECT_REQUEST_COMMIT || step->effect == EFFECT_PLAIN_COMMIT);
}

static bool is_rollback(const struct step *step)
{
    return step->effect == EFFECT_REQUEST_ROLLBACK || step->effect == EFFECT_PLAIN_ROLLBACK;
}

static void leave_transaction(struct doubt *d)
{
    d->captured = d->first = false;
    d->row = (struct span){ 0 };
}

/* True: its COMMIT is among the steps. */
static bool look_through(const struct plan *plan, struct doubt *d)
{
    for (size_t i = plan->at; i < plan->step_count; i++) {
        const struct step *step = &plan->steps[i];
        d->captured |= step->effect == EFFECT_HOLD;
        if (step->row.size > 0)
            d->row = plan_span(plan, step->row);
        d->step = i;
        if (is_commit(step) && d->captured)
            return true;
        if (is_commit(step) || is_rollback(step))
            leave_transaction(d);
    }
    return false;
}

static bool find(const struct session *s, struct doubt *d)
{
    struct pending_queue q = s->pending;
    bool implicit = !state_is_virtual(&s->now) && s->server_status == 'I' && s->now.client == CLIENT_NONE;
    *d = (struct doubt){ .captured = s->txn.event_count > 0, .first = true, .row = written_row(s) };
    for (size_t i = 0; i < q.count; i++) {
        const struct pending *entry = pending_at(&q, i);
        d->entry = i;
        if (entry->plan && look_through(entry->plan, d))
            return true;
        if (entry->kind != PENDING_QUERY && entry->kind != PENDING_SYNC)
            continue;
        d->step = SIZE_MAX;
        if (implicit && d->captured)
            return true;
        if (implicit)
            leave_transaction(d);
    }
    return false;
}

bool doubt_is_open(const struct session *s)
{
    struct doubt d;
    return find(s, &d);
}

static bool can_be_asked(const struct session *s, const struct doubt *d)
{
    return s->can_ask && ((d->first && s->xid[0] != '\0') || d->row.size > 0);
}

bool doubt_keeps_fatal(struct session *s, struct span message)
{
    struct doubt d;
    if (s->in_doubt || s->closing || !find(s, &d) || !can_be_asked(s, &d))
        return false;
    buffer_clear(&s->last_words);
    buffer_append_span(&s->last_words, message);
    return true;
}

bool doubt_begins(struct session *s, struct span message)
{
    struct doubt d;
    if (s->closing || !find(s, &d) || !can_be_asked(s, &d))
        return false;
    s->in_doubt = true;
    if (s->last_words.size == 0)
        message_add_error(&s->last_words, &(struct message_fault){ "FATAL", "08006", message, { 0 }, { 0 } });
    struct action *action = actions_add(s->out, ACTION_ASK_OUTCOME);
    action->request = request_retain(request_ensure(s));
    action->bytes = actions_keep(s->out, span_of(d.first ? s->xid : ""));
    action->has_row = d.row.size > 0;
    if (action->has_row)
        memcpy(action->row, d.row.data, EVENT_ID_SIZE);
    return true;
}

/* --- the answer ------------------------------------------------------------------------------------ */

/* What the client has coming for a step that has succeeded. False: only the server could say. */
static bool reply_of(const struct plan *plan, const struct step *step, struct buffer *made)
{
    if (step->swallow)
        return true;
    if (step->reply.size > 0)
        buffer_append_span(made, plan_span(plan, step->reply));
    else if (step->effect == EFFECT_PLAIN_COMMIT)
        message_add_command_complete(made, span_of("COMMIT"));
    else if (step->is_notify)
        message_add_command_complete(made, span_of("NOTIFY"));
    else
        return false;
    return true;
}

/* The same for a message without a plan. */
static bool reply_of_message(const struct pending *entry, struct buffer *made)
{
    if (entry->swallow)
        return true;
    switch (entry->kind) {
    case PENDING_PARSE:
        message_add_empty(made, '1');
        return true;
    case PENDING_BIND:
        message_add_empty(made, '2');
        return true;
    case PENDING_CLOSE:
        message_add_empty(made, '3');
        return true;
    case PENDING_SYNC:
    case PENDING_COPY_END:
        return true;
    case PENDING_QUERY:
    case PENDING_DESCRIBE:
    case PENDING_EXECUTE:
    case PENDING_LOCAL:
        break;
    }
    return false;
}

/* Everything up to the COMMIT was done. `made`: what the client is told of it; false: it cannot be told all of it. */
static bool complete(struct session *s, const struct doubt *d, struct buffer *made)
{
    bool whole = true;
    for (size_t i = 0; i <= d->entry; i++) {
        struct pending *entry = pending_at(&s->pending, i);
        struct plan *plan = entry->plan;
        bool last = i == d->entry && d->step != SIZE_MAX;
        for (; plan && plan->at < plan->step_count; plan->at++) {
            const struct step *step = &plan->steps[plan->at];
            whole = whole && (entry->swallow || reply_of(plan, step, made));
            request_apply(s, plan, step, (struct span){ 0 });
            if (last && plan->at == d->step) {
                plan->at++;
                break;
            }
        }
        if (!plan)
            whole = whole && reply_of_message(entry, made);
    }
    if (d->step == SIZE_MAX)
        request_settle_implicit(s);
    return whole;
}

/* A Query ends with its last step, a pipeline with its Sync. */
static bool ready_follows(struct session *s, const struct doubt *d)
{
    const struct pending *entry = pending_at(&s->pending, d->entry);
    if (entry->swallow)
        return false;
    if (entry->kind == PENDING_QUERY)
        return !entry->plan || entry->plan->at == entry->plan->step_count;
    if (entry->kind == PENDING_SYNC)
        return true;
    const struct pending *next = d->entry + 1 < s->pending.count ? pending_at(&s->pending, d->entry + 1) : NULL;
    return next && next->kind == PENDING_SYNC && !next->swallow;
}

static void tell_end(struct session *s, const char *detail)
{
    struct buffer made = { 0 };
    struct frame f = { .type = 'E', .bytes = buffer_span(&s->last_words) };
    message_add_error_with(&made, &f, 'D', span_of(detail));
    send_made_to_client(s, &made);
}

static void was_committed(struct session *s, const struct doubt *d)
{
    struct buffer made = { 0 };
    if (!complete(s, d, &made)) {
        buffer_free(&made);
        tell_end(s, "The transaction was committed.");
        return;
    }
    if (ready_follows(s, d))
        message_add_ready(&made, 'I');
    send_made_to_client(s, &made);
    tell_end(s, "");
}

static void was_rolled_back(struct session *s, const struct doubt *d)
{
    struct buffer made = { 0 };
    struct span words = span_of("the server was lost at COMMIT, and the transaction was rolled back");
    if (s->ending)
        request_tell_commit_failed(s, words);
    message_add_error(&made, &(struct message_fault){ "ERROR", "40000", words, { 0 }, { 0 } });
    const struct pending *entry = pending_at(&s->pending, d->entry);
    if (!entry->swallow && (entry->kind != PENDING_EXECUTE || ready_follows(s, d)))
        message_add_ready(&made, 'I');
    send_made_to_client(s, &made);
    tell_end(s, "");
}

/* Notifications of which the server has said nothing, and of which nothing will be known: the log is to name them. */
static void hold_the_rest(struct session *s)
{
    for (size_t i = 0; i < s->pending.count; i++) {
        struct plan *plan = pending_at(&s->pending, i)->plan;
        for (; plan && plan->at < plan->step_count; plan->at++)
            if (plan->steps[plan->at].effect == EFFECT_HOLD)
                request_apply(s, plan, &plan->steps[plan->at], (struct span){ 0 });
    }
}

void doubt_tell_unknown(struct session *s, struct span message)
{
    static const char detail[] =
        "The server was lost before it answered COMMIT: whether the transaction was committed is not known.";
    struct buffer made = { 0 };
    if (!s->fatal_seen)
        message_add_error(&made, &(struct message_fault){ "FATAL", "08007", message, span_of(detail), { 0 } });
    send_made_to_client(s, &made);
    if (s->ending)
        request_tell_commit_failed(s, message);
    struct doubt d;
    if (!find(s, &d))
        return;
    hold_the_rest(s);
    request_tell_unknown(s);
}

void doubt_end(struct session *s, enum session_outcome outcome)
{
    struct doubt d;
    struct message_error error = { 0 };
    s->in_doubt = false;
    if (!find(s, &d))
        return;
    switch (outcome) {
    case OUTCOME_COMMITTED:
        was_committed(s, &d);
        hold_the_rest(s);
        break;
    case OUTCOME_ROLLED_BACK:
        was_rolled_back(s, &d);
        break;
    case OUTCOME_UNKNOWN:
        message_read_error(frame_body(&(struct frame){ .bytes = buffer_span(&s->last_words) }), &error);
        doubt_tell_unknown(s, error.message);
        break;
    }
}
