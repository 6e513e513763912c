/* How many descriptors the process may have, and how they are shared out. */
#ifndef PROXY_DESCRIPTORS_H
#define PROXY_DESCRIPTORS_H

#include <stddef.h>

#include "config/config.h"

/* Takes as many as the administrator allows. At the start, before there are threads. */
void descriptors_raise(void);
/* Logs that limits.clients takes more than there are, if it does. */
void descriptors_warn(const struct config *c);
/* How many connections may be there that have not shown who they are: at least one. */
size_t descriptors_for_strangers(const struct config *c);

#endif
