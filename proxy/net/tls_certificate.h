/* What is read in a certificate, once a handshake has said that it is good. */
#ifndef PROXY_NET_TLS_CERTIFICATE_H
#define PROXY_NET_TLS_CERTIFICATE_H

#include <stddef.h>

enum { TLS_HASH_MAX = 64 };

struct x509_st; /* OpenSSL's X509 */

/* Its hash as channel bindings of the type tls-server-end-point have it (RFC 5929): by the algorithm of its signature, but SHA-256 in place
 * of MD5 and SHA-1. Returns its size; 0 when the algorithm has none, as Ed25519. */
size_t tls_certificate_hash(const struct x509_st *certificate, unsigned char hash[TLS_HASH_MAX]);
/* The common name of whom it is for, in UTF-8, to be freed. NULL: it has none, or one with a NUL inside, behind which something else
 * could be meant than is read. */
char *tls_certificate_name(const struct x509_st *certificate);

#endif
