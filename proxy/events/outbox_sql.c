/* The oldest first is the order of transaction ids, which is near that of commits, and within a transaction that of insertion. Nothing
 * remembers how far it has come: a transaction that commits late is seen when it does. Whoever may insert chooses what stands in a row,
 * so no column comes in any size, and texts come as the bytes that they are: the server would fail the whole statement for one that it
 * cannot convert. */
#include "proxy/events/outbox_sql.h"

/* A commit that PostgreSQL forgets in a crash is a row delivered twice, at worst; no need to wait for the disk. */
const char outbox_sql_settings[] = "SELECT pg_catalog.set_config(name, value, false) FROM (VALUES"
                                   " ('search_path', 'pg_catalog'), ('synchronous_commit', 'off'),"
                                   " ('default_transaction_isolation', 'read committed')) AS settings (name, value)";

#define BYTES(text) "convert_to(" text ", getdatabaseencoding())"

const char outbox_sql_claim[] =
    "WITH due AS MATERIALIZED ("
    " SELECT o.id, o.xid, o.position, o.ctid AS place, octet_length(o.payload)::bigint AS size"
    " FROM pgatomic.outbox AS o"
    " WHERE o.leased_until < clock_timestamp() AND o.channel <> ALL ($3)"
    " ORDER BY o.xid, o.position, o.ctid LIMIT $1 FOR UPDATE SKIP LOCKED),"
    " fitting AS ("
    " SELECT * FROM (SELECT due.*, sum(size) OVER (ORDER BY xid, position, place) - size AS ahead FROM due) AS summed"
    " WHERE ahead = 0 OR ahead + size <= $4),"
    " taken AS ("
    " UPDATE pgatomic.outbox AS o SET leased_until = clock_timestamp() + $2 * interval '1 ms'"
    " FROM fitting AS f WHERE o.id = f.id"
    " RETURNING f.*, o.request, o.attempts,"
    " " BYTES(
        "left(o.channel, 1000)") " AS channel,"
                                 " " BYTES("left(o.route, 1000)") " AS route, " BYTES(
                                     "left(o.label, 1000)") " AS label,"
                                                            " CASE WHEN f.size <= $5 AND length(o.channel) <= 1000 "
                                                            "THEN " BYTES(
                                                                "o.payload") " END AS payload,"
                                                                             " CASE WHEN isfinite(o.created_at) THEN "
                                                                             "(extract(epoch FROM o.created_at) * "
                                                                             "1000000)::bigint ELSE 0 END AS created)"
                                                                             " SELECT id, channel, payload, size, "
                                                                             "route, label, request, attempts, "
                                                                             "created, getdatabaseencoding() FROM taken"
                                                                             " ORDER BY xid, position, place";

#define MINE "WITH mine AS MATERIALIZED (SELECT id FROM pgatomic.outbox WHERE id = ANY ($1) FOR UPDATE SKIP LOCKED)"
/* A statement sees the table as it was when it began: with the rows that it has deleted. */
#define WHICH " SELECT id, id IN (SELECT id FROM mine) FROM pgatomic.outbox WHERE id = ANY ($1)"

const char outbox_sql_renew[] =
    MINE " UPDATE pgatomic.outbox AS o SET leased_until = clock_timestamp() + $2 * interval '1 ms'"
         " FROM mine WHERE o.id = mine.id";

const char outbox_sql_note[] =
    MINE " UPDATE pgatomic.outbox AS o SET attempts = n.attempts, last_error = n.reason,"
         " leased_until = clock_timestamp() + $4 * interval '1 ms'"
         " FROM mine JOIN ROWS FROM (unnest($1), unnest($2), unnest($3)) AS n (id, attempts, reason) USING (id)"
         " WHERE o.id = mine.id";

const char outbox_sql_let_go[] =
    MINE ", gone AS (UPDATE pgatomic.outbox AS o SET leased_until = '-infinity' FROM mine WHERE o.id = mine.id)" WHICH;

const char outbox_sql_delete[] =
    MINE ", gone AS (DELETE FROM pgatomic.outbox AS o USING mine WHERE o.id = mine.id)" WHICH;

const char outbox_sql_bury[] = MINE
    ", gone AS (DELETE FROM pgatomic.outbox AS o USING mine WHERE o.id = mine.id RETURNING o.*),"
    " buried AS (INSERT INTO pgatomic.dead_letter"
    " (id, channel, payload, route, label, request, created_at, xid, position, leased_until, attempts, last_error)"
    " SELECT g.id, g.channel, g.payload, g.route, g.label, g.request, g.created_at, g.xid, g.position, '-infinity',"
    " n.attempts, n.reason FROM gone AS g"
    " JOIN ROWS FROM (unnest($1), unnest($2), unnest($3)) AS n (id, attempts, reason) USING (id)"
    " ON CONFLICT (id) DO UPDATE SET died_at = excluded.died_at, attempts = excluded.attempts,"
    " last_error = excluded.last_error)" WHICH;
