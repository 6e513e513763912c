/* Configs from text, for tests: through a file, as users have them. */
#ifndef TESTS_UNIT_WITH_CONFIG_H
#define TESTS_UNIT_WITH_CONFIG_H

#include <criterion/criterion.h>
#include <stdlib.h>
#include <unistd.h>

#include "config/config.h"

/* A temporary file that holds `size` bytes; the caller unlinks and frees. */
static inline char *file_with(const char *data, size_t size)
{
    char *path = strdup("/tmp/pgatomic-test-XXXXXX");
    int fd = mkstemp(path);

    cr_assert(fd >= 0);
    cr_assert(write(fd, data, size) == (ssize_t)size);
    close(fd);
    return path;
}

/* Errors with "FILE" for the file's name, which each must begin with; the caller frees them. */
static inline char *errors_without_path(char *written, const char *path)
{
    char *errors = calloc(1, strlen(written) + 1);

    for (char *line = strtok(written, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        cr_assert(strncmp(line, path, strlen(path)) == 0, "an error does not name the file: %s", line);
        strcat(strcat(strcat(errors, "FILE"), line + strlen(path)), "\n");
    }
    return errors;
}

/* What config_read() makes of `size` bytes. `errors` is what it writes, with the file's name as "FILE"; the caller frees it. */
static inline struct config *config_of_bytes(const char *data, size_t size, char **errors)
{
    char *path = file_with(data, size), *written = NULL;
    size_t written_size = 0;
    FILE *out = open_memstream(&written, &written_size);
    struct config *config = config_read(path, out);

    fclose(out);
    *errors = errors_without_path(written, path);
    free(written);
    unlink(path);
    free(path);
    return config;
}

/* A config that must be right. */
static inline struct config *config_of(const char *text)
{
    char *errors;
    struct config *config = config_of_bytes(text, strlen(text), &errors);

    cr_assert(config != NULL, "%s", errors);
    free(errors);
    return config;
}

/* The errors of a config that must be wrong; the caller frees them. */
static inline char *errors_of(const char *text)
{
    char *errors;
    struct config *config = config_of_bytes(text, strlen(text), &errors);

    cr_assert(config == NULL, "accepted: %s", text);
    return errors;
}

/* What config_print() prints; the caller frees it. Not inlined: the compiler would take the pointers that open_memstream() writes for pointers to `text` itself. */
__attribute__((noinline, unused)) static char *printed(const struct config *c)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    config_print(c, out);
    fclose(out);
    return text;
}

#define ANY_DATABASE "database \"*\" { upstream = \"host=127.0.0.1\" } "

#endif
