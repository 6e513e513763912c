/* libpq's own parser is the judge of what a connection string is.
 *
 * The few parameters of newer versions that pgatomic implements itself are taken out before libpq, whatever its version, sees the
 * string. */
#include "config/conninfo.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "config/secret.h"

static const char *const newer[] = { "sslnegotiation", "load_balance_hosts", NULL };

/* --- taking apart ---------------------------------------------------------------------------------- */

static void add(struct conninfo *c, const char *name, size_t name_size, const char *value, size_t value_size,
                bool is_secret)
{
    c->list = realloc(c->list, (c->count + 1) * sizeof *c->list);
    assert(c->list != NULL);
    struct conninfo_parameter p = { strndup(name, name_size), strndup(value, value_size), is_secret };
    assert(p.name != NULL && p.value != NULL);
    c->list[c->count++] = p;
}

static bool is_newer(const char *name, size_t size)
{
    const char *const *each = newer;

    while (*each != NULL && (strlen(*each) != size || strncmp(*each, name, size) != 0))
        each++;
    return *each != NULL;
}

static bool is_space(char c)
{
    return c != '\0' && strchr(" \t\r\n\f\v", c) != NULL;
}

static char *skip_spaces(char *at)
{
    while (is_space(*at))
        at++;
    return at;
}

/* Past a value, quoted or not. */
static char *skip_value(char *at)
{
    bool is_quoted = *at == '\'';

    at += is_quoted;
    while (*at != '\0' && (is_quoted ? *at != '\'' : !is_space(*at)))
        at += *at == '\\' && at[1] != '\0' ? 2 : 1;
    return at + (is_quoted && *at == '\'');
}

/* Of key=value pairs. Their values need no quotes, but may have them. */
static void take_newer_pairs(char *text, struct conninfo *out)
{
    for (char *at = skip_spaces(text); *at != '\0'; at = skip_spaces(at)) {
        char *name = at;
        at += strcspn(at, "= \t\r\n\f\v");
        size_t name_size = (size_t)(at - name);
        at = skip_spaces(at);
        if (*at != '=')
            return; /* libpq will say what is wrong */
        char *value = skip_spaces(at + 1);
        at = skip_value(value);
        if (!is_newer(name, name_size))
            continue;
        bool is_quoted = *value == '\'' && at[-1] == '\'' && at - value >= 2;
        add(out, name, name_size, value + is_quoted, (size_t)(at - value) - 2 * is_quoted, false);
        memset(name, ' ', (size_t)(at - name));
    }
}

/* Of a URI's query. */
static void take_newer_query(char *text, struct conninfo *out)
{
    char *query = strchr(text, '?');
    char *to = query;

    for (char *at = query; at != NULL && *at != '\0';) {
        char *name = at + 1;
        size_t size = strcspn(name, "&"), name_size = strcspn(name, "=&");
        char *end = name + size;
        if (is_newer(name, name_size) && name_size < size) {
            add(out, name, name_size, name + name_size + 1, size - name_size - 1, false);
        } else {
            memmove(to + 1, name, size);
            *to = to == query ? '?' : '&';
            to += size + 1;
        }
        at = end;
    }
    if (to != NULL)
        *to = '\0';
}

static bool is_uri(const char *text)
{
    return strncmp(text, "postgresql://", 13) == 0 || strncmp(text, "postgres://", 11) == 0;
}

bool conninfo_parse(const char *text, struct conninfo *out, char **words)
{
    struct conninfo taken = { NULL, 0 };
    char *copy = strdup(text), *libpq_words = NULL;

    assert(copy != NULL);
    *out = (struct conninfo){ NULL, 0 };
    if (is_uri(copy))
        take_newer_query(copy, &taken);
    else
        take_newer_pairs(copy, &taken);
    PQconninfoOption *parameters = PQconninfoParse(copy, &libpq_words);
    *words = libpq_words != NULL ? strdup(libpq_words) : NULL;
    for (const PQconninfoOption *p = parameters; p != NULL && p->keyword != NULL; p++)
        if (p->val != NULL) /* dispchar "*" is libpq's own mark of a password */
            add(out, p->keyword, strlen(p->keyword), p->val, strlen(p->val), strcmp(p->dispchar, "*") == 0);
    for (size_t i = 0; parameters != NULL && i < taken.count; i++)
        add(out, taken.list[i].name, strlen(taken.list[i].name), taken.list[i].value, strlen(taken.list[i].value),
            false);
    conninfo_free(&taken);
    PQconninfoFree(parameters);
    PQfreemem(libpq_words);
    free(copy);
    return parameters != NULL;
}

void conninfo_free(struct conninfo *c)
{
    for (size_t i = 0; i < c->count; i++) {
        free(c->list[i].name);
        free(c->list[i].value);
    }
    free(c->list);
    *c = (struct conninfo){ NULL, 0 };
}

/* --- checking -------------------------------------------------------------------------------------- */

/* libpq repeats what it could not read, which may be a piece of a password. */
void conninfo_refuse(const char *text, const char *words, const char *option, int line, struct config_errors *errors)
{
    bool may_hold_secret = strstr(text, "pass") != NULL || strstr(text, "://") != NULL;

    if (words == NULL || may_hold_secret)
        errors_add(errors, line,
                   "%s: is not a connection string: expected key=value pairs such as host=127.0.0.1 port=5432 "
                   "dbname=shop",
                   option);
    else
        errors_add(errors, line, "%s: %.*s", option, (int)strcspn(words, "\n"), words);
}

bool conninfo_is_whole(const struct conninfo *c, const char *option, int line, struct config_errors *errors)
{
    for (size_t i = 0; i < c->count; i++)
        if (secret_is_hidden(c->list[i].value)) {
            errors_add(errors, line, "%s: %s", option, secret_hidden_expected);
            return false;
        }
    return true;
}

/* By libpq alone, for it is libpq that will use it. */
bool conninfo_check(const char *text, const char *option, int line, struct config_errors *errors)
{
    char *words = NULL, *no_words;
    PQconninfoOption *parameters = PQconninfoParse(text, &words);
    bool is_fine = parameters != NULL && text[strspn(text, " \t\r\n")] != '\0';

    PQconninfoFree(parameters);
    if (is_fine) {
        struct conninfo said;
        conninfo_parse(text, &said, &no_words);
        is_fine = conninfo_is_whole(&said, option, line, errors);
        conninfo_free(&said);
        free(no_words);
    } else {
        conninfo_refuse(text, words, option, line, errors);
        PQfreemem(words);
    }
    return is_fine;
}

bool conninfo_names_database(const char *text)
{
    PQconninfoOption *parameters = PQconninfoParse(text, NULL);
    bool names = parameters == NULL;

    for (PQconninfoOption *p = parameters; p != NULL && p->keyword != NULL; p++)
        names = names || (p->val != NULL && *p->val != '\0' &&
                          (strcmp(p->keyword, "dbname") == 0 || strcmp(p->keyword, "service") == 0));
    PQconninfoFree(parameters);
    return names;
}
