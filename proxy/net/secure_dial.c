/* Connecting, and agreeing on TLS.
 *
 *     DIALING --connected--> ASKING --'S'--> SHAKING_HANDS --done--> (delivered)
 *        ^           |  +----- direct ---------^   |                    ^
 *        |           +------- plain ---------------|--------------------+
 *        |                      ^--'N'; failed, when TLS is only preferred: connected once more
 *        +------- not what is wanted: the next address
 *
 * The answer to SSLRequest is one byte. Whatever came along with it was put there by somebody who sits in between, and who would like
 * it to be taken for the server's words inside TLS. */
#include "proxy/net/secure_dial.h"

#include <stdio.h>

#include "protocol/memory.h"
#include "protocol/message.h"
#include "proxy/net/conn.h"

enum state { DIALING, ASKING, SHAKING_HANDS };

struct secure_dial {
    struct loop *loop;
    struct secure_targets targets;
    const char *name; /* of secure_dial_way() */
    secure_dial_done *done;
    void *context;

    struct dial *dial;
    enum state state;
    struct address address; /* that has answered */
    struct conn conn;       /* closed while DIALING */
    struct timer *timer;
    bool goes_plain; /* TLS has failed with `address`, and was only preferred */
    bool is_telling; /* `done` is being called */
    bool kept;
};

static void secure_dial_free(struct secure_dial *s)
{
    dial_cancel(s->dial);
    conn_close(&s->conn);
    timer_free(s->timer);
    free(s);
}

void secure_dial_cancel(struct secure_dial *s)
{
    if (s != NULL && s->is_telling)
        s->kept = false;
    else if (s != NULL)
        secure_dial_free(s);
}

void secure_dial_keep(struct secure_dial *s)
{
    s->kept = true;
}

static void tell(struct secure_dial *s, const struct secure_connection *made, const char *error)
{
    s->is_telling = true;
    s->kept = false;
    s->done(s->context, made, error);
    s->is_telling = false;
    if (!s->kept)
        secure_dial_free(s);
}

/* --- what is settled ------------------------------------------------------------------------------- */

static const char *host_name(const struct secure_dial *s)
{
    return s->targets.names[dial_host(s->dial)];
}

static void settle(struct secure_dial *s)
{
    struct secure_connection made = { .host = dial_host(s->dial),
                                      .way = { .address = s->address, .tcp = *s->targets.dial.tcp } };
    timer_stop(s->timer);
    s->state = DIALING;
    made.fd = conn_release(&s->conn, &made.tls);
    if (made.tls != NULL) {
        made.way.manner = s->targets.manner;
        made.way.name = tls_source_keep_name(s->targets.manner.source, host_name(s));
    }
    tell(s, &made, NULL);
}

void secure_dial_next(struct secure_dial *s, const char *why)
{
    s->goes_plain = false;
    dial_next(s->dial, why);
}

static void reject(struct secure_dial *s, const char *why)
{
    char words[TLS_ERROR_SIZE];
    snprintf(words, sizeof words, "%s", why); /* it may be the connection's */
    timer_stop(s->timer);
    s->state = DIALING;
    conn_close(&s->conn);
    secure_dial_next(s, words);
}

static void on_timeout(void *context)
{
    reject(context, "timeout expired");
}

/* --- agreeing -------------------------------------------------------------------------------------- */

/* Who has not been asked has to say what he speaks: it may be a server of another kind. */
static bool lacks_protocol(const struct secure_dial *s)
{
    return s->targets.manner.direct && !tls_speaks(s->conn.tls, tls_postgresql);
}

static void settle_if_established(struct secure_dial *s)
{
    if (!tls_is_established(s->conn.tls) || conn_queued(&s->conn) > 0)
        return;
    if (lacks_protocol(s))
        reject(s, "server did not agree by ALPN to speak the protocol of PostgreSQL");
    else
        settle(s);
}

/* A server that is quick enough has answered by the time that it is asked: then nothing more will come to wait for. */
static void shake_hands(struct secure_dial *s)
{
    char error[TLS_ERROR_SIZE];
    struct tls_context *context = tls_source_context(s->targets.manner.source, error);
    if (context == NULL) {
        reject(s, error);
        return;
    }
    s->state = SHAKING_HANDS;
    conn_start_tls(&s->conn, tls_client_new(context, host_name(s), tls_postgresql));
    tls_context_release(context);
    settle_if_established(s);
}

static bool may_go_plain(const struct secure_dial *s)
{
    return tls_source_mode(s->targets.manner.source) < TLS_REQUIRE;
}

static void ask(struct secure_dial *s)
{
    struct buffer request = { 0 };
    message_add_ssl_request(&request);
    s->state = ASKING;
    conn_send_span(&s->conn, buffer_span(&request));
    buffer_free(&request);
}

