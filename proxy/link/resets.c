/* RESET, SET … TO DEFAULT and DISCARD ALL of what the client's startup packet says (P5).
 *
 * On a server of its own these go back to the startup packet. A server of a pool was opened without it, and goes back to defaults of its own.
 * So the client's unit with a reset is not over when the server says so:
 *
 *     ReadyForQuery of the unit --> undone, perhaps? ask --> tell the server what it has lost --> the client's ReadyForQuery
 *                  (held back)            traces.c              settings.c
 *
 * Meanwhile nothing that the client has sent behind it leaves, and the client is not shown what the server reports: it hears of the value that
 * holds in the end, if that is news. Inside a transaction the server is told there, so that a ROLLBACK takes back both. What stands behind the
 * reset in the same string of statements, or in the same pipeline ahead of its Sync, meets the server's defaults.
 *
 * With pool = session, or a pin, a server keeps all else that its client has set, and nobody knows what that is: there it is told
 * those settings alone. */
#include <string.h>

#include "protocol/message.h"
#include "proxy/link/inside.h"

/* --- noting ------------------------------------------------------------------------------------------------- */

void resets_note(struct link *l)
{
    struct resets *r = &l->resets;
    l->tags_matter = true;
    if (r->noted)
        return;
    r->noted = true;
    r->ran = r->undone = false;
    r->unit = l->owed.unit;
}

void resets_note_discard(struct link *l)
{
    if (resets_matter(l))
        resets_note(l);
}

void resets_touch_base(struct link *l)
{
    for (size_t i = 0; i < parameters_count(l->base); i++)
        traces_reset_unless_role(l, parameters_at(l->base, i)->name);
}

/* --- noting with pool = session ------------------------------------------------------------------------------- */

/* A text that may hold a reset, where nothing else that it leaves behind matters. */
struct kept_text {
    struct link *l;
    bool resets;
};

static void on_kept_setting(struct kept_text *text, const struct statement_state *state)
{
    struct link *l = text->l;
    struct buffer made = { 0 };
    statement_state_name(state, &l->sql, &made);
    struct span name = buffer_span(&made);
    if (span_is(name, "session_authorization") && state->is_default)
        name = span_of("role");
    if (resets_go_to_base(l, name) && (state->is_default || traces_have(l, name)))
        traces_touch(l, name, state->is_default);
    text->resets |= state->is_default && resets_go_to_base(l, name);
    buffer_free(&made);
}

static void on_kept_state(void *owner, const struct statement_state *state)
{
    struct kept_text *text = owner;
    if (state->kind == STATE_SETTING)
        on_kept_setting(text, state);
    else if (state->kind == STATE_RESET_ALL)
        resets_touch_base(text->l);
    else if (state->kind == STATE_DISCARD_ALL)
        resets_note(text->l);
    text->resets |= state->kind == STATE_RESET_ALL || state->kind == STATE_DISCARD_ALL;
}

/* True: there is one in it. */
static bool note_kept(struct link *l, struct span text)
{
    struct kept_text kept = { .l = l };
    if (statement_may_leave_state(text))
        statement_states(text, &l->sql, on_kept_state, &kept);
    return kept.resets;
}

void resets_note_kept(struct link *l, struct span text)
{
    note_kept(l, text);
}

void resets_note_kept_parse(struct link *l, const struct message_parse *parse)
{
    struct shared_statement *made = NULL, *before;
    bool resets = note_kept(l, parse->text);
    if (parse->name.size == 0 || (l->handles.count == 0 && !resets))
        return;
    if (resets && l->handles.count < HANDLES_MAX)
        made = statements_share(l->statements, span_make(parse->text.data, parse->text.size + 1), false, &l->sql,
                                MEANING_OF_ONE);
    before = handles_set(&l->handles, parse->name, made);
    if (before != NULL)
        statements_release(l->statements, before);
}

void resets_note_kept_bind(struct link *l, struct span name)
{
    const struct shared_statement *s = l->handles.count > 0 ? handles_find(&l->handles, name) : NULL;
    if (s != NULL)
        note_kept(l, shared_statement_text(s));
}

/* --- what becomes of it ----------------------------------------------------------------------------------------- */

void resets_on_tag(struct link *l, const struct owed *entry, struct span tag)
{
    struct resets *r = &l->resets;
    if (!r->noted || entry == NULL || (int32_t)(entry->unit - r->unit) < 0)
        return;
    r->undone |= span_is(tag, "ROLLBACK");
    r->ran |= span_is(tag, "RESET") || span_is(tag, "SET") || span_is(tag, "DISCARD ALL");
}

void resets_on_error(struct link *l)
{
    l->resets.undone |= l->resets.noted;
}

static bool is_certain(const struct link *l)
{
    return l->resets.ran && !l->resets.undone;
}

/* --- what is shown ------------------------------------------------------------------------------------------------ */

static bool is_touched(const struct link *l, struct span name)
{
    for (size_t i = 0; i < l->touched_count; i++)
        if (l->touched[i].reset && traces_is_name(name, l->touched[i].name))
            return true;
    return false;
}

bool resets_hide(struct link *l, struct span name)
{
    struct resets *r = &l->resets;
    const char *before = link_server_parameter(l->server, name);
    if (!r->noted || !resets_go_to_base(l, name) || (!l->discarded && !is_touched(l, name)))
        return false;
    if (r->known == NULL)
        r->known = parameters_none();
    if (before != NULL && parameters_value(r->known, name) == NULL)
        r->known = parameters_with(r->known, name, span_of(before));
    return true;
}

