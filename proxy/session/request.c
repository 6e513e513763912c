/* Requests and their events: begun, held, released, discarded (R2, R12, E2 to E4, E6). */
#include "proxy/session/machine.h"

#include <stdlib.h>

/* --- rules ------------------------------------------------------------------------------------- */

void request_rules(const struct session *s, const char *label, struct state *st)
{
    struct request_attributes attributes = *s->who;
    attributes.label = label;
    const struct route *route = config_route(s->config, &attributes);
    st->route = route;
    st->mode = route ? route->mode : MODE_AUTOCOMMIT;
}

/* The rules of unmarked requests are looked up once, not for each. */
void request_choose_base(struct session *s)
{
    struct state base = { 0 };
    request_rules(s, s->who->label, &base);
    s->base_route = base.route;
    s->base_mode = base.mode;
    const struct database *database = config_database(s->config, s->who->database);
    s->can_ask = database && database->control;
    s->comments_matter = base.mode != MODE_AUTOCOMMIT;
    for (size_t i = 0; i < s->config->route_count; i++)
        s->comments_matter |= s->config->routes[i].match != NULL;
    if (!s->now.marked && !s->now.wrapper && !s->now.outer && s->pending.count == 0) {
        s->now.route = base.route;
        s->now.mode = base.mode;
        s->front = s->now;
    }
}

/* --- the request ------------------------------------------------------------------------------- */

static struct action *tell(struct session *s, enum action_kind kind, enum discard_reason discard)
{
    struct action *action = actions_add(s->out, kind);
    action->request = request_retain(s->request);
    action->discard = discard;
    return action;
}

static void tell_begun(struct session *s)
{
    if (!s->request_told)
        tell(s, ACTION_REQUEST_BEGUN, DISCARD_ROLLBACK);
    s->request_told = true;
}

/* A beginning that was told has an end that is told. */
static void forget_request(struct session *s, enum action_kind end, enum discard_reason reason)
{
    if (s->request_told)
        tell(s, end, reason);
    s->request_told = false;
    if (s->request)
        request_release(s->request);
    s->request = NULL;
    s->request_deadline_us = s->idle_deadline_us = 0;
    s->failed_seen = false;
    buffer_clear(&s->failure);
}

/* Whatever it has done is done already. */
static void leave_request(struct session *s)
{
    forget_request(s, ACTION_REQUEST_COMMITTED, DISCARD_ROLLBACK);
}

/* Autocommit transactions are requests too, but only those with events are worth a line in the log. */
static void begin_request(struct session *s, const char *label)
{
    unsigned char id[EVENT_ID_SIZE];
    s->new_id(s->context, id);
    struct request_names names = { .route = s->now.route ? s->now.route->name : "",
                                   .label = label ? label : "",
                                   .database = s->who->database,
                                   .user = s->who->user,
                                   .application = s->who->application,
                                   .client = s->client };
    s->request = request_new(id, &names, s->config, s->now_us);
    if (s->now.mode == MODE_ATOMIC || s->now.marked)
        tell_begun(s);
}

struct request *request_ensure(struct session *s)
{
    if (!s->request)
        begin_request(s, s->who->label);
    return s->request;
}

void request_begin_labelled(struct session *s, const char *label)
{
    leave_request(s);
    begin_request(s, label);
}

void request_count_statement(struct session *s)
{
    if (s->request)
        s->request->statements++;
}

static void publish(struct session *s, bool sandbox)
{
    uint64_t xid = doubt_take_number(s);
    struct notification *first = txn_take(&s->txn);
    settings_release(&s->settings, 0);
    if (!first)
        return;
    for (struct notification *e = first; e; e = e->next) {
        e->sandbox = sandbox;
        e->xid = xid;
        e->durable = !sandbox && e->channel->delivery == DELIVERY_OUTBOX;
    }
    struct action *action = actions_add(s->out, ACTION_PUBLISH);
    action->events = first;
    action->request = request_retain(request_ensure(s));
}

static void discard(struct session *s, struct notification *events, enum discard_reason reason)
{
    if (!events)
        return;
    struct action *action = actions_add(s->out, ACTION_EVENTS_DISCARDED);
    action->events = events;
    action->discard = reason;
}

