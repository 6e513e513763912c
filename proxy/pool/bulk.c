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
#include "proxy/session/session.h"

/* Between messages, or in the middle of one that goes on. */
static bool is_going_on(const struct stream *s)
{
    return !s->whole && (s->left == 0 || s->rest == REST_FORWARD);
}

/* Sends the first `size` bytes on; `left` more of the last message follow them. */
static void pass_on(struct stream *s, struct conn *from, struct conn *to, struct span input, size_t size, size_t left)
{
    *s = (struct stream){ .left = left, .rest = REST_FORWARD };
    conn_send_span(to, span_make(input.data, size));
    conn_keep(from, input, size);
}

bool bulk_pass_to_server(struct client *c, struct span input)
{
    size_t left = c->stream.left;
    if (c->server == NULL || c->held || c->deferred.size > 0 || !is_going_on(&c->stream))
        return false;
    if (!session_passes_copy_data(c->session))
        return false;
    size_t size = frame_data_size(frontend_messages, input, 'd', c->message_limit, &left);
    if (size == 0 || (c->pooled != NULL && !link_pass_copy_data(c->pooled->link, c->stream.left, left)))
        return false;
    pass_on(&c->stream, &c->conn, &c->server->conn, input, size, left);
    return true;
}

/* Of what begins behind the message under way. A result has only one of the two. */
static char row_type(struct span input, size_t left)
{
    return left < input.size && input.data[left] == 'd' ? 'd' : 'D';
}

bool bulk_pass_to_client(struct client *c, struct span input)
{
    size_t left = c->replies.left;
    if (c->held || !is_going_on(&c->replies) || !session_passes_rows(c->session))
        return false;
    size_t size = frame_data_size(backend_messages, input, row_type(input, left), TRAFFIC_SERVER_LIMIT, &left);
    if (size == 0 || (c->pooled != NULL && !link_pass_rows(c->pooled->link, c->replies.left, left)))
        return false;
    pass_on(&c->replies, &c->server->conn, &c->conn, input, size, left);
    return true;
}
