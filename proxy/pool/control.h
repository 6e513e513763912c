/* What became of a COMMIT whose reply was lost (E9): asked on pgatomic's own connections to the database, its `control`.
 *
 * An answer counts only when it comes from the cluster that the COMMIT was sent to, so each database's system identifier and timeline are
 * learnt when pgatomic starts, and again whenever they turn out to have changed; a number of before means nothing behind that.
 *
 * Connections belong to a worker and are opened when there is something to ask. The identities are the process's. */
#ifndef PROXY_POOL_CONTROL_H
#define PROXY_POOL_CONTROL_H

#include "config/config.h"
#include "proxy/events/event.h"
#include "proxy/net/loop.h"
#include "proxy/net/resolve.h"
#include "proxy/session/session.h"

/* After so long nobody waits any more: OUTCOME_UNKNOWN. A row that is not there may still come, if the server has all that it needs to commit
 * it; but that takes no longer than this. */
enum { CONTROL_TIMEOUT_MS = 30000, CONTROL_ROW_TIMEOUT_MS = 5000 };

struct control;
struct control_question;

struct controls {
    struct loop *loop;
    struct resolver *resolver;
    struct control *first;
};

void controls_free(struct controls *c); /* nobody waits for an answer any more */
/* Closes the connections that `config` does not name; one that somebody waits for stays until the next reload. */
void controls_reload(struct controls *c, const struct config *config);
/* Learns the identities of all databases that have a control connection. */
void controls_learn(struct controls *c, struct config *config);

/* `xid`: the number of the transaction, empty when it is not known. `row`: the id of an outbox row that it has written, or NULL. `answered`
 * is called once, later, unless the question is dropped. */
struct control_question *control_ask(struct controls *c, const struct database *database, struct span xid,
                                     const unsigned char *row,
                                     void (*answered)(void *context, enum session_outcome outcome), void *context);
/* NULL: nothing. */
void control_drop(struct control_question *q);

#endif
