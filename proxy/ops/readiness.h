/* Whether clients would be served: every upstream takes connections. For /readyz. */
#ifndef PROXY_OPS_READINESS_H
#define PROXY_OPS_READINESS_H

#include "config/config.h"
#include "proxy/net/loop.h"

struct readiness;
struct readiness_wait;

struct readiness *readiness_new(struct loop *l);
/* Nobody may wait any more. */
void readiness_free(struct readiness *r);

/* Calls `on_known` when each of `config`'s upstreams has been connected to, or has failed; `why_not` is NULL when all is well. Whoever
 * asks within a second of somebody else gets the same answer, so that asking often is no load. May call it at once, and then returns
 * NULL. */
struct readiness_wait *readiness_ask(struct readiness *r, struct config *config,
                                     void (*on_known)(void *context, const char *why_not), void *context);
/* NULL: nothing. */
void readiness_forget(struct readiness_wait *w);

#endif
