/* What is secret in a config, and how it is printed nevertheless.
 *
 * A secret that came from the environment is printed as the ${VAR} that it came from, so that the print reads back as the same. One that
 * stands in the file itself is printed as ***, which a config file must not say. */
#ifndef CONFIG_SECRET_H
#define CONFIG_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "config/memory.h"

/* What stood for ${NAME} in the file. */
struct variable {
    const char *name, *value;
    const struct variable *older;
};

struct variables {
    const struct variable *newest;
};

void variables_add(struct variables *v, const char *name, const char *value, struct memory *memory);

/* It is what these print for a secret. */
bool secret_is_hidden(const char *text);
extern const char secret_hidden_expected[];

/* Each prints a string in double quotes; true when *** stands for something in it. */
bool secret_print(const char *text, const struct variables *v, FILE *out);
bool secret_print_url(const char *text, bool hides_query, const struct variables *v, FILE *out);
bool secret_print_conninfo(const char *text, const struct variables *v, FILE *out);

#endif
