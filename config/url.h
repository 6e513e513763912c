/* The URLs of sinks, taken apart. */
#ifndef CONFIG_URL_H
#define CONFIG_URL_H

#include "config/config.h"
#include "config/memory.h"

/* Takes `text` apart for a sink of this kind. NULL, or what is wrong and was expected, which never repeats a piece of `text`: it may be
 * one of a password. `parts` is whole only on success; its strings are in `memory`. */
const char *url_parse(const char *text, enum sink_kind kind, struct sink_url *parts, struct memory *memory);
/* Where the password stands in `text`, as written; false, and nothing is set, when there is none. */
bool url_find_password(const char *text, size_t *start, size_t *size);

#endif
