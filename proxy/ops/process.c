/* A pointer to those who can. */
#include "proxy/ops/process.h"

static const struct process_orders *orders_given;

void process_set_orders(const struct process_orders *orders)
{
    orders_given = orders;
}

const struct process_orders *process_orders(void)
{
    return orders_given;
}
