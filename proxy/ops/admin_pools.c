/* What PgBouncer's users and their tools look for, as tables: clients, servers and pools. Columns are PgBouncer's where it has them, and ours
 * come behind. */
#include "config/users.h"
#include "proxy/net/address.h"
#include "proxy/ops/admin_table.h"
#include "proxy/ops/averages.h"
#include "proxy/pool/pool.h"

/* --- clients and servers --------------------------------------------------------------------------------- */

static const struct admin_column pool_columns[] = {
    TEXT("database"),  TEXT("user"),       NUMBER("cl_active"), NUMBER("cl_waiting"), NUMBER("sv_active"),
    NUMBER("sv_idle"), NUMBER("sv_used"),  NUMBER("sv_login"),  NUMBER("maxwait"),    NUMBER("maxwait_us"),
    TEXT("pool_mode"), NUMBER("cl_idle"),  NUMBER("pool_size"), TEXT("paused"),       NUMBER("waits"),
    NUMBER("wait_us"), NUMBER("timeouts"), NUMBER("connects"),  NUMBER("pinned"),     END
};

/* For PgBouncer an idle client is an active one: whoever does not wait is. */
static void fill_pools(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)config;
    for (const struct snapshot_pool *p = s->pools; p < s->pools + s->pool_count; p++) {
        rows_begin(r);
        rows_text(r, p->database);
        rows_text(r, p->user);
        rows_number(r, p->clients_served);
        rows_number(r, p->clients_waiting);
        rows_number(r, p->servers_active);
        rows_number(r, p->servers_idle);
        rows_number(r, p->servers_cleaning);
        rows_number(r, p->servers_connecting);
        rows_number(r, p->longest_wait_us / 1000000);
        rows_number(r, p->longest_wait_us % 1000000);
        rows_text(r, pool_mode_name(p->mode));
        rows_number(r, p->clients_idle);
        rows_number(r, p->limit);
        rows_bool(r, p->paused);
        rows_number(r, p->waits);
        rows_number(r, p->wait_us);
        rows_number(r, p->timeouts);
        rows_number(r, p->connects);
        rows_number(r, p->pins);
        rows_end(r);
    }
}

static const char *client_state(const struct snapshot_client *c)
{
    if (c->state != CLIENT_SESSION)
        return client_state_name(c->state);
    if (c->waiting)
        return "waiting";
    return c->in_request || c->busy || c->status != 'I' ? "active" : "idle";
}

static const struct admin_column client_columns[] = { TEXT("type"),
                                                      TEXT("user"),
                                                      TEXT("database"),
                                                      TEXT("state"),
                                                      TEXT("addr"),
                                                      NUMBER("port"),
                                                      TEXT("connect_time"),
                                                      NUMBER("wait"),
                                                      NUMBER("wait_us"),
                                                      TEXT("tls"),
                                                      TEXT("application_name"),
                                                      NUMBER("id"),
                                                      TEXT("server"),
                                                      NUMBER("queries"),
                                                      NUMBER("transactions"),
                                                      NUMBER("received"),
                                                      NUMBER("sent"),
                                                      TEXT("route"),
                                                      TEXT("label"),
                                                      TEXT("request"),
                                                      NUMBER("statements"),
                                                      NUMBER("held"),
                                                      END };

/* As "addr" and "port". */
static void write_address(struct admin_rows *r, const char *name)
{
    uint16_t port;
    rows_span(r, address_split(name, &port));
    rows_number(r, port);
}

static void fill_clients(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)config;
    for (const struct snapshot_client *c = s->list; c < s->list + s->list_count; c++) {
        rows_begin(r);
        rows_text(r, "C");
        rows_text(r, c->user);
        rows_text(r, c->database);
        rows_text(r, client_state(c));
        write_address(r, c->name);
        rows_time(r, c->since_us);
        rows_number(r, c->wait_us / 1000000);
        rows_number(r, c->wait_us % 1000000);
        rows_text(r, c->tls);
        rows_text(r, c->application);
        rows_number(r, c->id);
        rows_text(r, c->server);
        rows_number(r, c->queries);
        rows_number(r, c->transactions);
        rows_number(r, c->received);
        rows_number(r, c->sent);
        rows_text(r, c->route);
        rows_text(r, c->label);
        if (c->in_request)
            rows_id(r, c->request);
        else
            rows_null(r);
        rows_number(r, c->statements);
        rows_number(r, c->held_events);
        rows_end(r);
    }
}

