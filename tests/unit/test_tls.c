/* Connections with TLS, against OpenSSL's own server side on a thread. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/buffer.h"
#include "proxy/net/conn.h"

static const char alpn[] = "\x05world";

struct server {
    SSL_CTX *context;
    int fd;
    pthread_t thread;
    void (*serve)(SSL *ssl);
    bool shook_hands;
};

struct client {
    struct loop loop;
    struct conn conn;
    struct tls_context *trust;
    struct buffer received;
    struct span to_send; /* what is not sent yet, a piece at a time */
    size_t expected;     /* bytes; stop when they have come */
    bool lost;
    char ca[64];
    struct server server;
};

/* --- a certificate -------------------------------------------------------------------------------- */

static X509 *make_certificate(EVP_PKEY *key, const char *names)
{
    X509 *certificate = X509_new();
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_NAME *name = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
    X509_set_issuer_name(certificate, name);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
    X509_sign(certificate, key, EVP_sha256());
    return certificate;
}

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *size, const unsigned char *offered,
                           unsigned offered_size, void *context)
{
    (void)ssl, (void)context;
    bool known = offered_size == sizeof alpn - 1 && memcmp(offered, alpn, offered_size) == 0;
    *out = offered + 1;
    *size = offered[0];
    return known ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Writes the certificate, which is its own authority, to a file for the client. */
static SSL_CTX *make_server_context(const char *names, char path[64])
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = make_certificate(key, names);
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_PrivateKey(context, key);
    SSL_CTX_use_certificate(context, certificate);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    strcpy(path, "/tmp/pgatomic-test-XXXXXX");
    FILE *file = fdopen(mkstemp(path), "w");
    PEM_write_X509(file, certificate);
    fclose(file);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return context;
}

/* --- both sides ----------------------------------------------------------------------------------- */

static void *run_server(void *arg)
{
    struct server *s = arg;
    SSL *ssl = SSL_new(s->context);
    SSL_set_fd(ssl, s->fd);
    s->shook_hands = SSL_accept(ssl) == 1;
    if (s->shook_hands)
        s->serve(ssl);
    SSL_free(ssl);
    close(s->fd);
    return NULL;
}

static void on_turn(void *context)
{
    (void)context;
}

static void send_more(struct client *c)
{
    enum { PIECE = 100000 };
    while (c->to_send.size > 0 && conn_queued(&c->conn) < PIECE) {
        size_t size = c->to_send.size < PIECE ? c->to_send.size : PIECE;
        struct iovec parts[] = { { (void *)(uintptr_t)c->to_send.data, 1 },
                                 { (void *)(uintptr_t)(c->to_send.data + 1), size - 1 } };
        conn_send(&c->conn, parts, 2);
        c->to_send = span_make(c->to_send.data + size, c->to_send.size - size);
    }
}

static void on_ready(void *owner, bool readable)
{
    struct client *c = owner;
    struct span input;
    send_more(c);
    if (!readable)
        return;
    enum conn_result result = conn_receive(&c->conn, &input);
    if (result == CONN_INPUT) {
        /* Some is kept each time, so that what comes next stands behind it. */
        size_t used = input.size > 10 && c->received.size + input.size < c->expected ? input.size - 10 : input.size;
        buffer_append(&c->received, input.data, used);
        conn_keep(&c->conn, input, used);
    }
    c->lost = result == CONN_LOST;
    if (c->lost || (c->expected > 0 && c->received.size >= c->expected))
        loop_stop(&c->loop);
}

static void open_client(struct client *c, const char *names, void (*serve)(SSL *ssl))
{
    int ends[2];
    signal(SIGPIPE, SIG_IGN); /* as the process does: a peer may be gone already */
    *c = (struct client){ 0 };
    loop_init(&c->loop, on_turn, NULL);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    c->server = (struct server){ .context = make_server_context(names, c->ca), .fd = ends[1], .serve = serve };
    pthread_create(&c->server.thread, NULL, run_server, &c->server);
    conn_open(&c->conn, &c->loop, ends[0], on_ready, c);
    conn_want_input(&c->conn, true);
}

static struct tls_context *trust_in(const char *ca, char error[TLS_ERROR_SIZE])
{
    struct tls_options options = { .mode = TLS_VERIFY_FULL, .certificate = "", .key = "", .ca = ca };
    return tls_context_for_client(&options, error);
}

static void start_client(struct client *c, const char *host, const char *ca)
{
    char error[TLS_ERROR_SIZE];
    c->trust = trust_in(ca, error);
    cr_assert_not_null(c->trust);
    conn_start_tls(&c->conn, tls_client_new(c->trust, host, "world"));
}

static void setup(struct client *c, const char *host, const char *names, void (*serve)(SSL *ssl))
{
    open_client(c, names, serve);
    start_client(c, host, c->ca);
}

static void teardown(struct client *c)
{
    conn_close(&c->conn);
    pthread_join(c->server.thread, NULL);
    tls_context_release(c->trust);
    SSL_CTX_free(c->server.context);
    loop_destroy(&c->loop);
    buffer_free(&c->received);
    unlink(c->ca);
}

