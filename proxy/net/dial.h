/* Connects to the first of several hosts that answers.
 *
 * Hosts are tried in order, unless they are to be shuffled, and the addresses of each in the order of its name's resolution, every
 * address for at most the given time. */
#ifndef PROXY_NET_DIAL_H
#define PROXY_NET_DIAL_H

#include "config/config.h"
#include "proxy/net/address.h"
#include "proxy/net/resolve.h"

struct dial;

struct dial_targets {
    const char *const
        *hosts;            /* NULL-terminated; names, addresses, or directories of unix sockets (they begin with '/') */
    const uint16_t *ports; /* one a host */
    uint64_t timeout_ms;   /* for each address; 0: as long as the system tries */
    bool shuffled;
    const struct tcp_options *tcp; /* NULL: the usual */
};

/* `fd` is connected, non-blocking and the callee's; or it is -1, and `error` says for each address that was tried what went wrong, in the
 * words of libpq, one a line. */
typedef void dial_done(void *context, int fd, const struct address *to, const char *error);

/* `targets` points to what outlives the dial. `done` is never called before this returns. */
struct dial *dial_hosts(struct loop *l, struct resolver *r, const struct dial_targets *targets, dial_done *done,
                        void *context);
struct dial *dial_address(struct loop *l, const struct address *to, uint64_t timeout_ms, const struct tcp_options *tcp,
                          dial_done *done, void *context);
/* `done` will not be called any more. NULL: nothing. */
void dial_cancel(struct dial *d);

/* --- in `done`, with an `fd` ----------------------------------------------------------------------- */

/* Of the targets, which one answers. */
size_t dial_host(const struct dial *d);
/* Who answers may turn out not to be wanted: the dial stays, for dial_next(), dial_again() or, when it is settled, dial_cancel(). */
void dial_keep(struct dial *d);
/* Goes on behind an address that was not what is wanted, for this reason; the socket is the caller's. */
void dial_next(struct dial *d, const char *why);
/* Another connection to the same address. */
void dial_again(struct dial *d);

#endif
