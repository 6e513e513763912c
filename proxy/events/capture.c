/* A listener for each database:
 *
 *     connected --LISTEN to each channel--> asks for the lock of each --not all--> again in a while
 *
 * The lock is an advisory one, by the channel's name, and lives as long as the session that has it. A process that listens without the
 * lock hears everything, and says nothing. */
#include "proxy/events/capture.h"

#include <string.h>

#include "protocol/memory.h"
#include "proxy/clock.h"
#include "proxy/events/dispatch.h"
#include "proxy/events/pq_connection.h"
#include "proxy/ops/log.h"
#include "proxy/ops/uuid.h"

enum { CONNECT_TIMEOUT_MS = 5000, ANSWER_TIMEOUT_MS = 10 * 1000, LOCK_AGAIN_MS = 1000 };

/* A channel that is listened to. */
struct ear {
    const char *channel; /* as the config has it */
    char *listen;        /* the statement */
    bool is_ours;        /* this process has its lock */
};

struct listening {
    struct listening *next;
    struct config *config;           /* a reference */
    const struct database *database; /* of it */
    struct pq_connection *connection;
    struct timer *again;
    struct ear *ears;
    size_t ear_count;
    bool was_up;
};

static struct {
    struct sink_host host;
    struct listening *first;
} capture;

/* --- what is heard --------------------------------------------------------------------------------- */

static bool hears(const struct listening *l, const char *channel)
{
    for (size_t i = 0; i < l->ear_count; i++)
        if (strcmp(l->ears[i].channel, channel) == 0)
            return l->ears[i].is_ours;
    return false;
}

/* Who notified is not known: a request of its own, that says so by its empty names. */
static struct notification *make_event(const struct listening *l, const PGnotify *n, uint64_t now_us)
{
    unsigned char id[EVENT_ID_SIZE];
    uuid_make(id, clock_to_wall_us(now_us));
    struct request *request =
        request_new(id, &(struct request_names){ .database = l->database->name }, l->config, now_us);
    uuid_make(id, clock_to_wall_us(now_us));
    struct notification *e = notification_new(id, request, config_channel(l->config, n->relname, strlen(n->relname)),
                                              span_of(n->relname), span_of(n->extra));
    e->held_us = now_us;
    request->events = 1;
    request_release(request);
    return e;
}

/* PostgreSQL has delivered it, and nobody is there to be refused (E13). */
static void on_notification(void *context, const PGnotify *n)
{
    const struct listening *l = context;
    if (!hears(l, n->relname))
        return;
    uint64_t now_us = loop_now_us(capture.host.loop);
    struct notification *e = make_event(l, n, now_us);
    const char *behind = dispatch_sink_behind(e->channel, l->config, e->payload_size);
    if (behind == NULL) {
        dispatch_publish(e, now_us);
        return;
    }
    log_event_dead(e, behind, 0, "the sink is behind: limits.held", 0, now_us);
    notification_free(e);
}

/* --- locks ----------------------------------------------------------------------------------------- */

static void ask_for_locks(struct listening *l);

static void on_again(void *context)
{
    ask_for_locks(context);
}

static void on_locks(void *context, const PGresult *result, const char *error, const char *sqlstate)
{
    struct listening *l = context;
    size_t locked = 0;
    (void)error, (void)sqlstate; /* a lost connection begins anew with on_connected() */
    for (int i = 0; i < (result != NULL ? PQntuples(result) : 0); i++)
        for (size_t k = 0; k < l->ear_count; k++)
            if (strcmp(l->ears[k].channel, PQgetvalue(result, i, 0)) == 0) {
                l->ears[k].is_ours = true;
                LOG(LOG_INFO, "listening for notifications", log_text("database", l->database->name),
                    log_text("channel", l->ears[k].channel));
            }
    for (size_t k = 0; k < l->ear_count; k++)
        locked += l->ears[k].is_ours;
    if (locked < l->ear_count && pq_connection_is_up(l->connection))
        timer_start(l->again, LOCK_AGAIN_MS * 1000);
}

static void ask_for_locks(struct listening *l)
{
    struct pq_values values = { 0 };
    pq_values_begin_array(&values, PQ_TEXT);
    for (size_t i = 0; i < l->ear_count; i++)
        if (!l->ears[i].is_ours)
            pq_values_add_element(&values, span_of(l->ears[i].channel));
    pq_connection_ask(
        l->connection,
        "SELECT channel FROM pg_catalog.unnest($1) AS c (channel) WHERE"
        " pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended('pgatomic capture ' || channel, 0))",
        &values, false, on_locks, l);
}

/* --- the connection -------------------------------------------------------------------------------- */

static void on_listening(void *context, const PGresult *result, const char *error, const char *sqlstate)
{
    const struct listening *l = context;
    if (result != NULL || sqlstate[0] == '\0')
        return;
    LOG(LOG_ERROR, "cannot listen for notifications", log_text("database", l->database->name), log_text("error", error),
        log_text("sqlstate", sqlstate));
    pq_connection_try_elsewhere(l->connection, error); /* a standby may be promoted without losing a connection */
}

static void on_connected(void *context)
{
    struct listening *l = context;
    for (size_t i = 0; i < l->ear_count; i++)
        pq_connection_ask(l->connection, l->ears[i].listen, NULL, false, on_listening, l);
    ask_for_locks(l);
    if (l->was_up)
        LOG(LOG_WARN, "notifications may have been missed", log_text("database", l->database->name));
    l->was_up = true;
}

