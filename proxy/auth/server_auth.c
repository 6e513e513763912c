/*                     SASL                Continue                Final
 *     WAITING ─────────────▶ CHALLENGED ───────────▶ PROVING ────────────▶ ANSWERED
 *        │  └── md5, password ─────────────────────────────────────────────▶ │
 *        └────────────────────────── Ok: let in ◀────────────────────────────┘
 *
 * Between CHALLENGED and ANSWERED an Ok is a lie: it comes from somebody who need not know the user's secret. */
#include "proxy/auth/server_auth.h"

#include <openssl/crypto.h>

#include "protocol/memory.h"
#include "protocol/message.h"
#include "protocol/password.h"
#include "protocol/scram_client.h"

#define SCRAM "SCRAM-SHA-256"
#define SCRAM_PLUS "SCRAM-SHA-256-PLUS"

enum step { STEP_WAITING, STEP_CHALLENGED, STEP_PROVING, STEP_ANSWERED };

struct server_auth {
    enum step step;
    char *user;
    struct credentials credentials;
    struct span certificate_hash;
    char hash[SCRAM_BINDING_MOST];
    bool binding_required;
    const char *why_nothing;
    struct auth_random random;
    struct scram_client scram;
    struct auth_fault fault;
};

struct server_auth *server_auth_new(const struct server_auth_start *start)
{
    struct server_auth *a = or_abort(calloc(1, sizeof *a));
    a->user = memory_copy_span(start->user);
    a->why_nothing = start->why_nothing != NULL ? start->why_nothing : "";
    a->random = start->random;
    a->binding_required = start->binding_required;
    credentials_copy(&a->credentials, start->credentials);
    if (start->certificate_hash.size > 0 && start->certificate_hash.size <= sizeof a->hash) {
        memcpy(a->hash, start->certificate_hash.data, start->certificate_hash.size);
        a->certificate_hash = span_make(a->hash, start->certificate_hash.size);
    }
    return a;
}

void server_auth_free(struct server_auth *a)
{
    if (a == NULL)
        return;
    free(a->user);
    credentials_wipe(&a->credentials);
    scram_client_reset(&a->scram);
    auth_fault_free(&a->fault);
    OPENSSL_cleanse(a, sizeof *a);
    free(a);
}

/* --- what cannot be answered ----------------------------------------------------------------------- */

static enum auth_state fail(struct server_auth *a, const char *message)
{
    auth_fault_say(&a->fault, "08P01", "%s", message);
    return AUTH_FAILED;
}

static enum auth_state out_of_order(struct server_auth *a)
{
    return fail(a, "the upstream asked for authentication out of order");
}

/* It asks for `wanted`, which cannot be made of what is known. */
static enum auth_state lack(struct server_auth *a, const char *wanted)
{
    static const char *const known[] = {
        [CREDENTIALS_NONE] = "nothing",
        [CREDENTIALS_PASSWORD] = "an empty password",
        [CREDENTIALS_MD5] = "an md5 secret",
        [CREDENTIALS_SCRAM] = "the SCRAM keys of a login",
    };
    auth_fault_say(&a->fault, "28000", "the upstream asks for %s, but %s is known of user \"%s\"%s", wanted,
                   known[a->credentials.kind], a->user, a->credentials.kind == CREDENTIALS_NONE ? a->why_nothing : "");
    return AUTH_FAILED;
}

static enum auth_state refuse_kind(struct server_auth *a, uint32_t kind)
{
    static const char *const names[] = {
        [2] = "Kerberos V5", [6] = "SCM credentials", [7] = "GSSAPI", [8] = "GSSAPI", [9] = "SSPI"
    };
    const char *name = kind < sizeof names / sizeof *names ? names[kind] : NULL;
    auth_fault_say(&a->fault, "28000", "the upstream asks for an authentication that is not supported: %s (%u)",
                   name ? name : "an unknown one", kind);
    return AUTH_FAILED;
}

static bool has_password(const struct server_auth *a)
{
    return a->credentials.kind == CREDENTIALS_PASSWORD && a->credentials.text[0] != '\0';
}

/* --- passwords ------------------------------------------------------------------------------------- */

static enum auth_state answer_cleartext(struct server_auth *a, struct buffer *out)
{
    if (a->step != STEP_WAITING)
        return out_of_order(a);
    if (!has_password(a))
        return lack(a, "a password in clear text");
    message_add_password(out, span_of(a->credentials.text));
    a->step = STEP_ANSWERED;
    return AUTH_MORE;
}

static enum auth_state answer_md5(struct server_auth *a, struct span salt, struct buffer *out)
{
    char kept[PASSWORD_MD5_SIZE + 1], sent[PASSWORD_MD5_SIZE + 1];
    if (a->step != STEP_WAITING)
        return out_of_order(a);
    if (salt.size != PASSWORD_SALT_SIZE)
        return fail(a, "the upstream sent a salt for md5 that is not of 4 bytes");
    if (!has_password(a) && a->credentials.kind != CREDENTIALS_MD5)
        return lack(a, "an md5 password");

    struct span text = span_of(a->credentials.text);
    bool computed = true;
    if (a->credentials.kind == CREDENTIALS_MD5)
        memcpy(kept, text.data, sizeof kept);
    else
        computed = password_md5_kept(kept, text, span_of(a->user));
    computed = computed && password_md5_sent(sent, span_of(kept), salt.data);
    OPENSSL_cleanse(kept, sizeof kept);
    if (!computed)
        return fail(a, "the upstream asks for an md5 password, and this machine computes no MD5");
    message_add_password(out, span_of(sent));
    a->step = STEP_ANSWERED;
    return AUTH_MORE;
}

