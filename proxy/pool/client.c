/* The life of a client.
 *
 *     STARTUP --> CONNECTING <-> LOGIN --> SESSION --+
 *        |            |            |  +--> RAW ------+--> CLOSING --> (freed)
 *        +--> CANCELLING ----------+-----------------+
 *
 * Every callback ends in client_settle(), which sets what is watched from the state, or frees the client when it is over. So nothing
 * above it on the stack has to ask whether the client is still there, and what is watched is never a leftover.
 *
 * Back-pressure is one rule: who has bytes queued for one side does not read from the side they come from. */
#include "proxy/pool/client.h"

#include <stdlib.h>

#include "protocol/memory.h"
#include "protocol/message.h"
#include "proxy/descriptors.h"
#include "proxy/ops/admin.h"
#include "proxy/ops/log.h"
#include "proxy/pool/asleep.h"
#include "proxy/pool/login.h"
#include "proxy/pool/pooled.h"
#include "proxy/pool/traffic.h"
#include "proxy/session/session.h"

enum { LINGER_US = 5 * 1000 * 1000, FRESH_US = 2 * 1000 * 1000 };

static void on_client_ready(void *owner, bool readable);

static void client_free(struct client *c);
static void turn_away(struct client *c);

static atomic_uint_fast64_t last_id;

/* --- beginning ------------------------------------------------------------------------------------- */

/* The share of each worker: who comes to it can only take the place of one that is there. */
static void make_room(struct worker *w)
{
    size_t workers = workers_count();
    size_t limit = (descriptors_for_strangers(w->config) + workers - 1) / workers;
    struct client *c = strangers_surplus(&w->strangers, limit);
    if (c != NULL)
        turn_away(c);
}

struct client *client_new(struct worker *w, int fd, const struct address *peer)
{
    char name[ADDRESS_TEXT_SIZE];
    size_t name_size = strlen(address_format(peer, name)) + 1;
    struct client *c = or_abort(calloc(1, sizeof *c + name_size));
    memcpy(c->name, name, name_size);
    c->worker = w;
    c->id = atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
    c->since_us = loop_now_us(&w->loop);
    c->login = login_new(peer);
    stranger_join(&c->login->stranger, &w->strangers, c);
    conn_open(&c->conn, &w->loop, fd, on_client_ready, c);
    c->next = w->clients;
    c->link = &w->clients;
    if (c->next != NULL)
        c->next->link = &c->next;
    w->clients = c;
    client_set_deadline(c, loop_now_us(&w->loop) + LOGIN_TIMEOUT_US);
    client_settle(c);
    make_room(w);
    return c;
}

void client_know_peer(struct client *c)
{
    c->from_peer = true;
    stranger_leave(&c->login->stranger);
}

static const char *const state_names[CLIENT_STATES] = {
    [CLIENT_STARTUP] = "startup",
    [CLIENT_CONNECTING] = "connecting",
    [CLIENT_LOGIN] = "login",
    [CLIENT_SESSION] = "session",
    [CLIENT_RAW] = "raw",
    [CLIENT_ADMIN] = "admin",
    [CLIENT_CANCELLING] = "cancelling",
    [CLIENT_CLOSING] = "closing",
};

const char *client_state_name(enum client_state state)
{
    return state_names[state];
}

void client_set_state(struct client *c, enum client_state state)
{
    client_log(c, LOG_DEBUG, "client state", client_state_name(state));
    if (state == CLIENT_SESSION)
        c->fresh_until_us = loop_now_us(&c->worker->loop) + FRESH_US;
    c->state = state;
}

/* --- time ------------------------------------------------------------------------------------------- */

static void on_deadline(struct client *c, uint64_t deadline_us)
{
    switch (c->state) {
    case CLIENT_STARTUP:
        client_log(c, LOG_WARN, "connection closed: no startup packet came in time", NULL);
        client_close(c, false);
        return;
    case CLIENT_CONNECTING:
    case CLIENT_LOGIN:
        client_refuse(c, "57P05", "the login took too long");
        return;
    case CLIENT_SESSION:
        traffic_on_deadline(c, deadline_us);
        return;
    case CLIENT_RAW:
    case CLIENT_ADMIN:
    case CLIENT_CANCELLING:
        return;
    case CLIENT_CLOSING:
        conn_close(&c->conn);
        if (c->pooled != NULL)
            pooled_abandon(c);
        else if (c->server != NULL)
            server_close(c->server);
        return;
    }
}

