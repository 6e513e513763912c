/* What a pooled server was told and has told: the statements that stand prepared on it, the settings that clients made there, and
 * what it reports.
 *
 * The statements are bounded: who has not been used for longest is closed when another one needs the room. */
#include <stdlib.h>

#include "protocol/memory.h"
#include "protocol/message.h"
#include "proxy/link/inside.h"

enum { BUCKETS = 512 };

/* A place among server->held; 0 is none, for counting starts at 1. */
typedef uint16_t place;

struct held_statement {
    uint64_t id; /* 0: free */
    place next_in_bucket;
    place older, newer;
    bool certain; /* its Parse is answered */
    uint8_t flaw;
    uint32_t unit;    /* of its Parse, while that is not answered */
    uint32_t changes; /* of its columns, when it was prepared or described */
};

/* STALE: it cannot be used any more, and has to be closed before it is prepared again. UNSEEN: nobody has looked at its columns. */
enum { FLAW_NONE, FLAW_UNSEEN, FLAW_STALE };

/* Made with the first statement: most clients never prepare one. */
struct held {
    place buckets[BUCKETS];
    place newest, oldest, first_free;
    size_t count;
    struct held_statement list[SERVER_STATEMENTS_MAX + 1];
};

struct link_server *link_server_new(void)
{
    struct link_server *s = or_abort(calloc(1, sizeof *s));
    s->told = parameters_none();
    s->reported = parameters_none();
    return s;
}

void link_server_free(struct link_server *s)
{
    if (s == NULL)
        return;
    parameters_release(s->told);
    parameters_release(s->reported);
    free(s->held);
    free(s);
}

void link_server_on_parameter(struct link_server *s, struct span name, struct span value)
{
    s->reported = parameters_with(s->reported, name, value);
}

void server_forget_all(struct link_server *s)
{
    free(s->held);
    s->held = NULL;
    s->has_unknown = false;
}

void link_server_on_reset(struct link_server *s)
{
    parameters_release(s->told);
    s->told = parameters_none();
    server_forget_all(s);
    s->unnamed = 0;
    s->needs_reset = false;
}

bool link_server_needs_reset(const struct link_server *s)
{
    return s->needs_reset || s->out_of_step;
}

bool link_server_is_out_of_step(const struct link_server *s)
{
    return s->out_of_step;
}

void link_server_append_parameters(const struct link_server *s, struct buffer *out)
{
    for (size_t i = 0; i < parameters_count(s->reported); i++) {
        const struct parameter *p = parameters_at(s->reported, i);
        message_add_parameter_status(out, span_of(p->name), span_of(p->value));
    }
}

const char *link_server_parameter(const struct link_server *s, struct span name)
{
    return parameters_value(s->reported, name);
}

/* --- the statements that it holds ------------------------------------------------------------------------ */

static place *bucket_of(struct held *h, uint64_t id)
{
    return &h->buckets[id % BUCKETS];
}

static place find(struct held *h, uint64_t id)
{
    place at = *bucket_of(h, id);
    while (at != 0 && h->list[at].id != id)
        at = h->list[at].next_in_bucket;
    return at;
}

static void unlink_age(struct held *h, place at)
{
    struct held_statement *s = &h->list[at];
    *(s->newer != 0 ? &h->list[s->newer].older : &h->newest) = s->older;
    *(s->older != 0 ? &h->list[s->older].newer : &h->oldest) = s->newer;
}

static void make_newest(struct held *h, place at)
{
    h->list[at].older = h->newest;
    h->list[at].newer = 0;
    *(h->newest != 0 ? &h->list[h->newest].newer : &h->oldest) = at;
    h->newest = at;
}

static void forget(struct held *h, place at)
{
    place *link = bucket_of(h, h->list[at].id);
    while (*link != at)
        link = &h->list[*link].next_in_bucket;
    *link = h->list[at].next_in_bucket;
    unlink_age(h, at);
    h->list[at] = (struct held_statement){ .older = h->first_free };
    h->first_free = at;
    h->count--;
}

static place free_place(struct held *h)
{
    place at = h->first_free;
    if (at != 0)
        h->first_free = h->list[at].older;
    else
        at = (place)(h->count + 1);
    return at;
}

enum holding server_touch(struct link_server *s, uint64_t id, uint32_t changes, uint32_t unit)
{
    struct held *h = s->held;
    place at = h != NULL ? find(h, id) : 0;
    if (at == 0)
        return HOLDS_NOT;
    if (h->newest != at) {
        unlink_age(h, at);
        make_newest(h, at);
    }
    const struct held_statement *found = &h->list[at];
    if (found->changes != changes || (!found->certain && found->unit != unit))
        return HOLDS_STALE;
    return found->flaw == FLAW_NONE ? HOLDS : found->flaw == FLAW_UNSEEN ? HOLDS_UNSEEN : HOLDS_STALE;
}

uint64_t server_hold(struct link_server *s, uint64_t id, uint32_t changes, uint32_t unit)
{
    if (s->held == NULL)
        s->held = or_abort(calloc(1, sizeof *s->held));
    struct held *h = s->held;
    uint64_t closed = 0;
    place at = find(h, id);
    if (at != 0) {
        h->list[at].flaw = FLAW_NONE;
        h->list[at].certain = false;
        h->list[at].unit = unit;
        h->list[at].changes = changes;
        return 0;
    }
    if (h->count == SERVER_STATEMENTS_MAX) {
        closed = h->list[h->oldest].id;
        s->has_unknown |= !h->list[h->oldest].certain; /* it may come to stand there when it is closed already */
        forget(h, h->oldest);
    }
    at = free_place(h);
    h->list[at] =
        (struct held_statement){ .id = id, .unit = unit, .changes = changes, .next_in_bucket = *bucket_of(h, id) };
    *bucket_of(h, id) = at;
    make_newest(h, at);
    h->count++;
    return closed;
}

bool server_expects(const struct link_server *s, uint64_t id)
{
    place at = s->held != NULL ? find(s->held, id) : 0;
    return at != 0 && !s->held->list[at].certain;
}

void server_confirm(struct link_server *s, uint64_t id, uint32_t unit)
{
    place at = s->held != NULL ? find(s->held, id) : 0;
    if (at != 0 && s->held->list[at].unit == unit)
        s->held->list[at].certain = true;
}

void server_undo(struct link_server *s, uint64_t id, uint32_t unit)
{
    place at = s->held != NULL ? find(s->held, id) : 0;
    if (at != 0 && s->held->list[at].unit == unit && !s->held->list[at].certain)
        forget(s->held, at);
}

void server_doubt(struct link_server *s, uint64_t id)
{
    place at = s->held != NULL ? find(s->held, id) : 0;
    if (at != 0)
        s->held->list[at].flaw = FLAW_STALE;
}

void server_unsee(struct link_server *s, uint64_t id)
{
    place at = s->held != NULL ? find(s->held, id) : 0;
    if (at != 0 && s->held->list[at].flaw == FLAW_NONE)
        s->held->list[at].flaw = FLAW_UNSEEN;
}

void server_see(struct link_server *s, uint64_t id, uint32_t changes)
{
    place at = s->held != NULL ? find(s->held, id) : 0;
    if (at == 0 || !s->held->list[at].certain || s->held->list[at].flaw == FLAW_STALE)
        return;
    s->held->list[at].flaw = FLAW_NONE;
    s->held->list[at].changes = changes;
}
