/* Replies of a Redis that may be anything, in pieces whose sizes the first byte chooses. */
#include "protocol/buffer.h"
#include "proxy/events/redis_replies.h"
#include "tests/fuzz/fuzz.h"

static void on_error(void *context, size_t reply, int element, struct span text)
{
    (void)reply, (void)element;
    buffer_append_span(context, text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer errors = { 0 };
    struct redis_replies *r = redis_replies_new(on_error, &errors);
    size_t piece = size > 0 ? data[0] % 16 + 1u : 1;
    for (size_t at = 1; at < size; at += piece)
        if (!redis_replies_feed(r, span_make((const char *)data + at, size - at < piece ? size - at : piece)))
            break;
    redis_replies_free(r);
    buffer_free(&errors);
    return 0;
}
