/* A door is a listener and its bell.
 *
 *     a config's address --> inherited? --adopt--+--> door --> workers
 *                               |                |      ^
 *                               +-- no: open ----+    bell <-- the process that will take our place
 *
 * Who is asked for its sockets opens one more, for those who come after it: cancel requests for the clients that it still has. */
#include "proxy/doors.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "protocol/memory.h"
#include "proxy/net/handover.h"
#include "proxy/net/inherited.h"
#include "proxy/net/listener.h"
#include "proxy/net/takeover.h"
#include "proxy/ops/http.h"
#include "proxy/ops/log.h"
#include "proxy/pool/cancel.h"
#include "proxy/worker.h"

struct door {
    struct door *next;
    struct listener *listener;
    struct bell *bell;
    bool inherits_file; /* the file will be ours when the place is */
    char text[];        /* as the config has it */
};

static struct {
    struct door *doors;
    struct listener *cancels; /* NULL: nobody has asked for our place */
    struct handover_host host;
    void (*on_replaced)(void);
} house;

/* --- clients ----------------------------------------------------------------------------------------- */

static void on_accepted(void *context, int fd, const struct address *peer)
{
    (void)context;
    if (fd >= 0)
        workers_adopt(fd, peer);
    else
        LOG(LOG_ERROR, "cannot take connections", log_text("error", strerror(errno)));
}

static void on_cancel_accepted(void *context, int fd, const struct address *peer)
{
    (void)context;
    if (fd >= 0 && handover_is_ours(fd, NULL))
        workers_adopt_peer(fd, peer);
    else if (fd >= 0)
        close(fd);
}

/* --- opening and closing ------------------------------------------------------------------------------- */

static void door_new(struct listener *listener, int bell, bool inherits_file, const char *text)
{
    size_t size = strlen(text) + 1;
    struct door *door = or_abort(malloc(sizeof *door + size));
    door->listener = listener;
    door->inherits_file = inherits_file;
    memcpy(door->text, text, size);
    door->bell = bell_hang(&house.host, listener_address(listener), bell);
    if (door->bell == NULL)
        LOG(LOG_WARN, "no other process will be able to take over this address", log_text("address", text),
            log_text("error", strerror(errno)));
    door->next = house.doors;
    house.doors = door;
    LOG(LOG_INFO, "listening", log_text("address", text));
}

static bool refuse(const char *text, const char *error)
{
    LOG(LOG_ERROR, "cannot listen", log_text("address", text), log_text("error", error));
    return false;
}

/* When it is pgatomic itself that listens there, the words say what can be done about that. */
static bool refuse_taken(const char *text, const struct address *a)
{
    int why = errno;
    pid_t pid = why == EADDRINUSE ? takeover_holder(a) : 0;
    if (pid == 0)
        return refuse(text, strerror(why));
    char error[200];
    snprintf(error, sizeof error, "%s: pgatomic listens there already, process %d; --takeover takes its place",
             strerror(why), (int)pid);
    return refuse(text, error);
}

static bool open_door(const char *text, const struct address *a)
{
    struct inherited old;
    if (inherited_take(a, &old)) {
        door_new(listener_adopt(house.host.loop, old.fd, on_accepted, NULL), old.bell, old.owns_file, text);
        return true;
    }
    struct listener *listener = listener_open(house.host.loop, a, on_accepted, NULL);
    if (listener == NULL)
        return refuse_taken(text, a);
    door_new(listener, -1, false, text);
    return true;
}

static bool open_address(const struct listen_address *where, bool takeover)
{
    struct address a;
    bool valid =
        where->is_unix ? address_set_unix(&a, where->host, where->port) : address_set_ip(&a, where->host, where->port);
    if (!valid)
        return refuse(where->text, where->is_unix ? "the path is too long for a socket" : "not an IP address");
    char error[200];
    if (takeover && !takeover_ask(&a, error, sizeof error))
        return refuse(where->text, error);
    return open_door(where->text, &a);
}

static bool is_open(const char *text)
{
    for (const struct door *door = house.doors; door != NULL; door = door->next)
        if (strcmp(door->text, text) == 0)
            return true;
    return false;
}

static bool is_wanted(const struct config *c, const char *text)
{
    for (size_t i = 0; i < c->listen_count; i++)
        if (strcmp(c->listen[i].text, text) == 0)
            return true;
    return false;
}

