/* Events as records of Kafka topics.
 *
 * The library has threads of its own and says what they found out in a queue, which wakes the loop through an eventfd; all code here runs
 * on the loop. The key of a record is the event's channel, so a channel's records share a partition, where the idempotent producer keeps their
 * order. A record of which the library gives up fails, and then those of its channel that are behind it are doomed: whatever becomes of them,
 * they are tried again behind it.
 *
 *     deliver() ──▶ in hand ──report──▶ delivery_done()        a producer that can go no further (a fatal error) is thrown away
 *                                                              with all that it has, and the next delivery makes a new one */
#include <event2/event.h>
#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#include "protocol/memory.h"
#include "proxy/clock.h"
#include "proxy/events/facts.h"
#include "proxy/events/sink.h"
#include "proxy/ops/log.h"

enum {
    WINDOW = 1000,
    BATCH_SIZE = 64 * 1024, /* bytes; a larger record is a batch of its own */
    LONGEST_TOPIC = 249,
    LONGEST_PROPAGATION_MS = 30 * 1000, /* until a topic that is not there is called unknown */
    REASON_SIZE = 512,
    US_PER_MS = 1000,
    SYSLOG_ERROR = 3
};

struct record {
    TAILQ_ENTRY(record) links;
    struct delivery *delivery;
    bool is_doomed; /* it is behind one of its channel that failed */
};

struct sink_kafka {
    const struct sink *config;
    rd_kafka_t *producer; /* NULL: none */
    rd_kafka_queue_t *queue;
    int wake_fd;
    struct event *wake;
    TAILQ_HEAD(records, record) records; /* in hand, in the order of deliver() */
    char trouble[REASON_SIZE];           /* what the library said last, until something succeeds */
};

/* --- records --------------------------------------------------------------------------------------- */

static bool is_of_same_lane(const struct record *a, const struct record *b)
{
    const struct notification *e = a->delivery->event;
    return e->channel->ordering == ORDERING_CHANNEL && strcmp(e->name, b->delivery->event->name) == 0;
}

static void doom_those_behind(struct record *failed)
{
    for (struct record *r = TAILQ_NEXT(failed, links); r != NULL; r = TAILQ_NEXT(r, links))
        if (is_of_same_lane(failed, r))
            r->is_doomed = true;
}

static void settle(struct sink_kafka *s, struct record *r, enum delivery_result result, const char *reason)
{
    struct delivery *d = r->delivery;
    if (r->is_doomed) {
        result = DELIVERY_FAILED;
        reason = "it is behind an event of its channel that failed";
    } else if (result == DELIVERY_FAILED) {
        doom_those_behind(r);
    }
    TAILQ_REMOVE(&s->records, r, links);
    free(r);
    delivery_done(d, result, reason, 0);
}

/* --- the producer ---------------------------------------------------------------------------------- */

struct setting {
    const char *name, *value;
};

static bool set_all(rd_kafka_conf_t *conf, const struct setting *list, size_t count, char *error)
{
    for (const struct setting *s = list; s < list + count; s++)
        if (rd_kafka_conf_set(conf, s->name, s->value, error, REASON_SIZE) != RD_KAFKA_CONF_OK)
            return false;
    return true;
}

static bool set_delivery(rd_kafka_conf_t *conf, const struct sink *config, char *error)
{
    char timeout[24], propagation[24], batch[24];
    snprintf(timeout, sizeof timeout, "%" PRIu64, config->timeout_ms);
    snprintf(propagation, sizeof propagation, "%" PRIu64,
             config->timeout_ms < 2 * LONGEST_PROPAGATION_MS ? config->timeout_ms / 2 : LONGEST_PROPAGATION_MS);
    snprintf(batch, sizeof batch, "%d", BATCH_SIZE);
    const struct setting settings[] = {
        { "client.id", "pgatomic" },
        { "bootstrap.servers", config->parts.host },
        { "acks", "all" },
        { "enable.idempotence", "true" },
        { "partitioner",
          "murmur2_random" }, /* as other clients have it, so that a key means the same partition for all */
        { "message.timeout.ms", timeout },
        { "topic.metadata.propagation.max.ms", propagation },
        { "linger.ms", "1" },
        { "batch.size", batch },
        { "message.max.bytes", "1000000000" }, /* how much is too much the broker knows */
        { "reconnect.backoff.max.ms", "1000" },
        { "log.queue", "true" },
        { "log.connection.close", "false" },
    };
    return set_all(conf, settings, sizeof settings / sizeof settings[0], error);
}

