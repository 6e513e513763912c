/* Connections on libevent.
 *
 * One event a connection. It is changed only when what is watched changes, which in ordinary traffic is never: input
 * is wanted all the time, and output is tried at once.
 *
 *     socket --recv--> [kept bytes | new bytes] --> owner --> conn_send --> socket
 *                       scratch, or `in` when large            rest --> out --(writable)--> socket
 *
 * Kept bytes are copied to the front of the scratch memory ahead of the next recv, so that a message that was cut is whole
 * there. When there are too many of them for that, reading goes to the end of `in` instead. */
#include "proxy/net/conn.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void flush_queue(struct conn *c);

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    struct conn *c = arg;
    if (what & EV_WRITE)
        flush_queue(c);
    c->on_ready(c->owner, (what & EV_READ) != 0);
}

static void watch_for(struct conn *c, short what)
{
    if (what == c->asked)
        return;
    if (c->asked != 0)
        event_del(c->event);
    c->asked = what;
    if (what == 0)
        return;
    if (c->event == NULL) {
        c->event = event_new(c->loop->base, c->fd, (short)(what | EV_PERSIST), on_event, c);
        if (c->event == NULL)
            abort();
    } else {
        event_assign(c->event, c->loop->base, c->fd, (short)(what | EV_PERSIST), on_event, c);
    }
    event_add(c->event, NULL);
}

void conn_open(struct conn *c, struct loop *l, int fd, void (*on_ready)(void *owner, bool readable), void *owner)
{
    *c = (struct conn){ .fd = fd, .loop = l, .on_ready = on_ready, .owner = owner };
}

static void drop_queue(struct conn *c)
{
    buffer_free(&c->out);
    c->out_sent = 0;
}

void conn_close(struct conn *c)
{
    if (!conn_is_open(c))
        return;
    watch_for(c, 0);
    if (c->event != NULL)
        event_free(c->event);
    c->event = NULL;
    close(c->fd);
    c->fd = -1;
    buffer_free(&c->in);
    drop_queue(c);
}

static void set_broken(struct conn *c)
{
    c->broken = true;
    drop_queue(c);
}

/* --- input --------------------------------------------------------------------------------------- */

static enum conn_result result_of(ssize_t n)
{
    if (n > 0)
        return CONN_INPUT;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return CONN_NOTHING;
    return CONN_LOST;
}

static enum conn_result receive_behind_kept(struct conn *c, struct span *input)
{
    char *end = buffer_reserve(&c->in, LOOP_SCRATCH_SIZE);
    ssize_t n = recv(c->fd, end, LOOP_SCRATCH_SIZE, 0);
    if (n > 0) {
        c->in.size += (size_t)n;
        *input = buffer_span(&c->in);
    }
    return result_of(n);
}

enum conn_result conn_receive(struct conn *c, struct span *input)
{
    if (c->in.size > LOOP_SCRATCH_SIZE / 2)
        return receive_behind_kept(c, input);
    char *scratch = c->loop->scratch;
    size_t kept = c->in.size;
    ssize_t n = recv(c->fd, scratch + kept, LOOP_SCRATCH_SIZE - kept, 0);
    if (n > 0) {
        if (kept > 0)
            memcpy(scratch, c->in.data, kept);
        buffer_clear(&c->in);
        *input = span_make(scratch, kept + (size_t)n);
    }
    return result_of(n);
}

void conn_keep(struct conn *c, struct span input, size_t used)
{
    assert(used <= input.size);
    if (!conn_is_open(c))
        return;
    if (c->in.data != NULL && input.data == c->in.data)
        buffer_consume(&c->in, used);
    else
        buffer_append(&c->in, input.data + used, input.size - used);
    if (c->in.size == 0 && c->in.data != NULL)
        buffer_free(&c->in);
}

/* --- output -------------------------------------------------------------------------------------- */

/* How many bytes of `parts` the socket took; 0, and the connection broken, after an error. */
static size_t try_send(struct conn *c, const struct iovec *parts, int count)
{
    ssize_t n;
    do {
        if (count == 1) {
            n = send(c->fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL);
        } else {
            struct msghdr message = { .msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = (size_t)count };
            n = sendmsg(c->fd, &message, MSG_NOSIGNAL);
        }
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN)
        set_broken(c);
    return n < 0 ? 0 : (size_t)n;
}

static void watch_for_output(struct conn *c)
{
    watch_for(c, (short)((c->asked & EV_READ) | (conn_queued(c) > 0 ? EV_WRITE : 0)));
}

static void flush_queue(struct conn *c)
{
    struct iovec rest = { c->out.data + c->out_sent, conn_queued(c) };
    size_t sent = try_send(c, &rest, 1);
    if (!c->broken) {
        c->out_sent += sent;
        if (conn_queued(c) == 0)
            drop_queue(c);
    }
    if (c->ending && conn_queued(c) == 0)
        shutdown(c->fd, SHUT_WR);
    watch_for_output(c);
}

void conn_send(struct conn *c, const struct iovec *parts, int count)
{
    if (!conn_is_open(c) || c->broken || c->ending)
        return;
    size_t sent = conn_queued(c) == 0 ? try_send(c, parts, count) : 0;
    if (c->broken)
        return;
    for (int i = 0; i < count; i++) {
        size_t gone = sent < parts[i].iov_len ? sent : parts[i].iov_len;
        sent -= gone;
        if (gone < parts[i].iov_len)
            buffer_append(&c->out, (const char *)parts[i].iov_base + gone, parts[i].iov_len - gone);
    }
    watch_for_output(c);
}

void conn_send_span(struct conn *c, struct span bytes)
{
    struct iovec part = { (void *)(uintptr_t)bytes.data, bytes.size };
    if (bytes.size > 0)
        conn_send(c, &part, 1);
}

void conn_want_input(struct conn *c, bool wanted)
{
    if (conn_is_open(c))
        watch_for(c, (short)((wanted ? EV_READ : 0) | (conn_queued(c) > 0 ? EV_WRITE : 0)));
}

void conn_end_output(struct conn *c)
{
    if (!conn_is_open(c) || c->ending)
        return;
    c->ending = true;
    if (conn_queued(c) == 0)
        shutdown(c->fd, SHUT_WR);
}
