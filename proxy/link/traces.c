/* What statements leave behind in a server's session, and how it follows the client (P5).
 *
 * Reading SQL proposes, the server disposes: the names of settings that may have changed are noted as their statements pass, and
 * when the transaction is over the server is asked what they are now. So it does not matter what was rolled back to which savepoint. Settings
 * that the server reports by itself need no question. What cannot be said again elsewhere pins the server to the client. */
#include <stdlib.h>
#include <strings.h>

#include "protocol/memory.h"
#include "protocol/message.h"
#include "protocol/statement_state.h"
#include "proxy/link/inside.h"

enum { SETTINGS_MAX = 1000, NAME_MAX_SIZE = 200 };

/* --- noting --------------------------------------------------------------------------------------------- */

void traces_pin(struct link *l, const char *cause)
{
    if (l->pinned || l->keeps_server)
        return;
    l->pinned = true;
    if (l->on_pinned != NULL)
        l->on_pinned(l->context, cause);
}

/* Among those from `first` on; NULL: it is not. */
static struct touched *find_touched(struct link *l, struct span name, size_t first)
{
    for (size_t i = first; i < l->touched_count; i++)
        if (span_is(name, l->touched[i].name))
            return &l->touched[i];
    return NULL;
}

static void touch(struct link *l, struct span name, bool is_default)
{
    struct touched *t = find_touched(l, name, l->asked_count); /* what is being asked for has to be asked again */
    if (t == NULL && (l->touched_count == TOUCHED_MAX || name.size > NAME_MAX_SIZE)) {
        traces_pin(l, "many settings");
        return;
    }
    if (t == NULL) {
        l->touched = memory_grow(l->touched, &l->touched_capacity, l->touched_count, sizeof *l->touched);
        t = &l->touched[l->touched_count++];
        *t = (struct touched){ .name = memory_copy_span(name) };
    }
    *(is_default ? &t->reset : &t->set) = true;
}

/* Back to who logged in: of a client that is not pinned by having become somebody else it ends at most a SET ROLE. */
static void on_session_authorization(struct link *l, const struct statement_state *state)
{
    if (state->is_default)
        touch(l, span_of("role"), true);
    else
        traces_pin(l, "session authorization");
}

static void on_setting(struct link *l, const struct statement_state *state)
{
    struct buffer name = { 0 };
    statement_state_name(state, &l->sql, &name);
    struct span text = buffer_span(&name);
    bool reported = link_server_parameter(l->server, text) != NULL;
    if (span_is(text, "session_authorization"))
        on_session_authorization(l, state);
    else if (!reported || state->is_default) /* else it tells */
        touch(l, text, state->is_default);
    buffer_free(&name);
}

static void on_reset_all(struct link *l)
{
    for (size_t i = 0; i < parameters_count(l->wanted); i++)
        touch(l, span_of(parameters_at(l->wanted, i)->name), true);
}

static void on_state(void *owner, const struct statement_state *state)
{
    struct link *l = owner;
    switch (state->kind) {
    case STATE_SETTING:
        on_setting(l, state);
        return;
    case STATE_RESET_ALL:
        on_reset_all(l);
        return;
    case STATE_DISCARD_ALL:
    case STATE_DEALLOCATE_ALL:
        l->tags_matter = l->forgets = true;
        return;
    case STATE_LISTEN:
    case STATE_UNLISTEN:
    case STATE_UNLISTEN_ALL:
        listens_note(l, state);
        return;
    case STATE_PIN:
        if (state->cause == STATE_DO_BLOCK)
            listens_on_block(l);
        traces_pin(l, statement_state_cause(state->cause));
        return;
    case STATE_DISCARD_PLANS:
    case STATE_DISCARD_SEQUENCES:
    case STATE_DISCARD_TEMP:
    case STATE_PREPARE: /* sql_names.c */
    case STATE_EXECUTE:
    case STATE_DEALLOCATE:
        return;
    }
}

void traces_note(struct link *l, struct span text)
{
    statement_states(text, &l->sql, on_state, l);
}

/* --- telling -------------------------------------------------------------------------------------------- */

/* As a literal of which the meaning does not depend on standard_conforming_strings. */
static void append_literal(struct buffer *b, struct span value, const struct encoding *encoding)
{
    bool wide = encoding != NULL && !encoding_is_ascii_safe(encoding);
    buffer_append_text(b, "E'");
    for (size_t at = 0; at < value.size;) {
        size_t size = wide ? encoding_character_size(encoding, span_make(value.data + at, value.size - at)) : 1;
        char c = value.data[at];
        if (size == 1 && (c == '\'' || c == '\\'))
            buffer_append_u8(b, (uint8_t)c);
        buffer_append(b, value.data + at, size);
        at += size;
    }
    buffer_append_text(b, "'");
}

