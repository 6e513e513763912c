/* TLS (P10): the certificate that clients are shown, and what is asked of theirs; and the files with which upstreams are met.
 *
 * The files are read at the start and at each reload, and shared by all workers. */
#ifndef PROXY_POOL_ENCRYPTION_H
#define PROXY_POOL_ENCRYPTION_H

#include "config/config.h"
#include "proxy/net/conn.h"

/* Reads the files that client_tls and the upstreams name. False, and it is logged, when some cannot be used: then what was in use before
 * stays in their place. */
bool encryption_load(const struct config *c);
void encryption_free(void);

/* From any thread: what a handshake with a client is made with, to be released; NULL: TLS is off. */
struct tls_context *encryption_of_clients(void);

/* What client_tls asks for and this connection, on which `user` wants to log in, is not: words for the client, to be freed. NULL: it may go
 * on. */
char *encryption_missing(const struct config *c, const struct conn *conn, const char *user);

#endif
