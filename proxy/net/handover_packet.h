/* What two processes of pgatomic say to each other when one takes the other's place (P12).
 *
 *     the one that comes           the one that goes
 *     TAKEOVER  ------------------>
 *               <------------------ SOCKET       one each, with the descriptors of the listener and of its bell
 *               <------------------ CANCELS      one each: where its cancel requests go, and those of processes that it has replaced
 *               <------------------ END
 *     READY     ------------------>              from now on it could serve clients, but does not yet
 *               <------------------ GONE         the other one takes none any more
 *
 * One that ends in the meantime says GONE without being asked, to who was the first to ask.
 *
 * Each is one packet of a unix socket that keeps their bounds. Until READY nothing has happened that could not be given up. */
#ifndef PROXY_NET_HANDOVER_PACKET_H
#define PROXY_NET_HANDOVER_PACKET_H

#include "proxy/net/address.h"

/* Changes when the packets do: a process that hears another number goes on as if nobody had called. */
enum { HANDOVER_VERSION = 1 };

enum handover_kind {
    HANDOVER_TAKEOVER = 'T',
    HANDOVER_SOCKET = 'S',
    HANDOVER_CANCELS = 'C',
    HANDOVER_END = 'E',
    HANDOVER_READY = 'R',
    HANDOVER_GONE = 'G'
};

/* All of them have this form; what a kind does not need is 0, and -1 for a descriptor. */
struct handover_packet {
    enum handover_kind kind;
    uint32_t version;
    bool owns_file;         /* SOCKET */
    int fd, bell;           /* SOCKET */
    struct address address; /* CANCELS */
};

/* False: it could not be sent. */
bool handover_send(int fd, const struct handover_packet *packet);
/* False, and errno (0: the peer has closed). Descriptors of what is no packet are closed. */
bool handover_receive(int fd, struct handover_packet *out);

/* The process at the other end of a unix socket is of the same user as this one. `pid` may be NULL. */
bool handover_is_ours(int fd, pid_t *pid);
/* The abstract name at which the pgatomic that listens at `a` can be called. It follows from the address, so that no one has to look for it. */
void handover_bell_address(const struct address *a, struct address *out);

#endif
