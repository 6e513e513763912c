#include <criterion/criterion.h>

#include "protocol/message.h"
#include "tests/unit/bytes.h"

enum { LIMIT = 10240 };

static const struct {
    const char *name;
    struct span packet;
    enum startup_kind kind;
    uint16_t major, minor;
} packets[] = {
    { "3.0", BYTES_INIT("\0\0\0\x12\0\3\0\0user\0app\0\0"), STARTUP_SESSION, 3, 0 },
    { "3.2", BYTES_INIT("\0\0\0\x20\0\3\0\2user\0app\0database\0shop\0\0"), STARTUP_SESSION, 3, 2 },
    { "a minor that does not exist yet", BYTES_INIT("\0\0\0\x12\0\3\x27\x0fuser\0app\0\0"), STARTUP_SESSION, 3, 9999 },
    { "no parameters", BYTES_INIT("\0\0\0\x9\0\3\0\0\0"), STARTUP_SESSION, 3, 0 },
    { "an empty value", BYTES_INIT("\0\0\0\x0c\0\3\0\0a\0\0\0"), STARTUP_SESSION, 3, 0 },
    { "TLS, please", BYTES_INIT("\0\0\0\x8\x04\xd2\x16\x2f"), STARTUP_SSL, 1234, 5679 },
    { "GSSAPI, please", BYTES_INIT("\0\0\0\x8\x04\xd2\x16\x30"), STARTUP_GSSENC, 1234, 5680 },
    { "cancel", BYTES_INIT("\0\0\0\x10\x04\xd2\x16\x2e\0\0\1\2abcd"), STARTUP_CANCEL, 1234, 5678 },
    { "cancel with a key of 3.2", BYTES_INIT("\0\0\0\x14\x04\xd2\x16\x2e\0\0\1\2abcdefgh"), STARTUP_CANCEL, 1234,
      5678 },
};

static enum frame_result read_startup(struct span input, struct message_startup *out, size_t *size)
{
    return message_read_startup(input, LIMIT, out, size);
}

static enum frame_result result_of(struct span input)
{
    struct message_startup startup;
    size_t size;
    return read_startup(input, &startup, &size);
}

Test(startup, P1_each_packet_is_known_once_it_is_whole)
{
    for (size_t i = 0; i < sizeof packets / sizeof *packets; i++) {
        for (size_t there = 0; there <= packets[i].packet.size; there++) {
            struct span input = bytes_exact(span_make(packets[i].packet.data, there));
            struct message_startup startup;
            size_t size = 0;
            enum frame_result result = read_startup(input, &startup, &size);
            if (there < packets[i].packet.size) {
                cr_assert_eq(result, FRAME_MORE, "%s, %zu bytes of it", packets[i].name, there);
            } else {
                cr_assert_eq(result, FRAME_OK, "%s", packets[i].name);
                cr_assert_eq(size, there);
                cr_assert_eq(startup.kind, packets[i].kind, "%s", packets[i].name);
            }
            if (there >= 8) {
                cr_assert_eq(startup.major, packets[i].major, "%s", packets[i].name);
                cr_assert_eq(startup.minor, packets[i].minor, "%s", packets[i].name);
            }
            bytes_free(input);
        }
    }
}

Test(startup, P1_what_follows_a_packet_is_not_part_of_it)
{
    for (size_t i = 0; i < sizeof packets / sizeof *packets; i++) {
        struct buffer input = { 0 };
        struct message_startup startup;
        size_t size = 0;
        buffer_append_span(&input, packets[i].packet);
        buffer_append_text(&input, "stuffed ahead of the handshake");
        cr_assert_eq(read_startup(buffer_span(&input), &startup, &size), FRAME_OK);
        cr_assert_eq(size, packets[i].packet.size, "%s", packets[i].name);
        buffer_free(&input);
    }
}

