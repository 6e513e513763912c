/* An error of the server: whose it is, what the client is told of it, and what is over with it.
 *
 * The client hears of what it sent itself, in the server's words, with the position in its own text; of what pgatomic sent for it, in words
 * that fit (R6, R15); and of pgatomic's own business not at all. In the simple protocol the rest of the string is lost, in the
 * extended protocol all that comes before the next Sync. */
#include "proxy/session/machine.h"

static bool is_code(const struct message_error *error, const char *code)
{
    return span_is(error->sqlstate, code);
}

/* What PostgreSQL says of a statement that cannot run in a transaction helps nobody who did not open one (R10). */
static bool wants_hint(const struct session *s, const struct message_error *error)
{
    return (is_code(error, "25001") || is_code(error, "2D000")) && error->hint.size == 0 && s->front.wrapper &&
           s->now.client == CLIENT_NONE;
}

static void append_error_with(struct buffer *out, char field, struct span value)
{
    struct buffer from = *out;
    *out = (struct buffer){ 0 };
    struct frame f = { .type = 'E', .bytes = buffer_span(&from) };
    message_add_error_with(out, &f, field, value);
    buffer_free(&from);
}

static void correct_position(struct session *s, const struct pending *head, const struct message_error *error,
                             struct buffer *out)
{
    size_t position = 0;
    for (size_t i = 0; i < error->position.size && i < 10; i++)
        position = position * 10 + (size_t)(error->position.data[i] - '0');
    struct buffer digits = { 0 };
    size_t corrected = plan_client_position(head->plan, session_counts_in(s), position);
    if (corrected > 0)
        buffer_format(&digits, "%zu", corrected);
    append_error_with(out, 'P', buffer_span(&digits));
    buffer_free(&digits);
}

static void hint_at_route(struct session *s, struct buffer *out)
{
    struct buffer hint = { 0 };
    buffer_format(
        &hint, "The request runs in a transaction because of route \"%s\": a route with mode = autocommit allows it.",
        s->front.route ? s->front.route->name : "");
    append_error_with(out, 'H', buffer_span(&hint));
    buffer_free(&hint);
}

static void rename_timeout(struct session *s, struct buffer *out)
{
    bool timeout = s->expiry == EXPIRY_TIMEOUT;
    append_error_with(out, 'C', span_of(timeout ? "25P04" : "25P03"));
    append_error_with(out, 'M',
                      span_of(timeout
                                  ? "canceling statement: the request ran longer than its route's timeout"
                                  : "canceling statement: the request was idle longer than its route's idle_timeout"));
}

/* The step that an error belongs to: one of ours in a pipeline is several messages, of which the Execute has it. */
static const struct step *step_of_error(struct session *s)
{
    struct pending_queue *q = &s->pending;
    for (size_t i = 0; i < q->count; i++) {
        const struct pending *entry = pending_at(q, i);
        if (entry->plan || !entry->swallow || entry->kind == PENDING_SYNC || entry->kind == PENDING_QUERY)
            return session_step_of(entry);
    }
    return NULL;
}

/* The server's error as the client is to see it. */
static void forward_error(struct session *s, const struct frame *f, const struct message_error *error)
{
    struct pending *head = pending_head(&s->pending);
    const struct step *step = step_of_error(s);
    bool moved = head && head->plan && head->kind == PENDING_QUERY && error->position.size > 0 &&
                 (head->plan->prefix > 0 || head->plan->text.size > 0);
    bool hint = wants_hint(s, error);
    bool write = s->now.mode == MODE_REQUIRED && is_code(error, "25006") && s->server_status == 'I';
    bool cancelled = (s->expiry == EXPIRY_TIMEOUT || s->expiry == EXPIRY_IDLE) && is_code(error, "57014");
    bool row = step && step->row.size > 0 && error->position.size > 0 && head->kind != PENDING_QUERY;
    if (!moved && !hint && !write && !cancelled && !row) {
        send_to_client(s, f->bytes);
        return;
    }
    struct buffer made = { 0 };
    buffer_append_span(&made, f->bytes);
    if (row)
        append_error_with(&made, 'P', (struct span){ 0 });
    else if (moved)
        correct_position(s, head, error, &made);
    if (hint)
        hint_at_route(s, &made);
    if (write)
        append_error_with(&made, 'C', span_of("25P01"));
    if (cancelled)
        rename_timeout(s, &made);
    send_made_to_client(s, &made);
}

/* Kept for the DETAIL of a commit that comes too late (R3): what the client was told. */
static void remember_failure(struct session *s, const struct message_error *error, const struct step *step)
{
    bool follows = session_is_failed(s) || (step && step->kind == STEP_OURS && step->swallow);
    if (!s->now.marked || (follows && s->failure.size > 0))
        return;
    buffer_clear(&s->failure); /* an earlier one was rolled back, or failed nothing */
    struct span words = error->message;
    struct message_error told;
    if (step && step->refusal_is_success) {
        words = span_of("a client transaction inside it was rolled back");
    } else if (step && step->refusal.size > 0) {
        struct span refusal = plan_span(pending_head(&s->pending)->plan, step->refusal);
        if (message_read_error(span_make(refusal.data + FRAME_HEADER_SIZE, refusal.size - FRAME_HEADER_SIZE), &told))
            words = told.message;
    }
    if (words.size > 1000)
        words.size = 1000;
    buffer_append_span(&s->failure, words);
}

