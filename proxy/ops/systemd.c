/* libsystemd's notifications and socket activation.
 *
 * Its functions do nothing when the environment does not name a manager, so nobody has to ask whether there is one. The watchdog hears from
 * a timer on the first worker's loop: the thread that accepts clients and takes signals. */
#include "proxy/ops/systemd.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "proxy/net/inherited.h"
#include "proxy/ops/log.h"
#include "proxy/version.h"

static struct {
    struct timer *watchdog; /* NULL: nobody watches */
    uint64_t period_us;
} manager;

/* --- sockets ------------------------------------------------------------------------------------------- */

static bool take_socket(int fd)
{
    struct inherited socket = { .fd = fd, .bell = -1, .is_required = true };
    if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) > 0 && address_of_socket(&socket.address, fd)) {
        inherited_add(&socket);
        return true;
    }
    LOG(LOG_ERROR, "systemd has handed over what is no listening stream socket",
        log_number("descriptor", (uint64_t)fd));
    close(fd);
    return false;
}

bool systemd_inherit(void)
{
    bool all = true;
    int count = sd_listen_fds(1);
    for (int i = 0; i < count; i++)
        all = take_socket(SD_LISTEN_FDS_START + i) && all;
    return all;
}

/* --- notifications --------------------------------------------------------------------------------------- */

static void on_watchdog(void *context)
{
    (void)context;
    (void)sd_notify(0, "WATCHDOG=1");
    timer_start(manager.watchdog, manager.period_us);
}

/* Twice as often as would do, as its documentation asks for. */
static void start_watchdog(struct loop *l)
{
    uint64_t limit_us = 0;
    if (sd_watchdog_enabled(0, &limit_us) <= 0)
        return;
    manager.period_us = limit_us / 2;
    manager.watchdog = timer_new(l, on_watchdog, NULL);
    timer_start(manager.watchdog, manager.period_us);
}

void systemd_ready(struct loop *l)
{
    (void)sd_notify(0, "READY=1\nSTATUS=pgatomic " PGATOMIC_VERSION " serves clients");
    start_watchdog(l);
}

void systemd_reloading(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
                     (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
}

void systemd_reloaded(const char *error)
{
    (void)sd_notifyf(0, "READY=1\nSTATUS=%s", error != NULL ? error : "config reloaded");
}

void systemd_stopping(const char *status, uint64_t timeout_ms)
{
    (void)sd_notifyf(0, "STOPPING=1\nSTATUS=%s\nEXTEND_TIMEOUT_USEC=%" PRIu64, status, timeout_ms * 1000);
}

void systemd_end(void)
{
    timer_free(manager.watchdog);
    manager.watchdog = NULL;
}
