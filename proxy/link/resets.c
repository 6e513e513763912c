/* RESET, SET … TO DEFAULT and DISCARD ALL of what the client's startup packet says (P5).
 *
 * On a server of its own these go back to the startup packet. A server of a pool was opened without it, and goes back to defaults of its own.
 * So the client's unit with a reset is not over when the server says so:
 *
 *     ReadyForQuery of the unit --> did it run? ask --> tell the server what it has lost --> the client's ReadyForQuery
 *                  (held back)         traces.c              settings.c
 *
 * A reset that was sent may never have run, or be undone by now: the server alone knows what it has at its default. Meanwhile nothing that the
 * client has sent behind it leaves, and the client is not shown what the server reports: it hears of the value that holds in the end, if that
 * is news. What stands behind the reset in the same string of statements, or in the same pipeline ahead of its Sync, meets the server's
 * defaults.
 *
 * Inside a transaction the server is asked and told there, so that a ROLLBACK takes back both; and asked again when one may have taken back
 * the one and not the other. If that fails, as when a cancel request hits it, so does the transaction, and the client gets the error.
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
    r->ran = r->undone = r->asked = r->told = false;
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

/* What came last is not known any more. */
static void doubt_last(struct link *l)
{
    for (size_t i = 0; i < l->touched_count; i++)
        l->touched[i].ends_reset = false;
}

void resets_touch_any(struct link *l)
{
    for (size_t i = 0; i < parameters_count(l->base); i++)
        traces_touch(l, span_of(parameters_at(l->base, i)->name), true);
    doubt_last(l);
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
    if (resets_go_to_base(l, name)) {
        bool resets = traces_may_reset(l, state, name);
        if (state->kind == STATE_LOCAL_SETTING && resets)
            traces_touch_local(l, name);
        else if (state->kind == STATE_SETTING && (resets || traces_have(l, name)))
            traces_touch(l, name, resets);
        text->resets |= resets;
    }
    buffer_free(&made);
}

static bool may_reset_any(const struct statement_state *state)
{
    return state->kind == STATE_PIN && traces_may_be_setting(state->cause);
}

