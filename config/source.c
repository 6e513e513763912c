/* One pass over the file, in which each function consumes one lexical thing and appends what libconfuse shall see of it.
 *
 *     text ──┬── '#', '//'      comment to the end of the line      → nothing
 *            ├── slash star     comment                             → its line breaks
 *            ├── '"'            string, ${VAR} replaced             → the same, with every '$' escaped
 *            ├── '\''           string, taken literally             → as it is
 *            ├── { } ( ) , = += punctuation; braces are counted     → as it is
 *            └── a word         letters, digits and _ - . :         → as it is
 *
 * The first error of structure ends the pass; unset variables are all reported. */
#include "config/source.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_FILE_BYTES = 4 << 20, MAX_DEPTH = 16 };

struct source {
    const char *at, *end;
    int line;
    int open_lines[MAX_DEPTH]; /* the lines of the braces that are open */
    int depth;
    FILE *out;
    struct variables *variables;
    struct memory *memory;
    struct config_errors *errors;
};

static bool starts_with(const struct source *s, const char *text)
{
    size_t size = strlen(text);
    return (size_t)(s->end - s->at) >= size && memcmp(s->at, text, size) == 0;
}

/* Consumes one character and appends it. */
static void keep(struct source *s)
{
    if (*s->at == '\n')
        s->line++;
    putc(*s->at++, s->out);
}

/* Consumes one character, of which only a line break is kept. */
static void drop(struct source *s)
{
    if (*s->at == '\n')
        keep(s);
    else
        s->at++;
}

static bool skip_line_comment(struct source *s)
{
    while (s->at < s->end && *s->at != '\n')
        drop(s);
    return true;
}

static bool skip_block_comment(struct source *s)
{
    int begun = s->line;

    putc(' ', s->out); /* a comment parts words */
    s->at += 2;
    while (s->at < s->end && !starts_with(s, "*/"))
        drop(s);
    if (s->at == s->end) {
        errors_add(s->errors, begun, "this comment has no end: expected */");
        return false;
    }
    s->at += 2;
    return true;
}

/* How much of a text is the name of a variable. */
static size_t variable_name_size(const char *text)
{
    size_t size = 0;
    while (isalnum((unsigned char)text[size]) || text[size] == '_')
        size++;
    return isdigit((unsigned char)text[0]) ? 0 : size;
}

/* What follows the name may be a password with a slip ahead of it, and is not repeated. */
static void refuse_variable(struct source *s, char *key)
{
    key[variable_name_size(key)] = '\0';
    if (*key == '\0') {
        errors_add(s->errors, s->line, "${ is followed by no name of a variable; expected ${VAR} or ${VAR:-default}");
        return;
    }
    errors_add(s->errors, s->line, "${%s is followed by neither } nor :-; expected ${VAR} or ${VAR:-default}",
               errors_word(s->errors, key));
}

/* The inside of a string in double quotes. A line break is written as \n, for it must not count as a line. */
void source_print_escaped(const char *text, size_t size, FILE *out)
{
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\n') {
            fputs("\\n", out);
            continue;
        }
        if (strchr("\"\\$", text[i]) != NULL)
            putc('\\', out);
        putc(text[i], out);
    }
}

void source_print_string(const char *text, FILE *out)
{
    putc('"', out);
    source_print_escaped(text, strlen(text), out);
    putc('"', out);
}

/* Past the brace that closes it. A default may span lines: what it says is there already, and here libconfuse drops the line breaks
 * but counts them. */
static void skip_variable(struct source *s, const char *close)
{
    for (; s->at <= close; s->at++)
        if (*s->at == '\n') {
            fputs("\\\n", s->out);
            s->line++;
        }
}

static void keep_value(struct source *s, const char *name, const char *value)
{
    variables_add(s->variables, name, value, s->memory);
    source_print_escaped(value, strlen(value), s->out);
}

/* ${NAME} or ${NAME:-default}, up to the first '}'. */
static bool replace_variable(struct source *s)
{
    const char *name = s->at + 2;
    const char *close = memchr(name, '}', (size_t)(s->end - name));
    const char *quote = memchr(name, '"', (size_t)(s->end - name));

    if (close == NULL || (quote != NULL && quote < close)) {
        errors_add(s->errors, s->line,
                   "${ without }: expected ${VAR} or ${VAR:-default}; a plain dollar sign before { is written \\$");
        return false;
    }
    const char *fallback = memmem(name, (size_t)(close - name), ":-", 2);
    char *key = strndup(name, (size_t)((fallback != NULL ? fallback : close) - name));
    assert(key != NULL);
    bool is_name = *key != '\0' && key[variable_name_size(key)] == '\0';
    const char *value = is_name ? getenv(key) : NULL, *word = errors_word(s->errors, key);

    if (!is_name)
        refuse_variable(s, key);
    else if (value != NULL)
        keep_value(s, key, value);
    else if (fallback != NULL)
        source_print_escaped(fallback + 2, (size_t)(close - fallback - 2), s->out);
    else
        errors_add(s->errors, s->line, "the environment variable %s is not set: set it, or write ${%s:-default}", word,
                   word);
    free(key);
    if (!is_name)
        return false;

    skip_variable(s, close);
    return true;
}

static bool keep_escape(struct source *s)
{
    if (s->end - s->at > 1 && (isdigit((unsigned char)s->at[1]) || s->at[1] == 'x')) {
        errors_add(s->errors, s->line, "escapes by number are not understood: write the character itself");
        return false;
    }
    keep(s);
    if (s->at < s->end)
        keep(s);
    return true;
}

static bool is_word_character(char c)
{
    return isalnum((unsigned char)c) || strchr("_-.:", c) != NULL;
}

