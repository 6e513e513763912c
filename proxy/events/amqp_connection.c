/* The blocking library, and what has to be said to it.
 *
 * The library reads and writes whole frames and knows the heartbeat. What it leaves to its caller is here: to collect the three kinds of
 * frames of a returned message, to answer the broker's closing of a channel, and to put what went wrong into words. A write that
 * cannot go on, because the broker has stopped reading, would wait for ever in the library; the kernel ends it (TCP_USER_TIMEOUT). */
#include "proxy/events/amqp_connection.h"

#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "protocol/memory.h"
#include "proxy/events/amqp_table.h"
#include "proxy/version.h"

enum { CHANNEL = 1, FRAME_SIZE = 128 * 1024, SHORT_TEXT_MAX_SIZE = 255 };

struct amqp_connection {
    amqp_connection_state_t state;
    amqp_socket_t *socket; /* owned by `state` */
    uint64_t timeout_ms;
    /* A returned message, whose frames are coming in. */
    uint64_t returned_body_left;
    struct amqp_news returned;
    amqp_pool_t pool; /* of one message's headers */
};

static struct timeval time_of(uint64_t ms)
{
    return (struct timeval){ .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000) };
}

/* --- what went wrong ------------------------------------------------------------------------------ */

static void say_status(char reason[AMQP_REASON_SIZE], const char *what, int status)
{
    if (status == AMQP_STATUS_SOCKET_ERROR && errno != 0)
        snprintf(reason, AMQP_REASON_SIZE, "%s: %s", what, strerror(errno));
    else
        snprintf(reason, AMQP_REASON_SIZE, "%s: %s", what, amqp_error_string2(status));
}

static void say_broker(char reason[AMQP_REASON_SIZE], amqp_bytes_t text)
{
    snprintf(reason, AMQP_REASON_SIZE, "the broker says: %.*s", (int)(text.len < 400 ? text.len : 400),
             (const char *)text.bytes);
}

/* True when all went well; else why not. */
static bool is_normal(amqp_rpc_reply_t reply, const char *what, char reason[AMQP_REASON_SIZE])
{
    switch (reply.reply_type) {
    case AMQP_RESPONSE_NORMAL:
        return true;
    case AMQP_RESPONSE_SERVER_EXCEPTION:
        if (reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD)
            say_broker(reason, ((amqp_connection_close_t *)reply.reply.decoded)->reply_text);
        else if (reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD)
            say_broker(reason, ((amqp_channel_close_t *)reply.reply.decoded)->reply_text);
        else
            snprintf(reason, AMQP_REASON_SIZE, "%s: the broker refuses", what);
        return false;
    case AMQP_RESPONSE_LIBRARY_EXCEPTION:
    case AMQP_RESPONSE_NONE:
        break;
    }
    say_status(reason, what, reply.library_error);
    return false;
}

/* --- opening --------------------------------------------------------------------------------------- */

/* OpenSSL itself holds the certificate against the host's name or address: the library's own comparison knows no addresses. */
static bool verify(amqp_socket_t *socket, const struct amqp_settings *s, char reason[AMQP_REASON_SIZE])
{
    SSL_CTX *context = amqp_ssl_socket_get_context(socket);
    X509_VERIFY_PARAM *wanted = SSL_CTX_get0_param(context);
    bool named =
        X509_VERIFY_PARAM_set1_ip_asc(wanted, s->host) == 1 || X509_VERIFY_PARAM_set1_host(wanted, s->host, 0) == 1;
    bool trusts = s->ca[0] != '\0' ? SSL_CTX_load_verify_file(context, s->ca) == 1
                                   : SSL_CTX_set_default_verify_paths(context) == 1;
    amqp_ssl_socket_set_verify_peer(socket, true);
    amqp_ssl_socket_set_verify_hostname(socket, false);
    if (named && trusts && amqp_ssl_socket_set_ssl_versions(socket, AMQP_TLSv1_2, AMQP_TLSvLATEST) == AMQP_STATUS_OK)
        return true;
    snprintf(reason, AMQP_REASON_SIZE, "cannot read certificates to trust from \"%s\"", s->ca);
    return false;
}

