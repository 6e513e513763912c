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

#endif
