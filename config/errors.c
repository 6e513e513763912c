/* A list of errors that is sorted when it is printed. */
#include "config/errors.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static void make_one_line(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p != '\0'; p++)
        if (*p < 0x20 || *p == 0x7f)
            *p = '?';
}

void errors_add(struct config_errors *e, int line, const char *format, ...)
{
    char *text;
    va_list arguments;

    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    assert(length >= 0);
    make_one_line(text);

    if (e->count == e->capacity) {
        e->capacity = e->capacity == 0 ? 8 : e->capacity * 2;
        e->list = realloc(e->list, e->capacity * sizeof *e->list);
        assert(e->list != NULL);
    }
    e->list[e->count++] = (struct config_error){ line, text };
}

const char *errors_word(const struct config_errors *e, const char *word)
{
    return e->hides_words ? "…" : word;
}

/* Errors of one line stay in the order in which they were found: that is the order of `list`, hence of the addresses of the
 * pointers that are sorted. */
static int compare_lines(const void *left, const void *right)
{
    const struct config_error *a = *(const struct config_error *const *)left;
    const struct config_error *b = *(const struct config_error *const *)right;

    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    return (a > b) - (a < b);
}

/* "--mode: expected …", where a file's error says "FILE:3: mode: expected …". */
static void print_named(const char *name, const char *text, FILE *out)
{
    size_t size = strlen(name + 2);

    if (strncmp(text, name + 2, size) == 0 && strncmp(text + size, ": ", 2) == 0)
        text += size + 2;
    fprintf(out, "%s: %s\n", name, text);
}

static void print_one(const struct config_errors *e, const struct config_error *error, FILE *out)
{
    if (e->line_names != NULL && error->line > 0)
        print_named(e->line_names[error->line - 1], error->text, out);
    else if (error->line > 0)
        fprintf(out, "%s:%d: %s\n", e->file, error->line, error->text);
    else
        fprintf(out, "%s: %s\n", e->file, error->text);
}

void errors_print(struct config_errors *e, FILE *out)
{
    const struct config_error **sorted = malloc((e->count + 1) * sizeof *sorted);
    assert(sorted != NULL);

    for (size_t i = 0; i < e->count; i++)
        sorted[i] = &e->list[i];
    qsort(sorted, e->count, sizeof *sorted, compare_lines);
    for (size_t i = 0; i < e->count; i++)
        print_one(e, sorted[i], out);
    free(sorted);
}

void errors_free(struct config_errors *e)
{
    for (size_t i = 0; i < e->count; i++)
        free(e->list[i].text);
    free(e->list);
    e->list = NULL;
    e->count = e->capacity = 0;
}
