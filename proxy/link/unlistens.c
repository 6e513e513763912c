/* What the UNLISTENs of a transaction come to (P6).
 *
 * They count when it commits, and not where a ROLLBACK TO has taken them back. The server that runs them does not listen to what the client
 * hears, and cannot tell; so it is kept here which have succeeded, in which order with the savepoints that have been set since the first of
 * them. A savepoint that is not known is older than all of them. When there are too many of both none of them counts any more: the
 * client goes on hearing what it has not asked for, and misses nothing. */
#include <stdlib.h>

#include "protocol/memory.h"
#include "protocol/statement.h"
#include "proxy/link/inside.h"

enum { NOTED_MAX = 20000 };

/* --- what has succeeded --------------------------------------------------------------------------------- */

static void keep_first(struct unlistens *u, size_t count)
{
    while (u->count > count)
        free(u->list[--u->count].name);
}

static void note(struct unlistens *u, enum listening what, const char *name)
{
    const struct unlisten *last = u->count > 0 ? &u->list[u->count - 1] : NULL;
    if (u->lost || (last != NULL && last->what == what && what != LISTENING_SAVEPOINT && strcmp(last->name, name) == 0))
        return;
    if (u->count == NOTED_MAX) {
        keep_first(u, 0);
        u->lost = true;
        return;
    }
    u->list = memory_grow(u->list, &u->capacity, u->count, sizeof *u->list);
    u->list[u->count++] = (struct unlisten){ what, memory_copy_text(name) };
}

/* Where the last savepoint of that name stands; their count: it is older. */
static size_t find_savepoint(const struct unlistens *u, const char *name)
{
    for (size_t i = u->count; i-- > 0;)
        if (u->list[i].what == LISTENING_SAVEPOINT && strcmp(u->list[i].name, name) == 0)
            return i;
    return u->count;
}

static void roll_back_to(struct unlistens *u, const char *name)
{
    size_t at = find_savepoint(u, name);
    keep_first(u, at < u->count ? at + 1 : 0);
}

static void release(struct unlistens *u, const char *name)
{
    size_t at = find_savepoint(u, name), kept;
    kept = at = at < u->count ? at : 0;
    for (; at < u->count; at++) {
        if (u->list[at].what == LISTENING_SAVEPOINT)
            free(u->list[at].name);
        else
            u->list[kept++] = u->list[at];
    }
    u->count = kept;
}

void unlistens_end_transaction(struct link *l)
{
    struct listens *n = &l->listens;
    struct unlistens *u = &n->unlistens;
    for (size_t i = 0; i < u->count && !n->undone; i++) {
        if (u->list[i].what == LISTENING_TO_ONE_LESS)
            listens_leave(l, span_of(u->list[i].name));
        else if (u->list[i].what == LISTENING_TO_NOTHING)
            listens_leave_all(l);
    }
    keep_first(u, 0);
    u->lost = false;
}

void unlistens_confirm(struct link *l, const struct change *c)
{
    struct unlistens *u = &l->listens.unlistens;
    switch ((enum listening)c->listening) {
    case LISTENING_AS_BEFORE:
        return;
    case LISTENING_TO_ONE_LESS:
    case LISTENING_TO_NOTHING:
    case LISTENING_SAVEPOINT:
        note(u, (enum listening)c->listening, c->name);
        return;
    case LISTENING_RELEASE:
        release(u, c->name);
        return;
    case LISTENING_ROLLBACK_TO:
        roll_back_to(u, c->name);
        return;
    case LISTENING_END:
        unlistens_end_transaction(l);
        return;
    }
}

/* --- on the way to the server ------------------------------------------------------------------------------- */

static enum listening listening_of(const struct statement *s)
{
    static const uint8_t kinds[] = {
        [STATEMENT_UNLISTEN] = LISTENING_TO_ONE_LESS, [STATEMENT_SAVEPOINT] = LISTENING_SAVEPOINT,
        [STATEMENT_RELEASE] = LISTENING_RELEASE,      [STATEMENT_ROLLBACK_TO] = LISTENING_ROLLBACK_TO,
        [STATEMENT_COMMIT] = LISTENING_END,           [STATEMENT_ROLLBACK] = LISTENING_END
    };
    if (s->kind == STATEMENT_UNLISTEN && s->name.kind == OPERAND_NONE)
        return LISTENING_TO_NOTHING;
    return s->kind < sizeof kinds / sizeof kinds[0] ? (enum listening)kinds[s->kind] : LISTENING_AS_BEFORE;
}

static struct change *change_of(const struct link *l, const struct statement *s)
{
    struct buffer name = { 0 };
    enum listening what = listening_of(s);
    bool is_named = what != LISTENING_TO_NOTHING && what != LISTENING_END;
    if (what == LISTENING_AS_BEFORE || (is_named && !operand_decode(&s->name, &l->sql, &name)))
        return NULL;
    struct change *c = change_new(buffer_span(&name));
    c->listening = (uint8_t)what;
    buffer_free(&name);
    return c;
}

/* Those that are there already stay in front of those of the same statement. */
void unlistens_add_changes(struct link *l, struct span text, struct change **changes)
{
    struct statement s;
    size_t index = 0;
    for (size_t at = 0; statement_next(text, &at, &l->sql, &s); index++) {
        struct change *c = change_of(l, &s);
        if (c == NULL)
            continue;
        while (*changes != NULL && (*changes)->index <= index)
            changes = &(*changes)->next;
        c->index = index;
        c->next = *changes;
        *changes = c;
    }
}

void unlistens_bind(struct link *l, struct span name)
{
    const struct shared_statement *s = handles_find(&l->handles, name);
    struct change **bound = &l->listens.bound;
    change_free(l, *bound);
    *bound = NULL;
    if (s != NULL)
        unlistens_add_changes(l, shared_statement_text(s), bound);
    else if (name.size == 0 && l->has_unnamed)
        unlistens_add_changes(l, span_of(l->unnamed.data), bound);
}

struct change *unlistens_execute(struct link *l)
{
    struct change *bound = l->listens.bound;
    l->listens.bound = NULL;
    return bound;
}

void unlistens_free(struct link *l)
{
    struct unlistens *u = &l->listens.unlistens;
    change_free(l, unlistens_execute(l));
    keep_first(u, 0);
    free(u->list);
    *u = (struct unlistens){ 0 };
}
