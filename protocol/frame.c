/* Cutting frames: the two tables of the protocol, and the few instructions that every message passes through.
 *
 * What a reader needs decides when a frame is handed over. Small messages, and those whose text decides what happens
 * next (Query, Parse, ErrorResponse), come whole. Those that carry a user's data come as they stream, so that the
 * size of a row or of a COPY is never the size of a buffer. Bind is between the two: its names stand at its head, its
 * values may be large. */
#include "protocol/frame.h"

#include "protocol/wire.h"

enum { SMALLEST_LENGTH = 4 };

const struct message_spec frontend_messages[256] = {
    ['B'] = { "Bind", HEAD_BODY, LARGE },
    ['C'] = { "Close", WHOLE_BODY, SMALL },
    ['D'] = { "Describe", WHOLE_BODY, SMALL },
    ['E'] = { "Execute", WHOLE_BODY, SMALL },
    ['F'] = { "FunctionCall", WHOLE_BODY, LARGE },
    ['H'] = { "Flush", WHOLE_BODY, SMALL },
    ['P'] = { "Parse", WHOLE_BODY, LARGE },
    ['Q'] = { "Query", WHOLE_BODY, LARGE },
    ['S'] = { "Sync", WHOLE_BODY, SMALL },
    ['X'] = { "Terminate", WHOLE_BODY, SMALL },
    ['c'] = { "CopyDone", WHOLE_BODY, SMALL },
    ['d'] = { "CopyData", STREAM_BODY, LARGE },
    ['f'] = { "CopyFail", WHOLE_BODY, SMALL },
    ['p'] = { "PasswordMessage", WHOLE_BODY, SMALL }, /* and every other answer to an authentication request */
};

/* What streams here is always followed by more of the same reply. The others come whole, so that a message of our own, which may be
 * due at any moment between replies, never falls into the middle of one. */
const struct message_spec backend_messages[256] = {
    ['1'] = { "ParseComplete", WHOLE_BODY, SMALL },
    ['2'] = { "BindComplete", WHOLE_BODY, SMALL },
    ['3'] = { "CloseComplete", WHOLE_BODY, SMALL },
    ['A'] = { "NotificationResponse", WHOLE_BODY, LARGE },
    ['C'] = { "CommandComplete", WHOLE_BODY, SMALL },
    ['D'] = { "DataRow", STREAM_BODY, LARGE },
    ['E'] = { "ErrorResponse", WHOLE_BODY, LARGE },
    ['G'] = { "CopyInResponse", WHOLE_BODY, SMALL },
    ['H'] = { "CopyOutResponse", WHOLE_BODY, SMALL },
    ['I'] = { "EmptyQueryResponse", WHOLE_BODY, SMALL },
    ['K'] = { "BackendKeyData", WHOLE_BODY, SMALL },
    ['N'] = { "NoticeResponse", WHOLE_BODY, LARGE },
    ['R'] = { "Authentication", WHOLE_BODY, SMALL },
    ['S'] = { "ParameterStatus", WHOLE_BODY, LARGE },
    ['T'] = { "RowDescription", WHOLE_BODY, LARGE },
    ['V'] = { "FunctionCallResponse", STREAM_BODY, LARGE },
    ['W'] = { "CopyBothResponse", WHOLE_BODY, SMALL },
    ['Z'] = { "ReadyForQuery", WHOLE_BODY, SMALL },
    ['c'] = { "CopyDone", WHOLE_BODY, SMALL },
    ['d'] = { "CopyData", STREAM_BODY, LARGE },
    ['n'] = { "NoData", WHOLE_BODY, SMALL },
    ['s'] = { "PortalSuspended", WHOLE_BODY, SMALL },
    ['t'] = { "ParameterDescription", WHOLE_BODY, LARGE },
    ['v'] = { "NegotiateProtocolVersion", WHOLE_BODY, SMALL },
};

static enum frame_result more(size_t want, size_t *want_out)
{
    if (want_out)
        *want_out = want;
    return FRAME_MORE;
}

/* How much of a message of `size` bytes has to be there before it is handed over. */
static size_t enough(enum body_need need, size_t size)
{
    switch (need) {
    case BODY_NONE:
    case WHOLE_BODY:
        break;
    case HEAD_BODY:
        return size < FRAME_HEADER_SIZE + FRAME_HEAD_ENOUGH ? size : FRAME_HEADER_SIZE + FRAME_HEAD_ENOUGH;
    case STREAM_BODY:
        return FRAME_HEADER_SIZE;
    }
    return size;
}

/* Fewer bytes than a header. The type may tell already that it is none of ours, and a peer that speaks another protocol
 * may never send the other four. */
static enum frame_result no_header(const struct message_spec *specs, struct span input, size_t *want_out)
{
    if (input.size > 0 && specs[(unsigned char)input.data[0]].need == BODY_NONE)
        return FRAME_BAD;
    return more(FRAME_HEADER_SIZE, want_out);
}

/* A message of which the end has not arrived. */
static __attribute__((noinline)) enum frame_result partial(struct span input, size_t size, size_t want,
                                                           struct frame *out, size_t *want_out)
{
    if (input.size < want)
        return more(want, want_out);
    *out = (struct frame){ input.data[0], input, size - input.size };
    return FRAME_OK;
}

/* The path of every message: a look-up, a load, three comparisons. */
static inline enum frame_result next(const struct message_spec *specs, struct span input, size_t limit,
                                     struct frame *out, size_t *want_out, bool whole)
{
    if (input.size < FRAME_HEADER_SIZE)
        return no_header(specs, input, want_out);

    const struct message_spec *spec = &specs[(unsigned char)input.data[0]];
    uint32_t length = wire_get_u32(input.data + 1); /* of itself and the body */
    if (spec->need == BODY_NONE || length < SMALLEST_LENGTH || length > INT32_MAX ||
        length > (spec->size == SMALL ? FRAME_SMALL_LENGTH : limit))
        return FRAME_BAD;

    size_t size = (size_t)length + 1; /* at most 2^31 */
    if (size > input.size)
        return partial(input, size, whole ? size : enough(spec->need, size), out, want_out);
    out->type = input.data[0];
    out->bytes = span_make(input.data, size);
    out->left = 0;
    return FRAME_OK;
}

enum frame_result frame_next(const struct message_spec *specs, struct span input, size_t limit, struct frame *out,
                             size_t *want_out)
{
    return next(specs, input, limit, out, want_out, false);
}

enum frame_result frame_next_whole(const struct message_spec *specs, struct span input, size_t limit, struct frame *out,
                                   size_t *want_out)
{
    return next(specs, input, limit, out, want_out, true);
}

size_t frame_data_size(const struct message_spec *specs, struct span input, char type, size_t limit, size_t *left)
{
    if (input.size > limit) /* else no whole one is too long */
        return 0;
    size_t size = *left < input.size ? *left : input.size;
    size_t to_come = *left - size;
    size += frame_run_size(span_make(input.data + size, input.size - size), type);
    struct span last = span_make(input.data + size, input.size - size);
    if (last.size > 0 && last.data[0] != type)
        return 0;
    if (last.size >= FRAME_HEADER_SIZE) {
        struct frame f;
        if (frame_next(specs, last, limit, &f, NULL) != FRAME_OK)
            return 0;
        size = input.size;
        to_come = f.left;
    }
    if (size > 0)
        *left = to_come;
    return size;
}
