/* Contexts, from files.
 *
 * OpenSSL would ask on the terminal for the passphrase of a key that has one: it gets none, and the key cannot be read. */
#include "proxy/net/tls_context.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdio.h>

#include "protocol/memory.h"

struct tls_context {
    SSL_CTX *ssl;
    enum tls_mode mode;
    atomic_uint references;
};

const char tls_postgresql[] = "postgresql";

static bool cannot_read(const char *what, const char *file, char error[TLS_ERROR_SIZE])
{
    unsigned long code = ERR_peek_error();
    const char *reason = ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);
    snprintf(error, TLS_ERROR_SIZE, "%s in \"%s\" cannot be read: %s", what, file,
             reason != NULL ? reason : "unknown error");
    ERR_clear_error();
    return false;
}

static int refuse_passphrase(char *to, int size, int is_writing, void *context)
{
    (void)to, (void)size, (void)is_writing, (void)context;
    return -1;
}

static struct tls_context *context_new(const SSL_METHOD *method, enum tls_mode mode)
{
    struct tls_context *x = or_abort(malloc(sizeof *x));
    *x = (struct tls_context){ .ssl = or_abort(SSL_CTX_new(method)), .mode = mode };
    atomic_init(&x->references, 1);
    SSL_CTX_set_min_proto_version(x->ssl, TLS1_2_VERSION);
    SSL_CTX_set_options(x->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_COMPRESSION |
                                    SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(x->ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(x->ssl, 0);
    SSL_CTX_set_mode(x->ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(x->ssl, 1);
    SSL_CTX_set_default_passwd_cb(x->ssl, refuse_passphrase);
    ERR_clear_error();
    return x;
}

static bool use_certificate(SSL_CTX *ssl, const struct tls_options *o, char error[TLS_ERROR_SIZE])
{
    if (SSL_CTX_use_certificate_chain_file(ssl, o->certificate) != 1)
        return cannot_read("the certificate", o->certificate, error);
    /* This looks whether it is the key of the certificate, too. */
    if (SSL_CTX_use_PrivateKey_file(ssl, o->key, SSL_FILETYPE_PEM) != 1)
        return cannot_read("the key", o->key, error);
    return true;
}

static bool trust(SSL_CTX *ssl, const char *ca, char error[TLS_ERROR_SIZE])
{
    int loaded = ca[0] != '\0' ? SSL_CTX_load_verify_file(ssl, ca) : SSL_CTX_set_default_verify_paths(ssl);
    return loaded == 1 || cannot_read("the certificates", ca, error);
}

static struct tls_context *context_if(struct tls_context *x, bool is_fine)
{
    if (is_fine)
        return x;
    tls_context_release(x);
    return NULL;
}

struct tls_context *tls_context_for_client(const struct tls_options *o, char error[TLS_ERROR_SIZE])
{
    struct tls_context *x = context_new(TLS_client_method(), o->mode);
    bool verifies = o->mode >= TLS_VERIFY_CA;
    SSL_CTX_set_verify(x->ssl, verifies ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    bool is_fine =
        (!verifies || trust(x->ssl, o->ca, error)) && (o->certificate[0] == '\0' || use_certificate(x->ssl, o, error));
    return context_if(x, is_fine);
}

/* A client that asks for other protocols only has come to the wrong door. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *size, const unsigned char *offered,
                           unsigned offered_size, void *context)
{
    (void)ssl, (void)context;
    for (unsigned at = 0; at < offered_size; at += offered[at] + 1u) {
        struct span name = span_make((const char *)offered + at + 1, offered[at]);
        if (!span_is(name, tls_postgresql))
            continue;
        *out = (const unsigned char *)name.data;
        *size = (unsigned char)name.size;
        return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Clients are told which authorities are trusted, so that they can choose among their certificates. */
static bool trust_clients_of(SSL_CTX *ssl, const struct tls_options *o, char error[TLS_ERROR_SIZE])
{
    int demand = o->mode >= TLS_VERIFY_CA ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0;
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | demand, NULL);
    if (!trust(ssl, o->ca, error))
        return false;
    SSL_CTX_set_client_CA_list(ssl, SSL_load_client_CA_file(o->ca));
    return true;
}

struct tls_context *tls_context_for_server(const struct tls_options *o, char error[TLS_ERROR_SIZE])
{
    struct tls_context *x = context_new(TLS_server_method(), o->mode);
    SSL_CTX_set_alpn_select_cb(x->ssl, choose_protocol, NULL);
    SSL_CTX_set_dh_auto(x->ssl, 1);
    bool is_fine = use_certificate(x->ssl, o, error) && (o->ca[0] == '\0' || trust_clients_of(x->ssl, o, error));
    return context_if(x, is_fine);
}

struct tls_context *tls_context_retain(struct tls_context *x)
{
    atomic_fetch_add_explicit(&x->references, 1, memory_order_relaxed);
    return x;
}

void tls_context_release(struct tls_context *x)
{
    if (x == NULL || atomic_fetch_sub_explicit(&x->references, 1, memory_order_acq_rel) > 1)
        return;
    SSL_CTX_free(x->ssl);
    free(x);
}

struct ssl_ctx_st *tls_context_ssl(const struct tls_context *x)
{
    return x->ssl;
}

enum tls_mode tls_context_mode(const struct tls_context *x)
{
    return x->mode;
}
