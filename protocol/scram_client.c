#include "protocol/scram_client.h"

#include <assert.h>
#include <openssl/crypto.h>

#include "protocol/scram_crypto.h"
#include "protocol/scram_text.h"

static const char *const headers[] = {
    [SCRAM_UNBOUND] = "n,,",
    [SCRAM_NOT_OFFERED] = "y,,",
    [SCRAM_BOUND] = "p=tls-server-end-point,,",
};

void scram_client_init(struct scram_client *c, enum scram_channel channel, struct span certificate_hash)
{
    assert(certificate_hash.size <= SCRAM_BINDING_MOST && (channel != SCRAM_BOUND || certificate_hash.size > 0));
    *c = (struct scram_client){ .channel = channel };
    if (channel == SCRAM_BOUND) {
        c->binding_size = certificate_hash.size;
        memcpy(c->binding, certificate_hash.data, certificate_hash.size);
    }
}

void scram_client_reset(struct scram_client *c)
{
    buffer_free(&c->nonce);
    buffer_free(&c->messages);
    OPENSSL_cleanse(c, sizeof *c);
}

static enum scram_result malformed(struct scram_client *c, const char *detail)
{
    c->fault = (struct scram_fault){ "08P01", "malformed SCRAM message from the server", detail };
    return SCRAM_BAD;
}

/* The user's name stays empty: the StartupMessage has said it, and PostgreSQL takes that one. */
void scram_client_first(struct scram_client *c, struct span nonce, struct buffer *message)
{
    assert(scram_is_nonce(nonce));
    buffer_append_span(&c->nonce, nonce);
    buffer_append_text(&c->messages, "n=,r=");
    buffer_append_span(&c->messages, buffer_span(&c->nonce));
    buffer_append_text(message, headers[c->channel]);
    buffer_append_span(message, buffer_span(&c->messages));
}

/* --- server-first ---------------------------------------------------------------------------------- */

struct challenge {
    struct span nonce;
    size_t salt_size;
    unsigned char salt[SCRAM_SALT_MOST];
    uint32_t iterations;
};

/* The server's nonce is ours and some of its own. */
static bool extends(struct span nonce, struct span ours)
{
    return nonce.size > ours.size && memcmp(nonce.data, ours.data, ours.size) == 0 && scram_is_nonce(nonce);
}

static enum scram_result read_challenge(struct scram_client *c, struct span message, struct challenge *out)
{
    struct scram_text t = scram_text_open(message);
    out->nonce = scram_text_take(&t, 'r');
    struct span salt = scram_text_take(&t, 's');
    struct span iterations = scram_text_take(&t, 'i');
    scram_text_skip_extensions(&t, '\0');
    if (!scram_text_done(&t))
        return malformed(c, "The attributes of its first message are not those that were expected.");
    if (!extends(out->nonce, buffer_span(&c->nonce)))
        return malformed(c, "Its nonce does not extend ours.");
    if (!scram_decode(salt, out->salt, sizeof out->salt, &out->salt_size))
        return malformed(c, "Its salt is not the base64 of 1 to 256 bytes.");
    if (!scram_read_iterations(iterations, &out->iterations) || out->iterations > SCRAM_ITERATIONS_MOST)
        return malformed(c, "Its count of iterations is not a number from 1 to 1000000.");
    return SCRAM_MORE;
}

/* --- client-final ---------------------------------------------------------------------------------- */

static void add_without_proof(const struct scram_client *c, struct span nonce, struct buffer *message)
{
    struct buffer bound = { 0 };
    buffer_append_text(&bound, headers[c->channel]);
    buffer_append(&bound, c->binding, c->binding_size);
    buffer_append_text(message, "c=");
    scram_encode(message, bound.data, bound.size);
    buffer_append_text(message, ",r=");
    buffer_append_span(message, nonce);
    buffer_free(&bound);
}

static void add_proof(const struct scram_client *c, const struct scram_keys *keys, struct buffer *message)
{
    unsigned char stored[SCRAM_KEY_SIZE], proof[SCRAM_KEY_SIZE];
    scram_hash(stored, keys->client);
    scram_hmac(proof, stored, sizeof stored, buffer_span(&c->messages));
    scram_xor(proof, keys->client);
    buffer_append_text(message, ",p=");
    scram_encode(message, proof, sizeof proof);
    OPENSSL_cleanse(stored, sizeof stored);
}

enum scram_result scram_client_final(struct scram_client *c, struct span server_first, const struct scram_login *login,
                                     struct buffer *message)
{
    struct challenge challenge;
    enum scram_result result = read_challenge(c, server_first, &challenge);
    if (result != SCRAM_MORE)
        return result;

    struct scram_keys keys;
    if (login->keys != NULL)
        keys = *login->keys;
    else
        scram_keys_make(&keys, login->password, span_make((const char *)challenge.salt, challenge.salt_size),
                        challenge.iterations);
    memcpy(c->server_key, keys.server, sizeof c->server_key);

    size_t start = message->size;
    add_without_proof(c, challenge.nonce, message);
    buffer_append_text(&c->messages, ",");
    buffer_append_span(&c->messages, server_first);
    buffer_append_text(&c->messages, ",");
    buffer_append_span(&c->messages, span_make(message->data + start, message->size - start));
    add_proof(c, &keys, message);
    OPENSSL_cleanse(&keys, sizeof keys);
    return SCRAM_MORE;
}

/* --- server-final ---------------------------------------------------------------------------------- */

enum scram_result scram_client_verify(struct scram_client *c, struct span server_final)
{
    struct scram_text t = scram_text_open(server_final);
    unsigned char signature[SCRAM_KEY_SIZE], expected[SCRAM_KEY_SIZE];
    size_t size;
    if (scram_text_is_next(&t, 'e')) {
        c->fault = (struct scram_fault){ "28P01", "the server refused the proof", "" };
        return SCRAM_DENIED;
    }
    struct span said = scram_text_take(&t, 'v');
    scram_text_skip_extensions(&t, '\0');
    if (!scram_text_done(&t) || !scram_decode(said, signature, sizeof signature, &size) || size != sizeof signature)
        return malformed(c, "Its final message has no signature.");
    scram_hmac(expected, c->server_key, SCRAM_KEY_SIZE, buffer_span(&c->messages));
    if (scram_same(signature, expected))
        return SCRAM_DONE;
    c->fault =
        (struct scram_fault){ "28000", "the server does not know the user's password", "Its signature is wrong." };
    return SCRAM_DENIED;
}
