/* Listening sockets.
 *
 * A socket file is removed by the process that has made it, or has been given it to keep, and only while the name still leads to that file:
 * somebody may have put another one there.
 *
 * What accepted sockets need (socket.h) is set on the listening one, from which they inherit it.
 * When the process has no descriptors left, a connection that waits would make the loop spin: the listener then rests for a
 * moment, and the waiting clients with it. */
#include "proxy/net/listener.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/memory.h"
#include "proxy/net/inherited.h"
#include "proxy/net/socket.h"

enum { BACKLOG = 4096, ACCEPTS_AT_ONCE = 64, REST_US = 200 * 1000 };

struct listener {
    int fd;
    struct event *event;
    struct timer *rest;
    struct address address;
    bool owns_file;
    dev_t device; /* of the file that it owns */
    ino_t inode;
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

static bool bind_socket(int fd, const struct address *a)
{
    int on = 1;
    if (address_is_unix(a))
        remove_stale_file(a);
    else
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->any.sa_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    return bind(fd, &a->any, a->size) == 0 && listen(fd, BACKLOG) == 0;
}

static int open_socket(const struct address *a)
{
    int fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind_socket(fd, a))
        return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

int listener_socket(const char *host, uint16_t port, bool is_unix, struct address *address, char *error,
                    size_t error_size)
{
    struct inherited old;
    bool valid = is_unix ? address_set_unix(address, host, port) : address_set_ip(address, host, port);
    if (!valid) {
        snprintf(error, error_size, "%s", is_unix ? "the path is too long for a socket" : "not an IP address");
        return -1;
    }
    if (inherited_take(address, &old)) {
        if (old.bell >= 0)
            close(old.bell);
        return old.fd;
    }
    int fd = open_socket(address);
    if (fd < 0)
        snprintf(error, error_size, "%s", strerror(errno));
    return fd;
}

static struct listener *listener_new(struct loop *l, int fd, listener_accepted *accepted, void *context)
{
    struct listener *listener = or_abort(calloc(1, sizeof *listener));
    listener->fd = fd;
    listener->accepted = accepted;
    listener->context = context;
    (void)address_of_socket(&listener->address, fd);
    socket_set_up(fd, &listener->address, &tcp_options_usual);
    listener->rest = timer_new(l, on_rested, listener);
    listener->event = or_abort(event_new(l->base, fd, EV_READ | EV_PERSIST, on_connections, listener));
    event_add(listener->event, NULL);
    return listener;
}

static bool has_file(const struct listener *listener)
{
    return address_is_unix(&listener->address) && listener->address.un.sun_path[0] != '\0';
}

struct listener *listener_open(struct loop *l, const struct address *a, listener_accepted *accepted, void *context)
{
    int fd = open_socket(a);
    if (fd < 0)
        return NULL;
    struct listener *listener = listener_new(l, fd, accepted, context);
    if (has_file(listener))
        (void)chmod(a->un.sun_path, 0777); /* who may come in is decided by authentication */
    listener_own_file(listener);
    return listener;
}

struct listener *listener_adopt(struct loop *l, int fd, listener_accepted *accepted, void *context)
{
    return listener_new(l, fd, accepted, context);
}

const struct address *listener_address(const struct listener *listener)
{
    return &listener->address;
}

int listener_descriptor(const struct listener *listener)
{
    return listener->fd;
}

void listener_own_file(struct listener *listener)
{
    struct stat status;
    listener->owns_file = has_file(listener) && stat(listener->address.un.sun_path, &status) == 0;
    if (listener->owns_file) {
        listener->device = status.st_dev;
        listener->inode = status.st_ino;
    }
}

bool listener_owns_file(const struct listener *listener)
{
    return listener->owns_file;
}

static bool is_still_ours(const struct listener *listener)
{
    struct stat status;
    return stat(listener->address.un.sun_path, &status) == 0 && status.st_dev == listener->device &&
           status.st_ino == listener->inode;
}

void listener_close(struct listener *listener)
{
    if (listener->owns_file && is_still_ours(listener))
        unlink(listener->address.un.sun_path);
    listener_leave(listener);
}

void listener_leave(struct listener *listener)
{
    event_free(listener->event);
    timer_free(listener->rest);
    close(listener->fd);
    free(listener);
}
