/* Where a user's secret comes from: the users file, or else the auth query (P9).
 *
 * The users file is part of the config. Whom it does not name is looked for with `query`, on a connection of pgatomic's own to the database
 * that the client asked for (its `control`): the user's name is $1 and nothing else of the client reaches that connection, whose search_path is
 * pg_catalog alone. The answer is one row: the name, which has to be the one that was asked for; the secret; and, if the query has a third
 * column, until when it is valid (timestamptz).
 *
 * Answers are kept for SECRETS_KEPT_MS, each for its own connection, query and user. Connections and answers belong to a worker. */
#ifndef PROXY_AUTH_SECRETS_H
#define PROXY_AUTH_SECRETS_H

#include "config/config.h"
#include "proxy/net/loop.h"
#include "proxy/net/resolve.h"

enum { SECRETS_KEPT_MS = 2000, SECRETS_KEPT_MOST = 1000, SECRETS_TIMEOUT_MS = 5000 };

enum secret_state {
    SECRET_FOUND,
    SECRET_UNKNOWN, /* there is no such user, or none that has a password and may log in */
    SECRET_FAILED   /* it could not be found out, and the log knows why */
};

struct secret_answer {
    enum secret_state state;
    const char *secret;             /* FOUND */
    const char *why;                /* UNKNOWN: for the log; see client_auth.h */
    const char *sqlstate, *message; /* FAILED: for the client */
    bool unknown_is_plain;          /* see client_auth.h */
    unsigned mock_iterations;       /* likewise */
};

struct secrets_source;
struct secret_kept;
struct secret_question;

/* One a worker; zeroed but for loop and resolver. */
struct secrets {
    struct loop *loop;
    struct resolver *resolver;
    struct secrets_source *sources;
    struct secret_kept *newest;
};

void secrets_free(struct secrets *s); /* nobody waits for an answer any more */

/* Closes the connections that `config` has no use for; one that somebody waits for stays until the next reload. */
void secrets_reload(struct secrets *s, const struct config *config);

/* `database`: NULL when nobody can be asked. `found` is called once: before this returns, which is then NULL, or later, unless the question is dropped. What it is given is borrowed
 * for the call. */
struct secret_question *secrets_find(struct secrets *s, const struct config *config, const struct database *database,
                                     const char *user, void (*found)(void *context, const struct secret_answer *answer),
                                     void *context);
void secrets_drop(struct secret_question *q); /* NULL: nothing */

#endif
