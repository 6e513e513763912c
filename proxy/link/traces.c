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

bool traces_is_name(struct span name, const char *other)
{
    return strlen(other) == name.size && strncasecmp(name.data, other, name.size) == 0;
}

/* Among those from `first` on; NULL: it is not. */
static struct touched *find_touched(const struct link *l, struct span name, size_t first)
{
    for (size_t i = first; i < l->touched_count; i++)
        if (traces_is_name(name, l->touched[i].name))
            return &l->touched[i];
    return NULL;
}

bool traces_is_touched(const struct link *l, struct span name)
{
    return find_touched(l, name, 0) != NULL;
}

bool traces_have(struct link *l, struct span name)
{
    return find_touched(l, name, l->asked_count) != NULL;
}

static void reset_touched(struct link *l, struct touched *t)
{
    t->reset = t->ends_reset = true;
    t->ends_local = false;
    t->roles = l->roles;
    if (!l->resets.noted && resets_go_to_base(l, span_of(t->name)))
        resets_note(l);
}

/* NULL: there are too many. */
static struct touched *touch(struct link *l, struct span name)
{
    struct touched *t = find_touched(l, name, l->asked_count); /* what is being asked for has to be asked again */
    if (t == NULL && (l->touched_count == TOUCHED_MAX || name.size > NAME_MAX_SIZE)) {
        traces_pin(l, "many settings");
        return NULL;
    }
    if (t == NULL) {
        l->touched = memory_grow(l->touched, &l->touched_capacity, l->touched_count, sizeof *l->touched);
        t = &l->touched[l->touched_count++];
        *t = (struct touched){ .name = memory_copy_span(name), .unit = l->owed.unit };
    }
    return t;
}

void traces_touch(struct link *l, struct span name, bool is_default)
{
    struct touched *t = touch(l, name);
    if (t == NULL)
        return;
    if (is_default) {
        reset_touched(l, t);
        return;
    }
    t->set = true;
    t->ends_reset = t->ends_local = false;
    t->roles = l->roles;
}

void traces_touch_local(struct link *l, struct span name)
{
    struct touched *t = touch(l, name);
    if (t == NULL)
        return;
    t->local = t->ends_local = true;
    resets_note(l);
}

bool traces_is_hidden(struct span name)
{
    return memchr(name.data, '.', name.size) != NULL || traces_is_name(name, "role");
}

bool traces_may_reset(const struct link *l, const struct statement_state *state, struct span name)
{
    return state->is_default || (state->may_be_default && resets_go_to_base(l, name) && !traces_is_hidden(name));
}

/* Back to who logged in: of a client that is not pinned by having become somebody else it ends at most a SET ROLE. */
static void on_session_authorization(struct link *l, const struct statement_state *state)
{
    if (state->is_default)
        traces_touch(l, span_of("role"), true);
    else
        traces_pin(l, "session authorization");
}

static void touch_either(struct link *l, struct span name, bool sets, bool resets)
{
    if (sets)
        traces_touch(l, name, false);
    if (resets)
        traces_touch(l, name, true);
}

static void on_setting(struct link *l, const struct statement_state *state)
{
    struct buffer name = { 0 };
    statement_state_name(state, &l->sql, &name);
    struct span text = buffer_span(&name);
    meanings_note(l, text);
    bool tells = link_server_parameter(l->server, text) != NULL && !l->discarded;
    bool resets = traces_may_reset(l, state, text);
    if (span_is(text, "role") || span_is(text, "session_authorization"))
        l->roles++;
    if (span_is(text, "session_authorization"))
        on_session_authorization(l, state);
    else if (span_is(text, "idle_session_timeout") && !state->is_default)
        traces_pin(l, "idle session timeout"); /* it is the client that shall go then, not a server of the pool */
    else if (!tells || resets || traces_have(l, text))
        touch_either(l, text, !state->is_default, resets);
    buffer_free(&name);
}

/* Those that are being asked for are not known yet. */
void traces_reset_unless_role(struct link *l, const char *name)
{
    if (!settings_is_role(name))
        traces_touch(l, span_of(name), true);
}

/* What a text leaves behind. */
struct traces {
    struct link *l;
    struct span text;
    bool touches_all; /* RESET ALL stands in it: what the client has is among what is touched */
    size_t effort;    /* bytes of the texts that it executes */
};

