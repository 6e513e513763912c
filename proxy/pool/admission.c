/*     start --secret--> asking <--answer--> ... --> admitted
 *       |                 +-------------------> refused
 *       +--cannot be looked up----------------> refused
 *
 * The secret may be there at once or come later, with a turn of the loop between; whatever the client sends in the meantime is kept. */
#include "proxy/pool/admission.h"

#include <stdlib.h>

#include "protocol/memory.h"
#include "protocol/message.h"
#include "proxy/auth/client_auth.h"
#include "proxy/auth/random.h"
#include "proxy/ops/admin.h"
#include "proxy/ops/log.h"
#include "proxy/pool/client.h"
#include "proxy/pool/login.h"

struct admission {
    struct secret_question *question; /* NULL: nothing is being looked up */
    struct client_auth *auth;         /* NULL: the secret is not known yet */
    struct buffer *out;
    void (*admitted)(struct client *c);
};

void admission_free(struct admission *a)
{
    if (a == NULL)
        return;
    secrets_drop(a->question);
    client_auth_free(a->auth);
    free(a);
}

const struct credentials *admission_credentials(const struct admission *a)
{
    return client_auth_credentials(a->auth);
}

/* --- asking ---------------------------------------------------------------------------------------- */

/* What was said so far goes ahead of the refusal. */
static void send_out(struct client *c)
{
    struct buffer *out = c->login->admission->out;
    conn_send_span(&c->conn, buffer_span(out));
    buffer_free(out);
}

static void refuse(struct client *c)
{
    const struct auth_fault *fault = client_auth_fault(c->login->admission->auth);
    LOG(LOG_WARN, "login failed", log_text("client", c->name), log_text("user", c->login->user),
        log_text("database", c->login->database), log_text("sqlstate", fault->sqlstate),
        log_text("detail", fault->detail != NULL ? fault->detail : ""));
    send_out(c);
    client_refuse(c, fault->sqlstate, fault->message);
}

static void on_state(struct client *c, enum auth_state state)
{
    switch (state) {
    case AUTH_MORE:
        c->login->answer_wanted = true;
        send_out(c);
        return;
    case AUTH_OK:
        c->login->admission->admitted(c);
        return;
    case AUTH_FAILED:
        refuse(c);
        return;
    }
}

/* One answer for each question: what was sent early waits for the next question, or for the session. The answer may have come already
 * when the question is asked, even in one packet with the startup packet. */
void admission_on_client_input(struct client *c, struct span input)
{
    while (c->state == CLIENT_LOGIN) {
        struct admission *a = c->login->admission;
        struct frame f;
        size_t used;
        bool answered = login_cut_answer(c, input, &f, &used);
        enum auth_state state = answered ? client_auth_answer(a->auth, frame_body(&f), a->out) : AUTH_MORE;
        conn_keep(&c->conn, input, used);
        if (!answered)
            return;
        on_state(c, state);
        input = conn_kept(&c->conn);
    }
}

/* --- the secret ------------------------------------------------------------------------------------ */

static void begin(struct client *c, const struct secret_answer *answer)
{
    struct admission *a = c->login->admission;
    struct tls *tls = c->conn.tls;
    unsigned char hash[TLS_HASH_MAX];
    size_t hash_size = tls != NULL ? tls_server_hash(tls, hash) : 0;
    char *name = tls != NULL && tls_peer_is_verified(tls) ? tls_peer_name(tls) : NULL;
    struct client_auth_start start = { .method = c->login->method,
                                       .user = span_of(c->login->user),
                                       .secret = answer->secret,
                                       .why_no_secret = answer->why,
                                       .unknown_is_plain = answer->unknown_is_plain,
                                       .mock_iterations = answer->mock_iterations,
                                       .mock_key = auth_mock_key(),
                                       .tls = tls != NULL,
                                       .certificate_hash = span_make((const char *)hash, hash_size),
                                       .common_name = name,
                                       .random = auth_random_kernel,
                                       .verifiers = &c->worker->verifiers };
    a->auth = client_auth_new(&start);
    free(name);
    on_state(c, client_auth_begin(a->auth, a->out));
}

/* Others may know one without having to say it. */
static bool is_asked_for_secret(const struct client *c)
{
    return c->login->method == AUTH_SCRAM_SHA_256 || c->login->method == AUTH_MD5;
}

static void on_secret(void *context, const struct secret_answer *answer)
{
    struct client *c = context;
    struct admission *a = c->login->admission;
    bool late = a->question != NULL;
    a->question = NULL;
    if (c->state != CLIENT_LOGIN) /* it is being closed */
        return;
    if (answer->state == SECRET_FAILED && is_asked_for_secret(c)) {
        send_out(c);
        client_refuse(c, answer->sqlstate, answer->message);
    } else {
        begin(c, answer);
    }
    struct span kept = conn_kept(&c->conn);
    if (c->state == CLIENT_LOGIN && kept.size > 0)
        admission_on_client_input(c, kept);
    if (late)
        client_settle(c);
}

void admission_start(struct client *c, struct buffer *out, void (*admitted)(struct client *c))
{
    struct login *l = c->login;
    struct admission *a = or_abort(calloc(1, sizeof *a));
    a->out = out;
    a->admitted = admitted;
    l->admission = a;
    if (l->method == AUTH_REJECT) { /* whoever it is: a stranger makes no work */
        begin(c, &(struct secret_answer){ .state = SECRET_UNKNOWN });
        return;
    }
    const struct database *d = l->upstream != NULL ? l->upstream : admin_database(l->config);
    struct secret_question *question = secrets_find(&c->worker->secrets, l->config, d, l->user, on_secret, c);
    if (question != NULL)
        a->question = question;
}
