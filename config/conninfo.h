/* Connection strings: key=value pairs or a URI, as libpq takes them.
 *
 * Those of pgatomic's own connections are libpq's business: all that it takes, passwords included. Those of upstreams are taken apart,
 * and may also say what only newer versions of libpq know. */
#ifndef CONFIG_CONNINFO_H
#define CONFIG_CONNINFO_H

#include <stdbool.h>
#include <stddef.h>

#include "config/errors.h"

struct conninfo_parameter {
    char *name, *value;
    bool is_secret;
};

/* What a string says, and nothing more. */
struct conninfo {
    struct conninfo_parameter *list;
    size_t count;
};

/* False when it is not a connection string: then *words is what libpq says of it, or NULL, to be freed. */
bool conninfo_parse(const char *text, struct conninfo *out, char **words);
void conninfo_free(struct conninfo *c);

/* False, and an error about `option` at `line`, when libpq would not read it or it is a print's, with *** for a password. */
bool conninfo_check(const char *text, const char *option, int line, struct config_errors *errors);
/* It says which database to connect to, itself or by a service; of what cannot be read nothing more is said. */
bool conninfo_names_database(const char *text);
/* The error for a string that libpq cannot read, for which it has these words, or NULL; never repeats what may be a password. */
void conninfo_refuse(const char *text, const char *words, const char *option, int line, struct config_errors *errors);
/* False, and an error, when a parameter is what a print shows in place of a secret. */
bool conninfo_is_whole(const struct conninfo *c, const char *option, int line, struct config_errors *errors);

#endif
