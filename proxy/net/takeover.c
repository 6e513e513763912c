/* Calls and waits, one predecessor after the other. There is more than one only when several processes held what now is listed in one config. */
#include "proxy/net/takeover.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "protocol/memory.h"
#include "proxy/net/handover_packet.h"
#include "proxy/net/inherited.h"

enum { ANSWER_SECONDS = 10 };

struct predecessor {
    struct predecessor *next;
    int fd;
    pid_t pid;
    struct address *cancels; /* the oldest first */
    size_t count, capacity;
};

static struct predecessor *predecessors;

/* Connected to the pgatomic that listens at `a`, or -1. */
static int call(const struct address *a, pid_t *pid)
{
    struct address bell;
    handover_bell_address(a, &bell);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    struct timeval patience = { .tv_sec = ANSWER_SECONDS };
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, &bell.any, bell.size) == 0 && handover_is_ours(fd, pid))
        return fd;
    close(fd);
    return -1;
}

pid_t takeover_holder(const struct address *a)
{
    pid_t pid = 0;
    int fd = call(a, &pid);
    if (fd >= 0)
        close(fd);
    return fd >= 0 ? pid : 0;
}

static void predecessor_free(struct predecessor *p)
{
    close(p->fd);
    free(p->cancels);
    free(p);
}

static void take_socket(const struct handover_packet *packet)
{
    struct inherited socket = { .fd = packet->fd, .bell = packet->bell, .owns_file = packet->owns_file };
    if (packet->fd >= 0 && address_of_socket(&socket.address, packet->fd))
        inherited_add(&socket);
}

/* Everything up to END. False, and errno. */
static bool hear(struct predecessor *p)
{
    struct handover_packet packet;
    while (handover_receive(p->fd, &packet)) {
        if (packet.kind == HANDOVER_END)
            return true;
        if (packet.kind == HANDOVER_SOCKET)
            take_socket(&packet);
        if (packet.kind == HANDOVER_CANCELS) {
            p->cancels = memory_grow(p->cancels, &p->capacity, p->count, sizeof *p->cancels);
            p->cancels[p->count++] = packet.address;
        }
    }
    return false;
}

static const char *reason(void)
{
    if (errno == 0)
        return "it has hung up: it drains, or somebody else has taken its place";
    return errno == EAGAIN ? "it did not answer in time" : strerror(errno);
}

static bool fail(const struct predecessor *p, char *error, size_t error_size)
{
    snprintf(error, error_size, "cannot take over from process %d: %s", (int)p->pid, reason());
    return false;
}

/* One process may listen at several addresses, and has handed over all of them. */
static bool was_asked(pid_t pid)
{
    const struct predecessor *p = predecessors;
    while (p != NULL && p->pid != pid)
        p = p->next;
    return p != NULL;
}

bool takeover_ask(const struct address *a, char *error, size_t error_size)
{
    pid_t pid = 0;
    int fd = call(a, &pid);
    if (fd < 0)
        return true;
    if (was_asked(pid)) {
        close(fd);
        return true;
    }
    struct predecessor *p = or_abort(calloc(1, sizeof *p));
    *p = (struct predecessor){ .next = predecessors, .fd = fd, .pid = pid };
    struct handover_packet packet = { .kind = HANDOVER_TAKEOVER, .fd = -1, .bell = -1 };
    if (!handover_send(fd, &packet) || !hear(p)) {
        fail(p, error, error_size);
        predecessor_free(p);
        return false;
    }
    predecessors = p;
    return true;
}

static bool wait_until_gone(const struct predecessor *p)
{
    struct handover_packet packet = { .kind = HANDOVER_READY, .fd = -1, .bell = -1 };
    (void)handover_send(p->fd, &packet); /* one that has ended hears no more, but what it said last is there */
    bool heard = handover_receive(p->fd, &packet);
    if (!heard && errno == ECONNRESET) /* it ended before it heard us: this is told once, ahead of what it said */
        heard = handover_receive(p->fd, &packet);
    if (!heard)
        return false;
    errno = EPROTO;
    return packet.kind == HANDOVER_GONE;
}

bool takeover_finish(void (*on_cancels)(const struct address *a), char *error, size_t error_size)
{
    bool any = predecessors == NULL;
    snprintf(error, error_size, "%s", "");
    for (const struct predecessor *p = predecessors; p != NULL; p = p->next) {
        if (!wait_until_gone(p)) {
            fail(p, error, error_size);
            break;
        }
        any = true;
        for (size_t i = 0; i < p->count; i++)
            on_cancels(&p->cancels[i]);
    }
    takeover_give_up();
    return any;
}

void takeover_give_up(void)
{
    while (predecessors != NULL) {
        struct predecessor *p = predecessors;
        predecessors = p->next;
        predecessor_free(p);
    }
}