void request_discard_all(struct session *s, enum discard_reason reason)
{
    struct notification *events = txn_take(&s->txn);
    uint64_t xid = doubt_take_number(s);
    for (struct notification *e = events; e; e = e->next)
        e->xid = xid;
    discard(s, events, reason);
}

void request_tell_commit_failed(struct session *s, struct span words)
{
    request_ensure(s);
    tell(s, ACTION_COMMIT_FAILED, DISCARD_ERROR)->bytes = actions_keep(s->out, words);
}

void request_tell_unknown(struct session *s)
{
    request_ensure(s);
    tell(s, ACTION_COMMIT_UNKNOWN, DISCARD_SERVER_LOST)->bytes = actions_keep(s->out, span_of(s->xid));
}

void request_finish_committed(struct session *s)
{
    publish(s, s->now.mode == MODE_SANDBOX);
    settings_forget(&s->settings);
    s->settings_stand = s->settings_precede_unit = false;
    leave_request(s);
}

void request_finish_rolled_back(struct session *s, enum discard_reason reason)
{
    request_discard_all(s, reason);
    s->settings_stand = s->settings_precede_unit = false;
    forget_request(s, ACTION_REQUEST_ROLLED_BACK, reason);
}

void request_end_early(struct session *s, enum discard_reason reason)
{
    request_finish_rolled_back(s, reason);
    s->now.client = CLIENT_NONE;
    s->front = s->now;
}

const struct expiry_words *request_expiry_words(const struct session *s)
{
    static const char timeout[] = "request was rolled back: it ran longer than its route's timeout";
    static const char idle[] = "request was rolled back: it was idle longer than its route's idle_timeout";
    static const struct expiry_words words[] = {
        [EXPIRY_TIMEOUT] = { "25P04", timeout, timeout },
        [EXPIRY_IDLE] = { "25P03", idle, idle },
        [EXPIRY_REFUSED] = { "25P02", "current transaction is aborted, commands ignored until end of transaction block",
                             "request was rolled back: an earlier statement failed" },
    };
    return &words[s->expiry];
}

/* --- effects ----------------------------------------------------------------------------------- */

bool request_folds(const struct txn *t, const struct plan *plan, const struct step *step)
{
    return step->channel->duplicates == DUPLICATES_FOLD && !step->written &&
           txn_holds(t, plan_span(plan, step->name), plan_span(plan, step->payload));
}

static void hold_event(struct session *s, const struct plan *plan, const struct step *step)
{
    unsigned char id[EVENT_ID_SIZE];
    struct span name = plan_span(plan, step->name), payload = plan_span(plan, step->payload);
    if (request_folds(&s->txn, plan, step))
        return;
    struct request *request = request_ensure(s);
    tell_begun(s);
    if (step->id.size > 0)
        memcpy(id, plan_span(plan, step->id).data, sizeof id);
    else
        s->new_id(s->context, id);
    struct notification *event = notification_new(id, request, step->channel, name, payload);
    event->held_us = s->now_us;
    event->durable = step->written;
    request->events++;
    txn_hold(&s->txn, event);
    actions_add(s->out, ACTION_EVENT_HELD)->event = event;
}

static void roll_back_events_to(struct session *s, struct span name, enum discard_reason reason)
{
    struct notification *cut = NULL;
    if (txn_rollback_to(&s->txn, name, &cut))
        settings_rollback_to(&s->settings, s->txn.mark_count);
    discard(s, cut, reason);
    buffer_clear(&s->failure); /* what failed behind the savepoint has failed nothing else (R3) */
}

static void release(struct session *s, struct span name)
{
    txn_release(&s->txn, name);
    settings_release(&s->settings, s->txn.mark_count);
}

/* As its COMMIT or ROLLBACK would end the request that it is, were it not in a sandbox. */
static void end_sandbox_transaction(struct session *s, bool committed, enum discard_reason reason)
{
    if (committed) {
        publish(s, true);
        leave_request(s);
    } else {
        request_finish_rolled_back(s, reason);
    }
}

