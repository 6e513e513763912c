/* What is left of a link whose client does nothing.
 *
 * Most clients do nothing most of the time, and then almost all of a link is as it was at its beginning. Whether it may sleep is
 * found out by making it again, on the stack, of what would be kept: it may if that is the same, byte for byte. So nothing that is added to a
 * link can be lost by an oversight. At worst its clients stay awake. */
#include <stdlib.h>

#include "protocol/memory.h"
#include "proxy/link/inside.h"

/* What a client has prepared and can use again. */
struct link_prepared {
    struct handles handles;
    struct buffer unnamed;
    bool has_unnamed, unnamed_leaves_state;
};

static bool has_prepared(const struct link *l)
{
    return l->handles.buckets != NULL || l->unnamed.data != NULL || l->has_unnamed || l->unnamed_leaves_state;
}

/* `prepared` is where what was prepared goes, if there is anything. */
static void take_down(const struct link *l, struct link_asleep *out, struct link_prepared *prepared)
{
    *out = (struct link_asleep){ .base = l->base,
                                 .wanted = l->wanted,
                                 .shown = l->shown,
                                 .encoding = l->sql.encoding,
                                 .roles = l->roles,
                                 .asked_roles = l->asked_roles,
                                 .settled_roles = l->settled_roles,
                                 .standard_conforming_strings = l->sql.standard_conforming_strings,
                                 .sql_known = l->sql_known,
                                 .keeps_server = l->keeps_server,
                                 .prepares_unnamed = l->prepares_unnamed };
    if (!has_prepared(l))
        return;
    *prepared = (struct link_prepared){ l->handles, l->unnamed, l->has_unnamed, l->unnamed_leaves_state };
    out->prepared = prepared;
}

static void set_up(struct link *l, const struct link_asleep *from, const struct link_start *start)
{
    struct link_start same_kind = *start;
    same_kind.keeps_server = from->keeps_server;
    same_kind.prepares_unnamed = from->prepares_unnamed;
    link_init(l, &same_kind);
    l->base = from->base;
    l->wanted = from->wanted;
    l->shown = from->shown;
    l->sql.encoding = from->encoding;
    l->sql.standard_conforming_strings = from->standard_conforming_strings;
    l->sql_known = from->sql_known;
    l->roles = from->roles;
    l->asked_roles = from->asked_roles;
    l->settled_roles = from->settled_roles;
    const struct link_prepared *p = from->prepared;
    if (p == NULL)
        return;
    l->handles = p->handles;
    l->unnamed = p->unnamed;
    l->has_unnamed = p->has_unnamed;
    l->unnamed_leaves_state = p->unnamed_leaves_state;
}

/* --- what does not count --------------------------------------------------------------------------- */

static struct link_start start_of(const struct link *l)
{
    return (struct link_start){ .statements = l->statements,
                                .scope = l->scope,
                                .keeps_server = l->keeps_server,
                                .prepares_unnamed = l->prepares_unnamed,
                                .on_listen = l->listens.on_listen,
                                .on_unlisten = l->listens.on_unlisten,
                                .on_pinned = l->on_pinned,
                                .context = l->context };
}

/* Room for what there is nothing of. */
static void overlook_room(struct buffer *to, const struct buffer *from)
{
    if (from->size == 0)
        *to = *from;
}

/* The unnamed statement that a server has counts as nobody's when the link sleeps: it is parsed once more. */
static void overlook(struct link *to, const struct link *from)
{
    to->serial = from->serial;
    overlook_room(&to->partial, &from->partial);
    overlook_room(&to->own, &from->own);
    overlook_room(&to->error_text, &from->error_text);
    if (from->owed.count == 0)
        to->owed = from->owed;
    if (from->touched_count == 0) {
        to->touched = from->touched;
        to->touched_capacity = from->touched_capacity;
    }
    to->meant = from->meant; /* looked up anew */
    to->meaning = from->meaning;
    if (from->client_left == 0)
        to->client_drops = from->client_drops;
    if (from->server_left == 0)
        to->server_drops = from->server_drops;
    to->listens.undone = from->listens.undone; /* the next reply says it anew */
}

/* --- sleeping ---------------------------------------------------------------------------------------- */

bool link_may_sleep(const struct link *l)
{
    if (l->server != NULL || l->owed.count > 0)
        return false;
    struct link_asleep asleep;
    struct link_prepared prepared;
    struct link_start start = start_of(l);
    struct link again;
    take_down(l, &asleep, &prepared);
    set_up(&again, &asleep, &start);
    overlook(&again, l);
    return memcmp(&again, l, sizeof again) == 0;
}

/* Its buffer may have room for more. */
static void shrink(struct buffer *b)
{
    if (b->size == 0) {
        buffer_free(b);
        return;
    }
    b->data = or_abort(realloc(b->data, b->size));
    b->capacity = b->size;
}

void link_sleep(struct link *l, struct link_asleep *out)
{
    struct link_prepared prepared;
    take_down(l, out, &prepared);
    if (out->prepared != NULL) {
        shrink(&prepared.unnamed);
        out->prepared = or_abort(malloc(sizeof prepared));
        *out->prepared = prepared;
    }
    parameters_release(l->meant);
    owed_free(&l->owed);
    buffer_free(&l->partial);
    buffer_free(&l->own);
    buffer_free(&l->error_text);
    traces_free(l);
    free(l);
}

struct link *link_wake(const struct link_asleep *asleep, const struct link_start *start)
{
    struct link *l = or_abort(malloc(sizeof *l));
    set_up(l, asleep, start);
    l->serial = link_first_serial();
    free(asleep->prepared);
    return l;
}
