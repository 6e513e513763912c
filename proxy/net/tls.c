/* TLS with OpenSSL, over a BIO of our own that calls the transport.
 *
 *     NEW --start--> HANDSHAKE --done--> ESTABLISHED
 *                        |                   |
 *                        +-------------------+--- failed: `error` says why, for good
 *
 * The transport takes all that is sent, so OpenSSL only ever waits for input. */
#include "proxy/net/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>

#include "protocol/buffer.h"
#include "protocol/memory.h"

struct tls {
    SSL *ssl;
    bool is_server;
    struct tls_transport transport;
    bool established;
    bool peer_closed;    /* the transport has come to its end */
    struct buffer early; /* to be sent once the handshake is done */
    char error[TLS_ERROR_SIZE];
};

/* --- the BIO -------------------------------------------------------------------------------------- */

static int bio_read(BIO *bio, char *to, size_t size, size_t *got)
{
    struct tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t n = t->transport.receive(t->transport.context, to, size);
    *got = n > 0 ? (size_t)n : 0;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_read(bio);
    t->peer_closed |= n == 0;
    return n > 0;
}

static int bio_write(BIO *bio, const char *from, size_t size, size_t *written)
{
    struct tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    t->transport.send(t->transport.context, span_make(from, size));
    *written = size;
    return 1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)number, (void)pointer;
    const struct tls *t = BIO_get_data(bio);
    if (command == BIO_CTRL_EOF)
        return t->peer_closed;
    return command == BIO_CTRL_FLUSH;
}

/* One for the process. */
static BIO_METHOD *method;

static void make_method(void)
{
    method = or_abort(BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "transport"));
    BIO_meth_set_read_ex(method, bio_read);
    BIO_meth_set_write_ex(method, bio_write);
    BIO_meth_set_ctrl(method, bio_control);
}

static BIO *make_bio(struct tls *t)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_method);
    BIO *bio = or_abort(BIO_new(method));
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    return bio;
}

/* --- a connection --------------------------------------------------------------------------------- */

/* An address is looked for among the certificate's addresses, and is no name to ask for. */
static bool name_host(SSL *ssl, const char *host, bool is_expected)
{
    ASN1_OCTET_STRING *address = a2i_IPADDRESS(host);
    ASN1_OCTET_STRING_free(address);
    bool is_fine = address != NULL || SSL_set_tlsext_host_name(ssl, host) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (is_expected && address != NULL)
        is_fine = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    else if (is_expected)
        is_fine = is_fine && SSL_set1_host(ssl, host) == 1;
    return is_fine;
}

static void offer_protocol(SSL *ssl, const char *alpn)
{
    unsigned char offer[256];
    size_t size = strlen(alpn);
    offer[0] = (unsigned char)size;
    memcpy(offer + 1, alpn, size);
    SSL_set_alpn_protos(ssl, offer, (unsigned)size + 1);
}

static struct tls *tls_new(struct tls_context *x)
{
    struct tls *t = or_abort(calloc(1, sizeof *t));
    t->ssl = or_abort(SSL_new(tls_context_ssl(x)));
    BIO *bio = make_bio(t);
    SSL_set_bio(t->ssl, bio, bio);
    return t;
}

struct tls *tls_client_new(struct tls_context *x, const char *host, const char *alpn)
{
    struct tls *t = tls_new(x);
    SSL_set_connect_state(t->ssl);
    if (!name_host(t->ssl, host, tls_context_mode(x) == TLS_VERIFY_FULL))
        snprintf(t->error, sizeof t->error, "TLS: no certificate can be for the name of this host");
    if (alpn != NULL)
        offer_protocol(t->ssl, alpn);
    return t;
}

struct tls *tls_server_new(struct tls_context *x)
{
    struct tls *t = tls_new(x);
    t->is_server = true;
    SSL_set_accept_state(t->ssl);
    return t;
}

void tls_free(struct tls *t)
{
    if (t == NULL)
        return;
    SSL_free(t->ssl);
    buffer_free(&t->early);
    free(t);
}

bool tls_is_established(const struct tls *t)
{
    return t->established;
}

bool tls_has_pending(const struct tls *t)
{
    return SSL_has_pending(t->ssl) != 0;
}

const char *tls_error(const struct tls *t)
{
    return t->error;
}

/* --- traffic -------------------------------------------------------------------------------------- */

static const char *library_error(void)
{
    unsigned long error = ERR_peek_error();
    const char *reason = ERR_SYSTEM_ERROR(error) ? strerror(ERR_GET_REASON(error)) : ERR_reason_error_string(error);
    return reason != NULL ? reason : "unknown error";
}

