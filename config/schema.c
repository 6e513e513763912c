/* The tables.
 *
 * A name that the documentation promises but this version does not build is listed as "later": it is refused by name, so that nobody
 * believes to have what he has not, and never as a misspelling. */
#include "config/schema.h"

#include <string.h>

#define INTO(type, member) .offset = offsetof(type, member), .size = sizeof(((type *)0)->member)
#define LATER_OPTION(title) { .name = (title), .kind = OPTION_LATER }
#define END { .name = NULL }

#define KB (UINT64_C(1) << 10)
#define MB (UINT64_C(1) << 20)
#define GB (UINT64_C(1) << 30)

enum { MS = 1, SECOND = 1000 * MS, DAY = 24 * 60 * 60 * SECOND, LONGEST = 20 * DAY };

/* Words: in the order of the enums in config.h. Where PostgreSQL writes two words, a space does as well. */
static const struct word modes[] = {
    { .name = "autocommit" }, { .name = "atomic" }, { .name = "required" }, { .name = "sandbox" }, END
};
static const struct word nestings[] = { { .name = "savepoint" }, { .name = "join" }, { .name = "refuse" }, END };
static const struct word on_errors[] = { { .name = "abort" }, { .name = "rollback_statement" }, END };
static const struct word ends[] = { { .name = "rollback" }, { .name = "commit" }, END };
static const struct word isolations[] = { { .name = "default" },          { .name = "read_uncommitted" },
                                          { .name = "read_committed" },   { .name = "repeatable_read" },
                                          { .name = "serializable" },     END };
static const struct word accesses[] = { { .name = "default" }, { .name = "read_only" }, { .name = "read_write" }, END };
static const struct word deliveries[] = { { .name = "memory" }, { .name = "outbox", .later = true }, END };
static const struct word captures[] = { { .name = "wire" }, { .name = "listen", .later = true }, END };
static const struct word orderings[] = { { .name = "channel" }, { .name = "none" }, END };
static const struct word duplicates[] = { { .name = "keep" }, { .name = "fold" }, END };
static const struct word sink_kinds[] = {
    { .name = "log" },
    { .name = "postgres", .later = true },
    { .name = "webhook", .later = true },
    { .name = "redis", .later = true },
    { .name = "celery", .later = true },
    { .name = "amqp", .later = true },
    { .name = "kafka", .later = true },
    END
};
static const struct word pools[] = {
    { .name = "dedicated" }, { .name = "session", .later = true }, { .name = "transaction", .later = true }, END
};
static const struct word methods[] = { { .name = "passthrough" },
                                       { .name = "trust", .later = true },
                                       { .name = "scram-sha-256", .later = true },
                                       { .name = "md5", .later = true },
                                       { .name = "cert", .later = true },
                                       END };
static const struct word client_tls_modes[] = { { .name = "disable" },
                                                { .name = "prefer", .later = true },
                                                { .name = "require", .later = true },
                                                { .name = "verify-ca", .later = true },
                                                { .name = "verify-full", .later = true },
                                                END };
static const struct word formats[] = { { .name = "json" }, { .name = "text" }, END };
static const struct word levels[] = { { .name = "debug" }, { .name = "info" }, { .name = "warn" }, { .name = "error" }, END };
static const struct word payloads[] = { { .name = "full" }, { .name = "preview" }, { .name = "none" }, END };
static const struct word retry_options[] = { { .name = "first" }, { .name = "max" }, { .name = "attempts" }, END };

const struct option schema_file_options[] = {
    { "listen", OPTION_LIST, INTO(struct config_storage, listen), .fallback = "127.0.0.1:6432" },
    { "workers", OPTION_COUNT, INTO(struct config, workers), .fallback = "0", .most = 1024 },
    { "drain_timeout", OPTION_DURATION, INTO(struct config, drain_timeout_ms), .fallback = "30s", .most = LONGEST },
    LATER_OPTION("http"),
    LATER_OPTION("admin_users"),
    END
};

static const struct option log_options[] = {
    { "format", OPTION_WORD, INTO(struct config, log.format), .fallback = "json", .words = formats },
    { "level", OPTION_WORD, INTO(struct config, log.level), .fallback = "info", .words = levels },
    { "file", OPTION_TEXT, INTO(struct config, log.file), .fallback = "" },
    { "payloads", OPTION_WORD, INTO(struct config, log.payloads), .fallback = "preview", .words = payloads },
    END
};

static const struct option limits_options[] = {
    { "clients", OPTION_COUNT, INTO(struct config, limits.clients), .fallback = "10000", .least = 1, .most = 1000000 },
    { "message", OPTION_SIZE, INTO(struct config, limits.message), .fallback = "1GB", .least = 64 * KB, .most = GB },
    { "startup", OPTION_SIZE, INTO(struct config, limits.startup), .fallback = "10kB", .least = 512, .most = MB },
    { "events_per_request", OPTION_COUNT, INTO(struct config, limits.events_per_request), .fallback = "10000", .least = 1, .most = 100000000 },
    { "event", OPTION_SIZE, INTO(struct config, limits.event), .fallback = "1MB", .least = 1, .most = GB },
    LATER_OPTION("held"),
    END
};

static const struct option auth_options[] = {
    { "method", OPTION_WORD, INTO(struct config, auth), .fallback = "passthrough", .words = methods },
    LATER_OPTION("users"),
    LATER_OPTION("query"),
    END
};