static bool open_socket(struct amqp_connection *c, const struct amqp_settings *s, char reason[AMQP_REASON_SIZE])
{
    struct timeval timeout = time_of(s->timeout_ms);
    c->socket = or_abort(s->tls ? amqp_ssl_socket_new(c->state) : amqp_tcp_socket_new(c->state));
    if (s->tls && !verify(c->socket, s, reason))
        return false;
    errno = 0;
    int status = amqp_socket_open_noblock(c->socket, s->host, s->port, &timeout);
    if (status == AMQP_STATUS_OK)
        return true;
    if (status == AMQP_STATUS_SOCKET_ERROR && errno == EINPROGRESS) /* what came of it the library keeps for itself */
        snprintf(reason, AMQP_REASON_SIZE, "cannot connect: refused or unreachable");
    else
        say_status(reason, "cannot connect", status);
    return false;
}

struct amqp_connection *amqp_connection_dial(const struct amqp_settings *s, char reason[AMQP_REASON_SIZE])
{
    struct amqp_connection *c = or_abort(malloc(sizeof *c));
    *c = (struct amqp_connection){ .state = or_abort(amqp_new_connection()) };
    init_amqp_pool(&c->pool, 4096);
    if (open_socket(c, s, reason))
        return c;
    amqp_connection_free(c, false);
    return NULL;
}

int amqp_connection_socket(const struct amqp_connection *c)
{
    return amqp_socket_get_sockfd(c->socket);
}

/* What pgatomic tells the broker about itself: that it wants to hear when it is asked to pause. */
static amqp_rpc_reply_t log_in(struct amqp_connection *c, const struct amqp_settings *s)
{
    amqp_table_entry_t capability = { .key = amqp_cstring_bytes("connection.blocked"),
                                      .value = { .kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = true } };
    amqp_table_entry_t entries[] = {
        { .key = amqp_cstring_bytes("connection_name"),
          .value = { .kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes("pgatomic " PGATOMIC_VERSION) } },
        { .key = amqp_cstring_bytes("capabilities"),
          .value = { .kind = AMQP_FIELD_KIND_TABLE, .value.table = { .num_entries = 1, .entries = &capability } } },
    };
    amqp_table_t properties = { .num_entries = 2, .entries = entries };
    return amqp_login_with_properties(c->state, s->virtual_host, CHANNEL, FRAME_SIZE, AMQP_HEARTBEAT_S, &properties,
                                      AMQP_SASL_METHOD_PLAIN, s->user, s->password);
}

/* For how long the broker may leave unread what was written; 0: as the kernel thinks. */
static void limit_writing(struct amqp_connection *c, uint64_t ms)
{
    unsigned limit = ms < INT_MAX ? (unsigned)ms : INT_MAX;
    setsockopt(amqp_connection_socket(c), IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof limit);
}

bool amqp_connection_log_in(struct amqp_connection *c, const struct amqp_settings *s, char reason[AMQP_REASON_SIZE])
{
    struct timeval timeout = time_of(s->timeout_ms);
    c->timeout_ms = s->timeout_ms;
    limit_writing(c, c->timeout_ms);
    amqp_set_handshake_timeout(c->state, &timeout);
    amqp_set_rpc_timeout(c->state, &timeout);
    errno = 0;
    return is_normal(log_in(c, s), "cannot log in", reason) && amqp_connection_open_channel(c, reason);
}

bool amqp_connection_open_channel(struct amqp_connection *c, char reason[AMQP_REASON_SIZE])
{
    errno = 0;
    amqp_channel_open(c->state, CHANNEL);
    if (!is_normal(amqp_get_rpc_reply(c->state), "cannot open a channel", reason))
        return false;
    amqp_confirm_select(c->state, CHANNEL);
    return is_normal(amqp_get_rpc_reply(c->state), "cannot ask for confirmations", reason);
}

/* --- publishing ------------------------------------------------------------------------------------ */

struct short_text {
    const char *text; /* NULL: not sent */
    amqp_flags_t flag;
    amqp_bytes_t *out;
};

