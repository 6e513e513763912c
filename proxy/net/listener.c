/* Listening sockets.
 *
 * What accepted sockets need (TCP_NODELAY, keepalive) is set on the listening one, from which they inherit it.
 * When the process has no descriptors left, a connection that waits would make the loop spin: the listener then rests for a
 * moment, and the waiting clients with it. */
#include "proxy/net/listener.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/memory.h"

enum { BACKLOG = 4096, ACCEPTS_AT_ONCE = 64, REST_US = 200 * 1000 };

struct listener {
    int fd;
    struct event *event;
    struct timer *rest;
    struct address address;
    listener_accepted *accepted;
    void *context;
};

static void on_connections(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct listener *listener = arg;
    for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
        struct address peer = { .size = sizeof peer.un };
        int client = accept4(fd, &peer.any, &peer.size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client >= 0) {
            listener->accepted(listener->context, client, &peer);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            listener->accepted(listener->context, -1, NULL);
            event_del(listener->event);
            timer_start(listener->rest, REST_US);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

static void on_rested(void *context)
{
    struct listener *listener = context;
    event_add(listener->event, NULL);
}

/* A socket file that nobody listens on any more refuses connections. */
static void remove_stale_file(const struct address *a)
{
    struct stat status;
    if (stat(a->un.sun_path, &status) < 0 || !S_ISSOCK(status.st_mode))
        return;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (connect(fd, &a->any, a->size) < 0 && errno == ECONNREFUSED)
        unlink(a->un.sun_path);
    close(fd);
}

static int open_socket(const struct address *a)
{
    int fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int on = 1;
    if (address_is_unix(a)) {
        remove_stale_file(a);
    } else {
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (a->any.sa_family == AF_INET6)
            (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    }
    if (bind(fd, &a->any, a->size) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

static struct listener *listener_new(struct loop *l, int fd, const struct address *address)
{
    struct listener *listener = or_abort(malloc(sizeof *listener));
    *listener = (struct listener){ .fd = fd, .address = *address };
    listener->rest = timer_new(l, on_rested, listener);
    listener->event = or_abort(event_new(l->base, fd, EV_READ | EV_PERSIST, on_connections, listener));
    event_add(listener->event, NULL);
    return listener;
}

int listener_socket(const char *host, uint16_t port, bool is_unix, struct address *address, char *error,
                    size_t error_size)
{
    bool valid = is_unix ? address_set_unix(address, host, port) : address_set_ip(address, host, port);
    if (!valid) {
        snprintf(error, error_size, "%s", is_unix ? "the path is too long for a socket" : "not an IP address");
        return -1;
    }
    int fd = open_socket(address);
    if (fd < 0)
        snprintf(error, error_size, "%s", strerror(errno));
    return fd;
}

struct listener *listener_open(struct loop *l, const char *host, uint16_t port, bool is_unix,
                               listener_accepted *accepted, void *context, char *error, size_t error_size)
{
    struct address address;
    int fd = listener_socket(host, port, is_unix, &address, error, error_size);
    if (fd < 0)
        return NULL;
    if (is_unix)
        (void)chmod(address.un.sun_path, 0777); /* who may come in is decided by authentication */
    struct listener *listener = listener_new(l, fd, &address);
    listener->accepted = accepted;
    listener->context = context;
    return listener;
}

void listener_close(struct listener *listener)
{
    event_free(listener->event);
    timer_free(listener->rest);
    close(listener->fd);
    if (address_is_unix(&listener->address))
        unlink(listener->address.un.sun_path);
    free(listener);
}
