#include <criterion/criterion.h>

#include "protocol/buffer.h"
#include "proxy/events/redis_replies.h"
#include "tests/unit/bytes.h"

static void note_error(void *context, size_t reply, int element, struct span text)
{
    buffer_format(context, "%zu.%d %.*s; ", reply, element, (int)text.size, text.data);
}

static void check(struct redis_replies *r, const struct buffer *errors, size_t count, size_t elements, const char *want)
{
    cr_assert_eq(redis_replies_count(r), count);
    cr_assert_eq(redis_replies_elements(r), elements);
    cr_assert(span_is(buffer_span(errors), want), "%.*s", (int)errors->size, errors->data);
}

/* Whole, byte by byte, and cut at every place. */
static void check_stream(struct span stream, size_t count, size_t elements, const char *want)
{
    for (size_t cut = 0; cut <= stream.size + 1; cut++) {
        struct buffer errors = { 0 };
        struct redis_replies *r = redis_replies_new(note_error, &errors);
        for (size_t at = 0; at < stream.size;) {
            size_t size = cut > stream.size ? 1 : at == 0 && cut > 0 ? cut : stream.size - at;
            struct span part = bytes_exact(span_make(stream.data + at, size));
            cr_assert(redis_replies_feed(r, part));
            bytes_free(part);
            at += size;
        }
        check(r, &errors, count, elements, want);
        redis_replies_free(r);
        buffer_free(&errors);
    }
}

Test(redis_replies, are_counted_and_errors_are_told_with_their_place)
{
    check_stream(BYTES("+OK\r\n"), 1, 0, "");
    check_stream(BYTES(":7\r\n$-1\r\n$5\r\n-a\r\nb\r\n*-1\r\n"), 4, 0, "");
    check_stream(BYTES("-ERR no\r\n+OK\r\n-OOM x\r\n"), 3, 0, "0.-1 ERR no; 2.-1 OOM x; ");
    check_stream(BYTES("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n-WRONGTYPE x\r\n"), 4, 2, "3.1 WRONGTYPE x; ");
    check_stream(BYTES("*3\r\n*2\r\n:1\r\n-A\r\n-B\r\n*0\r\n"), 1, 3, "0.0 A; 0.1 B; ");
    check_stream(BYTES("*0\r\n"), 1, 0, "");
    check_stream(BYTES("*2\r\n:1\r\n:1\r\n+OK\r\n"), 2, 0, "");
    check_stream(BYTES("*2147483647\r\n:1\r\n"), 0, 2147483647, "");
}

Test(redis_replies, counting_can_begin_anew)
{
    struct buffer errors = { 0 };
    struct redis_replies *r = redis_replies_new(note_error, &errors);
    cr_assert(redis_replies_feed(r, span_of("+OK\r\n*1\r\n+OK\r\n")));
    check(r, &errors, 2, 1, "");
    redis_replies_restart(r);
    cr_assert(redis_replies_feed(r, span_of("-ERR\r\n")));
    check(r, &errors, 1, 0, "0.-1 ERR; ");
    redis_replies_free(r);
    redis_replies_free(NULL);
    buffer_free(&errors);
}

Test(redis_replies, what_is_none_is_refused)
{
    static const char *const rows[] = { "HTTP/1.1 200 OK\r\n", "\r\n", "$x\r\n",
                                        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n" };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buffer errors = { 0 };
        struct redis_replies *r = redis_replies_new(note_error, &errors);
        cr_assert_not(redis_replies_feed(r, span_of(rows[i])), "%s", rows[i]);
        redis_replies_free(r);
        buffer_free(&errors);
    }
}

Test(redis_replies, one_reply_has_an_end_in_sight)
{
    struct buffer errors = { 0 };
    struct redis_replies *r = redis_replies_new(note_error, &errors);
    static char part[100000];
    cr_assert(redis_replies_feed(r, span_of("$500000000\r\n")));
    int fed = 0;
    while (redis_replies_feed(r, span_make(part, sizeof part)))
        cr_assert_lt(++fed, 20);
    redis_replies_free(r);
    buffer_free(&errors);
}