Test(startup, P1_a_packet_that_cannot_be_is_bad_as_early_as_it_shows)
{
    static const struct {
        const char *name;
        struct span packet;
        size_t shows; /* with so many bytes; before that it is just not whole */
    } rows[] = {
        { "a length of 0", BYTES_INIT("\0\0\0\0\0\3\0\0\0"), 4 },
        { "a length without a code", BYTES_INIT("\0\0\0\7\0\3\0\0\0"), 4 },
        { "a length without parameters", BYTES_INIT("\0\0\0\x8\0\3\0\0"), 8 },
        { "a length over the limit", BYTES_INIT("\0\0\x28\1\0\3\0\0"), 4 },
        { "a length of 2^31", BYTES_INIT("\x80\0\0\0\0\3\0\0"), 4 },
        { "a length of 2^32 - 1", BYTES_INIT("\xff\xff\xff\xff\0\3\0\0"), 4 },
        { "a browser", BYTES_INIT("GET / HTTP/1.1\r\n"), 4 },
        { "TLS without asking", BYTES_INIT("\x16\x03\x01\x02\x00\x01\x00\x01"), 4 },
        { "protocol 2.0", BYTES_INIT("\0\0\1\x28\0\2\0\0"), 8 },
        { "protocol 4.0", BYTES_INIT("\0\0\0\x13\0\4\0\0"), 8 },
        { "a request that does not exist", BYTES_INIT("\0\0\0\x8\x04\xd2\x16\x31"), 8 },
        { "SSLRequest with a tail", BYTES_INIT("\0\0\0\x9\x04\xd2\x16\x2f\0"), 8 },
        { "GSSENCRequest with a tail", BYTES_INIT("\0\0\0\x9\x04\xd2\x16\x30\0"), 8 },
        { "cancel without a process", BYTES_INIT("\0\0\0\x8\x04\xd2\x16\x2e"), 8 },
        { "cancel without a secret", BYTES_INIT("\0\0\0\x0c\x04\xd2\x16\x2e\0\0\0\1"), 8 },
        { "cancel with 3 bytes of it", BYTES_INIT("\0\0\0\x0f\x04\xd2\x16\x2e\0\0\0\1abc"), 8 },
        { "cancel with 257 bytes of it", BYTES_INIT("\0\0\1\x0d\x04\xd2\x16\x2e\0\0\0\1"), 8 },
        { "no end", BYTES_INIT("\0\0\0\x0b\0\3\0\0a\0b"), 11 },
        { "a name without a value", BYTES_INIT("\0\0\0\x0a\0\3\0\0a\0"), 10 },
        { "pairs, but no end", BYTES_INIT("\0\0\0\x0c\0\3\0\0a\0b\0"), 12 },
        { "something behind the end", BYTES_INIT("\0\0\0\x0d\0\3\0\0\0a\0b\0"), 13 },
        { "two ends", BYTES_INIT("\0\0\0\x0a\0\3\0\0\0\0"), 10 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t there = 0; there <= rows[i].packet.size; there++) {
            struct span input = bytes_exact(span_make(rows[i].packet.data, there));
            cr_assert_eq(result_of(input), there < rows[i].shows ? FRAME_MORE : FRAME_BAD, "%s, %zu bytes of it",
                         rows[i].name, there);
            bytes_free(input);
        }
    }
}

Test(startup, P2_the_limit_is_the_longest_length_allowed)
{
    struct buffer b = { 0 };
    size_t start = message_begin_startup(&b, 3, 0);
    buffer_append_string(&b, span_of("options"));
    buffer_append_string(&b, span_of("-c geqo=off"));
    message_end_startup(&b, start);
    struct message_startup startup;
    size_t size;
    cr_assert_eq(message_read_startup(buffer_span(&b), b.size, &startup, &size), FRAME_OK);
    cr_assert_eq(message_read_startup(buffer_span(&b), b.size - 1, &startup, &size), FRAME_BAD);
    buffer_free(&b);
}