static void close_door(struct door **link, void (*close_listener)(struct listener *listener))
{
    struct door *door = *link;
    *link = door->next;
    bell_take_down(door->bell);
    close_listener(door->listener);
    free(door);
}

void doors_close_unwanted(const struct config *c)
{
    for (struct door **link = &house.doors; *link != NULL;) {
        if (is_wanted(c, (*link)->text)) {
            link = &(*link)->next;
        } else {
            LOG(LOG_INFO, "no longer listening", log_text("address", (*link)->text));
            close_door(link, listener_close);
        }
    }
}

void doors_close(void)
{
    bool is_left = handover_is_asked_for();
    while (house.doors != NULL)
        close_door(&house.doors, is_left ? listener_leave : listener_close);
}

void doors_end(void)
{
    handovers_end();
    if (house.cancels != NULL)
        listener_close(house.cancels);
    house.cancels = NULL;
}

/* --- going ---------------------------------------------------------------------------------------------- */

/* Its name cannot be guessed, so that nobody has it already. */
static void open_cancels(void)
{
    uint64_t number = 0;
    char name[64];
    struct address a;
    (void)!getrandom(&number, sizeof number, 0);
    snprintf(name, sizeof name, "pgatomic/%u/cancels/%016" PRIx64, (unsigned)geteuid(), number);
    (void)address_set_abstract(&a, name);
    house.cancels = listener_open(house.host.loop, &a, on_cancel_accepted, NULL);
}

static void give_cancels(struct handover *to, const struct address *a)
{
    struct handover_packet packet = { .kind = HANDOVER_CANCELS, .fd = -1, .bell = -1, .address = *a };
    handover_give(to, &packet);
}

static void on_asked(void *context, struct handover *to)
{
    (void)context;
    for (const struct door *door = house.doors; door != NULL; door = door->next) {
        struct handover_packet packet = { .kind = HANDOVER_SOCKET,
                                          .fd = listener_descriptor(door->listener),
                                          .bell = bell_descriptor(door->bell),
                                          .owns_file = listener_owns_file(door->listener) };
        handover_give(to, &packet);
    }
    struct handover_packet http = { .kind = HANDOVER_SOCKET, .fd = http_descriptor(), .bell = -1 };
    if (http.fd >= 0)
        handover_give(to, &http);
    struct address older[CANCEL_PEERS_MAX];
    for (size_t i = cancel_peers(older); i > 0; i--)
        give_cancels(to, &older[i - 1]);
    if (house.cancels == NULL)
        open_cancels();
    if (house.cancels != NULL)
        give_cancels(to, listener_address(house.cancels));
}

static void on_place_taken(void *context)
{
    (void)context;
    while (house.doors != NULL)
        close_door(&house.doors, listener_leave);
    house.on_replaced();
}

/* --- coming --------------------------------------------------------------------------------------------- */

bool doors_open(const struct config *c, bool takeover)
{
    house.host = (struct handover_host){ workers_first_loop(), on_asked, on_place_taken, NULL };
    bool all = true;
    for (size_t i = 0; i < c->listen_count; i++)
        if (!is_open(c->listen[i].text))
            all = open_address(&c->listen[i], takeover) && all;
    return all;
}

/* What the process before listened on and no address of the config names is closed, and the rest of the world sees that it is when that
 * process has closed it too. A socket from systemd is there to be used. */
bool doors_leave_none_over(void)
{
    bool all = true;
    struct inherited old;
    while (inherited_take_any(&old)) {
        char text[ADDRESS_TEXT_SIZE];
        address_format(&old.address, text);
        if (old.is_required)
            LOG(LOG_ERROR, "systemd listens where the config does not: take it out of the socket unit, or name it",
                log_text("address", text));
        else
            LOG(LOG_INFO, "no longer listening", log_text("address", text));
        all = all && !old.is_required;
        close(old.fd);
        if (old.bell >= 0)
            close(old.bell);
    }
    return all;
}

bool doors_take_place(void (*on_replaced)(void))
{
    char error[200];
    house.on_replaced = on_replaced;
    bool taken = takeover_finish(cancel_peer_add, error, sizeof error);
    if (error[0] != '\0')
        LOG(LOG_ERROR, "takeover failed", log_text("error", error));
    if (!taken)
        return false;
    for (struct door *door = house.doors; door != NULL; door = door->next)
        if (door->inherits_file)
            listener_own_file(door->listener);
    return true;
}
