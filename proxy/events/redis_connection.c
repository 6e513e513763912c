/* Connecting to Redis, logging in, and one request at a time.
 *
 *     ABSENT --send--> DIALING --> LOGGING_IN --> BUSY --all replies--> IDLE --send--> BUSY
 *       ^                 |             |          |                     |
 *       +-----------------+-------------+----------+--- lost, too late --+
 *
 * The log-in is a request of its own, answered before the first one that was asked for leaves: commands must never run as somebody
 * else, nor in another database. */
#include "proxy/events/redis_connection.h"

#include <hiredis/hiredis.h>
#include <stdio.h>

#include "protocol/memory.h"
#include "proxy/net/conn.h"
#include "proxy/net/dial.h"
#include "proxy/ops/json.h"

enum state { ABSENT, DIALING, LOGGING_IN, BUSY, IDLE };

enum { REASON_SIZE = 300, COMMAND_SIZE_MAX = 512 << 20, WORDS_MAX = 16 };
enum { SECRET_SIZE = 4 /* what is shorter is found in any text, and tells nothing */ };

struct redis_connection {
    const struct sink *config;
    struct sink_host host;
    struct redis_callbacks callbacks;
    void *context;

    enum state state;
    struct dial *dial;
    const char *hosts[2]; /* for the dial */
    uint16_t ports[1];
    struct conn conn;
    struct tls_context *trust; /* NULL: not read yet */
    struct redis_replies *replies;
    size_t expected;         /* replies, of the request or the log-in under way */
    struct buffer waiting;   /* the request, while there is no connection for it */
    size_t waiting_replies;  /* of the request */
    struct timer *timer;     /* of a request, from send to its last reply */
    char error[REASON_SIZE]; /* the first error that the server answered; "": none */
    char lost[REASON_SIZE];  /* to be told from the loop; "": nothing */
};

/* --- commands ------------------------------------------------------------------------------------- */

bool redis_append_command(struct buffer *b, const struct span *words, size_t count)
{
    const char *texts[WORDS_MAX];
    size_t sizes[WORDS_MAX];
    size_t all = 0;
    for (size_t i = 0; i < count; i++) {
        texts[i] = words[i].size > 0 ? words[i].data : "";
        sizes[i] = words[i].size;
        all += words[i].size;
    }
    if (all > COMMAND_SIZE_MAX)
        return false;
    char *command = NULL;
    int size = redisFormatCommandArgv(&command, (int)count, texts, sizes);
    if (size < 0)
        abort();
    buffer_append(b, command, (size_t)size);
    free(command);
    return true;
}

/* Returns how many replies it has. */
static size_t append_log_in(struct buffer *b, const struct sink_url *url)
{
    struct span auth[3] = { span_of("AUTH") };
    size_t words = 1, commands = 0;
    if (url->user[0] != '\0')
        auth[words++] = span_of(url->user);
    auth[words++] = span_of(url->password);
    if (url->password[0] != '\0')
        commands += redis_append_command(b, auth, words);
    struct span select[2] = { span_of("SELECT"), span_of(url->path) };
    if (strtoul(url->path, NULL, 10) != 0)
        commands += redis_append_command(b, select, 2);
    return commands;
}

/* --- what the server says ------------------------------------------------------------------------- */

/* The server's words, fit for people: on one line, of bearable length, and without what it repeats of a command. */
static struct span clean(const struct redis_connection *c, struct span words, char text[REASON_SIZE])
{
    static const char repeats[] = ", with args beginning with";
    struct span password = span_of(c->config->parts.password);
    if (password.size >= SECRET_SIZE && memmem(words.data, words.size, password.data, password.size) != NULL)
        words = span_of("ERR, and more that is not shown, for it repeats the password");
    const char *end = memmem(words.data, words.size, repeats, sizeof repeats - 1);
    if (end != NULL)
        words.size = (size_t)(end - words.data);
    words = utf8_cut(words, REASON_SIZE - 1);
    for (size_t i = 0; i < words.size; i++)
        text[i] = (unsigned char)words.data[i] < 0x20 ? ' ' : words.data[i];
    text[words.size] = '\0';
    return span_make(text, words.size);
}