static void on_kept_state(void *owner, const struct statement_state *state)
{
    struct kept_text *text = owner;
    if (state->kind == STATE_SETTING || state->kind == STATE_LOCAL_SETTING)
        on_kept_setting(text, state);
    else if (may_reset_any(state))
        resets_touch_any(text->l);
    else if (state->kind == STATE_RESET_ALL)
        resets_touch_base(text->l);
    else if (state->kind == STATE_DISCARD_ALL)
        resets_note(text->l);
    text->resets |= state->kind == STATE_RESET_ALL || state->kind == STATE_DISCARD_ALL || may_reset_any(state);
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
    if (resets && handles_have_room(&l->handles, parse->name.size + parse->text.size + 1))
        made = statements_share(l->statements, l->scope, span_make(parse->text.data, parse->text.size + 1), false,
                                &l->sql, MEANING_OF_ONE);
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

/* It goes back to the startup packet, for good or until its transaction ends. */
static bool is_reset(const struct link *l, const struct touched *t)
{
    return (t->reset || t->local) && resets_go_to_base(l, span_of(t->name));
}

static bool was_reset_by(const struct link *l, uint32_t unit)
{
    for (size_t i = 0; i < l->touched_count; i++)
        if (is_reset(l, &l->touched[i]) && (int32_t)(unit - l->touched[i].unit) >= 0)
            return true;
    return false;
}

static void doubt(struct link *l)
{
    l->resets.undone = true;
    doubt_last(l);
}

static bool is_under_way(const struct link *l, const struct owed *entry)
{
    return l->resets.noted && (int32_t)(entry->unit - l->resets.unit) >= 0;
}

void resets_on_tag(struct link *l, const struct owed *entry, struct span tag)
{
    struct resets *r = &l->resets;
    if (entry == NULL)
        return;
    bool undoes = span_is(tag, "ROLLBACK");
    if (undoes && !r->noted && was_reset_by(l, entry->unit)) {
        resets_note(l);
        r->unit = entry->unit;
    }
    if (!is_under_way(l, entry))
        return;
    if (undoes)
        doubt(l);
    r->ran = true;
}

void resets_on_error(struct link *l, const struct owed *entry)
{
    if (is_under_way(l, entry))
        doubt(l);
    l->resets.asked = l->resets.told = false;
}

bool resets_are_certain(const struct link *l)
{
    return l->resets.noted && l->resets.ran && !l->resets.undone;
}

/* --- what is shown ------------------------------------------------------------------------------------------------ */

static bool is_touched(const struct link *l, struct span name)
{
    for (size_t i = 0; i < l->touched_count; i++)
        if (is_reset(l, &l->touched[i]) && traces_is_name(name, l->touched[i].name))
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
    for (size_t i = 0; r->known != NULL && i < parameters_count(r->known);
         i++) /* the server's way to write their names */
        show_news(l, span_of(parameters_at(r->known, i)->name));
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

static bool is_not_told(struct link *l, struct span name)
{
    return parameters_value(l->server->told, name) == NULL;
}

/* --- inside a transaction ------------------------------------------------------------------------------------------- */

static bool ask_inside(struct link *l, struct actions *out)
{
    struct buffer sql = { 0 };
    for (size_t i = 0; i < l->touched_count; i++) {
        if (!is_reset(l, &l->touched[i]))
            continue;
        buffer_append_text(&sql, sql.size > 0 ? "," : "SELECT ");
        traces_append_question_of_reset(&sql, l, &l->touched[i]);
    }
    if (sql.size == 0)
        return false;
    traces_append_names(&sql, true, false);
    settings_say(l, &sql, FOR_ANSWER, out);
    return true;
}

void resets_answer(struct link *l, const struct frame *row)
{
    struct wire w = wire_open(frame_body(row));
    if (row->left > 0) /* it is too long; at the end of the transaction it is asked for once more */
        return;
    wire_u16(&w);
    for (size_t i = 0; i < l->touched_count; i++) {
        struct touched *t = &l->touched[i];
        if (!is_reset(l, t))
            continue;
        struct span value = traces_next_value(&w);
        t->at_default = traces_is_unset(l, t, value, parameters_value(l->wanted, span_of(t->name)));
    }
    if (w.failed)
        link_fail(l, "08P01", "the server's answer about settings is malformed");
}

static bool is_at_default(struct link *l, struct span name, bool locally)
{
    for (size_t i = 0; i < l->touched_count; i++)
        if (l->touched[i].at_default && l->touched[i].ends_local == locally && traces_is_name(name, l->touched[i].name))
            return true;
    return false;
}

static bool is_lost(struct link *l, struct span name)
{
    return is_at_default(l, name, false);
}

static bool is_lost_locally(struct link *l, struct span name)
{
    return is_at_default(l, name, true);
}

static bool tell_inside(struct link *l, struct actions *out)
{
    struct parameters *lost = select_base(l, is_lost), *lost_locally = select_base(l, is_lost_locally);
    bool any = parameters_count(lost) + parameters_count(lost_locally) > 0;
    settings_restore(l, lost, false, out);
    settings_restore(l, lost_locally, true, out);
    parameters_release(lost);
    parameters_release(lost_locally);
    return any;
}

/* From here on they are settings like others, of which the end of the transaction decides. What a SET LOCAL hides is still to be told. */
static void take_as_set(struct link *l)
{
    bool any_hidden = false;
    for (size_t i = 0; i < l->touched_count; i++) {
        struct touched *t = &l->touched[i];
        if (t->at_default && !t->ends_local) {
            t->set = true;
            t->ends_reset = false;
        }
        any_hidden |= is_reset(l, t) && t->ends_reset && resets_are_certain(l);
        t->at_default = false;
    }
    l->resets.noted = any_hidden;
    l->resets.asked = l->resets.told = false;
}

static bool go_on_inside(struct link *l, struct actions *out)
{
    struct resets *r = &l->resets;
    if (!r->ran)
        return false;
    if (!r->asked)
        return r->asked = ask_inside(l, out);
    if (!r->told && tell_inside(l, out))
        return r->told = true;
    take_as_set(l);
    return false;
}

/* --- between transactions ------------------------------------------------------------------------------------------- */

/* What may have been reset, or on a server that goes to others, what was set with it. */
static bool is_open(const struct link *l)
{
    for (size_t i = 0; i < l->touched_count; i++)
        if (!stays(l) || is_reset(l, &l->touched[i]))
            return true;
    return false;
}

static void tell_missing(struct link *l, struct actions *out)
{
    struct parameters *what = select_base(l, is_not_told);
    settings_restore(l, what, false, out);
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
    /* If the client goes before it is repeated, nobody knows what the server still has of them. */
    l->server->needs_reset = true;
    return r->repeats = true;
}

bool resets_go_on(struct link *l, struct actions *out)
{
    bool says = false;
    bool inside_message = l->client_left > 0 && !l->client_drops; /* words of our own would be read as its rest */
    if (inside_message || l->server->out_of_step)
        return false;
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
