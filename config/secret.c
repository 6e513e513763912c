/* Printing around secrets.
 *
 * Which variable a value came from is found by comparing, once the value is known: a text that equals a variable's is the variable's as
 * far as a reader of the print can tell. Connection strings are printed from what libpq read in them, and not from the text, so that
 * no quoting can get a password past us. */
#include "config/secret.h"

#include <stdlib.h>
#include <string.h>

#include "config/conninfo.h"
#include "config/source.h"
#include "config/url.h"

static const char hidden[] = "***";

const char secret_hidden_expected[] =
    "*** stands for a secret that was not printed: expected the secret itself, or ${VAR}";

bool secret_is_hidden(const char *text)
{
    return strcmp(text, hidden) == 0;
}

void variables_add(struct variables *v, const char *name, const char *value, struct memory *memory)
{
    struct variable *added = memory_take(memory, sizeof *added);

    added->name = memory_copy(memory, name);
    added->value = memory_copy(memory, value);
    added->older = v->newest;
    v->newest = added;
}

static const struct variable *find_variable(const struct variables *v, const char *text, size_t size)
{
    const struct variable *found = v->newest;

    while (found != NULL && (strlen(found->value) != size || strncmp(found->value, text, size) != 0))
        found = found->older;
    return size > 0 ? found : NULL;
}

/* A piece that is secret as a whole. */
static bool print_piece(const char *text, size_t size, const struct variables *v, FILE *out)
{
    const struct variable *from = find_variable(v, text, size);

    if (from != NULL)
        fprintf(out, "${%s}", from->name);
    else if (size > 0)
        fputs(hidden, out);
    return from == NULL && size > 0;
}

bool secret_print(const char *text, const struct variables *v, FILE *out)
{
    putc('"', out);
    bool hides = print_piece(text, strlen(text), v, out);
    putc('"', out);
    return hides;
}

static void print_variable_string(const struct variable *from, FILE *out)
{
    fprintf(out, "\"${%s}\"", from->name);
}

/* A path such as /services/${KEY}: what begins with the whole of a variable is printed as the variable. Values that are too short to be
 * anybody's secret would only make it hard to read. */
static void print_path(const char *text, size_t size, const struct variables *v, FILE *out)
{
    enum { SHORTEST_SECRET = 6 };

    while (size > 0) {
        const struct variable *best = NULL;
        for (const struct variable *one = v->newest; one != NULL; one = one->older) {
            size_t length = strlen(one->value);
            if (length >= SHORTEST_SECRET && length <= size && memcmp(one->value, text, length) == 0 &&
                (best == NULL || length > strlen(best->value)))
                best = one;
        }
        size_t taken = best != NULL ? strlen(best->value) : 1;
        if (best != NULL)
            fprintf(out, "${%s}", best->name);
        else
            source_print_escaped(text, 1, out);
        text += taken;
        size -= taken;
    }
}

bool secret_print_url(const char *text, bool hides_query, const struct variables *v, FILE *out)
{
    const struct variable *whole = find_variable(v, text, strlen(text));
    size_t start = 0, size = 0;
    bool hides = false;

    if (whole != NULL) {
        print_variable_string(whole, out);
        return false;
    }
    putc('"', out);
    if (url_find_password(text, &start, &size)) {
        source_print_escaped(text, start, out);
        hides = print_piece(text + start, size, v, out);
    }
    const char *rest = text + start + size;
    const char *query = hides_query ? strchr(rest, '?') : NULL;
    print_path(rest, query != NULL ? (size_t)(query + 1 - rest) : strlen(rest), v, out);
    if (query != NULL)
        hides |= print_piece(query + 1, strlen(query + 1), v, out);
    putc('"', out);
    return hides;
}

/* As connection strings quote: '…' with backslashes before ' and \, where it is needed. */
static void print_parameter(const char *value, FILE *out)
{
    if (*value != '\0' && strpbrk(value, " \t\r\n\f\v'\\") == NULL) {
        source_print_escaped(value, strlen(value), out);
        return;
    }
    putc('\'', out);
    for (; *value != '\0'; value++) {
        if (*value == '\'' || *value == '\\')
            source_print_escaped("\\", 1, out);
        source_print_escaped(value, 1, out);
    }
    putc('\'', out);
}

/* A variable's text is put into the string before libpq reads it: only one that quotes leave alone reads back as the same. */
static bool print_secret_parameter(const char *value, const struct variables *v, FILE *out)
{
    bool is_plain = strpbrk(value, "'\\") == NULL;

    if (*value == '\0') {
        fputs("''", out);
        return false;
    }
    putc('\'', out);
    bool hides = print_piece(value, strlen(value), is_plain ? v : &(struct variables){ NULL }, out);
    putc('\'', out);
    return hides;
}

bool secret_print_conninfo(const char *text, const struct variables *v, FILE *out)
{
    const struct variable *whole = find_variable(v, text, strlen(text));
    bool hides = false;
    const char *between = "";

    if (whole != NULL) {
        print_variable_string(whole, out);
        return false;
    }
    struct conninfo said;
    char *words;
    conninfo_parse(text, &said, &words);
    free(words);
    putc('"', out);
    for (size_t i = 0; i < said.count; i++) {
        const struct conninfo_parameter *p = &said.list[i];
        fprintf(out, "%s%s=", between, p->name);
        between = " ";
        if (p->is_secret)
            hides |= print_secret_parameter(p->value, v, out);
        else
            print_parameter(p->value, out);
    }
    putc('"', out);
    conninfo_free(&said);
    return hides;
}
