/* The hot path.
 *
 *     recv -> scratch -> frame_next -> session_on_… -> actions -> send
 *
 * Ordinary messages take the session's short way: a run of them is accounted for at once and sent on as it came. Data in bulk has a
 * shorter way still (bulk.c). Anything else is cut into frames, the session is asked about each, and what it wants done is performed
 * when all that one recv has brought has been seen (traffic_actions.c): one send for each side. The bytes stay where recv has put
 * them; only what does not end in this batch (a part of a message, or one that the session will not take yet) is kept by its
 * connection.
 *
 * Nothing here decides anything about SQL, and nothing waits: a side that does not take its bytes makes the other one unread
 * (client_settle). */
#include "proxy/pool/traffic.h"

#include "protocol/message.h"
#include "proxy/ops/log.h"
#include "proxy/pool/bulk.h"
#include "proxy/pool/client.h"
#include "proxy/pool/pooled.h"
#include "proxy/pool/traffic_part.h"
#include "proxy/session/session.h"

/* --- feeding the session ---------------------------------------------------------------------------- */

/* What pgatomic has to say itself cannot stand inside a message: when the client has got a part of one, it gets no more. */
static void end_inside_message(struct client *c)
{
    if (stream_is_inside_message(&c->replies))
        conn_end_output(&c->conn);
}

/* No more will come from the client. If a message of its has begun to leave for the server, nothing can follow that on this
 * connection; what was sent before it still runs, and its replies are read. */
static void lose_client(struct client *c)
{
    c->lost = true;
    c->held = false;
    if (stream_is_inside_message(&c->stream) && c->server != NULL)
        conn_end_output(&c->server->conn);
    c->stream.left = 0;
    session_on_client_lost(c->session, &c->worker->actions);
}

/* The client has left the protocol. It is told so, and then counts as lost: these are the last words that it gets. */
static void on_violation(struct client *c)
{
    client_log(c, LOG_WARN, "client sent a message of an invalid type or length", NULL);
    end_inside_message(c);
    struct message_fault fault = { .severity = "FATAL", .sqlstate = "08P01" };
    fault.message = span_of("invalid message type or length");
    struct buffer message = { 0 };
    message_add_error(&message, &fault);
    actions_to_client(&c->worker->actions, actions_keep(&c->worker->actions, buffer_span(&message)));
    buffer_free(&message);
    lose_client(c);
}

static inline enum frame_result cut_client_frame(const struct client *c, struct span input, struct frame *f)
{
    if (c->stream.whole)
        return frame_next_whole(frontend_messages, input, c->message_limit, f, NULL);
    return frame_next(frontend_messages, input, c->message_limit, f, NULL);
}

/* Offers a frame to the session. True: it was taken. */
static bool offer(struct client *c, const struct frame *f)
{
    struct actions *a = &c->worker->actions;
    switch (session_on_client(c->session, f, a)) {
    case SESSION_TAKEN:
        if (f->left > 0 || c->stream.whole)
            c->stream = (struct stream){ .left = f->left, .rest = a->rest };
        c->terminated = f->type == 'X';
        return true;
    case SESSION_HOLD:
        c->held = true;
        return false;
    case SESSION_WHOLE:
        c->stream.whole = true;
        return false;
    case SESSION_BAD:
        client_log(c, LOG_WARN, "client sent a message that is malformed or out of place",
                   frontend_messages[(unsigned char)f->type].name);
        c->deaf = true;
        end_inside_message(c);
        return false;
    }
    return false;
}

/* Between messages, with nothing held back, and too little for any of them to be too long: ordinary messages may take the session's short
 * way. */
static inline bool may_pass_client(const struct client *c, struct span input)
{
    return c->stream.left == 0 && !c->stream.whole && !c->held && input.size <= c->message_limit;
}

static size_t pass_client(struct client *c, struct span input)
{
    size_t passed = may_pass_client(c, input) ? session_pass_client(c->session, input) : 0;
    actions_to_server(&c->worker->actions, span_make(input.data, passed));
    return passed;
}

