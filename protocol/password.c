#include "protocol/password.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

static const char prefix[] = "md5";

enum { PREFIX_SIZE = 3, DIGEST_SIZE = 16 };

bool password_is_md5(struct span text)
{
    if (text.size != PASSWORD_MD5_SIZE || memcmp(text.data, prefix, PREFIX_SIZE) != 0)
        return false;
    for (size_t i = PREFIX_SIZE; i < text.size; i++)
        if (text.data[i] == '\0' || strchr("0123456789abcdef", text.data[i]) == NULL)
            return false;
    return true;
}

/* Of `a` and `b`, one behind the other. */
static bool digest(char out[PASSWORD_MD5_SIZE + 1], struct span a, struct span b)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *x = EVP_MD_CTX_new();
    bool done = x != NULL && EVP_DigestInit_ex(x, EVP_md5(), NULL) == 1 && EVP_DigestUpdate(x, a.data, a.size) == 1 &&
                EVP_DigestUpdate(x, b.data, b.size) == 1 && EVP_DigestFinal_ex(x, bytes, NULL) == 1;
    EVP_MD_CTX_free(x);
    if (!done)
        return false;
    memcpy(out, prefix, PREFIX_SIZE);
    for (int i = 0; i < DIGEST_SIZE; i++) {
        out[PREFIX_SIZE + 2 * i] = digits[bytes[i] >> 4];
        out[PREFIX_SIZE + 2 * i + 1] = digits[bytes[i] & 15];
    }
    out[PASSWORD_MD5_SIZE] = '\0';
    OPENSSL_cleanse(bytes, sizeof bytes);
    return true;
}

bool password_md5_kept(char out[PASSWORD_MD5_SIZE + 1], struct span password, struct span user)
{
    return digest(out, password, user);
}

bool password_md5_sent(char out[PASSWORD_MD5_SIZE + 1], struct span kept, const char salt[PASSWORD_SALT_SIZE])
{
    struct span hex = span_make(kept.data + PREFIX_SIZE, kept.size - PREFIX_SIZE);
    return digest(out, hex, span_make(salt, PASSWORD_SALT_SIZE));
}

bool password_equal(struct span a, struct span b)
{
    static const char none[1];
    unsigned char differs = a.size != b.size;
    for (size_t i = 0; i < b.size; i++)
        differs |= (unsigned char)((i < a.size ? a.data[i] : none[0]) ^ b.data[i]);
    return differs == 0;
}
