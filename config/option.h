/* One option of the config file: what it may say, and how that is read and printed.
 *
 * The tables of options (schema.c) are the only place that knows names, defaults and bounds; reading, checking and printing
 * walk them. */
#ifndef CONFIG_OPTION_H
#define CONFIG_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum option_kind {
    OPTION_TEXT, /* const char * */
    OPTION_FILE, /* the same: the path of a file to be read; one that is not absolute is meant from the config's own directory */
    OPTION_SECRET,   /* the same, of which nothing is printed */
    OPTION_URL,      /* the same, of which passwords are not printed; what it may be depends on the type of sink */
    OPTION_CONNINFO, /* a connection string with all that libpq takes; passwords are not printed; NULL when it is empty */
    OPTION_UPSTREAM, /* a connection string that pgatomic reads itself; passwords are not printed */
    OPTION_LIST,     /* const char *const *, NULL-terminated */
    OPTION_WORD,     /* an enum: the place of one of `words` */
    OPTION_SWITCH,   /* bool */
    OPTION_COUNT,    /* an unsigned integer */
    OPTION_DURATION, /* uint64_t, ms */
    OPTION_SIZE,     /* size_t, bytes */
    OPTION_BLOCK     /* a block in the block: `options`, with offsets in the same struct */
};

struct option {
    const char *name; /* NULL: the end */
    enum option_kind kind;
    size_t offset, size;      /* of the member that takes the value */
    const char *fallback;     /* the default, as one would write it; NULL: none */
    bool required;            /* and there is no default */
    bool selects;             /* a word that comes first in its block and decides which `types` the block is of */
    unsigned types;           /* a bit for each of those words with which this option may be said; 0: any */
    const char *const *words; /* NULL-terminated */
    size_t built;             /* this version can do so many of `words`, the first ones; 0: all */
    bool later; /* a name that this version knows but whose capability it has not: refused when it says anything */
    uint64_t least, most;         /* of numbers, sizes and durations */
    const struct option *options; /* of a block */
};

enum option_result {
    OPTION_OK,
    OPTION_IMPOSSIBLE,
    OPTION_NOT_YET /* there is a value, but not in this version */
};

/* The number behind `text`, for the kinds that are kept as a number (WORD to SIZE). */
enum option_result option_parse(const struct option *o, const char *text, uint64_t *value);
/* "expected a duration such as 30s": what would have been right, for an error message. The caller frees it. */
char *option_expectation(const struct option *o);
/* The text that option_parse() reads as `value`. */
void option_print(const struct option *o, uint64_t value, FILE *out);

/* `types`: the bits of the types that the block may be of. */
bool option_is_for(const struct option *o, unsigned types);
/* The bit for the type of the item at `base`; all bits for a block without types. */
unsigned option_types(const struct option *options, const void *base);

/* The member of the struct at `base`. */
uint64_t option_load(const struct option *o, const void *base);
void option_store(const struct option *o, void *base, uint64_t value);

#endif
