#include "proxy/events/webhook_sign.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "protocol/memory.h"

static const char prefix[] = "whsec_";

/* How many bytes the '=' at the end stand for. */
static size_t padding(struct span text)
{
    size_t count = 0;
    while (count < 2 && count < text.size && text.data[text.size - 1 - count] == '=')
        count++;
    return count;
}

bool webhook_sign_key(const char *secret, struct buffer *key)
{
    if (strncmp(secret, prefix, strlen(prefix)) == 0)
        secret += strlen(prefix);
    struct span text = span_of(secret);
    if (text.size == 0 || text.size % 4 != 0 || text.size > 4096)
        return false;
    unsigned char *room = (unsigned char *)buffer_reserve(key, text.size / 4 * 3);
    int size = EVP_DecodeBlock(room, (const unsigned char *)text.data, (int)text.size);
    if (size < 0)
        return false;
    key->size += (size_t)size - padding(text);
    return true;
}

void webhook_sign(struct buffer *out, struct span key, const char *id, const char *timestamp, struct span body)
{
    struct buffer signed_text = { 0 };
    buffer_append_text(&signed_text, id);
    buffer_append_text(&signed_text, ".");
    buffer_append_text(&signed_text, timestamp);
    buffer_append_text(&signed_text, ".");
    buffer_append_span(&signed_text, body);

    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    or_abort(HMAC(EVP_sha256(), key.data, (int)key.size, (const unsigned char *)signed_text.data, signed_text.size,
                  digest, &size));
    buffer_free(&signed_text);

    char text[EVP_MAX_MD_SIZE / 3 * 4 + 8];
    EVP_EncodeBlock((unsigned char *)text, digest, (int)size);
    buffer_append_text(out, "v1,");
    buffer_append_text(out, text);
}
