/* Who a client is, found out by pgatomic itself (P9): the user's secret is looked up, the client is asked, and is let in or refused.
 *
 * For every client but those whose upstream authenticates them (passthrough). */
#ifndef PROXY_POOL_ADMISSION_H
#define PROXY_POOL_ADMISSION_H

#include "proxy/auth/credentials.h"

struct client;
struct admission;

/* Begins, in CLIENT_LOGIN, by the login's `method`. What is said to the client is appended to `out`, which outlives the admission and is sent when an answer is
 * expected; AuthenticationOk is not said here. `admitted` is called once, perhaps at once, unless the client is refused. */
void admission_start(struct client *c, struct buffer *out, void (*admitted)(struct client *c));
void admission_free(struct admission *a); /* NULL: nothing */

/* The client has sent something before it was admitted. What is not done with is kept. */
void admission_on_client_input(struct client *c, struct span input);

/* After `admitted`: what the upstream can be logged into with. */
const struct credentials *admission_credentials(const struct admission *a);

#endif
