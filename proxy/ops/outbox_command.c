/* One statement each, for a person at a terminal.
 *
 *     install    the tables and who may insert        list     what waits, or what is dead
 *     retry      dead events back into the outbox     purge    dead events away for good
 *
 * `retry` and `purge` want to be told which events; "all" has to be said. */
#include "proxy/ops/outbox_command.h"

#include <getopt.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/events/outbox_schema.h"
#include "proxy/ops/table.h"

enum { DONE = 0, COULD_NOT = 1, BAD_USAGE = 2 };

static const char usage[] = "usage: pgatomic outbox install [--relay ROLE] CONNINFO\n"
                            "       pgatomic outbox list  [--dead] [--channel C] [--limit N] CONNINFO\n"
                            "       pgatomic outbox retry CONNINFO ID... | --all | --channel C [--older-than TIME]\n"
                            "       pgatomic outbox purge CONNINFO ID... | --all | --channel C | --older-than TIME\n";

static const char help[] =
    "\n"
    "  install  make the schema pgatomic with the tables outbox and dead_letter, or bring them up to date;\n"
    "           everybody may then insert events, and nobody but the owner read them\n"
    "  list     the events that wait to be delivered, or with --dead those that were given up, oldest first\n"
    "  retry    put dead events back into the outbox, as if they had never been tried\n"
    "  purge    remove dead events for good\n"
    "\n"
    "  CONNINFO           as psql takes it: 'host=db1 dbname=shop user=pgatomic' or postgresql://...\n"
    "                     (a password is better kept in PGPASSWORD, or in a password file)\n"
    "  --relay ROLE       the role of pgatomic's own connections may do what the relay does\n"
    "  --dead             those that were given up\n"
    "  --channel C        only those of this channel\n"
    "  --limit N          at most so many (100)\n"
    "  --older-than TIME  only those that died so long ago: 36h, 30d\n"
    "  --all              all dead events\n"
    "\n"
    "Exit status: 0 done, 1 the database refused or could not be reached, 2 bad usage.\n";

struct arguments {
    const char *verb, *conninfo, *relay, *channel, *limit, *older_than;
    bool dead, all, help;
    char **ids; /* NULL-terminated */
    int id_count;
};

/* --- the connection ------------------------------------------------------------------------------------ */

static int complain(const char *why)
{
    size_t size = strlen(why);
    while (size > 0 && why[size - 1] == '\n')
        size--;
    fprintf(stderr, "pgatomic outbox: %.*s\n", (int)size, why);
    return COULD_NOT;
}

static int complain_of(PGconn *pg, const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (state != NULL && (strcmp(state, "42P01") == 0 || strcmp(state, "3F000") == 0))
        return complain("there is no outbox in this database: pgatomic outbox install makes it");
    return complain(message != NULL ? message : PQerrorMessage(pg));
}

static void ignore_notice(void *context, const char *message)
{
    (void)context, (void)message;
}

/* NULL, and it was said why. */
static PGconn *open_connection(const char *conninfo, int *status)
{
    char *error = NULL;
    PQconninfoOption *parsed = PQconninfoParse(conninfo, &error);
    *status = BAD_USAGE;
    PQconninfoFree(parsed);
    PQfreemem(error);
    if (parsed == NULL) { /* libpq's words may quote a password */
        complain("the connection string cannot be read");
        return NULL;
    }
    const char *keywords[] = { "dbname", "client_encoding", "fallback_application_name", NULL };
    const char *values[] = { conninfo, "UTF8", "pgatomic outbox", NULL };
    PGconn *pg = PQconnectdbParams(keywords, values, 1);
    *status = COULD_NOT;
    if (PQstatus(pg) == CONNECTION_OK) {
        PQsetNoticeProcessor(pg, ignore_notice, NULL);
        return pg;
    }
    complain(PQerrorMessage(pg));
    PQfinish(pg);
    return NULL;
}

/* --- install ----------------------------------------------------------------------------------------------- */

/* What the relay's statements need, for a role that is not the owner. */
static int grant_to_relay(PGconn *pg, const char *role)
{
    char *name = PQescapeIdentifier(pg, role, strlen(role));
    char sql[512];
    int size =
        name == NULL
            ? -1
            : snprintf(sql, sizeof sql,
                       "GRANT SELECT, INSERT, UPDATE, DELETE ON pgatomic.outbox, pgatomic.dead_letter TO %s", name);
    PQfreemem(name);
    if (size < 0 || (size_t)size >= sizeof sql)
        return complain("the role's name cannot be one");
    PGresult *result = PQexec(pg, sql);
    int status = PQresultStatus(result) == PGRES_COMMAND_OK ? DONE : complain_of(pg, result);
    PQclear(result);
    return status;
}

