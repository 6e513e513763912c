/* A socket that listens for clients. */
#ifndef PROXY_NET_LISTENER_H
#define PROXY_NET_LISTENER_H

#include <stdint.h>

#include "proxy/net/address.h"
#include "proxy/net/loop.h"

struct listener;

/* A connection has come in: `fd` is non-blocking and the callee's. Or `fd` is -1: none can be taken for the moment, and errno says why. */
typedef void listener_accepted(void *context, int fd, const struct address *peer);

/* Listens on `host` (an address, or the directory of a unix socket) and `port`. The socket file that a process which is gone
 * has left behind is replaced. NULL: it could not be done; `error` then says why. */
struct listener *listener_open(struct loop *l, const char *host, uint16_t port, bool is_unix,
                               listener_accepted *accepted, void *context, char *error, size_t error_size);
/* The listening socket alone, and its address; -1: it could not be done, as above. */
int listener_socket(const char *host, uint16_t port, bool is_unix, struct address *address, char *error,
                    size_t error_size);
/* Stops listening, and removes the socket file. */
void listener_close(struct listener *listener);

#endif
