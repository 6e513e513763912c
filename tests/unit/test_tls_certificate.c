/* What is read in certificates. */
#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/net/tls_certificate.h"

static X509 *make_certificate(EVP_PKEY *key, const EVP_MD *digest, const char *name, int name_size)
{
    X509 *certificate = X509_new();
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    if (name != NULL)
        X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8, (const unsigned char *)name,
                                   name_size, -1, 0);
    X509_sign(certificate, key, digest);
    return certificate;
}

/* RFC 5929, section 4.1. */
Test(tls_certificate, P9_its_hash_is_that_of_its_signature_but_never_md5_or_sha1)
{
    const struct {
        const EVP_MD *signature, *hash;
    } rows[] = {
        { EVP_md5(), EVP_sha256() },    { EVP_sha1(), EVP_sha256() },   { EVP_sha224(), EVP_sha224() },
        { EVP_sha256(), EVP_sha256() }, { EVP_sha384(), EVP_sha384() }, { EVP_sha512(), EVP_sha512() },
    };
    EVP_PKEY *key = EVP_RSA_gen(2048);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned char hash[TLS_HASH_MAX], want[EVP_MAX_MD_SIZE];
        unsigned size = 0;
        X509 *certificate = make_certificate(key, rows[i].signature, "a", 1);
        X509_digest(certificate, rows[i].hash, want, &size);
        cr_expect_eq(tls_certificate_hash(certificate, hash), size);
        cr_expect_arr_eq(hash, want, size);
        X509_free(certificate);
    }
    EVP_PKEY_free(key);
}

Test(tls_certificate, P9_a_signature_without_a_hash_has_none)
{
    unsigned char hash[TLS_HASH_MAX];
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    X509 *certificate = make_certificate(key, NULL, "a", 1);
    cr_expect_eq(tls_certificate_hash(certificate, hash), 0);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

Test(tls_certificate, P9_a_name_is_read_whole_or_not_at_all)
{
    static const struct {
        const char *name;
        int size;
        const char *want;
    } rows[] = {
        { "app", 3, "app" },
        { "K\xc3\xa4the", 6, "K\xc3\xa4the" },
        { "postgres\0.evil.example", 22, NULL },
        { "\0", 1, NULL },
        { NULL, 0, NULL },
    };
    EVP_PKEY *key = EVP_EC_gen("P-256");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        X509 *certificate = make_certificate(key, EVP_sha256(), rows[i].name, rows[i].size);
        char *name = tls_certificate_name(certificate);
        if (rows[i].want == NULL)
            cr_expect_null(name);
        else
            cr_expect_str_eq(name, rows[i].want);
        free(name);
        X509_free(certificate);
    }
    EVP_PKEY_free(key);
}
