/* Rows and the data of a COPY, past session and link. */
#ifndef PROXY_POOL_BULK_H
#define PROXY_POOL_BULK_H

#include "proxy/pool/client.h"

/* Passes on a batch that is nothing but data of the client's for a COPY, or nothing but the server's rows or data. False, and no change: it is
 * something else, and for the session to look at. In CLIENT_SESSION, at the beginning of a batch. */
bool bulk_pass_to_server(struct client *c, struct span input);
bool bulk_pass_to_client(struct client *c, struct span input);

/* Most batches are something else, and show it by how they begin. */
static inline bool bulk_may_pass_to_server(const struct client *c, struct span input)
{
    return c->stream.left > 0 || input.data[0] == 'd';
}

static inline bool bulk_may_pass_to_client(const struct client *c, struct span input)
{
    return c->replies.left > 0 || input.data[0] == 'D' || input.data[0] == 'd';
}

#endif