/* The client has one value, as far as anybody told it, and the server another. */
static void show_news(struct link *l, struct span name)
{
    const char *now = link_server_parameter(l->server, name), *had = parameters_value(l->shown, name);
    if (had == NULL)
        had = parameters_value(l->resets.known, name);
    if (now == NULL || had == NULL || strcmp(now, had) == 0)
        return;
    message_add_parameter_status(&l->own, name, span_of(now));
    l->shown = parameters_with(l->shown, name, span_of(now));
}

enum verdict resets_show_ready(struct link *l)
{
    struct resets *r = &l->resets;
    for (size_t i = 0; r->known != NULL && i < parameters_count(l->base); i++)
        show_news(l, span_of(parameters_at(l->base, i)->name));
    parameters_release(r->known);
    r->known = NULL;
    r->waits = false;
    if (l->status == 'I')
        resets_end(l);
    if (l->own.size == 0)
        return SHOW;
    message_add_ready(&l->own, l->status);
    return REPLACE;
}

/* --- telling -------------------------------------------------------------------------------------------------------- */

/* The client's server stays with it whatever it says, and what else is set there is not known. */
static bool stays(const struct link *l)
{
    return l->pinned || l->keeps_server;
}

/* True: it is one of the startup packet, and was reset last. */
static bool is_reset(const struct link *l, const struct touched *t)
{
    return t->ends_reset && resets_go_to_base(l, span_of(t->name));
}

/* A set of those in the startup packet that `lacks` says; a reference to let go. */
static struct parameters *select_base(struct link *l, bool (*lacks)(struct link *l, struct span name))
{
    struct parameters *found = parameters_none();
    for (size_t i = 0; i < parameters_count(l->base); i++) {
        const struct parameter *p = parameters_at(l->base, i);
        if (lacks(l, span_of(p->name)))
            found = parameters_with(found, span_of(p->name), span_of(p->value));
    }
    return found;
}

static bool was_reset(struct link *l, struct span name)
{
    for (size_t i = 0; i < l->touched_count; i++)
        if (l->touched[i].ends_reset && traces_is_name(name, l->touched[i].name))
            return true;
    return false;
}

static bool is_not_told(struct link *l, struct span name)
{
    return parameters_value(l->server->told, name) == NULL;
}

/* From here on they are settings like others, of which the end of the transaction decides. */
static void take_as_set(struct link *l)
{
    for (size_t i = l->touched_count; i-- > 0;) {
        struct touched *t = &l->touched[i];
        if (is_reset(l, t) && l->keeps_server) {
            traces_forget_touched(l, i);
        } else if (is_reset(l, t)) {
            t->set = true;
            t->reset = t->ends_reset = false;
        }
    }
    l->resets.noted = false;
}

static bool go_on_inside(struct link *l, struct actions *out)
{
    struct parameters *what = is_certain(l) ? select_base(l, was_reset) : parameters_none();
    bool any = parameters_count(what) > 0;
    if (any) {
        settings_restore(l, what, out);
        take_as_set(l);
    }
    parameters_release(what);
    return any;
}

/* Nothing else can have become of them. */
static void settle(struct link *l)
{
    for (size_t i = l->touched_count; i-- > 0;) {
        if (!l->touched[i].ends_reset)
            continue;
        traces_go_to_base(l, span_of(l->touched[i].name));
        traces_forget_touched(l, i);
    }
}

/* What may have been reset, or on a server that goes to others, what was set with it. */
static bool is_open(const struct link *l)
{
    for (size_t i = 0; i < l->touched_count; i++)
        if (!stays(l) || (l->touched[i].reset && resets_go_to_base(l, span_of(l->touched[i].name))))
            return true;
    return false;
}

static void tell_missing(struct link *l, struct actions *out)
{
    struct parameters *what = select_base(l, is_not_told);
    settings_restore(l, what, out);
    for (size_t i = 0; i < parameters_count(what); i++) {
        const struct parameter *p = parameters_at(what, i);
        l->wanted = parameters_with(l->wanted, span_of(p->name), span_of(p->value));
        l->server->told = parameters_with(l->server->told, span_of(p->name), span_of(p->value));
    }
    parameters_release(what);
}

static bool go_on_between(struct link *l, struct actions *out)
{
    if (!l->resets.ran) /* it was only described, or has failed */
        return false;
    if (is_certain(l))
        settle(l);
    if (is_open(l))
        traces_ask(l, out);
    else if (stays(l) && parameters_count(l->server->told) > 0)
        tell_missing(l, out);
    else
        settings_tell(l, out);
    return l->owed.count > 0;
}

bool resets_repeat(struct link *l)
{
    struct resets *r = &l->resets;
    if (!r->noted || !r->waits || r->repeats)
        return false;
    for (size_t i = 0; i < parameters_count(l->base); i++)
        l->server->told =
            parameters_with(l->server->told, span_of(parameters_at(l->base, i)->name), (struct span){ 0 });
    l->server->needs_reset =
        true; /* if the client goes before it is repeated, nobody knows what the server still has of them */
    return r->repeats = true;
}

bool resets_go_on(struct link *l, struct actions *out)
{
    bool says = false;
    if (l->resets.noted && l->status == 'T')
        says = go_on_inside(l, out);
    else if (l->resets.noted && l->status == 'I')
        says = go_on_between(l, out);
    l->resets.waits |= says;
    return says;
}

/* --- the end ---------------------------------------------------------------------------------------------------------- */

void resets_end(struct link *l)
{
    parameters_release(l->resets.known);
    memset(&l->resets, 0, sizeof l->resets);        /* to the last byte: a link that sleeps is compared */
    while (l->keeps_server && l->touched_count > 0) /* nobody asks for them */
        traces_forget_touched(l, l->touched_count - 1);
}
