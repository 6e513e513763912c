/* A server whose machine has died would else be handed to client after client, and a client whose machine has died would keep its server: for two
 * hours, by the system's defaults. There is no limit to how long sent bytes may wait for room (TCP_USER_TIMEOUT), for a backend that reads nothing
 * while its statement runs is well. */
#include "proxy/net/socket.h"

#include <netinet/tcp.h>

enum { KEEPALIVE_IDLE_S = 30, KEEPALIVE_INTERVAL_S = 10, KEEPALIVE_COUNT = 3 };

static void set_option(int fd, int level, int name, int value)
{
    (void)setsockopt(fd, level, name, &value, sizeof value);
}

void socket_set_up(int fd, const struct address *a)
{
    if (address_is_unix(a))
        return;
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}
