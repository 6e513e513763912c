/* The doors of the session machine: frames in, loss, time. */
#include "proxy/session/machine.h"

#include <stdlib.h>

#include "protocol/memory.h"

enum { LEAVE_US = 1000 * 1000 };

struct session *session_new(const struct session_start *start)
{
    struct session *s = or_abort(calloc(1, sizeof *s));
    s->config = config_retain(start->config);
    s->attributes = start->attributes;
    s->who = attributes_share(start->attributes, &start->who);
    s->client = start->client;
    s->sql.encoding = encoding_find(start->client_encoding);
    s->server_encoding = encoding_find(start->server_encoding);
    s->sql.standard_conforming_strings = start->standard_conforming_strings;
    s->client_read_only = start->default_read_only;
    s->new_id = start->new_id;
    s->sink_behind = start->sink_behind;
    s->context = start->context;
    s->server_status = 'I';
    request_choose_base(s);
    return s;
}

void session_free_rooms(struct session *s)
{
    while (s->pending.count > 0)
        session_drop_head(s);
    while (s->free_plans) {
        struct plan *plan = s->free_plans;
        s->free_plans = plan->next;
        plan_free(plan);
    }
    pending_free(&s->pending);
    txn_free(&s->txn);
    names_free(&s->names);
    settings_free(&s->settings);
    buffer_free(&s->failure);
    buffer_free(&s->last_words);
}

void session_free(struct session *s)
{
    session_free_rooms(s);
    if (s->request)
        request_release(s->request);
    config_release(s->config);
    if (s->next_config)
        config_release(s->next_config);
    attributes_release(s->attributes, s->who);
    free(s);
}

void session_set_time(struct session *s, uint64_t now_us)
{
    s->now_us = now_us;
}

/* New rules, from a new config or for a new application name, are taken up between requests. */
static void adopt_rules(struct session *s)
{
    if (!s->rules_stale || !session_is_between_requests(s))
        return;
    if (s->next_config) {
        config_release(s->config);
        s->config = s->next_config;
        s->next_config = NULL;
    }
    s->rules_stale = false;
    request_choose_base(s);
}

void session_set_config(struct session *s, struct config *config)
{
    if (s->next_config)
        config_release(s->next_config);
    s->next_config = config_retain(config);
    s->rules_stale = true;
    adopt_rules(s);
}

void session_rename(struct session *s, struct span application)
{
    const struct request_attributes *before = s->who;
    struct request_attributes renamed = *before;
    char *name = memory_copy_span(application);
    renamed.application = name;
    s->who = attributes_share(s->attributes, &renamed);
    free(name);
    attributes_release(s->attributes, before);
    s->rules_stale = true; /* for requests that begin from now on */
}

char session_client_status(const struct session *s)
{
    if (s->expiry != EXPIRY_NONE)
        return s->failed_seen ? 'I' : 'E';
    if (s->now.client == CLIENT_LAZY)
        return 'T';
    if (!state_is_virtual(&s->now))
        return s->server_status;
    if (s->now.client != CLIENT_NONE)
        return s->server_status == 'E' ? 'E' : 'T';
    return s->server_status == 'E' && !s->failed_seen ? 'E' : 'I';
}

bool session_is_busy(const struct session *s)
{
    return s->pending.count > 0;
}

enum session_activity session_activity(const struct session *s)
{
    if (s->pending.count > 0)
        return SESSION_RUNS;
    return s->server_status == 'I' ? SESSION_RESTS : SESSION_STAYS;
}

void session_tell_facts(const struct session *s, struct session_facts *out)
{
    *out = (struct session_facts){ .database = s->who->database,
                                   .user = s->who->user,
                                   .application = s->who->application,
                                   .request = s->request,
                                   .route = s->now.route ? s->now.route->name : "",
                                   .held_events = s->txn.event_count,
                                   .status = session_client_status(s),
                                   .busy = session_is_busy(s),
                                   .queries = s->unit_done,
                                   .transactions = s->transactions };
}

bool session_is_between_requests(const struct session *s)
{
    return session_is_settled(s) && s->unsynced == 0 && s->unsynced_sent == 0 && s->server_status == 'I' &&
           !s->now.marked && !s->now.wrapper && s->now.client == CLIENT_NONE && s->expiry == EXPIRY_NONE && !s->request;
}

/* --- ends -------------------------------------------------------------------------------------- */

static void close_both(struct session *s)
{
    if (s->closing)
        return;
    s->closing = true;
    struct buffer made = { 0 };
    message_add_terminate(&made);
    send_to_server(s, actions_keep(s->out, buffer_span(&made)));
    buffer_free(&made);
    actions_add(s->out, ACTION_CLOSE);
}

