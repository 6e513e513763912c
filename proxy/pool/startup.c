/* The first packets of a connection, up to the upstream.
 *
 *     a TLS handshake             as the first byte of all, when TLS is on
 *     SSLRequest                  answered 'S' when TLS is on, and the handshake follows; else 'N'; once, and not inside TLS
 *     GSSENCRequest               answered 'N', under the same conditions
 *     CancelRequest               carried to where its key leads, then closed
 *     StartupMessage              checked against the limits, then on to the upstream
 *
 * Whoever is there may be anyone. What is no packet of the protocol is closed without an answer, for nobody who could read
 * one has sent it; what is one, but not allowed, gets FATAL 08P01. */
#include "proxy/pool/login.h"

#include <stdio.h>
#include <stdlib.h>

#include "protocol/memory.h"
#include "protocol/message.h"
#include "proxy/auth/server_auth.h"
#include "proxy/ops/admin.h"
#include "proxy/pool/client.h"
#include "proxy/pool/encryption.h"
#include "proxy/pool/admission.h"
#include "proxy/pool/pooled_login.h"
#include "proxy/pool/startup_options.h"

struct login *login_new(const struct address *peer)
{
    struct login *l = or_abort(calloc(1, sizeof *l));
    l->peer = *peer;
    l->standard_conforming_strings = true;
    return l;
}

void login_free(struct login *l)
{
    if (l == NULL)
        return;
    stranger_leave(&l->stranger);
    if (l->config != NULL)
        config_release(l->config);
    free(l->user);
    free(l->database);
    free(l->application);
    free(l->label);
    buffer_free(&l->packet);
    pooled_login_free(l->pooled);
    admission_free(l->admission);
    server_auth_free(l->server_auth);
    buffer_free(&l->said);
    free(l);
}

/* --- encryption -------------------------------------------------------------------------------------- */

enum { TLS_HANDSHAKE = 0x16 }; /* the first byte of one, and of no packet: those begin with a length */

/* A request may come once, and in plain: inside TLS there is nothing to ask for. What was sent behind it, whoever has put it there, must never
 * be taken for what came over TLS. False: the client has been refused. */
static bool may_ask_for_encryption(struct client *c, bool *asked, bool bytes_follow)
{
    if (*asked || c->conn.tls != NULL) {
        client_refuse(c, "08P01", "encryption was asked for twice");
        return false;
    }
    *asked = true;
    if (bytes_follow)
        client_refuse(c, "08P01", "data was sent behind a request for encryption, before its answer");
    return !bytes_follow;
}

static void answer_ssl_request(struct client *c, bool bytes_follow)
{
    if (!may_ask_for_encryption(c, &c->login->ssl_asked, bytes_follow))
        return;
    struct tls_context *context = encryption_of_clients();
    conn_send_span(&c->conn, span_of(context != NULL ? "S" : "N"));
    if (context != NULL)
        conn_start_tls(&c->conn, tls_server_new(context));
    tls_context_release(context);
}

static void answer_gssenc_request(struct client *c, bool bytes_follow)
{
    if (may_ask_for_encryption(c, &c->login->gssenc_asked, bytes_follow))
        conn_send_span(&c->conn, span_of("N"));
}

/* The first byte is looked at before any is read, so that a handshake finds all of its bytes. Where there is no TLS it may be read: a reload
 * that brings TLS does not bring it to those who have begun. */
static void begin_direct_tls(struct client *c)
{
    int first = config_offers_tls(c->worker->config) ? conn_peek(&c->conn) : 0;
    c->login->begun = first >= 0;
    struct tls_context *context = first == TLS_HANDSHAKE ? encryption_of_clients() : NULL;
    if (context == NULL)
        return;
    c->login->direct_tls = true;
    conn_start_tls(&c->conn, tls_server_new(context));
    tls_context_release(context);
}

/* --- cancel ------------------------------------------------------------------------------------------ */

static void on_cancelled(void *context, const char *error)
{
    struct client *c = context;
    c->cancel = NULL;
    if (error != NULL)
        client_log(c, LOG_WARN, "cancel request failed", error);
    client_close(c, false);
    client_settle(c);
}

static void carry_cancel(struct client *c, const struct message_startup *m)
{
    c->cancel = cancel_carry(&c->worker->cancels, m->process_id, m->secret, !c->from_peer, on_cancelled, c);
    if (c->cancel != NULL) {
        stranger_leave(&c->login->stranger); /* it knows a key */
        client_set_state(c, CLIENT_CANCELLING);
        return;
    }
    client_log(c, LOG_INFO, "cancel request with an unknown key", NULL);
    client_close(c, false);
}

