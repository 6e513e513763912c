/* The messages that name a prepared statement: Parse, Bind, Describe, Close.
 *
 *     client's name --> change --> shared statement --> name on every server
 *
 * A text under a name is shared among all clients that prepare the same, and has one name of ours on all servers: a Parse of what the
 * server has already is answered here, and Bind and Describe leave with that name in place of the client's. What it lacks is prepared
 * there first (targets.c). Close only forgets the client's name. A text that names statements itself is nobody else's, and is said again in
 * front of each Bind and Describe, with the names that hold then.
 *
 * The unnamed statement stays the client's own, unless `prepare_unnamed` is on: its Parse leaves as it came, and is kept to be said again on
 * another server. So does one that nobody could share, for it would stand on the server, under a name, without ever being used again, and
 * one for which there is no room.
 *
 * Whatever a message changes of what names stand for counts at once, and is undone if the server refuses or skips it (failures.c). What
 * the link finds wrong itself it has the server refuse, with a message that is sure to fail, so that the pipeline ends there as it does
 * without a proxy. */
#include <stdlib.h>
#include <string.h>

#include "protocol/memory.h"
#include "protocol/message.h"
#include "protocol/statement_state.h"
#include "protocol/wire.h"
#include "proxy/link/inside.h"

/* Room that is kept for the next unnamed statement. */
enum { UNNAMED_SPARE_MAX = 64 * 1024 };

/* --- changes ----------------------------------------------------------------------------------------------- */

void change_add(struct change **list, struct change *changes_take)
{
    while (*list != NULL)
        list = &(*list)->next;
    *list = changes_take;
}

struct change *change_new(struct span name)
{
    struct change *c = or_abort(calloc(1, sizeof *c + name.size + 1));
    if (name.size > 0)
        memcpy(c->name, name.data, name.size);
    return c;
}

struct change *change_later(struct span name, struct shared_statement *take)
{
    struct change *c = change_new(name);
    c->sets_later = true;
    c->after = take;
    return c;
}

void change_make(struct link *l, struct change *c)
{
    c->sets_later = false;
    c->sets = true;
    l->renamings++;
    c->before = handles_set(&l->handles, span_of(c->name), c->after != NULL ? shared_statement_retain(c->after) : NULL);
}

struct change *change_handle(struct link *l, struct span name, struct shared_statement *take)
{
    struct change *c = change_later(name, take);
    change_make(l, c);
    return c;
}

struct change *change_refused(struct span name, const char *sqlstate, const char *words)
{
    struct change *c = change_new((struct span){ 0 });
    struct buffer text = { 0 };
    if (name.size == 0)
        buffer_format(&text, "unnamed prepared statement %s", words);
    else
        buffer_format(&text, "prepared statement \"%.*s\" %s", (int)name.size, name.data, words);
    c->refusal = memory_copy_span(buffer_span(&text));
    c->sqlstate = sqlstate;
    buffer_free(&text);
    return c;
}

/* --- the unnamed statement --------------------------------------------------------------------------------------- */

void prepared_forget_unnamed(struct link *l)
{
    if (l->has_unnamed)
        buffer_free(&l->unnamed);
    l->has_unnamed = l->unnamed_leaves_state = false;
    if (l->prepares_unnamed && l->handles.count > 0) {
        struct shared_statement *before = handles_set(&l->handles, (struct span){ 0 }, NULL);
        if (before != NULL)
            statements_release(l->statements, before);
    }
}

/* One that is shared takes its place. */
static void lose_unnamed(struct link *l)
{
    link_next_serial(l);
    l->has_unnamed = l->unnamed_leaves_state = false;
    buffer_free(&l->unnamed);
}

/* When `entry` is answered, this server has another unnamed statement of the client's, or there is none. What other servers still have
 * is the client's no longer. */
static void replace_unnamed(struct link *l, struct owed *entry, bool by_another)
{
    entry->unnamed = true;
    entry->replaces = l->server->unnamed == l->serial;
    l->hides_unnamed |= l->unnamed_leaves_state && targets_have_unnamed(l);
    link_next_serial(l);
    l->server->unnamed = by_another ? l->serial : 0;
    l->has_unnamed = l->has_unnamed && by_another;
}

static void keep_unnamed(struct link *l, struct span body)
{
    if (l->unnamed.capacity > UNNAMED_SPARE_MAX)
        buffer_free(&l->unnamed);
    buffer_clear(&l->unnamed);
    l->has_unnamed = body.size <= HANDLE_BYTES_MAX;
    if (l->has_unnamed)
        buffer_append_span(&l->unnamed, body);
}

