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

static bool is_role(const char *name)
{
    return strcasecmp(name, "role") == 0;
}

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
        *t = (struct touched){ .name = memory_copy_span(name), .unit = l->owed.unit };
    }
    *(is_default ? &t->reset : &t->set) = true;
    t->roles = l->roles;
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
    if (span_is(text, "role") || span_is(text, "session_authorization"))
        l->roles++;
    if (span_is(text, "session_authorization"))
        on_session_authorization(l, state);
    else if (span_is(text, "idle_session_timeout") && !state->is_default)
        traces_pin(l, "idle session timeout"); /* it is the client that shall go then, not a server of the pool */
    else if (!reported || state->is_default || find_touched(l, text, l->asked_count) != NULL) /* else it tells */
        touch(l, text, state->is_default);
    buffer_free(&name);
}

/* Those that are being asked for are not known yet. */
static void on_reset_all(struct link *l)
{
    for (size_t i = 0, count = l->touched_count; i < count; i++)
        touch(l, span_of(l->touched[i].name), true);
    for (size_t i = 0; i < parameters_count(l->wanted); i++)
        touch(l, span_of(parameters_at(l->wanted, i)->name), true);
}

/* What runs is the statement of that name: the client's, or as its Parse has put it, the server's. */
static const struct shared_statement *find_executed(const struct link *l, struct span name)
{
    const struct shared_statement *found = handles_find(&l->handles, name);
    const struct handle *there = found == NULL ? handles_find_there(&l->handles, name) : NULL;
    return there != NULL ? there->statement : found;
}

static statement_on_state on_state_of_executed;

static void on_execute(struct link *l, const struct statement_state *state)
{
    struct buffer name = { 0 };
    statement_state_name(state, &l->sql, &name);
    const struct shared_statement *s = find_executed(l, buffer_span(&name));
    if (s != NULL && s->leaves_state)
        statement_states(shared_statement_text(s), &l->sql, on_state_of_executed, l);
    buffer_free(&name);
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
    case STATE_DEALLOCATE:
        return;
    case STATE_EXECUTE:
        on_execute(l, state);
        return;
    }
}

