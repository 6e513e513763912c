/* The packets that open a connection.
 *
 * An input is what a stranger sends first. What must hold:
 * - an answer, once given, stays the same whatever arrives behind it, and FRAME_OK comes with the packet's last byte, not before;
 * - parameters are pairs that fill their span exactly, and each can be found;
 * - what is read and built again reads the same. */
#include "protocol/message.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/bytes.h"

enum { LIMIT = 1024 };

static enum frame_result read_prefix(struct span input, size_t there, size_t *size)
{
    struct span prefix = bytes_exact(span_make(input.data, there));
    struct message_startup startup;
    enum frame_result result = message_read_startup(prefix, LIMIT, &startup, size);
    bytes_free(prefix);
    return result;
}

static void check_prefixes(struct span input, enum frame_result want, size_t packet_size)
{
    enum frame_result result = FRAME_MORE;
    for (size_t there = 0; there <= input.size && there <= LIMIT; there++) {
        size_t size = 0;
        enum frame_result now = read_prefix(input, there, &size);
        MUST(result == FRAME_MORE || now == result);
        if (now == FRAME_OK)
            MUST(size == packet_size && there >= size);
        result = now;
    }
    MUST(result == want || input.size > LIMIT);
}

static void check_parameters(struct span parameters)
{
    struct buffer again = { 0 };
    struct span name, value, found;
    size_t sum = 1; /* the NUL at the end */
    size_t start = message_begin_startup(&again, 3, 0);
    for (size_t at = 0; startup_parameter(parameters, &at, &name, &value);) {
        char text[LIMIT];
        sum += name.size + value.size + 2;
        MUST(at == sum - 1);
        memcpy(text, name.data, name.size);
        text[name.size] = 0;
        MUST(startup_find(parameters, text, &found));
        buffer_append_string(&again, name);
        buffer_append_string(&again, value);
    }
    message_end_startup(&again, start);
    MUST(sum == parameters.size);
    MUST(span_equal(span_make(again.data + 8, again.size - 8), parameters));
    buffer_free(&again);
}

static void check_cancel(const struct message_startup *startup, struct span packet)
{
    struct buffer again = { 0 };
    message_add_cancel(&again, startup->process_id, startup->secret);
    MUST(span_equal(buffer_span(&again), packet));
    buffer_free(&again);
}

static void walk_anything(struct span bytes)
{
    struct span name, value;
    size_t pairs = 0;
    for (size_t at = 0; startup_parameter(bytes, &at, &name, &value); pairs++)
        MUST(at <= bytes.size);
    MUST(pairs <= bytes.size / 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span input = span_make((const char *)data, size);
    struct message_startup startup;
    size_t packet_size = 0;
    enum frame_result result = message_read_startup(input, LIMIT, &startup, &packet_size);
    check_prefixes(input, result, packet_size);
    walk_anything(input);
    if (result != FRAME_OK)
        return 0;
    MUST(packet_size >= 8 && packet_size <= size && packet_size <= LIMIT);
    if (startup.kind == STARTUP_SESSION)
        check_parameters(startup.parameters);
    if (startup.kind == STARTUP_CANCEL)
        check_cancel(&startup, span_make(input.data, packet_size));
    return 0;
}
