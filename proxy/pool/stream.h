/* One direction of a conversation, between two messages or in the middle of one.
 *
 * A message that is handed over before all of it has arrived leaves bytes to come, which go on raw, without being looked at. */
#ifndef PROXY_POOL_STREAM_H
#define PROXY_POOL_STREAM_H

#include "proxy/session/actions.h"

struct stream {
    size_t left; /* bytes of the message under way that have not come; 0: between messages */
    enum frame_rest rest;
    bool whole; /* the next message is wanted whole (SESSION_WHOLE) */
};

/* How many bytes at the front of `input` belong to the message under way. */
static inline size_t stream_take(struct stream *s, struct span input)
{
    size_t size = s->left < input.size ? s->left : input.size;
    s->left -= size;
    return size;
}

/* A part of a message has gone on, and the rest has to follow before anything else can. */
static inline bool stream_is_inside_message(const struct stream *s)
{
    return s->left > 0 && s->rest == REST_FORWARD;
}

struct session;
struct link;

/* A batch that is nothing but data: CopyData of the client's for a COPY that reads it; or rows, or CopyData, of the server's. How many bytes of
 * it may go on as they came (all, but for a header that was cut), past the session and past the link (NULL: none is in between), who know of it
 * then. 0, and no change: something else is among it, or somebody has to look at it. */
size_t stream_pass_copy_data(struct stream *s, struct session *session, struct link *link, struct span input,
                             size_t limit);
size_t stream_pass_rows(struct stream *s, struct session *session, struct link *link, struct span input, size_t limit);

#endif
