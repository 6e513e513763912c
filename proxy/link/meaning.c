#include "proxy/link/meaning.h"

#include <strings.h>

/* --- settings ---------------------------------------------------------------------------------------- */

static const char *const deciding[] = { "array_nulls",           "DateStyle", "IntervalStyle",
                                        "lc_monetary",           "role",      "search_path",
                                        "session_authorization", "TimeZone",  "timezone_abbreviations",
                                        "transform_null_equals", "xmloption" };

enum { DECIDING = sizeof deciding / sizeof deciding[0] };

bool meaning_depends_on(struct span name)
{
    for (size_t i = 0; i < DECIDING; i++)
        if (name.size == strlen(deciding[i]) && strncasecmp(name.data, deciding[i], name.size) == 0)
            return true;
    return false;
}

void meaning_append_settings(const struct parameters *settings, struct buffer *out)
{
    if (parameters_count(settings) == 0)
        return;
    for (size_t i = 0; i < DECIDING; i++) {
        const char *value = parameters_value(settings, span_of(deciding[i]));
        if (value == NULL)
            continue;
        buffer_append_string(out, span_of(deciding[i]));
        buffer_append_string(out, span_of(value));
    }
}

/* --- the moment -------------------------------------------------------------------------------------- */

static bool is_letter(char c)
{
    char lower = sql_lower(c);
    return (lower >= 'a' && lower <= 'z') || c == '_';
}

/* Whether the word at `at` is one of those that stand for a moment. */
static bool is_moment(struct span text, size_t at)
{
    static const char *const moments[] = { "now", "today", "tomorrow", "yesterday" };
    for (size_t i = 0; i < sizeof moments / sizeof moments[0]; i++) {
        size_t size = strlen(moments[i]), end = at + size;
        if (end <= text.size && strncasecmp(text.data + at, moments[i], size) == 0 &&
            (end == text.size || !is_letter(text.data[end])))
            return true;
    }
    return false;
}

/* Whether one of them stands anywhere, be it outside of a literal: now() does in many a text. */
static bool has_moment(struct span text)
{
    char before = ' ';
    for (size_t at = 0; at < text.size; at++) {
        char c = text.data[at], lower = sql_lower(c);
        if ((lower == 'n' || lower == 't' || lower == 'y') && !is_letter(before) && is_moment(text, at))
            return true;
        before = c;
    }
    return false;
}

bool meaning_is_of_the_moment(struct span text, const struct sql_options *options)
{
    struct sql_lexer lexer;
    if (!has_moment(text))
        return false;
    sql_lexer_init(&lexer, text, options);
    for (;;) {
        struct sql_token token = sql_lexer_next(&lexer);
        if (token.kind == SQL_END)
            return false;
        if (token.kind == SQL_STRING && has_moment(token.text))
            return true;
    }
}