Test(startup, P1_a_cancel_request_gives_process_and_secret)
{
    struct message_startup startup;
    size_t size;
    cr_assert_eq(read_startup(packets[7].packet, &startup, &size), FRAME_OK);
    cr_assert_eq(startup.process_id, 258);
    cr_assert(span_is(startup.secret, "abcd"));
}

Test(startup, P1_cancel_requests_of_every_secret_size_read_back)
{
    char secret[257];
    memset(secret, 's', sizeof secret);
    for (size_t bytes = 4; bytes <= 256; bytes++) {
        struct buffer b = { 0 };
        struct message_startup startup;
        size_t size;
        message_add_cancel(&b, 0xfffffffe, span_make(secret, bytes));
        cr_assert_eq(read_startup(buffer_span(&b), &startup, &size), FRAME_OK, "%zu bytes", bytes);
        cr_assert_eq(startup.kind, STARTUP_CANCEL);
        cr_assert_eq(startup.process_id, 0xfffffffe);
        cr_assert_eq(startup.secret.size, bytes);
        cr_assert_eq(size, b.size);
        buffer_free(&b);
    }
}

/* --- parameters ---------------------------------------------------------------------------------- */

Test(startup, parameters_are_walked_in_order)
{
    struct span parameters = BYTES("user\0app\0database\0\0options\0-c x=1\0\0");
    static const char *const want[] = { "user", "app", "database", "", "options", "-c x=1" };
    struct span name, value;
    size_t at = 0, i = 0;
    for (; startup_parameter(parameters, &at, &name, &value); i += 2) {
        cr_assert_lt(i, sizeof want / sizeof *want);
        cr_assert(span_is(name, want[i]));
        cr_assert(span_is(value, want[i + 1]));
    }
    cr_assert_eq(i, sizeof want / sizeof *want);
    cr_assert_not(startup_parameter(parameters, &at, &name, &value), "the end stays the end");
}

Test(startup, walking_ends_in_bounds_whatever_the_bytes_are)
{
    struct span parameters = BYTES("user\0app\0database\0shop\0\0");
    for (size_t size = 0; size <= parameters.size; size++) {
        struct span cut = bytes_exact(span_make(parameters.data, size));
        struct span name, value;
        size_t pairs = 0;
        for (size_t at = 0; startup_parameter(cut, &at, &name, &value);)
            pairs++;
        cr_assert_eq(pairs, size < sizeof "user\0app" ? 0 : size < sizeof "user\0app\0database\0shop" ? 1 : 2);
        bytes_free(cut);
    }
    struct span name, value;
    size_t past = 100;
    cr_assert_not(startup_parameter(parameters, &past, &name, &value));
}

Test(startup, a_parameter_is_found_by_its_whole_name_and_the_last_one_counts)
{
    struct span parameters = BYTES("user\0a\0username\0b\0user\0c\0empty\0\0\0");
    struct span value;
    cr_assert(startup_find(parameters, "user", &value));
    cr_assert(span_is(value, "c"));
    cr_assert(startup_find(parameters, "empty", &value));
    cr_assert_eq(value.size, 0);
    cr_assert_not(startup_find(parameters, "use", &value));
    cr_assert_not(startup_find(parameters, "a", &value), "a value is not a name");
    cr_assert_not(startup_find(parameters, "", &value));
    cr_assert_not(startup_find((struct span){ 0 }, "user", &value));
}

Test(startup, what_was_built_reads_back)
{
    struct buffer b = { 0 };
    buffer_append_text(&b, "before");
    size_t start = message_begin_startup(&b, 3, 2);
    buffer_append_string(&b, span_of("user"));
    buffer_append_string(&b, span_of("app"));
    message_end_startup(&b, start);
    struct span packet = span_make(b.data + start, b.size - start);
    cr_assert(span_equal(packet, BYTES("\0\0\0\x12\0\3\0\2user\0app\0\0")));
    cr_assert_eq(result_of(packet), FRAME_OK);
    buffer_free(&b);
}
