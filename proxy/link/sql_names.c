/* Prepared statements by their names in SQL: PREPARE, EXECUTE, DEALLOCATE (P4).
 *
 * They share their names with those of the protocol's Parse, on plain PostgreSQL as here. A text that names one is rewritten in
 * place: the name gives way to the one that the statement has on servers, and what it needs is prepared there first. */
#include <stdio.h>
#include <stdlib.h>

#include "protocol/memory.h"
#include "protocol/message.h"
#include "protocol/statement_state.h"
#include "proxy/link/inside.h"

struct rewriting {
    struct link *l;
    struct span text;
    struct buffer *made;
    size_t copied;              /* bytes of the text that are in `made`, or were replaced there */
    size_t counted, characters; /* bytes of `made` that were counted, and the characters that they are */
    struct change **first, **last;
    struct actions *out;
    bool later;              /* it is a portal's */
    bool all_gone;           /* DEALLOCATE ALL stands in the text … */
    struct handles prepared; /* … and behind it these are */
};

/* What the name stands for when the server comes to this place of the text; NULL: nothing. */
static struct shared_statement *find_known(const struct rewriting *r, struct span name)
{
    return handles_find(r->all_gone ? &r->prepared : &r->l->handles, name);
}

/* The name stands for that from here on (NULL: for nothing). */
static struct change *set_known(struct rewriting *r, struct span name, struct shared_statement *take)
{
    struct statements *all = r->l->statements;
    if (r->all_gone) {
        struct shared_statement *mine = take != NULL ? shared_statement_retain(take) : NULL;
        struct shared_statement *before = handles_set(&r->prepared, name, mine);
        if (before != NULL)
            statements_release(all, before);
    }
    return r->later ? change_later(name, take) : change_handle(r->l, name, take);
}

static void add_change(struct rewriting *r, struct change *c)
{
    *r->last = c;
    r->last = &c->next;
}

static void on_deallocate_all(struct rewriting *r, const struct statement_state *state)
{
    struct change *c = change_new((struct span){ 0 });
    handles_free(&r->prepared, r->l->statements);
    r->all_gone = true;
    c->forgets = true;
    c->index = state->index;
    add_change(r, c);
}

/* Of what has been made so far. */
static size_t count_characters(struct rewriting *r)
{
    struct span behind = span_make(r->made->data + r->counted, r->made->size - r->counted);
    r->characters += encoding_count(r->l->sql.encoding, behind);
    r->counted = r->made->size;
    return r->characters;
}

/* Puts `name` in the place of the operand. The change that goes with it, at the end of the list. */
static void replace(struct rewriting *r, const struct statement_state *state, const char *name, struct change *c)
{
    struct span before = state->name.raw;
    size_t at = (size_t)(before.data - r->text.data);
    buffer_append(r->made, r->text.data + r->copied, at - r->copied);
    buffer_append_text(r->made, name);
    r->copied = at + before.size;
    c->index = state->index;
    c->position = count_characters(r);
    c->shift = (long)strlen(name) - (long)encoding_count(r->l->sql.encoding, before);
    add_change(r, c);
}

/* A statement that says nothing, for the server to drop in place of one that stays, or to find in the way of another. */
static void make_stub(struct rewriting *r, char name[STATEMENT_NAME_SIZE])
{
    struct buffer made = { 0 };
    snprintf(name, STATEMENT_NAME_SIZE, "pgatomic_stub_%u", r->l->stubs++);
    message_add_close(&made, 'S', span_of(name));
    say_own(r->l, &made, OWED_CLOSE, r->out);
    message_add_parse(&made, span_of(name), (struct span){ 0 });
    say_own(r->l, &made, OWED_PARSE, r->out);
}

/* The client has it under another name, or had when the text began, or this is not the first PREPARE of it that is under way. */
static bool is_in_use(const struct rewriting *r, const struct shared_statement *s)
{
    if (s->references == 1)
        return false;
    if (server_expects(r->l->server, s->id) || handles_find_there(&r->l->handles, span_of(s->name)) != NULL)
        return true;
    const struct change *c = *r->first;
    while (c != NULL && c->before != s)
        c = c->next;
    return c != NULL;
}

/* What stands behind PREPARE and the name; NULL: there is no room for it. It is prepared where it stands in the text, and so has to be another
 * one than what else the text may need. */
