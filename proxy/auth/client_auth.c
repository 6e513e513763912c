/* What is asked follows from the method and from the secret:
 *
 *     secret      md5      scram-sha-256
 *     plain       md5      SCRAM, with a verifier made for the exchange
 *     md5…        md5      SCRAM, which fails
 *     SCRAM-…$…   SCRAM    SCRAM
 *     none        as the others are asked, and it fails
 *
 * Whoever is let in by TLS or by trust has shown no password: the secret itself, when it is plain or md5, is what the upstream gets. */
#include "proxy/auth/client_auth.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/memory.h"
#include "protocol/message.h"
#include "protocol/password.h"
#include "protocol/scram_server.h"

#define SCRAM "SCRAM-SHA-256"
#define SCRAM_PLUS "SCRAM-SHA-256-PLUS"

enum secret_kind { SECRET_NONE, SECRET_PLAIN, SECRET_MD5, SECRET_VERIFIER };

enum step { STEP_BEGIN, STEP_MD5, STEP_SASL_FIRST, STEP_SASL_FINAL, STEP_OVER };

struct client_auth {
    enum auth_method method;
    enum step step;
    char *user, *secret; /* secret: NULL without one */
    enum secret_kind kind;
    struct scram_verifier verifier; /* of SECRET_VERIFIER; of others a mock one, until it is made */
    bool unknown_is_plain;
    unsigned mock_iterations;
    bool offers_plus;
    char *common_name; /* NULL: none */
    struct auth_random random;
    struct verifiers *verifiers; /* NULL: none are kept */
    char md5_salt[PASSWORD_SALT_SIZE];
    struct scram_server *scram; /* from the first SASL step on; NULL until then */
    struct span certificate_hash;
    char hash[SCRAM_BINDING_MOST];
    struct credentials credentials;
    struct auth_fault fault;
};

/* --- what is known -------------------------------------------------------------------------------- */

static bool asks_for_password(enum auth_method method)
{
    return method == AUTH_SCRAM_SHA_256 || method == AUTH_MD5;
}

static enum secret_kind judge_secret(struct client_auth *a, const struct client_auth_start *start)
{
    if (start->secret == NULL) {
        if (asks_for_password(a->method))
            auth_fault_detail(&a->fault, "%s", start->why_no_secret ? start->why_no_secret : "there is no such user");
        return SECRET_NONE;
    }
    struct span secret = span_of(start->secret);
    if (secret.size == 0) {
        auth_fault_detail(&a->fault, "the user has an empty password");
        return SECRET_NONE;
    }
    if (!scram_is_verifier(secret))
        return password_is_md5(secret) ? SECRET_MD5 : SECRET_PLAIN;
    struct scram_verifier v;
    if (scram_verifier_read(secret, &v)) {
        a->verifier = v;
        return SECRET_VERIFIER;
    }
    auth_fault_detail(&a->fault, "the user's SCRAM verifier is damaged");
    return SECRET_NONE;
}

struct client_auth *client_auth_new(const struct client_auth_start *start)
{
    struct client_auth *a = or_abort(calloc(1, sizeof *a));
    assert(start->method != AUTH_PASSTHROUGH && start->certificate_hash.size <= sizeof a->hash);
    a->method = start->method;
    a->user = memory_copy_span(start->user);
    if (asks_for_password(a->method)) /* md5 asks unknown users as SCRAM does */
        scram_verifier_mock(&a->verifier, start->mock_key, start->user);
    a->kind = judge_secret(a, start);
    a->secret = a->kind == SECRET_NONE ? NULL : memory_copy_text(start->secret);
    a->unknown_is_plain = start->unknown_is_plain;
    a->mock_iterations = start->mock_iterations;
    a->common_name = start->tls && start->common_name ? memory_copy_text(start->common_name) : NULL;
    a->random = start->random;
    a->verifiers = start->verifiers;
    if (start->tls && start->certificate_hash.size > 0) {
        memcpy(a->hash, start->certificate_hash.data, start->certificate_hash.size);
        a->certificate_hash = span_make(a->hash, start->certificate_hash.size);
    }
    return a;
}

void client_auth_free(struct client_auth *a)
{
    if (a == NULL)
        return;
    if (a->secret != NULL)
        OPENSSL_cleanse(a->secret, strlen(a->secret));
    free(a->secret);
    free(a->user);
    free(a->common_name);
    if (a->scram != NULL)
        scram_server_reset(a->scram);
    free(a->scram);
    credentials_wipe(&a->credentials);
    auth_fault_free(&a->fault);
    explicit_bzero(a, sizeof *a);
    free(a);
}

/* --- ends ------------------------------------------------------------------------------------------ */

