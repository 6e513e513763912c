/* A login needs something to compare with, a certificate to show, and a pool that fits. */
#include "config/check_login.h"

#include "config/address.h"

static struct tree *find_block(struct tree *file, const char *name)
{
    return tree_block_count(file, name) > 0 ? tree_block(file, name, 0) : NULL;
}

/* The line of an option in a block that need not be there: then that of nothing in particular. */
static int line_of(struct tree *block, const char *option)
{
    return block != NULL ? tree_line(block, option) : 0;
}

static void check_auth(const struct config *c, struct tree *file, struct config_errors *errors)
{
    struct tree *auth = find_block(file, "auth");
    bool needs_secrets = c->auth == AUTH_SCRAM_SHA_256 || c->auth == AUTH_MD5;

    if (needs_secrets && *c->auth_users == '\0' && *c->auth_query == '\0')
        errors_add(errors, line_of(auth, "method"),
                   "method: there is nothing to compare a password with: expected users = \"users.conf\" or a query");
    if (*c->auth_query != '\0' && !config_has_control(c))
        errors_add(
            errors, line_of(auth, "query"),
            "query: no database block has a connection to ask on: expected control = \"host=… dbname=… user=…\"");
    if (c->auth == AUTH_CERT && c->client_tls.mode < TLS_VERIFY_CA)
        errors_add(errors, line_of(auth, "method"),
                   "method = cert: expected client_tls { mode = verify-ca } or verify-full, for else nobody shows a "
                   "certificate");
}

static void check_client_tls(const struct config *c, struct tree *file, struct config_errors *errors)
{
    struct tree *tls = find_block(file, "client_tls");
    int line = line_of(tls, "mode");

    if (c->client_tls.mode == TLS_DISABLE)
        return;
    if (*c->client_tls.certificate == '\0' || *c->client_tls.key == '\0')
        errors_add(errors, line, "client_tls: expected the certificate and key to show to clients");
    if (c->client_tls.mode >= TLS_VERIFY_CA && *c->client_tls.ca == '\0')
        errors_add(errors, line, "client_tls: expected the ca that clients' certificates come from");
}

static void check_pools(const struct config *c, struct tree *file, struct config_errors *errors)
{
    for (size_t i = 0; i < c->database_count; i++) {
        const struct database *d = &c->databases[i];
        struct tree *block = tree_block(file, "database", i);

        if (d->pool != POOL_DEDICATED && c->auth == AUTH_PASSTHROUGH)
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

    if (*text != '\0' && !address_parse_listen(text, &c->http, memory))
        errors_add(errors, tree_line(file, "http"), "http: %s, but found \"%.100s\"", address_listen_expected, text);
}

void check_login(struct config_storage *s, struct tree *file, struct config_errors *errors)
{
    check_auth(&s->config, file, errors);
    check_client_tls(&s->config, file, errors);
    check_pools(&s->config, file, errors);
    check_http(&s->config, file, &s->memory, errors);
}