/* --- Parse ----------------------------------------------------------------------------------------------------- */

static void answer_here(struct link *l, char reply, struct change *change)
{
    struct owed *entry = owed_push(&l->owed, OWED_OWN, FOR_CLIENT);
    entry->reply = reply;
    entry->change = change;
    l->unsynced++;
}

/* A Parse that the server is sure to refuse, so that the pipeline fails there. */
static void refuse_parse(struct link *l, struct span name, const char *sqlstate, const char *words, struct actions *out)
{
    struct buffer made = { 0 };
    message_add_describe(&made, 'S', span_of("pgatomic_none"));
    link_say(out, &made);
    owed_push(&l->owed, OWED_PARSE, FOR_CLIENT)->change = change_refused(name, sqlstate, words);
    l->unsynced++;
}

/* A Parse under a name in use: the server is asked for the same under a name of our own, and finds what is wrong with it; if that is
 * nothing, the name is. */
static void parse_again(struct link *l, struct span name, struct span body, struct actions *out)
{
    struct span scratch = span_of("pgatomic_prepare");
    struct buffer made = { 0 };
    message_add_close(&made, 'S', scratch);
    say_own(l, &made, OWED_CLOSE, out);
    say_parse(scratch, body, out);
    owed_push(&l->owed, OWED_PARSE, FOR_NOTHING);
    refuse_parse(l, name, "42P05", "already exists", out);
}

/* In a failed transaction, and in one that may fail before this unit comes, the server has the word. */
static bool may_answer(const struct link *l)
{
    const struct owed *head = owed_head(&l->owed);
    return l->status != 'E' && (head == NULL || head->unit == l->owed.unit);
}

/* False: it waits. */
static bool parse_unnamed(struct link *l, struct span body)
{
    bool leaves_state = statement_may_leave_state(span_of(body.data));
    if (leaves_state && listens_hold(l, span_of(body.data)))
        return false;
    struct owed *entry = owed_push(&l->owed, OWED_PARSE, FOR_CLIENT);
    replace_unnamed(l, entry, true);
    l->unnamed_leaves_state = leaves_state; /* which is noted when it is bound */
    keep_unnamed(l, body);
    if (handles_find(&l->handles, (struct span){ 0 }) != NULL)
        entry->change = change_handle(l, (struct span){ 0 }, NULL);
    if (leaves_state && statement_says_names(span_of(body.data), &l->sql))
        l->server->unnamed = 0; /* as it is it may name what is somebody else's there */
    l->unsynced++;
    return true;
}

/* A Parse under a name that lasts. True: it goes as it came. */
static bool parse_shared(struct link *l, struct span name, struct span body, struct actions *out)
{
    struct shared_statement *s = statements_share(l->statements, l->scope, body, false, &l->sql, meanings_now(l));
    if (s == NULL && name.size == 0)
        return parse_unnamed(l, body);
    if (s == NULL) {
        refuse_parse(l, name, "53400", "is one more than all clients may have", out);
        return false;
    }
    enum holding holding = server_touch(l->server, s->id, s->changes, l->owed.unit);
    if (name.size == 0 && targets_have_unnamed(l))
        lose_unnamed(l);
    struct change *change = change_handle(l, name, s);
    if (holding >= HOLDS && may_answer(l))
        answer_here(l, '1', change);
    else
        prepare_there(l, s, FOR_CLIENT, out)->change = change;
    return false;
}

bool prepared_on_parse(struct link *l, const struct frame *f, struct actions *out)
{
    struct message_parse m;
    struct span all = frame_body(f);
    if (!message_read_parse(all, &m)) { /* the server shall say so; it ends the connection */
        owed_push(&l->owed, OWED_PARSE, FOR_CLIENT);
        l->unsynced++;
        return true;
    }
    struct span body = span_make(all.data + m.name.size + 1, all.size - m.name.size - 1);
    bool is_own = m.name.size == 0 && (!l->prepares_unnamed || !handles_have_room(&l->handles, body.size) ||
                                       meanings_now(l) == MEANING_OF_ONE);
    if (is_own && (body.size <= HANDLE_BYTES_MAX || !statement_says_names(m.text, &l->sql)))
        return parse_unnamed(l, body);
    if (m.name.size > 0 && handles_find(&l->handles, m.name) != NULL)
        parse_again(l, m.name, body, out);
    else if (body.size + m.name.size > HANDLE_BYTES_MAX)
        refuse_parse(l, m.name, "54000", "is too long", out);
    else if (!handles_have_room(&l->handles, body.size + m.name.size))
        refuse_parse(l, m.name, "54000", "is one more than a client may have", out);
    else
        return parse_shared(l, m.name, body, out);
    return false;
}