/* The connection to the server goes, and with it whatever transaction is open there. */
static void abandon(struct session *s, enum discard_reason reason)
{
    request_discard_all(s, reason);
    bool no_outcome = s->now.marked && reason == DISCARD_DISCONNECT; /* R4 */
    request_finish_rolled_back(s, no_outcome ? DISCARD_NO_OUTCOME : reason);
    close_both(s);
}

/* A Query or a Sync is being answered: an implicit transaction may end with it. */
static bool end_of_unit_is_out(struct session *s)
{
    for (size_t i = 0; i < s->pending.count; i++) {
        enum pending_kind kind = pending_at(&s->pending, i)->kind;
        if (kind == PENDING_SYNC || kind == PENDING_QUERY)
            return true;
    }
    return false;
}

/* The server may have committed already, or may be about to: only its reply can tell (E4, R12). */
static bool commit_is_out(struct session *s)
{
    if (s->commits_in_flight > 0 || s->ending)
        return true;
    bool implicit = !state_is_virtual(&s->now) && s->server_status == 'I' && end_of_unit_is_out(s);
    return implicit && (s->events_in_flight > 0 || s->txn.event_count > 0);
}

/* Nothing that the client has not sent may stand between us and that reply. */
static void ask_for_the_reply(struct session *s)
{
    session_break_copy(s, "the client has gone");
    send_flush(s);
}

static void client_is_gone(struct session *s, enum discard_reason reason)
{
    if (s->client_gone || s->closing)
        return;
    s->client_gone = true;
    s->gone_reason = reason;
    if (s->in_doubt)
        return;
    if (commit_is_out(s)) {
        ask_for_the_reply(s);
        return;
    }
    if (session_is_settled(s) || s->server_gone) {
        abandon(s, reason);
        return;
    }
    if (!s->cancelling) {
        s->cancelling = true;
        actions_add(s->out, ACTION_CANCEL_SERVER);
    }
}

static void leave(struct session *s, const char *sqlstate, const char *detail)
{
    struct buffer made = { 0 };
    struct span words = span_of("terminating connection due to administrator command");
    message_add_error(&made, &(struct message_fault){ "FATAL", sqlstate, words, span_of(detail), { 0 } });
    send_made_to_client(s, &made);
    client_is_gone(s, DISCARD_DISCONNECT);
}

/* Its ReadyForQuery, if that is under way, belongs to it. */
static bool commit_is_owed_a_reply(struct session *s)
{
    bool told = s->commit_told || s->unit_failed;
    return commit_is_out(s) || s->finishing || (told && end_of_unit_is_out(s));
}

static void leave_behind_commit(struct session *s)
{
    s->leaving = true;
    s->deadline_us = s->now_us + LEAVE_US;
    actions_add(s->out, ACTION_SET_TIMER)->deadline_us = s->deadline_us;
    ask_for_the_reply(s);
}

void session_end_with(struct session *s, enum discard_reason reason)
{
    client_is_gone(s, reason);
}

/* R5: after what was sent before it, the request ends as its route says. */
void session_terminate(struct session *s)
{
    bool cut_short = s->unsynced > 0;
    bool open = s->now.wrapper || (s->now.mode == MODE_ATOMIC && s->request) || s->now.marked;
    s->ending = true;
    if (!state_is_virtual(&s->now) && !s->now.marked) {
        abandon(s, DISCARD_DISCONNECT);
        return;
    }
    if (!open || s->expiry != EXPIRY_NONE) {
        abandon(s, s->now.marked ? DISCARD_NO_OUTCOME : DISCARD_DISCONNECT);
        return;
    }
    struct plan *plan = session_plan(s);
    struct decision d;
    decide_init(&d, s, plan, false);
    if (s->now.marked)
        decide_request_end(&d, false, DISCARD_NO_OUTCOME, (struct span){ 0 });
    else if (cut_short)
        decide_request_end(&d, false, DISCARD_DISCONNECT, (struct span){ 0 });
    else
        decide_unmarked_end(&d);
    s->client_gone = true;
    send_own_unit(s, plan);
    session_progress(s);
}

/* --- time (R12) -------------------------------------------------------------------------------- */

/* The request is rolled back on the server; its client learns of it with its next statement. */
static void roll_back_expired(struct session *s)
{
    struct plan *plan = session_plan(s);
    struct decision d;
    s->rollback_owed = false;
    decide_init(&d, s, plan, false);
    decide_expiry(&d);
    send_own_unit(s, plan);
}

static bool something_to_roll_back(const struct session *s)
{
    return s->now.wrapper || s->now.client == CLIENT_OPEN || s->now.client == CLIENT_JOINED || s->server_status != 'I';
}

static void tell_timed_out(struct session *s)
{
    const struct route *route = s->front.route;
    struct action *action = actions_add(s->out, ACTION_TIMED_OUT);
    action->bytes = actions_keep(s->out, span_of(route != NULL ? route->name : ""));
    action->idle = s->expiry == EXPIRY_IDLE;
    action->request = s->request != NULL ? request_retain(s->request) : NULL;
}

