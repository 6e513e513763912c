/* Clients that log in, each with the method, the secret and the password of a row. */
#include "tests/unit/with_auth.h"

#include "tests/unit/bytes.h"

static char *kept_md5;
static char *kept_scram;

static void make_secrets(void)
{
    kept_md5 = "md5b52328d7451bfeace80c4b8c338106f9"; /* of user "m", password "secret" */
    kept_scram = verifier_of("secret");
}

static void free_secrets(void)
{
    free(kept_scram);
}

TestSuite(client_auth, .init = make_secrets, .fini = free_secrets);

static struct credentials password_of(const char *password)
{
    struct credentials c = { 0 };
    credentials_set_text(&c, CREDENTIALS_PASSWORD, span_of(password));
    return c;
}

enum stored { NOBODY, PLAIN, MD5_SECRET, VERIFIER };

static const char *secret_of(enum stored stored)
{
    const char *const secrets[] = {
        [NOBODY] = NULL, [PLAIN] = "secret", [MD5_SECRET] = kept_md5, [VERIFIER] = kept_scram
    };
    return secrets[stored];
}

static const struct {
    enum auth_method method;
    enum stored stored;
    const char *password;
    enum auth_state want;
    uint32_t asked;
    enum credentials_kind gives;
} rows[] = {
    { AUTH_SCRAM_SHA_256, VERIFIER, "secret", AUTH_OK, AUTHENTICATION_SASL, CREDENTIALS_SCRAM },
    { AUTH_SCRAM_SHA_256, VERIFIER, "wrong", AUTH_FAILED, AUTHENTICATION_SASL, CREDENTIALS_NONE },
    { AUTH_SCRAM_SHA_256, PLAIN, "secret", AUTH_OK, AUTHENTICATION_SASL, CREDENTIALS_PASSWORD },
    { AUTH_SCRAM_SHA_256, PLAIN, "wrong", AUTH_FAILED, AUTHENTICATION_SASL, CREDENTIALS_NONE },
    { AUTH_SCRAM_SHA_256, MD5_SECRET, "secret", AUTH_FAILED, AUTHENTICATION_SASL, CREDENTIALS_NONE },
    { AUTH_SCRAM_SHA_256, NOBODY, "secret", AUTH_FAILED, AUTHENTICATION_SASL, CREDENTIALS_NONE },
    { AUTH_MD5, VERIFIER, "secret", AUTH_OK, AUTHENTICATION_SASL, CREDENTIALS_SCRAM },
    { AUTH_MD5, VERIFIER, "wrong", AUTH_FAILED, AUTHENTICATION_SASL, CREDENTIALS_NONE },
    { AUTH_MD5, PLAIN, "secret", AUTH_OK, AUTHENTICATION_MD5, CREDENTIALS_PASSWORD },
    { AUTH_MD5, PLAIN, "wrong", AUTH_FAILED, AUTHENTICATION_MD5, CREDENTIALS_NONE },
    { AUTH_MD5, MD5_SECRET, "secret", AUTH_OK, AUTHENTICATION_MD5, CREDENTIALS_MD5 },
    { AUTH_MD5, MD5_SECRET, "wrong", AUTH_FAILED, AUTHENTICATION_MD5, CREDENTIALS_NONE },
    { AUTH_MD5, NOBODY, "secret", AUTH_FAILED, AUTHENTICATION_SASL, CREDENTIALS_NONE },
    { AUTH_TRUST, NOBODY, "", AUTH_OK, AUTHENTICATION_OK, CREDENTIALS_NONE },
    { AUTH_TRUST, PLAIN, "", AUTH_OK, AUTHENTICATION_OK, CREDENTIALS_PASSWORD },
    { AUTH_TRUST, MD5_SECRET, "", AUTH_OK, AUTHENTICATION_OK, CREDENTIALS_MD5 },
    { AUTH_TRUST, VERIFIER, "", AUTH_OK, AUTHENTICATION_OK, CREDENTIALS_NONE },
    { AUTH_REJECT, PLAIN, "secret", AUTH_FAILED, UINT32_MAX, CREDENTIALS_NONE },
    { AUTH_CERT, PLAIN, "secret", AUTH_FAILED, UINT32_MAX, CREDENTIALS_NONE },
};

Test(client_auth, P9_what_is_asked_follows_from_the_method_and_from_the_secret)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct client_auth_start start = start_of(rows[i].method, "m", secret_of(rows[i].stored));
        struct credentials shown = password_of(rows[i].password[0] ? rows[i].password : "unused");
        struct login l = login_of(&start, &shown, "");
        cr_expect_eq(l.client, rows[i].want, "row %zu", i);
        cr_expect_eq(l.asked, rows[i].asked, "row %zu: %u", i, l.asked);
        cr_expect_eq(client_auth_credentials(l.judge)->kind, rows[i].gives, "row %zu", i);
        cr_expect_eq(l.server == AUTH_OK, rows[i].want == AUTH_OK, "row %zu", i);
        login_end(&l);
        credentials_wipe(&shown);
    }
}

