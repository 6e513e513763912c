/* What one side brings to a TLS handshake: its certificate, and whom it trusts.
 *
 * At least TLS 1.2; no renegotiation, no compression, no sessions that are taken up again (a certificate is looked at in every
 * handshake). Files are read once, when the context is made; to read them again is to make another one.
 *
 * A context never changes, and is counted: threads may share one. */
#ifndef PROXY_NET_TLS_CONTEXT_H
#define PROXY_NET_TLS_CONTEXT_H

#include "config/config.h"

enum { TLS_ERROR_SIZE = 200 };

struct tls_context;
struct ssl_ctx_st; /* OpenSSL's SSL_CTX */

/* The protocol that clients of PostgreSQL ask for by ALPN. */
extern const char tls_postgresql[];

/* Both: NULL when a file cannot be used, and `error` says which one and why. A file is "" when there is none.
 *
 * The side that connects. Below TLS_VERIFY_CA, anybody may answer. `ca` "": those whom the system trusts. */
struct tls_context *tls_context_for_client(const struct tls_options *o, char error[TLS_ERROR_SIZE]);
/* The side that is connected to. From TLS_VERIFY_CA on, whoever comes must show a certificate; below it he may, if `ca` says by whom. One
 * that is shown must be good. */
struct tls_context *tls_context_for_server(const struct tls_options *o, char error[TLS_ERROR_SIZE]);

struct tls_context *tls_context_retain(struct tls_context *x);
void tls_context_release(struct tls_context *x); /* NULL: nothing */

/* For tls.c. */
struct ssl_ctx_st *tls_context_ssl(const struct tls_context *x);
enum tls_mode tls_context_mode(const struct tls_context *x);

#endif
