/* A login needs something to compare with, a certificate to show, and a pool that fits. */
#include "config/check_login.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "config/address.h"
#include "config/network.h"
#include "config/users.h"

static struct tree *find_block(struct tree *file, const char *name)
{
    return tree_block_count(file, name) > 0 ? tree_block(file, name, 0) : NULL;
}

/* The line of an option in a block that need not be there: then that of nothing in particular. */
static int line_of(struct tree *block, const char *option)
{
    return block != NULL ? tree_line(block, option) : 0;
}

static void check_method(const struct config *c, enum auth_method method, int line, struct config_errors *errors)
{
    bool needs_secrets = method == AUTH_SCRAM_SHA_256 || method == AUTH_MD5;

    if (needs_secrets && *c->auth_users == '\0' && *c->auth_query == '\0')
        errors_add(errors, line,
                   "method: there is nothing to compare a password with: expected users = \"users.conf\" or a query");
    if (method == AUTH_CERT && c->client_tls.mode < TLS_VERIFY_CA)
        errors_add(errors, line,
                   "method = cert: expected client_tls { mode = verify-ca } or verify-full, for else nobody shows a "
                   "certificate");
}

static void check_auth(const struct config *c, struct tree *file, struct config_errors *errors)
{
    struct tree *auth = find_block(file, "auth");

    check_method(c, c->auth, line_of(auth, "method"), errors);
    if (*c->auth_query != '\0' && strstr(c->auth_query, "$1") == NULL)
        errors_add(errors, line_of(auth, "query"),
                   "query: expected $1 where the name of the user belongs, as in SELECT rolname, rolpassword, "
                   "rolvaliduntil FROM pg_authid WHERE rolname = $1");
    if (*c->auth_query != '\0' && !config_has_control(c))
        errors_add(
            errors, line_of(auth, "query"),
            "query: no database block has a connection to ask on: expected control = \"host=… dbname=… user=…\"");
}

static const struct network *parse_networks(const struct login_rule *l, int line, struct memory *memory,
                                            struct config_errors *errors)
{
    size_t count = 0;

    while (l->addresses[count] != NULL)
        count++;
    struct network *list = memory_take(memory, count * sizeof *list);
    for (size_t i = 0; i < count; i++)
        if (!network_parse(l->addresses[i], &list[i]))
            errors_add(errors, line, "address: %s, but found \"%.100s\"", network_expected, l->addresses[i]);
    return list;
}

static void check_logins(struct config *c, struct tree *file, struct memory *memory, struct config_errors *errors)
{
    /* The list was made by this reader, and nobody else has seen it yet. */
    struct login_rule *list = (struct login_rule *)c->logins;

    for (size_t i = 0; i < c->login_count; i++) {
        struct tree *block = tree_block(file, "login", i);

        check_method(c, list[i].method, tree_line(block, "method"), errors);
        list[i].networks = parse_networks(&list[i], tree_line(block, "address"), memory, errors);
    }
}

static void check_client_tls(const struct config *c, struct tree *file, struct config_errors *errors)
{
    struct tree *tls = find_block(file, "client_tls");
    int line = line_of(tls, "mode");

    bool shows_one = *c->client_tls.certificate != '\0', has_key = *c->client_tls.key != '\0';

    if (c->client_tls.mode == TLS_DISABLE)
        return;
    if (shows_one != has_key || (!shows_one && c->client_tls.mode >= TLS_REQUIRE))
        errors_add(errors, line, "client_tls: expected the certificate and key to show to clients");
    if (c->client_tls.mode >= TLS_VERIFY_CA && *c->client_tls.ca == '\0')
        errors_add(errors, line, "client_tls: expected the ca that clients' certificates come from");
}

bool check_login_passes_through(const struct config *c)
{
    bool any = c->auth == AUTH_PASSTHROUGH;

    for (size_t i = 0; i < c->login_count; i++)
        any = any || c->logins[i].method == AUTH_PASSTHROUGH;
    return any;
}

static void check_pools(const struct config *c, struct tree *file, struct config_errors *errors)
{
    for (size_t i = 0; i < c->database_count; i++) {
        const struct database *d = &c->databases[i];
        struct tree *block = tree_block(file, "database", i);

        if (d->pool != POOL_DEDICATED && check_login_passes_through(c))
            errors_add(errors, tree_line(block, "pool"),
                       "pool: expected dedicated with auth method passthrough, for a client's login is good for one "
                       "connection only");
        if (d->min_size > d->pool_size)
            errors_add(errors, tree_line(block, "min_size"), "min_size: larger than pool_size");
    }
}

static void check_http(struct config *c, struct tree *file, struct memory *memory, struct config_errors *errors)
{
    const char *text = c->http.text;

    if (*text != '\0' && (!address_parse_listen(text, &c->http, memory) || c->http.is_unix))
        errors_add(errors, tree_line(file, "http"),
                   "http: expected an address such as 127.0.0.1:9632 or [::1]:9632, but found \"%.100s\"", text);
}

/* Each error of the users file becomes one of the line that names the file. */
static struct users *read_users(const char *path, int line, struct config_errors *errors)
{
    char *text = NULL, *rest;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert(out != NULL);

    struct users *users = users_read(path, out);
    fclose(out);
    for (char *each = strtok_r(text, "\n", &rest); each != NULL; each = strtok_r(NULL, "\n", &rest))
        errors_add(errors, line, "users: %s", each);
    free(text);
    return users;
}

void check_login(struct config_storage *s, struct tree *file, struct config_errors *errors)
{
    check_auth(&s->config, file, errors);
    check_logins(&s->config, file, &s->memory, errors);
    check_client_tls(&s->config, file, errors);
    check_pools(&s->config, file, errors);
    check_http(&s->config, file, &s->memory, errors);

    const struct config *c = &s->config;
    if (*c->auth_users != '\0' && errors->count == 0)
        s->users = read_users(c->auth_users, line_of(find_block(file, "auth"), "users"), errors);
    s->config.users = s->users;
}
