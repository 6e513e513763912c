/* Checks of databases: their upstreams, and what these do not go together with. */
#ifndef CONFIG_CHECK_UPSTREAM_H
#define CONFIG_CHECK_UPSTREAM_H

#include "config/errors.h"
#include "config/storage.h"
#include "config/tree.h"

/* Completes the databases of `s`, which was read from `file`; what is wrong with them is added to `errors`. */
void check_upstreams(struct config_storage *s, struct tree *file, struct config_errors *errors);

#endif