/* --- servers -------------------------------------------------------------------------------------- */

static void echo(SSL *ssl)
{
    char part[70000];
    for (int n; (n = SSL_read(ssl, part, sizeof part)) > 0;)
        SSL_write(ssl, part, n);
    SSL_shutdown(ssl);
}

static void say_and_close(SSL *ssl)
{
    SSL_write(ssl, "last words", 10);
    SSL_shutdown(ssl);
}

static void say_and_hang_up(SSL *ssl)
{
    SSL_write(ssl, "last words", 10);
}

static void tell_how_it_ended(SSL *ssl)
{
    char byte;
    int n = SSL_read(ssl, &byte, 1);
    bool was_told = n <= 0 && SSL_get_error(ssl, n) == SSL_ERROR_ZERO_RETURN;
    SSL_write(ssl, was_told ? "told" : "lost", 4);
}

/* --- tests ---------------------------------------------------------------------------------------- */

Test(tls, carries_much_in_both_directions_at_once, .timeout = 60)
{
    enum { SIZE = 6 << 20 };
    struct client c;
    setup(&c, "localhost", "DNS:localhost", echo);
    char *big = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        big[i] = (char)(i * 7 + i / 253);
    conn_send_span(&c.conn, span_of("sent before the handshake "));
    c.to_send = span_make(big, SIZE);
    c.expected = 26 + SIZE;
    loop_run(&c.loop);
    cr_assert_not(c.lost, "%s", conn_tls_error(&c.conn));
    cr_assert(span_is(span_make(c.received.data, 26), "sent before the handshake "));
    cr_assert(span_equal(span_make(c.received.data + 26, c.received.size - 26), span_make(big, SIZE)));
    cr_assert_null(c.conn.in.data, "an idle connection owns no buffer");
    free(big);
    teardown(&c);
}

Test(tls, an_end_is_an_end_whether_it_was_announced_or_not, .timeout = 60)
{
    void (*const servers[])(SSL *) = { say_and_close, say_and_hang_up };
    for (size_t i = 0; i < 2; i++) {
        struct client c;
        setup(&c, "127.0.0.1", "IP:127.0.0.1", servers[i]);
        loop_run(&c.loop);
        cr_assert(c.lost);
        cr_assert(span_is(buffer_span(&c.received), "last words"));
        cr_assert_str_eq(conn_tls_error(&c.conn), "");
        teardown(&c);
    }
}

Test(tls, ending_the_output_tells_the_peer_and_input_goes_on, .timeout = 60)
{
    struct client c;
    setup(&c, "localhost", "DNS:localhost", tell_how_it_ended);
    while (!tls_is_established(c.conn.tls)) {
        struct span input;
        cr_assert_eq(conn_receive(&c.conn, &input), CONN_NOTHING);
    }
    conn_end_output(&c.conn);
    conn_send_span(&c.conn, span_of("too late"));
    loop_run(&c.loop);
    cr_assert(span_is(buffer_span(&c.received), "told"));
    teardown(&c);
}

Test(tls, nothing_is_sent_to_a_host_that_is_not_the_right_one, .timeout = 60)
{
    static const struct {
        const char *host, *names, *error;
    } rows[] = {
        { "localhost", "DNS:elsewhere", "TLS: the server's certificate is not good: hostname mismatch" },
        { "localhost", "IP:127.0.0.1", "TLS: the server's certificate is not good: hostname mismatch" },
        { "127.0.0.1", "DNS:127.0.0.1", "TLS: the server's certificate is not good: IP address mismatch" },
        { "::1", "IP:127.0.0.1", "TLS: the server's certificate is not good: IP address mismatch" },
        { "a.b.example", "DNS:*.example", "TLS: the server's certificate is not good: hostname mismatch" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct client c;
        setup(&c, rows[i].host, rows[i].names, echo);
        conn_send_span(&c.conn, span_of("a secret"));
        loop_run(&c.loop);
        cr_assert(c.lost);
        cr_assert_str_eq(conn_tls_error(&c.conn), rows[i].error);
        conn_send_span(&c.conn, span_of("another"));
        teardown(&c);
        cr_assert_not(c.server.shook_hands);
    }
}

Test(tls, a_stranger_is_not_trusted, .timeout = 60)
{
    struct client c;
    char other[64];
    SSL_CTX *stranger = make_server_context("DNS:localhost", other);
    open_client(&c, "DNS:localhost", echo);
    start_client(&c, "localhost", other);
    loop_run(&c.loop);
    cr_assert(c.lost);
    cr_assert_str_eq(conn_tls_error(&c.conn), "TLS: the server's certificate is not good: self-signed certificate");
    teardown(&c);
    SSL_CTX_free(stranger);
    unlink(other);
}

Test(tls, certificates_that_cannot_be_read_are_an_error)
{
    char error[TLS_ERROR_SIZE];
    cr_assert_null(trust_in("/nowhere/ca.pem", error));
    cr_assert_str_eq(error, "the certificates in \"/nowhere/ca.pem\" cannot be read: No such file or directory");
    cr_assert_null(trust_in("/dev/null", error));
}
