/* The service manager: what it is told, and the sockets that it has opened for us. Without one, all of this does nothing.
 *
 * For the first worker's thread. */
#ifndef PROXY_OPS_SYSTEMD_H
#define PROXY_OPS_SYSTEMD_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/net/loop.h"

#ifndef WITHOUT_SYSTEMD

/* Takes the sockets that it listens on for us (socket activation): they are inherited, and every one of them has to be wanted. False: some are
 * none on which clients could come, and the log says so. */
bool systemd_inherit(void);
/* Clients are served; and from now on, if the manager watches, it hears that this loop still turns. */
void systemd_ready(struct loop *l);
void systemd_reloading(void);
/* The reload is over: `error` NULL when all of the new config is in force. */
void systemd_reloaded(const char *error);
/* The end has begun, and may take that long. */
void systemd_stopping(const char *status, uint64_t timeout_ms);
/* Before the loop is destroyed. */
void systemd_end(void);

#else

static inline bool systemd_inherit(void)
{
    return true;
}
static inline void systemd_ready(struct loop *l)
{
    (void)l;
}
static inline void systemd_reloading(void)
{
}
static inline void systemd_reloaded(const char *error)
{
    (void)error;
}
static inline void systemd_stopping(const char *status, uint64_t timeout_ms)
{
    (void)status, (void)timeout_ms;
}
static inline void systemd_end(void)
{
}

#endif

#endif
