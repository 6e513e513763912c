/* Where a client's message about a prepared statement has to go, and what has to be there first.
 *
 * A server that lacks a statement is told of it in front of the message, and one that has too many closes the one that nobody
 * has used for longest. */
#include <stdio.h>
#include <stdlib.h>

#include "protocol/memory.h"
#include "protocol/message.h"
#include "proxy/link/inside.h"

/* --- what a server lacks ------------------------------------------------------------------------------------- */

static void close_there(struct link *l, uint64_t id, struct actions *out)
{
    struct buffer made = { 0 };
    char name[STATEMENT_NAME_SIZE];
    statement_server_name(id, name);
    message_add_close(&made, 'S', span_of(name));
    link_say(out, &made);
    owed_push(&l->owed, OWED_CLOSE, FOR_NOTHING)->statement = id;
    l->unsynced++;
}

void say_parse(struct span name, struct span body, struct actions *out)
{
    struct buffer made = { 0 };
    buffer_append_u8(&made, 'P');
    buffer_append_u32(&made, (uint32_t)(4 + name.size + 1 + body.size));
    buffer_append_string(&made, name);
    buffer_append_span(&made, body);
    link_say(out, &made);
}

void make_room_there(struct link *l, const struct shared_statement *s, struct actions *out)
{
    enum holding holding = server_touch(l->server, s->id, s->changes, l->owed.unit);
    uint64_t closed = server_hold(l->server, s->id, s->changes, l->owed.unit);
    if (s->columns > COLUMNS_NONE)
        server_unsee(l->server, s->id);
    if (closed != 0)
        close_there(l, closed, out);
    if (holding != HOLDS_NOT || l->server->has_unknown)
        close_there(l, s->id, out);
}

/* Its Parse leaves, and the server holds it from then on. */
struct owed *prepare_there(struct link *l, const struct shared_statement *s, enum owed_purpose purpose,
                           struct actions *out)
{
    make_room_there(l, s, out);
    say_parse(span_of(s->name), span_make(s->body, s->size), out);
    struct owed *entry = owed_push(&l->owed, OWED_PARSE, purpose);
    entry->statement = s->id;
    l->unsynced++;
    return entry;
}

struct owed *say_own(struct link *l, struct buffer *made, enum owed_kind kind, struct actions *out)
{
    link_say(out, made);
    l->unsynced++;
    return owed_push(&l->owed, kind, FOR_NOTHING);
}

/* A PREPARE between the client's messages, under names of our own. */
static void prepare_by_sql(struct link *l, const struct shared_statement *s, struct actions *out)
{
    struct span name = span_of("pgatomic_prepare");
    struct buffer made = { 0 }, sql = { 0 };
    buffer_format(&sql, "PREPARE %s", s->name);
    buffer_append(&sql, s->body, s->size);
    make_room_there(l, s, out);
    message_add_close(&made, 'P', name);
    say_own(l, &made, OWED_CLOSE, out);
    message_add_close(&made, 'S', name);
    say_own(l, &made, OWED_CLOSE, out);
    message_add_parse(&made, name, buffer_span(&sql));
    say_own(l, &made, OWED_PARSE, out);
    message_add_bind(&made, name, name);
    say_own(l, &made, OWED_BIND, out);
    message_add_execute(&made, name, 0);
    struct change *c = change_new((struct span){ 0 });
    c->held = s->id;
    c->held_changes = s->changes;
    say_own(l, &made, OWED_EXECUTE, out)->change = c;
    buffer_free(&sql);
}

static void prepare_ahead(struct link *l, const struct shared_statement *s, struct actions *out)
{
    if (s->by_sql)
        prepare_by_sql(l, s, out);
    else
        prepare_there(l, s, FOR_NOTHING, out);
}

/* The name stands for the same text as it is read now. */
static struct shared_statement *share_again(struct link *l, struct span name, const struct shared_statement *s)
{
    struct span body = span_make(s->body, s->size);
    struct shared_statement *again =
        statements_share(l->statements, l->scope, body, s->by_sql, &l->sql, meanings_now(l));
    if (again == NULL)
        return NULL;
    struct shared_statement *before = handles_set(&l->handles, name, again);
    columns_carry(l, name, before, again);
    statements_release(l->statements, before);
    return again;
}

static bool is_there(struct link *l, const struct shared_statement *s)
{
    return server_touch(l->server, s->id, s->changes, l->owed.unit) >= HOLDS;
}

