/* Connections on libevent.
 *
 * One event a connection. It is changed only when what is watched changes, which in ordinary traffic is never: input
 * is wanted all the time, and output is tried at once.
 *
 *     socket --recv--> [kept bytes | new bytes] --> owner --> conn_send --> socket
 *                       scratch, or `in` when large            rest --> out --(writable)--> socket
 *
 * Kept bytes are copied to the front of the scratch memory ahead of the next recv, so that a message that was cut is whole
 * there. When there are too many of them for that, reading goes to the end of `in` instead.
 *
 * TLS stands between the socket and this: what it has decrypted comes in place of what recv() gives, and what it has encrypted goes
 * out in place of what the owner sent. */
#include "proxy/net/conn.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "protocol/memory.h"

/* The most bytes in several parts that are sent as one. */
enum { COPIED_MAX = 1024 };

static void flush_queue(struct conn *c);

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    struct conn *c = arg;
    if (what & EV_WRITE)
        flush_queue(c);
    c->on_ready(c->owner, (what & EV_READ) != 0);
}

/* TLS has something to say of which the loop, who looks at the socket, does not know: bytes that it holds, or that it has failed. */
static void ring_for_tls(struct conn *c)
{
    if (c->tls != NULL && c->wants_input && (tls_has_pending(c->tls) || tls_error(c->tls)[0] != '\0'))
        event_active(c->event, EV_READ, 0);
}

/* Makes the loop watch for what the connection waits for now. */
static void watch(struct conn *c)
{
    short what = (short)((c->wants_input ? EV_READ : 0) | (conn_queued(c) > 0 ? EV_WRITE : 0));
    if (what == c->watched)
        return;
    if (c->watched != 0)
        event_del(c->event);
    c->watched = (uint8_t)what;
    if (what == 0)
        return;
    if (c->event == NULL)
        c->event = event_new(c->loop->base, c->fd, (short)(what | EV_PERSIST), on_event, c);
    else
        event_assign(c->event, c->loop->base, c->fd, (short)(what | EV_PERSIST), on_event, c);
    if (c->event == NULL)
        abort();
    event_add(c->event, NULL);
    ring_for_tls(c);
}

void conn_set_input_wanted(struct conn *c, bool wanted)
{
    if (!conn_is_open(c))
        return;
    c->wants_input = wanted;
    watch(c);
}

void conn_open(struct conn *c, struct loop *l, int fd, void (*on_ready)(void *owner, bool readable), void *owner)
{
    *c = (struct conn){ .fd = fd, .loop = l, .on_ready = on_ready, .owner = owner };
}

static void drop_queue(struct conn *c)
{
    if (c->out == NULL)
        return;
    buffer_free(&c->out->bytes);
    free(c->out);
    c->out = NULL;
}

static void queue(struct conn *c, const char *data, size_t size)
{
    if (c->out == NULL)
        c->out = or_abort(calloc(1, sizeof *c->out));
    buffer_append(&c->out->bytes, data, size);
}

bool conn_is_unix(const struct conn *c)
{
    struct sockaddr_storage name;
    socklen_t size = sizeof name;
    return getsockname(c->fd, (struct sockaddr *)&name, &size) == 0 && name.ss_family == AF_UNIX;
}

int conn_release(struct conn *c, struct tls **tls)
{
    int fd = c->fd;
    if (c->event != NULL)
        event_free(c->event);
    c->event = NULL;
    c->wants_input = false;
    c->watched = 0;
    c->fd = -1;
    *tls = c->tls;
    c->tls = NULL;
    buffer_free(&c->in);
    drop_queue(c);
    return fd;
}

void conn_close(struct conn *c)
{
    struct tls *tls;
    if (!conn_is_open(c))
        return;
    if (c->tls != NULL)
        tls_end(c->tls);
    close(conn_release(c, &tls));
    tls_free(tls);
}

static void set_broken(struct conn *c, int why)
{
    c->broken = (uint8_t)why;
    drop_queue(c);
}

bool conn_peer_uid(const struct conn *c, uid_t *uid)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (!conn_is_open(c) || getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.pid == 0)
        return false;
    *uid = peer.uid;
    return true;
}

/* --- input --------------------------------------------------------------------------------------- */

