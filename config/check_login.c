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

static bool needs_secrets(enum auth_method method)
{
    return method == AUTH_SCRAM_SHA_256 || method == AUTH_MD5;
}

static void check_method(const struct config *c, enum auth_method method, int line, struct config_errors *errors)
{
    if (needs_secrets(method) && *c->auth_users == '\0' && *c->auth_query == '\0')
        errors_add(errors, line,
                   "method: there is nothing to compare a password with: expected users = \"users.conf\" or a query");
    if (method == AUTH_CERT && c->client_tls.mode < TLS_VERIFY_CA)
        errors_add(errors, line,
                   "method = cert: expected client_tls { mode = verify-ca } or verify-full, for else nobody shows a "
                   "certificate");
}

/* Where there is nothing but the query, nobody could log into a database that it is not asked for. Login blocks may know another way. */
static void check_asked(const struct config *c, struct tree *file, struct config_errors *errors)
{
    if (!needs_secrets(c->auth) || *c->auth_query == '\0' || *c->auth_users != '\0' || c->login_count > 0)
        return;
    for (size_t i = 0; i < c->database_count; i++)
        if (c->databases[i].control == NULL)
            errors_add(
                errors, tree_line(tree_block(file, "database", i), ""),
                "database \"%s\": nobody could log in: expected control = \"host=… dbname=… user=…\", on which auth "
                "{ query } is asked, or a users file",
                c->databases[i].name);
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
    else
        check_asked(c, file, errors);
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

/* What pg_hba.conf has to say in place of a name would be one here, and a rule that was brought along would fit nobody. */
static bool is_their_word(const char *name, const char *const *words, const char *marks)
{
    while (*words != NULL && strcmp(*words, name) != 0)
        words++;
    return *words != NULL || (*name != '\0' && strchr(marks, *name) != NULL);
}

static void refuse_their_word(const char *option, const char *name, int line, struct config_errors *errors)
{
    if (strcmp(name, "all") == 0)
        errors_add(errors, line, "%s: pg_hba.conf's all is \"*\" here", option);
    else
        errors_add(errors, line,
                   "%s: pg_hba.conf's %.100s does not exist here: expected names, or patterns such as \"shop_*\"",
                   option, name);
}

static bool has_database_block(const struct config *c, const char *name)
{
    const struct database *d = config_database(c, name);

    return d != NULL && strcmp(d->name, name) == 0;
}

static void check_whom(const struct config *c, const struct login_rule *l, struct tree *block,
                       struct config_errors *errors)
{
    static const char *const databases[] = { "all", "sameuser", "samerole", "samegroup", "replication", NULL };
    static const char *const users[] = { "all", NULL };
    int line = tree_line(block, "database");

    if (l->databases[0] == NULL)
        errors_add(errors, line, "database: expected a name or a pattern, but found nothing");
    for (const char *const *name = l->databases; *name != NULL; name++)
        if (is_their_word(*name, databases, "@/") && !has_database_block(c, *name))
            refuse_their_word("database", *name, line, errors);

    line = tree_line(block, "user");
    if (l->users[0] == NULL)
        errors_add(errors, line, "user: expected a name or a pattern, but found nothing");
    for (const char *const *name = l->users; *name != NULL; name++)
        if (is_their_word(*name, users, "@/+"))
            refuse_their_word("user", *name, line, errors);
}

static void check_logins(struct config *c, struct tree *file, struct memory *memory, struct config_errors *errors)
{
    /* The list was made by this reader, and nobody else has seen it yet. */
    struct login_rule *list = (struct login_rule *)c->logins;

    for (size_t i = 0; i < c->login_count; i++) {
        struct tree *block = tree_block(file, "login", i);

        check_method(c, list[i].method, tree_line(block, "method"), errors);
        check_whom(c, &list[i], block, errors);
        if (list[i].tls == LOGIN_TLS_ON && !config_offers_tls(c))
            errors_add(
                errors, tree_line(block, "tls"),
                "tls = on: nobody comes over TLS: expected client_tls with a certificate and a key, and not mode "
                "= disable");
        list[i].networks = parse_networks(&list[i], tree_line(block, "address"), memory, errors);
    }
}

static void check_client_tls(struct config *c, struct tree *file, struct config_errors *errors)
{
    struct tree *tls = find_block(file, "client_tls");
    int line = line_of(tls, "mode");
    c->client_tls.line = line_of(tls, "certificate");

    bool shows_one = *c->client_tls.certificate != '\0', has_key = *c->client_tls.key != '\0';

    if (c->client_tls.mode == TLS_DISABLE)
        return;
    if (shows_one != has_key || (!shows_one && c->client_tls.mode >= TLS_REQUIRE))
        errors_add(errors, line, "client_tls: expected the certificate and key to show to clients");
    if (c->client_tls.mode >= TLS_VERIFY_CA && *c->client_tls.ca == '\0')
        errors_add(errors, line, "client_tls: expected the ca that clients' certificates come from");
}

/* What is said in place of a method is a mistake, and no passthrough, as the first of all methods is. */
static bool passes_through(enum auth_method method, struct tree *block)
{
    bool is_said = block != NULL && tree_value_count(block, "method") > 0;

    return method == AUTH_PASSTHROUGH && (!is_said || strcmp(tree_value(block, "method", 0), "passthrough") == 0);
}

bool check_login_passes_through(const struct config *c, struct tree *file)
{
    bool any = passes_through(c->auth, find_block(file, "auth"));

    for (size_t i = 0; i < c->login_count; i++)
        any = any || passes_through(c->logins[i].method, tree_block(file, "login", i));
    return any;
}

static void check_pools(const struct config *c, struct tree *file, struct config_errors *errors)
{
    for (size_t i = 0; i < c->database_count; i++) {
        const struct database *d = &c->databases[i];
        struct tree *block = tree_block(file, "database", i);

        if (d->pool != POOL_DEDICATED && check_login_passes_through(c, file))
            errors_add(errors, tree_line(block, "pool"),
                       "pool: expected dedicated with auth method passthrough, for a client's login is good for one "
                       "connection only; or auth { method = scram-sha-256  users = \"users.conf\" }");
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
    for (size_t i = 0; *text != '\0' && i < c->listen_count; i++)
        if (address_listens_clash(&c->http, &c->listen[i]))
            errors_add(errors, tree_line(file, "http"), "http: %s cannot be had beside %s in listen", text,
                       c->listen[i].text);
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
