/* What the session wants done.
 *
 *     actions --+-- bytes ------------> gathered, one send for each side
 *               +-- of the world -----> the log, the counters, the sinks of events, the timer
 *               +-- a cancel request, a question --> its answer goes to the session, which has actions of its own then
 *
 * A batch's actions are performed in their order, and at its end: bytes for both sides are only noted on the way, and leave when all
 * else is done. With a link in between, those for the server go there. What would change the client under the session's hands,
 * cancelling and closing, waits until the list is empty. */
#include "protocol/message.h"
#include "proxy/events/dispatch.h"
#include "proxy/events/tally.h"
#include "proxy/ops/log.h"
#include "proxy/pool/client.h"
#include "proxy/pool/pooled.h"
#include "proxy/pool/traffic.h"
#include "proxy/pool/traffic_part.h"
#include "proxy/session/session.h"

enum { CANCEL_CONNECT_MS = 5000 };

/* --- bytes, gathered -------------------------------------------------------------------------------- */

enum { PARTS_MAX = 32 };

/* Bytes for one side, gathered for one system call. */
struct gather {
    struct conn *conn; /* NULL: dropped */
    int count;
    struct iovec parts[PARTS_MAX];
};

/* The parts stay as they are: clearing them would cost more than the rest of a batch. */
static inline void gather_begin(struct gather *g, struct conn *conn)
{
    g->conn = conn;
    g->count = 0;
}

static void gather_send(struct gather *g)
{
    if (g->count == 1 && g->conn != NULL)
        conn_send_span(g->conn, span_make(g->parts[0].iov_base, g->parts[0].iov_len));
    else if (g->count > 1 && g->conn != NULL)
        conn_send(g->conn, g->parts, g->count);
    g->count = 0;
}

static inline void gather_add(struct gather *g, struct span bytes)
{
    if (g->count == PARTS_MAX)
        gather_send(g);
    g->parts[g->count++] = (struct iovec){ (void *)(uintptr_t)bytes.data, bytes.size };
}

/* --- a cancel request ------------------------------------------------------------------------------- */

static void on_cancel_closed(void *context, const char *error)
{
    struct client *c = context;
    c->cancel = NULL;
    if (error != NULL)
        client_log(c, LOG_WARN, "a running query could not be cancelled", error);
    traffic_set_time(c);
    if (c->pooled != NULL)
        pooled_on_cancelled(c);
    session_on_cancelled(c->session, &c->worker->actions);
    traffic_resume(c);
    client_settle(c);
}

/* False: nothing is on its way that had to be waited for. */
static bool cancel_query(struct client *c)
{
    struct cancel_target target;
    if (c->pooled != NULL)
        return pooled_cancel(c, on_cancel_closed);
    if (c->server->key == NULL) /* the upstream gave none */
        return false;
    cancel_key_target(c->server->key, &target);
    c->cancel = cancel_send(&c->worker->cancels, &target, CANCEL_CONNECT_MS, on_cancel_closed, c);
    return true;
}

/* --- how a COMMIT ended ----------------------------------------------------------------------------- */

static void on_outcome(void *context, enum session_outcome outcome)
{
    struct client *c = context;
    c->question = NULL;
    traffic_set_time(c);
    session_on_outcome(c->session, outcome, &c->worker->actions);
    traffic_resume(c);
    client_settle(c);
}

/* The upstream may have several hosts, and another one than ours may answer. */
static void ask_outcome(struct client *c, const struct action *action)
{
    const struct database *database = config_database(action->request->config, action->request->database);
    c->question =
        control_ask(&c->worker->controls, database, action->bytes, action->has_row ? action->row : NULL, on_outcome, c);
}

/* --- the log, the counters -------------------------------------------------------------------------- */

static void tell_held(const struct notification *e)
{
    log_event_held(e);
    tally_add(&tally_channel(e->channel->pattern)->held, 1);
}

static void tell_discarded(const struct action *action, uint64_t now_us)
{
    for (const struct notification *e = action->events; e != NULL; e = e->next) {
        log_event_discarded(e, action->discard, now_us);
        tally_add(&tally_channel(e->channel->pattern)->discarded, 1);
    }
}

static void tell_committed(struct client *c, const struct request *r, uint64_t now_us)
{
    log_request_committed(r, now_us);
    counts_request(&c->worker->counts, r, REQUEST_COMMITTED, now_us);
}

static void tell_rolled_back(struct client *c, const struct action *action, uint64_t now_us)
{
    log_request_rolled_back(action->request, action->discard, now_us);
    counts_request(&c->worker->counts, action->request, request_outcome_of(action->discard), now_us);
}

static struct log_field request_field(const struct request *r)
{
    bool known = r != NULL && request_is_known(r);
    return known ? log_id("request", r->id) : (struct log_field){ .kind = LOG_FIELD_END };
}