/* --- Bind, Describe, Close ------------------------------------------------------------------------------ */

/* With another statement's name, and all else as it came, also what has not come yet. */
static void say_bind(const struct frame *f, const struct message_bind *m, struct span name, struct actions *out)
{
    size_t length = wire_get_u32(f->bytes.data + 1) - m->statement.size + name.size;
    size_t portal_end = FRAME_HEADER_SIZE + m->portal.size + 1, size = portal_end + name.size + 1;
    char *made = actions_room(out, size);
    made[0] = 'B';
    wire_put_u32(made + 1, (uint32_t)length);
    memcpy(made + FRAME_HEADER_SIZE, m->portal.data, m->portal.size + 1);
    memcpy(made + portal_end, name.data, name.size);
    made[size - 1] = '\0';
    actions_to_server(out, span_make(made, size));
    const char *rest = m->statement.data + m->statement.size + 1;
    actions_to_server(out, span_make(rest, (size_t)(f->bytes.data + f->bytes.size - rest)));
}

/* A reply is owed to what goes to this statement; or, when there is none, to what goes as it came: true. */
static bool owe_reply(struct link *l, enum owed_kind kind, const struct target *t)
{
    struct owed *entry = owed_push(&l->owed, kind, FOR_CLIENT);
    entry->statement = t->id;
    entry->change = t->refusal;
    l->unsynced++;
    return t->id == 0 && t->refusal == NULL;
}

static void refuse_portal(struct link *l, struct target *t)
{
    change_free(l, t->changes);
    *t = (struct target){ .name = span_of("pgatomic_none"), .refusal = change_new((struct span){ 0 }) };
    t->refusal->refusal =
        memory_copy_text("too many portals that prepare or deallocate statements wait to be executed");
    t->refusal->sqlstate = "54000";
}

bool prepared_on_bind(struct link *l, const struct frame *f, struct actions *out)
{
    struct message_bind m = { 0 };
    struct target t = { 0 };
    if (message_read_bind(frame_body(f), &m))
        t = find_target(l, m.statement, true, out);
    if (listens_are_awaited(l))
        return false;
    if (t.waits) {
        l->holds_bind = true;
        return false;
    }
    if (l->listens.touched)
        unlistens_bind(l, m.statement);
    if (t.changes != NULL && portals_are_full(l))
        refuse_portal(l, &t);
    if (l->bound != NULL || t.changes != NULL || l->forgets || l->resets.noted)
        portals_bind(l, m.portal, t.changes);
    if (owe_reply(l, OWED_BIND, &t)) /* also one that cannot be read */
        return true;
    say_bind(f, &m, t.name, out);
    return false;
}

bool prepared_on_describe(struct link *l, const struct frame *f, struct actions *out)
{
    struct message_named m;
    struct target t = { 0 };
    if (message_read_named(frame_body(f), &m) && m.kind == 'S')
        t = find_target(l, m.name, false, out);
    change_free(l, t.changes); /* nothing runs */
    if (listens_are_awaited(l))
        return false;
    if (t.id != 0)
        t.refusal = columns_expect(l, m.name);
    if (owe_reply(l, OWED_DESCRIBE, &t))
        return true;
    struct buffer made = { 0 };
    message_add_describe(&made, 'S', t.name);
    link_say(out, &made);
    return false;
}

/* A statement stays on the server, for who comes next. */
bool prepared_on_close(struct link *l, const struct frame *f)
{
    struct message_named m = { 0 };
    bool readable = message_read_named(frame_body(f), &m);
    bool ours = !l->pinned || handles_find(&l->handles, m.name) != NULL; /* else it may come from PREPARE */
    bool is_shared = m.name.size > 0 || (l->prepares_unnamed && !targets_have_unnamed(l));
    if (readable && m.kind == 'S' && ours && is_shared) {
        struct change *c = change_handle(l, m.name, NULL);
        answer_here(l, '3', c);
        return false;
    }
    struct owed *entry = owed_push(&l->owed, OWED_CLOSE, FOR_CLIENT);
    if (readable && m.kind == 'S' && m.name.size == 0)
        replace_unnamed(l, entry, false);
    l->unsynced++;
    return true;
}
