/* Reading `options` and `replication` as PostgreSQL does. */
#include "proxy/pool/startup_options.h"

#include <strings.h>

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The next word at *at, its backslashes taken away, in `word`; false: there is none. */
static bool next_word(struct span options, size_t *at, struct buffer *word)
{
    buffer_clear(word);
    while (*at < options.size && is_space(options.data[*at]))
        ++*at;
    if (*at == options.size)
        return false;
    for (bool escaped = false; *at < options.size && (escaped || !is_space(options.data[*at])); ++*at) {
        char c = options.data[*at];
        if (c == '\\' && !escaped) {
            escaped = true;
            continue;
        }
        escaped = false;
        buffer_append_u8(word, (uint8_t)c);
    }
    return true;
}

static bool starts_with(struct span s, const char *prefix)
{
    size_t size = strlen(prefix);
    return s.size >= size && memcmp(s.data, prefix, size) == 0;
}

/* "name=value" in two; a dash in the name is an underscore. */
static bool split_setting(struct buffer *word, size_t at, struct span *name, struct span *value)
{
    char *equals = word->size > at ? memchr(word->data + at, '=', word->size - at) : NULL;
    if (equals == NULL)
        return false;
    for (char *c = word->data + at; c < equals; c++)
        if (*c == '-')
            *c = '_';
    *name = span_make(word->data + at, (size_t)(equals - word->data) - at);
    *value = span_make(equals + 1, (size_t)(word->data + word->size - equals) - 1);
    return true;
}

enum option { OPTION_NONE, OPTION_SETTING, OPTION_ODD };

static enum option next_option(struct span options, size_t *at, struct buffer *word, struct span *name,
                               struct span *value)
{
    if (!next_word(options, at, word))
        return OPTION_NONE;
    size_t start = 2;
    if (span_is(buffer_span(word), "-c")) {
        if (!next_word(options, at, word))
            return OPTION_ODD;
        start = 0;
    } else if (!starts_with(buffer_span(word), "-c") && !starts_with(buffer_span(word), "--")) {
        return OPTION_ODD;
    }
    return split_setting(word, start, name, value) ? OPTION_SETTING : OPTION_ODD;
}

bool startup_next_setting(struct span options, size_t *at, struct buffer *word, struct span *name, struct span *value)
{
    enum option found;
    do
        found = next_option(options, at, word, name, value);
    while (found == OPTION_ODD);
    return found == OPTION_SETTING;
}

bool startup_options_are_odd(struct span options)
{
    enum option found;
    struct buffer word = { 0 };
    struct span name, value;
    size_t at = 0;
    do
        found = next_option(options, &at, &word, &name, &value);
    while (found == OPTION_SETTING);
    buffer_free(&word);
    return found == OPTION_ODD;
}

/* Names are compared as PostgreSQL does, without regard to case. */
static bool is_same_name(struct span a, const char *b)
{
    return a.size == strlen(b) && strncasecmp(a.data, b, a.size) == 0;
}

bool startup_option(struct span options, const char *name, struct buffer *out)
{
    struct buffer word = { 0 };
    struct span each, value;
    size_t before = out->size;
    bool found = false;
    for (size_t at = 0; startup_next_setting(options, &at, &word, &each, &value);) {
        if (!is_same_name(each, name))
            continue;
        out->size = before;
        buffer_append_span(out, value);
        found = true;
    }
    buffer_free(&word);
    return found;
}

/* A boolean in PostgreSQL's sense is any unambiguous beginning of these words. */
static bool begins_word(struct span value, const char *word, size_t at_least)
{
    return value.size >= at_least && value.size <= strlen(word) && strncasecmp(value.data, word, value.size) == 0;
}

bool startup_replication(struct span value)
{
    return span_is(value, "database") || span_is(value, "1") || begins_word(value, "true", 1) ||
           begins_word(value, "yes", 1) || begins_word(value, "on", 2);
}
