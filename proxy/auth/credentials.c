#include "proxy/auth/credentials.h"

#include <assert.h>
#include <openssl/crypto.h>

#include "protocol/memory.h"
#include "protocol/password.h"
#include "protocol/scram.h"

void credentials_set_text(struct credentials *to, enum credentials_kind kind, struct span text)
{
    assert(to->kind == CREDENTIALS_NONE && (kind == CREDENTIALS_PASSWORD || kind == CREDENTIALS_MD5));
    to->kind = kind;
    to->text = memory_copy_span(text);
}

void credentials_set_secret(struct credentials *to, struct span secret)
{
    if (secret.size > 0 && !scram_is_verifier(secret))
        credentials_set_text(to, password_is_md5(secret) ? CREDENTIALS_MD5 : CREDENTIALS_PASSWORD, secret);
}

void credentials_set_keys(struct credentials *to, const struct scram_keys *keys)
{
    assert(to->kind == CREDENTIALS_NONE);
    to->kind = CREDENTIALS_SCRAM;
    to->keys = *keys;
}

void credentials_copy(struct credentials *to, const struct credentials *from)
{
    switch (from->kind) {
    case CREDENTIALS_NONE:
        return;
    case CREDENTIALS_PASSWORD:
    case CREDENTIALS_MD5:
        credentials_set_text(to, from->kind, span_of(from->text));
        return;
    case CREDENTIALS_SCRAM:
        credentials_set_keys(to, &from->keys);
        return;
    }
}

void credentials_wipe(struct credentials *c)
{
    if (c->text != NULL)
        OPENSSL_cleanse(c->text, strlen(c->text));
    free(c->text);
    OPENSSL_cleanse(c, sizeof *c);
    *c = (struct credentials){ 0 };
}

bool credentials_equal(const struct credentials *a, const struct credentials *b)
{
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case CREDENTIALS_NONE:
        return true;
    case CREDENTIALS_PASSWORD:
    case CREDENTIALS_MD5:
        return password_equal(span_of(a->text), span_of(b->text));
    case CREDENTIALS_SCRAM:
        return CRYPTO_memcmp(&a->keys, &b->keys, sizeof a->keys) == 0;
    }
    return false;
}
