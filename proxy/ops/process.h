/* What an administrator may ask of the process as a whole. run.c does it; the console, which knows nothing of run.c, asks for it here.
 * For the first worker's thread. */
#ifndef PROXY_OPS_PROCESS_H
#define PROXY_OPS_PROCESS_H

#include "config/config.h"

struct process_orders {
    /* Each returns NULL, or why it could not be done, to be freed. `*notice`: what it has not brought about, to be freed; NULL: nothing. */
    char *(*reload)(char **notice);
    char *(*set_route_mode)(const char *route, enum route_mode mode);
    void (*drain)(void);
    void (*stop)(void);
};

/* Whoever does them. Before there are clients. */
void process_set_orders(const struct process_orders *orders);
const struct process_orders *process_orders(void);

#endif
