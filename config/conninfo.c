/* libpq's own parser is the judge of what a connection string is. */
#include "config/conninfo.h"

#include <string.h>

#include <libpq-fe.h>

#include "config/secret.h"

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

static bool check_hidden(const PQconninfoOption *parameters, const char *option, int line, struct config_errors *errors)
{
    for (; parameters->keyword != NULL; parameters++)
        if (parameters->val != NULL && secret_is_hidden(parameters->val)) {
            errors_add(errors, line, "%s: %s", option, secret_hidden_expected);
            return false;
        }
    return true;
}

bool conninfo_check(const char *text, const char *option, int line, struct config_errors *errors)
{
    char *words = NULL;
    PQconninfoOption *parameters = PQconninfoParse(text, &words);

    if (parameters == NULL || text[strspn(text, " \t\r\n")] == '\0') {
        conninfo_refuse(text, words, option, line, errors);
        PQfreemem(words);
        PQconninfoFree(parameters);
        return false;
    }
    bool is_fine = check_hidden(parameters, option, line, errors);
    PQconninfoFree(parameters);
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