static const char *security_protocol(const struct sink_url *url)
{
    if (url->user[0] == '\0')
        return url->tls ? "ssl" : "plaintext";
    return url->tls ? "sasl_ssl" : "sasl_plaintext";
}

static bool set_security(rd_kafka_conf_t *conf, const struct sink *config, char *error)
{
    const struct sink_url *url = &config->parts;
    const char *mechanism = strchr(url->query, '=');
    const struct setting protocol = { "security.protocol", security_protocol(url) };
    const struct setting tls[] = {
        { "ssl.endpoint.identification.algorithm", "https" },
        { "ssl.ca.location", config->ca[0] != '\0' ? config->ca : "probe" },
    };
    const struct setting login[] = {
        { "sasl.mechanism", mechanism != NULL ? mechanism + 1 : "PLAIN" },
        { "sasl.username", url->user },
        { "sasl.password", url->password },
    };
    return set_all(conf, &protocol, 1, error) && (!url->tls || set_all(conf, tls, 2, error)) &&
           (url->user[0] == '\0' || set_all(conf, login, 3, error));
}

/* NULL, and why. */
static rd_kafka_t *producer_new(const struct sink *config, char error[REASON_SIZE])
{
    rd_kafka_conf_t *conf = or_abort(rd_kafka_conf_new());
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG);
    rd_kafka_t *producer = NULL;
    if (set_delivery(conf, config, error) && set_security(conf, config, error))
        producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, REASON_SIZE);
    if (producer == NULL)
        rd_kafka_conf_destroy(conf);
    return producer;
}

static bool have_producer(struct sink_kafka *s)
{
    static const uint64_t one = 1;
    if (s->producer != NULL)
        return true;
    s->producer = producer_new(s->config, s->trouble);
    if (s->producer == NULL)
        return false;
    s->trouble[0] = '\0';
    s->queue = rd_kafka_queue_get_main(s->producer);
    rd_kafka_set_log_queue(s->producer, s->queue);
    rd_kafka_queue_io_event_enable(s->queue, s->wake_fd, &one, sizeof one);
    (void)eventfd_write(s->wake_fd, one); /* the queue speaks up when it was empty: something may be there already */
    return true;
}

