/* What to do with each message of the client.
 *
 * An ordinary statement goes through as it came, whatever is still owed. What moves a transaction, and what pgatomic answers itself,
 * is decided when nothing is owed: such a frame is held, and in the middle of a pipeline a Flush asks the server for what it
 * owes. So every decision is made on what is known, and pipelines of ordinary statements never wait. */
#include "proxy/session/client.h"

/* --- holding ----------------------------------------------------------------------------------- */

enum session_result client_hold(struct session *s)
{
    send_flush(s);
    return SESSION_HOLD;
}

enum session_result client_taken(struct session *s, enum frame_rest rest)
{
    s->out->rest = rest;
    return SESSION_TAKEN;
}

enum session_result client_bad(struct session *s, const char *message)
{
    struct buffer made = { 0 };
    message_add_error(&made, &(struct message_fault){ "FATAL", "08P01", span_of(message), { 0 }, { 0 } });
    send_made_to_client(s, &made);
    session_end_with(s, DISCARD_DISCONNECT);
    return SESSION_BAD;
}

/* A decision can be made now. */
bool client_is_settled(const struct session *s)
{
    return session_is_settled(s) && !s->controls;
}

/* --- the beginning of a unit ------------------------------------------------------------------------ */

void client_begin_unit(struct session *s)
{
    if (s->unsynced == 0)
        s->unit_clean = s->pending.count == 0;
}

/* `required` is the server's own default_transaction_read_only, switched before the first statement under such rules. */
bool client_switch_read_only(struct session *s)
{
    bool wanted = s->front.mode == MODE_REQUIRED && !s->client_read_only;
    s->read_only_in_doubt &= !client_is_settled(s);
    if (wanted == (s->front.read_only_sent && !s->read_only_lost))
        return true;
    if (!client_is_settled(s) || s->server_status != 'I' || s->now.wrapper)
        return !wanted || s->server_status != 'I';
    struct plan *plan = session_plan(s);
    struct step *step = plan_add(plan, STEP_OURS);
    step->sql = plan_keep(
        plan, span_of(wanted ? "SET default_transaction_read_only = on" : "SET default_transaction_read_only = off"));
    step->swallow = true;
    step->after = s->front;
    step->after.read_only_sent = wanted;
    s->read_only_lost = false;
    send_own_unit(s, plan);
    return true;
}

void client_doubt_read_only(struct session *s)
{
    s->read_only_in_doubt |= s->front.mode == MODE_REQUIRED;
}

/* Routes that undo single units see one unit at a time; and no unit may follow a BEGIN that could still fail, or what may have reset the
 * protection of its route. */
bool client_must_wait(const struct session *s)
{
    if (s->going_ahead)
        return !client_is_settled(s);
    if (s->controls || s->expiry != EXPIRY_NONE || s->cancelling || s->finishing || s->rollback_owed)
        return !client_is_settled(s);
    if (s->unsynced > 0 || s->pending.count == 0)
        return false;
    return session_is_opening(s) || session_wants_units(&s->front) || session_has_more_to_say(s) ||
           s->read_only_in_doubt;
}

/* A statement without a request of its own may name one in a comment (sqlcommenter). */
void client_choose_route(struct session *s, struct span text)
{
    if (!s->comments_matter || s->expiry != EXPIRY_NONE || s->now.marked || s->now.wrapper || s->now.outer ||
        s->server_status != 'I' || s->now.client != CLIENT_NONE || !client_is_settled(s) || s->unsynced_sent > 0)
        return;
    struct buffer label = { 0 };
    bool named = memchr(text.data, '*', text.size) && statement_route_comment(text, &s->sql, &label);
    buffer_append_u8(&label, '\0');
    if (named) {
        request_rules(s, label.data, &s->now);
    } else {
        s->now.route = s->base_route;
        s->now.mode = s->base_mode;
    }
    s->front = s->now;
    if (named && (s->now.mode == MODE_ATOMIC || s->now.route))
        request_begin_labelled(s, label.data);
    buffer_free(&label);
}

