/* A conversation with an administrator.
 *
 *     message --> statement --> done at once ----------------+--> reply
 *                     +------> asked of the workers, busy ---+
 *
 * There are no transactions: BEGIN and the like are answered for drivers that cannot help it. The messages of the extended protocol are
 * in admin_extended.c. */
#include "proxy/ops/admin.h"

#include <string.h>
#include <unistd.h>

#include "protocol/memory.h"
#include "protocol/message.h"
#include "proxy/ops/admin_part.h"
#include "proxy/ops/log.h"
#include "proxy/pool/client.h"
#include "proxy/pool/login.h"
#include "proxy/pool/pool.h"
#include "proxy/version.h"

enum { MESSAGE_MOST = 64 * 1024 };

static const char no_user[] = "only admin_users and stats_users may use the console";

bool admin_is_console(const struct config *c, const char *database)
{
    return config_has_console(c) && strcmp(database, ADMIN_DATABASE) == 0;
}

const struct database *admin_database(const struct config *c)
{
    for (size_t i = 0; i < c->database_count; i++)
        if (c->databases[i].control != NULL)
            return &c->databases[i];
    return &c->databases[0];
}

bool admin_wants_input(const struct admin *a)
{
    return !a->busy || (a->pausing && conn_kept(&a->client->conn).size < MESSAGE_MOST);
}

const char *admin_user(const struct admin *a)
{
    return a->user;
}

/* --- replies ------------------------------------------------------------------------------------------- */

static void send_out(struct admin *a)
{
    conn_send_span(&a->client->conn, buffer_span(&a->out));
    buffer_free(&a->out);
}

static void fail_with(struct admin *a, const char *sqlstate, const char *message, const char *hint)
{
    struct message_fault fault = {
        .severity = "ERROR", .sqlstate = sqlstate, .message = span_of(message), .hint = span_of(hint)
    };
    message_add_error(&a->out, &fault);
    if (a->query != NULL)
        a->query_at = strlen(a->query); /* the rest of the string is not run */
    else
        a->skipping = true;
}

void admin_fail(struct admin *a, const char *sqlstate, const char *message)
{
    fail_with(a, sqlstate, message, "");
}

/* It cannot be done, whatever the state of things. */
void admin_fail_as_read(struct admin *a, const struct admin_command *c)
{
    if (c->verb == ADMIN_UNKNOWN)
        fail_with(a, "0A000", "the console of pgatomic does not have this command", c->name);
    else
        fail_with(a, "42601", c->name, "SHOW HELP lists the commands.");
}

static void add_notice(struct admin *a, const char *message)
{
    struct message_fault notice = { .severity = "NOTICE", .sqlstate = "00000", .message = span_of(message) };
    message_add_notice(&a->out, &notice);
}

void admin_complete(struct admin *a, const char *tag)
{
    message_add_command_complete(&a->out, span_of(tag));
}

/* --- statements ------------------------------------------------------------------------------------------ */

static void go_on(struct admin *a);

static void on_snapshot(void *context, const struct snapshot *s)
{
    struct admin *a = context;
    const struct admin_table *table = a->command.table;
    bool limited = a->portal != NULL && a->max_rows > 0;
    struct admin_rows rows = { .out = limited ? &a->portal->rows : &a->out,
                               .columns = table->columns,
                               .binary = a->binary };
    a->question = NULL;
    if (a->describes)
        rows_describe(&a->out, table->columns, a->binary);
    table->fill(&rows, s, a->client->worker->config);
    if (limited)
        admin_send_rows(a, a->portal);
    else
        admin_complete(a, a->command.tag);
    go_on(a);
}

static void on_order_done(void *context, const struct admin_outcome *outcome)
{
    struct admin *a = context;
    a->order = NULL;
    if (outcome->notice != NULL)
        add_notice(a, outcome->notice);
    if (outcome->message != NULL)
        admin_fail(a, outcome->sqlstate, outcome->message);
    else
        admin_complete(a, a->command.tag);
    go_on(a);
}

