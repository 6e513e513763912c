/* Where a database's servers are, and how they are spoken to. */
#ifndef CONFIG_UPSTREAM_H
#define CONFIG_UPSTREAM_H

#include "config/config.h"
#include "config/errors.h"
#include "config/memory.h"

/* Fills in what d->upstream says, a libpq connection string or URI. What it asks for and this version cannot do is an error at `line`. Never
 * repeats what may be a password. `said_timeout_ms`: the connect_timeout of the database block, which has to agree; 0: none. */
bool upstream_parse(struct database *d, uint64_t said_timeout_ms, struct memory *memory, int line,
                    struct config_errors *errors);

#endif
