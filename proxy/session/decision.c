/* The steps of a plan, as decisions build them, and how a decision says no.
 *
 * In the simple protocol a step is a piece of the string that the server gets; in the extended protocol it becomes messages
 * later (send.c). Either way a step carries the state that holds once it has succeeded. */
#include "proxy/session/decision.h"

#include <ctype.h>

/* --- building steps ---------------------------------------------------------------------------- */

static struct step *settle(struct decision *d, struct step *step, enum effect effect)
{
    step->effect = effect;
    step->after = d->st;
    d->held += effect == EFFECT_HOLD;
    if (effect == EFFECT_HOLD || effect == EFFECT_CLIENT_BEGIN)
        d->capture = effect;
    return step;
}

struct step *decision_client(struct decision *d, struct span slice, enum effect effect)
{
    if (d->simple)
        plan_append_client(d->plan, slice, d->client_characters);
    d->ran = true;
    return settle(d, plan_add(d->plan, STEP_CLIENT), effect);
}

struct step *decision_ours(struct decision *d, const char *sql, enum effect effect)
{
    struct step *step = plan_add(d->plan, STEP_OURS);
    step->sql = plan_keep(d->plan, span_of(sql));
    if (d->simple)
        plan_append_ours(d->plan, span_of(sql));
    return settle(d, step, effect);
}

struct step *decision_hidden(struct decision *d, const char *sql, enum effect effect)
{
    struct step *step = decision_ours(d, sql, effect);
    step->swallow = true;
    return step;
}

struct step *decision_local(struct decision *d, enum effect effect)
{
    return settle(d, plan_add(d->plan, STEP_LOCAL), effect);
}

bool decision_has_events(const struct decision *d)
{
    return d->held + d->s->txn.event_count > 0;
}

bool decision_has_begun(const struct decision *d)
{
    return decision_has_events(d) || (d->s->request && d->s->request->events > 0 && !d->moved);
}

size_t decision_captured(const struct decision *d)
{
    return d->s->txn.event_count + d->s->events_in_flight + d->held;
}

void decision_settle(struct decision *d)
{
    d->settled = decision_captured(d);
    d->asked = false;
}

void decision_name(struct decision *d, struct step *step, struct span name)
{
    step->name = plan_keep(d->plan, name);
}

void decision_reply(struct decision *d, struct step *step, struct buffer *made)
{
    step->reply = plan_keep(d->plan, buffer_span(made));
    buffer_free(made);
}

void decision_reply_tag(struct decision *d, struct step *step, const char *tag)
{
    struct buffer made = { 0 };
    message_add_command_complete(&made, span_of(tag));
    decision_reply(d, step, &made);
}

/* PostgreSQL warns and goes on. */
void decision_warn(struct decision *d, struct step *step, const char *sqlstate, const char *text, const char *tag)
{
    struct buffer made = { 0 };
    message_add_notice(&made, &(struct message_fault){ "WARNING", sqlstate, span_of(text), { 0 }, { 0 } });
    message_add_command_complete(&made, span_of(tag));
    decision_reply(d, step, &made);
}

void decision_fail(struct decision *d, struct step *step, const char *sqlstate, const char *text, struct span detail)
{
    struct buffer made = { 0 };
    message_add_error(&made, &(struct message_fault){ "ERROR", sqlstate, span_of(text), detail, { 0 } });
    decision_reply(d, step, &made);
    step->fails = true;
    d->stopped = true;
}

static const char *output_column(struct decision *d, const struct statement *st, const char *function,
                                 struct buffer *name)
{
    if (st->column.kind != OPERAND_NAME || !operand_decode(&st->column, &d->s->sql, name))
        buffer_append_text(name, function);
    buffer_append_u8(name, '\0');
    return name->data;
}

static void add_row(struct decision *d, const struct statement *st, const char *function, bool is_text,
                    struct span value, struct buffer *made)
{
    struct buffer name = { 0 };
    const char *column = output_column(d, st, function, &name);
    if (d->simple)
        message_add_row_description(made, span_of(column), is_text ? 25 : 2278, is_text ? -1 : 4, 0);
    message_add_data_row(made, value);
    buffer_free(&name);
}

void decision_reply_row(struct decision *d, struct step *step, const struct statement *st, const char *function,
                        bool is_text, struct span value)
{
    struct buffer made = { 0 };
    add_row(d, st, function, is_text, value, &made);
    decision_reply(d, step, &made);
}

void decision_reply_row_complete(struct decision *d, struct step *step, const struct statement *st,
                                 const char *function, bool is_text, struct span value)
{
    struct buffer made = { 0 };
    add_row(d, st, function, is_text, value, &made);
    if (d->max_rows == 1)
        message_add_empty(&made, 's'); /* PostgreSQL has not looked for a second row yet */
    else
        message_add_command_complete(&made, span_of("SELECT 1"));
    decision_reply(d, step, &made);
}

void decision_discard(struct step *step, enum discard_reason reason)
{
    step->discard = reason;
}

const char *decision_begin_tag(const struct statement *st)
{
    return st->text.size > 0 && tolower((unsigned char)st->text.data[0]) == 's' ? "START TRANSACTION" : "BEGIN";
}

/* --- refusing ---------------------------------------------------------------------------------- */

/* A request has begun, although the server may not know it, and a failure fails it (R3, R9). */
static bool request_would_fail(const struct decision *d)
{
    return state_is_virtual(&d->st) && d->s->expiry == EXPIRY_NONE && (d->st.marked || decision_has_begun(d));
}

/* No transaction is open, nor a request that would have to fail, and the server has nothing to do with this string or pipeline; or with the
 * request any more. */
static bool server_is_out_of_it(const struct decision *d)
{
    const struct session *s = d->s;
    if (s->expiry != EXPIRY_NONE)
        return true;
    if (request_would_fail(d))
        return false;
    return s->server_status == 'I' && session_is_settled(s) && s->unsynced_sent == 0 && d->st.client == CLIENT_NONE &&
           (!d->simple || d->plan->text.size == 0);
}

static void refuse_on_server(struct decision *d, const char *sqlstate, const char *message, struct span detail)
{
    struct buffer made = { 0 };
    message_add_error(&made, &(struct message_fault){ "ERROR", sqlstate, span_of(message), detail, { 0 } });
    struct step *step = decision_ours(d, "ROLLBACK TO SAVEPOINT " PORTAL_REFUSED, EFFECT_NONE);
    step->refusal = plan_keep(d->plan, buffer_span(&made));
    buffer_free(&made);
    d->stopped = true;
}

void decide_refusal(struct decision *d, const char *sqlstate, const char *message, struct span detail)
{
    if (server_is_out_of_it(d)) {
        decision_fail(d, decision_local(d, EFFECT_NONE), sqlstate, message, detail);
        return;
    }
    if (d->st.wrapper || d->st.outer || d->st.marked || d->st.client != CLIENT_NONE || request_would_fail(d))
        decide_prelude(d);
    refuse_on_server(d, sqlstate, message, detail);
}

void decide_refuse(struct decision *d, const char *sqlstate, const char *message)
{
    if (!state_is_virtual(&d->st) || d->s->expiry != EXPIRY_NONE) {
        decide_refusal(d, sqlstate, message, (struct span){ 0 });
        return;
    }
    decide_prelude(d);
    refuse_on_server(d, sqlstate, message, (struct span){ 0 });
}

void decide_refuse_lightly(struct decision *d, const char *sqlstate, const char *message)
{
    decide_refusal(d, sqlstate, message, (struct span){ 0 });
}
