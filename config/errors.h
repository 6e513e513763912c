/* What is wrong with a config file, each with its line.
 *
 * Errors are gathered in any order and printed in the order of their lines, so that a person reads the file once, top down. */
#ifndef CONFIG_ERRORS_H
#define CONFIG_ERRORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct config_error {
    int line;
    char *text;
};

struct config_errors {
    const char *file;
    const char *const *line_names; /* the command line's "--option" that line 1, 2, … stands for; NULL: a file */
    bool hides_words;              /* any word of the file may be a piece of a password: none is repeated */
    struct config_error *list;
    size_t count, capacity;
};

/* `line` counts from 1; 0 is the file as a whole. Control characters in the text become '?': an error is one line. */
void errors_add(struct config_errors *e, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* `word` as an error may repeat it. */
const char *errors_word(const struct config_errors *e, const char *word);
void errors_print(struct config_errors *e, FILE *out);
void errors_free(struct config_errors *e);

#endif
