/* The extended protocol of the console, as far as drivers need it: statements without parameters, columns in text or binary, and rows by
 * the portion.
 *
 *     Parse --> statement --Bind--> portal --Execute--> rows --> as many as are wanted
 *                                                         +----> the rest, kept for the next Execute
 *
 * Prepared statements and portals are kept as text, a few of each, and read anew by everyone who asks about them. What a limit has
 * left over is kept as the messages that it is, so that a portal that is run on shows the state of the moment at which it began. */
#include <stdio.h>

#include "protocol/memory.h"
#include "protocol/message.h"
#include "protocol/wire.h"
#include "proxy/ops/admin_part.h"

enum { NAMES_MOST = 100 };

/* --- names ------------------------------------------------------------------------------------------- */

static struct admin_named **find(struct admin *a, char kind, struct span name)
{
    struct admin_named **link = &a->names;
    while (*link != NULL && ((*link)->kind != kind || !span_is(name, (*link)->name)))
        link = &(*link)->next;
    return link;
}

static void forget(struct admin *a, struct admin_named **link)
{
    struct admin_named *n = *link;
    if (n == NULL)
        return;
    *link = n->next;
    a->name_count--;
    free(n->name);
    free(n->text);
    buffer_free(&n->rows);
    free(n);
}

void admin_forget_names(struct admin *a)
{
    while (a->names != NULL)
        forget(a, &a->names);
}

/* False: there are too many, which the client has been told. */
static bool remember(struct admin *a, char kind, struct span name, struct span text, uint64_t binary)
{
    forget(a, find(a, kind, name));
    if (a->name_count >= NAMES_MOST) {
        admin_fail(a, "54000", "too many prepared statements and portals for the console");
        return false;
    }
    struct admin_named *n = or_abort(malloc(sizeof *n));
    *n = (struct admin_named){
        .next = a->names, .kind = kind, .name = memory_copy_span(name), .text = memory_copy_span(text), .binary = binary
    };
    a->names = n;
    a->name_count++;
    return true;
}

/* --- Parse, Bind, Describe --------------------------------------------------------------------------- */

/* Its one statement. */
static void read_statement(const char *text, struct admin_command *out)
{
    struct admin_command second;
    size_t at = 0;
    admin_command_next(span_of(text), &at, out);
    if (admin_command_next(span_of(text), &at, &second)) {
        out->verb = ADMIN_WRONG;
        snprintf(out->name, sizeof out->name, "cannot insert multiple commands into a prepared statement");
    }
}

bool admin_on_parse(struct admin *a, struct span body)
{
    struct message_parse m;
    struct admin_command command;
    if (!message_read_parse(body, &m))
        return false;
    if (!remember(a, 'S', m.name, m.text, 0))
        return true;
    read_statement(a->names->text, &command);
    if (command.verb == ADMIN_WRONG || command.verb == ADMIN_UNKNOWN) {
        forget(a, &a->names);
        admin_fail_as_read(a, &command);
    } else {
        message_add_empty(&a->out, '1');
    }
    return true;
}

/* Which of the columns are wanted in binary: one format for all, or one for each. */
static bool read_formats(struct span rest, uint64_t *binary)
{
    struct wire w = wire_open(rest);
    for (unsigned count = wire_u16(&w); count > 0; count--)
        wire_u16(&w);
    unsigned parameters = wire_u16(&w), formats = wire_u16(&w);
    *binary = 0;
    for (unsigned i = 0; i < formats && i < ADMIN_COLUMNS_MOST; i++)
        *binary |= (uint64_t)(wire_u16(&w) == 1) << i;
    if (formats == 1 && *binary == 1)
        *binary = UINT64_MAX;
    return parameters == 0 && !w.failed;
}

bool admin_on_bind(struct admin *a, struct span body)
{
    struct message_bind m;
    uint64_t binary;
    if (!message_read_bind(body, &m))
        return false;
    const struct admin_named *statement = *find(a, 'S', m.statement);
    if (statement == NULL)
        admin_fail(a, "26000", "there is no prepared statement of that name");
    else if (!read_formats(m.rest, &binary))
        admin_fail(a, "08P01", "statements of the console have no parameters");
    else if (remember(a, 'P', m.portal, span_of(statement->text), binary))
        message_add_empty(&a->out, '2');
    return true;
}

bool admin_on_describe(struct admin *a, struct span body)
{
    struct message_named m;
    struct admin_command command;
    if (!message_read_named(body, &m))
        return false;
    const struct admin_named *n = *find(a, m.kind, m.name);
    if (n == NULL) {
        admin_fail(a, m.kind == 'S' ? "26000" : "34000", "there is no prepared statement or portal of that name");
        return true;
    }
    if (m.kind == 'S')
        message_add_parameter_description(&a->out, NULL, 0);
    read_statement(n->text, &command);
    if (command.verb == ADMIN_SHOW)
        rows_describe(&a->out, command.table->columns, n->binary);
    else
        message_add_empty(&a->out, 'n');
    return true;
}

/* --- Execute, Close ---------------------------------------------------------------------------------- */

/* As many rows as are wanted, of those that are kept: DataRow messages. */
void admin_send_rows(struct admin *a, struct admin_named *portal)
{
    uint32_t sent = 0;
    while (sent < a->max_rows && portal->rows_at < portal->rows.size) {
        const char *row = portal->rows.data + portal->rows_at;
        size_t size = 1 + wire_get_u32(row + 1);
        buffer_append(&a->out, row, size);
        portal->rows_at += size;
        sent++;
    }
    portal->suspended = sent == a->max_rows;
    if (portal->suspended) {
        message_add_empty(&a->out, 's');
        return;
    }
    buffer_free(&portal->rows);
    portal->rows_at = 0;
    admin_complete(a, "SHOW");
}

/* No limit: the rest. */
static void continue_portal(struct admin *a, struct admin_named *portal)
{
    if (a->max_rows == 0)
        a->max_rows = UINT32_MAX;
    admin_send_rows(a, portal);
}

bool admin_on_execute(struct admin *a, struct span body)
{
    struct message_execute m;
    if (!message_read_execute(body, &m))
        return false;
    struct admin_named *portal = *find(a, 'P', m.portal);
    if (portal == NULL) {
        admin_fail(a, "34000", "there is no portal of that name");
        return true;
    }
    a->max_rows = m.max_rows;
    if (portal->suspended) {
        continue_portal(a, portal);
        return true;
    }
    a->describes = false;
    a->portal = portal;
    a->binary = portal->binary;
    read_statement(portal->text, &a->command);
    admin_execute(a);
    return true;
}

bool admin_on_close(struct admin *a, struct span body)
{
    struct message_named m;
    if (!message_read_named(body, &m))
        return false;
    forget(a, find(a, m.kind, m.name));
    message_add_empty(&a->out, '3');
    return true;
}
