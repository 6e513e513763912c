/* How the sockets are set up over which servers are spoken to. */
#include <criterion/criterion.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/net/secure_dial.h"

static int listen_on_loopback(uint16_t *port)
{
    struct address a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert(address_set_ip(&a, "127.0.0.1", 0));
    cr_assert_eq(bind(fd, &a.any, a.size), 0);
    cr_assert_eq(listen(fd, 8), 0);
    cr_assert_eq(getsockname(fd, &a.any, &a.size), 0);
    *port = ntohs(a.in.sin_port);
    return fd;
}

/* Somebody who dials. */
struct caller {
    struct loop loop;
    struct secure_connection made;
};

static void on_turn(void *context)
{
    (void)context;
}

static void on_dialed(void *context, const struct secure_connection *made, const char *error)
{
    struct caller *c = context;
    cr_assert_not_null(made, "%s", error);
    c->made = *made;
    loop_stop(&c->loop);
}

static int option_of(int fd, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof value;
    cr_assert_eq(getsockopt(fd, level, name, &value, &size), 0);
    return value;
}

static void expect_options(const struct caller *c, const struct tcp_options *want)
{
    int fd = c->made.fd;
    cr_expect_eq(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), want->keepalives);
    cr_expect_eq(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), want->idle_s);
    cr_expect_eq(option_of(fd, IPPROTO_TCP, TCP_KEEPINTVL), want->interval_s);
    cr_expect_eq(option_of(fd, IPPROTO_TCP, TCP_KEEPCNT), want->count);
    cr_expect_eq(option_of(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), want->user_timeout_ms);
    cr_expect_eq(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    close(fd);
}

/* Those of a connection to the host, and of one that is made like it. */
static void expect_made_with(const struct tcp_options *said, const struct tcp_options *want)
{
    uint16_t port;
    int listening = listen_on_loopback(&port);
    const char *hosts[] = { "127.0.0.1", NULL };
    const struct database d = {
        .hosts = hosts, .names = hosts, .ports = &port, .connect_timeout_ms = 10000, .tcp = *said
    };
    const struct secure_targets targets = secure_targets_of(&d);
    struct caller c = { .made.fd = -1 };
    loop_init(&c.loop, on_turn, NULL);

    secure_dial_hosts(&c.loop, NULL, &targets, on_dialed, &c);
    loop_run(&c.loop);
    expect_options(&c, want);

    const struct secure_way way = c.made.way;
    secure_dial_way(&c.loop, &way, 10000, on_dialed, &c);
    loop_run(&c.loop);
    expect_options(&c, want);

    loop_destroy(&c.loop);
    close(listening);
}

Test(secure_dial, P8_a_connection_to_a_server_and_one_to_cancel_by_are_looked_after_as_the_upstream_says)
{
    const struct tcp_options said = { true, 7, 3, 5, 12345 };
    expect_made_with(&said, &said);
    expect_made_with(&tcp_options_usual, &(struct tcp_options){ true, 30, 10, 3, 0 });
}

Test(secure_dial, P8_what_is_not_to_be_set_stays_the_systems)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct tcp_options systems = { .keepalives = true,
                                   .idle_s = option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE),
                                   .interval_s = option_of(fd, IPPROTO_TCP, TCP_KEEPINTVL),
                                   .count = option_of(fd, IPPROTO_TCP, TCP_KEEPCNT) };
    close(fd);
    expect_made_with(&(struct tcp_options){ .keepalives = true }, &systems);
    systems.keepalives = false;
    expect_made_with(&(struct tcp_options){ .idle_s = 7, .interval_s = 3, .count = 5 }, &systems);
}
