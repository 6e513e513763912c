/* Everything that one config owns, freed as one.
 *
 * A config is read once and never changed, so its parts need no owner of their own. */
#ifndef CONFIG_MEMORY_H
#define CONFIG_MEMORY_H

#include <stddef.h>

struct memory_block;

struct memory {
    struct memory_block *newest;
};

/* Zeroed, aligned for anything, valid until memory_free(). */
void *memory_take(struct memory *m, size_t size);
char *memory_copy(struct memory *m, const char *text);
char *memory_copy_bytes(struct memory *m, const char *data, size_t size);
void memory_free(struct memory *m);

#endif