static void end_client_transaction(struct session *s, bool committed)
{
    struct span name = span_of(SAVEPOINT_CLIENT);
    if (!committed)
        roll_back_events_to(s, name, DISCARD_ROLLBACK);
    release(s, name);
    s->close_cursors = s->names.cursors != NULL;
    if (s->now.mode == MODE_SANDBOX && !s->now.marked)
        end_sandbox_transaction(s, committed, DISCARD_ROLLBACK);
}

/* The end of a transaction that is the client's own. It is a request by itself, unless a mark has said where that ends. */
static void end_own_transaction(struct session *s, bool committed, enum discard_reason reason)
{
    s->tx_used = false;
    if (s->now.marked && committed)
        publish(s, false);
    else if (s->now.marked)
        request_discard_all(s, reason);
    else if (committed)
        request_finish_committed(s);
    else
        request_finish_rolled_back(s, reason);
}

static void begin_marked(struct session *s, struct span label)
{
    struct buffer name = { 0 };
    buffer_append_string(&name, label);
    leave_request(s);
    begin_request(s, name.data);
    buffer_free(&name);
}

static void prepare(struct session *s, struct span name, struct span body)
{
    if (name.size == 0 || names_find(&s->names, name))
        return;
    struct prepared *p = names_prepare(&s->names, name, body, &s->sql);
    p->on_server = p->confirmed = true;
    if (p->statement.kind != STATEMENT_PG_NOTIFY)
        names_forget(&s->names, name);
}

static void forget_statements(struct session *s)
{
    names_deallocate(&s->names, NULL);
    s->own_begin_prepared = false;
}

/* A client's BEGIN that has run nothing outlives the request around it: what comes is still behind it. */
static void keep_client_begin(struct session *s)
{
    struct span name = span_of(SAVEPOINT_CLIENT);
    if (s->now.client == CLIENT_LAZY && txn_find(&s->txn, name) == 0)
        txn_savepoint(&s->txn, name);
}

void request_apply(struct session *s, const struct plan *plan, const struct step *step, struct span tag)
{
    struct span name = plan_span(plan, step->name);
    enum effect effect = step->effect;
    if (effect == EFFECT_REQUEST_BEGIN || effect == EFFECT_REQUEST_OPEN) /* under its own rules */
        s->now = step->after;

    switch (effect) {
    case EFFECT_NONE:
        break;
    case EFFECT_REQUEST_BEGIN:
        begin_marked(s, name);
        break;
    case EFFECT_REQUEST_OPEN:
        request_ensure(s);
        break;
    case EFFECT_REQUEST_COMMIT:
        request_finish_committed(s);
        break;
    case EFFECT_REQUEST_ROLLBACK:
        request_finish_rolled_back(s, step->discard);
        break;
    case EFFECT_CLIENT_BEGIN:
        txn_savepoint(&s->txn, span_of(SAVEPOINT_CLIENT));
        break;
    case EFFECT_CLIENT_COMMIT:
        end_client_transaction(s, true);
        break;
    case EFFECT_CLIENT_ROLLBACK:
        end_client_transaction(s, false);
        break;
    case EFFECT_PLAIN_COMMIT:
        /* a COMMIT that answers ROLLBACK released nothing (E3) */
        end_own_transaction(s, tag.size == 0 || !span_is(tag, "ROLLBACK"), DISCARD_ROLLBACK);
        break;
    case EFFECT_PLAIN_ROLLBACK:
        end_own_transaction(s, false, step->discard);
        break;
    case EFFECT_SAVEPOINT:
        txn_savepoint(&s->txn, name);
        break;
    case EFFECT_RELEASE:
        release(s, name);
        break;
    case EFFECT_ROLLBACK_TO:
        roll_back_events_to(s, name, step->discard);
        if (s->now.mode == MODE_SANDBOX && !s->now.marked && span_is(name, SAVEPOINT_UNIT))
            end_sandbox_transaction(s, false, step->discard);
        break;
    case EFFECT_IMPLICIT_COMMIT:
        release(s, name);
        end_sandbox_transaction(s, true, DISCARD_ROLLBACK);
        break;
    case EFFECT_HOLD:
        hold_event(s, plan, step);
        break;
    case EFFECT_SETTING:
        settings_remember(&s->settings, name, plan_span(plan, step->payload), s->txn.mark_count);
        if (!step->after.wrapper && !step->after.outer)
            s->settings_stand = s->settings_precede_unit = true;
        break;
    case EFFECT_SETTINGS_AGAIN:
        s->settings_stand = true;
        break;
    case EFFECT_CURSOR:
        names_add_cursor(&s->names, name, true, false);
        break;
    case EFFECT_PREPARE:
        prepare(s, name, plan_span(plan, step->payload));
        break;
    case EFFECT_DEALLOCATE:
        names_deallocate(&s->names, &name);
        break;
    case EFFECT_RESET_ALL:
        settings_forget(&s->settings);
        break;
    case EFFECT_DISCARD_ALL:
        settings_forget(&s->settings);
        forget_statements(s);
        break;
    case EFFECT_DEALLOCATE_ALL:
        forget_statements(s);
        break;
    case EFFECT_FAILED_SEEN:
        s->failed_seen = true;
        release(s, span_of(SAVEPOINT_CLIENT)); /* of a joined transaction, which is over */
        break;
    case EFFECT_REQUEST_OVER:
        request_finish_rolled_back(s, s->expiry == EXPIRY_REFUSED ? DISCARD_ERROR : DISCARD_TIMEOUT);
        s->expiry = EXPIRY_NONE;
        break;
    }
    s->now = step->after;
    keep_client_begin(s);
}

