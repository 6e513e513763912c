/* How a plan travels, in either protocol, and the replies that pgatomic gives itself. */
#include "proxy/session/machine.h"

#include <stdlib.h>

#include "protocol/memory.h"

/* --- plans ------------------------------------------------------------------------------------- */

struct plan *session_plan(struct session *s)
{
    struct plan *plan = s->free_plans;
    if (plan) {
        s->free_plans = plan->next;
        return plan;
    }
    plan = or_abort(calloc(1, sizeof *plan));
    return plan;
}

static void count_in_flight(struct session *s, const struct step *step, bool out)
{
    size_t one = out ? 1 : (size_t)-1;
    if (step->effect == EFFECT_HOLD)
        s->events_in_flight += one;
    if (step->asks_xid)
        s->questions_in_flight += one;
    if (step->effect == EFFECT_REQUEST_COMMIT || step->effect == EFFECT_PLAIN_COMMIT)
        s->commits_in_flight += one;
}

/* Steps that were not reached never happened. */
void session_plan_done(struct session *s, struct plan *plan)
{
    if (!plan)
        return;
    for (size_t i = plan->at; plan->out && i < plan->step_count; i++)
        count_in_flight(s, &plan->steps[i], false);
    plan_reset(plan);
    if (plan_is_large(plan)) {
        plan_free(plan);
        return;
    }
    plan->next = s->free_plans;
    s->free_plans = plan;
}

void session_drop_head(struct session *s)
{
    struct pending *head = pending_head(&s->pending);
    if (head->prepared)
        prepared_release(head->prepared);
    session_plan_done(s, head->plan);
    pending_pop(&s->pending);
}

static void plan_is_out(struct session *s, struct plan *plan)
{
    plan->out = true;
    for (size_t i = 0; i < plan->step_count; i++)
        count_in_flight(s, &plan->steps[i], true);
    if (plan->step_count > 0)
        s->front = plan->steps[plan->step_count - 1].after;
    if (plan->controls)
        s->controls = true;
}

static void step_is_over(struct session *s, struct plan *plan)
{
    count_in_flight(s, &plan->steps[plan->at], false);
    plan->at++;
}

/* --- bytes ------------------------------------------------------------------------------------- */

void send_to_client(struct session *s, struct span bytes)
{
    if (!s->client_gone && bytes.size > 0)
        actions_to_client(s->out, bytes);
}

void send_to_server(struct session *s, struct span bytes)
{
    if (!s->server_gone && bytes.size > 0)
        actions_to_server(s->out, bytes);
}

void send_made_to_client(struct session *s, struct buffer *made)
{
    if (made->size > 0)
        send_to_client(s, actions_keep(s->out, buffer_span(made)));
    buffer_free(made);
}

static void send_made_to_server(struct session *s, struct buffer *made)
{
    send_to_server(s, actions_keep(s->out, buffer_span(made)));
    buffer_free(made);
}

void send_ready(struct session *s)
{
    struct buffer made = { 0 };
    message_add_ready(&made, session_client_status(s));
    send_made_to_client(s, &made);
}

/* --- local steps ------------------------------------------------------------------------------- */

/* True when it fails, which ends the plan. */
static bool do_local_step(struct session *s, struct plan *plan)
{
    const struct step *step = &plan->steps[plan->at];
    bool fails = step->fails;
    request_apply(s, plan, step, (struct span){ 0 });
    step = &plan->steps[plan->at];
    if (!step->swallow)
        send_to_client(s, actions_keep(s->out, plan_span(plan, step->reply)));
    step_is_over(s, plan);
    if (fails)
        s->failed_seen = false;
    return fails;
}

/* The local steps that come next. */
static void do_local_steps(struct session *s, struct plan *plan)
{
    while (plan->at < plan->step_count && plan->steps[plan->at].kind == STEP_LOCAL)
        if (do_local_step(s, plan))
            return;
}

/* The reply of our own to a Parse or Close was given, so that is done. */
static void name_is_answered(struct session *s, struct prepared *prepared)
{
    if (!prepared)
        return;
    if (prepared->closing)
        names_forget_one(&s->names, prepared);
    else
        names_confirm(&s->names, prepared);
    prepared_release(prepared);
}

