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

/* "name=value" in two. */
static bool split_setting(struct span setting, struct span *name, struct span *value)
{
    const char *equals = setting.size > 0 ? memchr(setting.data, '=', setting.size) : NULL;
    if (equals == NULL)
        return false;
    *name = span_make(setting.data, (size_t)(equals - setting.data));
    *value = span_make(equals + 1, setting.size - name->size - 1);
    return true;
}

bool startup_next_setting(struct span options, size_t *at, struct buffer *word, struct span *name, struct span *value)
{
    while (next_word(options, at, word)) {
        struct span setting = buffer_span(word);
        if (span_is(setting, "-c")) {
            if (!next_word(options, at, word))
                return false;
            setting = buffer_span(word);
        } else if (starts_with(setting, "-c") || starts_with(setting, "--")) {
            setting = span_make(setting.data + 2, setting.size - 2);
        } else {
            continue;
        }
        if (split_setting(setting, name, value))
            return true;
    }
    return false;
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
