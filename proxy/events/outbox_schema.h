/* The outbox as it stands in a database: schema pgatomic, tables outbox and dead_letter. */
#ifndef PROXY_EVENTS_OUTBOX_SCHEMA_H
#define PROXY_EVENTS_OUTBOX_SCHEMA_H

#include <libpq-fe.h>

enum { OUTBOX_SCHEMA_VERSION = 1 };

/* Brings the database to this version, in one transaction; one that is there already is not touched. Returns the version that was there
 * before, 0 when there was none; or -1: then PQerrorMessage(pg), or `error` unless it is empty, says why. */
int outbox_schema_install(PGconn *pg, char *error, size_t error_size);

#endif
