/* TLS with clients (P10): the certificate that they are shown, and what is asked of theirs.
 *
 * The files are read at the start and at each reload, and shared by all workers. */
#ifndef PROXY_POOL_ENCRYPTION_H
#define PROXY_POOL_ENCRYPTION_H

#include "config/config.h"
#include "proxy/net/conn.h"

/* Reads the files that client_tls names. False, and it is logged, when they cannot be used: then what was in use before stays. */
bool encryption_load(const struct config *c);
void encryption_free(void);

/* From any thread: what a handshake with a client is made with, to be released; NULL: TLS is off. */
struct tls_context *encryption_of_clients(void);

/* What client_tls asks for and this connection, on which `user` wants to log in, is not: words for the client, to be freed. NULL: it may go
 * on. */
char *encryption_missing(const struct config *c, const struct conn *conn, const char *user);

#endif
