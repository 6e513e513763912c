/* Servers that ask, honest and other ones. Whole exchanges are in test_client_auth.c. */
#include "tests/unit/with_auth.h"

#include "tests/unit/bytes.h"

static struct server_auth *applicant(enum credentials_kind kind, const char *text)
{
    struct credentials c = { 0 };
    static const struct scram_keys keys = { { 1 }, { 2 } };
    if (kind == CREDENTIALS_SCRAM)
        credentials_set_keys(&c, &keys);
    else if (kind != CREDENTIALS_NONE)
        credentials_set_text(&c, kind, span_of(text));
    struct server_auth_start start = { .user = span_of("m"), .credentials = &c, .random = counting };
    struct server_auth *a = server_auth_new(&start);
    credentials_wipe(&c);
    return a;
}

#define MD5 "md5b52328d7451bfeace80c4b8c338106f9" /* of user "m", password "secret" */
#define CLEARTEXT BYTES_INIT("\0\0\0\x03")
#define MD5_QUESTION BYTES_INIT("\0\0\0\x05\1\2\3\4")
#define SASL BYTES_INIT("\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0")

static const struct {
    enum credentials_kind kind;
    const char *text;
    struct span question;
    const char *want; /* NULL: no answer is possible */
} passwords[] = {
    { CREDENTIALS_PASSWORD, "secret", CLEARTEXT, "secret" },
    { CREDENTIALS_PASSWORD, "secret", MD5_QUESTION, "md5b441c8c79190ee049d2b529b74d69aa7" },
    { CREDENTIALS_MD5, MD5, MD5_QUESTION, "md5b441c8c79190ee049d2b529b74d69aa7" },
    { CREDENTIALS_MD5, MD5, CLEARTEXT, NULL },
    { CREDENTIALS_MD5, MD5, SASL, NULL },
    { CREDENTIALS_SCRAM, "", CLEARTEXT, NULL },
    { CREDENTIALS_SCRAM, "", MD5_QUESTION, NULL },
    { CREDENTIALS_NONE, "", CLEARTEXT, NULL },
    { CREDENTIALS_NONE, "", MD5_QUESTION, NULL },
    { CREDENTIALS_NONE, "", SASL, NULL },
    { CREDENTIALS_PASSWORD, "", CLEARTEXT, NULL },
    { CREDENTIALS_PASSWORD, "", MD5_QUESTION, NULL },
    { CREDENTIALS_PASSWORD, "", SASL, NULL },
};

Test(server_auth, P9_each_question_is_answered_with_what_fits_it_or_not_at_all)
{
    for (size_t i = 0; i < sizeof passwords / sizeof *passwords; i++) {
        struct server_auth *a = applicant(passwords[i].kind, passwords[i].text);
        struct buffer out = { 0 }, body = { 0 };
        enum auth_state state = server_auth_message(a, passwords[i].question, &out);
        if (passwords[i].want != NULL) {
            cr_assert_eq(state, AUTH_MORE, "row %zu", i);
            cr_expect_str_eq(take_body(&out, 'p', &body).data, passwords[i].want, "row %zu", i);
            cr_expect_eq(server_auth_message(a, BYTES("\0\0\0\0"), &out), AUTH_OK);
        } else {
            cr_expect_eq(state, AUTH_FAILED, "row %zu", i);
            cr_expect_str_eq(server_auth_fault(a)->sqlstate, "28000");
            cr_expect_null(strstr(server_auth_fault(a)->message, "b52328d"));
        }
        cr_expect_eq(out.size, 0);
        server_auth_free(a);
        buffer_free(&out);
        buffer_free(&body);
    }
}

Test(server_auth, P9_who_has_nothing_says_why)
{
    struct credentials none = { 0 };
    struct server_auth_start start = {
        .user = span_of("m"), .credentials = &none, .why_nothing = ", for a reason", .random = counting
    };
    struct server_auth *a = server_auth_new(&start);
    struct buffer out = { 0 };

    cr_expect_eq(server_auth_message(a, (struct span)SASL, &out), AUTH_FAILED);
    cr_expect_str_eq(server_auth_fault(a)->message,
                     "the upstream asks for SCRAM-SHA-256, but nothing is known of user \"m\", for a reason");
    server_auth_free(a);
    buffer_free(&out);
}

Test(server_auth, P9_what_is_kept_of_a_user_logs_in_unless_it_is_a_verifier)
{
    static const struct {
        const char *kept;
        enum credentials_kind want;
    } rows[] = {
        { "secret", CREDENTIALS_PASSWORD },
        { MD5, CREDENTIALS_MD5 },
        { "SCRAM-SHA-256$4096:c2FsdA==$AAAA:AAAA", CREDENTIALS_NONE },
        { "", CREDENTIALS_NONE },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct credentials c = { 0 };
        credentials_set_secret(&c, span_of(rows[i].kept));
        cr_expect_eq(c.kind, rows[i].want, "row %zu", i);
        credentials_wipe(&c);
    }
}

