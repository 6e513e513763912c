/* The messages of a login, between the StartupMessage and AuthenticationOk. */
#include "protocol/message.h"

#include <assert.h>

bool message_read_authentication(struct span body, uint32_t *kind, struct span *rest)
{
    struct wire w = wire_open(body);
    *kind = wire_u32(&w);
    *rest = wire_rest(&w);
    return wire_done(&w);
}

bool message_next_mechanism(struct span list, size_t *at, struct span *name)
{
    if (*at >= list.size)
        return false;
    struct wire w = wire_open(span_make(list.data + *at, list.size - *at));
    *name = wire_string(&w);
    *at = list.size - wire_left(&w);
    return !w.failed && name->size > 0;
}

bool message_read_password(struct span body, struct span *password)
{
    struct wire w = wire_open(body);
    *password = wire_string(&w);
    return wire_done(&w);
}

bool message_read_sasl_initial(struct span body, struct span *mechanism, struct span *response)
{
    struct wire w = wire_open(body);
    *mechanism = wire_string(&w);
    int32_t size = wire_i32(&w);
    *response = wire_bytes(&w, size < 0 ? SIZE_MAX : (size_t)size);
    return wire_done(&w);
}

void message_add_authentication(struct buffer *b, uint32_t kind, struct span rest)
{
    size_t start = message_begin(b, 'R');
    buffer_append_u32(b, kind);
    buffer_append_span(b, rest);
    message_end(b, start);
}

void message_add_password(struct buffer *b, struct span password)
{
    size_t start = message_begin(b, 'p');
    buffer_append_string(b, password);
    message_end(b, start);
}

void message_add_sasl_initial(struct buffer *b, struct span mechanism, struct span response)
{
    size_t start = message_begin(b, 'p');
    assert(response.size <= INT32_MAX);
    buffer_append_string(b, mechanism);
    buffer_append_u32(b, (uint32_t)response.size);
    buffer_append_span(b, response);
    message_end(b, start);
}

void message_add_sasl_response(struct buffer *b, struct span response)
{
    size_t start = message_begin(b, 'p');
    buffer_append_span(b, response);
    message_end(b, start);
}
