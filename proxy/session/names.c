#include "proxy/session/names.h"

#include "protocol/memory.h"

void prepared_release(struct prepared *p)
{
    if (--p->references > 0)
        return;
    free(p->name);
    free(p->text);
    free(p);
}

static void portal_free(struct portal *p)
{
    prepared_release(p->prepared);
    buffer_free(&p->values);
    free(p->name);
    free(p);
}

/* Those of the units from `first` to `last`. */
static void drop_portals(struct names *n, uint64_t first, uint64_t last)
{
    for (struct portal **at = &n->portals; *at;) {
        struct portal *p = *at;
        if (p->unit < first || p->unit > last) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        n->portal_count--;
        portal_free(p);
    }
}

/* --- statements -------------------------------------------------------------------------------- */

struct prepared *names_prepare(struct names *n, struct span name, struct span text, const struct sql_options *options)
{
    if (name.size == 0)
        names_forget(n, name);
    struct prepared *p = or_abort(calloc(1, sizeof *p));
    p->name = memory_copy_span(name);
    p->text = or_abort(malloc(text.size + 1));
    memcpy(p->text, text.data, text.size);
    p->text[text.size] = '\0';
    p->text_size = text.size;
    size_t at = 0;
    if (!statement_next(span_make(p->text, text.size), &at, options, &p->statement))
        p->statement.kind = STATEMENT_OTHER;
    p->references = 1;
    p->next = n->prepared;
    n->prepared = p;
    n->prepared_count++;
    n->prepared_bytes += text.size;
    return p;
}

struct prepared *names_find(const struct names *n, struct span name)
{
    for (struct prepared *p = n->prepared; p; p = p->next)
        if (!p->closing && span_is(name, p->name))
            return p;
    return NULL;
}

struct prepared *names_close(struct names *n, struct span name, uint64_t unit)
{
    struct prepared *newest = NULL;
    for (struct prepared *p = n->prepared; p; p = p->next) {
        if (!span_is(name, p->name))
            continue;
        p->closing = true;
        p->closed_in = unit; /* the last one counts: when an earlier Close was skipped, it still comes */
        newest = newest ? newest : p;
    }
    return newest;
}

static bool same_name(const struct prepared *p, const void *name)
{
    return span_is(*(const struct span *)name, p->name);
}

static bool same(const struct prepared *p, const void *what)
{
    const struct prepared *other = what;
    return p == other ||
           (p->closing && other->closing && p->closed_in == other->closed_in && strcmp(p->name, other->name) == 0);
}

static bool any(const struct prepared *p, const void *unused)
{
    (void)p;
    (void)unused;
    return true;
}

static bool is_confirmed(const struct prepared *p, const void *name)
{
    return p->confirmed && (!name || same_name(p, name));
}

static bool unconfirmed_in(const struct prepared *p, const void *unit)
{
    return !p->confirmed && p->unit == *(const uint64_t *)unit;
}

static void drop_prepared(struct names *n, bool (*which)(const struct prepared *, const void *), const void *what)
{
    for (struct prepared **at = &n->prepared; *at;) {
        struct prepared *p = *at;
        if (which(p, what)) {
            *at = p->next;
            n->prepared_count--;
            n->prepared_bytes -= p->text_size;
            prepared_release(p);
        } else {
            at = &p->next;
        }
    }
}

void names_forget(struct names *n, struct span name)
{
    drop_prepared(n, same_name, &name);
}

void names_forget_all(struct names *n)
{
    drop_prepared(n, any, NULL);
}

void names_deallocate(struct names *n, const struct span *name)
{
    drop_prepared(n, is_confirmed, name);
}

void names_forget_one(struct names *n, struct prepared *p)
{
    p->references++; /* for it may go first */
    drop_prepared(n, same, p);
    prepared_release(p);
}

void names_undo(struct names *n, uint64_t unit)
{
    drop_prepared(n, unconfirmed_in, &unit);
    for (struct prepared *p = n->prepared; p; p = p->next)
        p->closing &= p->closed_in != unit;
    drop_portals(n, unit, unit);
}

static bool is_listed(const struct names *n, const struct prepared *p)
{
    for (const struct prepared *at = n->prepared; at; at = at->next)
        if (at == p)
            return true;
    return false;
}

void names_confirm(struct names *n, struct prepared *p)
{
    p->confirmed = true;
    if (!is_listed(n, p)) /* replaced or forgotten meanwhile */
        return;
    /* What it shadowed is gone: the server would have refused the Parse of a name in use. */
    for (struct prepared **at = &p->next; *at;) {
        struct prepared *older = *at;
        if (strcmp(older->name, p->name) == 0) {
            *at = older->next;
            n->prepared_count--;
            n->prepared_bytes -= older->text_size;
            prepared_release(older);
        } else {
            at = &older->next;
        }
    }
}

/* --- portals ----------------------------------------------------------------------------------- */

struct portal *names_bind(struct names *n, struct span name, struct prepared *prepared)
{
    names_unbind(n, name);
    struct portal *portal = or_abort(calloc(1, sizeof *portal));
    portal->name = memory_copy_span(name);
    portal->prepared = prepared;
    prepared->references++;
    portal->next = n->portals;
    n->portals = portal;
    n->portal_count++;
    return portal;
}

struct portal *names_portal(const struct names *n, struct span name)
{
    for (struct portal *p = n->portals; p; p = p->next)
        if (span_is(name, p->name))
            return p;
    return NULL;
}

void names_unbind(struct names *n, struct span name)
{
    for (struct portal **at = &n->portals; *at; at = &(*at)->next) {
        struct portal *p = *at;
        if (span_is(name, p->name)) {
            *at = p->next;
            n->portal_count--;
            portal_free(p);
            return;
        }
    }
}

void names_unbind_before(struct names *n, uint64_t unit)
{
    if (unit > 0)
        drop_portals(n, 0, unit - 1);
}

void names_unbind_all(struct names *n)
{
    drop_portals(n, 0, UINT64_MAX);
}

/* --- cursors ----------------------------------------------------------------------------------- */

void names_drop_cursor(struct names *n, struct span name)
{
    for (struct cursor **at = &n->cursors; *at; at = &(*at)->next) {
        struct cursor *c = *at;
        if (span_is(name, c->name)) {
            *at = c->next;
            n->cursor_count--;
            free(c->name);
            free(c);
            return;
        }
    }
}

void names_add_cursor(struct names *n, struct span name, bool in_client, bool at_sync)
{
    names_drop_cursor(n, name);
    struct cursor *c = or_abort(calloc(1, sizeof *c));
    c->name = memory_copy_span(name);
    c->in_client = in_client;
    c->at_sync = at_sync;
    c->next = n->cursors;
    n->cursors = c;
    n->cursor_count++;
}

void names_free(struct names *n)
{
    names_forget_all(n);
    names_unbind_all(n);
    while (n->cursors)
        names_drop_cursor(n, span_of(n->cursors->name));
}
