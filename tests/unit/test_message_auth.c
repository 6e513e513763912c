/* The messages of a login. */
#include <criterion/criterion.h>

#include "protocol/message.h"
#include "tests/unit/bytes.h"

static void expect_bytes(struct buffer *b, struct span want)
{
    cr_expect(span_equal(buffer_span(b), want));
    buffer_free(b);
}

Test(message_auth, P9_messages_of_a_login_are_built_as_the_protocol_says)
{
    struct buffer b = { 0 };

    message_add_authentication(&b, AUTHENTICATION_OK, span_of(""));
    expect_bytes(&b, BYTES("R\0\0\0\x08\0\0\0\0"));
    message_add_authentication(&b, AUTHENTICATION_MD5, span_of("salt"));
    expect_bytes(&b, BYTES("R\0\0\0\x0c\0\0\0\x05salt"));
    message_add_password(&b, span_of("secret"));
    expect_bytes(&b, BYTES("p\0\0\0\x0bsecret\0"));
    message_add_sasl_initial(&b, span_of("SCRAM-SHA-256"), span_of("n,,"));
    expect_bytes(&b, BYTES("p\0\0\0\x19SCRAM-SHA-256\0\0\0\0\x03n,,"));
    message_add_sasl_response(&b, span_of("c=biws"));
    expect_bytes(&b, BYTES("p\0\0\0\x0a"
                           "c=biws"));
}

Test(message_auth, P9_a_question_is_a_kind_and_what_belongs_to_it)
{
    uint32_t kind;
    struct span rest;

    cr_assert(message_read_authentication(BYTES("\0\0\0\x05salt"), &kind, &rest));
    cr_expect_eq(kind, AUTHENTICATION_MD5);
    cr_expect(span_is(rest, "salt"));
    for (size_t cut = 0; cut < 4; cut++) {
        struct span s = bytes_exact(span_make("\0\0\0\x05", cut));
        cr_expect(!message_read_authentication(s, &kind, &rest));
        bytes_free(s);
    }
}

/* The names of a list, joined by spaces; what is damaged ends it. */
static void expect_mechanisms(struct span list, const char *want)
{
    struct span exact = bytes_exact(list), name;
    struct buffer names = { 0 };
    for (size_t at = 0; message_next_mechanism(exact, &at, &name);) {
        buffer_append_span(&names, name);
        buffer_append_text(&names, " ");
    }
    cr_expect(span_is(buffer_span(&names), want), "%s", want);
    buffer_free(&names);
    bytes_free(exact);
}

Test(message_auth, P9_mechanisms_are_walked_to_the_empty_name)
{
    expect_mechanisms(BYTES("SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"), "SCRAM-SHA-256-PLUS SCRAM-SHA-256 ");
    expect_mechanisms(BYTES("A\0\0B\0"), "A ");
    expect_mechanisms(BYTES("A\0B"), "A ");
    expect_mechanisms(BYTES("A"), "");
    expect_mechanisms(BYTES("\0"), "");
    expect_mechanisms(BYTES(""), "");
}

Test(message_auth, P9_a_password_message_is_one_whole_string)
{
    struct span password;

    cr_assert(message_read_password(BYTES("secret\0"), &password));
    cr_expect(span_is(password, "secret"));
    cr_expect(message_read_password(BYTES("\0"), &password));
    cr_expect(!message_read_password(BYTES("secret"), &password));
    cr_expect(!message_read_password(BYTES("secret\0x"), &password));
    cr_expect(!message_read_password(BYTES(""), &password));
}

Test(message_auth, P9_an_initial_response_has_the_length_that_it_says)
{
    static const char whole[] = "SCRAM-SHA-256\0\0\0\0\x03n,,";
    struct span mechanism, response;

    cr_assert(message_read_sasl_initial(span_make(whole, sizeof whole - 1), &mechanism, &response));
    cr_expect(span_is(mechanism, "SCRAM-SHA-256"));
    cr_expect(span_is(response, "n,,"));
    for (size_t cut = 0; cut < sizeof whole - 1; cut++) {
        struct span s = bytes_exact(span_make(whole, cut));
        cr_expect(!message_read_sasl_initial(s, &mechanism, &response), "cut at %zu", cut);
        bytes_free(s);
    }
    cr_expect(!message_read_sasl_initial(BYTES("A\0\0\0\0\x01xy"), &mechanism, &response));
    cr_expect(!message_read_sasl_initial(BYTES("A\0\xff\xff\xff\xff"), &mechanism, &response), "no response at all");
    cr_expect(!message_read_sasl_initial(BYTES("A\0\x80\0\0\x03xyz"), &mechanism, &response), "below zero");
    cr_expect(!message_read_sasl_initial(BYTES("A\0\x7f\xff\xff\xffxyz"), &mechanism, &response), "two gigabytes");
}
