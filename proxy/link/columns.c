/* What the columns of a statement's rows are, and its parameters, and who knows that (P4).
 *
 * A driver asks once what a named statement's parameters and rows look like, and writes and reads them so from then on. Without a pool PostgreSQL
 * sees to it that this stays right: parameters are what they were, and when the columns have changed it refuses the statement ("cached plan
 * must not change result type"). But a server that is given the statement anew prepares it as the tables are now, and has nothing to refuse.
 * So what is answered to Describe is kept, in a few bytes, and a server that has to prepare a described statement for a Bind is asked first:
 *
 *     Bind --> Parse, Describe, Flush; the Bind waits --> are these the columns that the client knows? --yes--> Bind
 *                                                            +--no--> it is refused, once, in PostgreSQL's words
 *
 * A change is a change of the statement, for all who share it, and for all servers that had it before: each client hears of it once
 * (handles.h), and each of those servers prepares it again.
 *
 * Nothing waits for what nobody has described, nor for what has neither parameters nor rows. And nothing is kept of what a server says that is pinned to its
 * client: it may have tables of its own there, under names that others use. */
#include "protocol/message.h"
#include "protocol/wire.h"
#include "proxy/link/inside.h"

/* --- a description ----------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static uint64_t mix_text(uint64_t hash, struct span text)
{
    for (size_t i = 0; i < text.size; i++)
        hash = mix(hash, (unsigned char)text.data[i]);
    return mix(hash, text.size);
}

/* Of a ParameterDescription; 0: there are none. */
static uint64_t parameters_of(const struct frame *f)
{
    struct wire w = wire_open(frame_body(f));
    uint64_t hash = wire_u16(&w);
    while (wire_left(&w) > 0 && !w.failed)
        hash = mix(hash, wire_u32(&w));
    return hash;
}

/* What PostgreSQL compares: number, names and types. Not from which table a column comes, nor in which format. */
static uint64_t columns_of(const struct frame *f, uint64_t parameters)
{
    struct wire w = wire_open(frame_body(f));
    if (f->type == 'n' && parameters == 0)
        return COLUMNS_NONE;
    uint64_t hash = mix(parameters, f->type == 'n' ? 0 : 1 + (uint64_t)wire_u16(&w));
    while (wire_left(&w) > 0 && !w.failed) {
        hash = mix_text(hash, wire_string(&w));
        wire_bytes(&w, 6);              /* table, and its column */
        hash = mix(hash, wire_u32(&w)); /* type */
        hash = mix(hash, wire_u16(&w)); /* size */
        hash = mix(hash, wire_u32(&w)); /* modifier */
        wire_u16(&w);                   /* format */
    }
    return hash > COLUMNS_CHANGED ? hash : hash + COLUMNS_CHANGED + 1;
}

/* --- asking -------------------------------------------------------------------------------------------------- */

/* What stands behind PREPARE is executed in the simple protocol, where its rows are described each time. */
static bool is_followed(const struct link *l, const struct shared_statement *s)
{
    return !l->pinned && !s->by_sql && !s->says_names;
}

static struct change *change_described(struct span name, struct shared_statement *s)
{
    struct change *c = change_new(name);
    c->describes = true;
    c->after = shared_statement_retain(s);
    return c;
}

struct change *columns_expect(struct link *l, struct span name)
{
    struct shared_statement *s = handles_find(&l->handles, name);
    return s != NULL && is_followed(l, s) ? change_described(name, s) : NULL;
}

bool columns_are_open(const struct link *l, const struct shared_statement *s)
{
    return is_followed(l, s) && s->columns > COLUMNS_NONE &&
           server_touch(l->server, s->id, s->changes, l->owed.unit) == HOLDS_UNSEEN;
}

void columns_ask(struct link *l, struct shared_statement *s, struct actions *out)
{
    struct buffer made = { 0 };
    message_add_describe(&made, 'S', span_of(s->name));
    struct owed *entry = say_own(l, &made, OWED_DESCRIBE, out);
    entry->statement = s->id;
    entry->change = change_described((struct span){ 0 }, s);
}

/* --- learning ------------------------------------------------------------------------------------------------- */

void columns_answer_parameters(const struct owed *entry, const struct frame *f)
{
    if (entry->change != NULL && entry->change->describes)
        entry->change->parameters = parameters_of(f);
}

void columns_answer(struct link *l, const struct owed *entry, const struct frame *f)
{
    const struct change *c = entry->change;
    if (c == NULL || !c->describes)
        return;
    struct shared_statement *s = c->after;
    uint64_t columns = columns_of(f, c->parameters);
    bool is_known = s->columns != COLUMNS_UNKNOWN && s->columns != COLUMNS_CHANGED;
    if (is_known && s->columns != columns)
        s->changes++;
    s->columns = columns;
    server_see(l->server, s->id, s->changes);
    if (entry->purpose == FOR_CLIENT)
        handles_see(&l->handles, span_of(c->name), s);
}

void columns_carry(struct link *l, struct span name, const struct shared_statement *s, struct shared_statement *again)
{
    if (s == again || s->columns <= COLUMNS_CHANGED || !is_followed(l, again))
        return;
    if (again->columns == COLUMNS_UNKNOWN) {
        again->columns = s->columns;
        server_unsee(l->server, again->id);
    } else if (again->columns != s->columns) {
        handles_outdate(&l->handles, name);
    }
}
