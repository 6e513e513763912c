/* Files that a config names, and that only the machine has on which it will run. */
#ifndef PROXY_CHECK_FILES_H
#define PROXY_CHECK_FILES_H

#include <stdbool.h>
#include <stdio.h>

#include "config/config.h"

/* Looks for what would end `run` at once, and is refused in a reload: certificates and keys that cannot be used, a log in a directory that is not there. False when there is
 * any: it is written to `errors`, one a line, as FILE:LINE: text. Nothing is made, changed or kept. */
bool check_files(const struct config *c, FILE *errors);

#endif
