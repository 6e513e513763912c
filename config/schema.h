/* What a file may say: every block, every option, every default.
 *
 * A block's options are read into one struct: those of the file itself, `log`, `limits`, `auth` and `client_tls` into struct config; those of a
 * titled block into one item of a list in struct config. A few go to struct config_storage, around it. */
#ifndef CONFIG_SCHEMA_H
#define CONFIG_SCHEMA_H

#include "config/option.h"
#include "config/storage.h"

enum block_kind {
    BLOCK_PLAIN, /* at most one of them matters: `log { … }` */
    BLOCK_TITLED /* `route "checkout" { … }`, any number */
};

struct block {
    const char *name;
    enum block_kind kind;
    const struct option *options;
    bool later; /* titled blocks that this version knows but whose capability it has not */
    /* Of titled blocks: */
    size_t item_size;    /* of the struct of one */
    size_t title_offset; /* of its `const char *` for the title */
    size_t list_offset;  /* in the struct of the file: the list of items */
    size_t count_offset; /* in the struct of the file: their number */
};

struct schema {
    const struct option *options; /* what is said outside of blocks */
    const struct block *blocks;   /* the last has a NULL name */
    const char *example; /* what stands in such a file, for those who write something else; NULL: too much to show */
};

/* Of config files, read into a struct config_storage. */
extern const struct schema schema_config;

#endif