/* Its message has ended. */
static void send_deferred(struct client *c)
{
    struct actions *a = &c->worker->actions;
    actions_to_server(a, actions_keep(a, buffer_span(&c->deferred)));
    buffer_free(&c->deferred);
}

/* Hands the client's bytes to the session; how many of them are done with. */
static size_t feed_client(struct client *c, struct span input)
{
    size_t used = stream_take(&c->stream, input);
    if (used > 0 && c->stream.rest == REST_FORWARD)
        actions_to_server(&c->worker->actions, span_make(input.data, used));
    if (c->deferred.size > 0 && c->stream.left == 0)
        send_deferred(c);
    used += pass_client(c, span_make(input.data + used, input.size - used));
    while (used < input.size && !c->held) {
        struct frame f;
        switch (cut_client_frame(c, span_make(input.data + used, input.size - used), &f)) {
        case FRAME_MORE:
            return used;
        case FRAME_BAD:
            on_violation(c);
            return input.size;
        case FRAME_OK:
            if (offer(c, &f))
                used += f.bytes.size;
            if (c->terminated || c->deaf)
                return input.size;
        }
    }
    return used;
}

void traffic_lose_server(struct client *c, const char *words)
{
    end_inside_message(c);
    c->replies.left = 0;
    if (c->pooled != NULL)
        pooled_cut(c);
    else
        server_close(c->server);
    session_on_server_lost(c->session, span_of(words), &c->worker->actions);
}

static size_t pass_server(struct client *c, struct span input)
{
    size_t passed = c->replies.left == 0 ? session_pass_server(c->session, input) : 0;
    actions_to_client(&c->worker->actions, span_make(input.data, passed));
    return passed;
}

static size_t feed_server(struct client *c, struct span input)
{
    struct actions *a = &c->worker->actions;
    struct stream *s = &c->replies;
    size_t used = stream_take(s, input);
    if (used > 0 && s->rest == REST_FORWARD)
        actions_to_client(a, span_make(input.data, used));
    used += pass_server(c, span_make(input.data + used, input.size - used));
    while (used < input.size) {
        struct frame f;
        switch (frame_next(backend_messages, span_make(input.data + used, input.size - used), TRAFFIC_SERVER_LIMIT, &f,
                           NULL)) {
        case FRAME_MORE:
            return used;
        case FRAME_BAD:
            client_log(c, LOG_ERROR, "the upstream sent a message of an invalid type or length", NULL);
            traffic_lose_server(c, "the server sent a message that the protocol does not know");
            return input.size;
        case FRAME_OK:
            if (f.left > 0 && session_wants_whole_row(c->session))
                return used;
            session_on_server(c->session, &f, a);
            used += f.bytes.size;
            if (f.left > 0)
                *s = (struct stream){ .left = f.left, .rest = a->rest };
        }
    }
    return used;
}

/* The session has something of its own for the server, but a message of the client is on its way there and not all of it has
 * come: it waits for that message's end. */
static void defer_inside_message(struct client *c)
{
    struct actions *a = &c->worker->actions;
    if (!stream_is_inside_message(&c->stream))
        return;
    for (size_t i = 0; i < a->count; i++) {
        if (a->list[i].kind != ACTION_TO_SERVER)
            continue;
        buffer_append_span(&c->deferred, a->list[i].bytes);
        a->list[i].bytes.size = 0;
    }
}

/* The end of every batch but the client's own: something has changed, so what the session would not take is offered again, unless what
 * would become of it has to wait still. */
void traffic_resume(struct client *c)
{
    struct span kept = conn_kept(&c->conn);
    size_t used = 0;
    bool was_held = c->held && (c->pooled == NULL || !pooled_is_held(c->pooled));
    defer_inside_message(c);
    if (was_held) {
        c->held = false;
        traffic_set_time(c);
        used = feed_client(c, kept);
    }
    traffic_perform(c);
    if (was_held)
        conn_keep(&c->conn, kept, used);
}

