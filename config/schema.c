/* The tables.
 *
 * A name that the documentation promises but this version does not build is listed as `later`, and words of that kind come behind those
 * that are `built`: they are read and checked like all others and then refused, by name, so that nobody believes to have what he has not. */
#include "config/schema.h"

#define INTO(type, member) .offset = offsetof(type, member), .size = sizeof(((type *)0)->member)

#define KB (UINT64_C(1) << 10)
#define MB (UINT64_C(1) << 20)
#define GB (UINT64_C(1) << 30)

enum { MS = 1, SECOND = 1000 * MS, DAY = 24 * 60 * 60 * SECOND, LONGEST = 20 * DAY };

/* Words: in the order of the enums in config.h. Where PostgreSQL writes two words, a space does as well. */
static const char *const modes[] = { "autocommit", "atomic", "required", "sandbox", NULL };
static const char *const nestings[] = { "savepoint", "join", "refuse", NULL };
static const char *const on_errors[] = { "abort", "rollback_statement", NULL };
static const char *const ends[] = { "rollback", "commit", NULL };
static const char *const isolations[] = { "default",         "read_uncommitted", "read_committed",
                                          "repeatable_read", "serializable",     NULL };
static const char *const accesses[] = { "default", "read_only", "read_write", NULL };
static const char *const deliveries[] = { "memory", "outbox", NULL };
static const char *const captures[] = { "wire", "listen", NULL };
static const char *const orderings[] = { "channel", "none", NULL };
static const char *const duplicates[] = { "keep", "fold", NULL };
static const char *const sink_kinds[] = { "log", "postgres", "webhook", "redis", "celery", "amqp", "kafka", NULL };
static const char *const commands[] = { "publish", "lpush", "rpush", "xadd", NULL };
static const char *const bodies[] = { "raw", "binary", "structured", NULL };
static const char *const pools[] = { "dedicated", "session", "transaction", NULL };
static const char *const resets[] = { "auto", "always", NULL };
static const char *const methods[] = { "passthrough", "trust", "scram-sha-256", "md5", "cert", NULL };
static const char *const tls_modes[] = { "disable", "prefer", "require", "verify-ca", "verify-full", NULL };
static const char *const formats[] = { "json", "text", NULL };
static const char *const levels[] = { "debug", "info", "warn", "error", NULL };
static const char *const payloads[] = { "full", "preview", "none", NULL };

const char *route_mode_name(enum route_mode mode)
{
    return modes[mode];
}

const char *pool_mode_name(enum pool_mode mode)
{
    return pools[mode];
}

static const struct option file_options[] = {
    { "listen", OPTION_LIST, INTO(struct config_storage, listen), .fallback = "127.0.0.1:6432" },
    { "workers", OPTION_COUNT, INTO(struct config, workers), .fallback = "0", .most = 1024 },
    { "drain_timeout", OPTION_DURATION, INTO(struct config, drain_timeout_ms), .fallback = "30s", .most = LONGEST },
    { "http", OPTION_TEXT, INTO(struct config, http.text), .fallback = "" },
    { "admin_users", OPTION_LIST, INTO(struct config, admin_users) },
    { "stats_users", OPTION_LIST, INTO(struct config, stats_users) },
    { .name = NULL },
};

static const struct option log_options[] = {
    { "format", OPTION_WORD, INTO(struct config, log.format), .fallback = "json", .words = formats },
    { "level", OPTION_WORD, INTO(struct config, log.level), .fallback = "info", .words = levels },
    { "file", OPTION_TEXT, INTO(struct config, log.file), .fallback = "" },
    { "payloads", OPTION_WORD, INTO(struct config, log.payloads), .fallback = "preview", .words = payloads },
    { .name = NULL },
};

static const struct option limits_options[] = {
    { "clients", OPTION_COUNT, INTO(struct config, limits.clients), .fallback = "10000", .least = 1, .most = 1000000 },
    { "message", OPTION_SIZE, INTO(struct config, limits.message), .fallback = "1GB", .least = 64 * KB, .most = GB },
    { "startup", OPTION_SIZE, INTO(struct config, limits.startup), .fallback = "10kB", .least = 512, .most = MB },
    { "events_per_request", OPTION_COUNT, INTO(struct config, limits.events_per_request), .fallback = "10000",
      .least = 1, .most = 100000000 },
    { "event", OPTION_SIZE, INTO(struct config, limits.event), .fallback = "1MB", .least = 1, .most = GB },
    { "held", OPTION_SIZE, INTO(struct config, limits.held), .fallback = "256MB", .least = 1, .most = 1024 * GB },
    { .name = NULL },
};