/* --- StartupMessage -------------------------------------------------------------------------------- */

/* What of the packet concerns pgatomic; no data: it is not there. */
struct said {
    struct span user, database, application, replication, label, options;
};

/* As for the server, the last one of a name counts. */
static void read_said(struct span parameters, struct said *out)
{
    struct span name, value;
    *out = (struct said){ 0 };
    for (size_t at = 0; startup_parameter(parameters, &at, &name, &value);) {
        if (span_is(name, "user"))
            out->user = value;
        else if (span_is(name, "database"))
            out->database = value;
        else if (span_is(name, "application_name"))
            out->application = value;
        else if (span_is(name, "replication"))
            out->replication = value;
        else if (span_is(name, "pgatomic.request"))
            out->label = value;
        else if (span_is(name, "options"))
            out->options = value;
    }
}

static void read_label(struct login *l, const struct said *said)
{
    struct buffer label = { 0 };
    if (said->label.data != NULL)
        buffer_append_span(&label, said->label);
    else if (said->options.data != NULL)
        startup_option(said->options, "pgatomic.request", &label);
    if (label.size > 0)
        l->label = memory_copy_span(buffer_span(&label));
    buffer_free(&label);
}

/* False: the client has been refused. */
static bool read_parameters(struct client *c, struct span parameters)
{
    struct login *l = c->login;
    struct said said;
    read_said(parameters, &said);
    if (said.user.size == 0) {
        client_refuse(c, "28000", "no user name was given in the startup packet");
        return false;
    }
    l->user = memory_copy_span(said.user);
    l->database = memory_copy_span(said.database.size > 0 ? said.database : said.user);
    l->application = memory_copy_span(said.application);
    l->replication = startup_replication(said.replication);
    read_label(l, &said);
    return true;
}

/* The client's own packet, but for the database when its block names one. */
static void build_packet(struct login *l, const struct message_startup *m)
{
    struct span name, value;
    const char *dbname = l->upstream->dbname;
    size_t start = message_begin_startup(&l->packet, m->major, m->minor);
    for (size_t at = 0; startup_parameter(m->parameters, &at, &name, &value);) {
        if (dbname != NULL && span_is(name, "database"))
            continue;
        buffer_append_string(&l->packet, name);
        buffer_append_string(&l->packet, value);
    }
    if (dbname != NULL) {
        buffer_append_string(&l->packet, span_of("database"));
        buffer_append_string(&l->packet, span_of(dbname));
    }
    message_end_startup(&l->packet, start);
}

static void on_connected(void *owner, const char *error)
{
    struct client *c = owner;
    if (error == NULL) {
        login_begin(c);
    } else {
        struct buffer words = { 0 };
        buffer_format(&words, "could not connect to the upstream: %s", error);
        buffer_append_u8(&words, '\0');
        client_refuse(c, "08006", words.data);
        buffer_free(&words);
    }
    client_settle(c);
}

static void connect_upstream(struct client *c)
{
    client_set_state(c, CLIENT_CONNECTING);
    c->server = server_new(&c->worker->loop, client_on_server_ready, c);
    c->server->on_late = login_on_server_late;
    server_connect(c->server, c->worker->resolver, c->login->upstream, on_connected);
}

/* pgatomic knows who it is; what it has said of that goes ahead of what the upstream says. */
static void on_admitted(struct client *c)
{
    stranger_leave(&c->login->stranger);
    conn_send_span(&c->conn, buffer_span(&c->login->said));
    buffer_free(&c->login->said);
    connect_upstream(c);
}

static void start_login(struct client *c)
{
    if (c->login->pooled != NULL)
        pooled_login_start(c);
    else
        admission_start(c, &c->login->said, on_admitted);
}

/* False: the client has been refused. */
static bool is_encrypted_enough(struct client *c)
{
    char *missing = encryption_missing(c->login->config, &c->conn, c->login->user);
    if (missing != NULL)
        client_refuse(c, "28000", missing);
    free(missing);
    return missing == NULL;
}

/* Once, for all that follow: a rule may go by what does not last. */
static void choose_method(struct client *c)
{
    struct login *l = c->login;
    struct login_attributes who = {
        .database = l->database, .user = l->user, .peer = &l->peer.any, .tls = c->conn.tls != NULL
    };
    l->method = config_login(l->config, &who);
}