static int install(PGconn *pg, const struct arguments *a)
{
    char error[128];
    int before = outbox_schema_install(pg, error, sizeof error);
    if (before < 0)
        return complain(error[0] != '\0' ? error : PQerrorMessage(pg));
    if (before == OUTBOX_SCHEMA_VERSION)
        printf("the outbox is there already, version %d\n", before);
    else
        printf("the outbox is installed, version %d\n", OUTBOX_SCHEMA_VERSION);
    return a->relay != NULL ? grant_to_relay(pg, a->relay) : DONE;
}

/* --- list ---------------------------------------------------------------------------------------------------- */

#define TIME(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
#define SHOWN(state)                                                                                 \
    "SELECT id, " TIME("created_at") " AS created, channel, " state " AS state, attempts AS tries,"  \
                                     " coalesce(label, '') AS label, left(payload, 60) AS payload, " \
                                     "left(coalesce(last_error, ''), 100) AS error,"                 \
                                     " count(*) OVER () AS total"

/* $1 a channel or NULL, $2 how many. */
static const char list_waiting[] =
    SHOWN("CASE WHEN leased_until > clock_timestamp() THEN 'in hand' ELSE 'waiting' END") " FROM pgatomic.outbox WHERE "
                                                                                          "$1::text IS NULL OR channel "
                                                                                          "= $1 ORDER BY xid, position "
                                                                                          "LIMIT $2::int";
static const char list_dead[] =
    SHOWN("'dead since ' || " TIME("died_at")) " FROM pgatomic.dead_letter WHERE $1::text IS NULL OR channel = $1 "
                                               "ORDER BY died_at, xid, position LIMIT $2::int";

static void print_list(const PGresult *result)
{
    int rows = PQntuples(result), columns = PQnfields(result) - 1;
    const char *total = rows > 0 ? PQgetvalue(result, 0, columns) : "0";
    if (rows > 0)
        table_print(result, columns, stdout);
    if (rows > 0 && atol(total) > rows)
        printf("%d of %s events; --limit shows more\n", rows, total);
    else
        printf("%d event%s\n", rows, rows == 1 ? "" : "s");
}

static PGresult *select_list(PGconn *pg, const struct arguments *a)
{
    const char *values[] = { a->channel, a->limit != NULL ? a->limit : "100" };
    return PQexecParams(pg, a->dead ? list_dead : list_waiting, 2, NULL, values, NULL, NULL, 0);
}

/* Some row holds bytes that are no text; they are to be seen as well. */
static bool is_about_encoding(const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    return state != NULL && (strcmp(state, "22021") == 0 || strcmp(state, "22P05") == 0);
}

static int list(PGconn *pg, const struct arguments *a)
{
    PGresult *result = select_list(pg, a);
    int status = DONE;
    if (is_about_encoding(result) && PQsetClientEncoding(pg, "SQL_ASCII") == 0) {
        PQclear(result);
        result = select_list(pg, a);
    }
    if (PQresultStatus(result) == PGRES_TUPLES_OK)
        print_list(result);
    else
        status = complain_of(pg, result);
    PQclear(result);
    return status;
}

/* --- retry and purge --------------------------------------------------------------------------------------- */

/* $1 ids or NULL, $2 channel or NULL, $3 age or NULL. */
#define CHOSEN                                                                                    \
    " WHERE ($1::uuid[] IS NULL OR id = ANY ($1::uuid[])) AND ($2::text IS NULL OR channel = $2)" \
    " AND ($3::text IS NULL OR died_at < clock_timestamp() - $3::text::interval)"
#define EVENT "id, channel, payload, route, label, request, created_at, xid, position"

/* Its age is kept, so that it comes before what was committed after it. */
static const char retry_dead[] = "WITH revived AS (DELETE FROM pgatomic.dead_letter" CHOSEN " RETURNING " EVENT ")"
                                 " INSERT INTO pgatomic.outbox (" EVENT ") SELECT " EVENT " FROM revived"
                                 " ON CONFLICT (id) DO NOTHING";
static const char purge_dead[] = "DELETE FROM pgatomic.dead_letter" CHOSEN;

/* "{id,id}"; NULL: none were named. Whether each is one, the server says. */
static char *join_ids(const struct arguments *a)
{
    size_t size = 3;
    for (int i = 0; i < a->id_count; i++)
        size += strlen(a->ids[i]) + 1;
    char *text = a->id_count > 0 ? malloc(size) : NULL, *end = text;
    if (text == NULL)
        return NULL;
    *end++ = '{';
    for (int i = 0; i < a->id_count; i++)
        end += sprintf(end, "%s%s", i > 0 ? "," : "", a->ids[i]);
    strcpy(end, "}");
    return text;
}