/* --- the doors --------------------------------------------------------------------------------------- */

/* The shortest way of all: a batch of nothing but ordinary messages leaves as it came. */
static bool send_if_all_passed(struct span input, size_t passed, struct conn *from, struct conn *to)
{
    if (passed < input.size)
        return false;
    conn_send_span(to, input);
    conn_keep(from, input, input.size);
    return true;
}

static void on_client_bytes(struct client *c, struct span input)
{
    if (bulk_may_pass_to_server(c, input) && bulk_pass_to_server(c, input))
        return;
    size_t used = may_pass_client(c, input) ? session_pass_client(c->session, input) : 0;
    if (c->pooled == NULL && send_if_all_passed(input, used, &c->conn, &c->server->conn))
        return;
    if (c->pooled != NULL && used == input.size) {
        pooled_to_server(c, input);
        pooled_flush(c);
        conn_keep(&c->conn, input, used);
        return;
    }
    traffic_set_time(c);
    actions_to_server(&c->worker->actions, span_make(input.data, used));
    used += feed_client(c, span_make(input.data + used, input.size - used));
    traffic_perform(c);
    conn_keep(&c->conn, input, used);
}

size_t traffic_hear(struct client *c, struct span bytes, bool last)
{
    bool passes = c->replies.left == 0 && !c->held;
    size_t taken = passes ? session_pass_server(c->session, bytes) : 0;
    if (taken == bytes.size && last && c->worker->actions.count == 0) {
        conn_send_span(&c->conn, bytes);
        return taken;
    }
    actions_to_client(&c->worker->actions, span_make(bytes.data, taken));
    if (taken == bytes.size)
        return taken;
    traffic_set_time(c);
    return taken + feed_server(c, span_make(bytes.data + taken, bytes.size - taken));
}

void traffic_end_hearing(struct client *c)
{
    if (c->held || c->worker->actions.count > 0)
        traffic_resume(c);
}

void traffic_refuse(struct client *c, const char *sqlstate, const char *message)
{
    traffic_set_time(c);
    buffer_free(&c->deferred);
    session_on_refused(c->session, sqlstate, span_of(message), &c->worker->actions);
    traffic_resume(c);
}

static void on_server_bytes(struct client *c, struct span input)
{
    struct server *s = c->server;
    if (bulk_may_pass_to_client(c, input) && bulk_pass_to_client(c, input))
        return;
    if (c->pooled != NULL) {
        pooled_on_server_bytes(c, input);
        return;
    }
    size_t used = c->replies.left == 0 && !c->held ? session_pass_server(c->session, input) : 0;
    if (send_if_all_passed(input, used, &s->conn, &c->conn))
        return;
    traffic_set_time(c);
    actions_to_client(&c->worker->actions, span_make(input.data, used));
    used += feed_server(c, span_make(input.data + used, input.size - used));
    traffic_resume(c);
    conn_keep(&s->conn, input, used);
}

/* Who waits for a server, for the listener, or for an answer is not listened to, but for the end of it. */
static void hold_input(struct client *c, struct span input)
{
    c->held = true;
    conn_keep(&c->conn, input, 0);
}

void traffic_on_client_input(struct client *c)
{
    struct span input;
    if (c->lost) {
        client_discard_input(&c->conn);
        return;
    }
    switch (conn_receive(&c->conn, &input)) {
    case CONN_NOTHING:
        return;
    case CONN_INPUT:
        if (c->pooled != NULL && pooled_is_held(c->pooled))
            hold_input(c, input);
        else
            on_client_bytes(c, input);
        return;
    case CONN_LOST:
        conn_close(&c->conn);
        traffic_set_time(c);
        lose_client(c);
        traffic_perform(c);
        if (c->state == CLIENT_SESSION && c->pooled != NULL && pooled_is_waiting(c->pooled))
            pooled_refuse(c, "08006", "the client has gone");
        return;
    }
}

