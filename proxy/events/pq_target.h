/* A conninfo whose host names have been resolved, so that libpq can connect without asking a name server, for which it would block. */
#ifndef PROXY_EVENTS_PQ_TARGET_H
#define PROXY_EVENTS_PQ_TARGET_H

#include <libpq-fe.h>

#include "proxy/net/resolve.h"

struct pq_target;

/* Either an attempt that has begun, as PQconnectStartParams() gives it; or NULL, and why. `error` holds no secret. */
typedef void pq_target_started(void *context, PGconn *pg, const char *error);

struct pq_target *pq_target_new(struct resolver *r, const char *conninfo, pq_target_started *started, void *context);
void pq_target_free(struct pq_target *t);

/* Begins. `started` is called once, perhaps before this returns, unless pq_target_stop() comes first. A conninfo that names its hosts
 * elsewhere (a service file, PGHOST) is left to libpq. */
void pq_target_start(struct pq_target *t);
void pq_target_stop(struct pq_target *t);

#endif