/* Deadlines move with every statement, the timer does not: it rings at the first one that was asked for, and then sees
 * whether that is still the one. */
static void on_timer(void *context)
{
    struct client *c = context;
    uint64_t deadline_us = c->deadline_us;
    if (deadline_us == 0)
        return;
    if (c->timer_us != deadline_us && loop_now_us(&c->worker->loop) < deadline_us) {
        client_set_deadline(c, deadline_us);
        return;
    }
    c->deadline_us = 0;
    on_deadline(c, deadline_us);
    client_settle(c);
}

void client_end_timer(struct client *c)
{
    buffer_free(&c->deferred);
    timer_free(c->timer);
    c->timer = NULL;
    c->deadline_us = 0;
}

void client_set_deadline(struct client *c, uint64_t deadline_us)
{
    c->deadline_us = deadline_us;
    if (deadline_us == 0)
        return;
    if (c->timer == NULL)
        c->timer = timer_new(&c->worker->loop, on_timer, c);
    if (timer_is_running(c->timer) && c->timer_us <= deadline_us)
        return;
    uint64_t now_us = loop_now_us(&c->worker->loop);
    c->timer_us = deadline_us;
    timer_start(c->timer, deadline_us > now_us ? deadline_us - now_us : 0);
}

/* --- input ------------------------------------------------------------------------------------------- */

/* Nobody wants it yet: one batch of it is kept, and then no more is read. */
static void keep_input(struct client *c)
{
    struct span input;
    switch (conn_receive(&c->conn, &input)) {
    case CONN_NOTHING:
        return;
    case CONN_LOST:
        client_close(c, false);
        return;
    case CONN_INPUT:
        conn_keep(&c->conn, input, 0);
        return;
    }
}

/* What comes does not count any more; only the end does. */
void client_discard_input(struct conn *conn)
{
    struct span input;
    switch (conn_receive(conn, &input)) {
    case CONN_NOTHING:
        return;
    case CONN_LOST:
        conn_close(conn);
        return;
    case CONN_INPUT:
        conn_keep(conn, input, input.size);
        return;
    }
}

static void on_client_ready(void *owner, bool readable)
{
    struct client *c = owner;
    if (readable) {
        switch (c->state) {
        case CLIENT_STARTUP:
            startup_on_client_input(c);
            break;
        case CLIENT_CONNECTING:
            keep_input(c);
            break;
        case CLIENT_LOGIN:
            login_on_client_input(c);
            break;
        case CLIENT_SESSION:
            c->fresh_until_us = 0;
            c->has_stirred = true;
            if (c->asleep != NULL)
                client_wake(c);
            traffic_on_client_input(c);
            break;
        case CLIENT_RAW:
            traffic_pass_client_input(c);
            break;
        case CLIENT_ADMIN:
            admin_on_client_input(c);
            break;
        case CLIENT_CANCELLING:
            break;
        case CLIENT_CLOSING:
            client_discard_input(&c->conn);
            break;
        }
    }
    client_settle(c);
}

void client_on_server_ready(void *owner, bool readable)
{
    struct client *c = owner;
    if (readable) {
        switch (c->state) {
        case CLIENT_LOGIN:
            login_on_server_input(c);
            break;
        case CLIENT_SESSION:
            traffic_on_server_input(c);
            break;
        case CLIENT_RAW:
            traffic_pass_server_input(c);
            break;
        case CLIENT_CLOSING:
            if (c->pooled != NULL)
                pooled_on_ending_input(c);
            else
                client_discard_input(&c->server->conn);
            break;
        case CLIENT_STARTUP:
        case CLIENT_CONNECTING:
        case CLIENT_ADMIN:
        case CLIENT_CANCELLING:
            break;
        }
    }
    client_settle(c);
}

/* --- the end ------------------------------------------------------------------------------------------ */

/* Replies that are still owed would be lost work: a server that is closed while it has something to say stops listening too. So
 * after Terminate it gets all the time that it needs, unless the process ends (P8). */