/* The name of a setting as identifiers, each part quoted. */
static void append_name(struct buffer *b, const char *name)
{
    buffer_append_text(b, "\"");
    for (; *name != '\0'; name++) {
        if (*name == '.')
            buffer_append_text(b, "\".\"");
        else if (*name == '"')
            buffer_append_text(b, "\"\"");
        else
            buffer_append_u8(b, (uint8_t)*name);
    }
    buffer_append_text(b, "\"");
}

static void append_setting(const struct link *l, struct buffer *b, const struct parameter *p)
{
    buffer_append_text(b, "pg_catalog.set_config(");
    append_literal(b, span_of(p->name), l->sql.encoding);
    buffer_append_text(b, ",");
    append_literal(b, span_of(p->value), l->sql.encoding);
    buffer_append_text(b, ",false)");
}

/* The server reads this in the encoding that it had before, of which nothing is known here: a byte that is no ASCII might swallow the one
 * behind it. No encoding's name has such bytes. */
static void append_encoding(struct buffer *b, const char *name)
{
    buffer_append_text(b, "SELECT pg_catalog.set_config(E'client_encoding',E'");
    for (; *name != '\0'; name++) {
        bool is_plain = (unsigned char)*name < 0x80 && *name != '\'' && *name != '\\';
        buffer_append_u8(b, (uint8_t)(is_plain ? *name : '?'));
    }
    buffer_append_text(b, "',false)");
}

static void say_query(struct link *l, struct buffer *sql_take, enum owed_purpose purpose, struct actions *out)
{
    struct buffer made = { 0 };
    message_add_query(&made, buffer_span(sql_take));
    buffer_free(sql_take);
    link_say(out, &made);
    owed_push(&l->owed, OWED_QUERY, purpose);
    l->settling++;
    l->server->unnamed_owner = 0; /* a Query destroys it */
}

/* The client's statement is right behind. If this fails it shall not run as somebody else's, with their settings or their role: the
 * transaction that has failed stands in its way. */
static void say_settings(struct link *l, struct buffer *sql_take, struct actions *out)
{
    struct buffer sql = { 0 };
    buffer_append_text(&sql, "BEGIN;");
    buffer_append_span(&sql, buffer_span(sql_take));
    buffer_append_text(&sql, ";COMMIT");
    buffer_free(sql_take);
    say_query(l, &sql, FOR_SETTINGS, out);
}

static bool is_told(const struct link *l, const struct parameter *p)
{
    const char *told = parameters_value(l->server->told, span_of(p->name));
    return told != NULL && strcmp(told, p->value) == 0;
}

/* Who may set what depends on the role: it is let go first and taken last. */
static bool is_role(const char *name)
{
    return strcasecmp(name, "role") == 0;
}

/* What may be reset depends on the role, and a role may have allowed what the client's own does not. RESET ALL asks for no permission. */
static void leave_role(struct link_server *s, struct buffer *sql)
{
    if (parameters_value(s->told, span_of("role")) == NULL)
        return;
    buffer_append_text(sql, "RESET ALL;RESET ROLE;");
    parameters_release(s->told);
    s->told = parameters_none();
}

static void append_resets(const struct link *l, struct buffer *sql)
{
    const struct parameters *told = l->server->told;
    for (size_t i = 0; i < parameters_count(told); i++) {
        const char *name = parameters_at(told, i)->name;
        if (parameters_value(l->wanted, span_of(name)) != NULL)
            continue;
        buffer_append_text(sql, "RESET ");
        append_name(sql, name);
        buffer_append_text(sql, ";");
    }
}

