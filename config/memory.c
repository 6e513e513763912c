/* A chain of blocks, one a request. */
#include "config/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct memory_block {
    struct memory_block *older;
    max_align_t bytes[];
};

void *memory_take(struct memory *m, size_t size)
{
    struct memory_block *block = calloc(1, sizeof *block + size);
    assert(block != NULL);

    block->older = m->newest;
    m->newest = block;
    return block->bytes;
}

char *memory_copy_bytes(struct memory *m, const char *data, size_t size)
{
    char *copy = memory_take(m, size + 1);

    memcpy(copy, data, size);
    return copy;
}

char *memory_copy(struct memory *m, const char *text)
{
    return memory_copy_bytes(m, text, strlen(text));
}

void memory_free(struct memory *m)
{
    while (m->newest != NULL) {
        struct memory_block *block = m->newest;
        m->newest = block->older;
        free(block);
    }
}
