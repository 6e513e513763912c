/* A short list, walked once per listener. */
#include "proxy/net/inherited.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "protocol/memory.h"

static struct {
    struct inherited *list;
    size_t count, capacity;
} sockets;

static size_t find(const struct address *a)
{
    size_t i = 0;
    while (i < sockets.count && !address_equal(&sockets.list[i].address, a))
        i++;
    return i;
}

static void add_bell(struct inherited *to, int bell)
{
    if (to->bell < 0)
        to->bell = bell;
    else if (bell >= 0)
        close(bell);
}

void inherited_add(const struct inherited *socket)
{
    size_t same = find(&socket->address);
    if (same < sockets.count) {
        close(socket->fd);
        add_bell(&sockets.list[same], socket->bell);
        return;
    }
    (void)fcntl(socket->fd, F_SETFL, fcntl(socket->fd, F_GETFL) | O_NONBLOCK);
    (void)fcntl(socket->fd, F_SETFD, FD_CLOEXEC);
    sockets.list = memory_grow(sockets.list, &sockets.capacity, sockets.count, sizeof *sockets.list);
    sockets.list[sockets.count++] = *socket;
}

static bool take(size_t i, struct inherited *out)
{
    if (i >= sockets.count)
        return false;
    *out = sockets.list[i];
    sockets.list[i] = sockets.list[--sockets.count];
    if (sockets.count == 0) {
        free(sockets.list);
        sockets.list = NULL;
        sockets.capacity = 0;
    }
    return true;
}

bool inherited_take(const struct address *a, struct inherited *out)
{
    return take(find(a), out);
}

bool inherited_take_any(struct inherited *out)
{
    return take(0, out);
}