static const struct option auth_options[] = {
    { "method", OPTION_WORD, INTO(struct config, auth), .fallback = "passthrough", .words = methods },
    { "users", OPTION_FILE, INTO(struct config, auth_users), .fallback = "" },
    { "query", OPTION_TEXT, INTO(struct config, auth_query), .fallback = "" },
    { .name = NULL },
};

static const struct option client_tls_options[] = {
    { "mode", OPTION_WORD, INTO(struct config, client_tls.mode), .fallback = "prefer", .words = tls_modes },
    { "certificate", OPTION_FILE, INTO(struct config, client_tls.certificate), .fallback = "" },
    { "key", OPTION_FILE, INTO(struct config, client_tls.key), .fallback = "" },
    { "ca", OPTION_FILE, INTO(struct config, client_tls.ca), .fallback = "" },
    { .name = NULL },
};

static const char *const login_methods[] = { "passthrough", "trust", "scram-sha-256", "md5", "cert", "reject", NULL };
static const char *const login_tls[] = { "any", "on", "off", NULL };

static const struct option login_options[] = {
    { "database", OPTION_LIST, INTO(struct login_rule, databases), .fallback = "*" },
    { "user", OPTION_LIST, INTO(struct login_rule, users), .fallback = "*" },
    { "address", OPTION_LIST, INTO(struct login_rule, addresses) },
    { "tls", OPTION_WORD, INTO(struct login_rule, tls), .fallback = "any", .words = login_tls },
    { "method", OPTION_WORD, INTO(struct login_rule, method), .required = true, .words = login_methods },
    { .name = NULL },
};

/* Which types of pool take an option. */
#define FOR_SHARED (1u << POOL_SESSION | 1u << POOL_TRANSACTION)

static const struct option database_options[] = {
    { "pool", OPTION_WORD, INTO(struct database, pool), .fallback = "dedicated", .selects = true, .words = pools },
    { "upstream", OPTION_UPSTREAM, INTO(struct database, upstream), .required = true },
    { "connect_timeout", OPTION_DURATION, INTO(struct database, connect_timeout_ms), .fallback = "5s", .least = 1,
      .most = LONGEST },
    { "control", OPTION_CONNINFO, INTO(struct database, control) },
    { "pool_size", OPTION_COUNT, INTO(struct database, pool_size), .fallback = "20", .least = 1, .most = 100000,
      .types = FOR_SHARED },
    { "min_size", OPTION_COUNT, INTO(struct database, min_size), .fallback = "0", .most = 100000, .types = FOR_SHARED },
    { "queue_timeout", OPTION_DURATION, INTO(struct database, queue_timeout_ms), .fallback = "30s", .most = LONGEST,
      .types = FOR_SHARED },
    { "server_idle_timeout", OPTION_DURATION, INTO(struct database, server_idle_timeout_ms), .fallback = "10min",
      .most = LONGEST, .types = FOR_SHARED },
    { "server_lifetime", OPTION_DURATION, INTO(struct database, server_lifetime_ms), .fallback = "1h", .most = LONGEST,
      .types = FOR_SHARED },
    { "server_reset", OPTION_WORD, INTO(struct database, server_reset), .fallback = "auto", .words = resets,
      .types = FOR_SHARED },
    { "prepare_unnamed", OPTION_SWITCH, INTO(struct database, prepare_unnamed), .fallback = "off",
      .types = FOR_SHARED },
    { .name = NULL },
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
    { .name = NULL },
};

static const struct option channel_options[] = {
    { "sink", OPTION_LIST, INTO(struct channel, sinks) },
    { "forward", OPTION_SWITCH, INTO(struct channel, forward), .fallback = "on" },
    { "delivery", OPTION_WORD, INTO(struct channel, delivery), .fallback = "memory", .words = deliveries },
    { "capture", OPTION_WORD, INTO(struct channel, capture), .fallback = "wire", .words = captures },
    { "ordering", OPTION_WORD, INTO(struct channel, ordering), .fallback = "channel", .words = orderings },
    { "duplicates", OPTION_WORD, INTO(struct channel, duplicates), .fallback = "keep", .words = duplicates },
    { .name = NULL },
};

