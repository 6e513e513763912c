/* Prepared statements by their names in SQL: PREPARE, EXECUTE, DEALLOCATE (P4).
 *
 * They share their names with those of the protocol's Parse, on plain PostgreSQL as here. A text that names one is rewritten in
 * place: the name gives way to the one that the statement has on servers, and what it needs is prepared there first. */
#include <stdio.h>
#include <stdlib.h>

#include "protocol/memory.h"
#include "protocol/statement_state.h"
#include "proxy/link/inside.h"

struct rewriting {
    struct link *l;
    struct span text;
    struct buffer *made;
    size_t copied; /* bytes of the text that are in `made`, or were replaced there */
    struct change **last;
    struct actions *out;
};

/* Puts `name` in the place of the operand. The change that goes with it, at the end of the list. */
static void replace(struct rewriting *r, const struct statement_state *state, const char *name, struct change *c)
{
    struct span before = state->name.raw;
    size_t at = (size_t)(before.data - r->text.data);
    buffer_append(r->made, r->text.data + r->copied, at - r->copied);
    buffer_append_text(r->made, name);
    r->copied = at + before.size;
    c->index = state->index;
    c->position = encoding_count(r->l->sql.encoding, buffer_span(r->made));
    c->shift = (long)strlen(name) - (long)encoding_count(r->l->sql.encoding, before);
    *r->last = c;
    r->last = &c->next;
}

/* It is there already: the server says so of its own name for it. */
static void prepare_again(struct rewriting *r, const struct statement_state *state, struct span name,
                          const struct shared_statement *known)
{
    struct change *c = change_refused(name, "42P05", "already exists");
    ensure_there(r->l, known, r->out);
    replace(r, state, known->name, c);
}

static void on_prepare(struct rewriting *r, const struct statement_state *state, struct span name)
{
    struct link *l = r->l;
    const struct shared_statement *known = handles_find(&l->handles, name);
    if (known != NULL) {
        prepare_again(r, state, name, known);
        return;
    }
    if (l->handles.count >= HANDLES_MAX) {
        traces_pin(l, "many prepared statements");
        return;
    }
    const char *behind = state->name.raw.data + state->name.raw.size;
    const char *end = state->statement.data + state->statement.size;
    struct span body = span_make(behind, (size_t)(end - behind));
    struct shared_statement *s = statements_share(l->statements, body, true, &l->sql);
    make_room_there(l, s, r->out);
    struct change *c = change_handle(l, name, s);
    c->held = s->id;
    replace(r, state, s->name, c);
}

static void on_execute(struct rewriting *r, const struct statement_state *state, struct span name)
{
    const struct shared_statement *known = handles_find(&r->l->handles, name);
    if (known == NULL)
        return; /* the server says that there is none */
    ensure_there(r->l, known, r->out);
    replace(r, state, known->name, change_new((struct span){ 0 }));
}

static void on_deallocate(struct rewriting *r, const struct statement_state *state, struct span name)
{
    const struct shared_statement *known = handles_find(&r->l->handles, name);
    if (known == NULL)
        return;
    ensure_there(r->l, known, r->out);
    uint64_t id = known->id;
    char there[STATEMENT_NAME_SIZE];
    memcpy(there, known->name, sizeof there);
    struct change *c = change_handle(r->l, name, NULL);
    c->dropped = id;
    replace(r, state, there, c);
}

static void on_state(void *owner, const struct statement_state *state)
{
    struct rewriting *r = owner;
    if (state->kind != STATE_PREPARE && state->kind != STATE_EXECUTE && state->kind != STATE_DEALLOCATE)
        return;
    struct buffer name = { 0 };
    statement_state_name(state, &r->l->sql, &name);
    if (state->kind == STATE_PREPARE)
        on_prepare(r, state, buffer_span(&name));
    else if (state->kind == STATE_EXECUTE)
        on_execute(r, state, buffer_span(&name));
    else
        on_deallocate(r, state, buffer_span(&name));
    buffer_free(&name);
}

bool sql_names_rewrite(struct link *l, struct span text, struct buffer *made, struct change **changes,
                       struct actions *out)
{
    struct rewriting r = { l, text, made, 0, changes, out };
    statement_states(text, &l->sql, on_state, &r);
    if (r.copied == 0)
        return false;
    buffer_append(made, text.data + r.copied, text.size - r.copied);
    return true;
}

size_t sql_names_position(const struct change *changes, size_t position)
{
    long moved = (long)position;
    for (; changes != NULL; changes = changes->next)
        if (changes->position < position)
            moved -= changes->shift;
    return moved > 0 ? (size_t)moved : position;
}
