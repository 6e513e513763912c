/* Checks that need more than one option, or more than one block. */
#include "config/check.h"

#include <string.h>

#include "config/address.h"
#include "config/check_delivery.h"
#include "config/check_login.h"
#include "config/check_order.h"
#include "config/check_upstream.h"

static void check_listen(struct config_storage *s, struct tree *file, struct config_errors *errors)
{
    size_t count = 0;

    while (s->listen[count] != NULL)
        count++;
    if (count == 0)
        errors_add(errors, tree_line(file, "listen"), "listen: %s, but found nothing", address_listen_expected);
    struct listen_address *list = memory_take(&s->memory, count * sizeof *list);
    for (size_t i = 0; i < count; i++) {
        bool is_one = address_parse_listen(s->listen[i], &list[i], &s->memory);
        if (!is_one)
            errors_add(errors, tree_line(file, "listen"), "listen: %s, but found \"%.100s\"", address_listen_expected,
                       s->listen[i]);
        for (size_t j = 0; j < i; j++)
            if (strcmp(list[i].text, list[j].text) == 0)
                errors_add(errors, tree_line(file, "listen"), "listen: %s is said twice", list[i].text);
            else if (is_one && address_listens_clash(&list[i], &list[j]))
                errors_add(errors, tree_line(file, "listen"),
                           "listen: %s and %s cannot both be had: expected one of them", list[j].text, list[i].text);
    }
    s->config.listen = list;
    s->config.listen_count = count;
}

static void check_log(struct config *c, struct tree *file)
{
    if (tree_block_count(file, "log") > 0)
        c->log.line = tree_line(tree_block(file, "log", 0), "file");
}

/* A database that nobody could ask for. */
static void check_title(const struct config *c, const char *name, int line, struct config_errors *errors)
{
    if (strchr(name, '*') != NULL && strcmp(name, "*") != 0)
        errors_add(errors, line,
                   "database \"%s\": a title is one name and no pattern: expected a block for each, or \"*\" for all "
                   "that have none",
                   name);
    if (config_has_console(c) && strcmp(name, "pgatomic") == 0)
        errors_add(errors, line, "database \"%s\": with admin_users or stats_users this name is the console's", name);
}

static void check_databases(struct config_storage *s, struct tree *file, struct config_errors *errors)
{
    if (s->config.database_count == 0)
        errors_add(errors, tree_line(file, ""),
                   "there is no database block: expected at least database \"*\" { upstream = \"host=127.0.0.1\" }");
    for (size_t i = 0; i < s->config.database_count; i++)
        check_title(&s->config, s->config.databases[i].name, tree_line(tree_block(file, "database", i), ""), errors);
    check_upstreams(s, file, errors);
}

static void check_routes(const struct config *c, struct tree *file, struct config_errors *errors)
{
    for (size_t i = 0; i < c->route_count; i++) {
        const struct route *route = &c->routes[i];
        struct tree *block = tree_block(file, "route", i);

        if (route->mode == MODE_ATOMIC && route->match == NULL && tree_value_count(block, "end") == 0)
            errors_add(errors, tree_line(block, "mode"),
                       "an atomic route without match must say how an unmarked request ends: expected end = commit or "
                       "end = rollback");
        check_sinks_exist(c, route->sandbox_sinks, block, "sandbox_sinks", errors);
    }
}

static void check_limits(const struct config *c, struct tree *file, struct config_errors *errors)
{
    struct tree *limits = tree_block_count(file, "limits") > 0 ? tree_block(file, "limits", 0) : NULL;

    if (limits != NULL && tree_is_said(limits, "event") && c->limits.event > c->limits.message)
        errors_add(errors, tree_line(limits, "event"), "event: larger than message, which is the most that can arrive");
    if (limits != NULL && tree_is_said(limits, "held") && tree_is_said(limits, "event") &&
        c->limits.held < c->limits.event)
        errors_add(errors, tree_line(limits, "held"), "held: smaller than event, which could then never be held");
}

void check_config(struct config_storage *s, struct tree *file, struct config_errors *errors)
{
    check_listen(s, file, errors);
    check_log(&s->config, file);
    check_databases(s, file, errors);
    check_routes(&s->config, file, errors);
    check_delivery(s, file, errors);
    check_login(s, file, errors);
    check_limits(&s->config, file, errors);
    check_order(&s->config, file, errors);
}