static void on_census(void *context, const struct census *c)
{
    struct admin *a = context;
    struct snapshot s = { .now_us = loop_now_us(&a->client->worker->loop), .census = c };
    a->census = NULL;
    on_snapshot(a, &s);
}

static void ask(struct admin *a)
{
    if (a->command.table->scope == SNAPSHOT_CENSUS) {
        a->census = census_take(a->client->worker, on_census, a);
        a->busy = true;
        return;
    }
    a->question = snapshot_ask(&a->client->worker->loop, a->command.table->scope, on_snapshot, a);
    a->busy = a->question != NULL;
    if (!a->busy)
        admin_fail(a, "57P01", "the process is about to end");
}

static void log_order(const struct admin *a)
{
    LOG(LOG_INFO, "admin command", log_text("client", a->client->name), log_text("user", a->user),
        log_text("command", a->command.tag), log_text("name", a->command.name), log_number("id", a->command.id));
}

static void give_order(struct admin *a)
{
    log_order(a);
    a->order = admin_order_give(a->client->worker, &a->command, on_order_done, a);
    a->busy = a->order != NULL;
    if (!a->busy)
        admin_fail(a, "57P01", "the process is about to end");
}

/* The answer goes ahead, for the order ends this connection too. */
static void shut_down(struct admin *a)
{
    give_order(a);
    if (!a->busy)
        return;
    admin_order_forget(a->order);
    a->order = NULL;
    a->busy = false;
    admin_complete(a, a->command.tag);
}

/* NULL: all of them. */
static const char *database_of(const struct admin *a)
{
    return a->command.name[0] != '\0' ? a->command.name : NULL;
}

static bool knows_database(struct admin *a)
{
    if (database_of(a) == NULL || config_database(a->client->worker->config, a->command.name) != NULL)
        return true;
    admin_fail(a, "3D000", "no database block matches that name");
    return false;
}

static void on_paused(void *context, enum pool_pause_end end)
{
    struct admin *a = context;
    a->pausing = false;
    switch (end) {
    case POOL_PAUSE_HOLDS:
        admin_complete(a, a->command.tag);
        break;
    case POOL_PAUSE_LATE:
        fail_with(a, "55006", "there are still servers in use after drain_timeout: this PAUSE is taken back",
                  "SHOW SERVERS and SHOW CLIENTS tell by whom.");
        break;
    case POOL_PAUSE_RESUMED:
        admin_fail(a, "57014", "RESUME came before all servers were closed: this PAUSE is taken back");
        break;
    }
    go_on(a);
}

/* With pool = dedicated there is nothing to hold back: servers are their clients' own. */
static bool has_pool(struct admin *a)
{
    if (config_has_pool(a->client->worker->config, database_of(a)))
        return true;
    admin_fail(a, "55000", "there is no pool: every client has a server of its own (pool = dedicated)");
    return false;
}

/* It may be meant: a database "*" is for names that nobody has asked for yet, too. */
static void note_unused_name(struct admin *a)
{
    const char *name = database_of(a);
    if (name != NULL && !pool_exists(name) && strcmp(config_database(a->client->worker->config, name)->name, name) != 0)
        add_notice(a, "no database block has this name, and there is no pool of a database that is called so");
}

static void pause_pools(struct admin *a)
{
    a->busy = a->pausing = true;
    pool_pause(database_of(a), a->client->worker, a->client->worker->config->drain_timeout_ms, on_paused, a);
}

static void resume_pools(struct admin *a)
{
    if (pool_resume(database_of(a)))
        admin_complete(a, a->command.tag);
    else if (pools_are_paused())
        fail_with(a, "55000", "this database is not paused by itself, but with all others", "RESUME goes on with all.");
    else
        admin_fail(a, "55000", "nothing of that is paused");
}

/* What is paused may be resumed, whatever the config has become meanwhile. */
static void order_pools(struct admin *a)
{
    if (a->command.verb != ADMIN_RESUME && (!knows_database(a) || !has_pool(a)))
        return;
    log_order(a);
    if (a->command.verb != ADMIN_RESUME)
        note_unused_name(a);
    if (a->command.verb == ADMIN_PAUSE) {
        pause_pools(a);
    } else if (a->command.verb == ADMIN_RESUME) {
        resume_pools(a);
    } else {
        pool_reconnect(database_of(a));
        admin_complete(a, a->command.tag);
    }
}