void client_close(struct client *c, bool linger)
{
    client_set_state(c, CLIENT_CLOSING);
    c->lingering = linger && c->worker->phase == WORKER_RUNNING;
    if (c->lingering)
        conn_end_output(&c->conn);
    if (c->pooled != NULL) {
        c->server_lingering = pooled_begin_end(c);
    } else {
        c->server_lingering = c->session != NULL && session_is_busy(c->session) && server_is_open(c->server);
        if (c->server_lingering)
            conn_end_output(&c->server->conn);
    }
    if (c->admin != NULL)
        admin_abandon(c->admin);
    if (c->cancel != NULL)
        cancel_abandon(c->cancel);
    c->cancel = NULL;
    bool has_time = c->server_lingering && c->terminated;
    client_set_deadline(c, has_time ? 0 : loop_now_us(&c->worker->loop) + LINGER_US);
}

void client_refuse(struct client *c, const char *sqlstate, const char *message)
{
    client_refuse_in_detail(c, sqlstate, message, "");
}

/* Unless it is in the middle of a message. */
static void tell_fatal(struct client *c, const char *sqlstate, const char *message, const char *detail)
{
    struct message_fault fault = {
        .severity = "FATAL", .sqlstate = sqlstate, .message = span_of(message), .detail = span_of(detail)
    };
    struct buffer bytes = { 0 };
    client_log(c, LOG_WARN, "client refused", message);
    message_add_error(&bytes, &fault);
    if (c->server == NULL || !stream_is_inside_message(&c->replies))
        conn_send_span(&c->conn, buffer_span(&bytes));
    buffer_free(&bytes);
}

void client_refuse_in_detail(struct client *c, const char *sqlstate, const char *message, const char *detail)
{
    tell_fatal(c, sqlstate, message, detail);
    client_close(c, true);
}

/* Its descriptor is needed now: it gets no time to read why. */
static void turn_away(struct client *c)
{
    if (c->state == CLIENT_CLOSING) {
        client_free(c);
        return;
    }
    if (c->state == CLIENT_STARTUP)
        client_log(c, LOG_WARN, "connection closed: too many others have not logged in either", NULL);
    else
        tell_fatal(c, "53300", "too many connections have not logged in", "");
    client_close(c, false);
    client_settle(c);
}

void client_drain(struct client *c)
{
    switch (c->state) {
    case CLIENT_STARTUP:
    case CLIENT_CONNECTING:
    case CLIENT_LOGIN:
        if (!c->worker->patient)
            client_shut_down(c);
        return;
    case CLIENT_ADMIN:
        client_shut_down(c);
        return;
    case CLIENT_SESSION:
        if (c->asleep != NULL)
            client_wake(c);
        client_settle(c);
        return;
    case CLIENT_RAW:
    case CLIENT_CANCELLING:
    case CLIENT_CLOSING:
        return;
    }
}

void client_shut_down(struct client *c)
{
    switch (c->state) {
    case CLIENT_STARTUP:
        client_close(c, false);
        break;
    case CLIENT_CONNECTING:
    case CLIENT_LOGIN:
    case CLIENT_ADMIN:
        client_refuse(c, "57P01", "terminating connection due to administrator command");
        break;
    case CLIENT_SESSION:
        if (c->asleep != NULL)
            client_wake(c);
        traffic_shut_down(c);
        break;
    case CLIENT_RAW:
        client_close(c, false);
        break;
    case CLIENT_CANCELLING:
    case CLIENT_CLOSING:
        return;
    }
    client_settle(c);
}

void client_reload(struct client *c)
{
    if (c->state != CLIENT_SESSION)
        return;
    bool was_asleep = c->asleep != NULL;
    if (was_asleep)
        client_wake(c);
    session_set_config(c->session, c->worker->config);
    if (c->pooled != NULL)
        pooled_reload(c);
    if (was_asleep)
        client_sleep(c);
}

/* What the session has counted outlives it. */
static void count_session(struct client *c)
{
    struct session_facts facts;
    session_tell_facts(c->session, &facts);
    struct database_counts *d = counts_database(&c->worker->counts, facts.database);
    d->queries += facts.queries;
    d->transactions += facts.transactions;
    d->received += c->conn.received;
    d->sent += c->conn.sent;
    if (c->pooled == NULL && c->server != NULL)
        stopwatch_add(&c->server->watch, loop_now_us(&c->worker->loop), &d->query_us, &d->transaction_us);
}

