/* What is around a struct config: its memory, its references, and what was said that takes another form in it. */
#ifndef CONFIG_STORAGE_H
#define CONFIG_STORAGE_H

#include <stdatomic.h>

#include "config/config.h"
#include "config/memory.h"
#include "config/secret.h"

struct config_storage {
    struct config config; /* first: a pointer to it is one to the whole */
    const char *const *listen;
    struct memory memory;
    struct variables variables; /* what came from the environment */
    struct users *users;        /* its own; NULL: none */
    struct config *base;        /* a reference to the whole one whose parts this one shares; NULL: it is whole */
    atomic_uint references;
};

/* Empty, with one reference; the caller fills it in before anyone else sees it. */
struct config_storage *config_storage_new(void);

#endif
