/* What the blocks about events must have in common: channels, sinks and outboxes. */
#ifndef CONFIG_CHECK_DELIVERY_H
#define CONFIG_CHECK_DELIVERY_H

#include "config/errors.h"
#include "config/storage.h"
#include "config/tree.h"

/* Takes the URLs of sinks apart, and refuses what would lose events or deliver them nowhere. */
void check_delivery(struct config_storage *s, struct tree *file, struct config_errors *errors);
/* Each of `sinks`, which `option` of `block` names, must have a block. */
void check_sinks_exist(const struct config *c, const char *const *sinks, struct tree *block, const char *option,
                       struct config_errors *errors);

#endif
