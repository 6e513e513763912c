/* Connection strings of pgatomic's own connections: all that libpq takes, passwords included. */
#ifndef CONFIG_CONNINFO_H
#define CONFIG_CONNINFO_H

#include <stdbool.h>

#include "config/errors.h"

/* False, and an error about `option` at `line`, when libpq would not read it or it is a print's, with *** for a password. */
bool conninfo_check(const char *text, const char *option, int line, struct config_errors *errors);
/* It says which database to connect to, itself or by a service; of what cannot be read nothing more is said. */
bool conninfo_names_database(const char *text);
/* The error for a string that libpq cannot read, for which it has these words, or NULL; never repeats what may be a password. */
void conninfo_refuse(const char *text, const char *words, const char *option, int line, struct config_errors *errors);

#endif
