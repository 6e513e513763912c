/* How connections over TCP are set up, to clients and to PostgreSQL. */
#ifndef PROXY_NET_SOCKET_H
#define PROXY_NET_SOCKET_H

#include "proxy/net/address.h"

/* What is small is sent at once, and a peer that has gone without a word (its power, its network) is noticed after a minute in which nothing was
 * said to it. While something is not acknowledged the kernel's retransmissions decide (tcp(7), tcp_retries2), for a bound on those would cut
 * those who live and do not read. What a listening socket is given, those that it accepts have, too. `a`: what `fd` is for; nothing
 * happens to a unix socket. */
void socket_set_up(int fd, const struct address *a);

#endif
