/* How connections over TCP are set up, to clients and to PostgreSQL. */
#ifndef PROXY_NET_SOCKET_H
#define PROXY_NET_SOCKET_H

#include "config/config.h"
#include "proxy/net/address.h"

/* What is small is sent at once, and a peer that has gone without a word (its power, its network) is noticed as `options` say: with the usual
 * ones after a minute in which nothing was said to it, or, while something is not acknowledged, when the kernel ends its retransmissions
 * (tcp(7), tcp_retries2). What a listening socket is given, those that it accepts have, too. `a`: what `fd` is for; nothing happens to a unix
 * socket. */
void socket_set_up(int fd, const struct address *a, const struct tcp_options *options);

#endif
