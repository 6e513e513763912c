/* Keys and verifiers. The arithmetic is OpenSSL's; that it cannot be done (no memory, no SHA-256) ends the process. */
#include "protocol/scram.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "protocol/memory.h"
#include "protocol/scram_crypto.h"
#include "protocol/scram_prepare.h"
#include "protocol/scram_text.h"

static const char prefix[] = "SCRAM-SHA-256$";

enum { MOST_ITERATION_DIGITS = 9 };

/* --- arithmetic ---------------------------------------------------------------------------------- */

void scram_hmac(unsigned char out[SCRAM_KEY_SIZE], const void *key, size_t key_size, struct span text)
{
    const unsigned char *data = (const unsigned char *)(text.data ? text.data : "");
    or_abort(HMAC(EVP_sha256(), key, (int)key_size, data, text.size, out, NULL));
}

void scram_hash(unsigned char out[SCRAM_KEY_SIZE], const unsigned char in[SCRAM_KEY_SIZE])
{
    if (EVP_Digest(in, SCRAM_KEY_SIZE, out, NULL, EVP_sha256(), NULL) != 1)
        abort();
}

void scram_xor(unsigned char to[SCRAM_KEY_SIZE], const unsigned char with[SCRAM_KEY_SIZE])
{
    for (int i = 0; i < SCRAM_KEY_SIZE; i++)
        to[i] ^= with[i];
}

bool scram_same(const unsigned char a[SCRAM_KEY_SIZE], const unsigned char b[SCRAM_KEY_SIZE])
{
    return CRYPTO_memcmp(a, b, SCRAM_KEY_SIZE) == 0;
}

void scram_nonce_make(struct buffer *out, const unsigned char random[SCRAM_NONCE_SIZE])
{
    scram_encode(out, random, SCRAM_NONCE_SIZE);
}

/* --- keys ---------------------------------------------------------------------------------------- */

void scram_keys_make(struct scram_keys *out, struct span password, struct span salt, uint32_t iterations)
{
    assert(salt.size > 0 && salt.size <= SCRAM_SALT_MOST && iterations > 0 && iterations <= SCRAM_ITERATIONS_MOST);
    unsigned char salted[SCRAM_KEY_SIZE];
    struct buffer prepared = { 0 };
    buffer_reserve(&prepared, 1);
    scram_prepare(&prepared, password);
    assert(prepared.size <= INT32_MAX);
    if (PKCS5_PBKDF2_HMAC(prepared.data, (int)prepared.size, (const unsigned char *)salt.data, (int)salt.size,
                          (int)iterations, EVP_sha256(), sizeof salted, salted) != 1)
        abort();
    scram_hmac(out->client, salted, sizeof salted, span_of("Client Key"));
    scram_hmac(out->server, salted, sizeof salted, span_of("Server Key"));
    OPENSSL_cleanse(salted, sizeof salted);
    OPENSSL_cleanse(prepared.data, prepared.capacity);
    buffer_free(&prepared);
}

/* --- verifiers ----------------------------------------------------------------------------------- */

void scram_verifier_make(struct scram_verifier *out, struct span password, struct span salt, uint32_t iterations)
{
    struct scram_keys keys;
    scram_keys_make(&keys, password, salt, iterations);
    out->iterations = iterations;
    out->salt_size = salt.size;
    memcpy(out->salt, salt.data, salt.size);
    scram_hash(out->stored, keys.client);
    memcpy(out->server, keys.server, sizeof out->server);
    OPENSSL_cleanse(&keys, sizeof keys);
}

void scram_verifier_mock(struct scram_verifier *out, struct span key, struct span user)
{
    unsigned char digest[SCRAM_KEY_SIZE];
    *out = (struct scram_verifier){ .iterations = SCRAM_ITERATIONS, .salt_size = SCRAM_SALT_SIZE };
    scram_hmac(digest, key.data, key.size, user);
    memcpy(out->salt, digest, SCRAM_SALT_SIZE);
}

bool scram_verifier_fits(const struct scram_verifier *v, struct span password)
{
    struct scram_verifier own;
    if (v->iterations > SCRAM_ITERATIONS_MOST)
        return false;
    scram_verifier_make(&own, password, span_make((const char *)v->salt, v->salt_size), v->iterations);
    return scram_same(own.stored, v->stored);
}

bool scram_is_verifier(struct span text)
{
    return text.size >= strlen(prefix) && memcmp(text.data, prefix, strlen(prefix)) == 0;
}

/* What stands ahead of the next `end`, which is dropped as well; all of it when `end` is NUL. */
static struct span take_until(struct span *rest, char end)
{
    struct span all = *rest;
    const char *at = end && all.size > 0 ? memchr(all.data, end, all.size) : NULL;
    size_t size = at ? (size_t)(at - all.data) : all.size;
    size_t used = at ? size + 1 : size;
    *rest = span_make(all.data + used, all.size - used);
    return span_make(all.data, size);
}

bool scram_read_iterations(struct span text, uint32_t *out)
{
    *out = 0;
    for (size_t i = 0; i < text.size && i < MOST_ITERATION_DIGITS; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        *out = *out * 10 + (uint32_t)(text.data[i] - '0');
    }
    return text.size <= MOST_ITERATION_DIGITS && *out > 0;
}

static bool read_key(struct span text, unsigned char key[SCRAM_KEY_SIZE])
{
    size_t size;
    return scram_decode(text, key, SCRAM_KEY_SIZE, &size) && size == SCRAM_KEY_SIZE;
}

bool scram_verifier_read(struct span text, struct scram_verifier *out)
{
    if (!scram_is_verifier(text))
        return false;
    struct span rest = span_make(text.data + strlen(prefix), text.size - strlen(prefix));
    struct span iterations = take_until(&rest, ':');
    struct span salt = take_until(&rest, '$');
    struct span stored = take_until(&rest, ':');
    *out = (struct scram_verifier){ 0 };
    return scram_read_iterations(iterations, &out->iterations) &&
           scram_decode(salt, out->salt, sizeof out->salt, &out->salt_size) && read_key(stored, out->stored) &&
           read_key(rest, out->server);
}

void scram_verifier_print(const struct scram_verifier *v, struct buffer *out)
{
    buffer_format(out, "%s%u:", prefix, v->iterations);
    scram_encode(out, v->salt, v->salt_size);
    buffer_append_text(out, "$");
    scram_encode(out, v->stored, sizeof v->stored);
    buffer_append_text(out, ":");
    scram_encode(out, v->server, sizeof v->server);
}
