/* Certificates, read with OpenSSL. */
#include "proxy/net/tls_certificate.h"

#include <openssl/objects.h>
#include <openssl/x509.h>

#include "protocol/memory.h"

size_t tls_certificate_hash(const struct x509_st *certificate, unsigned char hash[TLS_HASH_MAX])
{
    int digest = NID_undef;
    unsigned size = 0;
    _Static_assert(TLS_HASH_MAX >= EVP_MAX_MD_SIZE, "any digest fits");
    if (X509_get_signature_info((X509 *)(uintptr_t)certificate, &digest, NULL, NULL, NULL) != 1)
        return 0;
    if (digest == NID_md5 || digest == NID_sha1)
        digest = NID_sha256;
    const EVP_MD *algorithm = EVP_get_digestbynid(digest);
    return algorithm != NULL && X509_digest(certificate, algorithm, hash, &size) == 1 ? size : 0;
}

char *tls_certificate_name(const struct x509_st *certificate)
{
    const X509_NAME *subject = X509_get_subject_name(certificate);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    unsigned char *text = NULL;
    if (at < 0)
        return NULL;
    int size = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    bool is_whole = size >= 0 && memchr(text, '\0', (size_t)size) == NULL;
    char *name = is_whole ? memory_copy_span(span_make((const char *)text, (size_t)size)) : NULL;
    OPENSSL_free(text);
    return name;
}
