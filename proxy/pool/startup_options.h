/* Values of startup parameters that are small languages of their own. Pure functions. */
#ifndef PROXY_POOL_STARTUP_OPTIONS_H
#define PROXY_POOL_STARTUP_OPTIONS_H

#include "protocol/buffer.h"

/* The value of the setting `name` in an `options` parameter ("-c name=value --name=value …", a backslash escapes white space).
 * Appends the last one; false: there is none. */
bool startup_option(struct span options, const char *name, struct buffer *out);

/* Walks all settings of an `options` parameter: *at starts at 0, `word` is the walker's own. What else stands there is passed over. */
bool startup_next_setting(struct span options, size_t *at, struct buffer *word, struct span *name, struct span *value);

/* Something stands there that is no setting, or not a whole one. */
bool startup_options_are_odd(struct span options);

/* Whether a `replication` parameter asks for a walsender, physical or logical. */
bool startup_replication(struct span value);

#endif
