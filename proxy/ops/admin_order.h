/* Commands that change something: they are carried out on the threads that they concern, and whoever gave one hears of it on his own. */
#ifndef PROXY_OPS_ADMIN_ORDER_H
#define PROXY_OPS_ADMIN_ORDER_H

#include "proxy/ops/admin_command.h"
#include "proxy/worker.h"

struct admin_order;

/* How it went. */
struct admin_outcome {
    const char *sqlstate, *message; /* what went wrong; `message` is NULL when nothing did */
    const char *notice;             /* what an administrator should know all the same; NULL: nothing */
};

/* Carries out RELOAD, KILL, SHUTDOWN, SET route.…. `on_done` is called on `home`, on whose thread this is called, and not before it
 * returns. NULL: the process is about to end, and nothing will be called. */
struct admin_order *admin_order_give(struct worker *home, const struct admin_command *command,
                                     void (*on_done)(void *context, const struct admin_outcome *outcome),
                                     void *context);
/* It is carried out, but nobody wants to hear of it. Before on_done only; NULL: nothing. */
void admin_order_forget(struct admin_order *o);

#endif