/* What is touched was reset. */
static void reset_again(struct link *l)
{
    for (size_t i = l->asked_count; i < l->touched_count; i++)
        if (!settings_is_role(l->touched[i].name))
            reset_touched(l, &l->touched[i]);
}

static void on_reset_all(struct traces *t)
{
    struct link *l = t->l;
    meanings_note(l, (struct span){ 0 });
    if (t->touches_all) {
        reset_again(l);
        return;
    }
    t->touches_all = true;
    for (size_t i = 0, count = l->touched_count; i < count; i++)
        traces_reset_unless_role(l, l->touched[i].name);
    for (size_t i = 0; i < parameters_count(l->wanted); i++)
        traces_reset_unless_role(l, parameters_at(l->wanted, i)->name);
    resets_touch_base(l);
}

static void on_local_setting(struct link *l, const struct statement_state *state)
{
    struct buffer name = { 0 };
    statement_state_name(state, &l->sql, &name);
    struct span text = buffer_span(&name);
    meanings_note(l, text);
    if (resets_go_to_base(l, text) && traces_may_reset(l, state, text))
        traces_touch_local(l, text);
    buffer_free(&name);
}

static statement_on_state on_state_of_executed;

/* Many times the text that it is for. */
static bool is_too_much(const struct traces *t)
{
    return t->effort / 8 > t->text.size + 8192;
}

static void on_execute(struct traces *t, const struct statement_state *state)
{
    struct link *l = t->l;
    struct buffer name = { 0 };
    if (is_too_much(t)) {
        meanings_note(l, (struct span){ 0 });
        traces_pin(l, "unknown statement");
        return;
    }
    statement_state_name(state, &l->sql, &name);
    const struct shared_statement *s = handles_find(&l->handles, buffer_span(&name));
    buffer_free(&name);
    if (s == NULL || !s->leaves_state)
        return;
    t->effort += shared_statement_text(s).size;
    statement_states(shared_statement_text(s), &l->sql, on_state_of_executed, t);
}

bool traces_may_be_setting(enum state_cause cause)
{
    return cause == STATE_UNKNOWN_SETTING || cause == STATE_UNREADABLE_NAME || cause == STATE_DO_BLOCK;
}

static void on_any_setting(struct link *l)
{
    meanings_note(l, (struct span){ 0 });
    resets_touch_any(l);
}

