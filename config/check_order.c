/* Only what is certain is told: a pattern takes all of another when it is "*" or the same, or when the other is a plain name that it matches. */
#include "config/check_order.h"

#include <string.h>

static bool pattern_takes(const char *wide, const char *narrow)
{
    bool is_name = strpbrk(narrow, "*?") == NULL;

    return strcmp(wide, "*") == 0 || strcmp(wide, narrow) == 0 ||
           (is_name && glob_matches(wide, narrow, strlen(narrow)));
}

static bool list_takes(const char *const *wide, const char *const *narrow)
{
    for (; *narrow != NULL; narrow++) {
        const char *const *each = wide;
        while (*each != NULL && !pattern_takes(*each, *narrow))
            each++;
        if (*each == NULL)
            return false;
    }
    return true;
}

/* Of a request without a label, a route with any `match` takes nothing. */
static bool route_takes(const void *one, const void *other)
{
    const struct route *wide = one, *narrow = other;
    bool takes_label = wide->match == NULL || (narrow->match != NULL && pattern_takes(wide->match, narrow->match));

    return takes_label && pattern_takes(wide->application, narrow->application) &&
           pattern_takes(wide->database, narrow->database) && pattern_takes(wide->user, narrow->user);
}

static bool login_takes(const void *one, const void *other)
{
    const struct login_rule *wide = one, *narrow = other;
    bool takes_tls = wide->tls == LOGIN_TLS_ANY || wide->tls == narrow->tls;
    bool takes_addresses =
        wide->addresses[0] == NULL || (narrow->addresses[0] != NULL && list_takes(wide->addresses, narrow->addresses));

    return takes_tls && takes_addresses && list_takes(wide->databases, narrow->databases) &&
           list_takes(wide->users, narrow->users);
}

static bool channel_takes(const void *one, const void *other)
{
    return pattern_takes(((const struct channel *)one)->pattern, ((const struct channel *)other)->pattern);
}

struct list {
    const char *block, *cases; /* what such a block is called, and what it decides about */
    const void *items;
    size_t item_size, count;
    bool (*takes)(const void *wide, const void *narrow);
};

static void check_list(const struct list *l, struct tree *file, struct config_errors *errors)
{
    const char *items = l->items;

    for (size_t i = 1; i < l->count; i++) {
        size_t above = 0;
        while (above < i && !l->takes(items + above * l->item_size, items + i * l->item_size))
            above++;
        struct tree *block = tree_block(file, l->block, i);
        if (above < i)
            errors_add(errors, tree_line(block, ""),
                       "%s \"%s\": %s \"%s\" above takes all of its %s: expected the narrower one first", l->block,
                       tree_title(block), l->block, tree_title(tree_block(file, l->block, above)), l->cases);
    }
}

void check_order(const struct config *c, struct tree *file, struct config_errors *errors)
{
    const struct list lists[] = {
        { "route", "requests", c->routes, sizeof *c->routes, c->route_count, route_takes },
        { "login", "clients", c->logins, sizeof *c->logins, c->login_count, login_takes },
        { "channel", "events", c->channels, sizeof *c->channels, c->channel_count, channel_takes },
    };

    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        check_list(&lists[i], file, errors);
}
