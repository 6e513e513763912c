/* Both sides of SCRAM, verifiers and passwords.
 *
 * An input's first byte chooses; the rest is one or two messages, with a newline between them. What must hold:
 * - a message is answered, or refused with a fault that has a SQLSTATE, and then nothing is answered;
 * - nobody who does not know the secret gets in, and nobody at all who is doomed;
 * - no server is believed that does not know the secret;
 * - a verifier that can be read is printed so that it reads back as the same;
 * - a password becomes at most twelve times as long. */
#include <string.h>

#include "protocol/scram_client.h"
#include "protocol/scram_prepare.h"
#include "protocol/scram_server.h"
#include "tests/fuzz/fuzz.h"

#define OURS "bNjVhS+QzTxUjYxOmKLmCzAh"
#define HASH "0123456789abcdef0123456789abcdef"

static void check_answer(enum scram_result result, const struct scram_fault *fault, const struct buffer *answer)
{
    MUST((result == SCRAM_MORE || result == SCRAM_DONE) == (answer->size > 0));
    MUST(result != SCRAM_BAD || (fault->sqlstate != NULL && strlen(fault->sqlstate) == 5 && fault->message != NULL));
}

static void try_server(struct span first, struct span final, bool doomed, bool plus, bool tls)
{
    struct scram_verifier v;
    struct scram_server s;
    struct buffer reply = { 0 }, last = { 0 };
    scram_verifier_make(&v, span_of("xyzzy"), span_of("salt"), 1);
    scram_server_init(&s, &v, doomed, span_of(tls ? HASH : ""));
    enum scram_result result = scram_server_first(&s, plus, first, span_of(OURS), &reply);
    check_answer(result, &s.fault, &reply);
    MUST(result == SCRAM_MORE || result == SCRAM_BAD);
    if (result == SCRAM_MORE) {
        result = scram_server_final(&s, final, &last);
        check_answer(result, &s.fault, &last);
        MUST(result != SCRAM_DONE || !doomed);
        MUST(result != SCRAM_DONE || memmem(final.data, final.size, OURS, strlen(OURS)) != NULL);
    }
    scram_server_reset(&s);
    buffer_free(&reply);
    buffer_free(&last);
}

static void try_client(struct span first, struct span final, bool bound)
{
    struct scram_keys keys = { { 1 }, { 2 } };
    struct scram_login login = { .keys = &keys };
    struct scram_client c;
    struct buffer hello = { 0 }, answer = { 0 };
    scram_client_init(&c, bound ? SCRAM_BOUND : SCRAM_UNBOUND, span_of(bound ? HASH : ""));
    scram_client_first(&c, span_of(OURS), &hello);
    enum scram_result result = scram_client_final(&c, first, &login, &answer);
    check_answer(result, &c.fault, &answer);
    MUST(result == SCRAM_MORE || result == SCRAM_BAD);
    if (result == SCRAM_MORE) {
        MUST(memmem(first.data, first.size, OURS, strlen(OURS)) != NULL);
        result = scram_client_verify(&c, final);
        MUST(result == SCRAM_DONE || (c.fault.sqlstate != NULL && c.fault.message != NULL));
        MUST(result != SCRAM_DONE || final.size >= 2 + 44);
    }
    scram_client_reset(&c);
    buffer_free(&hello);
    buffer_free(&answer);
}

static void try_verifier(struct span text)
{
    struct scram_verifier v, again;
    struct buffer printed = { 0 };
    if (!scram_verifier_read(text, &v))
        return;
    MUST(scram_is_verifier(text));
    scram_verifier_print(&v, &printed);
    MUST(scram_verifier_read(buffer_span(&printed), &again));
    MUST(v.iterations == again.iterations && v.salt_size == again.salt_size);
    MUST(memcmp(v.salt, again.salt, v.salt_size) == 0 && memcmp(v.stored, again.stored, SCRAM_KEY_SIZE) == 0);
    buffer_free(&printed);
}

static void try_password(struct span password)
{
    struct buffer out = { 0 };
    scram_prepare(&out, password);
    MUST(out.size <= password.size * 12 && (out.size > 0) == (password.size > 0));
    buffer_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    char *copy = malloc(size); /* of its exact size, so that the sanitizers see who reads past it */
    MUST(copy != NULL);
    memcpy(copy, data, size);
    char chosen = copy[0];
    struct span all = span_make(copy + 1, size - 1);
    const char *end = all.size > 0 ? memchr(all.data, '\n', all.size) : NULL;
    struct span first = span_make(all.data, end ? (size_t)(end - all.data) : all.size);
    struct span second = end ? span_make(end + 1, all.size - first.size - 1) : span_of("");

    if (chosen == 'v')
        try_verifier(all);
    else if (chosen == 'w')
        try_password(all);
    else if (chosen & 8)
        try_client(first, second, chosen & 1);
    else
        try_server(first, second, chosen & 4, chosen & 1, chosen & 2);
    free(copy);
    return 0;
}
