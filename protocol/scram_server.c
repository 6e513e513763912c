/* What the client's first message says of channel binding decides what its second one has to repeat:
 *
 *     n,,                        it cannot bind                               c=biws
 *     y,,                        it could, but was not offered to             c=eSws, refused when we did offer
 *     p=tls-server-end-point,,   it binds, and has chosen -PLUS               c= the header and our certificate's hash
 *
 * "y" in answer to an offer means that somebody between us has taken the offer away. */
#include "protocol/scram_server.h"

#include <assert.h>
#include <openssl/crypto.h>

#include "protocol/scram_crypto.h"
#include "protocol/scram_text.h"

#define BINDING_TYPE "tls-server-end-point"

void scram_server_init(struct scram_server *s, const struct scram_verifier *v, bool doomed,
                       struct span certificate_hash)
{
    assert(certificate_hash.size <= SCRAM_BINDING_MOST);
    *s = (struct scram_server){ .verifier = *v, .doomed = doomed, .binding_size = certificate_hash.size };
    if (certificate_hash.size > 0)
        memcpy(s->binding, certificate_hash.data, certificate_hash.size);
}

void scram_server_reset(struct scram_server *s)
{
    buffer_free(&s->nonce);
    buffer_free(&s->messages);
    OPENSSL_cleanse(s, sizeof *s);
}

static enum scram_result refuse(struct scram_server *s, const char *sqlstate, const char *message, const char *detail)
{
    s->fault = (struct scram_fault){ sqlstate, message, detail };
    return SCRAM_BAD;
}

static enum scram_result malformed(struct scram_server *s, const char *detail)
{
    return refuse(s, "08P01", "malformed SCRAM message", detail);
}

/* --- the first message --------------------------------------------------------------------------- */

/* "n,", "y," or "p=…,": what is left in `rest` stands behind the comma. */
static bool read_flag(struct span *rest, char *flag, struct span *type)
{
    const char *comma = rest->size > 0 ? memchr(rest->data, ',', rest->size) : NULL;
    if (comma == NULL)
        return false;
    struct span head = span_make(rest->data, (size_t)(comma - rest->data));
    *rest = span_make(comma + 1, rest->size - head.size - 1);
    *flag = head.size > 0 ? head.data[0] : '\0';
    *type = head.size > 2 ? span_make(head.data + 2, head.size - 2) : (struct span){ 0 };
    if (*flag == 'p')
        return type->size > 0 && head.data[1] == '=';
    return head.size == 1 && (*flag == 'n' || *flag == 'y');
}

static enum scram_result check_flag(struct scram_server *s, bool plus, struct span type)
{
    if (plus && s->flag != 'p')
        return malformed(s, "The client selected SCRAM-SHA-256-PLUS, but its message has no channel binding data.");
    if (!plus && s->flag == 'p')
        return malformed(s, "The client selected SCRAM-SHA-256, but its message has channel binding data.");
    if (plus && s->binding_size == 0)
        return refuse(s, "08P01", "client selected an invalid SASL authentication mechanism", "");
    if (plus && !span_is(type, BINDING_TYPE))
        return refuse(s, "08P01", "unsupported SCRAM channel-binding type", "");
    if (s->flag == 'y' && s->binding_size > 0)
        return refuse(s, "28000", "SCRAM channel binding negotiation error",
                      "The client supports SCRAM channel binding but thinks the server does not. However, this "
                      "server does support channel binding.");
    return SCRAM_MORE;
}

/* "[a=…],": only an empty one is supported. */
static enum scram_result read_identity(struct scram_server *s, struct span *rest)
{
    if (rest->size > 0 && rest->data[0] == 'a')
        return refuse(s, "0A000", "client uses authorization identity, but it is not supported", "");
    if (rest->size == 0 || rest->data[0] != ',')
        return malformed(s, "A comma was expected behind the authorization identity.");
    *rest = span_make(rest->data + 1, rest->size - 1);
    return SCRAM_MORE;
}

/* "n=<user>,r=<nonce>": whoever logs in has said so in the StartupMessage. */
static enum scram_result read_bare(struct scram_server *s, struct span bare, struct span *nonce)
{
    struct scram_text t = scram_text_open(bare);
    if (scram_text_is_next(&t, 'm'))
        return refuse(s, "0A000", "client requires an unsupported SCRAM extension", "");
    scram_text_take(&t, 'n');
    *nonce = scram_text_take(&t, 'r');
    scram_text_skip_extensions(&t, '\0');
    if (!scram_text_done(&t))
        return malformed(s, "The attributes of the client's first message are not those that were expected.");
    if (!scram_is_nonce(*nonce))
        return malformed(s, "The client's nonce has characters that are not printable.");
    return SCRAM_MORE;
}