static void on_reply_error(void *context, size_t reply, int element, struct span words)
{
    struct redis_connection *c = context;
    char text[REASON_SIZE];
    struct span cleaned = clean(c, words, text);
    if (c->error[0] == '\0')
        memcpy(c->error, text, cleaned.size + 1);
    if (c->state == BUSY)
        c->callbacks.on_error(c->context, reply, element, cleaned);
}

/* --- the end -------------------------------------------------------------------------------------- */

static void drop(struct redis_connection *c)
{
    dial_cancel(c->dial);
    c->dial = NULL;
    conn_close(&c->conn);
    redis_replies_free(c->replies);
    c->replies = NULL;
    buffer_free(&c->waiting);
    timer_stop(c->timer);
    c->state = ABSENT;
}

/* Nobody is told when nobody waits. The server's own words, if it said any, say more than that it hung up. */
static void lose(struct redis_connection *c, const char *reason)
{
    char text[REASON_SIZE];
    snprintf(text, sizeof text, "%s", c->error[0] != '\0' ? c->error : reason);
    bool is_missed = c->state != IDLE;
    bool is_distrusted = conn_tls_error(&c->conn)[0] != '\0';
    drop(c);
    if (is_distrusted) { /* the file may be another one the next time */
        tls_context_release(c->trust);
        c->trust = NULL;
    }
    if (is_missed)
        c->callbacks.on_lost(c->context, text);
}

static void on_time(void *context)
{
    struct redis_connection *c = context;
    char reason[REASON_SIZE];
    double seconds = (double)c->config->timeout_ms / 1000;
    if (c->lost[0] != '\0')
        snprintf(reason, sizeof reason, "%s", c->lost);
    else if (c->state == DIALING)
        snprintf(reason, sizeof reason, "no connection within %g s", seconds);
    else if (c->conn.tls != NULL && !tls_is_established(c->conn.tls))
        snprintf(reason, sizeof reason, "TLS: no handshake within %g s", seconds);
    else
        snprintf(reason, sizeof reason, "no answer within %g s", seconds);
    c->lost[0] = '\0';
    lose(c, reason);
}

/* For what is known too early: callbacks come from the loop. */
static void lose_soon(struct redis_connection *c, const char *reason)
{
    snprintf(c->lost, sizeof c->lost, "%s", reason);
    timer_start(c->timer, 0);
}

/* --- requests ------------------------------------------------------------------------------------- */

static void begin(struct redis_connection *c, enum state state, struct span commands, size_t replies)
{
    c->state = state;
    c->error[0] = '\0';
    c->expected = replies;
    redis_replies_restart(c->replies);
    conn_send_span(&c->conn, commands);
}

static void begin_waiting(struct redis_connection *c)
{
    struct buffer commands = c->waiting;
    c->waiting = (struct buffer){ 0 };
    begin(c, BUSY, buffer_span(&commands), c->waiting_replies);
    buffer_free(&commands);
}

static void on_logged_in(struct redis_connection *c)
{
    if (c->error[0] != '\0')
        lose(c, c->error);
    else
        begin_waiting(c);
}

static void on_answered(struct redis_connection *c)
{
    size_t elements = redis_replies_elements(c->replies);
    timer_stop(c->timer);
    c->state = IDLE;
    c->callbacks.on_done(c->context, elements);
}

static void on_replies(struct redis_connection *c)
{
    size_t count = redis_replies_count(c->replies);
    bool asked = c->state == BUSY || c->state == LOGGING_IN;
    if (count > (asked ? c->expected : 0))
        lose(c, "the server answered what was not asked");
    else if (asked && count == c->expected && c->state == LOGGING_IN)
        on_logged_in(c);
    else if (asked && count == c->expected)
        on_answered(c);
}

