/* From a tree to the struct that its schema describes. */
#ifndef CONFIG_READ_H
#define CONFIG_READ_H

#include "config/errors.h"
#include "config/memory.h"
#include "config/schema.h"
#include "config/tree.h"

/* Fills in the struct at `into`, with its defaults where `file` says nothing; its strings and lists are in `memory`. What is wrong is added
 * to `errors`; what it was said for stays empty then. */
void read_schema(const struct schema *schema, struct tree *file, void *into, struct memory *memory,
                 struct config_errors *errors);

#endif