/* --- SCRAM ----------------------------------------------------------------------------------------- */

static bool offers(struct span list, const char *mechanism)
{
    struct span name;
    for (size_t at = 0; message_next_mechanism(list, &at, &name);)
        if (span_is(name, mechanism))
            return true;
    return false;
}

static enum auth_state begin_scram(struct server_auth *a, struct span list, struct buffer *out)
{
    bool can_bind = a->certificate_hash.size > 0, binds = can_bind && offers(list, SCRAM_PLUS);
    if (a->step != STEP_WAITING)
        return out_of_order(a);
    if (!binds && !offers(list, SCRAM)) {
        auth_fault_say(&a->fault, "28000", "the upstream offers none of the SASL mechanisms that are supported");
        return AUTH_FAILED;
    }
    if (!has_password(a) && a->credentials.kind != CREDENTIALS_SCRAM)
        return lack(a, "SCRAM-SHA-256");

    unsigned char random[SCRAM_NONCE_SIZE];
    struct buffer nonce = { 0 }, message = { 0 };
    a->random.fill(a->random.context, random, sizeof random);
    scram_nonce_make(&nonce, random);
    scram_client_init(&a->scram,
                      binds      ? SCRAM_BOUND
                      : can_bind ? SCRAM_NOT_OFFERED
                                 : SCRAM_UNBOUND,
                      a->certificate_hash);
    scram_client_first(&a->scram, buffer_span(&nonce), &message);
    message_add_sasl_initial(out, span_of(binds ? SCRAM_PLUS : SCRAM), buffer_span(&message));
    buffer_free(&nonce);
    buffer_free(&message);
    a->step = STEP_CHALLENGED;
    return AUTH_MORE;
}

static enum auth_state fail_scram(struct server_auth *a)
{
    const struct scram_fault *f = &a->scram.fault;
    auth_fault_say(&a->fault, f->sqlstate, "%s", f->message);
    auth_fault_detail(&a->fault, "%s", f->detail);
    return AUTH_FAILED;
}

static enum auth_state continue_scram(struct server_auth *a, struct span challenge, struct buffer *out)
{
    struct scram_login login = { 0 };
    struct buffer message = { 0 };
    if (a->step != STEP_CHALLENGED)
        return out_of_order(a);
    if (a->credentials.kind == CREDENTIALS_SCRAM)
        login.keys = &a->credentials.keys;
    else
        login.password = span_of(a->credentials.text);
    enum scram_result result = scram_client_final(&a->scram, challenge, &login, &message);
    if (result == SCRAM_MORE)
        message_add_sasl_response(out, buffer_span(&message));
    buffer_free(&message);
    a->step = STEP_PROVING;
    return result == SCRAM_MORE ? AUTH_MORE : fail_scram(a);
}

static enum auth_state end_scram(struct server_auth *a, struct span proof)
{
    if (a->step != STEP_PROVING)
        return out_of_order(a);
    a->step = STEP_ANSWERED;
    return scram_client_verify(&a->scram, proof) == SCRAM_DONE ? AUTH_MORE : fail_scram(a);
}

/* --- the whole ------------------------------------------------------------------------------------- */

static enum auth_state take_ok(struct server_auth *a)
{
    if (a->step == STEP_WAITING || a->step == STEP_ANSWERED)
        return AUTH_OK;
    return fail(a, "the upstream broke off SCRAM and said Ok, without proof that it knows the user's password");
}

/* Where channel binding is required: this is a step of SCRAM-SHA-256-PLUS. */
static bool keeps_binding(const struct server_auth *a, uint32_t kind, struct span rest)
{
    if (kind == AUTHENTICATION_SASL)
        return a->certificate_hash.size > 0 && offers(rest, SCRAM_PLUS);
    if (kind == AUTHENTICATION_OK)
        return a->step == STEP_ANSWERED;
    return kind == AUTHENTICATION_SASL_CONTINUE || kind == AUTHENTICATION_SASL_FINAL;
}

enum auth_state server_auth_message(struct server_auth *a, struct span body, struct buffer *out)
{
    uint32_t kind;
    struct span rest;
    if (!message_read_authentication(body, &kind, &rest))
        return fail(a, "the upstream sent an Authentication message that is too short");
    if (a->binding_required && !keeps_binding(a, kind, rest)) {
        auth_fault_say(&a->fault, "28000", "channel binding is required, but the upstream logs in without it");
        return AUTH_FAILED;
    }
    switch (kind) {
    case AUTHENTICATION_OK:
        return take_ok(a);
    case AUTHENTICATION_CLEARTEXT:
        return answer_cleartext(a, out);
    case AUTHENTICATION_MD5:
        return answer_md5(a, rest, out);
    case AUTHENTICATION_SASL:
        return begin_scram(a, rest, out);
    case AUTHENTICATION_SASL_CONTINUE:
        return continue_scram(a, rest, out);
    case AUTHENTICATION_SASL_FINAL:
        return end_scram(a, rest);
    }
    return refuse_kind(a, kind);
}

const struct auth_fault *server_auth_fault(const struct server_auth *a)
{
    return &a->fault;
}
