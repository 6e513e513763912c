/* TLS on top of whatever carries bytes, for either side.
 *
 * Whether the peer has to show who it is, the context says. A peer that closes without saying so (close_notify) has closed; whether
 * what came before was whole, its own protocol knows.
 *
 * The files tls*.c are the only place that knows OpenSSL's TLS. */
#ifndef PROXY_NET_TLS_H
#define PROXY_NET_TLS_H

#include <sys/types.h>

#include "protocol/span.h"
#include "proxy/net/tls_certificate.h"
#include "proxy/net/tls_context.h"

/* What carries the bytes. */
struct tls_transport {
    ssize_t (*receive)(void *context, char *to, size_t size); /* as recv() of a non-blocking socket does */
    void (*send)(void *context, struct span bytes);           /* takes all of it */
    void *context;
};

struct tls;

/* The client's side of a connection to `host`, a name or an address. `alpn`: the one protocol that is offered; NULL: none. */
struct tls *tls_client_new(struct tls_context *x, const char *host, const char *alpn);
struct tls *tls_server_new(struct tls_context *x);
void tls_free(struct tls *t);

/* Begins the handshake. Called once, first. */
void tls_start(struct tls *t, struct tls_transport transport);
/* What carries the bytes from now on. */
void tls_set_transport(struct tls *t, struct tls_transport transport);
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

/* --- once it is established ------------------------------------------------------------------------ */

enum { TLS_TEXT_SIZE = 96 };
/* The version and the cipher: "TLSv1.3/TLS_AES_256_GCM_SHA384"; "" while it is not established. */
const char *tls_describe(const struct tls *t, char text[TLS_TEXT_SIZE]);
/* Both sides have agreed by ALPN to speak this protocol. */
bool tls_speaks(const struct tls *t, const char *protocol);
/* The peer has shown a certificate, and it was good. */
bool tls_peer_is_verified(const struct tls *t);
/* Whom that certificate is for (tls_certificate_name()), to be freed; NULL: nobody. */
char *tls_peer_name(const struct tls *t);
/* The hash of the server's certificate, ours or the peer's (tls_certificate_hash()). Returns its size; 0: there is none. */
size_t tls_server_hash(const struct tls *t, unsigned char hash[TLS_HASH_MAX]);

#endif