static struct login fail_login(enum auth_method method, const char *secret, bool unknown_is_plain, const char *password)
{
    struct client_auth_start start = start_of(method, "m", secret);
    start.unknown_is_plain = unknown_is_plain;
    struct credentials shown = password_of(password);
    struct login l = login_of(&start, &shown, "");
    credentials_wipe(&shown);
    cr_assert_eq(l.client, AUTH_FAILED);
    return l;
}

/* Also with the right password of somebody else: an unknown user's questions and words are those of one who is known. */
Test(client_auth, P9_an_unknown_user_looks_like_a_wrong_password)
{
    static const struct {
        enum auth_method method;
        enum stored neighbour;
    } cases[] = {
        { AUTH_SCRAM_SHA_256, VERIFIER }, { AUTH_SCRAM_SHA_256, PLAIN }, { AUTH_MD5, VERIFIER }, { AUTH_MD5, PLAIN }
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct login known = fail_login(cases[i].method, secret_of(cases[i].neighbour), false, "wrong");
        struct login unknown = fail_login(cases[i].method, NULL, cases[i].neighbour == PLAIN, "wrong");
        const struct auth_fault *a = client_auth_fault(known.judge), *b = client_auth_fault(unknown.judge);
        cr_expect_eq(known.asked, unknown.asked, "case %zu", i);
        cr_expect_str_eq(a->sqlstate, "28P01");
        cr_expect_str_eq(b->sqlstate, "28P01");
        cr_expect_str_eq(a->message, "password authentication failed for user \"m\"");
        cr_expect_str_eq(b->message, a->message);
        cr_expect_str_eq(a->detail, "the password does not match");
        cr_expect_str_eq(b->detail, "there is no such user");
        login_end(&known);
        login_end(&unknown);
    }
}

/* The body of the message that answers "n,,n=,r=abc". */
static void first_answer(const char *user, const char *secret, bool unknown_is_plain, struct buffer *out)
{
    struct client_auth_start start = start_of(AUTH_SCRAM_SHA_256, user, secret);
    struct buffer said = { 0 };
    start.unknown_is_plain = unknown_is_plain;
    counter = 0;
    struct client_auth *a = client_auth_new(&start);
    client_auth_begin(a, &said);
    buffer_clear(&said);
    cr_assert_eq(client_auth_answer(a, BYTES("SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=abc"), &said), AUTH_MORE);
    take_body(&said, 'R', out);
    client_auth_free(a);
    buffer_free(&said);
}

Test(client_auth, P9_a_users_salt_is_the_same_at_each_login_known_or_not)
{
    struct buffer once = { 0 }, again = { 0 }, plain = { 0 }, other = { 0 };

    first_answer("zoe", NULL, false, &once);
    first_answer("zoe", NULL, true, &again);
    first_answer("zoe", "secret", false, &plain);
    first_answer("joe", NULL, false, &other);
    cr_expect(span_equal(buffer_span(&once), buffer_span(&again)));
    cr_expect(span_equal(buffer_span(&once), buffer_span(&plain)));
    cr_expect(!span_equal(buffer_span(&once), buffer_span(&other)));
    buffer_free(&once);
    buffer_free(&again);
    buffer_free(&plain);
    buffer_free(&other);
}

Test(client_auth, P9_the_log_learns_why_there_is_no_secret)
{
    struct client_auth_start start = start_of(AUTH_SCRAM_SHA_256, "m", NULL);
    start.why_no_secret = "the password has expired";
    struct credentials shown = password_of("secret");
    struct login l = login_of(&start, &shown, "");

    cr_expect_eq(l.client, AUTH_FAILED);
    cr_expect_str_eq(client_auth_fault(l.judge)->detail, "the password has expired");
    login_end(&l);

    start.secret = "SCRAM-SHA-256$damaged";
    credentials_wipe(&shown);
    shown = password_of(start.secret);
    l = login_of(&start, &shown, "");
    cr_expect_eq(l.client, AUTH_FAILED, "a damaged verifier is no password");
    login_end(&l);
    credentials_wipe(&shown);
}

Test(client_auth, P9_an_empty_password_lets_nobody_in)
{
    static const enum auth_method methods[] = { AUTH_SCRAM_SHA_256, AUTH_MD5 };

    for (size_t i = 0; i < 2; i++) {
        struct login l = fail_login(methods[i], "", false, "x");
        cr_expect_str_eq(client_auth_fault(l.judge)->detail, "the user has an empty password");
        login_end(&l);
    }
}

/* What the md5 method would take of somebody who has an empty password. */
Test(client_auth, P9_an_unknown_user_gets_in_with_no_md5_whatever_it_is_of)
{
    struct client_auth_start start = start_of(AUTH_MD5, "m", NULL);
    start.unknown_is_plain = true;
    struct credentials shown = { 0 };
    credentials_set_text(&shown, CREDENTIALS_MD5, span_of("md56f8f57715090da2632453988d9a1501b")); /* md5('m') */
    struct login l = login_of(&start, &shown, "");

    cr_expect_eq(l.asked, AUTHENTICATION_MD5);
    cr_expect_eq(l.client, AUTH_FAILED);
    login_end(&l);
    credentials_wipe(&shown);
}