static struct shared_statement *share_prepared(struct rewriting *r, struct span body)
{
    struct link *l = r->l;
    struct shared_statement *s = statements_share(l->statements, l->scope, body, true, &l->sql, meanings_now(l));
    if (s == NULL || !is_in_use(r, s))
        return s;
    statements_release(l->statements, s);
    return statements_share(l->statements, l->scope, body, true, &l->sql, MEANING_OF_ONE);
}

static void on_prepare(struct rewriting *r, const struct statement_state *state, struct span name)
{
    struct link *l = r->l;
    if (find_known(r, name) != NULL) {
        char stub[STATEMENT_NAME_SIZE];
        make_stub(r, stub);
        replace(r, state, stub, change_refused(name, "42P05", "already exists"));
        return;
    }
    const char *behind = state->name.raw.data + state->name.raw.size;
    const char *end = state->statement.data + state->statement.size;
    struct span body = span_make(behind, (size_t)(end - behind));
    bool has_room = handles_have_room(&l->handles, name.size + body.size);
    struct shared_statement *s = has_room ? share_prepared(r, body) : NULL;
    if (s == NULL) { /* it keeps its name, and the client the server */
        traces_pin(l, "many prepared statements");
        return;
    }
    make_room_there(l, s, r->out);
    struct change *c = set_known(r, name, s);
    c->held = s->id;
    c->held_changes = s->changes;
    replace(r, state, s->name, c);
}

/* The server says that there is none. */
static void on_unknown(struct rewriting *r, const struct statement_state *state, struct span name)
{
    struct span there;
    struct change *refusal = refuse_name(name, &there);
    if (refusal != NULL)
        replace(r, state, there.data, refusal);
}

static void on_execute(struct rewriting *r, const struct statement_state *state, struct span name)
{
    struct shared_statement *known = find_known(r, name), *there;
    if (known == NULL) {
        on_unknown(r, state, name);
        return;
    }
    if (known->says_names) {
        replace(r, state, "pgatomic_none",
                change_refused(name, "0A000", "names other statements, and is for Bind alone"));
        return;
    }
    there = ensure_there(r->l, name, known, r->out);
    if (there == NULL) {
        replace(r, state, "pgatomic_none", refuse_unreadable(name));
        return;
    }
    struct change *c = change_new((struct span){ 0 });
    c->used = there->id;
    replace(r, state, there->name, c);
}

/* As with Close the statement stays on the server, for who comes next; so it need not stand there, or be readable yet. */
static void on_deallocate(struct rewriting *r, const struct statement_state *state, struct span name)
{
    if (find_known(r, name) == NULL) {
        on_unknown(r, state, name);
        return;
    }
    char stub[STATEMENT_NAME_SIZE];
    make_stub(r, stub);
    replace(r, state, stub, set_known(r, name, NULL));
}

static void on_state(void *owner, const struct statement_state *state)
{
    struct rewriting *r = owner;
    if (state->kind == STATE_DEALLOCATE_ALL)
        on_deallocate_all(r, state);
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

bool sql_names_rewrite(struct link *l, struct span text, bool later, struct buffer *made, struct change **changes,
                       struct actions *out)
{
    struct rewriting r = {
        .l = l, .text = text, .later = later, .made = made, .first = changes, .last = changes, .out = out
    };
    statement_states(text, &l->sql, on_state, &r);
    handles_free(&r.prepared, l->statements);
    if (r.copied == 0)
        return false;
    buffer_append(made, text.data + r.copied, text.size - r.copied);
    return true;
}

void sql_names_rewrite_body(struct link *l, struct span body, struct buffer *made, struct change **changes,
                            struct actions *out)
{
    struct span text = span_of(body.data);
    size_t kept = sql_names_rewrite(l, text, true, made, changes, out) ? text.size : 0;
    buffer_append(made, body.data + kept, body.size - kept); /* its NUL, and the types */
}

struct search {
    const struct link *l;
    bool found;
};

static void look_for_open_name(void *owner, const struct statement_state *state)
{
    struct search *search = owner;
    struct buffer name = { 0 };
    if (search->found ||
        (state->kind != STATE_PREPARE && state->kind != STATE_EXECUTE && state->kind != STATE_DEALLOCATE))
        return;
    statement_state_name(state, &search->l->sql, &name);
    search->found = name_is_open(search->l, buffer_span(&name));
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
