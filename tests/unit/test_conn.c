#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/net/conn.h"

/* A connection on a loop, and the socket of its peer. */
struct pair {
    struct loop loop;
    struct conn conn;
    int peer;
    unsigned drained; /* times that it was ready, but not for reading */
    bool stop_when_drained;
};

static void on_turn(void *context)
{
    (void)context;
}

static void on_ready(void *owner, bool readable)
{
    struct pair *p = owner;
    if (readable)
        return;
    p->drained++;
    if (p->stop_when_drained && conn_queued(&p->conn) == 0)
        loop_stop(&p->loop);
}

static void setup(struct pair *p)
{
    int ends[2];
    *p = (struct pair){ 0 };
    loop_init(&p->loop, on_turn, NULL);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    p->peer = ends[1];
    conn_open(&p->conn, &p->loop, ends[0], on_ready, p);
}

static void teardown(struct pair *p)
{
    conn_close(&p->conn);
    conn_close(&p->conn); /* twice is fine */
    close(p->peer);
    loop_destroy(&p->loop);
}

static void say(struct pair *p, const char *text)
{
    cr_assert_eq(write(p->peer, text, strlen(text)), (ssize_t)strlen(text));
}

static struct span receive(struct pair *p)
{
    struct span input;
    cr_assert_eq(conn_receive(&p->conn, &input), CONN_INPUT);
    return input;
}

Test(conn, what_is_kept_stands_ahead_of_what_comes_next)
{
    struct pair p;
    struct span input;
    setup(&p);
    say(&p, "one two");
    conn_keep(&p.conn, receive(&p), 4);
    cr_assert(span_is(conn_kept(&p.conn), "two"));
    cr_assert_eq(conn_receive(&p.conn, &input), CONN_NOTHING);
    cr_assert(span_is(conn_kept(&p.conn), "two"));
    say(&p, " three");
    input = receive(&p);
    cr_assert(span_is(input, "two three"));
    conn_keep(&p.conn, input, input.size);
    cr_assert_null(p.conn.in.data, "an idle connection owns no buffer");
    teardown(&p);
}

Test(conn, kept_bytes_can_be_used_in_place)
{
    struct pair p;
    setup(&p);
    say(&p, "held and more");
    conn_keep(&p.conn, receive(&p), 0);
    conn_keep(&p.conn, conn_kept(&p.conn), 5);
    cr_assert(span_is(conn_kept(&p.conn), "and more"));
    conn_keep(&p.conn, conn_kept(&p.conn), 8);
    cr_assert_null(p.conn.in.data);
    teardown(&p);
}

Test(conn, much_more_than_the_scratch_memory_can_be_kept)
{
    enum { SIZE = 5 * LOOP_SCRATCH_SIZE };
    struct pair p;
    setup(&p);
    char *sent = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        sent[i] = (char)(i * 7 + i / 253);
    struct span input = { 0 };
    for (size_t at = 0; at < SIZE || input.size < SIZE;) {
        ssize_t n = at < SIZE ? write(p.peer, sent + at, SIZE - at) : 0;
        at += n > 0 ? (size_t)n : 0;
        if (conn_receive(&p.conn, &input) == CONN_INPUT)
            conn_keep(&p.conn, input, 0);
        input = conn_kept(&p.conn);
    }
    cr_assert(span_equal(input, span_make(sent, SIZE)));
    conn_keep(&p.conn, input, SIZE);
    cr_assert_null(p.conn.in.data);
    free(sent);
    teardown(&p);
}

static void *read_all(void *context)
{
    struct pair *p = context;
    struct buffer all = { 0 };
    char part[4096];
    fcntl(p->peer, F_SETFL, 0);
    for (ssize_t n; (n = read(p->peer, part, sizeof part)) > 0;)
        buffer_append(&all, part, (size_t)n);
    struct buffer *result = malloc(sizeof *result);
    *result = all;
    return result;
}

Test(conn, what_the_socket_does_not_take_is_queued_and_leaves_in_order)
{
    enum { SIZE = 3 << 20 };
    struct pair p;
    setup(&p);
    char *big = malloc(SIZE);
    memset(big, 'x', SIZE);
    struct iovec parts[] = { { "first ", 6 }, { big, SIZE }, { " last", 5 } };
    conn_send(&p.conn, parts, 3);
    conn_send_span(&p.conn, span_of(", and one more"));
    conn_end_output(&p.conn);
    conn_send_span(&p.conn, span_of("too late"));
    cr_assert_gt(conn_queued(&p.conn), 0);

    pthread_t reader;
    pthread_create(&reader, NULL, read_all, &p);
    p.stop_when_drained = true;
    loop_run(&p.loop);
    struct buffer *all;
    pthread_join(reader, (void **)&all);

    cr_assert_eq(all->size, 6 + SIZE + 5 + 14);
    cr_assert(span_equal(span_make(all->data, 6), span_of("first ")));
    cr_assert(span_equal(span_make(all->data + 6 + SIZE, 19), span_of(" last, and one more")));
    cr_assert_null(p.conn.out);
    buffer_free(all);
    free(all);
    free(big);
    teardown(&p);
}

Test(conn, output_to_a_peer_that_is_gone_is_dropped_and_reading_tells_the_end)
{
    struct pair p;
    struct span input;
    setup(&p);
    say(&p, "last words");
    shutdown(p.peer, SHUT_RDWR);
    conn_send_span(&p.conn, span_of("anybody there?"));
    conn_send_span(&p.conn, span_of("no"));
    cr_assert(p.conn.broken);
    cr_assert_eq(conn_queued(&p.conn), 0);
    cr_assert(span_is(receive(&p), "last words"));
    cr_assert_eq(conn_receive(&p.conn, &input), CONN_LOST);
    teardown(&p);
}