static bool set_short_texts(const struct short_text *list, size_t count, amqp_flags_t *flags)
{
    for (const struct short_text *s = list; s < list + count; s++) {
        if (s->text == NULL)
            continue;
        *s->out = amqp_cstring_bytes(s->text);
        *flags |= s->flag;
        if (s->out->len > SHORT_TEXT_MAX_SIZE)
            return false;
    }
    return true;
}

static bool set_properties(struct amqp_connection *c, const struct amqp_message *m, const char *id,
                           amqp_basic_properties_t *p)
{
    const struct short_text texts[] = {
        { id, AMQP_BASIC_MESSAGE_ID_FLAG, &p->message_id },
        { m->content_type, AMQP_BASIC_CONTENT_TYPE_FLAG, &p->content_type },
        { m->content_encoding, AMQP_BASIC_CONTENT_ENCODING_FLAG, &p->content_encoding },
        { m->correlation_id, AMQP_BASIC_CORRELATION_ID_FLAG, &p->correlation_id },
        { m->reply_to, AMQP_BASIC_REPLY_TO_FLAG, &p->reply_to },
        { m->type, AMQP_BASIC_TYPE_FLAG, &p->type },
        { m->app_id, AMQP_BASIC_APP_ID_FLAG, &p->app_id },
    };
    *p = (amqp_basic_properties_t){ ._flags = AMQP_BASIC_DELIVERY_MODE_FLAG, .delivery_mode = m->transient ? 1 : 2 };
    if (m->priority >= 0) {
        p->_flags |= AMQP_BASIC_PRIORITY_FLAG;
        p->priority = (uint8_t)m->priority;
    }
    if (m->timestamp != 0) {
        p->_flags |= AMQP_BASIC_TIMESTAMP_FLAG;
        p->timestamp = m->timestamp;
    }
    if (m->headers != NULL) {
        p->_flags |= AMQP_BASIC_HEADERS_FLAG;
        if (!amqp_table_of_json(m->headers, &c->pool, &p->headers))
            return false;
    }
    return set_short_texts(texts, sizeof texts / sizeof texts[0], &p->_flags);
}

enum amqp_outcome amqp_connection_publish(struct amqp_connection *c, const struct amqp_message *m, const char *id,
                                          char reason[AMQP_REASON_SIZE])
{
    amqp_basic_properties_t properties;
    amqp_bytes_t body = { .len = m->body.size, .bytes = (void *)m->body.data };
    recycle_amqp_pool(&c->pool);
    errno = 0;
    int status = AMQP_STATUS_TABLE_TOO_BIG;
    if (set_properties(c, m, id, &properties))
        status = amqp_basic_publish(c->state, CHANNEL, amqp_cstring_bytes(m->exchange),
                                    amqp_cstring_bytes(m->routing_key), true, false, &properties, body);
    if (status == AMQP_STATUS_OK)
        return AMQP_SENT;
    say_status(reason, "cannot publish", status);
    return status == AMQP_STATUS_TABLE_TOO_BIG || status == AMQP_STATUS_BAD_AMQP_DATA ? AMQP_UNFIT : AMQP_BROKEN;
}

/* --- what the broker says -------------------------------------------------------------------------- */

static void tell_lost(struct amqp_news *news, const char *what, int status)
{
    news->kind = AMQP_LOST;
    say_status(news->reason, what, status);
}

static void hear_return(struct amqp_connection *c, const amqp_basic_return_t *said)
{
    c->returned = (struct amqp_news){ .kind = AMQP_RETURNED };
    snprintf(c->returned.reason, AMQP_REASON_SIZE,
             "the broker returned it: %.*s, exchange \"%.*s\", routing key \"%.*s\"", (int)said->reply_text.len,
             (const char *)said->reply_text.bytes, (int)said->exchange.len, (const char *)said->exchange.bytes,
             (int)said->routing_key.len, (const char *)said->routing_key.bytes);
}

