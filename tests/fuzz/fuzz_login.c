/* Both machines of a login, each with a peer that says anything.
 *
 * An input's first byte chooses the machine and what it knows; then come messages, each a byte of its size and its body. What must hold:
 * - what is said is whole messages of the type that belongs to that side;
 * - a login ends once, and if it fails, with a SQLSTATE and words in which there is no secret;
 * - nobody who does not know the password is let in, and no password is sent to a server that has begun SCRAM. */
#include <string.h>

#include "protocol/message.h"
#include "proxy/auth/client_auth.h"
#include "proxy/auth/server_auth.h"
#include "tests/fuzz/fuzz.h"

#define PASSWORD "xyzzy"
#define HASH "0123456789abcdef0123456789abcdef"
#define VERIFIER                                                                                                   \
    "SCRAM-SHA-256$4096:0XCGHWNOUlgYzuj6d2NpxQ==$3rJF0nsRKhFXgc+cWEEGfAIAivykI+B74hltNgeMymA=:oKD8aJSMYjzz3iIXMD4" \
    "wIkl5aUPDQb/oC/iPkxdkxt0="

static void fill(void *context, void *to, size_t size)
{
    (void)context;
    memset(to, 7, size);
}

/* The next message of the input; false at its end. */
static bool next_body(struct wire *input, struct span *body)
{
    uint8_t size = wire_u8(input);
    *body = wire_bytes(input, size);
    return !input->failed;
}

static void check_said(const struct buffer *said, char type)
{
    for (size_t at = 0; at < said->size;) {
        MUST(said->size - at >= 5 && said->data[at] == type);
        size_t size = wire_get_u32(said->data + at + 1);
        MUST(size >= 4 && size <= said->size - at - 1);
        at += size + 1;
    }
}

static void check_fault(const struct auth_fault *f)
{
    MUST(f->sqlstate != NULL && strlen(f->sqlstate) == 5 && f->message != NULL && f->message[0] != '\0');
    MUST(strstr(f->message, PASSWORD) == NULL && strstr(f->message, "3rJF0nsRKhF") == NULL);
    MUST(f->detail == NULL || (strstr(f->detail, PASSWORD) == NULL && strstr(f->detail, "3rJF0nsRKhF") == NULL));
}

static void try_client(uint8_t chosen, struct wire *input)
{
    static const char *const secrets[] = { NULL, VERIFIER, "md5b52328d7451bfeace80c4b8c338106f9", PASSWORD };
    struct client_auth_start start = { .method = chosen & 1 ? AUTH_MD5 : AUTH_SCRAM_SHA_256,
                                       .user = span_of("m"),
                                       .secret = secrets[chosen >> 1 & 3],
                                       .mock_key = span_of("0123456789abcdef"),
                                       .tls = (chosen & 8) != 0,
                                       .certificate_hash = span_of(HASH),
                                       .random = { fill, NULL } };
    struct client_auth *a = client_auth_new(&start);
    struct buffer said = { 0 };
    struct span body;
    enum auth_state state = client_auth_begin(a, &said);
    MUST(state == AUTH_MORE && said.size > 0);
    while (state == AUTH_MORE && next_body(input, &body)) {
        buffer_clear(&said);
        state = client_auth_answer(a, body, &said);
        check_said(&said, 'R');
        MUST(state != AUTH_OK && (state == AUTH_MORE) == (said.size > 0));
    }
    if (state == AUTH_FAILED)
        check_fault(client_auth_fault(a));
    MUST(client_auth_credentials(a)->kind == CREDENTIALS_NONE);
    client_auth_free(a);
    buffer_free(&said);
}

static void try_server(uint8_t chosen, struct wire *input)
{
    struct credentials known = { 0 };
    struct scram_keys keys = { { 1 }, { 2 } };
    if (chosen & 1)
        credentials_set_text(&known, CREDENTIALS_PASSWORD, span_of(PASSWORD));
    else if (chosen & 2)
        credentials_set_keys(&known, &keys);
    struct server_auth_start start = { .user = span_of("m"),
                                       .credentials = &known,
                                       .certificate_hash = span_of(chosen & 4 ? HASH : ""),
                                       .random = { fill, NULL } };
    struct server_auth *a = server_auth_new(&start);
    struct buffer said = { 0 };
    struct span body;
    bool scram = false;
    enum auth_state state = AUTH_MORE;
    while (state == AUTH_MORE && next_body(input, &body)) {
        buffer_clear(&said);
        state = server_auth_message(a, body, &said);
        check_said(&said, 'p');
        MUST(state == AUTH_MORE || said.size == 0);
        MUST(!scram || memmem(said.data, said.size, PASSWORD, strlen(PASSWORD)) == NULL);
        MUST(!scram || state != AUTH_OK);
        scram = scram || (said.size > 0 && body.size >= 4 && wire_get_u32(body.data) == AUTHENTICATION_SASL);
    }
    if (state == AUTH_FAILED)
        check_fault(server_auth_fault(a));
    server_auth_free(a);
    credentials_wipe(&known);
    buffer_free(&said);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct wire input = wire_open(span_make((const char *)data + 1, size - 1));
    if (data[0] & 16)
        try_server(data[0], &input);
    else
        try_client(data[0], &input);
    return 0;
}
