/* pgatomic logs into the upstream (P9): SCRAM-SHA-256 and -PLUS, md5, a password in clear text, or nothing at all.
 *
 * A server that begins SCRAM has to prove that it knows the user's secret before it may say Ok. */
#ifndef PROXY_AUTH_SERVER_AUTH_H
#define PROXY_AUTH_SERVER_AUTH_H

#include "proxy/auth/auth.h"
#include "proxy/auth/credentials.h"

/* Borrowed until server_auth_new() returns. */
struct server_auth_start {
    struct span user;
    const struct credentials *credentials;
    struct span certificate_hash; /* of the server's (tls-server-end-point); empty: there is none to bind to */
    bool binding_required;        /* nothing will do but SCRAM-SHA-256-PLUS */
    const char *why_nothing; /* static words for when there are no credentials and some are asked for; NULL: none */
    struct auth_random random;
};

struct server_auth;

struct server_auth *server_auth_new(const struct server_auth_start *start);
void server_auth_free(struct server_auth *a); /* NULL: nothing. What is secret is overwritten. */

/* `body`: of an 'R' message. What is appended has to be sent, if anything is. AUTH_OK: it was AuthenticationOk. */
enum auth_state server_auth_message(struct server_auth *a, struct span body, struct buffer *out);

/* After AUTH_FAILED: SQLSTATE 28000 (what it asks for cannot be answered) or 08P01 (it does not keep to the protocol). Lives as long as `a`. */
const struct auth_fault *server_auth_fault(const struct server_auth *a);

#endif
