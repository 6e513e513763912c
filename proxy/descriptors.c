/* Nobody counts them one by one. Clients that have logged in are bounded by limits.clients and servers by pool_size, and what both may need is
 * compared once with what there is. Who has not shown who it is, and so is bounded by nothing of that, gets a share: it may fill that, and those
 * who are at work still find descriptors for their servers. */
#include "proxy/descriptors.h"

#include <sys/resource.h>

#include "proxy/ops/log.h"

/* OWN_DESCRIPTORS: of listeners, loops, logs, sinks and control connections. */
enum { STRANGERS_SHARE = 4, OWN_DESCRIPTORS = 32 };

static size_t most = (size_t)-1; /* that the process may have; set before there are threads */

void descriptors_raise(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    most = setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_max : before;
}

/* Of all pools, were each used by one user only. */
static size_t servers_needed(const struct config *c)
{
    size_t servers = 0;
    for (size_t i = 0; i < c->database_count; i++) {
        const struct database *d = &c->databases[i];
        servers += d->pool == POOL_DEDICATED ? c->limits.clients : d->pool_size;
    }
    return servers < c->limits.clients ? servers : c->limits.clients;
}

void descriptors_warn(const struct config *c)
{
    size_t needed = c->limits.clients + servers_needed(c) + OWN_DESCRIPTORS;
    if (needed > most)
        LOG(LOG_WARN,
            "limits.clients takes more descriptors than there may be: raise the limit of open files, or lower it",
            log_number("descriptors", most), log_number("needed", needed), log_number("clients", c->limits.clients));
}

size_t descriptors_for_strangers(const struct config *c)
{
    size_t share = most / STRANGERS_SHARE;
    size_t strangers = share < c->limits.clients ? share : c->limits.clients;
    return strangers > 0 ? strangers : 1;
}