Test(server_auth, P9_a_server_that_asks_for_nothing_lets_in)
{
    struct server_auth *a = applicant(CREDENTIALS_NONE, "");
    struct buffer out = { 0 };

    cr_expect_eq(server_auth_message(a, BYTES("\0\0\0\0"), &out), AUTH_OK);
    cr_expect_eq(out.size, 0);
    server_auth_free(a);
}

/* --- those that cheat ------------------------------------------------------------------------------ */

/* Up to the client's proof; the nonce that it extends is of sixteen counted bytes. */
static void begin_scram(struct server_auth *a, struct buffer *out)
{
    struct buffer body = { 0 }, question = { 0 };
    cr_assert_eq(server_auth_message(a, (struct span)SASL, out), AUTH_MORE);
    struct span mechanism, response;
    cr_assert(message_read_sasl_initial(take_body(out, 'p', &body), &mechanism, &response));
    cr_expect(span_is(mechanism, "SCRAM-SHA-256"), "-PLUS needs a certificate");
    cr_assert_eq(memcmp(response.data, "n,,n=,r=", 8), 0);
    buffer_append(&question, "\0\0\0\x0br=", 6);
    buffer_append(&question, response.data + 8, response.size - 8);
    buffer_append_text(&question, "theirs,s=AAAA,i=1");
    cr_assert_eq(server_auth_message(a, buffer_span(&question), out), AUTH_MORE);
    take_body(out, 'p', &body);
    buffer_free(&body);
    buffer_free(&question);
}

Test(server_auth, P9_Ok_in_the_middle_of_SCRAM_is_a_lie)
{
    struct buffer out = { 0 };
    struct server_auth *a = applicant(CREDENTIALS_PASSWORD, "secret");

    server_auth_message(a, (struct span)SASL, &out);
    cr_expect_eq(server_auth_message(a, BYTES("\0\0\0\0"), &out), AUTH_FAILED);
    cr_expect_str_eq(server_auth_fault(a)->sqlstate, "08P01");
    server_auth_free(a);

    buffer_clear(&out);
    a = applicant(CREDENTIALS_PASSWORD, "secret");
    begin_scram(a, &out);
    cr_expect_eq(server_auth_message(a, BYTES("\0\0\0\0"), &out), AUTH_FAILED);
    cr_expect_not_null(strstr(server_auth_fault(a)->message, "without proof"));
    server_auth_free(a);
    buffer_free(&out);
}

Test(server_auth, P9_a_wrong_signature_is_refused)
{
    struct buffer out = { 0 };
    struct server_auth *a = applicant(CREDENTIALS_PASSWORD, "secret");

    begin_scram(a, &out);
    cr_expect_eq(server_auth_message(a, BYTES("\0\0\0\x0cv=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), &out),
                 AUTH_FAILED);
    cr_expect_str_eq(server_auth_fault(a)->sqlstate, "28000");
    server_auth_free(a);
    buffer_free(&out);
}

Test(server_auth, P9_a_password_is_not_given_away_to_a_server_that_has_begun_SCRAM)
{
    static const struct span questions[] = { CLEARTEXT, MD5_QUESTION, SASL };

    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) {
        struct buffer out = { 0 };
        struct server_auth *a = applicant(CREDENTIALS_PASSWORD, "secret");
        begin_scram(a, &out);
        cr_expect_eq(server_auth_message(a, questions[i], &out), AUTH_FAILED, "question %zu", i);
        cr_expect_eq(out.size, 0);
        server_auth_free(a);
        buffer_free(&out);
    }
}

static const struct {
    const char *name;
    struct span question;
    const char *sqlstate;
} strange[] = {
    { "nothing", BYTES_INIT(""), "08P01" },
    { "half a number", BYTES_INIT("\0\0"), "08P01" },
    { "a salt of three bytes", BYTES_INIT("\0\0\0\x05\1\2\3"), "08P01" },
    { "a salt of five bytes", BYTES_INIT("\0\0\0\x05\1\2\3\4\5"), "08P01" },
    { "GSSAPI", BYTES_INIT("\0\0\0\x07"), "28000" },
    { "SSPI", BYTES_INIT("\0\0\0\x09"), "28000" },
    { "the future", BYTES_INIT("\0\0\x01\0"), "28000" },
    { "a gap in the numbers", BYTES_INIT("\0\0\0\x01"), "28000" },
    { "no mechanism", BYTES_INIT("\0\0\0\x0a\0"), "28000" },
    { "an endless name", BYTES_INIT("\0\0\0\x0aSCRAM-SHA-256"), "28000" },
    { "other mechanisms", BYTES_INIT("\0\0\0\x0aOAUTHBEARER\0PLAIN\0\0"), "28000" },
    { "PLUS alone, without TLS", BYTES_INIT("\0\0\0\x0aSCRAM-SHA-256-PLUS\0\0"), "28000" },
    { "a continuation of nothing", BYTES_INIT("\0\0\0\x0br=abc,s=AAAA,i=1"), "08P01" },
    { "an end of nothing", BYTES_INIT("\0\0\0\x0cv=AAAA"), "08P01" },
};

Test(server_auth, P9_what_cannot_be_answered_is_a_clear_error)
{
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        struct buffer out = { 0 };
        struct span question = bytes_exact(strange[i].question);
        struct server_auth *a = applicant(CREDENTIALS_PASSWORD, "secret");
        cr_expect_eq(server_auth_message(a, question, &out), AUTH_FAILED, "%s", strange[i].name);
        cr_expect_str_eq(server_auth_fault(a)->sqlstate, strange[i].sqlstate, "%s", strange[i].name);
        cr_expect_neq(server_auth_fault(a)->message[0], '\0');
        cr_expect_eq(out.size, 0);
        server_auth_free(a);
        bytes_free(question);
    }
}

