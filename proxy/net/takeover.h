/* The one that comes: takes the sockets of the pgatomic that listens already, and in the end its place (P12).
 *
 * Its listening sockets come over as they are, with the connections that wait in their queues. So there is no moment at which nobody listens,
 * none at which two processes accept, and nothing that is lost with the old one's copy. (With SO_REUSEPORT each process has a queue of its own,
 * and what waits in that of the old one is reset when it closes.)
 *
 * At the start, before the loops run: these wait for the other process, with a deadline. */
#ifndef PROXY_NET_TAKEOVER_H
#define PROXY_NET_TAKEOVER_H

#include "proxy/net/address.h"

/* The process of pgatomic, of the same user, that can be called at `a`; 0: none. */
pid_t takeover_holder(const struct address *a);

/* Asks whoever listens at `a` for its sockets, which are inherited (see inherited.h); nobody is asked twice. False: there is somebody, but it
 * did not hand them over, and `error` says why. */
bool takeover_ask(const struct address *a, char *error, size_t error_size);
/* Tells those who were asked that we are ready, and waits until they take no more clients. `on_cancels` is called with each address to
 * which cancel requests for their clients can go. `error` says which one did not answer, or is ""; false when that was the first, so that
 * nothing has changed. */
bool takeover_finish(void (*on_cancels)(const struct address *a), char *error, size_t error_size);
/* Lets them be; nothing has changed for them. */
void takeover_give_up(void);

#endif