static enum auth_state certificate_login(bool tls, const char *common_name, const char **sqlstate)
{
    struct client_auth_start start = start_of(AUTH_CERT, "m", NULL);
    struct buffer out = { 0 };
    start.tls = tls;
    start.common_name = common_name;
    struct client_auth *a = client_auth_new(&start);
    enum auth_state state = client_auth_begin(a, &out);
    *sqlstate = client_auth_fault(a)->sqlstate;
    cr_expect_eq(out.size, 0, "nothing is asked");
    client_auth_free(a);
    buffer_free(&out);
    return state;
}

Test(client_auth, P9_a_certificate_lets_in_whom_it_names)
{
    const char *sqlstate;

    cr_expect_eq(certificate_login(true, "m", &sqlstate), AUTH_OK);
    cr_expect_eq(certificate_login(true, "M", &sqlstate), AUTH_FAILED);
    cr_expect_str_eq(sqlstate, "28000");
    cr_expect_eq(certificate_login(true, "", &sqlstate), AUTH_FAILED);
    cr_expect_eq(certificate_login(true, NULL, &sqlstate), AUTH_FAILED);
    cr_expect_str_eq(sqlstate, "28000");
    cr_expect_eq(certificate_login(false, "m", &sqlstate), AUTH_FAILED, "nobody verified it");
}

Test(client_auth, P9_PLUS_is_offered_over_TLS_and_binds)
{
    struct client_auth_start start = start_of(AUTH_SCRAM_SHA_256, "m", kept_scram);
    struct credentials shown = password_of("secret");
    start.certificate_hash = span_of("0123456789abcdef0123456789abcdef");

    struct login l = login_of(&start, &shown, "0123456789abcdef0123456789abcdef");
    cr_expect_eq(l.client, AUTH_OK, "without TLS there is no offer, and a client that could bind says so");
    login_end(&l);

    start.tls = true;
    l = login_of(&start, &shown, "0123456789abcdef0123456789abcdef");
    cr_expect_eq(l.client, AUTH_OK);
    cr_expect_eq(l.server, AUTH_OK);
    login_end(&l);
    l = login_of(&start, &shown, "");
    cr_expect_eq(l.client, AUTH_OK, "a client that cannot bind");
    login_end(&l);
    l = login_of(&start, &shown, "the hash of a certificate of somebody else");
    cr_expect_eq(l.client, AUTH_FAILED);
    cr_expect_str_eq(client_auth_fault(l.judge)->sqlstate, "28000");
    login_end(&l);
    credentials_wipe(&shown);
}

static const struct {
    const char *name;
    enum auth_method method;
    struct span body;
} nonsense[] = {
    { "nothing", AUTH_SCRAM_SHA_256, BYTES_INIT("") },
    { "a password", AUTH_SCRAM_SHA_256, BYTES_INIT("secret\0") },
    { "no response", AUTH_SCRAM_SHA_256, BYTES_INIT("SCRAM-SHA-256\0\xff\xff\xff\xff") },
    { "a length that is too long", AUTH_SCRAM_SHA_256, BYTES_INIT("SCRAM-SHA-256\0\x7f\xff\xff\xffn,,n=,r=abc") },
    { "another mechanism", AUTH_SCRAM_SHA_256, BYTES_INIT("PLAIN\0\0\0\0\x03\0m\0") },
    { "PLUS that was not offered", AUTH_SCRAM_SHA_256,
      BYTES_INIT("SCRAM-SHA-256-PLUS\0\0\0\0\x20p=tls-server-end-point,,n=,r=abc") },
    { "no message of SCRAM", AUTH_SCRAM_SHA_256, BYTES_INIT("SCRAM-SHA-256\0\0\0\0\x01n") },
    { "no string", AUTH_MD5, BYTES_INIT("md5") },
    { "two strings", AUTH_MD5, BYTES_INIT("md5\0md5\0") },
    { "nothing for md5", AUTH_MD5, BYTES_INIT("") },
};

Test(client_auth, P2_an_answer_that_is_none_is_a_violation)
{
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
        struct client_auth_start start = start_of(nonsense[i].method, "m", "secret");
        struct buffer out = { 0 };
        struct span body = bytes_exact(nonsense[i].body);
        struct client_auth *a = client_auth_new(&start);
        cr_assert_eq(client_auth_begin(a, &out), AUTH_MORE);
        buffer_clear(&out);
        cr_expect_eq(client_auth_answer(a, body, &out), AUTH_FAILED, "%s", nonsense[i].name);
        cr_expect_str_eq(client_auth_fault(a)->sqlstate, "08P01", "%s", nonsense[i].name);
        cr_expect_eq(out.size, 0);
        client_auth_free(a);
        buffer_free(&out);
        bytes_free(body);
    }
}
