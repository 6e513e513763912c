/* Both sides of SCRAM: the vectors of RFC 7677, an exchange with PostgreSQL 15, each other, and peers that cheat. */
#include <criterion/criterion.h>

#include "protocol/scram_client.h"
#include "protocol/scram_server.h"
#include "protocol/scram_text.h"
#include "tests/unit/bytes.h"

#define HASH "0123456789abcdef0123456789abcdef" /* of a certificate */

static void expect_text(const struct buffer *b, const char *want)
{
    cr_expect(span_is(buffer_span(b), want), "%.*s\n is not\n%s", (int)b->size, b->data, want);
}

static void make_verifier(struct scram_verifier *v, const char *password, const char *salt_base64, uint32_t iterations)
{
    unsigned char salt[SCRAM_SALT_MOST];
    size_t size;
    cr_assert(scram_decode(span_of(salt_base64), salt, sizeof salt, &size));
    scram_verifier_make(v, span_of(password), span_make((const char *)salt, size), iterations);
}

/* --- RFC 7677, section 3 -------------------------------------------------------------------------- */

#define RFC_NONCE "rOprNGfwEbeRWgbNEkqO"
#define RFC_BOTH RFC_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define RFC_PROOF "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define RFC_CLIENT_FIRST "n,,n=user,r=" RFC_NONCE
#define RFC_CLIENT_FINAL "c=biws,r=" RFC_BOTH ",p=" RFC_PROOF

struct server {
    struct scram_server scram;
    struct buffer first, final; /* what it says */
};

static void start_server(struct server *s, bool doomed, const char *hash)
{
    struct scram_verifier v;
    *s = (struct server){ 0 };
    make_verifier(&v, "pencil", "W22ZaJ0SNY7soEsUEjb6gQ==", 4096);
    scram_server_init(&s->scram, &v, doomed, span_of(hash));
}

static enum scram_result server_first(struct server *s, bool plus, struct span message)
{
    return scram_server_first(&s->scram, plus, message, span_of("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"), &s->first);
}

static enum scram_result server_final(struct server *s, struct span message)
{
    return scram_server_final(&s->scram, message, &s->final);
}

static void stop_server(struct server *s)
{
    scram_server_reset(&s->scram);
    buffer_free(&s->first);
    buffer_free(&s->final);
}

