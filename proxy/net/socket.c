/* A server whose machine has died would else be handed to client after client, and a client whose machine has died would keep its server: for two
 * hours, by the system's defaults. Usually there is no limit to how long sent bytes may wait for room (TCP_USER_TIMEOUT), for a backend that
 * reads nothing while its statement runs is well. */
#include "proxy/net/socket.h"

#include <netinet/tcp.h>

static void set_option(int fd, int level, int name, int value)
{
    (void)setsockopt(fd, level, name, &value, sizeof value);
}

/* 0: stays the system's. */
static void set_tcp_number(int fd, int name, int value)
{
    if (value > 0)
        set_option(fd, IPPROTO_TCP, name, value);
}

void socket_set_up(int fd, const struct address *a, const struct tcp_options *options)
{
    if (address_is_unix(a))
        return;
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_tcp_number(fd, TCP_USER_TIMEOUT, options->user_timeout_ms);
    if (!options->keepalives)
        return;
    set_tcp_number(fd, TCP_KEEPIDLE, options->idle_s);
    set_tcp_number(fd, TCP_KEEPINTVL, options->interval_s);
    set_tcp_number(fd, TCP_KEEPCNT, options->count);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}
