/* Login: the upstream authenticates the client, pgatomic relays and stores nothing (P9).
 *
 *     client                      pgatomic                         upstream
 *                                 StartupMessage            ->
 *                             <-  Authentication…                     asks for something, or says Ok
 *     password, SASL…         ->                            ->
 *                             <-  ParameterStatus…, BackendKeyData    looked at
 *                             <-  pgatomic_version, ReadyForQuery     the session begins
 *
 * The client's messages are passed on one for each question, so that what it sends early waits for the session instead of being taken
 * for a password. Up to the first message that the client gets from it, a host that is silent, lost or starting up gives way to the
 * next one, and the client hears nothing of it. SCRAM-SHA-256-PLUS binds the exchange to a TLS connection that does not reach from end to end
 * here: it is taken out of the mechanisms that the upstream offers. */
#include "proxy/pool/login.h"

#include <stdio.h>
#include <stdlib.h>

#include "protocol/memory.h"
#include "protocol/message.h"
#include "proxy/clock.h"
#include "proxy/events/dispatch.h"
#include "proxy/auth/random.h"
#include "proxy/auth/server_auth.h"
#include "proxy/ops/uuid.h"
#include "proxy/pool/client.h"
#include "proxy/pool/admission.h"
#include "proxy/pool/pooled_login.h"
#include "proxy/pool/traffic.h"
#include "proxy/session/session.h"
#include "proxy/version.h"

/* An answer is a password or a token: nothing that a stranger may make us keep more of. */
enum { ANSWER_LIMIT = 65535 };

static struct server_auth *new_server_auth(const struct client *c)
{
    unsigned char hash[TLS_HASH_MAX];
    enum channel_binding binding = c->login->upstream->channel_binding;
    size_t hash_size = binding != CHANNEL_BINDING_DISABLE ? server_certificate_hash(c->server, hash) : 0;
    struct server_auth_start start = { .user = span_of(c->login->user),
                                       .credentials = admission_credentials(c->login->admission),
                                       .certificate_hash = span_make((const char *)hash, hash_size),
                                       .binding_required = binding == CHANNEL_BINDING_REQUIRE,
                                       .random = auth_random_kernel };
    return server_auth_new(&start);
}

void login_begin(struct client *c)
{
    struct login *l = c->login;
    server_auth_free(l->server_auth); /* of a host that was passed over */
    l->server_auth = l->admission != NULL ? new_server_auth(c) : NULL;
    client_set_state(c, CLIENT_LOGIN);
    conn_send_span(&c->server->conn, buffer_span(&l->packet));
}

/* --- which host ------------------------------------------------------------------------------------- */

/* The client hears it: no other host can say anything else. */
static void settle_host(struct client *c)
{
    if (server_is_accepted(c->server))
        return;
    server_accept(c->server);
    buffer_free(&c->login->packet);
}

static void pass_over(struct client *c, const char *why)
{
    if (c->login->upstream->hosts[1] != NULL)
        client_log(c, LOG_WARN, "a host of the upstream is passed over", why);
    client_set_state(c, CLIENT_CONNECTING);
    server_reject(c->server, why);
}

void login_on_server_late(void *owner)
{
    struct client *c = owner;
    if (c->state == CLIENT_LOGIN)
        pass_over(c, "timeout expired during the login");
    client_settle(c);
}

/* True: it does not take connections now, and the next host's turn has come. */
static bool pass_over_if_closed(struct client *c, const struct frame *f)
{
    struct message_error e;
    char words[SERVER_LOSS_SIZE];
    if (f->type != 'E' || server_is_accepted(c->server) || !message_read_error(frame_body(f), &e) ||
        !server_has_stand_in(c->login->upstream, e.sqlstate))
        return false;
    int size = e.message.size < sizeof words ? (int)e.message.size : (int)sizeof words - 1;
    snprintf(words, sizeof words, "%.*s", size, e.message.data);
    pass_over(c, words);
    return true;
}

/* --- the client's answers -------------------------------------------------------------------------- */

bool login_cut_answer(struct client *c, struct span input, struct frame *f, size_t *used)
{
    *used = 0;
    if (!c->login->answer_wanted)
        return false;
    switch (frame_next(frontend_messages, input, ANSWER_LIMIT, f, NULL)) {
    case FRAME_MORE:
        return false;
    case FRAME_OK:
        if (f->type == 'p')
            break;
        /* fall through */
    case FRAME_BAD:
        client_refuse(c, "08P01", "an answer to the request for authentication was expected");
        *used = input.size;
        return false;
    }
    c->login->answer_wanted = false;
    *used = f->bytes.size;
    return true;
}

static size_t relay_answer(struct client *c, struct span input)
{
    struct frame f;
    size_t used;
    if (login_cut_answer(c, input, &f, &used))
        conn_send_span(&c->server->conn, f.bytes);
    return used;
}

void login_on_client_input(struct client *c)
{
    struct span input;
    switch (conn_receive(&c->conn, &input)) {
    case CONN_NOTHING:
        return;
    case CONN_LOST:
        client_close(c, false);
        return;
    case CONN_INPUT:
        if (c->login->admission != NULL)
            admission_on_client_input(c, input);
        else
            conn_keep(&c->conn, input, relay_answer(c, input));
        return;
    }
}