void session_on_time(struct session *s, struct actions *a)
{
    s->out = a;
    uint64_t deadline = s->deadline_us;
    if (deadline == 0 || s->now_us < deadline || s->closing || s->client_gone)
        return;
    if (s->leaving)
        leave(s, "08007", "COMMIT has not been answered: whether the transaction was committed is not known.");
    if (s->leaving || s->in_doubt || s->expiry != EXPIRY_NONE)
        return;
    s->expiry = deadline == s->request_deadline_us ? EXPIRY_TIMEOUT : EXPIRY_IDLE;
    tell_timed_out(s);
    s->failed_seen = false;
    s->rollback_owed = true;
    if (s->pending.count > 0) {
        session_break_copy(s, "the request has timed out");
        s->cancelling = true;
        actions_add(a, ACTION_CANCEL_SERVER);
    }
    session_progress(s);
}

/* --- progress ---------------------------------------------------------------------------------- */

/* What had to wait until nothing was owed. */
void session_progress(struct session *s)
{
    if (s->closing || s->in_doubt)
        return;
    if (s->leaving && !s->client_gone && !commit_is_owed_a_reply(s)) {
        leave(s, "57P01", "");
        return;
    }
    if (s->pending.count == 0 && !s->cancelling && s->client_gone && !s->finishing) {
        abandon(s, s->gone_reason);
        return;
    }
    if (s->rollback_owed && s->pending.count == 0 && !s->cancelling && !s->finishing) {
        if (something_to_roll_back(s)) {
            roll_back_expired(s);
        } else {
            s->rollback_owed = false;
            request_end_early(s, DISCARD_TIMEOUT);
        }
    }
    if (s->rules_stale)
        adopt_rules(s);
    if (s->deadline_us || (s->front.route && (s->front.route->timeout_ms || s->front.route->idle_timeout_ms)))
        request_arm_timers(s);
}

/* --- doors ------------------------------------------------------------------------------------- */

enum session_result session_on_client(struct session *s, const struct frame *f, struct actions *a)
{
    s->out = a;
    a->rest = REST_DROP;
    if (s->closing || s->client_gone || s->leaving)
        return SESSION_TAKEN;
    if (s->in_doubt)
        return SESSION_HOLD;
    s->idle_deadline_us = 0;
    enum session_result result = client_frame(s, f);
    session_progress(s);
    return result;
}

void session_on_server(struct session *s, const struct frame *f, struct actions *a)
{
    s->out = a;
    a->rest = s->client_gone ? REST_DROP : REST_FORWARD;
    server_frame(s, f);
    if (s->client_gone)
        a->rest = REST_DROP;
    session_progress(s);
}

void session_on_client_lost(struct session *s, struct actions *a)
{
    s->out = a;
    client_is_gone(s, DISCARD_DISCONNECT);
}

void session_on_cancelled(struct session *s, struct actions *a)
{
    s->out = a;
    s->cancelling = false;
    if (s->client_gone && !s->closing && !s->in_doubt) {
        abandon(s, s->gone_reason);
        return;
    }
    session_progress(s);
}

/* A client that was told of its COMMIT is not left to doubt it. */
static void tell_loss(struct session *s, struct span message)
{
    struct buffer made = { 0 };
    const struct pending *head = pending_head(&s->pending);
    bool ready = head && (head->kind == PENDING_QUERY || head->kind == PENDING_SYNC) && !head->swallow;
    if (s->commit_told && ready)
        message_add_ready(&made, 'I');
    message_add_error(&made, &(struct message_fault){ "FATAL", "08006", message, { 0 }, { 0 } });
    send_made_to_client(s, &made);
}

void session_on_server_lost(struct session *s, struct span message, struct actions *a)
{
    s->out = a;
    if (s->server_gone)
        return;
    s->server_gone = true;
    if (doubt_begins(s, message))
        return;
    if (!s->closing && (s->commits_in_flight > 0 || doubt_is_open(s)))
        doubt_tell_unknown(s, message);
    else if (!s->closing && !s->fatal_seen)
        tell_loss(s, message);
    abandon(s, DISCARD_SERVER_LOST);
}

void session_on_outcome(struct session *s, enum session_outcome outcome, struct actions *a)
{
    s->out = a;
    if (!s->in_doubt)
        return;
    doubt_end(s, outcome);
    abandon(s, DISCARD_SERVER_LOST);
}

bool session_is_in_doubt(const struct session *s)
{
    return s->in_doubt;
}

void session_shut_down(struct session *s, struct actions *a)
{
    session_on_outcome(s, OUTCOME_UNKNOWN, a); /* there is no time left to find out */
    s->out = a;
    if (s->closing || s->client_gone || s->leaving)
        return;
    if (commit_is_out(s))
        leave_behind_commit(s);
    else
        leave(s, "57P01", "");
}

bool session_is_leaving(const struct session *s)
{
    return s->leaving;
}
