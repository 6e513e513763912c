/* What no single option can say about itself. */
#ifndef CONFIG_CHECK_H
#define CONFIG_CHECK_H

#include "config/errors.h"
#include "config/storage.h"
#include "config/tree.h"

/* Turns texts into addresses, and refuses what is impossible or would surprise, on the line that says it. `file` is what `s` was read
 * from. */
void check_config(struct config_storage *s, struct tree *file, struct config_errors *errors);

#endif