/* What TLS says to a peer that it gives up is still to be sent. */
static enum conn_result result_of(struct conn *c, ssize_t n)
{
    if (n > 0)
        return CONN_INPUT;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return CONN_NOTHING;
    if (n < 0 && conn_tls_error(c)[0] == '\0')
        set_broken(c, errno);
    return CONN_LOST;
}

/* recv() and send() of the C library are points of cancellation, which costs as much again as a short message does. Nobody cancels
 * these threads. */
static ssize_t receive_bytes(int fd, char *to, size_t size)
{
    return syscall(SYS_recvfrom, fd, to, size, 0, NULL, NULL);
}

/* A record is at most 16 kB, of which as many are taken as there is room for. The loop sees only what the socket has; what TLS may
 * have more of, or say about its end, is asked for by ourselves. Out of the way of plain connections. */
static __attribute__((noinline)) ssize_t receive_decrypted(struct conn *c, char *to, size_t size)
{
    size_t got = 0;
    ssize_t n;
    do {
        n = tls_receive(c->tls, to + got, size - got);
        got += n > 0 ? (size_t)n : 0;
    } while (n > 0 && got < size && tls_has_pending(c->tls));
    bool is_drained = n > 0 ? !tls_has_pending(c->tls) : n < 0 && errno == EAGAIN;
    if (got > 0 && !is_drained && c->wants_input)
        event_active(c->event, EV_READ, 0);
    return got > 0 ? (ssize_t)got : n;
}

static inline ssize_t receive_some(struct conn *c, char *to, size_t size)
{
    return c->tls == NULL ? receive_bytes(c->fd, to, size) : receive_decrypted(c, to, size);
}

static ssize_t send_bytes(int fd, const char *from, size_t size)
{
    return syscall(SYS_sendto, fd, from, size, MSG_NOSIGNAL, NULL, 0);
}

static enum conn_result receive_behind_kept(struct conn *c, struct span *input)
{
    char *end = buffer_reserve(&c->in, LOOP_SCRATCH_SIZE);
    ssize_t n = receive_some(c, end, LOOP_SCRATCH_SIZE);
    if (n > 0) {
        c->received += (uint64_t)n;
        c->in.size += (size_t)n;
        *input = buffer_span(&c->in);
    }
    return result_of(c, n);
}

enum conn_result conn_receive(struct conn *c, struct span *input)
{
    if (c->in.size > LOOP_SCRATCH_SIZE / 2)
        return receive_behind_kept(c, input);
    char *scratch = c->loop->scratch;
    size_t kept = c->in.size;
    ssize_t n = receive_some(c, scratch + kept, LOOP_SCRATCH_SIZE - kept);
    if (n > 0) {
        c->received += (uint64_t)n;
        if (kept > 0)
            memcpy(scratch, c->in.data, kept);
        buffer_clear(&c->in);
        *input = span_make(scratch, kept + (size_t)n);
    }
    return result_of(c, n);
}

int conn_peek(const struct conn *c)
{
    unsigned char byte;
    return recv(c->fd, &byte, 1, MSG_PEEK) == 1 ? byte : -1;
}