static void on_answer(struct secure_dial *s, char answer, bool is_alone)
{
    if (answer == 'E')
        reject(s, "server sent an error response when it was asked for TLS");
    else if (!is_alone)
        reject(s, "server sent more than its answer when it was asked for TLS");
    else if (answer == 'S')
        shake_hands(s);
    else if (answer != 'N')
        reject(s, "server sent an answer that is none when it was asked for TLS");
    else if (may_go_plain(s))
        settle(s);
    else
        reject(s, "server does not support TLS, but TLS was required");
}

static const char *loss(const struct secure_dial *s)
{
    const char *error = conn_error(&s->conn);
    return error[0] != '\0' ? error : "server closed the connection unexpectedly";
}

static void read_answer(struct secure_dial *s)
{
    struct span input;
    switch (conn_receive(&s->conn, &input)) {
    case CONN_NOTHING:
        return;
    case CONN_LOST:
        reject(s, loss(s));
        return;
    case CONN_INPUT:
        break;
    }
    char answer = input.data[0];
    bool is_alone = input.size == 1;
    conn_keep(&s->conn, input, input.size);
    on_answer(s, answer, is_alone);
}

static void on_failed_handshake(struct secure_dial *s)
{
    if (!may_go_plain(s)) {
        reject(s, loss(s));
        return;
    }
    timer_stop(s->timer);
    s->state = DIALING;
    conn_close(&s->conn);
    s->goes_plain = true;
    dial_again(s->dial);
}

static void go_on_shaking_hands(struct secure_dial *s)
{
    struct span input;
    switch (conn_receive(&s->conn, &input)) {
    case CONN_LOST:
        on_failed_handshake(s);
        return;
    case CONN_INPUT:
        reject(s, "server spoke before it was spoken to");
        return;
    case CONN_NOTHING:
        break;
    }
    settle_if_established(s);
}

static void on_ready(void *owner, bool readable)
{
    struct secure_dial *s = owner;
    (void)readable; /* output that has drained may be what was waited for */
    if (s->state == ASKING)
        read_answer(s);
    else if (s->state == SHAKING_HANDS)
        go_on_shaking_hands(s);
}

/* --- dialing --------------------------------------------------------------------------------------- */

static bool is_same_address(const struct address *a, const struct address *b)
{
    return a->size == b->size && memcmp(&a->any, &b->any, a->size) == 0;
}

static void on_dialed(void *context, int fd, const struct address *to, const char *error)
{
    struct secure_dial *s = context;
    if (fd < 0) {
        s->dial = NULL;
        tell(s, NULL, error);
        return;
    }
    bool goes_plain = s->goes_plain && is_same_address(to, &s->address);
    dial_keep(s->dial);
    s->goes_plain = false;
    s->address = *to;
    conn_open(&s->conn, s->loop, fd, on_ready, s);
    if (s->targets.manner.source == NULL || goes_plain || address_is_unix(to)) {
        settle(s);
        return;
    }
    conn_want_input(&s->conn, true);
    if (s->targets.dial.timeout_ms > 0)
        timer_start(s->timer, s->targets.dial.timeout_ms * 1000);
    if (s->targets.manner.direct)
        shake_hands(s);
    else
        ask(s);
}

static struct secure_dial *secure_dial_new(struct loop *l, const struct secure_targets *targets, secure_dial_done *done,
                                           void *context)
{
    struct secure_dial *s = or_abort(calloc(1, sizeof *s));
    s->loop = l;
    s->targets = *targets;
    s->done = done;
    s->context = context;
    s->conn.fd = -1;
    s->timer = timer_new(l, on_timeout, s);
    return s;
}

struct secure_targets secure_targets_of(const struct database *d)
{
    struct secure_manner manner = { d->tls.mode != TLS_DISABLE ? tls_source_find(&d->tls) : NULL, d->direct_tls };
    return (struct secure_targets){ .dial = { .hosts = d->hosts,
                                              .ports = d->ports,
                                              .timeout_ms = d->connect_timeout_ms,
                                              .shuffled = d->shuffles_hosts,
                                              .tcp = &d->tcp },
                                    .names = d->names,
                                    .manner = manner };
}

struct secure_dial *secure_dial_hosts(struct loop *l, struct resolver *r, const struct secure_targets *targets,
                                      secure_dial_done *done, void *context)
{
    struct secure_dial *s = secure_dial_new(l, targets, done, context);
    s->dial = dial_hosts(l, r, &targets->dial, on_dialed, s);
    return s;
}

struct secure_dial *secure_dial_way(struct loop *l, const struct secure_way *way, uint64_t timeout_ms,
                                    secure_dial_done *done, void *context)
{
    struct secure_targets targets = { .dial = { .timeout_ms = timeout_ms, .tcp = &way->tcp }, .manner = way->manner };
    struct secure_dial *s = secure_dial_new(l, &targets, done, context);
    s->name = way->name;
    s->targets.names = &s->name;
    s->dial = dial_address(l, &way->address, timeout_ms, &way->tcp, on_dialed, s);
    return s;
}
