/* Values of startup parameters that are small languages of their own. Pure functions. */
#ifndef PROXY_POOL_STARTUP_OPTIONS_H
#define PROXY_POOL_STARTUP_OPTIONS_H

#include "protocol/buffer.h"

/* The value of the setting `name` in an `options` parameter ("-c name=value --name=value …", a backslash escapes white space).
 * Appends the last one; false: there is none. */
bool startup_option(struct span options, const char *name, struct buffer *out);

/* Whether a `replication` parameter asks for a walsender, physical or logical. */
bool startup_replication(struct span value);

#endif
