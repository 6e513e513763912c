/* What PgBouncer's users and their tools look for, as tables: clients, servers and pools. Columns are PgBouncer's where it has them, and ours
 * come behind. */
#include "config/users.h"
#include "proxy/ops/admin_table.h"
#include "proxy/ops/averages.h"
#include "proxy/pool/pool.h"

/* --- clients and servers --------------------------------------------------------------------------------- */

static const struct admin_column pool_columns[] = {
    TEXT("database"),     TEXT("user"),       NUMBER("cl_active"), NUMBER("cl_waiting"), NUMBER("cl_idle"),
    NUMBER("sv_active"),  NUMBER("sv_idle"),  NUMBER("sv_used"),   NUMBER("sv_login"),   NUMBER("maxwait"),
    NUMBER("maxwait_us"), TEXT("pool_mode"),  NUMBER("pool_size"), TEXT("paused"),       NUMBER("waits"),
    NUMBER("wait_us"),    NUMBER("timeouts"), NUMBER("connects"),  NUMBER("pinned"),     END
};

static void fill_pools(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)config;
    for (const struct snapshot_pool *p = s->pools; p < s->pools + s->pool_count; p++) {
        rows_begin(r);
        rows_text(r, p->database);
        rows_text(r, p->user);
        rows_number(r, p->clients_active - p->clients_waiting);
        rows_number(r, p->clients_waiting);
        rows_number(r, p->clients_idle);
        rows_number(r, p->servers_active);
        rows_number(r, p->servers_idle);
        rows_number(r, p->servers_cleaning);
        rows_number(r, p->servers_connecting);
        rows_number(r, p->longest_wait_us / 1000000);
        rows_number(r, p->longest_wait_us % 1000000);
        rows_text(r, pool_mode_name(p->mode));
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

static const struct admin_column client_columns[] = { NUMBER("id"),       TEXT("user"),
                                                      TEXT("database"),   TEXT("application_name"),
                                                      TEXT("state"),      TEXT("addr"),
                                                      TEXT("server"),     TEXT("connect_time"),
                                                      NUMBER("queries"),  NUMBER("transactions"),
                                                      NUMBER("received"), NUMBER("sent"),
                                                      TEXT("route"),      TEXT("label"),
                                                      TEXT("request"),    NUMBER("statements"),
                                                      NUMBER("held"),     END };

static void fill_clients(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)config;
    for (const struct snapshot_client *c = s->list; c < s->list + s->list_count; c++) {
        rows_begin(r);
        rows_number(r, c->id);
        rows_text(r, c->user);
        rows_text(r, c->database);
        rows_text(r, c->application);
        rows_text(r, client_state(c));
        rows_text(r, c->name);
        rows_text(r, c->server);
        rows_time(r, c->since_us);
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

static const struct admin_column server_columns[] = { TEXT("database"),     TEXT("user"),
                                                      TEXT("state"),        TEXT("addr"),
                                                      NUMBER("remote_pid"), NUMBER("client_id"),
                                                      TEXT("connect_time"), END };

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
        rows_begin(r);
        rows_text(r, server->database);
        rows_text(r, server->user);
        rows_text(r, server->state);
        rows_text(r, server->name);
        write_number_if(r, server->process_id);
        write_number_if(r, server->client_id);
        rows_time(r, server->since_us);
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
                                                        TEXT("pool_mode"),
                                                        NUMBER("current_connections"),
                                                        NUMBER("paused"),
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

/* Of all databases for which this block is. */
static size_t servers_of_block(const struct snapshot *s, const struct config *config, const struct database *d)
{
    size_t count = 0;
    for (const struct snapshot_pool *p = s->pools; p < s->pools + s->pool_count; p++)
        if (config_database(config, p->database) == d)
            count += servers_of(p);
    return count;
}

static void fill_databases(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    for (const struct database *d = config->databases; d < config->databases + config->database_count; d++) {
        rows_begin(r);
        rows_text(r, d->name);
        write_names(r, d->hosts);
        rows_number(r, d->ports[0]);
        write_text_if(r, d->dbname);
        write_text_if(r, d->user);
        rows_number(r, d->pool_size);
        rows_number(r, d->min_size);
        rows_text(r, pool_mode_name(d->pool));
        rows_number(r, servers_of_block(s, config, d));
        rows_number(r, pool_is_paused_by_order(d->name));
        rows_end(r);
    }
}

/* --- users ------------------------------------------------------------------------------------------------ */

static const struct admin_column user_columns[] = { TEXT("name"), NUMBER("current_connections"),
                                                    NUMBER("current_client_connections"), TEXT("admin"), END };

static bool is_admin(const struct config *config, const char *user)
{
    for (const char *const *name = config->admin_users; *name != NULL; name++)
        if (strcmp(*name, user) == 0)
            return true;
    return false;
}

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
    rows_bool(r, is_admin(config, name));
    rows_end(r);
}

static bool is_in_file(const struct config *config, const char *user)
{
    return config->users != NULL && users_password(config->users, user) != NULL;
}

/* It has a row already: as an admin, or for an earlier pool. */
static bool is_written(const struct snapshot *s, const struct config *config, const struct snapshot_pool *pool)
{
    for (const struct snapshot_pool *p = s->pools; p < pool; p++)
        if (strcmp(p->user, pool->user) == 0)
            return true;
    return is_admin(config, pool->user) || is_in_file(config, pool->user);
}

/* Who is named in the config, and who is there. */
static void fill_users(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    for (size_t i = 0; config->users != NULL && i < users_count(config->users); i++)
        write_user(r, s, config, users_name(config->users, i));
    for (const char *const *name = config->admin_users; *name != NULL; name++)
        if (!is_in_file(config, *name))
            write_user(r, s, config, *name);
    for (const struct snapshot_pool *p = s->pools; p < s->pools + s->pool_count; p++)
        if (!is_written(s, config, p))
            write_user(r, s, config, p->user);
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

static size_t count_users(const struct snapshot *s, const struct config *config)
{
    size_t count = config->users != NULL ? users_count(config->users) : 0;
    for (const char *const *name = config->admin_users; *name != NULL; name++)
        count += !is_in_file(config, *name);
    for (const struct snapshot_pool *p = s->pools; p < s->pools + s->pool_count; p++)
        count += !is_written(s, config, p);
    return count;
}

static void fill_lists(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    size_t used = 0, idle = 0, in_session = s->clients[CLIENT_SESSION] + s->clients[CLIENT_RAW], all = 0;
    for (const struct snapshot_pool *p = s->pools; p < s->pools + s->pool_count; p++) {
        used += servers_of(p) - p->servers_idle;
        idle += p->servers_idle;
    }
    for (int state = 0; state < CLIENT_STATES; state++)
        all += s->clients[state];
    write_item(r, "databases", config->database_count);
    write_item(r, "users", count_users(s, config));
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
