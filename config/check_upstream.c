/* With passthrough it is the client that logs in: what an upstream string says of logins cannot be kept, and SCRAM cannot be relayed from
 * one TLS connection to another, for a client that knows of channel binding tells the server that it has been offered none, which that
 * has to take for an attack. */
#include "config/check_upstream.h"

#include "config/check_login.h"
#include "config/upstream.h"

static void check_passthrough(const struct config *c, const struct database *d, int line, struct config_errors *errors)
{
    if (d->user != NULL || d->password != NULL)
        errors_add(errors, line,
                   "upstream: %s= is not used with auth method passthrough: every client logs in as itself",
                   d->user != NULL ? "user" : "password");
    if (d->channel_binding == CHANNEL_BINDING_REQUIRE)
        errors_add(
            errors, line,
            "upstream: channel_binding=require cannot be kept with auth method passthrough: every client logs in "
            "itself, over a connection of its own");
    if (d->target_session != TARGET_ANY)
        errors_add(errors, line,
                   "upstream: target_session_attrs= is not used with auth method passthrough: a client's login is good "
                   "for one server only");
    if (config_offers_tls(c) && d->tls.mode != TLS_DISABLE)
        errors_add(errors, line,
                   "upstream: with auth method passthrough, SCRAM cannot be relayed between TLS to clients and TLS to "
                   "the upstream: expected sslmode=disable here, or another auth method");
}

/* A server that only one client has is logged into as that client, and is the one that answers. */
static void check_dedicated(const struct database *d, int line, struct config_errors *errors)
{
    const char *word = d->user != NULL                   ? "user"
                       : d->password != NULL             ? "password"
                       : d->target_session != TARGET_ANY ? "target_session_attrs"
                                                         : NULL;

    if (word != NULL)
        errors_add(errors, line, "upstream: %s= is for pools: expected pool = session or transaction", word);
}

static void check_pooled(const struct database *d, int line, struct config_errors *errors)
{
    if (d->password != NULL && d->user == NULL)
        errors_add(errors, line, "upstream: password= is whose? Expected user= with it");
}

static void check_database(struct database *d, bool passes_through, const struct config *c, struct memory *memory,
                           struct tree *block, struct config_errors *errors)
{
    int line = tree_line(block, "upstream");
    d->tls.line = line;
    bool is_said = tree_is_said(block, "connect_timeout");

    if (!upstream_parse(d, is_said ? d->connect_timeout_ms : 0, memory, line, errors))
        return;
    if (passes_through)
        check_passthrough(c, d, line, errors);
    else if (d->pool == POOL_DEDICATED)
        check_dedicated(d, line, errors);
    else
        check_pooled(d, line, errors);
}

void check_upstreams(struct config_storage *s, struct tree *file, struct config_errors *errors)
{
    /* The list was made by this reader, and nobody else has seen it yet. */
    struct database *list = (struct database *)s->config.databases;

    bool passes_through = check_login_passes_through(&s->config, file);

    for (size_t i = 0; i < s->config.database_count; i++)
        if (list[i].upstream != NULL)
            check_database(&list[i], passes_through, &s->config, &s->memory, tree_block(file, "database", i), errors);
}
