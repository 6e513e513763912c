/* The one that goes: hands its sockets to the process that takes its place (P12).
 *
 * Beside each listener hangs a bell: an abstract unix socket whose name follows from the listener's address. Who is of the same user may ring
 * and ask for everything. Nothing changes until it says that it is ready: then this process stops listening, and drains. */
#ifndef PROXY_NET_HANDOVER_H
#define PROXY_NET_HANDOVER_H

#include "proxy/net/handover_packet.h"
#include "proxy/net/loop.h"

struct bell;
struct handover;

/* What a process has to hand over, and what becomes of it. */
struct handover_host {
    struct loop *loop;
    /* Calls handover_give() for everything. */
    void (*on_asked)(void *context, struct handover *to);
    /* Somebody is taking the place. After this no client is accepted any more, and the bells have been taken down. */
    void (*on_replaced)(void *context);
    void *context;
};

/* Hangs the bell of the listener at `a`; `fd` is that of the process before, or -1. NULL, and errno, when the name is taken. */
struct bell *bell_hang(const struct handover_host *host, const struct address *a, int fd);
int bell_descriptor(const struct bell *b);
/* NULL: nothing. */
void bell_take_down(struct bell *b);

void handover_give(struct handover *to, const struct handover_packet *packet);
/* Somebody has the sockets and may yet take the place. */
bool handover_is_asked_for(void);
/* Leaves the place to who was the first to ask for it, if anybody has, and hangs up on all. At the end, before the loop is destroyed. */
void handovers_end(void);

#endif