void client_note_statement(struct session *s)
{
    if (s->expiry != EXPIRY_NONE)
        return;
    s->tx_used = true;
    request_count_statement(s);
}

/* Statements that the server never hears of under the rules in force. */
bool client_answers(const struct session *s, enum statement_kind kind)
{
    switch (kind) {
    case STATEMENT_MARK_REQUEST:
    case STATEMENT_MARK_OUTCOME:
    case STATEMENT_SHOW_REQUEST:
    case STATEMENT_SET_CONFIG: /* a mark or not: the Bind will tell */
        return true;
    case STATEMENT_BEGIN:
    case STATEMENT_COMMIT:
    case STATEMENT_ROLLBACK:
    case STATEMENT_SET_TRANSACTION:
        return state_is_virtual(&s->front) || s->front.client == CLIENT_LAZY;
    case STATEMENT_RESET_ALL:
    case STATEMENT_DISCARD_ALL: /* the failed transaction that it ends would not let it be parsed */
        return state_is_virtual(&s->front) && s->front.client == CLIENT_NONE && session_is_failed(s);
    default:
        return false;
    }
}

/* What had to go ahead of a message has failed, and the client was told: only the end of its unit is missing. */
enum session_result client_refuse_ahead(struct session *s)
{
    s->ahead_failed = false;
    send_ready(s);
    return client_taken(s, REST_DROP);
}

/* --- COPY, Terminate --------------------------------------------------------------------------- */

/* Nothing of the client's is being answered, only what is ours. */
static bool client_is_answered(struct session *s)
{
    for (size_t i = 0; i < s->pending.count; i++)
        if (!pending_at(&s->pending, i)->swallow)
            return false;
    return true;
}

static enum session_result on_copy(struct session *s, const struct frame *f)
{
    if (s->skipping || client_is_answered(s))
        return client_taken(s, REST_DROP); /* late: its COPY has failed */
    if (f->type != 'd') {
        s->copy_in = false;
        pending_push(&s->pending, (struct pending){ .kind = PENDING_COPY_END });
    }
    send_to_server(s, f->bytes);
    return client_taken(s, REST_FORWARD);
}

void session_break_copy(struct session *s, const char *why)
{
    if (!s->copy_in)
        return;
    struct buffer made = { 0 };
    message_add_copy_fail(&made, span_of(why));
    send_to_server(s, actions_keep(s->out, buffer_span(&made)));
    buffer_free(&made);
    s->copy_in = false;
}

/* Terminate takes its place in order, after what was sent before it (R5). */
static enum session_result on_terminate(struct session *s)
{
    session_break_copy(s, "the client has gone");
    s->skipping = false;
    if (!client_is_settled(s))
        return client_hold(s);
    session_terminate(s);
    return client_taken(s, REST_DROP);
}

/* --- the table --------------------------------------------------------------------------------- */

static bool is_extended(char type)
{
    return type == 'P' || type == 'B' || type == 'D' || type == 'E' || type == 'C';
}

enum session_result client_frame(struct session *s, const struct frame *f)
{
    if (is_extended(f->type) || f->type == 'F') /* must not wait for a COPY that waits for the client */
        session_break_copy(s, "a message came that is no part of it");
    if (s->skipping && f->type != 'S' && f->type != 'X') {
        if (!s->failure_owed)
            return client_taken(s, REST_DROP);
    }
    if (is_extended(f->type))
        return client_on_extended(s, f);
    switch (f->type) {
    case 'Q':
        return client_on_query(s, f);
    case 'S':
        return client_on_sync(s, f);
    case 'H':
        if (s->unsynced_sent > 0)
            send_to_server(s, f->bytes);
        return client_taken(s, REST_FORWARD);
    case 'd':
    case 'c':
    case 'f':
        return on_copy(s, f);
    case 'F':
        return client_on_function_call(s, f);
    case 'X':
        return on_terminate(s);
    default:
        return client_bad(s, "unexpected message type");
    }
}