static void on_ready(void *owner, bool readable)
{
    struct redis_connection *c = owner;
    struct span input;
    if (!readable)
        return;
    switch (conn_receive(&c->conn, &input)) {
    case CONN_NOTHING:
        return;
    case CONN_LOST:
        lose(c, conn_tls_error(&c->conn)[0] != '\0' ? conn_tls_error(&c->conn) : "the server closed the connection");
        return;
    case CONN_INPUT:
        break;
    }
    bool valid = redis_replies_feed(c->replies, input);
    conn_keep(&c->conn, input, input.size);
    if (valid)
        on_replies(c);
    else
        lose(c, "the server does not speak the protocol of Redis");
}

/* --- connecting ----------------------------------------------------------------------------------- */

static bool start_tls(struct redis_connection *c, char error[TLS_ERROR_SIZE])
{
    if (c->trust == NULL)
        c->trust = tls_context_for_client(
            &(struct tls_options){ .mode = TLS_VERIFY_FULL, .certificate = "", .key = "", .ca = c->config->ca }, error);
    if (c->trust == NULL)
        return false;
    conn_start_tls(&c->conn, tls_client_new(c->trust, c->config->parts.host, NULL));
    return true;
}

static void on_dialed(void *context, int fd, const struct address *to, const char *error)
{
    struct redis_connection *c = context;
    char why[TLS_ERROR_SIZE];
    (void)to;
    c->dial = NULL;
    if (fd < 0) {
        lose(c, error);
        return;
    }
    conn_open(&c->conn, c->host.loop, fd, on_ready, c);
    c->replies = redis_replies_new(on_reply_error, c);
    conn_want_input(&c->conn, true);
    if (c->config->parts.tls && !start_tls(c, why)) {
        lose(c, why);
        return;
    }
    struct buffer commands = { 0 };
    size_t replies = append_log_in(&commands, &c->config->parts);
    if (replies > 0)
        begin(c, LOGGING_IN, buffer_span(&commands), replies);
    else
        begin_waiting(c);
    buffer_free(&commands);
}

static void dial(struct redis_connection *c)
{
    const struct sink_url *url = &c->config->parts;
    struct address path;
    c->state = DIALING;
    if (strcmp(url->scheme, "unix") != 0) {
        c->hosts[0] = url->host;
        c->ports[0] = url->port;
        struct dial_targets targets = { .hosts = c->hosts, .ports = c->ports, .timeout_ms = c->config->timeout_ms };
        c->dial = dial_hosts(c->host.loop, c->host.resolver, &targets, on_dialed, c);
    } else if (address_set_path(&path, url->host)) {
        c->dial = dial_address(c->host.loop, &path, c->config->timeout_ms, NULL, on_dialed, c);
    } else {
        lose_soon(c, "the path is too long for a socket");
    }
}

void redis_connection_send(struct redis_connection *c, struct span commands, size_t replies)
{
    timer_start(c->timer, c->config->timeout_ms * 1000);
    if (c->state == IDLE) {
        begin(c, BUSY, commands, replies);
        return;
    }
    c->error[0] = '\0';
    buffer_append_span(&c->waiting, commands);
    c->waiting_replies = replies;
    dial(c);
}

/* --- life ----------------------------------------------------------------------------------------- */

struct redis_connection *redis_connection_new(const struct sink *config, const struct sink_host *host,
                                              const struct redis_callbacks *callbacks, void *context)
{
    struct redis_connection *c = or_abort(calloc(1, sizeof *c));
    c->config = config;
    c->host = *host;
    c->callbacks = *callbacks;
    c->context = context;
    c->conn.fd = -1;
    c->timer = timer_new(host->loop, on_time, c);
    return c;
}

void redis_connection_free(struct redis_connection *c)
{
    drop(c);
    timer_free(c->timer);
    tls_context_release(c->trust);
    free(c);
}