void send_due(struct session *s)
{
    for (struct pending *head = pending_head(&s->pending); head; head = pending_head(&s->pending)) {
        struct plan *plan = head->plan;
        if (plan)
            do_local_steps(s, plan);
        head = pending_head(&s->pending);
        if (!head || head->kind != PENDING_LOCAL)
            return;
        struct prepared *prepared = head->prepared;
        pending_pop(&s->pending);
        session_plan_done(s, plan);
        name_is_answered(s, prepared);
    }
}

static void send_local_of(struct session *s, struct plan *take, struct prepared *prepared)
{
    plan_is_out(s, take);
    if (prepared)
        prepared->references++;
    if (s->pending.count > 0) {
        pending_push(&s->pending, (struct pending){ .kind = PENDING_LOCAL, .plan = take, .prepared = prepared });
        return;
    }
    do_local_steps(s, take);
    session_plan_done(s, take);
    name_is_answered(s, prepared);
}

void send_local(struct session *s, struct plan *take)
{
    send_local_of(s, take, NULL);
}

void send_local_bytes(struct session *s, struct buffer *made, struct prepared *prepared)
{
    struct plan *plan = session_plan(s);
    struct step *step = plan_add(plan, STEP_LOCAL);
    step->after = s->front;
    step->reply = plan_keep(plan, buffer_span(made));
    buffer_free(made);
    send_local_of(s, plan, prepared);
}

/* --- the simple protocol ----------------------------------------------------------------------- */

static void begin_query(struct session *s, struct plan *plan, bool swallow)
{
    plan_is_out(s, plan);
    s->unit++;
    pending_push(&s->pending, (struct pending){ .kind = PENDING_QUERY, .swallow = swallow, .plan = plan });
    send_due(s);
}

void send_query_plan(struct session *s, struct plan *take, bool swallow)
{
    if (take->text.size == 0) {
        plan_is_out(s, take);
        do_local_steps(s, take);
        session_plan_done(s, take);
        return;
    }
    struct buffer made = { 0 };
    message_add_query(&made, buffer_span(&take->text));
    send_made_to_server(s, &made);
    begin_query(s, take, swallow);
}

void send_query_behind(struct session *s, struct plan *take, struct span body, size_t left)
{
    struct buffer made = { 0 };
    buffer_append_u8(&made, 'Q');
    buffer_append_u32(&made, (uint32_t)(4 + take->text.size + body.size + left));
    buffer_append_span(&made, buffer_span(&take->text));
    take->prefix = take->text.size;
    buffer_clear(&take->text);
    send_made_to_server(s, &made);
    send_to_server(s, body);
    begin_query(s, take, false);
}

/* --- the extended protocol --------------------------------------------------------------------- */

static void owe(struct session *s, enum pending_kind kind, bool swallow, struct plan *plan)
{
    pending_push(&s->pending, (struct pending){ .kind = kind, .swallow = swallow, .plan = plan });
    s->unsynced_sent++;
    s->flushed = false;
}

/* One statement of ours between the client's messages, under names that no client has. */
static void send_own_statement(struct session *s, struct span sql, bool swallow, struct plan *plan)
{
    struct span statement = span_of(STATEMENT_OWN), portal = span_of(PORTAL_OWN);
    struct buffer made = { 0 };
    message_add_close(&made, 'P', portal); /* first, for an error may have skipped what stood last */
    message_add_close(&made, 'S', statement);
    message_add_parse(&made, statement, sql);
    message_add_bind(&made, portal, statement);
    message_add_execute(&made, portal, 0);
    send_made_to_server(s, &made);
    owe(s, PENDING_CLOSE, true, NULL);
    owe(s, PENDING_CLOSE, true, NULL);
    owe(s, PENDING_PARSE, true, NULL);
    owe(s, PENDING_BIND, true, NULL);
    owe(s, PENDING_EXECUTE, swallow, plan);
}

/* BEGIN opens almost every request, so it is prepared once. It may use the unnamed portal, for outside a transaction there is none
 * of the client's. */
static void send_own_begin(struct session *s, struct plan *plan)
{
    struct span statement = span_of(STATEMENT_OWN_BEGIN), portal = { "", 0 };
    struct buffer made = { 0 };
    if (!s->own_begin_prepared) {
        message_add_parse(&made, statement, span_of("BEGIN"));
        owe(s, PENDING_PARSE, true, NULL);
        pending_at(&s->pending, s->pending.count - 1)->own_begin = true;
    }
    message_add_bind(&made, portal, statement);
    message_add_execute(&made, portal, 0);
    send_made_to_server(s, &made);
    owe(s, PENDING_BIND, true, NULL);
    owe(s, PENDING_EXECUTE, true, plan);
}

