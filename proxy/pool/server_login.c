/* A login to a server: a table of its messages, and the words of what can go wrong. */
#include "proxy/pool/server_login.h"

#include <stdio.h>
#include <stdlib.h>

#include "protocol/memory.h"
#include "protocol/message.h"

/* Longer words of a server are cut: they are told to every client that waits. */
enum { WORDS_MOST = 1000 };

struct server_login {
    struct server_auth *auth;
    struct link_server *record;
    uint16_t minor;
    bool heard; /* it has said something else than an error */
    bool authenticated;
    bool tells_standby, is_standby, is_read_only; /* as servers from PostgreSQL 14 on tell */
    struct server_login_fault fault;
    char words[WORDS_MOST];
    bool has_key;
    uint32_t process_id;
    size_t secret_size;
    char secret[MESSAGE_SECRET_MAX];
};

static void append_parameter(struct buffer *out, const char *name, struct span value)
{
    buffer_append_string(out, span_of(name));
    buffer_append_string(out, value);
}

struct server_login *server_login_new(const struct server_login_start *start, struct buffer *out)
{
    struct server_auth_start auth = { .user = start->user,
                                      .credentials = start->credentials,
                                      .certificate_hash = start->certificate_hash,
                                      .binding_required = start->binding_required,
                                      .why_nothing = start->why_nothing,
                                      .random = start->random };
    struct server_login *l = or_abort(calloc(1, sizeof *l));
    l->auth = server_auth_new(&auth);
    l->record = start->record;
    l->minor = start->minor;
    size_t at = message_begin_startup(out, 3, start->minor);
    append_parameter(out, "user", start->user);
    append_parameter(out, "database", start->database);
    message_end_startup(out, at);
    return l;
}

void server_login_free(struct server_login *l)
{
    if (l == NULL)
        return;
    server_auth_free(l->auth);
    free(l);
}

/* --- failing ----------------------------------------------------------------------------------------- */

static enum auth_state fail(struct server_login *l, struct span sqlstate, struct span words)
{
    snprintf(l->fault.sqlstate, sizeof l->fault.sqlstate, "%.*s", (int)sqlstate.size, sqlstate.data);
    snprintf(l->words, sizeof l->words, "%.*s", (int)(words.size < WORDS_MOST ? words.size : WORDS_MOST - 1),
             words.data);
    l->fault.message = l->words;
    return AUTH_FAILED;
}

static enum auth_state fail_protocol(struct server_login *l, const char *words)
{
    return fail(l, span_of("08P01"), span_of(words));
}

/* A server, or another pooler in front of it, that is older than minor versions refuses them before it has said anything else. */
static enum auth_state on_error(struct server_login *l, const struct frame *f)
{
    struct message_error e;
    if (!message_read_error(frame_body(f), &e))
        return fail_protocol(l, "the upstream sent a malformed error");
    bool about_version = span_is(e.sqlstate, "0A000") || span_is(e.sqlstate, "08P01");
    l->fault.refuses_version = l->minor > 0 && !l->heard && about_version;
    return fail(l, e.sqlstate.size == 5 ? e.sqlstate : span_of("08006"), e.message);
}

const struct server_login_fault *server_login_fault(const struct server_login *l)
{
    return &l->fault;
}

/* --- messages ---------------------------------------------------------------------------------------- */

static enum auth_state on_authentication(struct server_login *l, const struct frame *f, struct buffer *out)
{
    if (l->authenticated)
        return fail_protocol(l, "the upstream asked for authentication twice");
    switch (server_auth_message(l->auth, frame_body(f), out)) {
    case AUTH_MORE:
        break;
    case AUTH_OK:
        l->authenticated = true;
        break;
    case AUTH_FAILED:
        return fail(l, span_of(server_auth_fault(l->auth)->sqlstate), span_of(server_auth_fault(l->auth)->message));
    }
    return AUTH_MORE;
}

static enum auth_state on_parameter(struct server_login *l, const struct frame *f)
{
    struct span name, value;
    if (!message_read_parameter_status(frame_body(f), &name, &value))
        return fail_protocol(l, "the upstream sent a malformed ParameterStatus");
    if (span_is(name, "in_hot_standby")) {
        l->tells_standby = true;
        l->is_standby = span_is(value, "on");
    } else if (span_is(name, "default_transaction_read_only")) {
        l->is_read_only = span_is(value, "on");
    }
    link_server_on_parameter(l->record, name, value);
    return AUTH_MORE;
}

static enum auth_state on_key(struct server_login *l, const struct frame *f)
{
    struct span secret;
    if (!message_read_key_data(frame_body(f), &l->process_id, &secret))
        return fail_protocol(l, "the upstream sent a malformed BackendKeyData");
    l->has_key = true;
    l->secret_size = secret.size;
    memcpy(l->secret, secret.data, secret.size);
    return AUTH_MORE;
}

enum auth_state server_login_on_frame(struct server_login *l, const struct frame *f, struct buffer *out)
{
    if (f->type == 'E')
        return on_error(l, f);
    l->heard = true;
    if (f->type == 'R')
        return on_authentication(l, f, out);
    if (f->type == 'v' || f->type == 'N')
        return AUTH_MORE;
    if (!l->authenticated)
        return fail_protocol(l, "the upstream sent a message ahead of its authentication");
    switch (f->type) {
    case 'S':
        return on_parameter(l, f);
    case 'K':
        return on_key(l, f);
    case 'Z':
        return AUTH_OK;
    default:
        return fail_protocol(l, "the upstream sent a message that does not belong into a login");
    }
}

const char *server_login_mismatch(const struct server_login *l, enum target_session wanted)
{
    bool is_read_only = l->is_standby || l->is_read_only;
    if (wanted != TARGET_ANY && !l->tells_standby)
        return "server does not say whether it is a standby: target_session_attrs takes PostgreSQL 14 or newer";
    switch (wanted) {
    case TARGET_ANY:
        return NULL;
    case TARGET_READ_WRITE:
        return is_read_only ? "session is read-only" : NULL;
    case TARGET_READ_ONLY:
        return is_read_only ? NULL : "session is not read-only";
    case TARGET_PRIMARY:
        return l->is_standby ? "server is in hot standby mode" : NULL;
    case TARGET_STANDBY:
    case TARGET_PREFER_STANDBY:
        return l->is_standby ? NULL : "server is not in hot standby mode";
    }
    return NULL;
}

bool server_login_key(const struct server_login *l, uint32_t *process_id, struct span *secret)
{
    *process_id = l->process_id;
    *secret = span_make(l->secret, l->secret_size);
    return l->has_key;
}