/* Not those that it would execute in its turn: that may be itself, for all that is known here. */
static void on_state_of_executed(void *owner, const struct statement_state *state)
{
    if (state->kind != STATE_EXECUTE)
        on_state(owner, state);
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

/* Expressions of one SELECT, which is begun and ended as needed. */
struct list {
    struct buffer *sql;
    bool is_open;
};

static void list_add_setting(struct list *list, const struct link *l, const char *name, const char *value)
{
    buffer_append_text(list->sql, list->is_open ? "," : "SELECT ");
    buffer_append_text(list->sql, "pg_catalog.set_config(");
    append_literal(list->sql, span_of(name), l->sql.encoding);
    buffer_append_text(list->sql, ",");
    append_literal(list->sql, span_of(value), l->sql.encoding);
    buffer_append_text(list->sql, ",false)");
    list->is_open = true;
}

static void list_end(struct list *list)
{
    if (list->is_open)
        buffer_append_text(list->sql, ";");
    list->is_open = false;
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
    buffer_append_text(b, "',false);");
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
    buffer_append_text(&sql, "COMMIT");
    buffer_free(sql_take);
    say_query(l, &sql, FOR_SETTINGS, out);
}

static bool is_told(const struct link *l, const struct parameter *p)
{
    const char *told = parameters_value(l->server->told, span_of(p->name));
    return told != NULL && strcmp(told, p->value) == 0;
}

static const char encoding_name[] = "client_encoding";

/* These may strike at what tells them: they are let go before all else, and taken last. */
static const char *const timeouts[] = { "statement_timeout", "transaction_timeout" };

enum { TIMEOUTS = sizeof timeouts / sizeof timeouts[0] };

static bool is_timeout(const char *name)
{
    for (size_t i = 0; i < TIMEOUTS; i++)
        if (strcasecmp(name, timeouts[i]) == 0)
            return true;
    return false;
}

static void append_reset(struct buffer *sql, const char *name)
{
    buffer_append_text(sql, "RESET ");
    append_name(sql, name);
    buffer_append_text(sql, ";");
}

static void leave_timeouts(struct link_server *s, struct buffer *sql)
{
    struct span nothing = { 0 };
    for (size_t i = 0; i < TIMEOUTS; i++) {
        if (parameters_value(s->told, span_of(timeouts[i])) == NULL)
            continue;
        append_reset(sql, timeouts[i]);
        s->told = parameters_with(s->told, span_of(timeouts[i]), nothing);
    }
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
    for (size_t i = 0; i < parameters_count(told); i++)
        if (parameters_value(l->wanted, span_of(parameters_at(told, i)->name)) == NULL)
            append_reset(sql, parameters_at(told, i)->name);
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static void take_role(struct list *list, const struct link *l, const char *role)
{
    list_end(list);
    list_add_setting(list, l, "role", role != NULL ? role : "none");
    list_end(list);
}

/* Told with the others, each under the role that it was set under. */
static bool is_plain(const struct link *l, const struct parameter *p)
{
    return !is_told(l, p) && !is_role(p->name) && !is_timeout(p->name) && strcasecmp(p->name, encoding_name) != 0;
}

static void append_plain(struct list *list, const struct link *l)
{
    for (size_t i = 0; i < parameters_count(l->wanted); i++) {
        const struct parameter *p = parameters_at(l->wanted, i);
        if (p->role == NULL && is_plain(l, p))
            list_add_setting(list, l, p->name, p->value);
    }
}

static void append_of_roles(struct list *list, const struct link *l)
{
    const char *role = NULL, *last = parameters_value(l->wanted, span_of("role"));
    for (size_t i = 0; i < parameters_count(l->wanted); i++) {
        const struct parameter *p = parameters_at(l->wanted, i);
        if (p->role == NULL || !is_plain(l, p))
            continue;
        if (!same_text(role, p->role))
            take_role(list, l, p->role);
        role = p->role;
        list_add_setting(list, l, p->name, p->value);
    }
    if (!same_text(role, last))
        take_role(list, l, last);
}

static void append_timeouts(struct list *list, const struct link *l)
{
    for (size_t i = 0; i < TIMEOUTS; i++) {
        const char *value = parameters_value(l->wanted, span_of(timeouts[i]));
        if (value != NULL)
            list_add_setting(list, l, timeouts[i], value);
    }
}

static void append_settings(const struct link *l, struct buffer *sql)
{
    struct list list = { .sql = sql };
    append_plain(&list, l);
    append_of_roles(&list, l);
    append_timeouts(&list, l);
    list_end(&list);
}

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
        leave_timeouts(s, &sql);
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
    l->asked_roles = l->roles;
    say_query(l, &sql, FOR_ANSWER, out);
}

/* Under which role it was set: that of before, or that of now. False: one in between, or nobody knows. */
static bool find_role(const struct link *l, const struct touched *t, const struct parameters *before, const char **role)
{
    bool early = t->roles == l->settled_roles, late = t->roles == l->asked_roles;
    *role = parameters_value(early ? before : l->wanted, span_of("role"));
    if (*role != NULL && strcasecmp(*role, "none") == 0)
        *role = NULL;
    return early || late;
}

/* Undone since, when nothing has changed. */
static void settle_reset(struct link *l, struct span name, struct span value)
{
    struct span nothing = { 0 };
    const char *before = parameters_value(l->wanted, name), *base = parameters_value(l->base, name);
    if (before == NULL || span_is(value, before))
        return;
    l->wanted = parameters_with(l->wanted, name, base != NULL ? span_of(base) : nothing);
    l->server->told = parameters_with(l->server->told, name, nothing);
}

static void settle_set(struct link *l, const struct touched *t, struct span value, const struct parameters *before)
{
    struct span name = span_of(t->name);
    const char *known = parameters_value(l->wanted, name), *role = NULL;
    if (value.data != NULL && known == NULL && parameters_count(l->wanted) >= SETTINGS_MAX) {
        traces_pin(l, "many settings");
        return;
    }
    l->server->told = parameters_with(l->server->told, name, value);
    if (known != NULL && span_is(value, known))
        return;
    if (!is_role(t->name) && !find_role(l, t, before, &role) && value.size > 0)
        traces_pin(l, "setting between changes of the role");
    l->wanted = parameters_with_role(l->wanted, name, value, role);
}

static void forget_touched(struct link *l, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(l->touched[i].name);
    l->touched_count -= count;
    if (l->touched_count > 0)
        memmove(l->touched, l->touched + count, l->touched_count * sizeof *l->touched);
}

/* The role, or all others. False: the row ends too soon. */
static bool settle_row(struct link *l, const struct frame *row, const struct parameters *before, bool role)
{
    struct wire w = wire_open(frame_body(row));
    wire_u16(&w);
    for (size_t i = 0; i < l->asked_count; i++) {
        const struct touched *t = &l->touched[i];
        int32_t size = wire_i32(&w);
        struct span value = size < 0 ? (struct span){ 0 } : wire_bytes(&w, (size_t)size);
        if (w.failed)
            return false;
        if (is_role(t->name) != role)
            continue;
        if (t->reset && !t->set)
            settle_reset(l, span_of(t->name), value);
        else
            settle_set(l, t, value, before);
    }
    return true;
}

static void forget_asked(struct link *l)
{
    forget_touched(l, l->asked_count);
    l->asked_count = 0;
    l->settled_roles = l->asked_roles;
}

/* The role first: others are set under it. */
void traces_answer(struct link *l, const struct frame *row)
{
    struct parameters *before = parameters_retain(l->wanted);
    if (settle_row(l, row, before, true) && settle_row(l, row, before, false))
        forget_asked(l);
    else
        link_fail(l, "08P01", "the server's answer about settings is malformed");
    parameters_release(before);
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
    forget_asked(l);
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

/* What was touched is asked for; but this may be the doing of a unit ahead of the one that did. */
static bool will_be_asked(struct link *l, struct span name)
{
    const struct touched *t = find_touched(l, name, 0);
    const struct owed *head = owed_head(&l->owed);
    return t != NULL && (head == NULL || (int32_t)(head->unit - t->unit) >= 0);
}

void traces_on_parameter(struct link *l, struct span name, struct span value, bool for_client)
{
    link_server_on_parameter(l->server, name, value);
    traces_follow_sql(l, name, value);
    if (!for_client || l->discarded || is_fixed(name) || will_be_asked(l, name))
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
    l->settled_roles = l->roles;
    l->pinned = false;
    listens_forget(l);
}

void traces_free(struct link *l)
{
    forget_touched(l, l->touched_count);
    free(l->touched);
}