/* A plan of one step, split off from one of several, because each Execute owns its own. */
static struct plan *plan_of_step(struct session *s, const struct plan *from, size_t i)
{
    struct plan *plan = session_plan(s);
    const struct step *step = &from->steps[i];
    buffer_append_span(&plan->bytes, buffer_span(&from->bytes));
    *plan_add(plan, step->kind) = *step;
    plan->controls = from->controls;
    return plan;
}

static void send_own_step(struct session *s, const struct plan *from, size_t i, bool may_use_unnamed_portal)
{
    struct plan *plan = plan_of_step(s, from, i);
    plan_is_out(s, plan);
    struct span sql = plan_span(plan, plan->steps[0].sql);
    if (may_use_unnamed_portal && span_is(sql, "BEGIN"))
        send_own_begin(s, plan);
    else
        send_own_statement(s, sql, plan->steps[0].swallow, plan);
    if (from->steps[i].asks_xid) /* the answer must not wait for what comes behind it (E9) */
        send_flush(s);
}

void send_prelude_plan(struct session *s, struct plan *take, bool at_unit_start)
{
    for (size_t i = 0; i < take->step_count; i++) {
        if (take->steps[i].kind == STEP_LOCAL)
            send_local(s, plan_of_step(s, take, i));
        else
            send_own_step(s, take, i, at_unit_start);
    }
    session_plan_done(s, take);
}

static void send_client_execute(struct session *s, const struct plan *from, size_t i, const struct portal *portal,
                                struct span execute)
{
    struct plan *plan = plan_of_step(s, from, i);
    plan_is_out(s, plan);
    if (portal->on_server) {
        send_to_server(s, execute);
        owe(s, PENDING_EXECUTE, false, plan);
    } else {
        send_own_statement(s, portal->prepared->statement.text, false, plan);
    }
}

/* Executing a portal that does not exist fails in any state of the transaction (R15). */
static void send_refusal(struct session *s, const struct plan *from, size_t i)
{
    struct plan *plan = plan_of_step(s, from, i);
    plan_is_out(s, plan);
    struct buffer made = { 0 };
    message_add_execute(&made, span_of(PORTAL_REFUSED), 0);
    send_made_to_server(s, &made);
    owe(s, PENDING_EXECUTE, false, plan);
}

void send_execute_plan(struct session *s, struct plan *take, const struct portal *portal, struct span execute)
{
    for (size_t i = 0; i < take->step_count; i++) {
        const struct step *step = &take->steps[i];
        switch (step->kind) {
        case STEP_LOCAL:
            send_local(s, plan_of_step(s, take, i));
            break;
        case STEP_CLIENT:
            send_client_execute(s, take, i, portal, execute);
            break;
        case STEP_OURS:
            if (step->refusal.size > 0)
                send_refusal(s, take, i);
            else
                send_own_step(s, take, i, false);
            break;
        }
    }
    session_plan_done(s, take);
}

static void send_own_sync(struct session *s)
{
    struct buffer made = { 0 };
    message_add_sync(&made);
    send_sync(s, actions_keep(s->out, buffer_span(&made)), true);
    buffer_free(&made);
}

void send_own_unit(struct session *s, struct plan *take)
{
    if (s->unsynced_sent > 0) /* the client's messages before it have their end here, or the server skips ours */
        send_own_sync(s);
    send_prelude_plan(s, take, false);
    send_own_sync(s);
}

void send_sync(struct session *s, struct span bytes, bool swallow)
{
    send_to_server(s, bytes);
    s->unit++;
    pending_push(&s->pending, (struct pending){ .kind = PENDING_SYNC, .swallow = swallow });
    s->unsynced_sent = 0;
    s->flushed = false;
}

void send_flush(struct session *s)
{
    if (s->flushed || s->unsynced_sent == 0)
        return;
    struct buffer made = { 0 };
    message_add_flush(&made);
    send_made_to_server(s, &made);
    s->flushed = true;
}

void send_close_portal(struct session *s, struct span name)
{
    struct buffer made = { 0 };
    message_add_close(&made, 'P', name);
    send_made_to_server(s, &made);
    owe(s, PENDING_CLOSE, true, NULL);
}