static void answer_first(struct scram_server *s, struct span nonce, struct span ours, struct buffer *reply)
{
    size_t start = reply->size;
    buffer_append_span(&s->nonce, nonce);
    buffer_append_span(&s->nonce, ours);
    buffer_append_text(reply, "r=");
    buffer_append_span(reply, buffer_span(&s->nonce));
    buffer_append_text(reply, ",s=");
    scram_encode(reply, s->verifier.salt, s->verifier.salt_size);
    buffer_format(reply, ",i=%u", s->verifier.iterations);
    buffer_append_span(&s->messages, span_make(reply->data + start, reply->size - start));
}

enum scram_result scram_server_first(struct scram_server *s, bool plus, struct span message, struct span nonce,
                                     struct buffer *reply)
{
    struct span bare = message, type, theirs;
    if (scram_text_open(message).failed)
        return malformed(s, "The message is too long, or has a NUL in it.");
    if (!read_flag(&bare, &s->flag, &type))
        return malformed(s, "The channel-binding flag is not one of those that are known.");
    enum scram_result result = check_flag(s, plus, type);
    if (result == SCRAM_MORE)
        result = read_identity(s, &bare);
    if (result == SCRAM_MORE)
        result = read_bare(s, bare, &theirs);
    if (result != SCRAM_MORE)
        return result;
    buffer_append_span(&s->messages, bare);
    buffer_append_text(&s->messages, ",");
    answer_first(s, theirs, nonce, reply);
    return SCRAM_MORE;
}

/* --- the final message ---------------------------------------------------------------------------- */

static bool is_bound(const struct scram_server *s, struct span said)
{
    struct buffer header = { 0 }, expected = { 0 };
    buffer_format(&header, s->flag == 'p' ? "p=" BINDING_TYPE ",," : "%c,,", s->flag);
    if (s->flag == 'p')
        buffer_append(&header, s->binding, s->binding_size);
    scram_encode(&expected, header.data, header.size);
    bool same = span_equal(said, buffer_span(&expected));
    buffer_free(&header);
    buffer_free(&expected);
    return same;
}

/* ClientProof = ClientKey XOR HMAC(StoredKey, messages): what is left of it must hash to StoredKey. */
static bool is_proven(struct scram_server *s, const unsigned char proof[SCRAM_KEY_SIZE])
{
    unsigned char stored[SCRAM_KEY_SIZE];
    scram_hmac(s->keys.client, s->verifier.stored, SCRAM_KEY_SIZE, buffer_span(&s->messages));
    scram_xor(s->keys.client, proof);
    scram_hash(stored, s->keys.client);
    return scram_same(stored, s->verifier.stored) && !s->doomed;
}

static void answer_final(struct scram_server *s, struct buffer *reply)
{
    unsigned char signature[SCRAM_KEY_SIZE];
    memcpy(s->keys.server, s->verifier.server, SCRAM_KEY_SIZE);
    scram_hmac(signature, s->verifier.server, SCRAM_KEY_SIZE, buffer_span(&s->messages));
    buffer_append_text(reply, "v=");
    scram_encode(reply, signature, sizeof signature);
}

enum scram_result scram_server_final(struct scram_server *s, struct span message, struct buffer *reply)
{
    struct scram_text t = scram_text_open(message);
    unsigned char proof[SCRAM_KEY_SIZE];
    size_t size;
    struct span binding = scram_text_take(&t, 'c');
    struct span nonce = scram_text_take(&t, 'r');
    scram_text_skip_extensions(&t, 'p');
    struct span without_proof = span_make(message.data, message.size - t.rest.size);
    struct span said = scram_text_take(&t, 'p');
    if (!scram_text_done(&t))
        return malformed(s, "The attributes of the client's final message are not those that were expected.");
    if (!is_bound(s, binding))
        return s->flag == 'p'
                   ? refuse(s, "28000", "SCRAM channel binding check failed", "")
                   : refuse(s, "08P01", "unexpected SCRAM channel-binding attribute in client-final-message", "");
    if (!span_equal(nonce, buffer_span(&s->nonce)))
        return refuse(s, "08P01", "invalid SCRAM response", "Nonce does not match.");
    if (!scram_decode(said, proof, sizeof proof, &size) || size != sizeof proof)
        return malformed(s, "The proof is not the base64 of 32 bytes.");

    buffer_append_text(&s->messages, ",");
    buffer_append_span(&s->messages, without_proof);
    if (!is_proven(s, proof)) {
        OPENSSL_cleanse(&s->keys, sizeof s->keys);
        return SCRAM_DENIED;
    }
    answer_final(s, reply);
    return SCRAM_DONE;
}
