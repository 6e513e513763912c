/* The context for clients' handshakes, one for the process. */
#include "proxy/pool/encryption.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "protocol/memory.h"
#include "proxy/auth/random.h"
#include "proxy/net/tls_source.h"
#include "proxy/ops/log.h"

enum { KEY_FILE_MOST = 16 * 1024 };

static struct {
    pthread_mutex_t lock;
    struct tls_context *clients; /* NULL: TLS is off */
} current = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void replace(struct tls_context *take)
{
    pthread_mutex_lock(&current.lock);
    struct tls_context *old = current.clients;
    current.clients = take;
    pthread_mutex_unlock(&current.lock);
    tls_context_release(old);
}

/* The key is all that a process may have that is secret, too long to be guessed, and the same on every host of a name: with it, users who are
 * not known are told the same by all of them. */
static void derive_mock_key(const char *key_file)
{
    char bytes[KEY_FILE_MOST];
    FILE *file = fopen(key_file, "re");
    size_t size = file != NULL ? fread(bytes, 1, sizeof bytes, file) : 0;
    if (file != NULL)
        fclose(file);
    if (size > 0)
        auth_mock_key_derive(span_make(bytes, size));
    OPENSSL_cleanse(bytes, sizeof bytes);
}

static bool load_for_clients(const struct config *c)
{
    char error[TLS_ERROR_SIZE];
    struct tls_context *clients = NULL;
    if (config_offers_tls(c)) {
        clients = tls_context_for_server(&c->client_tls, error);
        if (clients == NULL) {
            LOG(LOG_ERROR, "cannot use the files of client_tls", log_text("error", error));
            return false;
        }
        derive_mock_key(c->client_tls.key);
    }
    replace(clients);
    return true;
}

static bool load_for_upstream(const struct database *d)
{
    char error[TLS_ERROR_SIZE];
    if (d->tls.mode == TLS_DISABLE || tls_source_read(tls_source_find(&d->tls), error))
        return true;
    LOG(LOG_ERROR, "cannot use the files of an upstream's TLS", log_text("database", d->name),
        log_text("error", error));
    return false;
}

bool encryption_load(const struct config *c)
{
    bool all = load_for_clients(c);
    for (size_t i = 0; i < c->database_count; i++)
        all = load_for_upstream(&c->databases[i]) && all;
    return all;
}

void encryption_free(void)
{
    replace(NULL);
}

struct tls_context *encryption_of_clients(void)
{
    pthread_mutex_lock(&current.lock);
    struct tls_context *x = current.clients != NULL ? tls_context_retain(current.clients) : NULL;
    pthread_mutex_unlock(&current.lock);
    return x;
}

static bool is_certificate_of(const struct conn *conn, const char *user)
{
    char *name = tls_peer_name(conn->tls);
    bool is_same = name != NULL && strcmp(name, user) == 0;
    free(name);
    return is_same;
}

/* The handshake may have been made under an older config, so it is not taken for granted that it has asked for enough. */
char *encryption_missing(const struct config *c, const struct conn *conn, const char *user)
{
    enum tls_mode mode = c->client_tls.mode;
    struct buffer words = { 0 };
    if (mode < TLS_REQUIRE || (conn->tls == NULL && conn_is_unix(conn)))
        return NULL;
    if (conn->tls == NULL)
        buffer_format(&words, "connection for user \"%s\" refused: TLS is required, and there is no encryption", user);
    else if (mode >= TLS_VERIFY_CA && !tls_peer_is_verified(conn->tls))
        buffer_format(&words, "connection requires a valid client certificate");
    else if (mode == TLS_VERIFY_FULL && !is_certificate_of(conn, user))
        buffer_format(&words, "certificate authentication failed for user \"%s\"", user);
    else
        return NULL;
    buffer_append_u8(&words, '\0');
    return words.data;
}
