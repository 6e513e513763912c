/* A conversation with an administrator.
 *
 *     message --> statement --> done at once ----------------+--> reply
 *                     +------> asked of the workers, busy ---+
 *
 * There are no transactions: BEGIN and the like are answered for drivers that cannot help it. Prepared statements and portals are kept as
 * text, a few of each. */
#include "proxy/ops/admin.h"

#include <stdio.h>
#include <unistd.h>

#include "protocol/memory.h"
#include "protocol/message.h"
#include "protocol/wire.h"
#include "proxy/ops/admin_order.h"
#include "proxy/ops/census.h"
#include "proxy/ops/log.h"
#include "proxy/ops/uuid.h"
#include "proxy/pool/client.h"
#include "proxy/pool/login.h"
#include "proxy/pool/pool.h"
#include "proxy/version.h"

enum { MESSAGE_MOST = 64 * 1024, NAMES_MOST = 100 };

/* A prepared statement, or a portal. */
struct named {
    struct named *next;
    char kind; /* 'S' or 'P' */
    char *name, *text;
    uint64_t binary;    /* of a portal: bit n: column n is wanted in binary */
    struct buffer rows; /* of a portal: what an Execute with a limit has left over, from `rows_at` on */
    size_t rows_at;
    bool suspended;
};

struct admin {
    struct client *client;
    char *user;
    struct named *names;
    size_t name_count;
    struct buffer out;

    struct admin_command command; /* of the statement under way */
    uint64_t binary;              /* how its columns are wanted */
    bool describes;               /* simple protocol: its rows come with their description */
    struct named *portal;         /* extended protocol: that is executed */
    uint32_t max_rows;            /* of it; 0: all */
    struct snapshot_question *question;
    struct census *census;
    struct admin_order *order;
    bool pausing;
    bool busy;

    char *query; /* simple protocol: the string under way; NULL: none */
    size_t query_at;
    bool query_empty;
    bool skipping; /* extended protocol: to the next Sync, after an error */
};

bool admin_is_console(const struct config *c, const char *database)
{
    return c->admin_users[0] != NULL && strcmp(database, "pgatomic") == 0;
}

const struct database *admin_database(const struct config *c)
{
    for (size_t i = 0; i < c->database_count; i++)
        if (c->databases[i].control != NULL)
            return &c->databases[i];
    return &c->databases[0];
}

bool admin_is_busy(const struct admin *a)
{
    return a->busy;
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

static void fail(struct admin *a, const char *sqlstate, const char *message)
{
    fail_with(a, sqlstate, message, "");
}

/* It cannot be done, whatever the state of things. */
static void fail_as_read(struct admin *a, const struct admin_command *c)
{
    if (c->verb == ADMIN_UNKNOWN)
        fail_with(a, "0A000", "the console of pgatomic does not have this command of PgBouncer's", c->name);
    else
        fail(a, "42601", c->name);
}

static void complete(struct admin *a, const char *tag)
{
    message_add_command_complete(&a->out, span_of(tag));
}

/* --- statements ------------------------------------------------------------------------------------------ */

static void go_on(struct admin *a);

/* As many rows as are wanted, of those that are kept: DataRow messages. */
static void send_rows(struct admin *a, struct named *portal)
{
    uint32_t sent = 0;
    while (sent < a->max_rows && portal->rows_at < portal->rows.size) {
        const char *row = portal->rows.data + portal->rows_at;
        size_t size = 1 + wire_get_u32(row + 1);
        buffer_append(&a->out, row, size);
        portal->rows_at += size;
        sent++;
    }
    portal->suspended = sent == a->max_rows;
    if (portal->suspended)
        message_add_empty(&a->out, 's');
    else
        complete(a, "SHOW");
}

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
        send_rows(a, a->portal);
    else
        complete(a, a->command.tag);
    go_on(a);
}

