/* The packets that open a connection.
 *
 * They have no type byte: a length of itself and the rest, then a code whose upper half is the protocol's major
 * version. The requests for TLS, GSSAPI encryption and cancellation use a major version that no protocol has.
 *
 *     length  3 << 16 | minor     name NUL value NUL … NUL      StartupMessage
 *     length  1234 << 16 | 5678   process id, secret            CancelRequest
 *     8       1234 << 16 | 5679                                 SSLRequest
 *     8       1234 << 16 | 5680                                 GSSENCRequest
 *
 * Whoever sends them is a stranger. What a packet claims is therefore checked as soon as the bytes for it are there:
 * a web browser's first four bytes are a length out of bounds. */
#include "protocol/message.h"

#include <assert.h>

enum {
    PACKET_HEADER_SIZE = 8,
    CANCEL_HEADER_SIZE = 12, /* the process id is part of it */
    REQUEST_MAJOR = 1234,    /* not a version: one of the minors below */
    CANCEL_MINOR = 5678,
    SSL_MINOR = 5679,
    GSSENC_MINOR = 5680,
    PROTOCOL_MAJOR = 3
};

/* Pairs of strings up to an empty name, which ends the packet. */
static bool parameters_are_valid(struct span parameters)
{
    struct wire w = wire_open(parameters);
    while (wire_string(&w).size > 0)
        wire_string(&w);
    return wire_done(&w);
}

/* Kind and version. False: no packet of this length has this code. */
static bool read_code(size_t length, uint16_t major, uint16_t minor, struct message_startup *out)
{
    out->major = major;
    out->minor = minor;
    if (major == PROTOCOL_MAJOR) {
        out->kind = STARTUP_SESSION;
        return true;
    }
    if (major != REQUEST_MAJOR)
        return false;
    switch (minor) {
    case CANCEL_MINOR:
        out->kind = STARTUP_CANCEL;
        return length >= CANCEL_HEADER_SIZE + MESSAGE_SECRET_MIN && length <= CANCEL_HEADER_SIZE + MESSAGE_SECRET_MAX;
    case SSL_MINOR:
        out->kind = STARTUP_SSL;
        return length == PACKET_HEADER_SIZE;
    case GSSENC_MINOR:
        out->kind = STARTUP_GSSENC;
        return length == PACKET_HEADER_SIZE;
    }
    return false;
}

/* What stands behind the code of a whole packet. */
static bool read_rest(struct wire *w, struct message_startup *out)
{
    switch (out->kind) {
    case STARTUP_SESSION:
        out->parameters = wire_rest(w);
        return parameters_are_valid(out->parameters);
    case STARTUP_CANCEL:
        out->process_id = wire_u32(w);
        out->secret = wire_rest(w);
        return !w->failed;
    case STARTUP_SSL:
    case STARTUP_GSSENC:
        break;
    }
    return wire_done(w);
}

enum frame_result message_read_startup(struct span input, size_t limit, struct message_startup *out, size_t *size)
{
    *out = (struct message_startup){ 0 };
    if (input.size < 4)
        return FRAME_MORE;
    size_t length = wire_get_u32(input.data);
    if (length < PACKET_HEADER_SIZE || length > limit)
        return FRAME_BAD;
    if (input.size < PACKET_HEADER_SIZE)
        return FRAME_MORE;
    if (!read_code(length, wire_get_u16(input.data + 4), wire_get_u16(input.data + 6), out))
        return FRAME_BAD;
    if (input.size < length)
        return FRAME_MORE;

    struct wire w = wire_open(span_make(input.data + PACKET_HEADER_SIZE, length - PACKET_HEADER_SIZE));
    *size = length;
    return read_rest(&w, out) ? FRAME_OK : FRAME_BAD;
}

bool startup_parameter(struct span parameters, size_t *at, struct span *name, struct span *value)
{
    if (*at >= parameters.size)
        return false;
    struct wire w = wire_open(span_make(parameters.data + *at, parameters.size - *at));
    *name = wire_string(&w);
    if (name->size == 0)
        return false;
    *value = wire_string(&w);
    *at = parameters.size - wire_left(&w);
    return !w.failed;
}

bool startup_find(struct span parameters, const char *name, struct span *value)
{
    struct span each, its_value;
    bool found = false;
    for (size_t at = 0; startup_parameter(parameters, &at, &each, &its_value);) {
        if (span_is(each, name)) {
            *value = its_value; /* the last one counts, as it does for the server */
            found = true;
        }
    }
    return found;
}

size_t message_begin_startup(struct buffer *b, uint16_t major, uint16_t minor)
{
    size_t start = b->size;
    buffer_append_u32(b, 0);
    buffer_append_u16(b, major);
    buffer_append_u16(b, minor);
    return start;
}

void message_end_startup(struct buffer *b, size_t start)
{
    buffer_append_u8(b, 0);
    assert(b->size - start <= INT32_MAX);
    wire_put_u32(b->data + start, (uint32_t)(b->size - start));
}

void message_add_ssl_request(struct buffer *b)
{
    buffer_append_u32(b, PACKET_HEADER_SIZE);
    buffer_append_u16(b, REQUEST_MAJOR);
    buffer_append_u16(b, SSL_MINOR);
}

void message_add_cancel(struct buffer *b, uint32_t process_id, struct span secret)
{
    assert(secret.size >= MESSAGE_SECRET_MIN && secret.size <= MESSAGE_SECRET_MAX);
    buffer_append_u32(b, (uint32_t)(CANCEL_HEADER_SIZE + secret.size));
    buffer_append_u16(b, REQUEST_MAJOR);
    buffer_append_u16(b, CANCEL_MINOR);
    buffer_append_u32(b, process_id);
    buffer_append_span(b, secret);
}