/* A client's BEGIN may stand behind the unit already, but is not within it while the server has not heard of it. */
void request_end_unit(struct session *s)
{
    size_t place = txn_find(&s->txn, span_of(SAVEPOINT_UNIT));
    if (place == 0 || s->now.client == CLIENT_OPEN || s->now.client == CLIENT_JOINED)
        return;
    txn_forget(&s->txn, place);
    settings_release(&s->settings, place - 1);
}

/* The end of an implicit transaction: ReadyForQuery after a Query or Sync, with no transaction open (E3). */
void request_settle_implicit(struct session *s)
{
    if (s->request && (s->unit_failed || s->txn.event_count > 0))
        end_own_transaction(s, !s->unit_failed, DISCARD_ERROR);
    else if (s->request && !s->now.marked)
        leave_request(s);
    s->tx_used = false;
    doubt_take_number(s);
}

/* --- time (R12) -------------------------------------------------------------------------------- */

static bool in_transaction(const struct session *s)
{
    return s->now.wrapper || s->front.wrapper || s->now.client != CLIENT_NONE ||
           (!state_is_virtual(&s->now) && s->server_status != 'I');
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    if (a == 0)
        return b;
    return b == 0 || a < b ? a : b;
}

/* `timeout` runs from the first statement, `idle_timeout` while the client is silent. Nothing runs while a COMMIT is out. */
void request_arm_timers(struct session *s)
{
    if (s->leaving)
        return;
    const struct route *route = s->front.route;
    bool runs = route && (route->timeout_ms || route->idle_timeout_ms) && s->expiry == EXPIRY_NONE && !s->closing &&
                (in_transaction(s) || s->now.marked);
    if (!runs) {
        s->request_deadline_us = s->idle_deadline_us = 0;
    } else {
        bool begun = in_transaction(s);
        if (begun && route->timeout_ms && s->request_deadline_us == 0)
            s->request_deadline_us = s->now_us + route->timeout_ms * 1000;
        bool idle = s->pending.count == 0 && route->idle_timeout_ms;
        if (!idle)
            s->idle_deadline_us = 0;
        else if (s->idle_deadline_us == 0)
            s->idle_deadline_us = s->now_us + route->idle_timeout_ms * 1000;
    }
    uint64_t deadline = s->commits_in_flight > 0 ? 0 : earlier(s->request_deadline_us, s->idle_deadline_us);
    if (deadline == s->deadline_us)
        return;
    s->deadline_us = deadline;
    actions_add(s->out, ACTION_SET_TIMER)->deadline_us = deadline;
}
