/* The login of a client of a pool.
 *
 *     begin --admitted--> joined --known--------------------------------> greeted
 *                           +--server--> its settings are told --settled---+
 *                                               +--> refused, in the server's own words
 *
 * What the client is told stays in one buffer up to the end, unless it has to answer: a login that asks for nothing is one write. */
#include "proxy/pool/pooled_login.h"

#include <stdlib.h>
#include <strings.h>

#include "protocol/memory.h"
#include "proxy/ops/admin.h"
#include "proxy/pool/admission.h"
#include "proxy/pool/login.h"
#include "proxy/pool/pooled.h"
#include "proxy/pool/startup_options.h"
#include "proxy/pool/traffic.h"

enum { NEWEST_MINOR = 2 };

struct pooled_login {
    struct buffer packet;    /* the parameters of the StartupMessage, until it is known who sent them */
    struct parameters *base; /* what the client wants set from the start; NULL: not read yet */
    uint16_t minor;          /* that is spoken */
    struct buffer out;       /* for the client, not sent yet */
    bool failed;             /* the server has refused a setting: the client has been told */
};

void pooled_login_free(struct pooled_login *l)
{
    if (l == NULL)
        return;
    parameters_release(l->base);
    buffer_free(&l->packet);
    buffer_free(&l->out);
    free(l);
}

static void send_out(struct client *c)
{
    struct buffer *out = &c->login->pooled->out;
    conn_send_span(&c->conn, buffer_span(out));
    buffer_free(out);
}

/* What was said so far goes ahead of the refusal. */
static void refuse(struct client *c, const char *sqlstate, const char *message)
{
    send_out(c);
    client_refuse(c, sqlstate, message);
}

/* --- the startup packet ------------------------------------------------------------------------------- */

static bool is_protocol_option(struct span name)
{
    return name.size >= 5 && memcmp(name.data, "_pq_.", 5) == 0;
}

/* These say who and where, or are for pgatomic: they are no settings of the session. PostgreSQL takes the last one, too, and does not heed
 * it. */
