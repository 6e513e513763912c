/* Bells, and the conversations of those who have rung.
 *
 *     rung --TAKEOVER--> asked --READY--> replaced --GONE--> over
 *       |                   +--- this process ends --GONE--> over
 *       +-------------------+--- it hangs up, or talks nonsense --->
 *
 * Nobody is replaced by one who has hung up: then the place would be left to no one. Only one can have it; the others are hung up on.
 * Who has asked and does not get ready costs a descriptor and nothing else; there can be no more than a few of them. */
#include "proxy/net/handover.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

#include "protocol/memory.h"
#include "proxy/net/listener.h"

enum { CALLERS_MAX = 4, BACKLOG = 4 };

struct bell {
    const struct handover_host *host;
    struct listener *listener;
};

struct handover {
    struct handover *next, **link;
    const struct handover_host *host;
    int fd;
    struct event *event;
    bool asked, failed;
};

static struct handover *callers;
static unsigned caller_count;

/* --- conversations --------------------------------------------------------------------------------- */

static void hang_up(struct handover *h)
{
    *h->link = h->next;
    if (h->next != NULL)
        h->next->link = h->link;
    caller_count--;
    event_free(h->event);
    close(h->fd);
    free(h);
}

static void hang_up_all(void)
{
    while (callers != NULL)
        hang_up(callers);
}

void handover_give(struct handover *to, const struct handover_packet *packet)
{
    to->failed = to->failed || !handover_send(to->fd, packet);
}

static void give_plain(struct handover *to, enum handover_kind kind)
{
    struct handover_packet packet = { .kind = kind, .fd = -1, .bell = -1 };
    handover_give(to, &packet);
}

static void drop_descriptors(const struct handover_packet *packet)
{
    if (packet->fd >= 0)
        close(packet->fd);
    if (packet->bell >= 0)
        close(packet->bell);
}

static void on_packet(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct handover *h = arg;
    struct handover_packet packet;
    if (!handover_receive(fd, &packet)) {
        if (errno != EAGAIN)
            hang_up(h);
        return;
    }
    drop_descriptors(&packet);
    if (packet.kind == HANDOVER_TAKEOVER && !h->asked) {
        h->asked = true;
        h->host->on_asked(h->host->context, h);
        give_plain(h, HANDOVER_END);
        if (!h->failed)
            return;
    } else if (packet.kind == HANDOVER_READY && h->asked) {
        give_plain(h, HANDOVER_GONE);
        if (!h->failed) {
            h->host->on_replaced(h->host->context);
            hang_up_all();
            return;
        }
    }
    hang_up(h);
}

/* Who was the first to ask; NULL: nobody has. */
static struct handover *find_heir(void)
{
    struct handover *heir = NULL;
    for (struct handover *h = callers; h != NULL; h = h->next)
        if (h->asked)
            heir = h;
    return heir;
}

bool handover_is_asked_for(void)
{
    return find_heir() != NULL;
}

void handovers_end(void)
{
    struct handover *heir = find_heir();
    if (heir != NULL)
        give_plain(heir, HANDOVER_GONE);
    hang_up_all();
}

/* --- bells ----------------------------------------------------------------------------------------- */

static void on_rung(void *context, int fd, const struct address *peer)
{
    (void)peer;
    const struct bell *b = context;
    if (fd < 0) /* no descriptors are left: who has rung waits, as clients do */
        return;
    if (caller_count == CALLERS_MAX || !handover_is_ours(fd, NULL)) {
        close(fd);
        return;
    }
    struct handover *h = or_abort(calloc(1, sizeof *h));
    *h = (struct handover){ .next = callers, .link = &callers, .host = b->host, .fd = fd };
    if (callers != NULL)
        callers->link = &h->next;
    callers = h;
    caller_count++;
    h->event = or_abort(event_new(b->host->loop->base, fd, EV_READ | EV_PERSIST, on_packet, h));
    event_add(h->event, NULL);
}

static int open_bell(const struct address *a)
{
    struct address name;
    handover_bell_address(a, &name);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, &name.any, name.size) == 0)
        return fd;
    int why = errno;
    if (fd >= 0)
        close(fd);
    errno = why;
    return -1;
}

struct bell *bell_hang(const struct handover_host *host, const struct address *a, int fd)
{
    if (fd < 0)
        fd = open_bell(a);
    if (fd < 0)
        return NULL;
    (void)listen(fd, BACKLOG); /* of an inherited one too: who rings it sees this process from now on */
    struct bell *b = or_abort(malloc(sizeof *b));
    *b = (struct bell){ host, listener_adopt(host->loop, fd, on_rung, b) };
    return b;
}

int bell_descriptor(const struct bell *b)
{
    return b != NULL ? listener_descriptor(b->listener) : -1;
}

void bell_take_down(struct bell *b)
{
    if (b == NULL)
        return;
    listener_leave(b->listener);
    free(b);
}
