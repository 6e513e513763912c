/* pgatomic authenticates a client (P9).
 *
 *     trust                     nothing is asked
 *     md5                       AuthenticationMD5Password  <- password
 *     scram-sha-256             AuthenticationSASL  <- …  Continue  <- …  Final
 *     cert                      nothing is asked: the name in the client's certificate has to be the user's
 *     reject                    fails at once
 *
 * A stored verifier decides as it does in PostgreSQL: a user with a SCRAM verifier is asked for SCRAM under `md5` too, and one with an md5
 * secret cannot log in under `scram-sha-256`. Whoever cannot log in is asked the same questions as whoever can. */
#ifndef PROXY_AUTH_CLIENT_AUTH_H
#define PROXY_AUTH_CLIENT_AUTH_H

#include "config/config.h"
#include "proxy/auth/auth.h"
#include "proxy/auth/credentials.h"
#include "proxy/auth/verifiers.h"

/* A longer answer is none: no limit that a peer chooses (as PostgreSQL's own). */
enum { CLIENT_AUTH_ANSWER_MOST = 65535 };

/* Borrowed until client_auth_new() returns. */
struct client_auth_start {
    enum auth_method method; /* not AUTH_PASSTHROUGH */
    struct span user;
    const char *secret;        /* plain, "md5…" or "SCRAM-SHA-256$…"; NULL: nobody of that name */
    const char *why_no_secret; /* for the log: "the password has expired"; NULL: there is no such user */
    bool unknown_is_plain;     /* who is not known is asked as one with a plain secret; false: with a SCRAM verifier */
    unsigned mock_iterations;  /* of that verifier; 0: as many as PostgreSQL's default */
    struct span
        mock_key; /* at least 16 random bytes: of salts for unknown users, which stay the same as long as it does */
    bool tls;     /* the connection is encrypted */
    struct span
        certificate_hash;    /* of the certificate that we showed (tls-server-end-point); empty: -PLUS is not offered */
    const char *common_name; /* of the client's certificate, verified; NULL: it showed none */
    struct auth_random random;
    struct verifiers *verifiers; /* of plain secrets; outlives the machine. NULL: none are kept */
};

struct client_auth;

struct client_auth *client_auth_new(const struct client_auth_start *start);
void client_auth_free(struct client_auth *a); /* NULL: nothing. What is secret is overwritten. */

/* Appends the first message, if there is one. On AUTH_OK, of any call, what was appended goes ahead of AuthenticationOk, which the caller
 * sends when it is ready to; on AUTH_FAILED nothing was appended: the ErrorResponse is the caller's, too (see client_auth_fault). */
enum auth_state client_auth_begin(struct client_auth *a, struct buffer *out);
/* `body`: of a 'p' message. */
enum auth_state client_auth_answer(struct client_auth *a, struct span body, struct buffer *out);

/* After AUTH_OK: what the upstream can be logged into with. Lives as long as `a`. */
const struct credentials *client_auth_credentials(const struct client_auth *a);
/* After AUTH_FAILED. Lives as long as `a`. FATAL is its severity. */
const struct auth_fault *client_auth_fault(const struct client_auth *a);

#endif
