/* A socket that listens: for clients, or for whoever rings a bell (handover.h). */
#ifndef PROXY_NET_LISTENER_H
#define PROXY_NET_LISTENER_H

#include <stdint.h>

#include "proxy/net/address.h"
#include "proxy/net/loop.h"

struct listener;

/* A connection has come in: `fd` is non-blocking and the callee's. Or `fd` is -1: none can be taken for the moment, and errno says why. */
typedef void listener_accepted(void *context, int fd, const struct address *peer);

/* Listens at `a`. The socket file that a process which is gone has left behind is replaced. NULL, and errno: it could not be done. */
struct listener *listener_open(struct loop *l, const struct address *a, listener_accepted *accepted, void *context);
/* The listening socket alone, on `host` (an address, or the directory of a unix socket) and `port`: an inherited one where there is one. -1: it
 * could not be done; `error` then says why. */
int listener_socket(const char *host, uint16_t port, bool is_unix, struct address *address, char *error,
                    size_t error_size);
/* Goes on with a socket that listens already. Its file, if it has one, stays: see listener_own_file(). */
struct listener *listener_adopt(struct loop *l, int fd, listener_accepted *accepted, void *context);
/* Where it listens, and by what. */
const struct address *listener_address(const struct listener *listener);
int listener_descriptor(const struct listener *listener);
/* From now on the socket file is removed with the listener, unless it is no longer the same one. */
void listener_own_file(struct listener *listener);
bool listener_owns_file(const struct listener *listener);
/* Stops listening. */
void listener_close(struct listener *listener);
/* The same, for another process listens on this socket now: the file stays. */
void listener_leave(struct listener *listener);

#endif