static bool is_no_setting(struct span name)
{
    static const char *const names[] = { "user",    "database",         "replication",
                                         "options", "pgatomic.request", "session_authorization" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (name.size == strlen(names[i]) && strncasecmp(name.data, names[i], name.size) == 0)
            return true;
    return is_protocol_option(name);
}

static struct parameters *with_setting(struct parameters *take, struct span name, struct span value)
{
    return name.size == 0 || is_no_setting(name) ? take : parameters_with(take, name, value);
}

/* As PostgreSQL does: the settings in `options` first, and what stands by itself in the packet counts more. */
static struct parameters *read_settings(struct span parameters)
{
    struct parameters *base = parameters_none();
    struct span name, value, options;
    if (startup_find(parameters, "options", &options)) {
        struct buffer word = { 0 };
        for (size_t at = 0; startup_next_setting(options, &at, &word, &name, &value);)
            base = with_setting(base, name, value);
        buffer_free(&word);
    }
    for (size_t at = 0; startup_parameter(parameters, &at, &name, &value);)
        base = with_setting(base, name, value);
    return base;
}

static uint32_t count_protocol_options(struct span parameters)
{
    struct span name, value;
    uint32_t count = 0;
    for (size_t at = 0; startup_parameter(parameters, &at, &name, &value);)
        count += is_protocol_option(name);
    return count;
}

/* NegotiateProtocolVersion, once: the version that is spoken, and the options that nobody here knows (P1). */
static void negotiate(struct pooled_login *l, const struct message_startup *m)
{
    uint32_t unknown = count_protocol_options(m->parameters);
    l->minor = m->minor < NEWEST_MINOR ? m->minor : NEWEST_MINOR;
    if (l->minor == m->minor && unknown == 0)
        return;
    size_t start = l->out.size;
    struct span name, value;
    buffer_append_u8(&l->out, 'v');
    buffer_append_u32(&l->out, 0);
    buffer_append_u16(&l->out, m->major);
    buffer_append_u16(&l->out, l->minor);
    buffer_append_u32(&l->out, unknown);
    for (size_t at = 0; startup_parameter(m->parameters, &at, &name, &value);)
        if (is_protocol_option(name))
            buffer_append_string(&l->out, name);
    wire_put_u32(l->out.data + start + 1, (uint32_t)(l->out.size - start - 1));
}

/* --- greeting ------------------------------------------------------------------------------------------- */

static void read_greeting(struct login *l, struct span messages)
{
    struct frame f;
    for (size_t at = 0; frame_next_whole(backend_messages, span_make(messages.data + at, messages.size - at),
                                         TRAFFIC_SERVER_LIMIT, &f, NULL) == FRAME_OK;
         at += f.bytes.size)
        login_on_parameter(l, &f);
}

/* BackendKeyData: it stands for the client, on whatever server it may run. */
static void append_key(struct client *c, struct buffer *out)
{
    struct pooled *p = c->pooled;
    p->key = cancel_key_mint(&c->worker->cancels, c->login->pooled->minor, c);
    struct span secret = cancel_key_secret(p->key);
    buffer_append_u8(out, 'K');
    buffer_append_u32(out, (uint32_t)(8 + secret.size));
    buffer_append_u32(out, cancel_key_process_id(p->key));
    buffer_append_span(out, secret);
}

static void greet(struct client *c, const struct pool_greeting *greeting)
{
    struct buffer *out = &c->login->pooled->out;
    login_believe(c->login, &greeting->told);
    buffer_append_span(out, buffer_span(&greeting->messages));
    login_append_version(out);
    append_key(c, out);
    message_add_ready(out, 'I');
    send_out(c);
    login_begin_session(c);
    c->held = conn_kept(&c->conn).size > 0; /* sent early, and not looked at yet */
    traffic_resume(c);
}

/* --- a server for it -------------------------------------------------------------------------------------- */

static void on_settled(struct client *c)
{
    struct pooled_login *l = c->login->pooled;
    struct pool_greeting greeting = { 0 };
    link_server_append_parameters(((struct pool_server *)c->server)->record, &greeting.messages);
    read_greeting(c->login, buffer_span(&greeting.messages));
    login_tell(c->login, &greeting.told);
    greet(c, pool_learn_greeting(c->pooled->pool, l->base, &greeting));
}

/* A setting that the server does not take: the client is told so in the server's words. */
static void on_server_error(struct client *c, const struct frame *f)
{
    struct pooled_login *l = c->login->pooled;
    struct message_error e;
    if (l->failed || !message_read_error(frame_body(f), &e))
        return;
    struct message_fault fault = { .severity = "FATAL", .message = e.message, .detail = e.detail, .hint = e.hint };
    char sqlstate[6] = { 0 };
    memcpy(sqlstate, e.sqlstate.data, e.sqlstate.size < 5 ? e.sqlstate.size : 5);
    fault.sqlstate = sqlstate;
    message_add_error(&l->out, &fault);
    client_log(c, LOG_INFO, "a startup setting was refused by the server", sqlstate);
    l->failed = true;
}

static void look_for_errors(struct client *c, struct span input)
{
    struct frame f;
    for (size_t at = 0; frame_next_whole(backend_messages, span_make(input.data + at, input.size - at),
                                         TRAFFIC_SERVER_LIMIT, &f, NULL) == FRAME_OK;
         at += f.bytes.size)
        if (f.type == 'E')
            on_server_error(c, &f);
}

/* The server's word on the client's settings is in, or it is not. */
static void look_at_link(struct client *c)
{
    if (c->login->pooled->failed) { /* what holds on the server now is anybody's guess */
        pooled_cut(c);
        send_out(c);
        client_close(c, true);
    } else if (link_error(c->pooled->link) != NULL) {
        pooled_cut(c);
        refuse(c, "08P01", "the upstream's answer to the client's settings could not be understood");
    } else if (link_is_settled(c->pooled->link)) {
        on_settled(c);
    }
}

void pooled_login_on_server_input(struct client *c)
{
    struct server *s = c->server;
    struct span input;
    char words[SERVER_LOSS_SIZE];
    const char *why;
    switch (conn_receive(&s->conn, &input)) {
    case CONN_NOTHING:
        return;
    case CONN_LOST:
        why = server_loss(s, "the upstream closed the connection unexpectedly", words);
        pooled_cut(c);
        refuse(c, "08006", why);
        return;
    case CONN_INPUT:
        break;
    }
    look_for_errors(c, input);
    size_t used = pooled_skip_pieces(c, input);
    conn_keep(&s->conn, input, used);
    look_at_link(c);
}

void pooled_login_on_granted(struct client *c)
{
    client_set_deadline(c, loop_now_us(&c->worker->loop) + LOGIN_TIMEOUT_US);
    look_at_link(c);
}

/* Who has to wait has shown who it is: how long it may is for queue_timeout to say, which has nothing to say during a PAUSE. */
static void get_server(struct client *c)
{
    struct pool_server *s = pool_take(c->pooled->pool);
    if (s == NULL) {
        client_set_deadline(c, 0);
        pooled_wait(c);
        return;
    }
    pooled_attach(c, s);
    pooled_flush(c);
    look_at_link(c);
}

/* A server that is there already can be told settings, and nothing else of what a new one can be told. */
static bool has_odd_options(const struct client *c)
{
    struct span options;
    return startup_find(buffer_span(&c->login->pooled->packet), "options", &options) &&
           startup_options_are_odd(options);
}

/* Who it is has been shown. */
static void join(struct client *c)
{
    struct login *l = c->login;
    stranger_leave(&l->stranger);
    if (l->upstream == NULL) {
        admin_begin(c, &l->pooled->out);
        return;
    }
    if (has_odd_options(c)) {
        refuse(c, "42601", "\"options\" may hold settings only, as -c name=value or --name=value, through a pool");
        return;
    }
    l->pooled->base = read_settings(buffer_span(&l->pooled->packet));
    buffer_free(&l->pooled->packet);
    struct pool_key key = { l->upstream, l->config, l->database, l->user };
    struct pool *pool = pool_join(c->worker, &key, admission_credentials(l->admission));
    message_add_authentication(&l->pooled->out, AUTHENTICATION_OK, (struct span){ 0 });
    l->pooled->base = pool_share_settings(pool, l->pooled->base);
    c->pooled = pooled_new(c, pool, l->pooled->base);
    const struct pool_greeting *greeting = pool_find_greeting(pool, l->pooled->base);
    if (greeting != NULL && !(greeting->is_old && pool_can_give(pool)))
        greet(c, greeting);
    else
        get_server(c);
}

/* --- the beginning ----------------------------------------------------------------------------------------- */

void pooled_login_begin(struct client *c, const struct message_startup *m)
{
    struct pooled_login *l = or_abort(calloc(1, sizeof *l));
    if (c->login->replication) {
        free(l);
        client_refuse(
            c, "0A000",
            "replication is not possible through a pool: the database block says pool = session or transaction");
        return;
    }
    c->login->pooled = l;
    buffer_append_span(&l->packet, m->parameters); /* reading many of them takes time, which strangers get none of */
    negotiate(l, m);
    client_set_state(c, CLIENT_LOGIN);
}

void pooled_login_start(struct client *c)
{
    struct login *l = c->login;
    if (l->upstream != NULL || l->method != AUTH_PASSTHROUGH)
        admission_start(c, &l->pooled->out, join);
    else if (admin_is_vouched_for(c))
        join(c);
    else
        client_refuse(
            c, "28000",
            "the console takes only connections over a unix socket, of the user that runs pgatomic or of root");
}
