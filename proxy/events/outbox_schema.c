/* Installing, step by step.
 *
 * The version is kept as the comment of the table: every statement that it takes to get from one version to the next stands here for
 * good, and an outbox is brought up to date by those that it has not seen. Two who install at the same time take turns. */
#include "proxy/events/outbox_schema.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS                                               \
    " id uuid PRIMARY KEY,"                                   \
    " channel text NOT NULL,"                                 \
    " payload text NOT NULL,"                                 \
    " route text,"                                            \
    " label text,"                                            \
    " request uuid,"                                          \
    " created_at timestamptz NOT NULL DEFAULT now(),"         \
    " xid xid8 NOT NULL DEFAULT pg_current_xact_id(),"        \
    " position int NOT NULL DEFAULT 0,"                       \
    " leased_until timestamptz NOT NULL DEFAULT '-infinity'," \
    " attempts int NOT NULL DEFAULT 0,"                       \
    " last_error text"

/* steps[n] leads from version n to the next. */
static const char *const steps[OUTBOX_SCHEMA_VERSION] = {
    "CREATE SCHEMA IF NOT EXISTS pgatomic;"
    "CREATE TABLE IF NOT EXISTS pgatomic.outbox (" COLUMNS ");"
    "CREATE INDEX IF NOT EXISTS outbox_order ON pgatomic.outbox (xid, position);"
    "CREATE TABLE IF NOT EXISTS pgatomic.dead_letter (" COLUMNS ", died_at timestamptz NOT NULL DEFAULT now());"
    "GRANT USAGE ON SCHEMA pgatomic TO PUBLIC;"
    "GRANT INSERT (id, channel, payload, route, label, request, position, leased_until) ON pgatomic.outbox TO PUBLIC;"
};

static const char begin[] = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
                            "SET LOCAL search_path = pg_catalog;"
                            "SET LOCAL client_min_messages = warning;"
                            "SELECT pg_advisory_xact_lock(hashtext('pgatomic outbox install'))";
static const char find_version[] =
    "SELECT coalesce(substring(obj_description(to_regclass('pgatomic.outbox'), 'pg_class')"
    " FROM '^pgatomic outbox, version ([0-9]+)$')::int, 0)";

static bool run(PGconn *pg, const char *sql)
{
    PGresult *result = PQexec(pg, sql);
    ExecStatusType status = PQresultStatus(result);
    PQclear(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

static int read_version(PGconn *pg)
{
    PGresult *result = PQexec(pg, find_version);
    int version = PQresultStatus(result) == PGRES_TUPLES_OK ? atoi(PQgetvalue(result, 0, 0)) : -1;
    PQclear(result);
    return version;
}

static bool take_steps(PGconn *pg, int version)
{
    char comment[96];
    for (int v = version; v < OUTBOX_SCHEMA_VERSION; v++)
        if (!run(pg, steps[v]))
            return false;
    snprintf(comment, sizeof comment, "COMMENT ON TABLE pgatomic.outbox IS 'pgatomic outbox, version %d'",
             OUTBOX_SCHEMA_VERSION);
    return version == OUTBOX_SCHEMA_VERSION || run(pg, comment);
}

int outbox_schema_install(PGconn *pg, char *error, size_t error_size)
{
    error[0] = '\0';
    if (!run(pg, begin))
        return -1;
    int version = read_version(pg);
    if (version > OUTBOX_SCHEMA_VERSION) {
        snprintf(error, error_size, "the outbox there is of version %d, and this pgatomic knows none later than %d",
                 version, OUTBOX_SCHEMA_VERSION);
        return -1;
    }
    return version >= 0 && take_steps(pg, version) && run(pg, "COMMIT") ? version : -1;
}
