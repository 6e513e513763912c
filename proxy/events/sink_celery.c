/* Events as tasks of Celery, on Redis or on an AMQP broker, as the scheme of the URL says.
 *
 * A payload that no worker could take is dead at once, with the reason. The message itself is the same in every try, its id too; only on
 * Redis, where workers keep what they have taken under the delivery tag, each try has a tag of its own. */
#include "proxy/events/sink.h"

#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <unistd.h>

#include "protocol/memory.h"
#include "proxy/clock.h"
#include "proxy/events/amqp_publisher.h"
#include "proxy/events/celery_envelope.h"
#include "proxy/events/redis_publisher.h"
#include "proxy/ops/uuid.h"

/* Of a library that is left out there is nothing, and a config that needs it is refused. */
#pragma weak redis_publisher_new
#pragma weak redis_publisher_send
#pragma weak redis_publisher_flush
#pragma weak redis_publisher_close
#pragma weak amqp_publisher_new
#pragma weak amqp_publisher_send
#pragma weak amqp_publisher_flush
#pragma weak amqp_publisher_close

enum { HOST_SIZE = 65 };

struct sink_celery {
    const struct sink *config;
    struct loop *loop;
    struct redis_publisher *redis; /* one of the two */
    struct amqp_publisher *amqp;
    char *prefix; /* of Redis' keys: kombu's global_keyprefix */
    char origin[sizeof "pgatomic@" + HOST_SIZE];
};

static char *read_prefix(const char *query)
{
    struct evkeyvalq options;
    if (evhttp_parse_query_str(query, &options) != 0)
        return memory_copy_text("");
    char *prefix = memory_copy_text(evhttp_find_header(&options, "global_keyprefix"));
    evhttp_clear_headers(&options);
    return prefix;
}

/* Hosts may have any bytes for a name; messages may not. */
static void set_origin(char *origin, size_t size)
{
    char name[HOST_SIZE] = "localhost";
    (void)gethostname(name, sizeof name - 1);
    for (char *c = name; *c != '\0'; c++)
        if ((unsigned char)*c <= 0x20 || (unsigned char)*c >= 0x7f)
            *c = '?';
    snprintf(origin, size, "pgatomic@%s", name);
}

static void *open_sink(const struct sink *config, const struct sink_host *host)
{
    struct sink_celery *s = or_abort(calloc(1, sizeof *s));
    set_origin(s->origin, sizeof s->origin);
    s->config = config;
    s->loop = host->loop;
    s->prefix = read_prefix(config->parts.query);
    if (strncmp(config->parts.scheme, "amqp", 4) == 0)
        s->amqp = amqp_publisher_new(config, host);
    else
        s->redis = redis_publisher_new(config, host);
    return s;
}

/* --- Redis ---------------------------------------------------------------------------------------- */

static void push(struct sink_celery *s, struct delivery *d, const struct celery_message *m)
{
    struct buffer list = { 0 }, envelope = { 0 };
    unsigned char tag[UUID_SIZE];
    char tag_text[UUID_TEXT_SIZE];
    uuid_make(tag, clock_to_wall_us(loop_now_us(s->loop)));
    uuid_format(tag, tag_text);
    celery_envelope_list(m, s->prefix, &list);
    celery_envelope_append(m, span_make(d->event->payload, d->event->payload_size), tag_text, &envelope);
    struct span words[] = { span_of("LPUSH"), buffer_span(&list), buffer_span(&envelope) };
    redis_publisher_send(s->redis, d, words, 3);
    buffer_free(&list);
    buffer_free(&envelope);
}

/* --- AMQP ----------------------------------------------------------------------------------------- */

static void free_message(void *owner)
{
    celery_message_reset(owner);
    free(owner);
}

static void publish(struct sink_celery *s, struct delivery *d, const struct celery_message *m)
{
    struct celery_message *kept = or_abort(malloc(sizeof *kept));
    *kept = *m;
    struct amqp_message message = {
        .exchange = kept->exchange,
        .routing_key = kept->routing_key,
        .body = buffer_span(&kept->body),
        .content_type = kept->content_type,
        .content_encoding = kept->content_encoding,
        .correlation_id = kept->correlation_id,
        .reply_to = kept->reply_to[0] != '\0' ? kept->reply_to : NULL,
        .headers = kept->headers,
        .priority = kept->priority,
        .transient = kept->transient,
    };
    amqp_publisher_send(s->amqp, d, &message, kept, free_message);
}

/* --- the sink ------------------------------------------------------------------------------------- */

static void deliver(void *sink, struct delivery *d)
{
    struct sink_celery *s = sink;
    const struct notification *e = d->event;
    struct celery_message m;
    char id[UUID_TEXT_SIZE], reason[CELERY_REASON_SIZE];
    uuid_format(e->id, id);
    struct celery_defaults defaults = { id, s->config->queue, s->origin, clock_to_wall_us(e->held_us) };
    if (!celery_message_read(&m, span_make(e->payload, e->payload_size), &defaults, reason)) {
        delivery_done(d, DELIVERY_REFUSED, reason, 0);
        return;
    }
    if (s->amqp != NULL) {
        publish(s, d, &m);
        return;
    }
    push(s, d, &m);
    celery_message_reset(&m);
}

static void flush(void *sink)
{
    struct sink_celery *s = sink;
    if (s->amqp != NULL)
        amqp_publisher_flush(s->amqp);
    else
        redis_publisher_flush(s->redis);
}

static void close_sink(void *sink)
{
    struct sink_celery *s = sink;
    if (s->amqp != NULL)
        amqp_publisher_close(s->amqp);
    else
        redis_publisher_close(s->redis);
    free(s->prefix);
    free(s);
}

const struct sink_type sink_celery_type = {
    .name = "celery",
    .window = REDIS_WINDOW,
    .keeps_order = true,
    .open = open_sink,
    .deliver = deliver,
    .flush = flush,
    .close = close_sink,
};
