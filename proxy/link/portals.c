/* Portals with a text that prepares or deallocates, or resets (P4, P5).
 *
 *     Bind --> the names in the text are looked up --> Execute --> only now do they stand for something else
 *
 * What such a portal changes waits here until it is executed, be that in a later unit of the transaction. Most clients never have one. */
#include <stdlib.h>

#include "protocol/memory.h"
#include "proxy/link/inside.h"

enum { BOUND_MAX = 200 };

struct bound {
    struct bound *next;
    struct change *changes; /* owned */
    uint32_t unit;          /* of its Bind */
    bool forgets, resets;   /* executing it may be a DEALLOCATE ALL, a reset */
    char portal[];
};

/* The link to the one of this name, or to the end. */
static struct bound **place_of(struct link *l, struct span portal)
{
    struct bound **at = &l->bound;
    while (*at != NULL && !span_is(portal, (*at)->portal))
        at = &(*at)->next;
    return at;
}

/* Out of the list; the caller's to free. */
static struct bound *take(struct bound **at)
{
    struct bound *b = *at;
    *at = b->next;
    return b;
}

static void drop(struct link *l, struct bound **at)
{
    struct bound *b = take(at);
    change_free(l, b->changes);
    free(b);
}

bool portals_are_full(const struct link *l)
{
    size_t count = 0, bytes = 0;
    for (const struct bound *b = l->bound; b != NULL; b = b->next, count++)
        for (const struct change *c = b->changes; c != NULL; c = c->next)
            bytes += c->after != NULL ? c->after->size : 0;
    return count >= BOUND_MAX || bytes >= HANDLES_BYTES_MAX;
}

void portals_bind(struct link *l, struct span portal, struct change *changes_take)
{
    struct bound **before = place_of(l, portal);
    if (*before != NULL)
        drop(l, before);
    if (changes_take == NULL && !l->forgets && !l->resets.noted)
        return;
    struct bound *b = or_abort(malloc(sizeof *b + portal.size + 1));
    *b = (struct bound){ .next = l->bound,
                         .changes = changes_take,
                         .unit = l->owed.unit,
                         .forgets = l->forgets,
                         .resets = l->resets.noted };
    if (portal.size > 0)
        memcpy(b->portal, portal.data, portal.size);
    b->portal[portal.size] = '\0';
    l->bound = b;
}

struct change *portals_execute(struct link *l, struct span body)
{
    struct message_execute m;
    struct bound **at = l->bound != NULL && message_read_execute(body, &m) ? place_of(l, m.portal) : NULL;
    if (at == NULL || *at == NULL)
        return NULL;
    struct bound *b = take(at);
    struct change *changes = b->changes;
    if (b->forgets)
        l->tags_matter = l->forgets = true;
    if (b->resets)
        resets_note(l);
    free(b);
    for (struct change *c = changes; c != NULL; c = c->next)
        if (c->sets_later)
            change_make(l, c);
    return changes;
}

void portals_end(struct link *l, uint32_t unit)
{
    struct bound **at = &l->bound;
    while (*at != NULL) {
        if ((int32_t)(unit - (*at)->unit) >= 0)
            drop(l, at);
        else
            at = &(*at)->next;
    }
}

void portals_free(struct link *l)
{
    while (l->bound != NULL)
        drop(l, &l->bound);
}