static void on_state(void *owner, const struct statement_state *state)
{
    struct traces *t = owner;
    struct link *l = t->l;
    switch (state->kind) {
    case STATE_SETTING:
        on_setting(l, state);
        return;
    case STATE_LOCAL_SETTING:
        on_local_setting(l, state);
        return;
    case STATE_RESET_ALL:
        on_reset_all(t);
        return;
    case STATE_DISCARD_ALL:
        resets_note_discard(l);
        l->tags_matter = l->forgets = true;
        return;
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
        if (traces_may_be_setting(state->cause))
            on_any_setting(l);
        return;
    case STATE_DISCARD_PLANS:
    case STATE_DISCARD_SEQUENCES:
    case STATE_DISCARD_TEMP:
    case STATE_PREPARE: /* sql_names.c */
    case STATE_DEALLOCATE:
        return;
    case STATE_EXECUTE:
        on_execute(t, state);
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
    struct traces traces = { .l = l, .text = text };
    statement_states(text, &l->sql, on_state, &traces);
}

/* However it was written. */
static bool is_temporary_path(struct span name, struct span value)
{
    return traces_is_name(name, "search_path") && statement_path_is_temporary(value);
}

static bool has_temporary_base(const struct link *l)
{
    const char *path = parameters_value(l->base, span_of("search_path"));
    return path != NULL && statement_path_is_temporary(span_of(path));
}

void traces_note_base(struct link *l)
{
    if (has_temporary_base(l))
        traces_pin(l, statement_state_cause(STATE_TEMPORARY_TABLE));
}

/* --- asking --------------------------------------------------------------------------------------------- */

static void append_question(struct buffer *sql, const struct link *l, const char *name)
{
    buffer_append_text(sql, "pg_catalog.current_setting(");
    settings_append_literal(sql, span_of(name), l->sql.encoding);
    buffer_append_text(sql, ",true)");
}

/* And that has run, and was not undone. */
static bool is_reset_last(const struct link *l, const struct touched *t)
{
    return l->status == 'I' && t->ends_reset && resets_are_certain(l);
}

/* The value alone would not tell a RESET that was undone from one to the same value. */
void traces_append_question_of_reset(struct buffer *sql, const struct link *l, const struct touched *t)
{
    buffer_append_text(sql, "CASE WHEN pg_catalog.lower(");
    settings_append_literal(sql, span_of(t->name), l->sql.encoding);
    buffer_append_text(sql, ") OPERATOR(pg_catalog.=) ANY(");
    buffer_append_text(sql, is_reset_last(l, t) ? "defaults" : "unset");
    buffer_append_text(sql, ") THEN NULL ELSE ");
    append_question(sql, l, t->name);
    buffer_append_text(sql, " END");
}

static void append_names(struct buffer *sql, const char *or_what, const char *as)
{
    buffer_append_text(sql, "ARRAY(SELECT pg_catalog.lower(name) FROM pg_catalog.pg_settings WHERE source"
                            " OPERATOR(pg_catalog.<>) 'session'");
    buffer_append_text(sql, or_what);
    buffer_append_text(sql, ") AS ");
    buffer_append_text(sql, as);
}

/* The view is read once for all of them: OFFSET keeps it from being read for each. What was reset and then hidden by a SET LOCAL up to the end of
 * the transaction has its default as if somebody had set that. */
void traces_append_names(struct buffer *sql, bool unset, bool defaults)
{
    buffer_append_text(sql, " FROM (SELECT ");
    if (unset)
        append_names(sql, "", "unset");
    if (unset && defaults)
        buffer_append_text(sql, ",");
    if (defaults)
        append_names(sql, " OR setting OPERATOR(pg_catalog.=) reset_val", "defaults");
    buffer_append_text(sql, " OFFSET 0) AS names");
}

/* It may have gone back to the client's startup packet. */
static bool may_be_at_base(const struct link *l, const struct touched *t)
{
    return t->reset && resets_go_to_base(l, span_of(t->name));
}

void traces_ask(struct link *l, struct actions *out)
{
    struct buffer sql = { 0 };
    bool any_unset = false, any_default = false;
    buffer_append_text(&sql, settings_head(l));
    for (size_t i = 0; i < l->touched_count; i++) {
        const struct touched *t = &l->touched[i];
        bool may_be_reset = may_be_at_base(l, t), is_last = is_reset_last(l, t);
        buffer_append_text(&sql, i > 0 ? "," : "SELECT ");
        if (may_be_reset)
            traces_append_question_of_reset(&sql, l, t);
        else
            append_question(&sql, l, t->name);
        any_unset |= may_be_reset && !is_last;
        any_default |= may_be_reset && is_last;
    }
    if (any_unset || any_default)
        traces_append_names(&sql, any_unset, any_default);
    l->asked_count = l->touched_count;
    l->asked_roles = l->roles;
    settings_say(l, &sql, FOR_ANSWER, out);
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

static bool is_nothing(struct span value)
{
    return value.size == 0 || span_is(value, "none");
}

/* The setting was reset: the client wants what it began with, and the server has its own default. One that stays with the client is told what
 * it was not told. */
static void go_to_base(struct link *l, struct span name, struct span value)
{
    const char *base = parameters_value(l->base, name);
    struct span nothing = { 0 };
    bool stays = l->pinned || l->keeps_server;
    l->wanted = parameters_with(l->wanted, name, base != NULL ? span_of(base) : nothing);
    l->server->told = parameters_with(l->server->told, name, stays || is_nothing(value) ? nothing : value);
}

/* One that is hidden is reset when it is empty, or was reset last; or, where all that the client has set is known, when it is another one. */
bool traces_is_unset(const struct link *l, const struct touched *t, struct span value, const char *before)
{
    if (value.data == NULL || !traces_is_hidden(span_of(t->name)))
        return value.data == NULL;
    if (is_nothing(value) || (t->ends_reset && resets_are_certain(l)))
        return true;
    bool is_known = !l->pinned && !l->keeps_server && before != NULL;
    return is_known && !t->set && !span_is(value, before);
}

/* Undone since, when nothing has changed. */
static void settle_reset(struct link *l, struct span name, struct span value)
{
    const char *before = parameters_value(l->wanted, name);
    if (before != NULL && !span_is(value, before))
        go_to_base(l, name, (struct span){ 0 });
}

/* As one of the settings that follow the client. False: they are too many, or too large. */
static bool may_keep(struct link *l, struct span name, struct span value)
{
    const char *known = parameters_value(l->wanted, name);
    size_t before = known != NULL ? name.size + strlen(known) : 0;
    size_t after = parameters_size(l->wanted) - before + name.size + value.size;
    if (value.data == NULL ||
        (after <= SETTINGS_SIZE_MAX && (known != NULL || parameters_count(l->wanted) < SETTINGS_MAX)))
        return true;
    traces_pin(l, "many settings");
    return false;
}

static void settle_set(struct link *l, const struct touched *t, struct span value, const struct parameters *before)
{
    struct span name = span_of(t->name);
    const char *known = parameters_value(l->wanted, name), *role = NULL;
    if (!may_keep(l, name, value))
        return;
    if (is_temporary_path(name, value))
        traces_pin(l, statement_state_cause(STATE_TEMPORARY_TABLE));
    l->server->told = parameters_with(l->server->told, name, value);
    if (known != NULL && span_is(value, known))
        return;
    if (!settings_is_role(t->name) && !find_role(l, t, before, &role) && value.size > 0)
        traces_pin(l, "setting between changes of the role");
    l->wanted = parameters_with_role(l->wanted, name, value, role);
}

static void forget_touched(struct link *l, size_t first, size_t count)
{
    for (size_t i = first; i < first + count; i++)
        free(l->touched[i].name);
    l->touched_count -= count;
    if (l->touched_count > first)
        memmove(l->touched + first, l->touched + first + count, (l->touched_count - first) * sizeof *l->touched);
}

void traces_forget_touched(struct link *l, size_t i)
{
    forget_touched(l, i, 1);
}

struct span traces_next_value(struct wire *row)
{
    int32_t size = wire_i32(row);
    return size < 0 ? (struct span){ 0 } : wire_bytes(row, (size_t)size);
}

/* The role, or all others. False: the row ends too soon. */
static bool settle_row(struct link *l, const struct frame *row, const struct parameters *before, bool role)
{
    struct wire w = wire_open(frame_body(row));
    wire_u16(&w);
    for (size_t i = 0; i < l->asked_count; i++) {
        const struct touched *t = &l->touched[i];
        struct span value = traces_next_value(&w);
        if (w.failed)
            return false;
        if (settings_is_role(t->name) != role)
            continue;
        if (may_be_at_base(l, t) && traces_is_unset(l, t, value, parameters_value(before, span_of(t->name))))
            go_to_base(l, span_of(t->name), value);
        else if (t->reset && !t->set && !may_be_at_base(l, t))
            settle_reset(l, span_of(t->name), value);
        else
            settle_set(l, t, value, before);
    }
    return true;
}

static void forget_asked(struct link *l)
{
    forget_touched(l, 0, l->asked_count);
    l->asked_count = 0;
    l->settled_roles = l->asked_roles;
}

/* The role first: others are set under it. Of a row that is too long only the beginning may be here. */
void traces_answer(struct link *l, const struct frame *row)
{
    if (row->bytes.size + row->left > SETTINGS_SIZE_MAX) {
        forget_asked(l);
        traces_pin(l, "many settings");
        return;
    }
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
    if (is_temporary_path(name, value))
        traces_pin(l, statement_state_cause(STATE_TEMPORARY_TABLE));
    if (!may_keep(l, name, value))
        return;
    l->wanted = parameters_with(l->wanted, name, value);
    l->server->told = parameters_with(l->server->told, name, value);
}

void traces_forget(struct link *l)
{
    parameters_release(l->wanted);
    l->wanted = parameters_retain(l->base);
    forget_touched(l, 0, l->touched_count);
    l->asked_count = 0;
    l->settled_roles = l->roles;
    l->pinned = !l->keeps_server && has_temporary_base(l);
    l->unsure = false;
    l->unsure_unit = 0;
    listens_forget(l);
}

void traces_free(struct link *l)
{
    forget_touched(l, 0, l->touched_count);
    free(l->touched);
}