static enum auth_state let_in(struct client_auth *a)
{
    a->step = STEP_OVER;
    return AUTH_OK;
}

/* With what is kept, for it was not the password that let the client in. */
static enum auth_state let_in_with_secret(struct client_auth *a)
{
    if (a->secret != NULL)
        credentials_set_secret(&a->credentials, span_of(a->secret));
    return let_in(a);
}

/* The one answer to whoever has not shown what was asked for; what the log learns has been said already, unless `why` says more. */
static enum auth_state deny(struct client_auth *a, const char *why)
{
    a->step = STEP_OVER;
    auth_fault_say(&a->fault, "28P01", "password authentication failed for user \"%s\"", a->user);
    if (a->fault.detail == NULL)
        auth_fault_detail(&a->fault, "%s", why);
    return AUTH_FAILED;
}

static enum auth_state refuse(struct client_auth *a, const char *sqlstate, const char *message, const char *detail)
{
    a->step = STEP_OVER;
    auth_fault_say(&a->fault, sqlstate, "%s", message);
    auth_fault_detail(&a->fault, "%s", detail);
    return AUTH_FAILED;
}

/* --- certificates ----------------------------------------------------------------------------------- */

static enum auth_state judge_certificate(struct client_auth *a)
{
    if (a->common_name == NULL)
        return refuse(a, "28000", "connection requires a valid client certificate", "the client showed none");
    if (strcmp(a->common_name, a->user) == 0)
        return let_in_with_secret(a);
    a->step = STEP_OVER;
    auth_fault_say(&a->fault, "28000", "certificate authentication failed for user \"%s\"", a->user);
    auth_fault_detail(&a->fault, "the certificate is that of \"%s\"", a->common_name);
    return AUTH_FAILED;
}

static enum auth_state reject(struct client_auth *a)
{
    a->step = STEP_OVER;
    auth_fault_say(&a->fault, "28000", "connection rejected for user \"%s\"", a->user);
    auth_fault_detail(&a->fault, "a login block says method = reject");
    return AUTH_FAILED;
}

/* --- md5 ------------------------------------------------------------------------------------------- */

static enum auth_state ask_md5(struct client_auth *a, struct buffer *out)
{
    a->step = STEP_MD5;
    a->random.fill(a->random.context, a->md5_salt, sizeof a->md5_salt);
    message_add_authentication(out, AUTHENTICATION_MD5, span_make(a->md5_salt, sizeof a->md5_salt));
    return AUTH_MORE;
}

static enum auth_state judge_md5(struct client_auth *a, struct span body)
{
    struct span said;
    char kept[PASSWORD_MD5_SIZE + 1], expected[PASSWORD_MD5_SIZE + 1];
    if (!message_read_password(body, &said))
        return refuse(a, "08P01", "invalid password packet size", "");
    const char *password = a->kind == SECRET_PLAIN ? a->secret : "";
    bool computed = password_md5_kept(kept, span_of(password), span_of(a->user));
    if (a->kind == SECRET_MD5)
        memcpy(kept, a->secret, sizeof kept);
    computed = computed && password_md5_sent(expected, span_of(kept), a->md5_salt);
    bool fits = computed && password_equal(said, span_of(expected)) && a->kind != SECRET_NONE;
    OPENSSL_cleanse(kept, sizeof kept);
    if (!computed)
        return deny(a, "this machine computes no MD5");
    return fits ? let_in_with_secret(a) : deny(a, "the password does not match");
}

/* --- SCRAM ----------------------------------------------------------------------------------------- */

/* The salt is that of the mock verifier: the same for each login, as that of a kept verifier is. */
static void make_verifier(struct client_auth *a)
{
    struct verifiers nobodys = { 0 };
    struct verifiers *kept = a->verifiers != NULL ? a->verifiers : &nobodys;
    verifiers_make(kept, span_of(a->user), span_of(a->secret), &a->verifier);
    verifiers_forget(&nobodys);
}

/* False: whatever is shown is not good enough. An unknown user's is not even made: a known one's is there, too, from the first login on. */
static bool choose_verifier(struct client_auth *a)
{
    switch (a->kind) {
    case SECRET_VERIFIER:
        return true;
    case SECRET_PLAIN:
        make_verifier(a);
        return true;
    case SECRET_MD5:
        auth_fault_detail(&a->fault, "the user's secret is an md5 one, with which SCRAM is impossible");
        break;
    case SECRET_NONE:
        break;
    }
    if (!a->unknown_is_plain && a->mock_iterations > 0)
        a->verifier.iterations = a->mock_iterations;
    return false;
}