Test(scram_exchange, P9_the_server_answers_as_rfc_7677_does)
{
    struct server s;

    start_server(&s, false, "");
    cr_assert_eq(server_first(&s, false, span_of(RFC_CLIENT_FIRST)), SCRAM_MORE);
    expect_text(&s.first, "r=" RFC_BOTH ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    cr_assert_eq(server_final(&s, span_of(RFC_CLIENT_FINAL)), SCRAM_DONE);
    expect_text(&s.final, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    stop_server(&s);
}

Test(scram_exchange, P9_who_is_doomed_is_asked_the_same_and_denied_with_the_right_password)
{
    struct server s;

    start_server(&s, true, "");
    cr_assert_eq(server_first(&s, false, span_of(RFC_CLIENT_FIRST)), SCRAM_MORE);
    expect_text(&s.first, "r=" RFC_BOTH ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    cr_expect_eq(server_final(&s, span_of(RFC_CLIENT_FINAL)), SCRAM_DENIED);
    cr_expect_eq(s.final.size, 0);
    stop_server(&s);
}

static const struct {
    const char *message;
    enum scram_result want;
    const char *sqlstate;
} firsts[] = {
    { "n,,n=,r=abc", SCRAM_MORE, "" },
    { "n,,n=user,r=abc,x=extension,y=another", SCRAM_MORE, "" },
    { "y,,n=,r=abc", SCRAM_MORE, "" },
    { "", SCRAM_BAD, "08P01" },
    { "n", SCRAM_BAD, "08P01" },
    { "n,", SCRAM_BAD, "08P01" },
    { "n,,", SCRAM_BAD, "08P01" },
    { ",,n=,r=abc", SCRAM_BAD, "08P01" },
    { "x,,n=,r=abc", SCRAM_BAD, "08P01" },
    { "nn,,n=,r=abc", SCRAM_BAD, "08P01" },
    { "n,n=,r=abc", SCRAM_BAD, "08P01" },
    { "n,a=zoe,n=,r=abc", SCRAM_BAD, "0A000" },
    { "n,,m=must,n=,r=abc", SCRAM_BAD, "0A000" },
    { "n,,r=abc,n=", SCRAM_BAD, "08P01" },
    { "n,,r=abc", SCRAM_BAD, "08P01" },
    { "n,,n=", SCRAM_BAD, "08P01" },
    { "n,,n=,r=", SCRAM_BAD, "08P01" },
    { "n,,n=,r=a c", SCRAM_BAD, "08P01" },
    { "n,,n=,r=a\tc", SCRAM_BAD, "08P01" },
    { "n,,n=,r=a\xc3\xa9", SCRAM_BAD, "08P01" },
    { "n,,n=,r=abc,", SCRAM_BAD, "08P01" },
    { "n,,n=,r=abc,,x=1", SCRAM_BAD, "08P01" },
    { "n,,n=,r=abc,x", SCRAM_BAD, "08P01" },
    { "n,,n=,n=,r=abc", SCRAM_BAD, "08P01" },
    { "n,,n=,r=abc,r=def", SCRAM_BAD, "08P01" },
    { "n,,n=,r=abc,n=zoe", SCRAM_BAD, "08P01" },
    { "n,,n=,r=abc,1=digit", SCRAM_BAD, "08P01" },
    { "p=tls-server-end-point,,n=,r=abc", SCRAM_BAD, "08P01" },
    { "p=,,n=,r=abc", SCRAM_BAD, "08P01" },
    { "p,,n=,r=abc", SCRAM_BAD, "08P01" },
};

Test(scram_exchange, P9_missing_and_repeated_attributes_of_a_clients_first_message_are_refused)
{
    for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++) {
        struct server s;
        struct span message = bytes_exact(span_of(firsts[i].message));
        start_server(&s, false, "");
        cr_expect_eq(server_first(&s, false, message), firsts[i].want, "%s", firsts[i].message);
        if (firsts[i].want == SCRAM_BAD) {
            cr_expect_str_eq(s.scram.fault.sqlstate, firsts[i].sqlstate, "%s", firsts[i].message);
            cr_expect_eq(s.first.size, 0);
        }
        stop_server(&s);
        bytes_free(message);
    }
}

#define LONG_100 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

Test(scram_exchange, P9_a_message_that_is_too_long_or_has_a_NUL_is_refused)
{
    struct server s;
    struct buffer message = { 0 };

    buffer_append_text(&message, "n,,n=,r=abc");
    for (int i = 0; i < 11; i++)
        buffer_append_text(&message, LONG_100);
    start_server(&s, false, "");
    cr_expect_eq(server_first(&s, false, buffer_span(&message)), SCRAM_BAD);
    cr_expect_eq(server_first(&s, false, span_make(message.data, SCRAM_MESSAGE_MOST + 1)), SCRAM_BAD);
    cr_expect_eq(server_first(&s, false, BYTES("n,,n=,r=abc\0def")), SCRAM_BAD);
    cr_expect_eq(server_first(&s, false, span_make(message.data, SCRAM_MESSAGE_MOST)), SCRAM_MORE);
    buffer_free(&message);
    stop_server(&s);
}

static const struct {
    const char *message;
    enum scram_result want;
} finals[] = {
    { RFC_CLIENT_FINAL, SCRAM_DONE },
    { "c=biws,r=" RFC_BOTH ",x=extension,p=" RFC_PROOF, SCRAM_DENIED }, /* it is part of what the proof signs */
    { "c=biws,r=" RFC_BOTH ",p=AHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", SCRAM_DENIED },
    { "c=biws,r=" RFC_BOTH, SCRAM_BAD },
    { "c=biws,p=" RFC_PROOF, SCRAM_BAD },
    { "r=" RFC_BOTH ",p=" RFC_PROOF, SCRAM_BAD },
    { "c=biws,r=" RFC_BOTH ",r=" RFC_BOTH ",p=" RFC_PROOF, SCRAM_BAD },
    { "c=biws,r=" RFC_BOTH ",p=" RFC_PROOF ",p=" RFC_PROOF, SCRAM_BAD },
    { "c=biws,r=" RFC_BOTH ",p=" RFC_PROOF ",x=behind", SCRAM_BAD },
    { "c=biws,r=" RFC_BOTH ",p=", SCRAM_BAD },
    { "c=biws,r=" RFC_BOTH ",p=AAAA", SCRAM_BAD },
    { "c=biws,r=" RFC_BOTH ",p=" RFC_PROOF "AAAA", SCRAM_BAD },
    { "c=biws,r=" RFC_BOTH ",p=!!!!", SCRAM_BAD },
    { "c=biws,r=" RFC_NONCE ",p=" RFC_PROOF, SCRAM_BAD },
    { "c=biws,r=" RFC_BOTH "x,p=" RFC_PROOF, SCRAM_BAD },
    { "c=biws,r=,p=" RFC_PROOF, SCRAM_BAD },
    { "c=eSws,r=" RFC_BOTH ",p=" RFC_PROOF, SCRAM_BAD },
    { "c=,r=" RFC_BOTH ",p=" RFC_PROOF, SCRAM_BAD },
    { "", SCRAM_BAD },
};

Test(scram_exchange, P9_a_final_message_is_whole_and_repeats_what_was_said)
{
    for (size_t i = 0; i < sizeof finals / sizeof *finals; i++) {
        struct server s;
        struct span message = bytes_exact(span_of(finals[i].message));
        start_server(&s, false, "");
        cr_assert_eq(server_first(&s, false, span_of(RFC_CLIENT_FIRST)), SCRAM_MORE);
        cr_expect_eq(server_final(&s, message), finals[i].want, "%s", finals[i].message);
        cr_expect_eq(s.final.size > 0, finals[i].want == SCRAM_DONE);
        stop_server(&s);
        bytes_free(message);
    }
}

Test(scram_exchange, P9_no_cut_of_a_final_message_lets_anybody_in)
{
    for (size_t cut = 0; cut < strlen(RFC_CLIENT_FINAL); cut++) {
        struct server s;
        struct span message = bytes_exact(span_make(RFC_CLIENT_FINAL, cut));
        start_server(&s, false, "");
        server_first(&s, false, span_of(RFC_CLIENT_FIRST));
        cr_expect_eq(server_final(&s, message), SCRAM_BAD, "cut at %zu", cut);
        stop_server(&s);
        bytes_free(message);
    }
}

/* --- channel binding ------------------------------------------------------------------------------ */

Test(scram_exchange, P9_y_in_answer_to_an_offer_of_PLUS_is_a_downgrade_and_refused)
{
    struct server s;

    start_server(&s, false, HASH);
    cr_expect_eq(server_first(&s, false, span_of("y,,n=,r=abc")), SCRAM_BAD);
    cr_expect_str_eq(s.scram.fault.sqlstate, "28000");
    cr_expect_str_eq(s.scram.fault.message, "SCRAM channel binding negotiation error");
    stop_server(&s);
}

Test(scram_exchange, P9_n_in_answer_to_an_offer_of_PLUS_is_a_client_that_cannot_bind)
{
    struct server s;

    start_server(&s, false, HASH);
    cr_expect_eq(server_first(&s, false, span_of(RFC_CLIENT_FIRST)), SCRAM_MORE);
    cr_expect_eq(server_final(&s, span_of(RFC_CLIENT_FINAL)), SCRAM_DONE);
    stop_server(&s);
}

Test(scram_exchange, P9_the_mechanism_and_the_binding_flag_have_to_agree)
{
    static const struct {
        bool plus;
        const char *hash, *message;
        enum scram_result want;
    } rows[] = {
        { true, HASH, "p=tls-server-end-point,,n=,r=abc", SCRAM_MORE },
        { true, HASH, "n,,n=,r=abc", SCRAM_BAD },
        { true, HASH, "y,,n=,r=abc", SCRAM_BAD },
        { true, HASH, "p=tls-unique,,n=,r=abc", SCRAM_BAD },
        { true, HASH, "p=tls-server-end-poin,,n=,r=abc", SCRAM_BAD },
        { false, HASH, "p=tls-server-end-point,,n=,r=abc", SCRAM_BAD },
        { true, "", "p=tls-server-end-point,,n=,r=abc", SCRAM_BAD },
        { false, "", "y,,n=,r=abc", SCRAM_MORE },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct server s;
        start_server(&s, false, rows[i].hash);
        cr_expect_eq(server_first(&s, rows[i].plus, span_of(rows[i].message)), rows[i].want, "row %zu", i);
        stop_server(&s);
    }
}

/* --- the client's side, against PostgreSQL 15 ------------------------------------------------------ */

#define PG_NONCE "bNjVhS+QzTxUjYxOmKLmCzAh"
#define PG_BOTH PG_NONCE "hBF/1wz853rxHdEWVTacwUPE"
#define PG_SALT "0XCGHWNOUlgYzuj6d2NpxQ=="
#define PG_SERVER_FIRST "r=" PG_BOTH ",s=" PG_SALT ",i=4096"
#define PG_CLIENT_FINAL "c=biws,r=" PG_BOTH ",p=J8JrNsAshUoej8bmrgCU9X9uUEMQga3SV943qyuG4pk="
#define PG_SERVER_FINAL "v=04G4a5HF5cU6Igd/wwxdvvyPiqcZWO8wVGgOitDNVZY="

struct client {
    struct scram_client scram;
    struct buffer first, final; /* what it says */
};

static void start_client(struct client *c, enum scram_channel channel)
{
    *c = (struct client){ 0 };
    scram_client_init(&c->scram, channel, channel == SCRAM_BOUND ? span_of(HASH) : span_of(""));
    scram_client_first(&c->scram, span_of(PG_NONCE), &c->first);
}

static enum scram_result client_final(struct client *c, struct span server_first, const char *password)
{
    struct scram_login login = { .password = span_of(password) };
    return scram_client_final(&c->scram, server_first, &login, &c->final);
}

static void stop_client(struct client *c)
{
    scram_client_reset(&c->scram);
    buffer_free(&c->first);
    buffer_free(&c->final);
}

Test(scram_exchange, P9_the_client_says_what_postgresql_takes_and_knows_its_signature)
{
    struct client c;

    start_client(&c, SCRAM_UNBOUND);
    expect_text(&c.first, "n,,n=,r=" PG_NONCE);
    cr_assert_eq(client_final(&c, span_of(PG_SERVER_FIRST), "app-secret"), SCRAM_MORE);
    expect_text(&c.final, PG_CLIENT_FINAL);
    cr_expect_eq(scram_client_verify(&c.scram, span_of(PG_SERVER_FINAL)), SCRAM_DONE);
    stop_client(&c);
}

static const struct {
    const char *message;
    enum scram_result want;
} server_firsts[] = {
    { "r=" PG_BOTH ",s=AAAA,i=1", SCRAM_MORE },
    { "r=" PG_BOTH ",s=AAAA,i=1,x=extension", SCRAM_MORE },
    { "r=" PG_NONCE ",s=AAAA,i=1", SCRAM_BAD }, /* nothing of its own */
    { "r=x" PG_BOTH ",s=AAAA,i=1", SCRAM_BAD },
    { "r=bNjVhS+QzTxUjYxOmKLmCzA,s=AAAA,i=1", SCRAM_BAD },
    { "r=aNjVhS+QzTxUjYxOmKLmCzAhXXXX,s=AAAA,i=1", SCRAM_BAD },
    { "r=" PG_BOTH " ,s=AAAA,i=1", SCRAM_BAD },
    { "r=,s=AAAA,i=1", SCRAM_BAD },
    { "s=AAAA,i=1", SCRAM_BAD },
    { "r=" PG_BOTH ",i=1", SCRAM_BAD },
    { "r=" PG_BOTH ",s=AAAA", SCRAM_BAD },
    { "r=" PG_BOTH ",s=,i=1", SCRAM_BAD },
    { "r=" PG_BOTH ",s=AAA,i=1", SCRAM_BAD },
    { "r=" PG_BOTH ",s=AAAA,i=", SCRAM_BAD },
    { "r=" PG_BOTH ",s=AAAA,i=0", SCRAM_BAD },
    { "r=" PG_BOTH ",s=AAAA,i=-1", SCRAM_BAD },
    { "r=" PG_BOTH ",s=AAAA,i=+1", SCRAM_BAD },
    { "r=" PG_BOTH ",s=AAAA,i=1x", SCRAM_BAD },
    { "r=" PG_BOTH ",s=AAAA,i=1000001", SCRAM_BAD },
    { "r=" PG_BOTH ",s=AAAA,i=2147483647", SCRAM_BAD },
    { "r=" PG_BOTH ",s=AAAA,i=4294967297", SCRAM_BAD }, /* 1, in 32 bits */
    { "r=" PG_BOTH ",s=AAAA,i=18446744073709551617", SCRAM_BAD },
    { "r=" PG_BOTH ",s=AAAA,i=1,i=2", SCRAM_BAD },
    { "r=" PG_BOTH ",s=AAAA,s=BBBB,i=1", SCRAM_BAD },
    { "m=must,r=" PG_BOTH ",s=AAAA,i=1", SCRAM_BAD },
    { "r=" PG_BOTH ",s=AAAA,i=1,", SCRAM_BAD },
    { "e=other-error", SCRAM_BAD },
    { "", SCRAM_BAD },
};

Test(scram_exchange, P9_a_servers_nonce_extends_ours_and_its_iterations_are_bounded)
{
    for (size_t i = 0; i < sizeof server_firsts / sizeof *server_firsts; i++) {
        struct client c;
        struct span message = bytes_exact(span_of(server_firsts[i].message));
        start_client(&c, SCRAM_UNBOUND);
        cr_expect_eq(client_final(&c, message, "app-secret"), server_firsts[i].want, "%s", server_firsts[i].message);
        cr_expect_eq(c.final.size > 0, server_firsts[i].want == SCRAM_MORE);
        stop_client(&c);
        bytes_free(message);
    }
}

Test(scram_exchange, P9_a_server_without_the_right_signature_is_not_believed)
{
    static const struct {
        const char *message;
        enum scram_result want;
    } rows[] = {
        { PG_SERVER_FINAL, SCRAM_DONE },
        { PG_SERVER_FINAL ",x=extension", SCRAM_DONE },
        { "v=14G4a5HF5cU6Igd/wwxdvvyPiqcZWO8wVGgOitDNVZY=", SCRAM_DENIED },
        { "v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", SCRAM_DENIED },
        { "e=invalid-proof", SCRAM_DENIED },
        { "v=", SCRAM_BAD },
        { "v=AAAA", SCRAM_BAD },
        { PG_SERVER_FINAL ",v=AAAA", SCRAM_BAD },
        { PG_SERVER_FINAL ",", SCRAM_BAD },
        { "x=1," PG_SERVER_FINAL, SCRAM_BAD },
        { "", SCRAM_BAD },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct client c;
        start_client(&c, SCRAM_UNBOUND);
        client_final(&c, span_of(PG_SERVER_FIRST), "app-secret");
        cr_expect_eq(scram_client_verify(&c.scram, span_of(rows[i].message)), rows[i].want, "%s", rows[i].message);
        stop_client(&c);
    }
}

/* --- one side against the other -------------------------------------------------------------------- */

struct outcome {
    enum scram_result server, client;
    struct scram_keys keys; /* that the server has taken from the client */
};

/* A whole exchange of a server that keeps `verifier` with a client. */
static struct outcome exchange(const struct scram_verifier *verifier, const struct scram_login *login,
                               enum scram_channel channel, const char *hash)
{
    struct scram_server server;
    struct client c;
    struct buffer first = { 0 }, final = { 0 };
    struct outcome out = { SCRAM_BAD, SCRAM_BAD, { { 0 }, { 0 } } };

    scram_server_init(&server, verifier, false, span_of(hash));
    start_client(&c, channel);
    cr_assert_eq(scram_server_first(&server, channel == SCRAM_BOUND, buffer_span(&c.first), span_of("ours"), &first),
                 SCRAM_MORE);
    cr_assert_eq(scram_client_final(&c.scram, buffer_span(&first), login, &c.final), SCRAM_MORE);
    out.server = scram_server_final(&server, buffer_span(&c.final), &final);
    if (out.server == SCRAM_DONE)
        out.client = scram_client_verify(&c.scram, buffer_span(&final));
    out.keys = server.keys;
    stop_client(&c);
    scram_server_reset(&server);
    buffer_free(&first);
    buffer_free(&final);
    return out;
}

Test(scram_exchange, P9_both_sides_agree_bound_or_not_and_deny_the_wrong_password)
{
    static const struct {
        const char *password;
        enum scram_channel channel;
        const char *hash;
        enum scram_result server, client;
    } rows[] = {
        { "secret", SCRAM_UNBOUND, "", SCRAM_DONE, SCRAM_DONE },
        { "secret", SCRAM_NOT_OFFERED, "", SCRAM_DONE, SCRAM_DONE },
        { "secret", SCRAM_BOUND, HASH, SCRAM_DONE, SCRAM_DONE },
        { "secret", SCRAM_BOUND, "another certificate, of someone who stands between", SCRAM_BAD, SCRAM_BAD },
        { "Secret", SCRAM_UNBOUND, "", SCRAM_DENIED, SCRAM_BAD },
        { "Secret", SCRAM_BOUND, HASH, SCRAM_DENIED, SCRAM_BAD },
        { "", SCRAM_UNBOUND, "", SCRAM_DENIED, SCRAM_BAD },
    };
    struct scram_verifier v;

    make_verifier(&v, "secret", PG_SALT, 10);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct scram_login login = { .password = span_of(rows[i].password) };
        struct outcome out = exchange(&v, &login, rows[i].channel, rows[i].hash);
        cr_expect_eq(out.server, rows[i].server, "row %zu", i);
        cr_expect_eq(out.client, rows[i].client, "row %zu", i);
    }
}

Test(scram_exchange, P9_keys_taken_from_a_client_log_into_a_server_with_the_same_verifier)
{
    struct scram_verifier v, other;
    struct scram_login login = { .password = span_of("secret") };

    make_verifier(&v, "secret", PG_SALT, 10);
    make_verifier(&other, "secret", "AAAA", 10);
    struct scram_keys keys = exchange(&v, &login, SCRAM_UNBOUND, "").keys;
    login = (struct scram_login){ .keys = &keys };
    struct outcome out = exchange(&v, &login, SCRAM_BOUND, HASH);
    cr_expect_eq(out.server, SCRAM_DONE);
    cr_expect_eq(out.client, SCRAM_DONE);
    cr_expect_eq(exchange(&other, &login, SCRAM_UNBOUND, "").server, SCRAM_DENIED);
}

Test(scram_exchange, P9_a_failed_exchange_gives_no_keys)
{
    struct scram_verifier v;
    struct scram_login login = { .password = span_of("wrong") };
    static const struct scram_keys none;

    make_verifier(&v, "secret", PG_SALT, 10);
    struct outcome out = exchange(&v, &login, SCRAM_UNBOUND, "");
    cr_expect_eq(memcmp(&out.keys, &none, sizeof none), 0);
}