static void begin_session(struct client *c, const struct message_startup *m)
{
    struct login *l = c->login;
    l->config = config_retain(c->worker->config);
    if (!read_parameters(c, m->parameters) || !is_encrypted_enough(c))
        return;
    choose_method(c);
    if (admin_is_console(l->config, l->database)) {
        pooled_login_begin(c, m);
        return;
    }
    if (!workers_admit(l->config->limits.clients)) {
        client_refuse(c, "53300", "too many clients: limits.clients is reached");
        return;
    }
    c->admitted = true;
    c->message_limit = l->config->limits.message;
    l->upstream = config_database(l->config, l->database);
    if (l->upstream == NULL) {
        struct buffer words = { 0 };
        buffer_format(&words, "database \"%s\" does not exist: no database block of pgatomic matches it", l->database);
        buffer_append_u8(&words, '\0');
        client_refuse(c, "3D000", words.data);
        buffer_free(&words);
        return;
    }
    if (l->upstream->pool != POOL_DEDICATED) {
        pooled_login_begin(c, m);
        return;
    }
    build_packet(l, m);
    if (l->method == AUTH_PASSTHROUGH)
        connect_upstream(c);
    else
        client_set_state(c, CLIENT_LOGIN);
}

/* --- packets --------------------------------------------------------------------------------------- */

static void take_packet(struct client *c, const struct message_startup *m, bool bytes_follow)
{
    switch (m->kind) {
    case STARTUP_SSL:
        answer_ssl_request(c, bytes_follow);
        return;
    case STARTUP_GSSENC:
        answer_gssenc_request(c, bytes_follow);
        return;
    case STARTUP_CANCEL:
        carry_cancel(c, m);
        return;
    case STARTUP_SESSION:
        if (c->from_peer)
            client_close(c, false);
        else
            begin_session(c, m);
        return;
    }
}

/* Says what is wrong with the packet at the front of `input`, which message_read_startup() did not like. */
static void reject_packet(struct client *c, struct span input)
{
    size_t length = wire_get_u32(input.data);
    if (input.size < 8 || length < 8 || length > c->worker->config->limits.startup) {
        bool is_tls = input.data[0] == TLS_HANDSHAKE;
        client_log(c, LOG_WARN, "connection closed: not a startup packet",
                   is_tls ? "a TLS handshake came where the protocol asks for an SSLRequest" : "invalid length");
        client_close(c, false);
    } else if (wire_get_u16(input.data + 4) == 3) {
        client_refuse(c, "08P01",
                      "invalid startup packet: parameters have to be pairs of strings, and end with an empty one");
    } else {
        client_refuse(c, "08P01", "unsupported protocol version: only 3.0 and newer minor versions are spoken here");
    }
}

static size_t take_packets(struct client *c, struct span input)
{
    size_t used = 0;
    while (c->state == CLIENT_STARTUP) {
        struct message_startup m;
        size_t size = 0;
        struct span rest = span_make(input.data + used, input.size - used);
        switch (message_read_startup(rest, c->worker->config->limits.startup, &m, &size)) {
        case FRAME_MORE:
            return used;
        case FRAME_BAD:
            reject_packet(c, rest);
            return input.size;
        case FRAME_OK:
            used += size;
            take_packet(c, &m, used < input.size);
        }
    }
    return used;
}

static void on_lost(struct client *c)
{
    const char *error = conn_tls_error(&c->conn);
    if (error[0] != '\0')
        client_log(c, LOG_WARN, "connection closed: no TLS handshake", error);
    client_close(c, false);
}

/* A handshake without asking has to say what it is for, so that no other protocol's client can be talked into it. */
static bool lacks_protocol(const struct client *c)
{
    return c->login->direct_tls && !tls_speaks(c->conn.tls, tls_postgresql);
}

void startup_on_client_input(struct client *c)
{
    struct span input;
    if (!c->login->begun)
        begin_direct_tls(c);
    switch (conn_receive(&c->conn, &input)) {
    case CONN_NOTHING:
        return;
    case CONN_LOST:
        on_lost(c);
        return;
    case CONN_INPUT:
        break;
    }
    if (lacks_protocol(c)) {
        client_refuse(c, "08P01", "TLS without asking for it takes ALPN with the protocol postgresql");
        return;
    }
    conn_keep(&c->conn, input, take_packets(c, input));
    if (c->state == CLIENT_LOGIN)
        start_login(c);
}
