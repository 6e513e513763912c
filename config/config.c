/* Lookups in a config, and its life.
 *
 * Lookups happen once a connection or request, over lists that a person wrote: walking them in file order is both the rule and
 * fast enough. */
#include "config/config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "config/network.h"
#include "config/storage.h"
#include "config/users.h"

struct config_storage *config_storage_new(void)
{
    struct config_storage *s = calloc(1, sizeof *s);
    assert(s != NULL);

    atomic_init(&s->references, 1);
    return s;
}

static struct config_storage *storage_of(struct config *c)
{
    return (struct config_storage *)c;
}

struct config *config_retain(struct config *c)
{
    atomic_fetch_add_explicit(&storage_of(c)->references, 1, memory_order_relaxed);
    return c;
}

void config_release(struct config *c)
{
    struct config_storage *s = storage_of(c);

    if (atomic_fetch_sub_explicit(&s->references, 1, memory_order_acq_rel) > 1)
        return;
    users_free(s->users);
    memory_free(&s->memory);
    if (s->base != NULL)
        config_release(s->base);
    free(s);
}

struct config *config_with_route_mode(struct config *c, const char *route, enum route_mode mode)
{
    const struct route *found = config_route_named(c, route);
    if (found == NULL)
        return NULL;
    struct config *whole = storage_of(c)->base; /* not `c`, if that has one: modes are set as often as anybody likes */
    struct config *base = whole != NULL ? whole : c;
    struct config_storage *s = config_storage_new();
    struct route *routes = memory_take(&s->memory, c->route_count * sizeof *routes);
    memcpy(routes, c->routes, c->route_count * sizeof *routes);
    routes[found - c->routes].mode = mode;
    s->config = *c;
    s->config.routes = routes;
    s->variables = storage_of(c)->variables;
    s->listen = storage_of(c)->listen;
    s->base = config_retain(base);
    return &s->config;
}

/* Past the character at `at`: a byte, and the UTF-8 continuation bytes behind it. */
static const char *next_character(const char *at, const char *end)
{
    do
        at++;
    while (at < end && ((unsigned char)*at & 0xc0) == 0x80);
    return at;
}

/* Only the last star can need another try: what the earlier ones matched is settled by the first fit of what follows them. */
bool glob_matches(const char *pattern, const char *text, size_t size)
{
    const char *end = text + size;
    const char *after_star = NULL, *resume = NULL;

    while (text < end) {
        if (*pattern == '*') {
            after_star = ++pattern;
            resume = text;
        } else if (*pattern == '?') {
            pattern++;
            text = next_character(text, end);
        } else if (*pattern != '\0' && *pattern == *text) {
            pattern++;
            text++;
        } else if (after_star != NULL) {
            pattern = after_star;
            text = resume = next_character(resume, end);
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

static bool matches(const char *pattern, const char *text)
{
    return glob_matches(pattern, text, strlen(text));
}

const struct route *config_route(const struct config *c, const struct request_attributes *a)
{
    for (size_t i = 0; i < c->route_count; i++) {
        const struct route *r = &c->routes[i];
        if (r->match != NULL && (a->label == NULL || !matches(r->match, a->label)))
            continue;
        if (matches(r->application, a->application) && matches(r->database, a->database) && matches(r->user, a->user))
            return r;
    }
    return NULL;
}

static bool one_matches(const char *const *patterns, const char *text)
{
    while (*patterns != NULL && !matches(*patterns, text))
        patterns++;
    return *patterns != NULL;
}

static bool comes_from(const struct login_rule *l, const struct sockaddr *peer)
{
    size_t i = 0;

    while (l->addresses[i] != NULL && !network_has(&l->networks[i], peer))
        i++;
    return l->addresses[i] != NULL || i == 0;
}

enum auth_method config_login(const struct config *c, const struct login_attributes *a)
{
    for (size_t i = 0; i < c->login_count; i++) {
        const struct login_rule *l = &c->logins[i];
        if (l->tls != LOGIN_TLS_ANY && (l->tls == LOGIN_TLS_ON) != a->tls)
            continue;
        if (one_matches(l->databases, a->database) && one_matches(l->users, a->user) && comes_from(l, a->peer))
            return l->method;
    }
    return c->auth;
}

const struct channel *config_channel(const struct config *c, const char *name, size_t size)
{
    static const char *const no_sinks[] = { NULL };
    static const struct channel plain = { .pattern = "*", .sinks = no_sinks, .forward = true };

    for (size_t i = 0; i < c->channel_count; i++)
        if (glob_matches(c->channels[i].pattern, name, size))
            return &c->channels[i];
    return &plain;
}

const struct database *config_database(const struct config *c, const char *name)
{
    const struct database *any = NULL;

    for (size_t i = 0; i < c->database_count; i++) {
        if (strcmp(c->databases[i].name, name) == 0)
            return &c->databases[i];
        if (strcmp(c->databases[i].name, "*") == 0)
            any = &c->databases[i];
    }
    return any;
}

const char *config_dbname(const struct database *d, const char *name)
{
    return d->dbname != NULL ? d->dbname : name;
}

bool config_offers_tls(const struct config *c)
{
    return c->client_tls.mode != TLS_DISABLE && *c->client_tls.certificate != '\0';
}

bool config_has_console(const struct config *c)
{
    return c->admin_users[0] != NULL || c->stats_users[0] != NULL;
}

static bool is_listed(const char *const *users, const char *user)
{
    while (*users != NULL && strcmp(*users, user) != 0)
        users++;
    return *users != NULL;
}

bool config_is_admin(const struct config *c, const char *user)
{
    return is_listed(c->admin_users, user);
}

bool config_is_watcher(const struct config *c, const char *user)
{
    return is_listed(c->stats_users, user);
}

bool config_has_pool(const struct config *c, const char *database)
{
    for (const struct database *d = c->databases; d < c->databases + c->database_count; d++)
        if (d->pool != POOL_DEDICATED && (database == NULL || d == config_database(c, database)))
            return true;
    return false;
}

bool config_names_control(const struct config *c, const char *conninfo)
{
    for (size_t i = 0; i < c->database_count; i++)
        if (c->databases[i].control != NULL && strcmp(c->databases[i].control, conninfo) == 0)
            return true;
    return false;
}

bool config_has_control(const struct config *c)
{
    for (size_t i = 0; i < c->database_count; i++)
        if (c->databases[i].control != NULL)
            return true;
    return false;
}

const struct route *config_route_named(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->route_count; i++)
        if (strcmp(c->routes[i].name, name) == 0)
            return &c->routes[i];
    return NULL;
}

const struct sink *config_sink(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->sink_count; i++)
        if (strcmp(c->sinks[i].name, name) == 0)
            return &c->sinks[i];
    return NULL;
}

/* The block "*" stands for the databases of `database "*"`, and no others. */
const struct outbox *config_outbox(const struct config *c, const char *database)
{
    const struct database *d = config_database(c, database);
    const struct outbox *any = NULL;

    for (size_t i = 0; i < c->outbox_count; i++) {
        if (strcmp(c->outboxes[i].name, database) == 0)
            return &c->outboxes[i];
        if (d != NULL && strcmp(c->outboxes[i].name, d->name) == 0)
            any = &c->outboxes[i];
    }
    return any;
}
