/* Cuts a byte stream into protocol messages.
 *
 * One table a direction says for every type byte its name, how much of the body a reader needs at once, and how large
 * it may be (PostgreSQL documentation, "Message Formats"). Large bodies are never assembled: a frame
 * is handed over with what has arrived of it, and `left` says how much of its body is still to come;
 * those bytes follow the frame's own, raw. */
#ifndef PROTOCOL_FRAME_H
#define PROTOCOL_FRAME_H

#include <stdint.h>
#include <string.h>

#include "protocol/wire.h"

enum { FRAME_HEADER_SIZE = 5, FRAME_HEAD_ENOUGH = 8192, FRAME_SMALL_LENGTH = 65535 };

enum frame_result { FRAME_OK, FRAME_MORE, FRAME_BAD };

enum body_need {
    BODY_NONE = 0, /* no such message in this direction: FRAME_BAD */
    WHOLE_BODY,    /* handed over when all of it is there */
    HEAD_BODY,     /* handed over when all of it, or FRAME_HEAD_ENOUGH bytes of it, are there */
    STREAM_BODY    /* handed over as soon as its header is there */
};

enum body_size {
    SMALL, /* a length field up to FRAME_SMALL_LENGTH: nothing that a user's data goes into, and the longest password or token that
            * PostgreSQL takes */
    LARGE /* bounded by the limit that the caller gives, and by 2^31 - 1 */
};

struct message_spec {
    const char *name;
    enum body_need need;
    enum body_size size;
};

extern const struct message_spec frontend_messages[256]; /* after startup, 'p' included */
extern const struct message_spec backend_messages[256];

struct frame {
    char type;
    struct span bytes; /* the message as far as it has arrived, from its type byte on */
    size_t left;       /* bytes of it that have not arrived yet; 0: whole */
};

/* The body of a frame as far as it has arrived. */
static inline struct span frame_body(const struct frame *f)
{
    return span_make(f->bytes.data + FRAME_HEADER_SIZE, f->bytes.size - FRAME_HEADER_SIZE);
}

/* The first message in `input`. `limit` bounds the length field of LARGE messages, in bytes. FRAME_MORE: not enough
 * bytes yet; *want_out, if not NULL, gets the size of input (in bytes from its start) at which it makes sense to ask
 * again. FRAME_BAD: unknown type, or a length below 4 or over its limit; said as early as the bytes show it. `out` is
 * set for FRAME_OK only, *want_out for FRAME_MORE only. */
enum frame_result frame_next(const struct message_spec *specs, struct span input, size_t limit, struct frame *out,
                             size_t *want_out);

/* The size of the message at the front of `input`, of whatever type and length; 0: it is not whole. */
static inline size_t frame_whole_size(struct span input)
{
    if (input.size < FRAME_HEADER_SIZE)
        return 0;
    size_t length = wire_get_u32(input.data + 1);
    return length >= 4 && length < input.size ? length + 1 : 0;
}

/* The size of the whole messages of this type, of whatever length, at the front of `input`: COPY and results come by the thousand, and nobody
 * has to look at each. Messages of one length follow each other often. Where the next one begins is not known before a length has
 * been read; that it begins like the one before is seen without waiting for that. */
static inline size_t frame_run_size(struct span input, char type)
{
    size_t run = 0, size;
    while (run < input.size && input.data[run] == type &&
           (size = frame_whole_size(span_make(input.data + run, input.size - run))) > 0) {
        const char *header = input.data + run;
        do
            run += size;
        while (input.size - run >= size && memcmp(input.data + run, header, FRAME_HEADER_SIZE) == 0);
    }
    return run;
}

/* Whether `input` is nothing but data in messages of this type: the `*left` bytes that are still to come of one that has begun, whole ones, and
 * the beginning of one more. How many bytes of it may go on: all, but for a header that was cut; *left is what is still to come behind
 * them. 0, and no change: something else is among it, or a message that may be longer than `limit`. */
size_t frame_data_size(const struct message_spec *specs, struct span input, char type, size_t limit, size_t *left);

/* The same as frame_next(), but a message that is not whole is FRAME_MORE whatever the table says. */
enum frame_result frame_next_whole(const struct message_spec *specs, struct span input, size_t limit, struct frame *out,
                                   size_t *want_out);

#endif
