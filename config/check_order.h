/* Blocks of which the first that fits decides: routes, logins and channels. */
#ifndef CONFIG_CHECK_ORDER_H
#define CONFIG_CHECK_ORDER_H

#include "config/errors.h"
#include "config/storage.h"
#include "config/tree.h"

/* Refuses those that can never have their turn, for one above takes all that they could. */
void check_order(const struct config *c, struct tree *file, struct config_errors *errors);

#endif
