/* Commands that change something: they are carried out on the threads that they concern, and whoever gave one hears of it on his own. */
#ifndef PROXY_OPS_ADMIN_ORDER_H
#define PROXY_OPS_ADMIN_ORDER_H

#include "proxy/ops/admin_command.h"
#include "proxy/worker.h"

struct admin_order;

/* What went wrong; `message` is NULL when nothing did. */
struct admin_fault {
    const char *sqlstate;
    const char *message;
};

/* Carries out RELOAD, KILL, SHUTDOWN, SET route.…. `on_done` is called on `home`, on whose thread this is called, and not before it
 * returns. NULL: the process is about to end, and nothing will be called. */
struct admin_order *admin_order_give(struct worker *home, const struct admin_command *command,
                                     void (*on_done)(void *context, const struct admin_fault *fault), void *context);
/* It is carried out, but nobody wants to hear of it. Before on_done only; NULL: nothing. */
void admin_order_forget(struct admin_order *o);

#endif
