/* What comes in bulk: rows, and the data of a COPY.
 *
 *     recv -> scratch -> where does the last message end? -> send
 *
 * Nothing is decided between two messages of it. So a batch of nothing else leaves as it came, wherever it was cut, and its lengths
 * are looked at once: session and link say whether they have to do with any of it, and are told what of the last message is still to
 * come. The first batch and the last of a result, in which there is something else, take the ways of traffic.c. */
#include "proxy/pool/bulk.h"

#include "proxy/pool/pooled.h"
#include "proxy/pool/traffic.h"

/* None is in between for a client with a server of its own. */
static struct link *link_of(const struct client *c)
{
    return c->pooled != NULL ? c->pooled->link : NULL;
}

static bool pass_on(struct conn *from, struct conn *to, struct span input, size_t size)
{
    if (size == 0)
        return false;
    conn_send_span(to, span_make(input.data, size));
    conn_keep(from, input, size);
    return true;
}

bool bulk_pass_to_server(struct client *c, struct span input)
{
    if (c->server == NULL || c->held || c->deferred.size > 0)
        return false;
    size_t size = stream_pass_copy_data(&c->stream, c->session, link_of(c), input, c->message_limit);
    return pass_on(&c->conn, &c->server->conn, input, size);
}

bool bulk_pass_to_client(struct client *c, struct span input)
{
    if (c->held)
        return false;
    size_t size = stream_pass_rows(&c->replies, c->session, link_of(c), input, TRAFFIC_SERVER_LIMIT);
    return pass_on(&c->server->conn, &c->conn, input, size);
}
