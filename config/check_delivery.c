/* From a channel to its sinks, and to the outbox of its database: every link is there, and none promises what another cannot keep. */
#include "config/check_delivery.h"

#include <string.h>

#include "config/address.h"
#include "config/built.h"
#include "config/conninfo.h"
#include "config/secret.h"
#include "config/url.h"

enum { LONGEST_CHANNEL = 63, LONGEST_AMQP_NAME = 255, LONGEST_TOPIC = 249 };

/* --- channels ------------------------------------------------------------------------------------ */

void check_sinks_exist(const struct config *c, const char *const *sinks, struct tree *block, const char *option,
                       struct config_errors *errors)
{
    for (; *sinks != NULL; sinks++)
        if (config_sink(c, *sinks) == NULL)
            errors_add(errors, tree_line(block, option), "%s: there is no sink block \"%s\"", option, *sinks);
}

static bool is_glob(const char *pattern)
{
    return strpbrk(pattern, "*?") != NULL;
}

static void check_durable(const struct config *c, const struct channel *channel, struct tree *block,
                          struct config_errors *errors)
{
    int line = tree_line(block, "delivery");

    if (channel->sinks[0] == NULL)
        errors_add(errors, line, "delivery = outbox: expected a sink to deliver to");
    if (c->outbox_count == 0)
        errors_add(
            errors, line,
            "delivery = outbox: there is no outbox block: expected one for each database that has such events, as in "
            "outbox \"shop\" { upstream = \"host=127.0.0.1 dbname=shop\" }");
}

static bool has_sink_of_kind(const struct config *c, const struct channel *channel, enum sink_kind kind)
{
    for (const char *const *name = channel->sinks; *name != NULL; name++) {
        const struct sink *sink = config_sink(c, *name);
        if (sink != NULL && sink->kind == kind)
            return true;
    }
    return false;
}

/* PostgreSQL LISTENs to one channel at a time, and tells what it hears after the COMMIT. */
static void check_heard(const struct config *c, const struct channel *channel, struct tree *block,
                        struct config_errors *errors)
{
    int line = tree_line(block, "capture");
    size_t size = strlen(channel->pattern);

    if (is_glob(channel->pattern) || size > LONGEST_CHANNEL)
        errors_add(
            errors, line,
            "capture = listen: expected the name of one channel, of at most 63 bytes, for PostgreSQL cannot LISTEN "
            "to a pattern");
    if (channel->sinks[0] == NULL)
        errors_add(errors, line, "capture = listen: expected a sink for what is heard");
    if (has_sink_of_kind(c, channel, SINK_POSTGRES))
        errors_add(
            errors, line,
            "capture = listen: expected no sink of type postgres, for what it NOTIFYs would be heard again, for ever");
    if (!channel->forward)
        errors_add(errors, line,
                   "capture = listen: expected forward = on, for PostgreSQL must have what is to be heard");
    if (channel->delivery == DELIVERY_OUTBOX)
        errors_add(
            errors, line,
            "capture = listen: expected delivery = memory, for what is heard is no part of a transaction any more");
    if (!config_has_control(c))
        errors_add(errors, line,
                   "capture = listen: no database block has a connection to listen on: expected control = \"host=… "
                   "dbname=… user=…\"");
}

static void check_channels(const struct config *c, struct tree *file, struct config_errors *errors)
{
    for (size_t i = 0; i < c->channel_count; i++) {
        const struct channel *channel = &c->channels[i];
        struct tree *block = tree_block(file, "channel", i);

        if (!channel->forward && channel->sinks[0] == NULL)
            errors_add(errors, tree_line(block, "forward"),
                       "this channel would lose its events: expected a sink, or forward = on");
        if (channel->delivery == DELIVERY_OUTBOX)
            check_durable(c, channel, block, errors);
        if (channel->capture == CAPTURE_LISTEN)
            check_heard(c, channel, block, errors);
        check_sinks_exist(c, channel->sinks, block, "sink", errors);
    }
}

/* --- sinks --------------------------------------------------------------------------------------- */

static void check_url(struct sink *sink, struct tree *block, struct memory *memory, struct config_errors *errors)
{
    int line = tree_line(block, "url");
    const char *wrong = url_parse(sink->url, sink->kind, &sink->parts, memory);

    if (wrong != NULL) {
        errors_add(errors, line, "url: %s", wrong);
        return;
    }
    if (secret_is_hidden(sink->parts.password) || secret_is_hidden(sink->parts.query))
        errors_add(errors, line, "url: %s", secret_hidden_expected);
    if (*sink->ca != '\0' && !sink->parts.tls)
        errors_add(errors, tree_line(block, "ca"), "ca: the url does not ask for TLS, so no certificate is looked at");
    bool is_amqp = strncmp(sink->parts.scheme, "amqp", 4) == 0;
    if (sink->kind == SINK_CELERY && !sink_kind_is_built(is_amqp ? SINK_AMQP : SINK_REDIS))
        errors_add(errors, line, "url: this build of pgatomic has no %s", is_amqp ? "amqp" : "redis");
}