static void on_server_gone(struct client *c)
{
    char words[SERVER_LOSS_SIZE];
    traffic_set_time(c);
    traffic_lose_server(c, server_loss(c->server, "server closed the connection unexpectedly", words));
    traffic_perform(c);
}

void traffic_on_server_input(struct client *c)
{
    struct span input;
    switch (conn_receive(&c->server->conn, &input)) {
    case CONN_NOTHING:
        return;
    case CONN_INPUT:
        on_server_bytes(c, input);
        return;
    case CONN_LOST:
        on_server_gone(c);
        return;
    }
}

/* The timer may be a little early by the loop's clock, which the session must not see. Who leaves has got its last words then, whatever its
 * COMMIT still waits for. */
void traffic_on_deadline(struct client *c, uint64_t deadline_us)
{
    uint64_t now_us = loop_now_us(&c->worker->loop);
    bool leaves = session_is_leaving(c->session);
    if (leaves)
        end_inside_message(c);
    session_set_time(c->session, now_us > deadline_us ? now_us : deadline_us);
    session_on_time(c->session, &c->worker->actions);
    if (leaves)
        lose_client(c);
    traffic_resume(c);
}

/* While a COMMIT is waited for, a message that is on its way to the server has to end, for what is to fetch the reply stands behind it. */
void traffic_shut_down(struct client *c)
{
    c->held = false;
    traffic_set_time(c);
    session_shut_down(c->session, &c->worker->actions);
    bool waits = session_is_leaving(c->session);
    c->deaf = !waits || !stream_is_inside_message(&c->stream);
    if (waits)
        defer_inside_message(c);
    else
        end_inside_message(c);
    traffic_perform(c);
    if (waits && c->pooled != NULL && pooled_is_waiting(c->pooled))
        pooled_refuse(c, "57P01", "terminating connection due to administrator command");
}

void traffic_cut(struct client *c)
{
    traffic_set_time(c);
    if (c->server != NULL && server_is_open(c->server))
        traffic_lose_server(c, "the process ends");
    session_on_outcome(c->session, OUTCOME_UNKNOWN, &c->worker->actions);
    traffic_perform(c);
}

bool traffic_is_between_requests(const struct client *c)
{
    return c->stream.left == 0 && !c->held && !c->lost && session_is_between_requests(c->session);
}

/* --- replication ------------------------------------------------------------------------------------- */

/* Passes on what has come. False: the sender is gone. */
static bool pass_input(struct conn *from, struct conn *to)
{
    struct span input;
    switch (conn_receive(from, &input)) {
    case CONN_NOTHING:
        return true;
    case CONN_LOST:
        return false;
    case CONN_INPUT:
        conn_send_span(to, input);
        conn_keep(from, input, input.size);
        return true;
    }
    return true;
}

void traffic_pass_client_input(struct client *c)
{
    if (!pass_input(&c->conn, &c->server->conn))
        client_close(c, false);
}

void traffic_pass_server_input(struct client *c)
{
    if (!pass_input(&c->server->conn, &c->conn))
        client_close(c, true);
}

/* --- the beginning ----------------------------------------------------------------------------------- */

void traffic_begin(struct client *c, struct span input, size_t used)
{
    struct span rest = span_make(input.data + used, input.size - used);
    if (c->state == CLIENT_RAW) {
        actions_to_client(&c->worker->actions, rest);
        used = input.size;
        actions_to_server(&c->worker->actions, conn_kept(&c->conn));
        traffic_perform(c);
        conn_keep(&c->conn, conn_kept(&c->conn), conn_kept(&c->conn).size);
    } else {
        traffic_set_time(c);
        used += feed_server(c, rest);
        c->held = conn_kept(&c->conn).size > 0; /* sent early, and not looked at yet */
        traffic_resume(c);
    }
    conn_keep(&c->server->conn, input, used);
}