/* --- the upstream's messages ------------------------------------------------------------------------ */

/* The list of mechanisms without those that end in -PLUS. */
static struct span without_plus(struct actions *a, struct span body)
{
    static const char plus[] = "-PLUS";
    struct buffer message = { 0 };
    struct wire w = wire_open(body);
    buffer_append_u8(&message, 'R');
    buffer_append_u32(&message, 0); /* the length, below */
    buffer_append_u32(&message, wire_u32(&w));
    for (struct span name = wire_string(&w); name.size > 0; name = wire_string(&w)) {
        bool is_plus =
            name.size >= strlen(plus) && memcmp(name.data + name.size - strlen(plus), plus, strlen(plus)) == 0;
        if (!is_plus)
            buffer_append_string(&message, name);
    }
    buffer_append_u8(&message, '\0');
    wire_put_u32(message.data + 1, (uint32_t)(message.size - 1));
    struct span kept = actions_keep(a, buffer_span(&message));
    buffer_free(&message);
    return kept;
}

static struct span on_authentication(struct client *c, const struct frame *f)
{
    struct wire w = wire_open(frame_body(f));
    uint32_t kind = wire_u32(&w);
    c->login->answer_wanted = kind != AUTHENTICATION_OK && kind != AUTHENTICATION_SASL_FINAL;
    if (kind == AUTHENTICATION_OK)
        stranger_leave(&c->login->stranger);
    return kind == AUTHENTICATION_SASL ? without_plus(&c->worker->actions, frame_body(f)) : f->bytes;
}

/* The upstream asks, or lets in; the client, who has been admitted, hears of the latter only. */
static struct span answer_upstream(struct client *c, const struct frame *f)
{
    struct server_auth *a = c->login->server_auth;
    struct buffer out = { 0 };
    enum auth_state state = server_auth_message(a, frame_body(f), &out);
    conn_send_span(&c->server->conn, buffer_span(&out));
    buffer_free(&out);
    c->login->let_in = state == AUTH_OK;
    if (state == AUTH_OK)
        settle_host(c);
    if (state == AUTH_FAILED)
        client_refuse(c, server_auth_fault(a)->sqlstate, server_auth_fault(a)->message);
    return state == AUTH_OK ? f->bytes : span_make(f->bytes.data, 0);
}

static void keep_name(char to[LOGIN_ENCODING_SIZE], struct span name)
{
    size_t size = name.size < LOGIN_ENCODING_SIZE ? name.size : LOGIN_ENCODING_SIZE - 1;
    memcpy(to, name.data, size);
    to[size] = '\0';
}

void login_on_parameter(struct login *l, const struct frame *f)
{
    struct span name, value;
    if (!message_read_parameter_status(frame_body(f), &name, &value))
        return;
    if (span_is(name, "client_encoding")) {
        keep_name(l->encoding, value);
    } else if (span_is(name, "server_encoding")) {
        keep_name(l->server_encoding, value);
    } else if (span_is(name, "standard_conforming_strings")) {
        l->standard_conforming_strings = span_is(value, "on");
    } else if (span_is(name, "default_transaction_read_only")) {
        l->default_read_only = span_is(value, "on");
    } else if (span_is(name, "application_name")) {
        free(l->application);
        l->application = memory_copy_span(value);
    }
}

void login_tell(const struct login *l, struct login_told *out)
{
    memcpy(out->encoding, l->encoding, sizeof out->encoding);
    memcpy(out->server_encoding, l->server_encoding, sizeof out->server_encoding);
    out->standard_conforming_strings = l->standard_conforming_strings;
    out->default_read_only = l->default_read_only;
    out->application = memory_copy_text(l->application);
}

void login_believe(struct login *l, const struct login_told *told)
{
    memcpy(l->encoding, told->encoding, sizeof l->encoding);
    memcpy(l->server_encoding, told->server_encoding, sizeof l->server_encoding);
    l->standard_conforming_strings = told->standard_conforming_strings;
    l->default_read_only = told->default_read_only;
    if (strcmp(l->application, told->application) == 0)
        return;
    free(l->application);
    l->application = memory_copy_text(told->application);
}

static void on_key(struct client *c, const struct frame *f)
{
    uint32_t process_id;
    struct span secret;
    if (message_read_key_data(frame_body(f), &process_id, &secret))
        server_set_key(c->server, process_id, secret);
}

static void new_id(void *context, unsigned char id[EVENT_ID_SIZE])
{
    struct worker *w = context;
    uuid_make(id, clock_to_wall_us(loop_now_us(&w->loop)));
}

static const char *sink_behind(void *context, const struct channel *channel, size_t bytes)
{
    const struct worker *w = context;
    return dispatch_sink_behind(channel, w->config, bytes);
}

struct session_start login_session_start(const struct client *c)
{
    return (struct session_start){
        .attributes = &c->worker->attributes, .new_id = new_id, .sink_behind = sink_behind, .context = c->worker
    };
}