struct shared_statement *ensure_there(struct link *l, struct span name, struct shared_statement *s, struct actions *out)
{
    if (is_there(l, s))
        return s;
    if (!meanings_reads_alike(l, s))
        return NULL;
    if (!meanings_means_alike(l, s))
        s = share_again(l, name, s);
    if (s != NULL && !is_there(l, s))
        prepare_ahead(l, s, out);
    return s;
}

/* It names statements: what they stand for now is put into it. What a portal of it changes once it is executed. */
static struct change *prepare_with_names(struct link *l, const struct shared_statement *s, struct actions *out)
{
    struct buffer made = { 0 };
    struct change *changes = NULL;
    sql_names_rewrite_body(l, span_make(s->body, s->size), &made, &changes, out);
    make_room_there(l, s, out);
    say_parse(span_of(s->name), buffer_span(&made), out);
    buffer_free(&made);
    owed_push(&l->owed, OWED_PARSE, FOR_NOTHING)->statement = s->id;
    l->unsynced++;
    return changes;
}

/* The unnamed statement is the client's own on whatever server it comes to. What a portal of it changes once it is executed. */
static struct change *ensure_unnamed(struct link *l, struct actions *out)
{
    struct buffer made = { 0 };
    struct change *changes = NULL;
    bool says_names =
        l->unnamed_leaves_state && l->has_unnamed && statement_says_names(span_of(l->unnamed.data), &l->sql);
    if (l->server->unnamed == l->serial && !says_names)
        return NULL;
    if (says_names)
        sql_names_rewrite_body(l, buffer_span(&l->unnamed), &made, &changes, out);
    say_parse((struct span){ 0 }, buffer_span(says_names ? &made : &l->unnamed), out);
    buffer_free(&made);
    struct owed *entry = owed_push(&l->owed, OWED_PARSE, FOR_NOTHING);
    entry->unnamed = true;
    l->server->unnamed = l->serial;
    l->unsynced++;
    return changes;
}

/* --- names --------------------------------------------------------------------------------------------------- */

/* More than so many are not looked through for each name. */
enum { LOOKED_THROUGH_MAX = 1000 };

bool name_is_open(const struct link *l, struct span name)
{
    const struct owed_queue *q = &l->owed;
    size_t left = LOOKED_THROUGH_MAX;
    for (size_t i = 0; i < q->count && owed_at(q, i)->unit != q->unit; i++) {
        if (left-- == 0)
            return true;
        for (const struct change *c = owed_at(q, i)->change; c != NULL; c = c->next)
            if (left-- == 0 || (c->sets && span_is(name, c->name)))
                return true;
    }
    return false;
}

/* Whether an earlier unit takes the place of an unnamed statement of the client's own that leaves something behind, if it succeeds. */
static bool unnamed_is_open(const struct link *l)
{
    const struct owed_queue *q = &l->owed;
    if (!l->hides_unnamed)
        return false;
    size_t left = LOOKED_THROUGH_MAX;
    for (size_t i = q->count; i-- > 0;) {
        if (left-- == 0)
            return true;
        if (owed_at(q, i)->unnamed)
            return owed_at(q, i)->unit != q->unit;
    }
    return false;
}

/* The same of the names that the statement says which the client has under this one. */
static bool target_is_open(const struct link *l, struct span name)
{
    if (name_is_open(l, name))
        return true;
    const struct shared_statement *s = handles_find(&l->handles, name);
    if (s != NULL)
        return s->says_names && sql_names_are_open(l, shared_statement_text(s));
    return name.size == 0 && l->has_unnamed && l->unnamed_leaves_state &&
           sql_names_are_open(l, span_of(l->unnamed.data));
}

bool names_are_open(const struct link *l, const struct frame *f)
{
    struct message_parse parse;
    struct message_bind bind;
    struct message_named named;
    struct span body = frame_body(f), unnamed = { 0 };
    switch (f->type) {
    case 'Q':
        body.size -= body.size > 0;
        return sql_names_are_open(l, body) || (l->prepares_unnamed && name_is_open(l, unnamed));
    case 'P':
        return message_read_parse(body, &parse) && name_is_open(l, parse.name);
    case 'B':
        return message_read_bind(body, &bind) &&
               (target_is_open(l, bind.statement) || (bind.statement.size == 0 && unnamed_is_open(l)));
    case 'D':
    case 'C':
        return message_read_named(body, &named) && named.kind == 'S' && target_is_open(l, named.name);
    default:
        return false;
    }
}