static bool is_order(enum admin_verb verb)
{
    switch (verb) {
    case ADMIN_EMPTY:
    case ADMIN_POLITE:
    case ADMIN_SHOW:
    case ADMIN_UNKNOWN:
    case ADMIN_WRONG:
        return false;
    case ADMIN_RELOAD:
    case ADMIN_PAUSE:
    case ADMIN_RESUME:
    case ADMIN_RECONNECT:
    case ADMIN_KILL:
    case ADMIN_SHUTDOWN:
    case ADMIN_SHUTDOWN_WAIT:
    case ADMIN_SET_ROUTE_MODE:
        return true;
    }
    return true;
}

/* What a user might do when he logged in, a reload may have changed. */
static bool is_allowed(struct admin *a)
{
    const struct config *c = a->client->worker->config;
    if (config_is_admin(c, a->user))
        return true;
    if (!config_is_watcher(c, a->user)) {
        admin_fail(a, "42501", no_user);
        return false;
    }
    if (is_order(a->command.verb)) {
        admin_fail(a, "42501", "only admin_users may give orders: stats_users may SHOW");
        return false;
    }
    return true;
}

void admin_execute(struct admin *a)
{
    if (!is_allowed(a))
        return;
    switch (a->command.verb) {
    case ADMIN_EMPTY:
        message_add_empty(&a->out, 'I');
        return;
    case ADMIN_POLITE:
        admin_complete(a, a->command.tag);
        return;
    case ADMIN_SHOW:
        ask(a);
        return;
    case ADMIN_RELOAD:
    case ADMIN_KILL:
    case ADMIN_SET_ROUTE_MODE:
        give_order(a);
        return;
    case ADMIN_SHUTDOWN:
    case ADMIN_SHUTDOWN_WAIT:
        shut_down(a);
        return;
    case ADMIN_PAUSE:
    case ADMIN_RESUME:
    case ADMIN_RECONNECT:
        order_pools(a);
        return;
    case ADMIN_UNKNOWN:
    case ADMIN_WRONG:
        admin_fail_as_read(a, &a->command);
        return;
    }
}

/* --- the simple protocol --------------------------------------------------------------------------------- */

/* Runs what is left of the string, up to the first statement that takes time. */
static void run_query(struct admin *a)
{
    a->describes = true;
    a->portal = NULL;
    a->binary = 0;
    while (!a->busy && admin_command_next(span_of(a->query), &a->query_at, &a->command)) {
        a->query_empty = false;
        admin_execute(a);
    }
    if (a->busy)
        return;
    if (a->query_empty)
        message_add_empty(&a->out, 'I');
    free(a->query);
    a->query = NULL;
    message_add_ready(&a->out, 'I');
}

static bool on_query(struct admin *a, struct span body)
{
    struct span text;
    if (!message_read_query(body, &text))
        return false;
    a->skipping = false;
    a->query = memory_copy_span(text);
    a->query_at = 0;
    a->query_empty = true;
    run_query(a);
    return true;
}

/* --- messages ------------------------------------------------------------------------------------------- */

/* False: it is malformed, or has no place here. */
static bool take_message(struct admin *a, const struct frame *f)
{
    struct span body = frame_body(f);
    if (f->type == 'S') {
        a->skipping = false;
        message_add_ready(&a->out, 'I');
        return true;
    }
    if (f->type == 'Q')
        return on_query(a, body);
    if (a->skipping)
        return true;
    switch (f->type) {
    case 'P':
        return admin_on_parse(a, body);
    case 'B':
        return admin_on_bind(a, body);
    case 'D':
        return admin_on_describe(a, body);
    case 'E':
        return admin_on_execute(a, body);
    case 'C':
        return admin_on_close(a, body);
    case 'H':
        return true;
    default:
        return false;
    }
}

