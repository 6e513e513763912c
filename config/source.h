/* From the file's bytes to text that libconfuse reads as a person would.
 *
 * libconfuse's own scanner replaces an unset ${VAR} by nothing, drops characters that it does not know, takes a file that ends inside a
 * block for a whole one, counts a comment as a line and refuses one inside a list. So its input is prepared:
 * comments are blanked, ${VAR} in double quotes is replaced by its value, and what it would misread is refused here, with the line. Line
 * breaks stay where they are, so that libconfuse's line numbers are the file's. */
#ifndef CONFIG_SOURCE_H
#define CONFIG_SOURCE_H

#include "config/errors.h"
#include "config/secret.h"

/* Both return a NUL-terminated text that the caller frees; NULL, and at least one error, when there is something to refuse. What came
 * from the environment is added to `variables`, in `memory`. */
char *source_read(const char *file, struct variables *variables, struct memory *memory, struct config_errors *errors);
char *source_prepare(const char *text, size_t size, struct variables *variables, struct memory *memory,
                     struct config_errors *errors);

/* The path that `name` means in `file`: unless it is absolute, one from the file's own directory. It means the same in a file that lies
 * elsewhere. */
const char *source_beside(const char *file, const char *name, struct memory *memory);

/* A string in double quotes that reads back as `text`, on one line. */
void source_print_string(const char *text, FILE *out);
/* A piece of one, without the quotes. */
void source_print_escaped(const char *text, size_t size, FILE *out);

#endif