/* It is like those that statements have on servers. */
static bool name_is_ours(struct span name)
{
    static const char prefix[] = "pgatomic_";
    return name.size >= strlen(prefix) && memcmp(name.data, prefix, strlen(prefix)) == 0;
}

struct change *refuse_name(struct span name, struct span *there)
{
    bool unnamed = name.size == 0, ours = name_is_ours(name);
    *there = unnamed || ours ? span_of("pgatomic_none") : name;
    return !unnamed && !ours ? NULL : change_refused(name, "26000", "does not exist");
}

struct change *refuse_unreadable(struct span name)
{
    return change_refused(name, "26000", "was prepared under another client_encoding or standard_conforming_strings");
}

/* Another client has met the change, and the statement is prepared anew since: this one shall hear of it before it gets other rows than were
 * described to it. */
static struct target refuse_changed(void)
{
    struct change *c = change_new((struct span){ 0 });
    c->refusal = memory_copy_text("cached plan must not change result type");
    c->sqlstate = "0A000";
    c->routine = "RevalidateCachedQuery";
    return (struct target){ .name = span_of("pgatomic_none"), .refusal = c };
}

bool targets_have_unnamed(const struct link *l)
{
    return l->has_unnamed || l->server->unnamed == l->serial;
}

/* When nobody knows what it says any more it may be anything. */
static void note_unnamed(struct link *l)
{
    if (l->has_unnamed) {
        traces_note(l, span_of(l->unnamed.data));
        return;
    }
    meanings_note(l, (struct span){ 0 });
    traces_pin(l, "unknown statement");
    l->tags_matter = l->forgets = true;
}

/* `s`, which the client has under t->name, is not there, or was not looked at there. What is, or NULL: it could not be read; or what goes to it has
 * to wait, or is refused. */
static struct shared_statement *make_ready(struct link *l, struct target *t, struct shared_statement *s, bool binds,
                                           struct actions *out)
{
    bool is_parsed_by_client = is_there(l, s) && server_expects(l->server, s->id);
    struct shared_statement *there = ensure_there(l, t->name, s, out);
    if (there == NULL || !binds)
        return there;
    if (there != s && handles_tell_change(&l->handles, t->name)) {
        *t = refuse_changed();
    } else if (!is_parsed_by_client && columns_are_open(l, there)) {
        columns_ask(l, there, out);
        t->waits = true;
    }
    return there;
}

/* The target is `s`, which the client has under t->name. */
static void target_statement(struct link *l, struct target *t, struct shared_statement *s, bool binds,
                             struct actions *out)
{
    if (s->says_names && meanings_reads_alike(l, s))
        t->changes = prepare_with_names(l, s, out);
    else if (s->says_names)
        s = NULL;
    else if (server_touch(l->server, s->id, s->changes, l->owed.unit) != HOLDS)
        s = make_ready(l, t, s, binds, out);
    if (s == NULL) {
        t->refusal = refuse_unreadable(t->name);
        t->name = span_of("pgatomic_none");
        return;
    }
    if (t->waits || t->refusal != NULL)
        return;
    t->name = span_of(s->name);
    t->id = s->id;
    if (s->leaves_state)
        traces_note(l, shared_statement_text(s));
}

struct target find_target(struct link *l, struct span name, bool binds, struct actions *out)
{
    struct target t = { .name = name };
    struct shared_statement *s = handles_find(&l->handles, name);
    bool unnamed = s == NULL && name.size == 0 && targets_have_unnamed(l);
    if (s != NULL && s->leaves_state && listens_hold(l, shared_statement_text(s)))
        return t;
    if (unnamed && l->has_unnamed && l->unnamed_leaves_state && listens_hold(l, span_of(l->unnamed.data)))
        return t;
    if (s != NULL && binds && handles_tell_change(&l->handles, name))
        return refuse_changed();
    if (s != NULL) {
        target_statement(l, &t, s, binds, out);
    } else if (unnamed) {
        t.changes = ensure_unnamed(l, out);
        if (l->unnamed_leaves_state)
            note_unnamed(l);
    } else {
        t.refusal = refuse_name(name, &t.name);
    }
    return t;
}
