/* TLS on top of whatever carries bytes.
 *
 * At least TLS 1.2, no renegotiation. The peer's certificate is always verified: against the certificates that are trusted, and against the
 * name of the host. A peer that closes without saying so (close_notify) has closed; whether what came before was whole, its own protocol
 * knows.
 *
 * This is the only place that knows OpenSSL's TLS. */
#ifndef PROXY_NET_TLS_H
#define PROXY_NET_TLS_H

#include <sys/types.h>

#include "protocol/span.h"

enum { TLS_ERROR_SIZE = 200 };

/* Whom a client trusts. Outlives the connections made with it. */
struct tls_context;

/* `ca`: a file of certificates in PEM; "": those that the system trusts. NULL: it cannot be used, and `error` says why. */
struct tls_context *tls_context_new(const char *ca, char error[TLS_ERROR_SIZE]);
void tls_context_free(struct tls_context *x); /* NULL: nothing */

/* What carries the bytes. */
struct tls_transport {
    ssize_t (*receive)(void *context, char *to, size_t size); /* as recv() of a non-blocking socket does */
    void (*send)(void *context, struct span bytes);           /* takes all of it */
    void *context;
};

struct tls;

/* The client's side of a connection to `host`, a name or an address. `alpn`: the one protocol that is offered; NULL: none. */
struct tls *tls_client_new(struct tls_context *x, const char *host, const char *alpn);
void tls_free(struct tls *t);

/* Begins the handshake. Called once, first. */
void tls_start(struct tls *t, struct tls_transport transport);
/* As recv() of a non-blocking socket. Goes on with the handshake, too. */
ssize_t tls_receive(struct tls *t, char *to, size_t size);
/* What is sent before the handshake is done leaves when it is: nobody reads it but the one whose certificate was good. */
void tls_send(struct tls *t, struct span bytes);
/* Tells the peer that nothing more will come. */
void tls_end(struct tls *t);

bool tls_is_established(const struct tls *t);
/* More may be had from tls_receive() without anything coming from the peer. */
bool tls_has_pending(const struct tls *t);
/* Why it failed; "" while it has not. */
const char *tls_error(const struct tls *t);

#endif