/* How many bytes of the input are done with. The client may be closing afterwards. */
static size_t take_messages(struct client *c, struct span input)
{
    struct admin *a = c->admin;
    size_t used = 0;
    while (!a->busy && c->state == CLIENT_ADMIN) {
        struct frame f;
        enum frame_result result = frame_next_whole(frontend_messages, span_make(input.data + used, input.size - used),
                                                    MESSAGE_MOST, &f, NULL);
        if (result == FRAME_MORE)
            break;
        if (result == FRAME_OK && f.type == 'X') {
            client_close(c, false);
            return input.size;
        }
        if (result == FRAME_BAD || !take_message(a, &f)) {
            client_refuse(c, "08P01", "the console does not take this message");
            return input.size;
        }
        used += f.bytes.size;
    }
    if (c->state == CLIENT_ADMIN)
        send_out(a);
    return used;
}

void admin_on_client_input(struct client *c)
{
    struct span input;
    switch (conn_receive(&c->conn, &input)) {
    case CONN_NOTHING:
        return;
    case CONN_LOST:
        client_close(c, false);
        return;
    case CONN_INPUT:
        conn_keep(&c->conn, input, take_messages(c, input));
        return;
    }
}

static void take_kept(struct client *c)
{
    struct span kept = conn_kept(&c->conn);
    if (c->state == CLIENT_ADMIN && kept.size > 0)
        conn_keep(&c->conn, kept, take_messages(c, kept));
}

/* What took time is done; the client may be on its way out. */
static void go_on(struct admin *a)
{
    struct client *c = a->client;
    a->busy = false;
    if (c->state == CLIENT_ADMIN && a->query != NULL)
        run_query(a);
    send_out(a);
    take_kept(c);
    client_settle(c);
}

/* --- the beginning and the end ----------------------------------------------------------------------------- */

bool admin_is_vouched_for(const struct client *c)
{
    uid_t uid;
    return conn_peer_uid(&c->conn, &uid) && (uid == 0 || uid == geteuid());
}

static void welcome(struct client *c, struct admin *a)
{
    static const char *const parameters[][2] = {
        { "server_version", "16.0 (pgatomic " PGATOMIC_VERSION ")" },
        { "server_encoding", "UTF8" },
        { "client_encoding", "UTF8" },
        { "DateStyle", "ISO, MDY" },
        { "TimeZone", "UTC" },
        { "integer_datetimes", "on" },
        { "standard_conforming_strings", "on" },
        { "pgatomic_version", PGATOMIC_VERSION },
    };
    for (size_t i = 0; i < sizeof parameters / sizeof *parameters; i++)
        message_add_parameter_status(&a->out, span_of(parameters[i][0]), span_of(parameters[i][1]));
    message_add_ready(&a->out, 'I');
    send_out(a);
    client_log(c, LOG_INFO, "admin logged in", a->user);
}

void admin_begin(struct client *c, struct buffer *said)
{
    const struct config *config = c->login->config;
    if (!config_is_admin(config, c->login->user) && !config_is_watcher(config, c->login->user)) {
        conn_send_span(&c->conn, buffer_span(said));
        client_refuse(c, "28000", no_user);
        return;
    }
    c->admin = or_abort(calloc(1, sizeof *c->admin));
    c->admin->client = c;
    c->admin->user = memory_copy_text(c->login->user);
    buffer_append_span(&c->admin->out, buffer_span(said));
    message_add_authentication(&c->admin->out, AUTHENTICATION_OK, (struct span){ 0 });
    login_free(c->login);
    c->login = NULL;
    client_end_timer(c);
    client_set_state(c, CLIENT_ADMIN);
    welcome(c, c->admin);
    take_kept(c);
}

void admin_abandon(struct admin *a)
{
    snapshot_forget(a->question);
    census_forget(a->census);
    admin_order_forget(a->order);
    if (a->pausing)
        pool_pause_forget(a->client->worker, a);
    a->question = NULL;
    a->census = NULL;
    a->order = NULL;
    a->pausing = false;
}

void admin_free(struct admin *a)
{
    if (a == NULL)
        return;
    admin_abandon(a);
    admin_forget_names(a);
    buffer_free(&a->out);
    free(a->query);
    free(a->user);
    free(a);
}