/* "whsec_" and the key in base64, as the Standard Webhooks have it. */
static bool is_webhook_secret(const char *secret)
{
    static const char prefix[] = "whsec_";
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    if (strncmp(secret, prefix, strlen(prefix)) != 0)
        return false;
    const char *key = secret + strlen(prefix);
    size_t size = strspn(key, digits), padding = strspn(key + size, "=");
    return size > 0 && key[size + padding] == '\0' && padding <= 2 && (size + padding) % 4 == 0;
}

static void check_secret(const struct sink *sink, struct tree *block, struct config_errors *errors)
{
    if (*sink->secret != '\0' && !secret_is_hidden(sink->secret) && !is_webhook_secret(sink->secret))
        errors_add(errors, tree_line(block, "secret"), "secret: expected whsec_ and a key in base64 behind it");
}

static void check_size(const char *name, const char *value, size_t most, struct tree *block,
                       struct config_errors *errors)
{
    if (strlen(value) > most)
        errors_add(errors, tree_line(block, name), "%s: expected at most %zu bytes", name, most);
}

static void check_topic(const struct sink *sink, struct tree *block, struct config_errors *errors)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t size = strspn(sink->topic, allowed);

    if (sink->topic[size] != '\0' || size > LONGEST_TOPIC || strcmp(sink->topic, ".") == 0 ||
        strcmp(sink->topic, "..") == 0)
        errors_add(errors, tree_line(block, "topic"),
                   "topic: expected at most 249 letters, digits and . _ -, which is what Kafka takes");
}

static void check_retry(const struct sink *sink, struct tree *block, struct config_errors *errors)
{
    if (tree_block_count(block, "retry") == 0 || sink->retry.first_ms <= sink->retry.max_ms)
        return;
    struct tree *retry = tree_block(block, "retry", 0);
    errors_add(errors, tree_line(retry, tree_is_said(retry, "max") ? "max" : "first"),
               "retry: the first wait is longer than max, the longest");
}

static void check_sinks(struct config_storage *s, struct tree *file, struct config_errors *errors)
{
    /* The list was made by this reader, and nobody else has seen it yet. */
    struct sink *list = (struct sink *)s->config.sinks;

    for (size_t i = 0; i < s->config.sink_count; i++) {
        struct sink *sink = &list[i];
        struct tree *block = tree_block(file, "sink", i);

        if (!sink_kind_is_built(sink->kind))
            errors_add(errors, tree_line(block, "type"), "type: this build of pgatomic has no %s sink",
                       tree_value(block, "type", 0));
        if (sink->url != NULL)
            check_url(sink, block, &s->memory, errors);
        check_secret(sink, block, errors);
        check_size("queue", sink->queue, LONGEST_AMQP_NAME, block, errors);
        check_size("exchange", sink->exchange, LONGEST_AMQP_NAME, block, errors);
        check_size("routing_key", sink->routing_key, LONGEST_AMQP_NAME, block, errors);
        check_topic(sink, block, errors);
        check_retry(sink, block, errors);
    }
}

/* --- outboxes ------------------------------------------------------------------------------------ */

/* libpq would take the name of the user for that of the database, and pgatomic would look, or listen, in the wrong one. */
static void check_names_database(const char *conninfo, const char *option, struct tree *block,
                                 struct config_errors *errors)
{
    if (conninfo != NULL && !conninfo_names_database(conninfo))
        errors_add(errors, tree_line(block, option), "%s: expected also dbname=, the database to connect to", option);
}

/* A relay works in one database. `database "*"` may be many. */
static void check_outboxes(const struct config *c, struct tree *file, struct config_errors *errors)
{
    for (size_t i = 0; i < c->outbox_count; i++) {
        const struct outbox *outbox = &c->outboxes[i];
        const struct database *d = config_database(c, outbox->name);
        struct tree *block = tree_block(file, "outbox", i);
        int line = tree_line(block, "");

        check_names_database(outbox->upstream, "upstream", block, errors);
        if (d == NULL)
            errors_add(errors, line, "outbox \"%s\": no database block is for a database of this name", outbox->name);
        else if (strcmp(outbox->name, "*") == 0 && d->dbname == NULL)
            errors_add(
                errors, line,
                "outbox \"*\": expected the name of one database, or a dbname= in the upstream of database \"*\"");
    }
}

void check_delivery(struct config_storage *s, struct tree *file, struct config_errors *errors)
{
    check_channels(&s->config, file, errors);
    check_sinks(s, file, errors);
    check_outboxes(&s->config, file, errors);
    for (size_t i = 0; i < s->config.database_count; i++)
        check_names_database(s->config.databases[i].control, "control", tree_block(file, "database", i), errors);
}