static const struct option client_tls_options[] = {
    { "mode", OPTION_WORD, INTO(struct config_storage, client_tls), .fallback = "disable", .words = client_tls_modes },
    LATER_OPTION("certificate"),
    LATER_OPTION("key"),
    LATER_OPTION("ca"),
    END
};

static const struct option database_options[] = {
    { "upstream", OPTION_TEXT, INTO(struct database, upstream), .required = true },
    { "pool", OPTION_WORD, INTO(struct database, pool), .fallback = "dedicated", .words = pools },
    { "connect_timeout", OPTION_DURATION, INTO(struct database, connect_timeout_ms), .fallback = "5s", .least = 1, .most = LONGEST },
    LATER_OPTION("control"),
    LATER_OPTION("pool_size"),
    LATER_OPTION("min_size"),
    LATER_OPTION("queue_timeout"),
    LATER_OPTION("server_idle_timeout"),
    LATER_OPTION("server_lifetime"),
    LATER_OPTION("server_reset"),
    LATER_OPTION("prepare_unnamed"),
    END
};

static const struct option route_options[] = {
    { "match", OPTION_TEXT, INTO(struct route, match) },
    { "application", OPTION_TEXT, INTO(struct route, application), .fallback = "*" },
    { "database", OPTION_TEXT, INTO(struct route, database), .fallback = "*" },
    { "user", OPTION_TEXT, INTO(struct route, user), .fallback = "*" },
    { "mode", OPTION_WORD, INTO(struct route, mode), .fallback = "autocommit", .words = modes },
    { "nested", OPTION_WORD, INTO(struct route, nested), .fallback = "savepoint", .words = nestings },
    { "on_error", OPTION_WORD, INTO(struct route, on_error), .fallback = "abort", .words = on_errors },
    { "end", OPTION_WORD, INTO(struct route, end), .fallback = "rollback", .words = ends },
    { "timeout", OPTION_DURATION, INTO(struct route, timeout_ms), .fallback = "off", .most = LONGEST },
    { "idle_timeout", OPTION_DURATION, INTO(struct route, idle_timeout_ms), .fallback = "off", .most = LONGEST },
    { "isolation", OPTION_WORD, INTO(struct route, isolation), .fallback = "default", .words = isolations },
    { "access", OPTION_WORD, INTO(struct route, access), .fallback = "default", .words = accesses },
    { "sandbox_sinks", OPTION_LIST, INTO(struct route, sandbox_sinks) },
    END
};

static const struct option channel_options[] = {
    { "sink", OPTION_LIST, INTO(struct channel, sinks) },
    { "forward", OPTION_SWITCH, INTO(struct channel, forward), .fallback = "on" },
    { "delivery", OPTION_WORD, INTO(struct channel, delivery), .fallback = "memory", .words = deliveries },
    { "capture", OPTION_WORD, INTO(struct channel, capture), .fallback = "wire", .words = captures },
    { "ordering", OPTION_WORD, INTO(struct channel, ordering), .fallback = "channel", .words = orderings },
    { "duplicates", OPTION_WORD, INTO(struct channel, duplicates), .fallback = "keep", .words = duplicates },
    END
};

static const struct option sink_options[] = {
    { "type", OPTION_WORD, INTO(struct sink, kind), .required = true, .words = sink_kinds },
    LATER_OPTION("url"),
    LATER_OPTION("upstream"),
    LATER_OPTION("queue"),
    LATER_OPTION("secret"),
    LATER_OPTION("body"),
    LATER_OPTION("timeout"),
    LATER_OPTION("command"),
    LATER_OPTION("key"),
    { .name = "retry", .kind = OPTION_LATER_BLOCK, .words = retry_options },
    END
};

static const struct option outbox_options[] = {
    LATER_OPTION("upstream"), LATER_OPTION("lease"), LATER_OPTION("batch"), LATER_OPTION("poll"), END
};

#define TITLED(type, title, list, count)                                                                                   \
    .item_size = sizeof(type), .title_offset = offsetof(type, title), .list_offset = offsetof(struct config, list),        \
    .count_offset = offsetof(struct config, count)

const struct block schema_blocks[] = {
    { "log", BLOCK_PLAIN, .options = log_options },
    { "limits", BLOCK_PLAIN, .options = limits_options },
    { "auth", BLOCK_PLAIN, .options = auth_options },
    { "client_tls", BLOCK_PLAIN, .options = client_tls_options },
    { "database", BLOCK_TITLED, .options = database_options, TITLED(struct database, name, databases, database_count) },
    { "route", BLOCK_TITLED, .options = route_options, TITLED(struct route, name, routes, route_count) },
    { "channel", BLOCK_TITLED, .options = channel_options, TITLED(struct channel, pattern, channels, channel_count) },
    { "sink", BLOCK_TITLED, .options = sink_options, TITLED(struct sink, name, sinks, sink_count) },
    { "outbox", BLOCK_LATER, .options = outbox_options },
    END
};

const struct block *schema_block(const char *name)
{
    for (const struct block *b = schema_blocks; b->name != NULL; b++)
        if (strcmp(b->name, name) == 0)
            return b;
    return NULL;
}

const struct option *schema_option(const struct option *options, const char *name)
{
    for (const struct option *o = options; o->name != NULL; o++)
        if (strcmp(o->name, name) == 0)
            return o;
    return NULL;
}
