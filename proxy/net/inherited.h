/* Sockets on which somebody else has begun to listen, for us to go on with: the process whose place we take (P12), or systemd.
 *
 * They are gathered before anything is opened; who opens a listener looks here first. For the first thread, at the start. */
#ifndef PROXY_NET_INHERITED_H
#define PROXY_NET_INHERITED_H

#include "proxy/net/address.h"

struct inherited {
    int fd;
    int bell;         /* see bell.h; -1: none */
    bool owns_file;   /* of a unix socket: it is removed with the listener */
    bool is_required; /* that nobody wants it is a mistake */
    struct address address;
};

/* Takes an open socket that listens. Of an address, the first is kept, with the first bell. */
void inherited_add(const struct inherited *socket);
/* Moves the socket of this address to the caller; false: there is none. */
bool inherited_take(const struct address *a, struct inherited *out);
/* Any that is left; false: none is. */
bool inherited_take_any(struct inherited *out);

#endif
