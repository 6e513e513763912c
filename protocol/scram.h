/* SCRAM-SHA-256 (RFC 5802, RFC 7677): what both sides share.
 *
 *     SaltedPassword = PBKDF2(password, salt, iterations)
 *     ClientKey = HMAC(SaltedPassword, "Client Key")      StoredKey = H(ClientKey)
 *     ServerKey = HMAC(SaltedPassword, "Server Key")
 *
 * A verifier (StoredKey, ServerKey) checks a client and proves to it that it is known, and is not enough to log in. The keys
 * (ClientKey, ServerKey) are: whoever has a verifier and sees one successful exchange has them.
 *
 * The exchanges are in scram_server.h and scram_client.h. Nonces and salts are arguments, so is what a channel is bound with. */
#ifndef PROTOCOL_SCRAM_H
#define PROTOCOL_SCRAM_H

#include <stdint.h>

#include "protocol/buffer.h"

enum {
    SCRAM_KEY_SIZE = 32,
    SCRAM_NONCE_SIZE = 18, /* random bytes, as PostgreSQL takes */
    SCRAM_SALT_SIZE = 16,  /* of verifiers that we make */
    SCRAM_SALT_MOST = 256,
    SCRAM_ITERATIONS = 4096,         /* of verifiers that we make */
    SCRAM_ITERATIONS_MOST = 1000000, /* that we compute when a server asks us: about half a second */
    SCRAM_MESSAGE_MOST = 1024,       /* bytes of one message, either way; PostgreSQL's own limit */
    SCRAM_BINDING_MOST = 64          /* bytes of a certificate's hash */
};

enum scram_result {
    SCRAM_MORE, /* the reply goes to the peer, which has to answer it */
    SCRAM_DONE,
    SCRAM_DENIED, /* the proof, or the signature, is not that of somebody who knows the secret */
    SCRAM_BAD     /* the message cannot be part of an exchange; the fault says why */
};

/* Why an exchange ended; static words. */
struct scram_fault {
    const char *sqlstate, *message, *detail;
};

struct scram_keys {
    unsigned char client[SCRAM_KEY_SIZE], server[SCRAM_KEY_SIZE];
};

struct scram_verifier {
    uint32_t iterations;
    size_t salt_size;
    unsigned char salt[SCRAM_SALT_MOST];
    unsigned char stored[SCRAM_KEY_SIZE], server[SCRAM_KEY_SIZE];
};

/* "SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>", as pg_authid.rolpassword has it; false for anything else.
 * scram_is_verifier() asks for the prefix alone: what has it and cannot be read is a damaged verifier, and no password. */
bool scram_verifier_read(struct span text, struct scram_verifier *out);
bool scram_is_verifier(struct span text);
void scram_verifier_print(const struct scram_verifier *v, struct buffer *out);
/* `salt` has 1 to SCRAM_SALT_MOST bytes; `iterations` is from 1 to SCRAM_ITERATIONS_MOST. */
void scram_verifier_make(struct scram_verifier *out, struct span password, struct span salt, uint32_t iterations);
/* One for a user who is not known: no password fits, and the same user gets the same salt as long as `key` is the same. */
void scram_verifier_mock(struct scram_verifier *out, struct span key, struct span user);
/* The password is the one that the verifier was made of. As slow as an exchange. */
bool scram_verifier_fits(const struct scram_verifier *v, struct span password);

/* The text of a nonce. */
void scram_nonce_make(struct buffer *out, const unsigned char random[SCRAM_NONCE_SIZE]);
/* As slow as `iterations` says. */
void scram_keys_make(struct scram_keys *out, struct span password, struct span salt, uint32_t iterations);

#endif