static const struct admin_column server_columns[] = { TEXT("type"),         TEXT("user"),
                                                      TEXT("database"),     TEXT("state"),
                                                      TEXT("addr"),         NUMBER("port"),
                                                      TEXT("connect_time"), NUMBER("remote_pid"),
                                                      TEXT("tls"),          TEXT("application_name"),
                                                      NUMBER("client_id"),  END };

static void write_number_if(struct admin_rows *r, uint64_t value)
{
    if (value > 0)
        rows_number(r, value);
    else
        rows_null(r);
}

static void fill_servers(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)config;
    for (const struct snapshot_server *server = s->servers; server < s->servers + s->server_count; server++) {
        const struct snapshot_client *holder = snapshot_find_client(s, server->client_id);
        rows_begin(r);
        rows_text(r, "S");
        rows_text(r, server->user);
        rows_text(r, server->database);
        rows_text(r, server->state);
        write_address(r, server->name);
        rows_time(r, server->since_us);
        write_number_if(r, server->process_id);
        rows_text(r, server->tls);
        rows_text(r, holder != NULL ? holder->application : "");
        write_number_if(r, server->client_id);
        rows_end(r);
    }
}

static const struct admin_column database_columns[] = { TEXT("name"),
                                                        TEXT("host"),
                                                        NUMBER("port"),
                                                        TEXT("database"),
                                                        TEXT("force_user"),
                                                        NUMBER("pool_size"),
                                                        NUMBER("min_pool_size"),
                                                        NUMBER("reserve_pool_size"),
                                                        NUMBER("server_lifetime"),
                                                        TEXT("pool_mode"),
                                                        NUMBER("max_connections"),
                                                        NUMBER("current_connections"),
                                                        NUMBER("max_client_connections"),
                                                        NUMBER("current_client_connections"),
                                                        NUMBER("paused"),
                                                        NUMBER("disabled"),
                                                        END };

static void write_names(struct admin_rows *r, const char *const *names)
{
    struct buffer text = { 0 };
    for (; *names != NULL; names++)
        buffer_format(&text, "%s%s", text.size > 0 ? "," : "", *names);
    rows_span(r, buffer_span(&text));
    buffer_free(&text);
}

static void write_text_if(struct admin_rows *r, const char *text)
{
    if (text != NULL)
        rows_text(r, text);
    else
        rows_null(r);
}

static size_t servers_of(const struct snapshot_pool *p)
{
    return p->servers_active + p->servers_idle + p->servers_connecting + p->servers_cleaning;
}

/* Clients and servers of all databases for which this block is. */
struct block_sums {
    size_t clients, servers;
};

static struct block_sums sum_block(const struct snapshot *s, const struct config *config, const struct database *d)
{
    struct block_sums sums = { 0 };
    for (const struct snapshot_pool *p = s->pools; p < s->pools + s->pool_count; p++) {
        if (config_database(config, p->database) != d)
            continue;
        sums.clients += p->clients_active + p->clients_idle;
        sums.servers += servers_of(p);
    }
    return sums;
}

/* Limits that PgBouncer has, and we have not, are 0, as they are there when they are not set. */
static void fill_databases(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    for (const struct database *d = config->databases; d < config->databases + config->database_count; d++) {
        struct block_sums sums = sum_block(s, config, d);
        rows_begin(r);
        rows_text(r, d->name);
        write_names(r, d->hosts);
        rows_number(r, d->ports[0]);
        write_text_if(r, d->dbname);
        write_text_if(r, d->user);
        rows_number(r, d->pool_size);
        rows_number(r, d->min_size);
        rows_number(r, 0);
        rows_number(r, d->server_lifetime_ms / 1000);
        rows_text(r, pool_mode_name(d->pool));
        rows_number(r, 0);
        rows_number(r, sums.servers);
        rows_number(r, 0);
        rows_number(r, sums.clients);
        rows_number(r, pool_is_block_paused(config, d));
        rows_number(r, 0);
        rows_end(r);
    }
}