/* In the extended protocol the server now skips to the next Sync, which may not have been sent yet. */
static void skip_to_sync(struct session *s)
{
    names_undo(&s->names, s->unit_done);
    while (s->pending.count > 0 && pending_head(&s->pending)->kind != PENDING_SYNC)
        session_drop_head(s);
    if (s->pending.count == 0)
        s->skipping = s->server_skips = true;
}

static void fail_steps(struct pending *head, struct session *s)
{
    if (head->kind == PENDING_QUERY && head->plan) {
        struct plan *plan = head->plan;
        head->plan = NULL;
        session_plan_done(s, plan);
    }
}

/* What is being answered is a Query or a pipeline that the client never sent. */
static bool is_our_own_unit(struct session *s)
{
    for (size_t i = 0; i < s->pending.count; i++) {
        const struct pending *entry = pending_at(&s->pending, i);
        if (entry->kind == PENDING_SYNC || entry->kind == PENDING_QUERY)
            return entry->swallow;
    }
    return false;
}

/* Something that the client is told in place of the server's error; or nothing, when it never asked. */
static void tell_error(struct session *s, const struct frame *f, const struct message_error *error,
                       const struct step *step)
{
    struct pending *head = pending_head(&s->pending);
    bool heard = s->going_ahead || (s->finishing && step && step->undo != UNDO_NONE);
    bool ours_alone = !heard && is_our_own_unit(s);
    if (s->fatal_seen)
        send_to_client(s, f->bytes);
    else if (step && step->refusal.size > 0)
        send_to_client(s, actions_keep(s->out, plan_span(head->plan, step->refusal)));
    else if (!ours_alone)
        forward_error(s, f, error);
}

/* A string that was to open the wrapper did not come so far: its BEGIN was next, or nothing of it was parsed. */
static bool failed_before_begin(const struct pending *head, const struct message_error *error)
{
    if (head->kind != PENDING_QUERY || !head->plan)
        return false;
    for (size_t i = head->plan->at; i < head->plan->step_count; i++) {
        const struct step *step = &head->plan->steps[i];
        if (step->kind == STEP_OURS && step->swallow)
            return i == head->plan->at || is_code(error, "42601");
    }
    return false;
}

/* Nothing of the string has run: it could not be read. */
static bool failed_to_parse(const struct pending *head, const struct message_error *error)
{
    return head->kind == PENDING_QUERY && head->plan && head->plan->at == 0 &&
           (is_code(error, "42601") || is_code(error, "22025") || is_code(error, "22P06"));
}

static void note_error(struct session *s, const struct message_error *error, const struct step *step)
{
    const struct step *failed = failed_to_parse(pending_head(&s->pending), error) ? NULL : step_of_error(s);
    if (failed && failed->undo != UNDO_NONE)
        s->undo = failed->undo;
    bool commit = failed && (failed->effect == EFFECT_REQUEST_COMMIT || failed->row.size > 0);
    if (commit && (s->client_gone || s->ending)) {
        request_tell_commit_failed(s, error->message);
        s->gone_reason = DISCARD_ERROR;
    }
    const struct pending *head = pending_head(&s->pending);
    if (!s->now.wrapper && !s->now.outer && failed_before_begin(head, error))
        s->begin_failed = true;
    if (head->swallow && head->kind == PENDING_BIND && span_is(error->sqlstate, "26000"))
        s->own_begin_prepared = false;
    remember_failure(s, error, step);
    s->failed_seen = false;
}

/* A savepoint of our own that cannot be rolled back to: the transaction is not what we believe, so nothing of it may stay. */
static void give_up(struct session *s)
{
    struct buffer made = { 0 };
    struct span words = span_of("the failed statement could not be undone, so its transaction was rolled back");
    message_add_error(&made, &(struct message_fault){ "FATAL", "XX000", words, { 0 }, { 0 } });
    send_made_to_client(s, &made);
    session_end_with(s, DISCARD_ERROR);
}

void server_error(struct session *s, const struct frame *f)
{
    struct message_error error = { 0 };
    message_read_error(frame_body(f), &error);
    bool fatal = span_is(error.severity, "FATAL") || span_is(error.severity, "PANIC");
    if (fatal && doubt_keeps_fatal(s, f->bytes))
        return;
    s->fatal_seen |= fatal;

    struct pending *head = pending_head(&s->pending);
    struct step *step = session_step_of(head);
    tell_error(s, f, &error, step);
    if (!head)
        return;
    note_error(s, &error, step);
    bool silent = step && step->refusal_is_success;
    if (silent)
        request_apply(s, head->plan, step, (struct span){ 0 });
    if (s->undoing) {
        give_up(s);
        return;
    }
    s->unit_failed = true;
    s->ahead_failed |= s->going_ahead;
    s->copying = false;
    s->copy_in = false;
    if (head->kind == PENDING_QUERY)
        fail_steps(head, s);
    else
        skip_to_sync(s);
    s->failure_owed = silent && s->server_skips; /* unless its Sync is out, with nothing between them */
    s->front = s->now;
}