void conn_keep(struct conn *c, struct span input, size_t used)
{
    assert(used <= input.size);
    if (used == input.size && c->in.data == NULL)
        return;
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

static inline bool takes_output(const struct conn *c)
{
    return conn_is_open(c) && !c->broken && !c->ending;
}

/* How many bytes the socket has taken, of a call that returned `n`; an error breaks the connection. */
static size_t sent_bytes(struct conn *c, ssize_t n)
{
    if (n >= 0)
        return (size_t)n;
    if (errno != EAGAIN && errno != EINTR)
        set_broken(c, errno);
    return 0;
}

static void flush_queue(struct conn *c)
{
    if (c->out != NULL) {
        size_t sent = sent_bytes(c, send_bytes(c->fd, c->out->bytes.data + c->out->sent, conn_queued(c)));
        if (!c->broken)
            c->out->sent += sent;
    }
    if (conn_queued(c) == 0)
        drop_queue(c);
    if (c->ending && conn_queued(c) == 0)
        shutdown(c->fd, SHUT_WR);
    watch(c);
}

static void send_or_queue(struct conn *c, struct span bytes)
{
    size_t sent = conn_queued(c) == 0 ? sent_bytes(c, send_bytes(c->fd, bytes.data, bytes.size)) : 0;
    if (sent == bytes.size || c->broken)
        return;
    queue(c, bytes.data + sent, bytes.size - sent);
    watch(c);
}

void conn_send_span(struct conn *c, struct span bytes)
{
    if (!takes_output(c) || bytes.size == 0)
        return;
    c->sent += bytes.size;
    if (c->tls != NULL)
        tls_send(c->tls, bytes);
    else
        send_or_queue(c, bytes);
}

static size_t send_parts(struct conn *c, const struct iovec *parts, int count)
{
    struct msghdr message = { .msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = (size_t)count };
    return sent_bytes(c, sendmsg(c->fd, &message, MSG_NOSIGNAL));
}

/* Small parts share a record, and a system call. */
static void send_parts_encrypted(struct conn *c, const struct iovec *parts, int count)
{
    enum { RECORD_SIZE = 16 * 1024 };
    char record[RECORD_SIZE];
    size_t filled = 0;
    for (int i = 0; i < count; i++) {
        if (parts[i].iov_len > RECORD_SIZE - filled) {
            tls_send(c->tls, span_make(record, filled));
            filled = 0;
        }
        if (parts[i].iov_len > RECORD_SIZE) {
            tls_send(c->tls, span_make(parts[i].iov_base, parts[i].iov_len));
        } else if (parts[i].iov_len > 0) {
            memcpy(record + filled, parts[i].iov_base, parts[i].iov_len);
            filled += parts[i].iov_len;
        }
    }
    tls_send(c->tls, span_make(record, filled));
}

/* Small parts become one: copying them costs less than having the kernel gather them. */
static void send_parts_copied(struct conn *c, const struct iovec *parts, int count)
{
    char copy[COPIED_MAX];
    size_t filled = 0;
    for (int i = 0; i < count; i++) {
        memcpy(copy + filled, parts[i].iov_base, parts[i].iov_len);
        filled += parts[i].iov_len;
    }
    send_or_queue(c, span_make(copy, filled));
}

void conn_send(struct conn *c, const struct iovec *parts, int count)
{
    size_t total = 0;
    if (!takes_output(c))
        return;
    for (int i = 0; i < count; i++)
        total += parts[i].iov_len;
    c->sent += total;
    if (c->tls != NULL) {
        send_parts_encrypted(c, parts, count);
        return;
    }
    if (total <= COPIED_MAX) {
        send_parts_copied(c, parts, count);
        return;
    }
    size_t sent = conn_queued(c) == 0 ? send_parts(c, parts, count) : 0;
    for (int i = 0; i < count && !c->broken; i++) {
        size_t gone = sent < parts[i].iov_len ? sent : parts[i].iov_len;
        sent -= gone;
        if (gone < parts[i].iov_len)
            queue(c, (const char *)parts[i].iov_base + gone, parts[i].iov_len - gone);
    }
    watch(c);
}

void conn_end_output(struct conn *c)
{
    if (!conn_is_open(c) || c->ending)
        return;
    if (c->tls != NULL)
        tls_end(c->tls);
    c->ending = true;
    if (conn_queued(c) == 0)
        shutdown(c->fd, SHUT_WR);
}

/* --- TLS ------------------------------------------------------------------------------------------ */

static ssize_t receive_for_tls(void *context, char *to, size_t size)
{
    const struct conn *c = context;
    return receive_bytes(c->fd, to, size);
}

static void send_for_tls(void *context, struct span bytes)
{
    struct conn *c = context;
    if (!c->broken)
        send_or_queue(c, bytes);
}

static struct tls_transport transport_of(struct conn *c)
{
    return (struct tls_transport){ receive_for_tls, send_for_tls, c };
}

void conn_start_tls(struct conn *c, struct tls *tls_take)
{
    assert(c->tls == NULL && c->in.size == 0);
    c->tls = tls_take;
    tls_start(c->tls, transport_of(c));
    ring_for_tls(c);
}

void conn_continue_tls(struct conn *c, struct tls *tls_take)
{
    assert(c->tls == NULL && c->in.size == 0);
    c->tls = tls_take;
    if (c->tls != NULL)
        tls_set_transport(c->tls, transport_of(c));
}

const char *conn_tls_error(const struct conn *c)
{
    return c->tls != NULL ? tls_error(c->tls) : "";
}

const char *conn_error(const struct conn *c)
{
    bool is_closed = c->broken == 0 || c->broken == ECONNRESET || c->broken == EPIPE;
    return is_closed || conn_tls_error(c)[0] != '\0' ? conn_tls_error(c) : strerror(c->broken);
}