static void hear_method(struct amqp_connection *c, const amqp_method_t *method, struct amqp_news *news)
{
    switch (method->id) {
    case AMQP_BASIC_ACK_METHOD: {
        const amqp_basic_ack_t *ack = method->decoded;
        *news =
            (struct amqp_news){ .kind = AMQP_CONFIRMED, .number = ack->delivery_tag, .multiple = ack->multiple != 0 };
        return;
    }
    case AMQP_BASIC_NACK_METHOD: {
        const amqp_basic_nack_t *nack = method->decoded;
        *news =
            (struct amqp_news){ .kind = AMQP_REJECTED, .number = nack->delivery_tag, .multiple = nack->multiple != 0 };
        return;
    }
    case AMQP_BASIC_RETURN_METHOD:
        hear_return(c, method->decoded);
        return;
    case AMQP_CHANNEL_CLOSE_METHOD: {
        amqp_channel_close_ok_t ok = { .dummy = 0 };
        news->kind = AMQP_CHANNEL_CLOSED;
        say_broker(news->reason, ((const amqp_channel_close_t *)method->decoded)->reply_text);
        amqp_send_method(c->state, CHANNEL, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
        return;
    }
    case AMQP_CONNECTION_CLOSE_METHOD: {
        amqp_connection_close_ok_t ok = { .dummy = 0 };
        news->kind = AMQP_LOST;
        say_broker(news->reason, ((const amqp_connection_close_t *)method->decoded)->reply_text);
        amqp_send_method(c->state, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
        return;
    }
    case AMQP_CONNECTION_BLOCKED_METHOD: {
        amqp_bytes_t why = ((const amqp_connection_blocked_t *)method->decoded)->reason;
        news->kind = AMQP_PAUSED;
        limit_writing(c, 0);
        snprintf(news->reason, AMQP_REASON_SIZE, "the broker takes no messages now: %.*s", (int)why.len,
                 (const char *)why.bytes);
        return;
    }
    case AMQP_CONNECTION_UNBLOCKED_METHOD:
        news->kind = AMQP_RESUMED;
        limit_writing(c, c->timeout_ms);
        return;
    }
}

/* The returned message is told of with its last frame. */
static void hear_content(struct amqp_connection *c, const amqp_frame_t *frame, struct amqp_news *news)
{
    if (c->returned.kind != AMQP_RETURNED)
        return;
    if (frame->frame_type == AMQP_FRAME_HEADER) {
        const amqp_basic_properties_t *properties = frame->payload.properties.decoded;
        if ((properties->_flags & AMQP_BASIC_MESSAGE_ID_FLAG) != 0 && properties->message_id.len < AMQP_ID_SIZE)
            memcpy(c->returned.id, properties->message_id.bytes, properties->message_id.len);
        c->returned_body_left = frame->payload.properties.body_size;
    } else {
        size_t size = frame->payload.body_fragment.len;
        c->returned_body_left = size < c->returned_body_left ? c->returned_body_left - size : 0;
    }
    if (c->returned_body_left > 0)
        return;
    *news = c->returned;
    c->returned.kind = AMQP_NOTHING_NEW;
}

void amqp_connection_next(struct amqp_connection *c, struct amqp_news *news)
{
    struct timeval at_once = { 0 };
    *news = (struct amqp_news){ .kind = AMQP_NOTHING_NEW };
    while (news->kind == AMQP_NOTHING_NEW) {
        amqp_frame_t frame;
        amqp_maybe_release_buffers(c->state);
        errno = 0;
        int status = amqp_simple_wait_frame_noblock(c->state, &frame, &at_once);
        if (status == AMQP_STATUS_TIMEOUT)
            return;
        if (status != AMQP_STATUS_OK)
            tell_lost(news, "the connection was lost", status);
        else if (frame.frame_type == AMQP_FRAME_METHOD)
            hear_method(c, &frame.payload.method, news);
        else if (frame.frame_type == AMQP_FRAME_HEADER || frame.frame_type == AMQP_FRAME_BODY)
            hear_content(c, &frame, news);
    }
}

void amqp_connection_free(struct amqp_connection *c, bool politely)
{
    if (politely) {
        amqp_connection_close_t bye = { .reply_code = AMQP_REPLY_SUCCESS, .reply_text = amqp_cstring_bytes("bye") };
        amqp_send_method(c->state, 0, AMQP_CONNECTION_CLOSE_METHOD, &bye);
    }
    amqp_destroy_connection(c->state);
    empty_amqp_pool(&c->pool);
    free(c);
}
