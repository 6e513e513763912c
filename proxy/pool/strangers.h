/* The connections of a worker that have not shown who they are, the oldest first.
 *
 * limits.clients does not hold for them yet, and each takes a descriptor for as long as it pleases: up to a minute. So there are only so many, and
 * one that comes when there are has the place of the oldest. */
#ifndef PROXY_POOL_STRANGERS_H
#define PROXY_POOL_STRANGERS_H

#include <stddef.h>

struct client;
struct stranger;

struct strangers {
    struct stranger *first, **last;
    size_t count;
};

/* In the login of a client. */
struct stranger {
    struct strangers *among; /* NULL: it is one no more */
    struct stranger *next, **link;
    struct client *client;
};

void strangers_init(struct strangers *all);
void stranger_join(struct stranger *s, struct strangers *all, struct client *c);
/* It has shown who it is, or is gone. Any number of times. */
void stranger_leave(struct stranger *s);
/* Who has to go, that no more than `limit` are there; NULL: nobody. */
struct client *strangers_surplus(const struct strangers *all, size_t limit);

#endif