static void on_lost(void *context, const char *why)
{
    (void)why;
    struct listening *l = context;
    timer_stop(l->again);
    for (size_t i = 0; i < l->ear_count; i++)
        l->ears[i].is_ours = false;
}

/* --- listeners -------------------------------------------------------------------------------------- */

static char *listen_statement(const char *channel)
{
    struct buffer b = { 0 };
    buffer_append_text(&b, "LISTEN \"");
    for (const char *c = channel; *c != '\0'; c++)
        buffer_format(&b, *c == '"' ? "\"\"" : "%c", *c);
    buffer_append_text(&b, "\"");
    buffer_append_u8(&b, '\0');
    return b.data;
}

/* A block that an earlier one hides hears nothing. */
static bool wants(const struct config *config, const struct channel *channel)
{
    return channel->capture == CAPTURE_LISTEN &&
           config_channel(config, channel->pattern, strlen(channel->pattern)) == channel;
}

static size_t count_ears(const struct config *config)
{
    size_t count = 0;
    for (size_t i = 0; i < config->channel_count; i++)
        count += wants(config, &config->channels[i]);
    return count;
}

static void add_ears(struct listening *l)
{
    l->ears = or_abort(calloc(count_ears(l->config), sizeof *l->ears));
    for (size_t i = 0; i < l->config->channel_count; i++) {
        const struct channel *channel = &l->config->channels[i];
        if (wants(l->config, channel))
            l->ears[l->ear_count++] =
                (struct ear){ .channel = channel->pattern, .listen = listen_statement(channel->pattern) };
    }
}

/* The database that clients notify in, whichever `control` names. NULL: a block for all of them hears one, and `control` says which. */
static const char *dbname_of(const struct database *database)
{
    bool is_any = strcmp(database->name, "*") == 0;
    return is_any ? database->dbname : config_dbname(database, database->name);
}

static bool is_same_place(const struct database *a, const struct database *b)
{
    const char *in = dbname_of(a), *also = dbname_of(b);
    bool same = in == NULL || also == NULL ? in == also : strcmp(in, also) == 0;
    return same && strcmp(a->control, b->control) == 0;
}

static void open_listening(struct config *config, const struct database *database)
{
    struct listening *l = or_abort(calloc(1, sizeof *l));
    l->config = config_retain(config);
    l->database = database;
    add_ears(l);
    l->again = timer_new(capture.host.loop, on_again, l);
    l->connection = pq_connection_open(&(struct pq_options){ .loop = capture.host.loop,
                                                             .resolver = capture.host.resolver,
                                                             .role = "capture",
                                                             .name = database->name,
                                                             .conninfo = database->control,
                                                             .dbname = dbname_of(database),
                                                             .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                                                             .answer_timeout_ms = ANSWER_TIMEOUT_MS,
                                                             .stays_connected = true,
                                                             .on_connected = on_connected,
                                                             .on_lost = on_lost,
                                                             .on_notification = on_notification,
                                                             .context = l });
    l->next = capture.first;
    capture.first = l;
}

static void close_listening(struct listening **link)
{
    struct listening *l = *link;
    *link = l->next;
    pq_connection_close(l->connection);
    timer_free(l->again);
    for (size_t i = 0; i < l->ear_count; i++)
        free(l->ears[i].listen);
    free(l->ears);
    config_release(l->config);
    free(l);
}

/* --- the config --------------------------------------------------------------------------------------- */

static const struct database *database_named(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->database_count; i++)
        if (strcmp(config->databases[i].name, name) == 0)
            return &config->databases[i];
    return NULL;
}

static bool is_listening(const char *database)
{
    for (const struct listening *l = capture.first; l != NULL; l = l->next)
        if (strcmp(l->database->name, database) == 0)
            return true;
    return false;
}

static bool hears_the_same(const struct listening *l, const struct config *config, const struct database *database)
{
    size_t same = 0;
    if (database == NULL || database->control == NULL || !is_same_place(database, l->database))
        return false;
    for (size_t i = 0; i < config->channel_count; i++)
        for (size_t k = 0; k < l->ear_count; k++)
            same += wants(config, &config->channels[i]) && strcmp(l->ears[k].channel, config->channels[i].pattern) == 0;
    return same == l->ear_count && same == count_ears(config);
}

static void go_on(struct listening *l, struct config *config, const struct database *database)
{
    for (size_t k = 0; k < l->ear_count; k++)
        l->ears[k].channel = config_channel(config, l->ears[k].channel, strlen(l->ears[k].channel))->pattern;
    config_retain(config);
    config_release(l->config);
    l->config = config;
    l->database = database;
}

static void open_missing(struct config *config)
{
    for (size_t i = 0; i < config->database_count && count_ears(config) > 0; i++)
        if (config->databases[i].control != NULL && !is_listening(config->databases[i].name))
            open_listening(config, &config->databases[i]);
}

void capture_start(const struct sink_host *host, struct config *config)
{
    capture.host = *host;
    open_missing(config);
}

void capture_reload(struct config *config)
{
    for (struct listening **link = &capture.first; *link != NULL;) {
        const struct database *database = database_named(config, (*link)->database->name);
        if (hears_the_same(*link, config, database)) {
            go_on(*link, config, database);
            link = &(*link)->next;
        } else {
            close_listening(link);
        }
    }
    open_missing(config);
}

void capture_stop(void)
{
    while (capture.first != NULL)
        close_listening(&capture.first);
}