Test(server_auth, P9_where_binding_is_required_nothing_else_will_do)
{
    static const struct {
        const char *name, *hash;
        struct span question;
        enum auth_state want;
    } rows[] = {
        { "-PLUS", "0123456789abcdef", SASL, AUTH_MORE },
        { "without TLS", "", SASL, AUTH_FAILED },
        { "without an offer", "0123456789abcdef", BYTES_INIT("\0\0\0\x0aSCRAM-SHA-256\0\0"), AUTH_FAILED },
        { "md5", "0123456789abcdef", MD5_QUESTION, AUTH_FAILED },
        { "clear text", "0123456789abcdef", CLEARTEXT, AUTH_FAILED },
        { "nothing", "0123456789abcdef", BYTES_INIT("\0\0\0\0"), AUTH_FAILED },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct credentials password = { 0 };
        struct buffer out = { 0 };
        credentials_set_text(&password, CREDENTIALS_PASSWORD, span_of("secret"));
        struct server_auth_start start = { .user = span_of("m"),
                                           .credentials = &password,
                                           .certificate_hash = span_of(rows[i].hash),
                                           .binding_required = true,
                                           .random = counting };
        struct server_auth *a = server_auth_new(&start);
        cr_expect_eq(server_auth_message(a, rows[i].question, &out), rows[i].want, "%s", rows[i].name);
        cr_expect_eq(out.size > 0, rows[i].want == AUTH_MORE, "%s", rows[i].name);
        server_auth_free(a);
        credentials_wipe(&password);
        buffer_free(&out);
    }
}

/* --- credentials ----------------------------------------------------------------------------------- */

Test(server_auth, P9_keys_taken_from_a_clients_login_log_into_the_upstream)
{
    char *verifier = verifier_of("secret");
    struct client_auth_start start = start_of(AUTH_SCRAM_SHA_256, "m", verifier);
    struct credentials password = { 0 }, taken = { 0 };
    credentials_set_text(&password, CREDENTIALS_PASSWORD, span_of("secret"));

    struct login first = login_of(&start, &password, "");
    cr_assert_eq(first.client, AUTH_OK);
    credentials_copy(&taken, client_auth_credentials(first.judge));
    login_end(&first);
    struct login second = login_of(&start, &taken, "");
    cr_expect_eq(second.client, AUTH_OK);
    cr_expect_eq(second.server, AUTH_OK);
    cr_expect(credentials_equal(client_auth_credentials(second.judge), &taken));
    login_end(&second);
    credentials_wipe(&password);
    credentials_wipe(&taken);
    free(verifier);
}

Test(server_auth, P9_credentials_are_equal_when_they_log_in_the_same)
{
    struct credentials a = { 0 }, b = { 0 }, none = { 0 }, md5 = { 0 };
    credentials_set_text(&a, CREDENTIALS_PASSWORD, span_of("secret"));
    credentials_set_text(&md5, CREDENTIALS_MD5, span_of("secret"));

    credentials_copy(&b, &a);
    cr_expect(credentials_equal(&a, &b));
    cr_expect(!credentials_equal(&a, &md5));
    cr_expect(!credentials_equal(&a, &none));
    cr_expect(credentials_equal(&none, &none));
    credentials_wipe(&b);
    cr_expect(credentials_equal(&b, &none));
    credentials_set_text(&b, CREDENTIALS_PASSWORD, span_of("secre"));
    cr_expect(!credentials_equal(&a, &b));
    credentials_wipe(&a);
    credentials_wipe(&b);
    credentials_wipe(&md5);
}