static void on_order_done(void *context, const struct admin_fault *fault)
{
    struct admin *a = context;
    a->order = NULL;
    if (fault->message != NULL)
        fail(a, fault->sqlstate, fault->message);
    else
        complete(a, a->command.tag);
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
        fail(a, "57P01", "the process is about to end");
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
        fail(a, "57P01", "the process is about to end");
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
    complete(a, a->command.tag);
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
    fail(a, "3D000", "no database block matches that name");
    return false;
}

static void on_paused(void *context, bool in_time)
{
    struct admin *a = context;
    a->pausing = false;
    if (in_time) {
        complete(a, a->command.tag);
    } else {
        pool_resume(database_of(a));
        fail_with(a, "55006", "there are still servers in use after drain_timeout: nothing is paused",
                  "SHOW SERVERS and SHOW CLIENTS tell by whom.");
    }
    go_on(a);
}

/* With pool = dedicated there is nothing to hold back: servers are their clients' own. */
static bool has_pool(struct admin *a)
{
    const struct config *c = a->client->worker->config;
    for (size_t i = 0; i < c->database_count; i++) {
        const struct database *d = &c->databases[i];
        if (d->pool != POOL_DEDICATED && (database_of(a) == NULL || d == config_database(c, a->command.name)))
            return true;
    }
    fail(a, "55000", "there is no pool: every client has a server of its own (pool = dedicated)");
    return false;
}

static void order_pools(struct admin *a)
{
    if (!knows_database(a) || !has_pool(a))
        return;
    log_order(a);
    if (a->command.verb == ADMIN_PAUSE) {
        a->busy = a->pausing = true;
        pool_pause(database_of(a), a->client->worker, a->client->worker->config->drain_timeout_ms, on_paused, a);
        return;
    }
    if (a->command.verb == ADMIN_RESUME)
        pool_resume(database_of(a));
    else
        pool_reconnect(database_of(a));
    complete(a, a->command.tag);
}