static int change_dead(PGconn *pg, const struct arguments *a, const char *sql, const char *done)
{
    char *ids = join_ids(a);
    const char *values[] = { ids, a->channel, a->older_than };
    PGresult *result = PQexecParams(pg, sql, 3, NULL, values, NULL, NULL, 0);
    int status = COULD_NOT;
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (PQresultStatus(result) == PGRES_COMMAND_OK) {
        long count = atol(PQcmdTuples(result));
        printf("%ld event%s %s\n", count, count == 1 ? "" : "s", done);
        status = count < a->id_count ? complain("not all of these ids are dead letters") : DONE;
    } else {
        complain_of(pg, result);
        status = state != NULL && strncmp(state, "22", 2) == 0 ? BAD_USAGE : COULD_NOT;
    }
    PQclear(result);
    free(ids);
    return status;
}

static int retry(PGconn *pg, const struct arguments *a)
{
    return change_dead(pg, a, retry_dead, "will be tried again");
}

static int purge(PGconn *pg, const struct arguments *a)
{
    return change_dead(pg, a, purge_dead, "removed");
}

/* --- arguments ----------------------------------------------------------------------------------------------- */

enum { WITH_RELAY = 1, WITH_DEAD = 2, WITH_LIMIT = 4, WITH_CHANNEL = 8, WITH_CHOICE = 16 };

static const struct verb {
    const char *name;
    int (*act)(PGconn *pg, const struct arguments *a);
    int takes;
} verbs[] = {
    { "install", install, WITH_RELAY },
    { "list", list, WITH_DEAD | WITH_LIMIT | WITH_CHANNEL },
    { "retry", retry, WITH_CHANNEL | WITH_CHOICE },
    { "purge", purge, WITH_CHANNEL | WITH_CHOICE },
};

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (name != NULL && strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

/* NULL when all is well. */
static const char *mistake(const struct verb *verb, const struct arguments *a)
{
    if (a->conninfo == NULL)
        return "CONNINFO is missing";
    if ((a->relay != NULL && !(verb->takes & WITH_RELAY)) || (a->dead && !(verb->takes & WITH_DEAD)) ||
        (a->limit != NULL && !(verb->takes & WITH_LIMIT)) || (a->channel != NULL && !(verb->takes & WITH_CHANNEL)) ||
        ((a->all || a->older_than != NULL || a->id_count > 0) && !(verb->takes & WITH_CHOICE)))
        return "that does not go with this command";
    if (a->limit != NULL &&
        (strspn(a->limit, "0123456789") != strlen(a->limit) || atol(a->limit) < 1 || strlen(a->limit) > 9))
        return "--limit takes a number";
    bool chosen = a->all || a->channel != NULL || a->older_than != NULL || a->id_count > 0;
    if ((verb->takes & WITH_CHOICE) && !chosen)
        return "which events? Name their ids, or say --channel, --older-than or --all";
    if (a->id_count > 0 && (a->all || a->channel != NULL || a->older_than != NULL))
        return "either ids, or --all, --channel, --older-than";
    return NULL;
}

static bool read_arguments(int argc, char **argv, struct arguments *a)
{
    enum { RELAY = 256, DEAD, CHANNEL, LIMIT, OLDER_THAN, ALL };
    static const struct option options[] = { { "relay", required_argument, NULL, RELAY },
                                             { "dead", no_argument, NULL, DEAD },
                                             { "channel", required_argument, NULL, CHANNEL },
                                             { "limit", required_argument, NULL, LIMIT },
                                             { "older-than", required_argument, NULL, OLDER_THAN },
                                             { "all", no_argument, NULL, ALL },
                                             { "help", no_argument, NULL, 'h' },
                                             { NULL, 0, NULL, 0 } };
    optind = 0;
    for (int o; (o = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (o == RELAY)
            a->relay = optarg;
        else if (o == DEAD)
            a->dead = true;
        else if (o == CHANNEL)
            a->channel = optarg;
        else if (o == LIMIT)
            a->limit = optarg;
        else if (o == OLDER_THAN)
            a->older_than = optarg;
        else if (o == ALL)
            a->all = true;
        else if (o == 'h')
            a->help = true;
        else
            return false;
    }
    a->verb = optind < argc ? argv[optind++] : NULL;
    a->conninfo = optind < argc ? argv[optind++] : NULL;
    a->ids = argv + optind;
    a->id_count = argc - optind;
    return true;
}

int outbox_command(int argc, char **argv)
{
    struct arguments a = { .verb = NULL };
    int status = BAD_USAGE;
    if (!read_arguments(argc, argv, &a)) {
        fputs(usage, stderr);
        return status;
    }
    if (a.help) {
        printf("%s%s", usage, help);
        return DONE;
    }
    const struct verb *verb = find_verb(a.verb);
    const char *why = verb == NULL ? "there is no such command" : mistake(verb, &a);
    if (why != NULL) {
        fprintf(stderr, "pgatomic outbox: %s\n%s", why, usage);
        return status;
    }
    PGconn *pg = open_connection(a.conninfo, &status);
    if (pg == NULL)
        return status;
    status = verb->act(pg, &a);
    PQfinish(pg);
    return status;
}
