/* A client that does nothing: what is left of it then.
 *
 * Most clients of a pool do nothing most of the time. A few of a worker's keep their session and link all the same, so that those who work
 * need not make them anew for each transaction; of the others only what cannot be made again is kept, until they speak. */
#ifndef PROXY_POOL_ASLEEP_H
#define PROXY_POOL_ASLEEP_H

#include "proxy/pool/client.h"

struct session_facts;

/* In CLIENT_SESSION, with neither session nor `pooled`: it gets both back. */
void client_wake(struct client *c);
/* A client of a pool, in CLIENT_SESSION and awake, that waits for nothing and is owed nothing goes to sleep. False: it may not. */
bool client_sleep(struct client *c);
/* At the end of a turn: when many of the worker's clients are awake, those that have done nothing for some time go to sleep. */
void clients_doze(struct worker *w);
/* False: it has no session. */
bool client_tell_facts(const struct client *c, struct session_facts *out);

#endif