static void client_free(struct client *c)
{
    struct worker *w = c->worker;
    if (c->asleep != NULL)
        client_wake(c);
    *c->link = c->next;
    if (c->next != NULL)
        c->next->link = c->link;
    if (c->session != NULL)
        count_session(c);
    if (c->admitted)
        workers_dismiss();
    if (c->cancel != NULL)
        cancel_abandon(c->cancel);
    control_drop(c->question);
    conn_close(&c->conn);
    pooled_free(c);
    server_free(c->server);
    login_free(c->login);
    admin_free(c->admin);
    if (c->session != NULL)
        session_free(c->session);
    buffer_free(&c->deferred);
    timer_free(c->timer);
    free(c);
    worker_client_ended(w);
}

void client_drop(struct client *c)
{
    if (c->asleep != NULL)
        client_wake(c);
    if (c->state == CLIENT_SESSION)
        traffic_cut(c);
    client_free(c);
}

void client_log(const struct client *c, enum log_level level, const char *message, const char *detail)
{
    LOG(level, message, log_text("client", c->name), log_text("detail", detail != NULL ? detail : ""));
}

/* --- settling ----------------------------------------------------------------------------------------- */

static bool wants_client_input(const struct client *c, bool client_full, bool server_full)
{
    switch (c->state) {
    case CLIENT_SESSION:
        return c->lost || !(client_full | server_full | c->held | c->deaf | c->terminated);
    case CLIENT_RAW:
        return !server_full;
    case CLIENT_STARTUP:
        return true;
    case CLIENT_CONNECTING:
        return c->conn.in.size == 0;
    case CLIENT_LOGIN:
        return !server_full && (c->conn.in.size == 0 || c->login->answer_wanted);
    case CLIENT_ADMIN:
        return !client_full && admin_wants_input(c->admin);
    case CLIENT_CANCELLING:
        return false;
    case CLIENT_CLOSING:
        return c->lingering;
    }
    return false;
}

static bool wants_server_input(const struct client *c, bool client_full)
{
    switch (c->state) {
    case CLIENT_SESSION: /* it may be gone, and its last COMMIT in doubt */
        return server_is_open(c->server) && !client_full;
    case CLIENT_RAW:
    case CLIENT_LOGIN:
        return !client_full;
    case CLIENT_CLOSING:
        return c->server_lingering;
    case CLIENT_STARTUP:
    case CLIENT_CONNECTING:
    case CLIENT_ADMIN:
    case CLIENT_CANCELLING:
        return false;
    }
    return false;
}

static void set_wants(struct client *c)
{
    struct server *s = c->server;
    bool client_full = !c->lost && conn_queued(&c->conn) > 0, server_full = s != NULL && conn_queued(&s->conn) > 0;
    conn_want_input(&c->conn, wants_client_input(c, client_full, server_full));
    if (s != NULL)
        conn_want_input(&s->conn, wants_server_input(c, client_full));
}

/* True: it is over. */
static bool is_closed(struct client *c)
{
    struct server *s = c->server;
    if (s != NULL && c->pooled == NULL && !c->server_lingering && conn_queued(&s->conn) == 0)
        server_close(s);
    if (!c->lingering && conn_queued(&c->conn) == 0)
        conn_close(&c->conn);
    return !conn_is_open(&c->conn) && (s == NULL || !server_is_open(s)) && !(c->pooled != NULL && c->server_lingering);
}

static bool may_be_drained(struct client *c)
{
    bool is_fresh = c->worker->patient && c->fresh_until_us > loop_now_us(&c->worker->loop);
    return !is_fresh && traffic_is_between_requests(c);
}

void client_settle(struct client *c)
{
    if (c->worker->phase == WORKER_DRAINING && c->state == CLIENT_SESSION && may_be_drained(c))
        traffic_shut_down(c);
    if (c->state == CLIENT_SESSION && c->server != NULL)
        stopwatch_see(&c->server->watch, session_activity(c->session), &c->worker->loop);
    if (c->pooled != NULL)
        pooled_settle(c);
    if (c->state == CLIENT_CLOSING && is_closed(c))
        client_free(c);
    else
        set_wants(c);
}