/* --- users ------------------------------------------------------------------------------------------------ */

static const struct admin_column user_columns[] = {
    TEXT("name"), NUMBER("current_connections"), NUMBER("current_client_connections"), TEXT("admin"), TEXT("stats"), END
};

static void write_user(struct admin_rows *r, const struct snapshot *s, const struct config *config, const char *name)
{
    size_t servers = 0, clients = 0;
    for (const struct snapshot_pool *p = s->pools; p < s->pools + s->pool_count; p++) {
        if (strcmp(p->user, name) != 0)
            continue;
        servers += servers_of(p);
        clients += p->clients_active + p->clients_idle;
    }
    rows_begin(r);
    rows_text(r, name);
    rows_number(r, servers);
    rows_number(r, clients);
    rows_bool(r, config_is_admin(config, name));
    rows_bool(r, config_is_watcher(config, name));
    rows_end(r);
}

struct user_walk {
    struct admin_rows *rows; /* NULL: users are only counted */
    const struct snapshot *snapshot;
    const struct config *config;
    size_t count;
};

static void visit_user(struct user_walk *w, const char *name)
{
    w->count++;
    if (w->rows != NULL)
        write_user(w->rows, w->snapshot, w->config, name);
}

static bool is_in_file(const struct config *config, const char *user)
{
    return config->users != NULL && users_password(config->users, user) != NULL;
}

static bool is_named(const struct config *config, const char *user)
{
    return is_in_file(config, user) || config_is_admin(config, user) || config_is_watcher(config, user);
}

/* Everybody once: who is named in the config, and who is there. */
static void walk_users(struct user_walk *w)
{
    const struct config *config = w->config;
    const struct snapshot_pool *first = w->snapshot->pools, *end = first + w->snapshot->pool_count;
    for (size_t i = 0; config->users != NULL && i < users_count(config->users); i++)
        visit_user(w, users_name(config->users, i));
    for (const char *const *name = config->admin_users; *name != NULL; name++)
        if (!is_in_file(config, *name))
            visit_user(w, *name);
    for (const char *const *name = config->stats_users; *name != NULL; name++)
        if (!is_in_file(config, *name) && !config_is_admin(config, *name))
            visit_user(w, *name);
    for (const struct snapshot_pool *p = first, *earlier; p < end; p++) {
        for (earlier = first; earlier < p && strcmp(earlier->user, p->user) != 0; earlier++)
            ;
        if (earlier == p && !is_named(config, p->user))
            visit_user(w, p->user);
    }
}

static void fill_users(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    struct user_walk walk = { .rows = r, .snapshot = s, .config = config };
    walk_users(&walk);
}

/* --- sums ------------------------------------------------------------------------------------------------- */

static const struct admin_column list_columns[] = { TEXT("list"), NUMBER("items"), END };

static void write_item(struct admin_rows *r, const char *list, uint64_t items)
{
    rows_begin(r);
    rows_text(r, list);
    rows_number(r, items);
    rows_end(r);
}

static void fill_lists(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    size_t used = 0, idle = 0, in_session = s->clients[CLIENT_SESSION] + s->clients[CLIENT_RAW], all = 0;
    struct user_walk users = { .snapshot = s, .config = config };
    walk_users(&users);
    for (const struct snapshot_pool *p = s->pools; p < s->pools + s->pool_count; p++) {
        used += servers_of(p) - p->servers_idle;
        idle += p->servers_idle;
    }
    for (int state = 0; state < CLIENT_STATES; state++)
        all += s->clients[state];
    write_item(r, "databases", config->database_count);
    write_item(r, "users", users.count);
    write_item(r, "pools", s->pool_count);
    write_item(r, "used_clients", in_session);
    write_item(r, "login_clients", all - in_session - s->clients[CLIENT_ADMIN]);
    write_item(r, "admin_clients", s->clients[CLIENT_ADMIN]);
    write_item(r, "free_servers", idle);
    write_item(r, "used_servers", used);
}