/* Transactions of the client's own have no other line that would say which limit has ended them. */
static void tell_timed_out(struct client *c, const struct action *action)
{
    struct session_facts facts;
    struct buffer route = { 0 };
    session_tell_facts(c->session, &facts);
    buffer_append_string(&route, action->bytes);
    LOG(LOG_INFO, "timed_out", log_text("limit", action->idle ? "idle_timeout" : "timeout"),
        log_text("route", route.data), log_text("database", facts.database), log_text("user", facts.user),
        log_text("client", c->name), request_field(action->request));
    counts_timeout(&c->worker->counts, route.data, action->idle);
    buffer_free(&route);
}

/* --- performing ------------------------------------------------------------------------------------- */

struct aftermath {
    bool cancel, close;
};

/* Everything but bytes. */
static void perform_other(struct client *c, struct action *action, struct aftermath *after)
{
    uint64_t now_us = loop_now_us(&c->worker->loop);
    switch (action->kind) {
    case ACTION_TO_SERVER:
    case ACTION_TO_CLIENT:
        return;
    case ACTION_CANCEL_SERVER:
        after->cancel = true;
        return;
    case ACTION_SET_TIMER:
        client_set_deadline(c, action->deadline_us);
        return;
    case ACTION_CLOSE:
        after->close = true;
        return;
    case ACTION_ASK_OUTCOME:
        ask_outcome(c, action);
        return;
    case ACTION_PUBLISH:
        dispatch_publish(action->events, now_us);
        action->events = NULL;
        return;
    case ACTION_EVENT_HELD:
        tell_held(action->event);
        return;
    case ACTION_EVENTS_DISCARDED:
        tell_discarded(action, now_us); /* actions_clear() frees them */
        return;
    case ACTION_REQUEST_BEGUN:
        log_request_begun(action->request);
        return;
    case ACTION_REQUEST_COMMITTED:
        tell_committed(c, action->request, now_us);
        return;
    case ACTION_REQUEST_ROLLED_BACK:
        tell_rolled_back(c, action, now_us);
        return;
    case ACTION_COMMIT_FAILED:
        log_commit_failed(action->request, action->bytes, now_us);
        return;
    case ACTION_COMMIT_UNKNOWN:
        log_commit_unknown(action->request, action->bytes, now_us);
        return;
    case ACTION_TIMED_OUT:
        tell_timed_out(c, action);
        return;
    }
}

/* With a link in between the bytes go there. */
static inline void add_to_server(struct client *c, struct gather *to_server, struct span bytes)
{
    if (c->pooled == NULL)
        gather_add(to_server, bytes);
    else
        pooled_to_server(c, bytes);
}

static void perform_one(struct client *c, const struct action *action)
{
    if (action->kind == ACTION_TO_CLIENT) {
        conn_send_span(&c->conn, action->bytes);
    } else if (c->pooled == NULL) {
        conn_send_span(&c->server->conn, action->bytes);
    } else {
        pooled_to_server(c, action->bytes);
        pooled_flush(c);
    }
}

void traffic_send_to_server(struct client *c, const struct actions *a)
{
    if (a->count == 1) {
        conn_send_span(&c->server->conn, a->list[0].bytes);
        return;
    }
    struct gather to_server;
    gather_begin(&to_server, &c->server->conn);
    for (size_t i = 0; i < a->count; i++)
        gather_add(&to_server, a->list[i].bytes);
    gather_send(&to_server);
}

static void perform_list(struct client *c, struct aftermath *after)
{
    struct actions *a = &c->worker->actions;
    if (a->count == 1 && !a->has_other) { /* almost always */
        perform_one(c, &a->list[0]);
        actions_clear(a);
        return;
    }
    struct gather to_server, to_client;
    gather_begin(&to_server, c->server != NULL ? &c->server->conn : NULL);
    gather_begin(&to_client, &c->conn);
    for (size_t i = 0; i < a->count; i++) {
        struct action *action = &a->list[i];
        if (action->kind == ACTION_TO_SERVER)
            add_to_server(c, &to_server, action->bytes);
        else if (action->kind == ACTION_TO_CLIENT)
            gather_add(&to_client, action->bytes);
        else
            perform_other(c, action, after);
    }
    if (c->pooled == NULL)
        gather_send(&to_server);
    else
        pooled_flush(c);
    gather_send(&to_client);
    actions_clear(a);
}

/* The aftermath of an action may have actions of its own. */
void traffic_perform(struct client *c)
{
    struct aftermath after = { false, false };
    perform_list(c, &after);
    if (after.cancel && !cancel_query(c)) {
        session_on_cancelled(c->session, &c->worker->actions);
        perform_list(c, &after);
    }
    if (c->lost)
        conn_end_output(&c->conn);
    if (after.close)
        client_close(c, !c->terminated);
}