static void execute(struct admin *a)
{
    switch (a->command.verb) {
    case ADMIN_EMPTY:
        message_add_empty(&a->out, 'I');
        return;
    case ADMIN_POLITE:
        complete(a, a->command.tag);
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
        fail_as_read(a, &a->command);
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
        execute(a);
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

/* --- the extended protocol -------------------------------------------------------------------------------- */

static struct named **find(struct admin *a, char kind, struct span name)
{
    struct named **link = &a->names;
    while (*link != NULL && ((*link)->kind != kind || !span_is(name, (*link)->name)))
        link = &(*link)->next;
    return link;
}

static void forget(struct admin *a, struct named **link)
{
    struct named *n = *link;
    if (n == NULL)
        return;
    *link = n->next;
    a->name_count--;
    free(n->name);
    free(n->text);
    buffer_free(&n->rows);
    free(n);
}

/* False: there are too many, which the client has been told. */
static bool remember(struct admin *a, char kind, struct span name, struct span text, uint64_t binary)
{
    forget(a, find(a, kind, name));
    if (a->name_count >= NAMES_MOST) {
        fail(a, "54000", "too many prepared statements and portals for the console");
        return false;
    }
    struct named *n = or_abort(malloc(sizeof *n));
    *n = (struct named){
        .next = a->names, .kind = kind, .name = memory_copy_span(name), .text = memory_copy_span(text), .binary = binary
    };
    a->names = n;
    a->name_count++;
    return true;
}

/* Its one statement. */
static void read_statement(const char *text, struct admin_command *out)
{
    struct admin_command second;
    size_t at = 0;
    admin_command_next(span_of(text), &at, out);
    if (admin_command_next(span_of(text), &at, &second)) {
        out->verb = ADMIN_WRONG;
        snprintf(out->name, sizeof out->name, "cannot insert multiple commands into a prepared statement");
    }
}

static bool on_parse(struct admin *a, struct span body)
{
    struct message_parse m;
    struct admin_command command;
    if (!message_read_parse(body, &m))
        return false;
    if (!remember(a, 'S', m.name, m.text, 0))
        return true;
    read_statement(a->names->text, &command);
    if (command.verb == ADMIN_WRONG || command.verb == ADMIN_UNKNOWN)
        fail_as_read(a, &command);
    else
        message_add_empty(&a->out, '1');
    return true;
}

/* Which of the columns are wanted in binary: one format for all, or one for each. */
static bool read_formats(struct span rest, uint64_t *binary)
{
    struct wire w = wire_open(rest);
    for (unsigned count = wire_u16(&w); count > 0; count--)
        wire_u16(&w);
    unsigned parameters = wire_u16(&w), formats = wire_u16(&w);
    *binary = 0;
    for (unsigned i = 0; i < formats && i < ADMIN_COLUMNS_MOST; i++)
        *binary |= (uint64_t)(wire_u16(&w) == 1) << i;
    if (formats == 1 && *binary == 1)
        *binary = UINT64_MAX;
    return parameters == 0 && !w.failed;
}

static bool on_bind(struct admin *a, struct span body)
{
    struct message_bind m;
    uint64_t binary;
    if (!message_read_bind(body, &m))
        return false;
    const struct named *statement = *find(a, 'S', m.statement);
    if (statement == NULL)
        fail(a, "26000", "there is no prepared statement of that name");
    else if (!read_formats(m.rest, &binary))
        fail(a, "08P01", "statements of the console have no parameters");
    else if (remember(a, 'P', m.portal, span_of(statement->text), binary))
        message_add_empty(&a->out, '2');
    return true;
}

static bool on_describe(struct admin *a, struct span body)
{
    struct message_named m;
    struct admin_command command;
    if (!message_read_named(body, &m))
        return false;
    const struct named *n = *find(a, m.kind, m.name);
    if (n == NULL) {
        fail(a, m.kind == 'S' ? "26000" : "34000", "there is no prepared statement or portal of that name");
        return true;
    }
    if (m.kind == 'S')
        message_add_parameter_description(&a->out, NULL, 0);
    read_statement(n->text, &command);
    if (command.verb == ADMIN_SHOW)
        rows_describe(&a->out, command.table->columns, n->binary);
    else
        message_add_empty(&a->out, 'n');
    return true;
}

/* No limit: the rest. */
static void continue_portal(struct admin *a, struct named *portal)
{
    if (a->max_rows == 0)
        a->max_rows = UINT32_MAX;
    send_rows(a, portal);
}

static bool on_execute(struct admin *a, struct span body)
{
    struct message_execute m;
    if (!message_read_execute(body, &m))
        return false;
    struct named *portal = *find(a, 'P', m.portal);
    if (portal == NULL) {
        fail(a, "34000", "there is no portal of that name");
        return true;
    }
    a->max_rows = m.max_rows;
    if (portal->suspended) {
        continue_portal(a, portal);
        return true;
    }
    a->describes = false;
    a->portal = portal;
    a->binary = portal->binary;
    read_statement(portal->text, &a->command);
    execute(a);
    return true;
}

static bool on_close(struct admin *a, struct span body)
{
    struct message_named m;
    if (!message_read_named(body, &m))
        return false;
    forget(a, find(a, m.kind, m.name));
    message_add_empty(&a->out, '3');
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
        return on_parse(a, body);
    case 'B':
        return on_bind(a, body);
    case 'D':
        return on_describe(a, body);
    case 'E':
        return on_execute(a, body);
    case 'C':
        return on_close(a, body);
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

static bool is_admin(const struct config *c, const char *user)
{
    for (const char *const *name = c->admin_users; *name != NULL; name++)
        if (strcmp(*name, user) == 0)
            return true;
    return false;
}

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
    if (!is_admin(c->login->config, c->login->user)) {
        conn_send_span(&c->conn, buffer_span(said));
        client_refuse(c, "28000", "only admin_users may use the console");
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

void admin_free(struct admin *a)
{
    if (a == NULL)
        return;
    snapshot_forget(a->question);
    census_forget(a->census);
    admin_order_forget(a->order);
    if (a->pausing)
        pool_pause_forget(a->client->worker, a);
    while (a->names != NULL)
        forget(a, &a->names);
    buffer_free(&a->out);
    free(a->query);
    free(a->user);
    free(a);
}
