/* pgatomic's own login to a server of a pool, as a pure machine.
 *
 *     pgatomic                                  server
 *     StartupMessage                   ->
 *                                      <-       Authentication…, answered as the credentials allow (proxy/auth/server_auth.h)
 *                                      <-       ParameterStatus…, BackendKeyData, ReadyForQuery
 *
 * Nothing of any client goes into it but its user's name and the database: settings follow each client by themselves (P5). */
#ifndef PROXY_POOL_SERVER_LOGIN_H
#define PROXY_POOL_SERVER_LOGIN_H

#include "config/config.h"
#include "protocol/frame.h"
#include "proxy/auth/server_auth.h"
#include "proxy/link/link.h"

/* Borrowed until server_login_new() returns, but for `record`. */
struct server_login_start {
    struct span user, database;
    const struct credentials *credentials;
    struct span certificate_hash; /* see server_auth.h */
    bool binding_required;        /* see server_auth.h */
    const char *why_nothing;      /* see server_auth.h */
    uint16_t minor;               /* of the protocol that is asked for: 2, or 0 */
    struct auth_random random;
    struct link_server *record; /* is told what the server reports */
};

struct server_login;

/* Appends the StartupMessage. */
struct server_login *server_login_new(const struct server_login_start *start, struct buffer *out);
void server_login_free(struct server_login *l); /* NULL: nothing */

/* The server's next message, whole. What is appended has to be sent. AUTH_OK: it was the first ReadyForQuery. */
enum auth_state server_login_on_frame(struct server_login *l, const struct frame *f, struct buffer *out);

/* After AUTH_FAILED: the server's own SQLSTATE and words where it has said some (NUL-terminated). Lives as long as `l`. */
struct server_login_fault {
    char sqlstate[6];
    const char *message;
    bool refuses_version; /* it is worth trying again with minor 0 */
};
const struct server_login_fault *server_login_fault(const struct server_login *l);

/* After AUTH_OK: why this server is not one that is wanted; NULL: it is. */
const char *server_login_mismatch(const struct server_login *l, enum target_session wanted);

/* BackendKeyData; false: it has sent none. */
bool server_login_key(const struct server_login *l, uint32_t *process_id, struct span *secret);

#endif
