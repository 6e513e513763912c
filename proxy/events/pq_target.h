/* A conninfo whose host names have been resolved, so that libpq can connect without asking a name server, for which it would block. */
#ifndef PROXY_EVENTS_PQ_TARGET_H
#define PROXY_EVENTS_PQ_TARGET_H

#include <libpq-fe.h>

#include "proxy/net/resolve.h"

struct pq_target;

/* Either an attempt that has begun, as PQconnectStartParams() gives it; or NULL, and why. `error` holds no secret. */
typedef void pq_target_started(void *context, PGconn *pg, const char *error);

/* `dbname`: in place of the conninfo's; NULL: that. */
struct pq_target *pq_target_new(struct resolver *r, const char *conninfo, const char *dbname,
                                pq_target_started *started, void *context);
void pq_target_free(struct pq_target *t);

/* Begins. `started` is called once, perhaps before this returns, unless pq_target_stop() comes first. A conninfo that names its hosts
 * elsewhere (a service file, PGHOST) is left to libpq. */
void pq_target_start(struct pq_target *t);
void pq_target_stop(struct pq_target *t);
/* An attempt has taken too long: the next ones begin one host further in the list, which comes round. libpq, when it does not wait itself,
 * stays for ever with a host that takes the connection and says nothing. */
void pq_target_turn(struct pq_target *t);

#endif