/* Which types of sink take an option. */
#define FOR(kind) (1u << SINK_##kind)
#define FOR_URLS (FOR(WEBHOOK) | FOR(REDIS) | FOR(CELERY) | FOR(AMQP) | FOR(KAFKA))
#define FOR_RETRIES (FOR(POSTGRES) | FOR_URLS)

static const struct option retry_options[] = {
    { "first", OPTION_DURATION, INTO(struct sink, retry.first_ms), .fallback = "1s", .least = 1, .most = DAY },
    { "max", OPTION_DURATION, INTO(struct sink, retry.max_ms), .fallback = "1h", .least = 1, .most = LONGEST },
    { "attempts", OPTION_COUNT, INTO(struct sink, retry.attempts), .fallback = "15", .least = 1, .most = 1000000 },
    { .name = NULL },
};

static const struct option sink_options[] = {
    { "type", OPTION_WORD, INTO(struct sink, kind), .required = true, .selects = true, .words = sink_kinds },
    { "url", OPTION_URL, INTO(struct sink, url), .required = true, .types = FOR_URLS },
    { "ca", OPTION_FILE, INTO(struct sink, ca), .fallback = "", .types = FOR_URLS },
    { "upstream", OPTION_CONNINFO, INTO(struct sink, upstream), .required = true, .types = FOR(POSTGRES) },
    { "command", OPTION_WORD, INTO(struct sink, command), .fallback = "publish", .words = commands,
      .types = FOR(REDIS) },
    { "key", OPTION_TEXT, INTO(struct sink, key), .fallback = "", .types = FOR(REDIS) },
    { "queue", OPTION_TEXT, INTO(struct sink, queue), .fallback = "celery", .types = FOR(CELERY) },
    { "exchange", OPTION_TEXT, INTO(struct sink, exchange), .fallback = "", .types = FOR(AMQP) },
    { "routing_key", OPTION_TEXT, INTO(struct sink, routing_key), .fallback = "", .types = FOR(AMQP) },
    { "topic", OPTION_TEXT, INTO(struct sink, topic), .fallback = "", .types = FOR(KAFKA) },
    { "secret", OPTION_SECRET, INTO(struct sink, secret), .fallback = "", .types = FOR(WEBHOOK) },
    { "body", OPTION_WORD, INTO(struct sink, body), .fallback = "raw", .words = bodies, .types = FOR(WEBHOOK) },
    { "timeout", OPTION_DURATION, INTO(struct sink, timeout_ms), .fallback = "15s", .least = 1, .most = DAY,
      .types = FOR_RETRIES },
    { "retry", .kind = OPTION_BLOCK, .options = retry_options, .types = FOR_RETRIES },
    { .name = NULL },
};

static const struct option outbox_options[] = {
    { "upstream", OPTION_CONNINFO, INTO(struct outbox, upstream), .required = true },
    { "lease", OPTION_DURATION, INTO(struct outbox, lease_ms), .fallback = "30s", .least = 100, .most = DAY },
    { "batch", OPTION_COUNT, INTO(struct outbox, batch), .fallback = "500", .least = 1, .most = 10000 },
    { "poll", OPTION_DURATION, INTO(struct outbox, poll_ms), .fallback = "5s", .least = 10, .most = DAY },
    { .name = NULL },
};

#define TITLED(type, title, list, count)                                                                            \
    .item_size = sizeof(type), .title_offset = offsetof(type, title), .list_offset = offsetof(struct config, list), \
    .count_offset = offsetof(struct config, count)

static const struct block blocks[] = {
    { "log", BLOCK_PLAIN, .options = log_options },
    { "limits", BLOCK_PLAIN, .options = limits_options },
    { "auth", BLOCK_PLAIN, .options = auth_options },
    { "client_tls", BLOCK_PLAIN, .options = client_tls_options },
    { "login", BLOCK_TITLED, .options = login_options, TITLED(struct login_rule, name, logins, login_count) },
    { "database", BLOCK_TITLED, .options = database_options, TITLED(struct database, name, databases, database_count) },
    { "route", BLOCK_TITLED, .options = route_options, TITLED(struct route, name, routes, route_count) },
    { "channel", BLOCK_TITLED, .options = channel_options, TITLED(struct channel, pattern, channels, channel_count) },
    { "sink", BLOCK_TITLED, .options = sink_options, TITLED(struct sink, name, sinks, sink_count) },
    { "outbox", BLOCK_TITLED, .options = outbox_options, TITLED(struct outbox, name, outboxes, outbox_count) },
    { .name = NULL },
};

const struct schema schema_config = { file_options, blocks, NULL };