static enum auth_state ask_scram(struct client_auth *a, struct buffer *out)
{
    static const char plus[] = SCRAM_PLUS "\0" SCRAM "\0", plain[] = SCRAM "\0";
    bool knows = choose_verifier(a);
    a->scram = or_abort(calloc(1, sizeof *a->scram));
    scram_server_init(a->scram, &a->verifier, !knows, a->certificate_hash);
    a->step = STEP_SASL_FIRST;
    struct span list = a->certificate_hash.size > 0 ? span_make(plus, sizeof plus) : span_make(plain, sizeof plain);
    message_add_authentication(out, AUTHENTICATION_SASL, list);
    return AUTH_MORE;
}

static enum auth_state refuse_scram(struct client_auth *a)
{
    const struct scram_fault *f = &a->scram->fault;
    return refuse(a, f->sqlstate, f->message, f->detail);
}

static enum auth_state judge_scram_first(struct client_auth *a, struct span body, struct buffer *out)
{
    struct span mechanism, response;
    unsigned char random[SCRAM_NONCE_SIZE];
    struct buffer nonce = { 0 }, reply = { 0 };
    if (!message_read_sasl_initial(body, &mechanism, &response))
        return refuse(a, "08P01", "malformed SASL initial response", "");
    bool plus = span_is(mechanism, SCRAM_PLUS) && a->certificate_hash.size > 0;
    if (!plus && !span_is(mechanism, SCRAM))
        return refuse(a, "08P01", "client selected an invalid SASL authentication mechanism", "");

    a->random.fill(a->random.context, random, sizeof random);
    scram_nonce_make(&nonce, random);
    enum scram_result result = scram_server_first(a->scram, plus, response, buffer_span(&nonce), &reply);
    if (result == SCRAM_MORE)
        message_add_authentication(out, AUTHENTICATION_SASL_CONTINUE, buffer_span(&reply));
    buffer_free(&nonce);
    buffer_free(&reply);
    a->step = STEP_SASL_FINAL;
    return result == SCRAM_MORE ? AUTH_MORE : refuse_scram(a);
}

static enum auth_state let_in_by_scram(struct client_auth *a, struct span reply, struct buffer *out)
{
    message_add_authentication(out, AUTHENTICATION_SASL_FINAL, reply);
    if (a->kind == SECRET_PLAIN)
        return let_in_with_secret(a);
    credentials_set_keys(&a->credentials, &a->scram->keys);
    return let_in(a);
}

static enum auth_state judge_scram_final(struct client_auth *a, struct span body, struct buffer *out)
{
    struct buffer reply = { 0 };
    enum auth_state state = AUTH_FAILED;
    switch (scram_server_final(a->scram, body, &reply)) {
    case SCRAM_DONE:
        state = let_in_by_scram(a, buffer_span(&reply), out);
        break;
    case SCRAM_DENIED:
        state = deny(a, "the password does not match");
        break;
    case SCRAM_BAD:
    case SCRAM_MORE:
        state = refuse_scram(a);
        break;
    }
    buffer_free(&reply);
    return state;
}

/* --- the whole ------------------------------------------------------------------------------------- */

static enum auth_state ask_under_md5(struct client_auth *a, struct buffer *out)
{
    bool is_unknown = a->kind == SECRET_NONE;
    bool by_scram = a->kind == SECRET_VERIFIER || (is_unknown && !a->unknown_is_plain);
    return by_scram ? ask_scram(a, out) : ask_md5(a, out);
}

enum auth_state client_auth_begin(struct client_auth *a, struct buffer *out)
{
    assert(a->step == STEP_BEGIN);
    switch (a->method) {
    case AUTH_TRUST:
        return let_in_with_secret(a);
    case AUTH_REJECT:
        return reject(a);
    case AUTH_CERT:
        return judge_certificate(a);
    case AUTH_MD5:
        return ask_under_md5(a, out);
    case AUTH_SCRAM_SHA_256:
        return ask_scram(a, out);
    case AUTH_PASSTHROUGH:
        break;
    }
    abort();
}

enum auth_state client_auth_answer(struct client_auth *a, struct span body, struct buffer *out)
{
    switch (a->step) {
    case STEP_MD5:
        return judge_md5(a, body);
    case STEP_SASL_FIRST:
        return judge_scram_first(a, body, out);
    case STEP_SASL_FINAL:
        return judge_scram_final(a, body, out);
    case STEP_BEGIN:
    case STEP_OVER:
        break;
    }
    abort();
}

const struct credentials *client_auth_credentials(const struct client_auth *a)
{
    return &a->credentials;
}

const struct auth_fault *client_auth_fault(const struct client_auth *a)
{
    return &a->fault;
}