static void drop_producer(struct sink_kafka *s)
{
    if (s->producer == NULL)
        return;
    rd_kafka_queue_io_event_enable(s->queue, -1, NULL, 0);
    rd_kafka_purge(s->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
    rd_kafka_queue_destroy(s->queue);
    rd_kafka_destroy(s->producer);
    s->producer = NULL;
}

static void replace_producer(struct sink_kafka *s)
{
    LOG(LOG_WARN, "sink_disconnected", log_text("sink", s->config->name), log_text("reason", s->trouble));
    drop_producer(s);
    while (!TAILQ_EMPTY(&s->records))
        settle(s, TAILQ_FIRST(&s->records), DELIVERY_FAILED, s->trouble);
}

/* --- what the library says ------------------------------------------------------------------------- */

/* A batch may be too large for a topic whose limit is small, and each of its records not. */
static enum delivery_result result_of(const rd_kafka_message_t *m)
{
    switch (m->err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return DELIVERED;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
        return m->len >= BATCH_SIZE ? DELIVERY_REFUSED : DELIVERY_FAILED;
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
        return DELIVERY_REFUSED;
    default: /* of a hundred errors, all others may pass */
        return DELIVERY_FAILED;
    }
}

static void hear_report(struct sink_kafka *s, const rd_kafka_message_t *m)
{
    char reason[REASON_SIZE * 2] = "";
    enum delivery_result result = result_of(m);
    if (result == DELIVERED)
        s->trouble[0] = '\0';
    else
        snprintf(reason, sizeof reason, "%s%s%s", rd_kafka_err2str(m->err), s->trouble[0] != '\0' ? "; " : "",
                 s->trouble);
    settle(s, m->_private, result, reason);
}

static void hear_log(struct sink_kafka *s, rd_kafka_event_t *event)
{
    const char *facility, *text;
    int level;
    if (rd_kafka_event_log(event, &facility, &text, &level) == 0)
        LOG(level <= SYSLOG_ERROR ? LOG_WARN : LOG_DEBUG, "kafka", log_text("sink", s->config->name),
            log_text("facility", facility), log_text("text", text));
}

static void hear(struct sink_kafka *s, rd_kafka_event_t *event)
{
    const rd_kafka_message_t *m;
    switch (rd_kafka_event_type(event)) {
    case RD_KAFKA_EVENT_DR:
        while ((m = rd_kafka_event_message_next(event)) != NULL)
            hear_report(s, m);
        break;
    case RD_KAFKA_EVENT_ERROR:
        snprintf(s->trouble, sizeof s->trouble, "%s", rd_kafka_event_error_string(event));
        break;
    case RD_KAFKA_EVENT_LOG:
        hear_log(s, event);
        break;
    default: /* nothing else was asked for */
        break;
    }
}

static void on_wake(evutil_socket_t fd, short what, void *context)
{
    struct sink_kafka *s = context;
    rd_kafka_event_t *event;
    eventfd_t count;
    (void)what;
    (void)eventfd_read(fd, &count);
    while (s->producer != NULL && (event = rd_kafka_queue_poll(s->queue, 0)) != NULL) {
        hear(s, event);
        rd_kafka_event_destroy(event);
    }
    if (s->producer != NULL &&
        rd_kafka_fatal_error(s->producer, s->trouble, sizeof s->trouble) != RD_KAFKA_RESP_ERR_NO_ERROR)
        replace_producer(s);
}

/* --- the sink -------------------------------------------------------------------------------------- */

static bool is_topic(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t size = strspn(name, allowed);
    return name[size] == '\0' && size > 0 && size <= LONGEST_TOPIC && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static rd_kafka_headers_t *headers_of(const struct notification *e)
{
    struct facts facts;
    facts_of(e, &facts);
    rd_kafka_headers_t *headers = or_abort(rd_kafka_headers_new(facts.count));
    for (size_t i = 0; i < facts.count; i++)
        rd_kafka_header_add(headers, facts.list[i].name, -1, facts.list[i].value, -1);
    return headers;
}

static rd_kafka_resp_err_t produce(struct sink_kafka *s, const char *topic, struct record *r)
{
    const struct notification *e = r->delivery->event;
    rd_kafka_headers_t *headers = headers_of(e);
    rd_kafka_resp_err_t error =
        rd_kafka_producev(s->producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_KEY(e->name, strlen(e->name)),
                          RD_KAFKA_V_VALUE(e->payload, e->payload_size), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                          RD_KAFKA_V_TIMESTAMP((int64_t)(clock_to_wall_us(e->held_us) / US_PER_MS)),
                          RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_OPAQUE(r), RD_KAFKA_V_END);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_headers_destroy(headers);
    return error;
}

static void deliver_kafka(void *sink, struct delivery *d)
{
    struct sink_kafka *s = sink;
    const char *topic = s->config->topic[0] != '\0' ? s->config->topic : d->event->name;
    if (!is_topic(topic)) {
        delivery_done(d, DELIVERY_REFUSED, "its channel is no name for a topic: at most 249 letters, digits and . _ -",
                      0);
        return;
    }
    if (!have_producer(s)) {
        delivery_done(d, DELIVERY_FAILED, s->trouble, 0);
        return;
    }
    struct record *r = or_abort(malloc(sizeof *r));
    *r = (struct record){ .delivery = d };
    TAILQ_INSERT_TAIL(&s->records, r, links);
    rd_kafka_resp_err_t error = produce(s, topic, r);
    char reason[REASON_SIZE];
    if (error == RD_KAFKA_RESP_ERR__FATAL) { /* not heard of yet: what lies behind it */
        rd_kafka_fatal_error(s->producer, reason, sizeof reason);
        settle(s, r, DELIVERY_FAILED, reason);
    } else if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        settle(s, r, DELIVERY_FAILED, rd_kafka_err2str(error));
    }
}

static void *open_kafka(const struct sink *config, const struct sink_host *host)
{
    struct sink_kafka *s = or_abort(calloc(1, sizeof *s));
    s->config = config;
    TAILQ_INIT(&s->records);
    s->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (s->wake_fd < 0)
        abort();
    s->wake = or_abort(event_new(host->loop->base, s->wake_fd, EV_READ | EV_PERSIST, on_wake, s));
    event_add(s->wake, NULL);
    return s;
}

static void close_kafka(void *sink)
{
    struct sink_kafka *s = sink;
    drop_producer(s);
    for (struct record *r; (r = TAILQ_FIRST(&s->records)) != NULL;) {
        TAILQ_REMOVE(&s->records, r, links);
        free(r);
    }
    event_free(s->wake);
    close(s->wake_fd);
    free(s);
}

const struct sink_type sink_kafka_type = {
    .name = "kafka",
    .window = WINDOW,
    .keeps_order = true,
    .open = open_kafka,
    .deliver = deliver_kafka,
    .close = close_kafka,
};
