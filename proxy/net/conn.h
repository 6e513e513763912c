/* One connection: a socket, what was read and is not used up, and what the socket would not take yet.
 *
 * An idle connection owns no buffers. Reading goes into the loop's scratch memory, writing comes straight from it; only what is
 * left over (part of a message, or bytes that the peer is too slow for) is kept. With TLS the owner sees no difference: it sends and receives
 * as ever, from the start, and what is queued is what the socket will get. */
#ifndef PROXY_NET_CONN_H
#define PROXY_NET_CONN_H

#include <sys/types.h>
#include <sys/uio.h>

#include "protocol/buffer.h"
#include "proxy/net/loop.h"
#include "proxy/net/tls.h"

/* What the socket would not take yet. */
struct conn_queue {
    struct buffer bytes;
    size_t sent; /* at the front of them, gone already */
};

/* There is one for every client, so it is kept small. */
struct conn {
    int fd;         /* -1: closed */
    uint8_t broken; /* the errno of what has failed: output is dropped, and reading will tell the end; 0: nothing has */
    bool ending;    /* conn_end_output(): output is dropped, but for what is queued */
    bool wants_input;
    uint8_t watched; /* what the loop watches for: EV_READ, EV_WRITE */
    struct loop *loop;
    void (*on_ready)(void *owner, bool readable); /* false: only the output has drained */
    void *owner;
    void *event; /* libevent's; NULL until something is watched for */
    struct buffer in;
    struct conn_queue *out;  /* NULL: nothing is queued */
    uint64_t received, sent; /* bytes, by and for the owner */
    struct tls *tls;         /* NULL: plain */
};

enum conn_result { CONN_INPUT, CONN_NOTHING, CONN_LOST };

/* Takes a non-blocking socket. Nothing is watched yet. */
void conn_open(struct conn *c, struct loop *l, int fd, void (*on_ready)(void *owner, bool readable), void *owner);
/* Goes on with TLS, whose handshake is looked after here; input must be wanted for it. Nothing may have been kept: what came before
 * must not be taken for what came over TLS. */
void conn_start_tls(struct conn *c, struct tls *tls_take);
/* Goes on with what another connection has established on this socket (conn_release()); NULL: plain. */
void conn_continue_tls(struct conn *c, struct tls *tls_take);
/* Why TLS has failed, and with it the connection: CONN_LOST. "": it has not. */
const char *conn_tls_error(const struct conn *c);
/* The same, and what the system says, when it has something to say: that nobody answers any more, say. "": the peer has closed it. */
const char *conn_error(const struct conn *c);
/* Both directions at once, whatever was queued. Closing twice is fine. */
void conn_close(struct conn *c);
/* It does not leave the machine: there is nothing for TLS to hide. */
bool conn_is_unix(const struct conn *c);
/* Gives away the socket and, in *tls, what is established on it (NULL: nothing); what was kept is dropped. Nothing may be queued. */
int conn_release(struct conn *c, struct tls **tls);
static inline bool conn_is_open(const struct conn *c)
{
    return c->fd >= 0;
}

/* The user whose process is at the other end of a unix socket. False: nobody can tell. */
bool conn_peer_uid(const struct conn *c, uid_t *uid);

/* Reads once. CONN_INPUT: *input holds what was kept and what has come now, until conn_keep(), which must follow before the
 * loop's scratch memory is used again. CONN_LOST: the peer has closed its side, or the connection is broken. */
enum conn_result conn_receive(struct conn *c, struct span *input);
/* The first byte that has come and was not read, which it still is not; -1: there is none. */
int conn_peek(const struct conn *c);
/* Keeps what stands behind the first `used` bytes of the input that conn_receive() or conn_kept() gave. */
void conn_keep(struct conn *c, struct span input, size_t used);
static inline struct span conn_kept(const struct conn *c)
{
    return buffer_span(&c->in);
}

/* Sends now what the socket takes and queues the rest; behind a queue, queues. Never blocks, never fails (see `broken`). */
void conn_send(struct conn *c, const struct iovec *parts, int count);
void conn_send_span(struct conn *c, struct span bytes);
/* Bytes that the socket has not taken yet. */
static inline size_t conn_queued(const struct conn *c)
{
    return c->out != NULL ? c->out->bytes.size - c->out->sent : 0;
}
void conn_set_input_wanted(struct conn *c, bool wanted);
/* Says whether input is wanted. Draining the output is looked after here. */
static inline void conn_want_input(struct conn *c, bool wanted)
{
    if (wanted != c->wants_input)
        conn_set_input_wanted(c, wanted);
}
/* Tells the peer, once what is queued has gone, that nothing more will come; what is sent from now on is dropped. */
void conn_end_output(struct conn *c);

#endif