static const char *peer_word(const struct tls *t)
{
    return t->is_server ? "client" : "server";
}

static bool is_distrusted(const struct tls *t)
{
    return SSL_get_verify_mode(t->ssl) != SSL_VERIFY_NONE && SSL_get_verify_result(t->ssl) != X509_V_OK;
}

static ssize_t fail(struct tls *t, const char *why)
{
    if (is_distrusted(t))
        snprintf(t->error, sizeof t->error, "TLS: the %s's certificate is not good: %s", peer_word(t),
                 X509_verify_cert_error_string(SSL_get_verify_result(t->ssl)));
    else
        snprintf(t->error, sizeof t->error, "TLS: %s", why);
    errno = EPROTO;
    return -1;
}

static ssize_t fail_to_finish(struct tls *t)
{
    char why[TLS_ERROR_SIZE];
    snprintf(why, sizeof why, "the %s closed the connection during the handshake", peer_word(t));
    return fail(t, why);
}

/* What recv() would return for a call that has not given any bytes. */
static ssize_t result_without_bytes(struct tls *t, int result)
{
    switch (SSL_get_error(t->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return t->established ? 0 : fail_to_finish(t);
    case SSL_ERROR_SYSCALL:
        return t->established ? -1 : fail(t, "the connection was lost during the handshake");
    default:
        return fail(t, library_error());
    }
}

static bool shake_hands(struct tls *t)
{
    ERR_clear_error();
    int result = SSL_do_handshake(t->ssl);
    if (result != 1) {
        (void)result_without_bytes(t, result);
        return false;
    }
    t->established = true;
    tls_send(t, buffer_span(&t->early));
    buffer_free(&t->early);
    return true;
}

void tls_start(struct tls *t, struct tls_transport transport)
{
    t->transport = transport;
    if (t->error[0] == '\0')
        (void)shake_hands(t);
}

void tls_set_transport(struct tls *t, struct tls_transport transport)
{
    t->transport = transport;
}

ssize_t tls_receive(struct tls *t, char *to, size_t size)
{
    if (t->error[0] != '\0') {
        errno = EPROTO;
        return -1;
    }
    if (!t->established && !shake_hands(t))
        return -1;
    size_t got = 0;
    ERR_clear_error();
    int result = SSL_read_ex(t->ssl, to, size, &got);
    return result == 1 ? (ssize_t)got : result_without_bytes(t, result);
}

void tls_send(struct tls *t, struct span bytes)
{
    if (t->error[0] != '\0' || bytes.size == 0)
        return;
    if (!t->established) {
        buffer_append_span(&t->early, bytes);
        return;
    }
    size_t written = 0;
    ERR_clear_error();
    int result = SSL_write_ex(t->ssl, bytes.data, bytes.size, &written);
    if (result != 1)
        (void)result_without_bytes(t, result);
}

void tls_end(struct tls *t)
{
    ERR_clear_error();
    if (t->established && t->error[0] == '\0')
        (void)SSL_shutdown(t->ssl);
}

/* --- who is there --------------------------------------------------------------------------------- */

const char *tls_describe(const struct tls *t, char text[TLS_TEXT_SIZE])
{
    text[0] = '\0';
    if (t->established)
        snprintf(text, TLS_TEXT_SIZE, "%s/%s", SSL_get_version(t->ssl), SSL_get_cipher_name(t->ssl));
    return text;
}

bool tls_speaks(const struct tls *t, const char *protocol)
{
    const unsigned char *name = NULL;
    unsigned size = 0;
    SSL_get0_alpn_selected(t->ssl, &name, &size);
    return t->established && span_is(span_make((const char *)name, size), protocol);
}

bool tls_peer_is_verified(const struct tls *t)
{
    return t->established && SSL_get0_peer_certificate(t->ssl) != NULL &&
           SSL_get_verify_mode(t->ssl) != SSL_VERIFY_NONE && SSL_get_verify_result(t->ssl) == X509_V_OK;
}

char *tls_peer_name(const struct tls *t)
{
    return tls_peer_is_verified(t) ? tls_certificate_name(SSL_get0_peer_certificate(t->ssl)) : NULL;
}

size_t tls_server_hash(const struct tls *t, unsigned char hash[TLS_HASH_MAX])
{
    const X509 *certificate = t->is_server ? SSL_get_certificate(t->ssl) : SSL_get0_peer_certificate(t->ssl);
    return t->established && certificate != NULL ? tls_certificate_hash(certificate, hash) : 0;
}