static void append_settings(const struct link *l, struct buffer *sql)
{
    const char *between = "SELECT ", *role = parameters_value(l->wanted, span_of("role"));
    for (size_t i = 0; i < parameters_count(l->wanted); i++) {
        const struct parameter *p = parameters_at(l->wanted, i);
        if (is_told(l, p) || is_role(p->name) || strcasecmp(p->name, "client_encoding") == 0)
            continue;
        buffer_append_text(sql, between);
        append_setting(l, sql, p);
        between = ",";
    }
    if (role == NULL)
        return;
    buffer_append_text(sql, sql->size > 0 && between[0] == ',' ? ";SELECT " : "SELECT ");
    append_setting(l, sql, &(struct parameter){ "role", role });
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static const char encoding_name[] = "client_encoding";

static bool has_other_encoding(const struct link *l)
{
    struct span name = span_of(encoding_name);
    return !same_text(parameters_value(l->wanted, name), parameters_value(l->server->told, name));
}

/* First and by itself when it changes, for the values of the others are read in it. */
static void tell_encoding(struct link *l, struct buffer *sql, struct actions *out)
{
    const char *value = parameters_value(l->wanted, span_of(encoding_name));
    if (value != NULL)
        append_encoding(sql, value);
    say_settings(l, sql, out);
}

void traces_tell(struct link *l, struct actions *out)
{
    struct link_server *s = l->server;
    if (!parameters_equal(l->wanted, s->told)) {
        struct buffer sql = { 0 };
        bool encoding_changes = has_other_encoding(l);
        leave_role(s, &sql);
        append_resets(l, &sql);
        if (encoding_changes || has_other_encoding(l))
            tell_encoding(l, &sql, out);
        append_settings(l, &sql);
        if (sql.size > 0)
            say_settings(l, &sql, out);
    }
    parameters_release(s->told);
    s->told = parameters_retain(l->wanted);
}

/* --- asking --------------------------------------------------------------------------------------------- */

/* What is reset goes back to what the client's startup packet says, which the server knows nothing of. It has to be told before the client's
 * next statement. */
static bool may_need_telling(const struct link *l, const struct touched *t)
{
    return t->reset && parameters_value(l->base, span_of(t->name)) != NULL;
}

void traces_ask(struct link *l, struct actions *out)
{
    struct buffer sql = { 0 };
    const char *between = "SELECT ";
    for (size_t i = 0; i < l->touched_count; i++) {
        l->holds |= may_need_telling(l, &l->touched[i]);
        buffer_append_text(&sql, between);
        buffer_append_text(&sql, "pg_catalog.current_setting(");
        append_literal(&sql, span_of(l->touched[i].name), l->sql.encoding);
        buffer_append_text(&sql, ",true)");
        between = ",";
    }
    l->asked_count = l->touched_count;
    say_query(l, &sql, FOR_ANSWER, out);
}

static void settle(struct link *l, const struct touched *t, struct span value)
{
    struct span name = span_of(t->name), nothing = { 0 };
    const char *before = parameters_value(l->wanted, name), *base = parameters_value(l->base, name);
    if (t->reset && !t->set) { /* undone since, when nothing has changed */
        if (before == NULL || span_is(value, before))
            return;
        l->wanted = parameters_with(l->wanted, name, base != NULL ? span_of(base) : nothing);
        l->server->told = parameters_with(l->server->told, name, nothing);
        return;
    }
    if (value.data != NULL && parameters_count(l->wanted) >= SETTINGS_MAX && before == NULL) {
        traces_pin(l, "many settings");
        return;
    }
    l->wanted = parameters_with(l->wanted, name, value);
    l->server->told = parameters_with(l->server->told, name, value);
}

static void forget_touched(struct link *l, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(l->touched[i].name);
    l->touched_count -= count;
    if (l->touched_count > 0)
        memmove(l->touched, l->touched + count, l->touched_count * sizeof *l->touched);
}

void traces_answer(struct link *l, const struct frame *row)
{
    struct wire w = wire_open(frame_body(row));
    wire_u16(&w);
    for (size_t i = 0; i < l->asked_count; i++) {
        int32_t size = wire_i32(&w);
        struct span value = size < 0 ? (struct span){ 0 } : wire_bytes(&w, (size_t)size);
        if (w.failed) {
            link_fail(l, "08P01", "the server's answer about settings is malformed");
            return;
        }
        settle(l, &l->touched[i], value);
    }
    forget_touched(l, l->asked_count);
    l->asked_count = 0;
    l->asks_again = false;
}

/* A cancel request that came late is no answer: it is asked again, once. Else nobody knows what holds now: the server stays with the
 * client, and is reset when it goes. */
void traces_give_up(struct link *l, bool was_cancelled)
{
    l->asks_again = was_cancelled && !l->asks_again;
    if (l->asks_again) {
        l->asked_count = 0;
        return;
    }
    forget_touched(l, l->asked_count);
    l->asked_count = 0;
    traces_pin(l, "a setting that may not be read");
}

/* --- following ------------------------------------------------------------------------------------------ */

/* Reported, but not set by anybody's SET. */
static bool is_fixed(struct span name)
{
    static const char *const fixed[] = { "server_version",        "server_encoding",   "is_superuser",
                                         "session_authorization", "integer_datetimes", "in_hot_standby" };
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
        if (span_is(name, fixed[i]))
            return true;
    return false;
}

void traces_follow_sql(struct link *l, struct span name, struct span value)
{
    if (span_is(name, "client_encoding"))
        l->sql.encoding = encoding_find(value);
    else if (span_is(name, "standard_conforming_strings"))
        l->sql.standard_conforming_strings = span_is(value, "on");
}

void traces_on_parameter(struct link *l, struct span name, struct span value, bool for_client)
{
    link_server_on_parameter(l->server, name, value);
    traces_follow_sql(l, name, value);
    if (!for_client || l->discarded || is_fixed(name) || find_touched(l, name, 0) != NULL)
        return;
    l->wanted = parameters_with(l->wanted, name, value);
    l->server->told = parameters_with(l->server->told, name, value);
}

void traces_forget(struct link *l)
{
    parameters_release(l->wanted);
    l->wanted = parameters_retain(l->base);
    forget_touched(l, l->touched_count);
    l->asked_count = 0;
    l->pinned = false;
    listens_forget(l);
}

void traces_free(struct link *l)
{
    forget_touched(l, l->touched_count);
    free(l->touched);
}