/* --- statistics -------------------------------------------------------------------------------------------- */

#define TOTALS                                                                                               \
    NUMBER("total_xact_count"), NUMBER("total_query_count"), NUMBER("total_received"), NUMBER("total_sent"), \
        NUMBER("total_xact_time"), NUMBER("total_query_time"), NUMBER("total_wait_time")
#define AVERAGES                                                                                 \
    NUMBER("avg_xact_count"), NUMBER("avg_query_count"), NUMBER("avg_recv"), NUMBER("avg_sent"), \
        NUMBER("avg_xact_time"), NUMBER("avg_query_time"), NUMBER("avg_wait_time")

static const struct admin_column stats_columns[] = { TEXT("database"), TOTALS, AVERAGES, NUMBER("total_login_count"),
                                                     END };
static const struct admin_column totals_columns[] = { TEXT("database"), TOTALS, NUMBER("total_login_count"), END };
static const struct admin_column averages_columns[] = { TEXT("database"), AVERAGES, END };

static void write_totals(struct admin_rows *r, const struct database_counts *d)
{
    rows_number(r, d->transactions);
    rows_number(r, d->queries);
    rows_number(r, d->received);
    rows_number(r, d->sent);
    rows_number(r, d->transaction_us);
    rows_number(r, d->query_us);
    rows_number(r, d->wait_us);
}

static void write_averages(struct admin_rows *r, const struct database_counts *d, uint64_t now_us)
{
    struct database_rates rates;
    averages_read(d, now_us, &rates);
    rows_number(r, rates.transactions);
    rows_number(r, rates.queries);
    rows_number(r, rates.received);
    rows_number(r, rates.sent);
    rows_number(r, rates.transaction_us);
    rows_number(r, rates.query_us);
    rows_number(r, rates.wait_us);
}

static void fill_stats(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)config;
    const struct database_counts *end = s->counts.databases + s->counts.database_count;
    for (const struct database_counts *d = s->counts.databases; d < end; d++) {
        rows_begin(r);
        rows_text(r, d->name);
        write_totals(r, d);
        write_averages(r, d, s->now_us);
        rows_number(r, d->logins);
        rows_end(r);
    }
}

static void fill_totals(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)config;
    const struct database_counts *end = s->counts.databases + s->counts.database_count;
    for (const struct database_counts *d = s->counts.databases; d < end; d++) {
        rows_begin(r);
        rows_text(r, d->name);
        write_totals(r, d);
        rows_number(r, d->logins);
        rows_end(r);
    }
}

static void fill_averages(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)config;
    const struct database_counts *end = s->counts.databases + s->counts.database_count;
    for (const struct database_counts *d = s->counts.databases; d < end; d++) {
        rows_begin(r);
        rows_text(r, d->name);
        write_averages(r, d, s->now_us);
        rows_end(r);
    }
}

const struct admin_table admin_pool_tables[] = {
    { "POOLS", "clients and servers by database and user", SNAPSHOT_COUNTS, fill_pools, pool_columns },
    { "CLIENTS", "every client", SNAPSHOT_CLIENTS, fill_clients, client_columns },
    { "SERVERS", "every connection to PostgreSQL", SNAPSHOT_CLIENTS, fill_servers, server_columns },
    { "DATABASES", "the databases of the config", SNAPSHOT_COUNTS, fill_databases, database_columns },
    { "USERS", "who may log in, as far as it is known, and who has", SNAPSHOT_COUNTS, fill_users, user_columns },
    { "LISTS", "how many there are of what", SNAPSHOT_COUNTS, fill_lists, list_columns },
    { "STATS", "what databases have been asked since the start, and lately by the second", SNAPSHOT_COUNTS, fill_stats,
      stats_columns },
    { "STATS_TOTALS", "the first half of STATS", SNAPSHOT_COUNTS, fill_totals, totals_columns },
    { "STATS_AVERAGES", "the second half of STATS", SNAPSHOT_COUNTS, fill_averages, averages_columns },
    { .subject = NULL },
};