static void start_session(struct client *c)
{
    struct login *l = c->login;
    struct session_start start = login_session_start(c);
    start.config = l->config;
    start.who = (struct request_attributes){ l->label, l->application, l->database, l->user };
    start.client = c->name;
    start.client_encoding = span_of(l->encoding);
    start.server_encoding = span_of(l->server_encoding);
    start.standard_conforming_strings = l->standard_conforming_strings;
    start.default_read_only = l->default_read_only;
    c->session = session_new(&start);
    counts_database(&c->worker->counts, l->database)->logins++;
    /* A reload may have come while the client logged in. */
    if (c->worker->config != l->config)
        session_set_config(c->session, c->worker->config);
}

void login_append_version(struct buffer *out)
{
    message_add_parameter_status(out, span_of("pgatomic_version"), span_of(PGATOMIC_VERSION));
}

void login_begin_session(struct client *c)
{
    bool replication = c->login->replication;
    if (!replication)
        start_session(c);
    login_free(c->login);
    c->login = NULL;
    client_end_timer(c);
    client_set_state(c, replication ? CLIENT_RAW : CLIENT_SESSION);
}

/* The first ReadyForQuery: from here on others look at the bytes. */
static void on_ready(struct client *c)
{
    struct actions *a = &c->worker->actions;
    struct buffer version = { 0 };
    login_append_version(&version);
    actions_to_client(a, actions_keep(a, buffer_span(&version)));
    buffer_free(&version);
    login_begin_session(c);
}

/* Whoever goes on without AuthenticationOk, or asks again behind it, has not shown who it is. */
static bool is_in_place(const struct login *l, const struct frame *f)
{
    bool at_any_time = f->type == 'E' || f->type == 'N' || f->type == 'v';
    return l->server_auth == NULL || at_any_time || l->let_in == (f->type != 'R');
}

static void relay_message(struct client *c, const struct frame *f)
{
    struct span bytes = f->bytes;
    bool is_for_pgatomic = f->type == 'R' && c->login->server_auth != NULL;
    if (!is_in_place(c->login, f)) {
        client_refuse(c, "08P01", "the upstream sent a message out of its place in the login");
        return;
    }
    if (pass_over_if_closed(c, f))
        return;
    if (!is_for_pgatomic)
        settle_host(c);
    switch (f->type) {
    case 'R':
        bytes = is_for_pgatomic ? answer_upstream(c, f) : on_authentication(c, f);
        break;
    case 'S':
        login_on_parameter(c->login, f);
        break;
    case 'K':
        on_key(c, f);
        break;
    case 'E':
        c->login->refused = true;
        break;
    case 'Z':
        on_ready(c);
        break;
    }
    actions_to_client(&c->worker->actions, bytes);
    c->replies.left = f->left;
}

/* Messages up to the first ReadyForQuery. */
static size_t relay_messages(struct client *c, struct span input)
{
    size_t used = stream_take(&c->replies, input);
    actions_to_client(&c->worker->actions, span_make(input.data, used));
    while (c->state == CLIENT_LOGIN) {
        struct frame f;
        switch (frame_next(backend_messages, span_make(input.data + used, input.size - used), TRAFFIC_SERVER_LIMIT, &f,
                           NULL)) {
        case FRAME_MORE:
            return used;
        case FRAME_BAD:
            client_refuse(c, "08P01", "the upstream sent a message that the protocol does not know");
            return input.size;
        case FRAME_OK:
            relay_message(c, &f);
            used += f.bytes.size;
        }
    }
    return used;
}

/* The client may have sent more than was asked for: it was kept for now. */
static void feed_kept(struct client *c)
{
    struct span kept = conn_kept(&c->conn);
    if (kept.size > 0 && c->state == CLIENT_LOGIN)
        conn_keep(&c->conn, kept, relay_answer(c, kept));
}

static void on_server_lost(struct client *c)
{
    char words[SERVER_LOSS_SIZE];
    if (!server_is_accepted(c->server))
        pass_over(c, server_loss(c->server, "server closed the connection unexpectedly", words));
    else if (c->login->refused || stream_is_inside_message(&c->replies))
        client_close(c, true);
    else
        client_refuse(c, "08006", server_loss(c->server, "the upstream closed the connection unexpectedly", words));
}

void login_on_server_input(struct client *c)
{
    struct span input;
    if (c->login->pooled != NULL) {
        pooled_login_on_server_input(c);
        return;
    }
    switch (conn_receive(&c->server->conn, &input)) {
    case CONN_NOTHING:
        return;
    case CONN_LOST:
        on_server_lost(c);
        return;
    case CONN_INPUT:
        break;
    }
    size_t used = relay_messages(c, input);
    if (c->state == CLIENT_CONNECTING)
        return;
    if (c->state == CLIENT_SESSION || c->state == CLIENT_RAW) {
        traffic_begin(c, input, used);
        return;
    }
    traffic_perform(c);
    conn_keep(&c->server->conn, input, used);
    feed_kept(c);
}
