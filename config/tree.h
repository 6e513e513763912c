/* The file as libconfuse parsed it: blocks of options, each with its line.
 *
 * Values are still the text between the quotes; what they mean is for read.c. */
#ifndef CONFIG_TREE_H
#define CONFIG_TREE_H

#include <stdbool.h>

#include "config/errors.h"
#include "config/schema.h"

struct tree; /* a block; the whole file is one too */

/* `text` comes from source.h. NULL, and an error, when it is not the language of the schema. */
struct tree *tree_parse(const char *text, const struct schema *schema, struct config_errors *errors);
void tree_free(struct tree *file);

/* Blocks of one name, in file order. */
size_t tree_block_count(struct tree *in, const char *name);
struct tree *tree_block(struct tree *in, const char *name, size_t index);
const char *tree_title(struct tree *block);

bool tree_is_said(struct tree *block, const char *option);
/* Values of an option: 0 when it was not said, or is an empty list. */
size_t tree_value_count(struct tree *block, const char *option);
const char *tree_value(struct tree *block, const char *option, size_t index);

/* The line of an option's first value, or, when it has none, the line on which its block begins; of the whole file its last. */
int tree_line(struct tree *block, const char *option);

#endif
