/* What tests of logins share: random numbers that are none, verifiers, and both machines talking to each other. */
#ifndef TESTS_UNIT_WITH_AUTH_H
#define TESTS_UNIT_WITH_AUTH_H

#include <criterion/criterion.h>

#include "protocol/message.h"
#include "proxy/auth/client_auth.h"
#include "proxy/auth/server_auth.h"

static inline void fill_counting(void *context, void *to, size_t size)
{
    unsigned char *count = context;
    for (size_t i = 0; i < size; i++)
        ((unsigned char *)to)[i] = (*count)++;
}

static unsigned char counter;
static const struct auth_random counting = { fill_counting, &counter };

/* The text of a verifier for `password`; cheap. To be freed. */
static inline char *verifier_of(const char *password)
{
    struct scram_verifier v;
    struct buffer text = { 0 };
    scram_verifier_make(&v, span_of(password), span_of("salt"), 2);
    scram_verifier_print(&v, &text);
    buffer_append_u8(&text, '\0');
    return text.data;
}

/* The next message of `b`, which is taken from it; its body has to be copied by then. */
static inline struct span take_body(struct buffer *b, char type, struct buffer *keep)
{
    cr_assert_geq(b->size, 5);
    cr_assert_eq(b->data[0], type, "%c", b->data[0]);
    size_t size = wire_get_u32(b->data + 1);
    cr_assert_leq(size + 1, b->size);
    buffer_clear(keep);
    buffer_append(keep, b->data + 5, size - 4);
    buffer_consume(b, size + 1);
    return buffer_span(keep);
}

static inline struct client_auth_start start_of(enum auth_method method, const char *user, const char *secret)
{
    return (struct client_auth_start){ .method = method,
                                       .user = span_of(user),
                                       .secret = secret,
                                       .mock_key = span_of("0123456789abcdef"),
                                       .random = counting };
}

struct login {
    enum auth_state client, server; /* how the client was judged; how the server was */
    uint32_t asked;                 /* the first question */
    struct client_auth *judge;
    struct server_auth *applicant;
};

static inline void add_ok(struct buffer *b)
{
    message_add_authentication(b, AUTHENTICATION_OK, (struct span){ 0 });
}

/* A whole login. To be ended with login_end(). */
static inline struct login login_of(const struct client_auth_start *start, const struct credentials *credentials,
                                    const char *certificate_hash)
{
    struct server_auth_start s = { .user = start->user,
                                   .credentials = credentials,
                                   .random = counting,
                                   .certificate_hash = span_of(certificate_hash) };
    struct login l = {
        .server = AUTH_MORE, .asked = UINT32_MAX, .judge = client_auth_new(start), .applicant = server_auth_new(&s)
    };
    struct buffer questions = { 0 }, answers = { 0 }, body = { 0 };
    l.client = client_auth_begin(l.judge, &questions);
    if (l.client == AUTH_OK)
        add_ok(&questions);
    while (questions.size > 0 && l.server == AUTH_MORE) {
        struct span question = take_body(&questions, 'R', &body);
        if (l.asked == UINT32_MAX)
            l.asked = wire_get_u32(question.data);
        l.server = server_auth_message(l.applicant, question, &answers);
        if (answers.size > 0)
            l.client = client_auth_answer(l.judge, take_body(&answers, 'p', &body), &questions);
        if (l.client == AUTH_OK && questions.size == 0)
            add_ok(&questions);
    }
    buffer_free(&questions);
    buffer_free(&answers);
    buffer_free(&body);
    return l;
}

static inline void login_end(struct login *l)
{
    client_auth_free(l->judge);
    server_auth_free(l->applicant);
}

#endif
