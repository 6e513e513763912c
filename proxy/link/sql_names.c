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

static void on_prepare(struct rewriting *r, const struct statement_state *state, struct span name)
{
    struct link *l = r->l;
    const struct shared_statement *known = handles_find(&l->handles, name);
    if (known != NULL) { /* the server shall say so */
        ensure_there(l, known, r->out);
        replace(r, state, known->name, change_new((struct span){ 0 }));
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

struct search {
    const struct link *l;
    bool found;
};

static void look_for_open_name(void *owner, const struct statement_state *state)
{
    struct search *search = owner;
    struct buffer name = { 0 };
    if (state->kind != STATE_PREPARE && state->kind != STATE_EXECUTE && state->kind != STATE_DEALLOCATE)
        return;
    statement_state_name(state, &search->l->sql, &name);
    search->found |= name_is_open(search->l, buffer_span(&name));
    buffer_free(&name);
}

bool sql_names_are_open(const struct link *l, struct span text)
{
    struct search search = { l, false };
    if (statement_may_leave_state(text))
        statement_states(text, &l->sql, look_for_open_name, &search);
    return search.found;
}

/* Behind the name that begins at `at`, in quotes. */
static size_t end_of_name(struct span words, size_t at)
{
    while (at < words.size && words.data[at] != '"')
        at++;
    return at;
}

/* The client's name for the statement that is called so on servers, also if it has closed that meanwhile; NULL: it has none. */
static const char *find_name(const struct link *l, struct span there)
{
    const struct handle *h = handles_find_there(&l->handles, there);
    for (size_t i = 0; h == NULL && i < l->owed.count; i++)
        for (const struct change *c = owed_at(&l->owed, i)->change; c != NULL; c = c->next)
            if (c->before != NULL && span_is(there, c->before->name))
                return c->name;
    return h != NULL ? h->name : NULL;
}

bool sql_names_put_back(const struct link *l, struct span words, struct buffer *out)
{
    static const char prefix[] = "\"pgatomic_";
    const char *found = words.size > 0 ? memmem(words.data, words.size, prefix, sizeof prefix - 1) : NULL;
    if (found == NULL)
        return false;
    size_t at = (size_t)(found - words.data) + 1, end = end_of_name(words, at);
    const char *name = find_name(l, span_make(words.data + at, end - at));
    if (name == NULL)
        return false;
    buffer_append(out, words.data, at);
    buffer_append_text(out, name);
    buffer_append(out, words.data + end, words.size - end);
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