/* A quote that was meant to be inside has ended the string: what follows may be the rest of a password, and is not repeated. */
static bool end_string(struct source *s)
{
    keep(s);
    if (s->at == s->end || !(is_word_character(*s->at) || *s->at == '"' || *s->at == '\''))
        return true;
    errors_add(s->errors, s->line,
               "a string ends and something else begins at once: a quote inside of a string is written with a \\");
    return false;
}

static bool keep_double_quoted(struct source *s)
{
    int begun = s->line;

    keep(s);
    while (s->at < s->end && *s->at != '"') {
        if (*s->at == '\\') {
            if (!keep_escape(s))
                return false;
        } else if (starts_with(s, "${")) {
            if (!replace_variable(s))
                return false;
        } else {
            if (*s->at == '$') /* the value of a variable may follow and begin with a brace */
                putc('\\', s->out);
            keep(s);
        }
    }
    if (s->at == s->end) {
        errors_add(s->errors, begun, "this string has no end: expected \"");
        return false;
    }
    return end_string(s);
}

static bool keep_single_quoted(struct source *s)
{
    int begun = s->line;

    keep(s);
    while (s->at < s->end && *s->at != '\'') {
        if (*s->at == '\\' && s->end - s->at > 1)
            keep(s);
        keep(s);
    }
    if (s->at == s->end) {
        errors_add(s->errors, begun, "this string has no end: expected '");
        return false;
    }
    return end_string(s);
}

static bool keep_brace(struct source *s)
{
    if (*s->at == '{') {
        if (s->depth == MAX_DEPTH) {
            errors_add(s->errors, s->line, "blocks are nested too deeply");
            return false;
        }
        s->open_lines[s->depth++] = s->line;
    } else {
        if (s->depth == 0) {
            errors_add(s->errors, s->line, "this } closes nothing");
            return false;
        }
        s->depth--;
    }
    keep(s);
    return true;
}

static bool keep_word(struct source *s)
{
    while (s->at < s->end && is_word_character(*s->at))
        keep(s);
    return true;
}

static bool refuse(struct source *s)
{
    unsigned char c = (unsigned char)*s->at;

    if (c > 0x20 && c < 0x7f)
        errors_add(s->errors, s->line,
                   "unexpected \"%c\": a value with anything but letters, digits and _ - . : needs double quotes", c);
    else
        errors_add(s->errors, s->line,
                   "unexpected byte 0x%02x: a value with anything but letters, digits and _ - . : needs double quotes",
                   c);
    return false;
}

static bool keep_next(struct source *s)
{
    char c = *s->at;

    if (c == '#' || starts_with(s, "//"))
        return skip_line_comment(s);
    if (starts_with(s, "/*"))
        return skip_block_comment(s);
    if (c == '"')
        return keep_double_quoted(s);
    if (c == '\'')
        return keep_single_quoted(s);
    if (c == '{' || c == '}')
        return keep_brace(s);
    if (starts_with(s, "+="))
        keep(s);
    else if (strchr(" \t\r\n(),=", c) == NULL)
        return is_word_character(c) ? keep_word(s) : refuse(s);
    keep(s);
    return true;
}

static int line_of(const char *text, const char *place)
{
    int line = 1;

    for (; text < place; text++)
        line += *text == '\n';
    return line;
}

char *source_prepare(const char *text, size_t size, struct variables *variables, struct memory *memory,
                     struct config_errors *errors)
{
    char *prepared = NULL;
    size_t prepared_size = 0;
    size_t errors_before = errors->count;
    struct source s = {
        .at = text, .end = text + size, .line = 1, .variables = variables, .memory = memory, .errors = errors
    };

    const char *nul = memchr(text, '\0', size);
    if (nul != NULL) {
        errors_add(errors, line_of(text, nul), "unexpected byte 0x00: this is not a text file");
        return NULL;
    }
    s.out = open_memstream(&prepared, &prepared_size);
    assert(s.out != NULL);
    bool whole = true;
    while (whole && s.at < s.end)
        whole = keep_next(&s);
    if (whole && s.depth > 0)
        errors_add(errors, s.open_lines[s.depth - 1], "this { is never closed: expected }");

    int closed = fclose(s.out);
    assert(closed == 0);
    if (errors->count == errors_before)
        return prepared;
    free(prepared);
    return NULL;
}

char *source_read(const char *file, struct variables *variables, struct memory *memory, struct config_errors *errors)
{
    FILE *in = fopen(file, "re");
    if (in == NULL) {
        errors_add(errors, 0, "cannot be opened: %s", strerror(errno));
        return NULL;
    }

    char *text = malloc(MAX_FILE_BYTES + 1);
    assert(text != NULL);
    size_t size = fread(text, 1, MAX_FILE_BYTES + 1, in);
    char *prepared = NULL;
    if (ferror(in))
        errors_add(errors, 0, "cannot be read: %s", strerror(errno));
    else if (size > MAX_FILE_BYTES)
        errors_add(errors, 0, "is larger than %d MB", MAX_FILE_BYTES >> 20);
    else
        prepared = source_prepare(text, size, variables, memory, errors);
    free(text);
    fclose(in);
    return prepared;
}

const char *source_beside(const char *file, const char *name, struct memory *memory)
{
    const char *slash = strrchr(file, '/');
    char *path = NULL;

    if (name[0] == '/' || slash == NULL)
        return memory_copy(memory, name);
    char *here = file[0] == '/' ? NULL : getcwd(NULL, 0);
    int size = asprintf(&path, "%s%s%.*s/%s", here != NULL ? here : "", here != NULL ? "/" : "", (int)(slash - file),
                        file, name);
    assert(size > 0);
    const char *copy = memory_copy(memory, path);
    free(path);
    free(here);
    return copy;
}
