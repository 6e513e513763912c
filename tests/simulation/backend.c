/* The protocol side of the model: messages in, messages out, in the order and with the conditions of PostgreSQL's main loop.
 *
 * A Query's statements and a portal's Execute may have to wait (a sleep, COPY data from the client), so both are written as something that
 * can be taken up again: `wait` says for what, `paused` for whom, and nothing more is read until it has come. */
#include "tests/simulation/backend.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "protocol/message.h"
#include "tests/simulation/execute.h"

enum { MESSAGE_LIMIT = 1 << 24 };

struct backend *backend_new(struct committed *db, const struct transaction_rules *rules, void *rules_state)
{
    struct backend *b = calloc(1, sizeof *b);
    if (!b)
        abort();
    b->rules = rules;
    b->rules_state = rules_state;
    store_init(&b->store, db);
    return b;
}

void backend_drop_statement(struct prepared *p)
{
    free(p->text);
    p->used = false;
    p->text = NULL;
}

static void drop_portal(struct portal *p)
{
    free(p->text);
    p->used = false;
    p->text = NULL;
}

void backend_drop_portals(struct backend *b)
{
    for (unsigned i = 0; i < BACKEND_PORTALS_MAX; i++)
        if (b->portals[i].used)
            drop_portal(&b->portals[i]);
}

void backend_undo_portals(struct backend *b, int level)
{
    for (unsigned i = 0; i < BACKEND_PORTALS_MAX; i++)
        if (b->portals[i].used && b->portals[i].level > (unsigned)level)
            drop_portal(&b->portals[i]);
}

void backend_release_portals(struct backend *b, int level)
{
    for (unsigned i = 0; i < BACKEND_PORTALS_MAX; i++)
        if (b->portals[i].level > (unsigned)level)
            b->portals[i].level = (unsigned)level;
}

void backend_free(struct backend *b)
{
    for (unsigned i = 0; i < BACKEND_STATEMENTS_MAX; i++)
        if (b->statements[i].used)
            backend_drop_statement(&b->statements[i]);
    for (unsigned i = 0; i < BACKEND_PORTALS_MAX; i++)
        if (b->portals[i].used)
            drop_portal(&b->portals[i]);
    store_free(&b->store);
    buffer_free(&b->input);
    buffer_free(&b->output);
    buffer_free(&b->copy);
    buffer_free(&b->query.text);
    free(b);
}

struct prepared *backend_find_statement(struct backend *b, const char *name)
{
    for (unsigned i = 0; i < BACKEND_STATEMENTS_MAX; i++)
        if (b->statements[i].used && strcmp(b->statements[i].name, name) == 0)
            return &b->statements[i];
    return NULL;
}

static struct portal *find_portal(struct backend *b, const char *name)
{
    for (unsigned i = 0; i < BACKEND_PORTALS_MAX; i++)
        if (b->portals[i].used && strcmp(b->portals[i].name, name) == 0)
            return &b->portals[i];
    return NULL;
}

/* --- faults and notices -------------------------------------------------------------------------- */

bool fault_set(struct fault *f, const char *sqlstate, const char *format, ...)
{
    *f = (struct fault){ .severity = "ERROR", .sqlstate = sqlstate };
    va_list args;
    va_start(args, format);
    vsnprintf(f->message, sizeof f->message, format, args);
    va_end(args);
    return false;
}

static void add_field(struct buffer *out, char key, const char *text)
{
    buffer_append_u8(out, (uint8_t)key);
    buffer_append_string(out, span_of(text));
}

static void add_fault(struct backend *b, char type, const struct fault *f)
{
    struct buffer *out = &b->output;
    buffer_append_u8(out, (uint8_t)type);
    size_t start = out->size;
    buffer_append_u32(out, 0);
    add_field(out, 'S', f->severity);
    add_field(out, 'V', f->severity);
    add_field(out, 'C', f->sqlstate);
    add_field(out, 'M', f->message);
    if (f->detail[0])
        add_field(out, 'D', f->detail);
    if (f->hint)
        add_field(out, 'H', "");
    if (f->position) {
        char number[12];
        snprintf(number, sizeof number, "%u", f->position);
        add_field(out, 'P', number);
    }
    buffer_append_u8(out, 0);
    wire_put_u32(out->data + start, (uint32_t)(out->size - start));
}

void backend_warn(struct backend *b, const char *sqlstate, const char *message)
{
    struct fault f = { .severity = "WARNING", .sqlstate = sqlstate };
    snprintf(f.message, sizeof f.message, "%s", message);
    add_fault(b, 'N', &f);
}

/* --- ReadyForQuery ------------------------------------------------------------------------------- */

static void add_notifications(struct backend *b)
{
    for (size_t i = 0; i < b->store.heard.count; i++) {
        const struct note_row *n = log_at(&b->store.heard, i);
        if (!store_listens(&b->store, n->channel))
            continue;
        buffer_append_u8(&b->output, 'A');
        buffer_append_u32(&b->output, (uint32_t)(4 + 4 + strlen(n->channel) + 1 + strlen(n->payload) + 1));
        buffer_append_u32(&b->output, 1);
        buffer_append_string(&b->output, span_of(n->channel));
        buffer_append_string(&b->output, span_of(n->payload));
    }
    b->store.heard.count = 0;
}

/* The two settings of the model that a server reports, and what they are when nobody has set them. */
static const struct {
    const char *name, *usual;
} reported[] = { { "application_name", "" }, { "default_transaction_read_only", "off" } };

static void add_parameter_status(struct backend *b)
{
    for (unsigned i = 0; i < sizeof reported / sizeof *reported; i++) {
        const char *now = store_setting(&b->store, reported[i].name);
        if (!now || !now[0])
            now = reported[i].usual;
        const char *before = b->reported[i][0] ? b->reported[i] : reported[i].usual;
        if (strcmp(now, before) == 0)
            continue;
        snprintf(b->reported[i], sizeof b->reported[i], "%s", now);
        message_add_parameter_status(&b->output, span_of(reported[i].name), span_of(now));
    }
}

static void add_ready(struct backend *b)
{
    b->rules->ready(b);
    if (b->rules->status(b) == 'I')
        add_notifications(b);
    add_parameter_status(b);
    message_add_ready(&b->output, b->rules->status(b));
    b->ready_count++;
    b->must_be_out = b->output.size;
}

/* --- results ------------------------------------------------------------------------------------- */

static void add_row_description(struct backend *b, const struct command *c, unsigned format)
{
    char name[SQL_NAME_MAX];
    uint32_t type;
    execute_column(c, name, &type);
    int16_t size = type == 20 ? 8 : type == 25 ? -1 : 4;
    message_add_row_description(&b->output, span_of(name), type, size, (uint16_t)format);
}

static void add_row(struct backend *b, const struct command *c, unsigned i, unsigned format)
{
    const char *text = execute_row(b, c, i);
    char name[SQL_NAME_MAX], binary[8] = "";
    uint32_t type;
    execute_column(c, name, &type);
    if (!text) {
        buffer_append_u8(&b->output, 'D');
        buffer_append_u32(&b->output, 10);
        buffer_append_u16(&b->output, 1);
        buffer_append_u32(&b->output, UINT32_MAX);
    } else if (format == 1 && (type == 20 || type == 23)) {
        wire_put_u32(binary + 4, (uint32_t)atoi(text));
        message_add_data_row(&b->output, type == 20 ? span_make(binary, 8) : span_make(binary + 4, 4));
    } else {
        message_add_data_row(&b->output, span_of(text));
    }
}

/* Of COMMAND_SETTINGS: a column each. */
static void add_settings_row(struct backend *b, const struct command *c)
{
    struct value name, value;
    uint16_t count = 0;
    size_t start = message_begin(&b->output, 'D'), counted = b->output.size;
    buffer_append_u16(&b->output, 0);
    for (size_t at = 0; sql_next_setting(c, &at, &name, &value); count++) {
        const char *text = store_setting(&b->store, name.text);
        buffer_append_u32(&b->output, text ? (uint32_t)strlen(text) : UINT32_MAX);
        if (text)
            buffer_append_text(&b->output, text);
    }
    wire_put_u16(b->output.data + counted, count);
    message_end(&b->output, start);
}

static void add_copy_out(struct backend *b, const struct command *c)
{
    const struct log *logs[] = { &b->store.db->rows, &b->store.rows };
    buffer_append(&b->output, "H\0\0\0\x09\0\0\1\0\0", 10);
    for (unsigned l = 0; l < 2; l++) {
        for (size_t i = 0; i < logs[l]->count; i++) {
            const struct row *r = log_at(logs[l], i);
            char line[16];
            int size = snprintf(line, sizeof line, "%d\n", r->id);
            if (r->table != c->name[0])
                continue;
            buffer_append_u8(&b->output, 'd');
            buffer_append_u32(&b->output, (uint32_t)(4 + size));
            buffer_append(&b->output, line, (size_t)size);
        }
    }
    message_add_empty(&b->output, 'c');
}

/* --- a Query ------------------------------------------------------------------------------------- */

static struct portal *new_portal(struct backend *b)
{
    for (unsigned i = 0; i < BACKEND_PORTALS_MAX; i++)
        if (!b->portals[i].used)
            return &b->portals[i];
    abort();
}

/* A Query's statements run in the unnamed portal, which takes the place of the client's. */
static void take_unnamed_portal(struct backend *b)
{
    struct portal *unnamed = find_portal(b, "");
    if (unnamed)
        drop_portal(unnamed);
}

static void fail_transaction(struct backend *b, const struct fault *f)
{
    b->rules->failed(b, f);
    for (unsigned i = 0; i < BACKEND_PORTALS_MAX; i++) {
        struct portal *p = &b->portals[i];
        if (p->used && sql_is_control(&p->command))
            p->command.kind = COMMAND_SET_CONSTRAINTS;
    }
}

static void query_failed(struct backend *b, const struct fault *f)
{
    add_fault(b, 'E', f);
    fail_transaction(b, f);
    b->query.running = false;
    add_ready(b);
}

/* Commits what is due behind the statement that was just executed, then says its tag. */
static bool query_statement_done(struct backend *b, const char *tag, struct fault *f)
{
    struct command next;
    size_t at = b->query.at;
    bool last = !sql_next(buffer_span(&b->query.text), &at, &next);
    if (last && b->query.several)
        b->rules->end_implicit(b);
    if ((last || sql_is_control(&b->query.command)) && !b->rules->finish(b, f))
        return false;
    message_add_command_complete(&b->output, span_of(tag));
    return true;
}

static bool query_work(struct backend *b, struct fault *f)
{
    struct command c;
    struct result r;
    if (!b->woken) {
        if (!execute_analyse(b, &b->query.command, buffer_span(&b->query.text), f))
            return false;
        take_unnamed_portal(b);
    }
    if (!execute_resolve(b, &b->query.command, &c, f))
        return false;
    switch (execute_command(b, &c, !b->query.several, &r, f)) {
    case EXECUTE_FAULT:
        return false;
    case EXECUTE_WAITS:
        if (b->wait == WAIT_COPY)
            buffer_append(&b->output, "G\0\0\0\x09\0\0\1\0\0", 10);
        b->must_be_out = b->output.size;
        return true;
    case EXECUTED:
        break;
    }
    if (c.kind == COMMAND_COPY_OUT)
        add_copy_out(b, &c);
    if (c.kind == COMMAND_SETTINGS) {
        add_settings_row(b, &c);
    } else if (sql_is_query(&c)) {
        add_row_description(b, &c, 0);
        for (unsigned i = 0; i < r.rows; i++)
            add_row(b, &c, i, 0);
    }
    return query_statement_done(b, r.tag, f);
}

static bool query_statement(struct backend *b, struct fault *f)
{
    const struct command *c = &b->query.command;
    if (b->woken)
        return query_work(b, f);
    if (b->rules->refuses(b, c, f))
        return false;
    b->rules->start(b);
    if (b->query.several)
        b->rules->begin_implicit(b);
    b->rules->read(b, c);
    if (!sql_is_control(c))
        return query_work(b, f);
    take_unnamed_portal(b);
    const char *tag = "";
    return b->rules->control(b, c, !b->query.several, &tag, f) && query_statement_done(b, tag, f);
}

/* Goes through the statements from where it stopped. */
static void query_run(struct backend *b)
{
    struct fault f = { 0 };
    while (b->woken || sql_next(buffer_span(&b->query.text), &b->query.at, &b->query.command)) {
        if (!query_statement(b, &f)) {
            query_failed(b, &f);
            return;
        }
        if (b->wait != WAIT_NOTHING)
            return;
    }
    b->query.running = false;
    add_ready(b);
}

/* The whole string is read before any of it is executed. */
static unsigned count_statements(struct backend *b, struct fault *f)
{
    unsigned count = 0;
    struct command c;
    for (size_t at = 0; sql_next(buffer_span(&b->query.text), &at, &c); count++) {
        if (c.kind != COMMAND_WRONG)
            continue;
        b->rules->read(b, &c);
        execute_analyse(b, &c, buffer_span(&b->query.text), f);
        return 0;
    }
    return count;
}

static void on_query(struct backend *b, struct span body)
{
    struct fault f = { 0 };
    buffer_clear(&b->query.text);
    message_read_query(body, &body);
    buffer_append_span(&b->query.text, body);
    b->query.at = 0;
    b->query.running = true;
    b->rules->start(b);
    struct prepared *unnamed = backend_find_statement(b, "");
    if (unnamed)
        backend_drop_statement(unnamed);
    unsigned count = count_statements(b, &f);
    b->query.several = count > 1;
    if (count == 0 && !f.sqlstate && b->rules->finish(b, &f))
        message_add_empty(&b->output, 'I');
    if (f.sqlstate)
        query_failed(b, &f);
    else
        query_run(b);
}

/* --- Parse, Bind, Describe, Execute, Close -------------------------------------------------------- */

static void extended_failed(struct backend *b, const struct fault *f)
{
    add_fault(b, 'E', f);
    fail_transaction(b, f);
    b->skipping = true;
}

static void name_of(struct span s, char out[SQL_NAME_MAX])
{
    snprintf(out, SQL_NAME_MAX, "%.*s", (int)s.size, s.data);
}

static struct prepared *new_statement(struct backend *b)
{
    for (unsigned i = 0; i < BACKEND_STATEMENTS_MAX; i++)
        if (!b->statements[i].used)
            return &b->statements[i];
    abort();
}

static bool do_parse(struct backend *b, struct span body, struct fault *f)
{
    struct message_parse m;
    char name[SQL_NAME_MAX];
    if (!message_read_parse(body, &m))
        return fault_set(f, "08P01", "invalid message format");
    name_of(m.name, name);
    struct prepared *old = backend_find_statement(b, name), p = { .used = true };
    if (name[0] == '\0' && old)
        backend_drop_statement(old);
    p.text = strndup(m.text.data, m.text.size);
    size_t at = 0;
    struct command second;
    p.empty = !sql_next(span_of(p.text), &at, &p.command);
    bool ok = true;
    if (!p.empty)
        b->rules->read(b, &p.command);
    if (!p.empty && p.command.kind == COMMAND_WRONG)
        ok = execute_analyse(b, &p.command, m.text, f);
    else if (!p.empty && sql_next(span_of(p.text), &at, &second))
        ok = fault_set(f, "42601", "cannot insert multiple commands into a prepared statement");
    else if (!p.empty)
        ok = !b->rules->refuses(b, &p.command, f) && execute_analyse(b, &p.command, m.text, f);
    if (ok && name[0] && old)
        ok = fault_set(f, "42P05", "prepared statement \"%s\" already exists", name);
    if (!ok) {
        free(p.text);
        return false;
    }
    memcpy(p.name, name, sizeof name);
    *new_statement(b) = p;
    message_add_empty(&b->output, '1');
    return true;
}

/* An unknown statement: only a named one has a name to tell. */
static bool no_statement(const char *name, struct fault *f)
{
    if (name[0])
        return fault_set(f, "26000", "prepared statement \"%s\" does not exist", name);
    return fault_set(f, "26000", "unnamed prepared statement does not exist");
}

static bool put_parameters(const struct message_bind *m, struct command *c, struct fault *f)
{
    for (unsigned i = 0; i < SQL_ARGS_MAX; i++) {
        struct value *v = &c->args[i];
        struct message_parameter p;
        if (v->kind != VALUE_PARAMETER)
            continue;
        if (!message_bind_parameter(m, v->parameter, &p))
            return fault_set(f, "08P01", "bind message supplies too few parameters");
        v->kind = p.null ? VALUE_NULL : VALUE_TEXT;
        v->text[0] = '\0';
        if (p.null)
            continue;
        if (execute_parameter_type(c) == 23 && p.binary)
            snprintf(v->text, sizeof v->text, "%d", (int)wire_get_u32(p.value.data));
        else
            snprintf(v->text, sizeof v->text, "%.*s", (int)p.value.size, p.value.data);
        if (execute_parameter_type(c) == 23 && strspn(v->text, "-0123456789") != strlen(v->text))
            return fault_set(f, "22P02", "invalid input syntax for type integer: \"%s\"", v->text);
    }
    return true;
}

static bool bind_portal(struct backend *b, const struct message_bind *m, const struct prepared *s, const char *name,
                        struct fault *f)
{
    struct portal *old = find_portal(b, name), p = { .used = true, .empty = s->empty, .level = b->store.level_count };
    if (old && name[0])
        return fault_set(f, "42P03", "cursor \"%s\" already exists", name);
    if (old)
        drop_portal(old);
    p.text = strdup(s->text);
    size_t at = 0;
    if (!s->empty)
        sql_next(span_of(p.text), &at, &p.command);
    p.format = message_bind_result_format(m);
    memcpy(p.name, name, sizeof p.name);
    bool ok = s->empty || (put_parameters(m, &p.command, f) && execute_plan(&p.command, f));
    p.empty = p.empty || !ok;
    *new_portal(b) = p; /* a Bind that fails here leaves an empty portal to a failed block */
    if (ok)
        message_add_empty(&b->output, '2');
    return ok;
}

static bool do_bind(struct backend *b, struct span body, struct fault *f)
{
    struct message_bind m;
    char portal[SQL_NAME_MAX], statement[SQL_NAME_MAX];
    if (!message_read_bind(body, &m))
        return fault_set(f, "08P01", "invalid message format");
    name_of(m.portal, portal);
    name_of(m.statement, statement);
    const struct prepared *s = backend_find_statement(b, statement);
    if (!s)
        return no_statement(statement, f);
    struct message_parameter ignored;
    unsigned given = 0, wanted = s->empty ? 0 : sql_parameter_count(&s->command);
    while (message_bind_parameter(&m, given + 1, &ignored))
        given++;
    if (given != wanted)
        return fault_set(f, "08P01", "bind message supplies %u parameters, but prepared statement \"%s\" requires %u",
                         given, statement, wanted);
    if (!s->empty && b->rules->refuses(b, &s->command, f))
        return false;
    return bind_portal(b, &m, s, portal, f);
}

/* What the statement behind an SQL EXECUTE would give; the command itself when there is none. */
static const struct command *described(struct backend *b, const struct command *c)
{
    const struct prepared *p = c->kind == COMMAND_EXECUTE ? backend_find_statement(b, c->name) : NULL;
    return p ? &p->command : c;
}

static void add_description(struct backend *b, const struct command *c, bool empty, unsigned format)
{
    if (!empty && sql_is_query(described(b, c)))
        add_row_description(b, described(b, c), format);
    else
        message_add_empty(&b->output, 'n');
}

static bool do_describe(struct backend *b, struct span body, struct fault *f)
{
    struct message_named m;
    char name[SQL_NAME_MAX];
    if (!message_read_named(body, &m))
        return fault_set(f, "08P01", "invalid message format");
    name_of(m.name, name);
    if (m.kind == 'S') {
        const struct prepared *s = backend_find_statement(b, name);
        if (!s)
            return no_statement(name, f);
        if (!s->empty && sql_is_query(described(b, &s->command)) && b->rules->refuses(b, &s->command, f))
            return false;
        uint32_t oids[4];
        unsigned count = s->empty ? 0 : sql_parameter_count(&s->command);
        for (unsigned i = 0; i < count; i++)
            oids[i] = execute_parameter_type(&s->command);
        message_add_parameter_description(&b->output, oids, (uint16_t)count);
        add_description(b, &s->command, s->empty, 0);
        return true;
    }
    const struct portal *p = find_portal(b, name);
    if (!p)
        return fault_set(f, "34000", "portal \"%s\" does not exist", name);
    if (!p->empty && sql_is_query(described(b, &p->command)) && b->rules->refuses(b, &p->command, f))
        return false;
    add_description(b, &p->command, p->empty, p->format);
    return true;
}

/* Commits what a command commits at once, then says its tag. */
static bool execute_finished(struct backend *b, bool control, const char *tag, struct fault *f)
{
    if (control && !b->rules->finish(b, f))
        return false;
    message_add_command_complete(&b->output, span_of(tag));
    return true;
}

/* Runs a portal's command to its end and remembers how many rows it has. */
static bool execute_portal(struct backend *b, struct portal *p, struct result *r, struct fault *f)
{
    struct command c;
    if (!execute_resolve(b, &p->command, &c, f))
        return false;
    switch (execute_command(b, &c, true, r, f)) {
    case EXECUTE_FAULT:
        return false;
    case EXECUTE_WAITS:
        if (b->wait == WAIT_COPY)
            buffer_append(&b->output, "G\0\0\0\x09\0\0\1\0\0", 10);
        b->must_be_out = b->output.size;
        b->paused = p;
        return true;
    case EXECUTED:
        break;
    }
    if (c.kind == COMMAND_COPY_OUT)
        add_copy_out(b, &c);
    p->started = true;
    p->rows = r->rows;
    if (p->command.kind == COMMAND_EXECUTE)
        p->command = c;
    return true;
}

/* The next rows of a query's portal, at most `max` (0: all). */
static bool execute_rows(struct backend *b, struct portal *p, unsigned max, struct fault *f)
{
    unsigned sent = 0;
    while (p->at < p->rows && (max == 0 || sent < max)) {
        add_row(b, &p->command, p->at++, p->format);
        sent++;
    }
    b->in_pipeline = true;
    if (max > 0 && sent == max) {
        message_add_empty(&b->output, 's');
        return true;
    }
    char tag[SQL_NAME_MAX];
    execute_tag(&p->command, sent, tag);
    return execute_finished(b, false, tag, f);
}

static bool run_portal(struct backend *b, struct portal *p, unsigned max, struct fault *f)
{
    struct result r = { 0 };
    if (!p->started && (!execute_portal(b, p, &r, f) || b->wait != WAIT_NOTHING))
        return b->wait != WAIT_NOTHING;
    b->paused = NULL;
    if (sql_is_query(&p->command))
        return execute_rows(b, p, max, f);
    bool at_once = p->command.kind == COMMAND_DISCARD_ALL;
    p->done = true;
    b->in_pipeline = !at_once;
    if (p->command.kind == COMMAND_DISCARD_ALL)
        backend_drop_portals(b);
    return execute_finished(b, at_once, r.tag, f);
}

static bool do_execute(struct backend *b, struct span body, struct fault *f)
{
    struct message_execute m;
    char name[SQL_NAME_MAX];
    if (!message_read_execute(body, &m))
        return fault_set(f, "08P01", "invalid message format");
    name_of(m.portal, name);
    struct portal *p = find_portal(b, name);
    if (!p)
        return fault_set(f, "34000", "portal \"%s\" does not exist", name);
    if (p->empty) {
        message_add_empty(&b->output, 'I');
        return true;
    }
    if (b->rules->refuses(b, &p->command, f))
        return false;
    if (p->done)
        return fault_set(f, "55000", "portal \"%s\" cannot be run", name);
    if (!sql_is_control(&p->command))
        return run_portal(b, p, m.max_rows, f);
    const char *tag = "";
    struct command c = p->command;
    p->done = true;
    return b->rules->control(b, &c, true, &tag, f) && execute_finished(b, true, tag, f);
}

static void do_close(struct backend *b, struct span body)
{
    struct message_named m;
    char name[SQL_NAME_MAX];
    if (message_read_named(body, &m)) {
        name_of(m.name, name);
        struct prepared *s = m.kind == 'S' ? backend_find_statement(b, name) : NULL;
        struct portal *p = m.kind == 'P' ? find_portal(b, name) : NULL;
        if (s)
            backend_drop_statement(s);
        if (p)
            drop_portal(p);
    }
    message_add_empty(&b->output, '3');
}

static void on_sync(struct backend *b)
{
    struct fault f = { 0 };
    b->skipping = false;
    if (!b->rules->finish(b, &f)) {
        add_fault(b, 'E', &f);
        b->rules->failed(b, &f);
    }
    add_ready(b);
}

/* --- waiting ------------------------------------------------------------------------------------- */

/* Takes up what waited. */
static void resume(struct backend *b)
{
    struct fault f = { 0 };
    b->wait = WAIT_NOTHING;
    b->woken = true;
    if (!b->paused)
        query_run(b);
    else if (!run_portal(b, b->paused, 0, &f))
        extended_failed(b, &f);
}

static void waiting_failed(struct backend *b, const struct fault *f)
{
    b->wait = WAIT_NOTHING;
    buffer_clear(&b->copy);
    b->copied = 0;
    if (b->paused)
        extended_failed(b, f);
    else
        query_failed(b, f);
    b->paused = NULL;
}

/* Whole lines of COPY data; `all`: the last may lack its newline. */
static bool copy_lines(struct backend *b, bool all, struct fault *f)
{
    while (b->copy.size > 0) {
        const char *end = memchr(b->copy.data, '\n', b->copy.size);
        if (!end && !all)
            return true;
        size_t size = end ? (size_t)(end - b->copy.data) : b->copy.size;
        char line[SQL_NAME_MAX];
        snprintf(line, sizeof line, "%.*s", (int)size, b->copy.data);
        if (strspn(line, "0123456789") != strlen(line) || line[0] == '\0')
            return fault_set(f, "22P02", "invalid input syntax for type integer: \"%s\"", line);
        store_insert(&b->store, 't', atoi(line));
        b->copied++;
        buffer_consume(&b->copy, end ? size + 1 : size);
    }
    return true;
}

static void on_copy_message(struct backend *b, const struct frame *m)
{
    struct fault f = { 0 };
    switch (m->type) {
    case 'd':
        buffer_append_span(&b->copy, frame_body(m));
        if (!copy_lines(b, false, &f))
            waiting_failed(b, &f);
        return;
    case 'c':
        if (!copy_lines(b, true, &f)) {
            waiting_failed(b, &f);
            return;
        }
        resume(b);
        b->copied = 0;
        return;
    case 'f':
        fault_set(&f, "57014", "COPY from stdin failed: %.*s", (int)frame_body(m).size - 1, frame_body(m).data);
        waiting_failed(b, &f);
        return;
    case 'H':
    case 'S':
        return;
    case 'X':
        b->rules->terminate(b);
        b->closed = true;
        return;
    default:
        fault_set(&f, "08P01", "unexpected message type 0x%02X during COPY from stdin", (unsigned char)m->type);
        add_fault(b, 'E', &f);
        fault_set(&f, "08P01", "terminating connection because protocol synchronization was lost");
        f.severity = "FATAL";
        add_fault(b, 'E', &f);
        b->must_be_out = b->output.size;
        backend_disconnect(b);
    }
}

void backend_wake(struct backend *b)
{
    assert(b->wait == WAIT_SLEEP);
    resume(b);
    backend_receive(b, span_of(""));
}

void backend_cancel(struct backend *b)
{
    struct fault f;
    if (b->wait == WAIT_NOTHING)
        return;
    fault_set(&f, "57014", "canceling statement due to user request");
    waiting_failed(b, &f);
    backend_receive(b, span_of(""));
}

/* --- the main loop ------------------------------------------------------------------------------- */

static void on_extended(struct backend *b, const struct frame *m)
{
    struct fault f = { 0 };
    struct span body = frame_body(m);
    b->rules->start(b);
    bool ok = m->type == 'P'   ? do_parse(b, body, &f)
              : m->type == 'B' ? do_bind(b, body, &f)
              : m->type == 'D' ? do_describe(b, body, &f)
                               : do_execute(b, body, &f);
    if (!ok)
        extended_failed(b, &f);
}

static void on_message(struct backend *b, const struct frame *m)
{
    if (b->skipping && m->type != 'S' && m->type != 'X')
        return;
    switch (m->type) {
    case 'Q':
        on_query(b, frame_body(m));
        break;
    case 'P':
    case 'B':
    case 'D':
    case 'E':
        on_extended(b, m);
        break;
    case 'C':
        do_close(b, frame_body(m));
        break;
    case 'S':
        on_sync(b);
        break;
    case 'H':
        b->must_be_out = b->output.size;
        break;
    case 'X':
        b->rules->terminate(b);
        b->closed = true;
        break;
    default: /* CopyData and its kin behind a COPY that failed */
        break;
    }
}

void backend_receive(struct backend *b, struct span bytes)
{
    buffer_append_span(&b->input, bytes);
    while (!b->closed && b->wait != WAIT_SLEEP) {
        struct frame m;
        if (frame_next_whole(frontend_messages, buffer_span(&b->input), MESSAGE_LIMIT, &m, NULL) != FRAME_OK)
            return;
        if (b->wait == WAIT_COPY)
            on_copy_message(b, &m);
        else
            on_message(b, &m);
        buffer_consume(&b->input, m.bytes.size);
    }
}

void backend_disconnect(struct backend *b)
{
    if (!b->closed)
        b->rules->failed(b, NULL);
    if (!b->closed && b->store.level_count > 0)
        store_abort(&b->store);
    b->closed = true;
}

void backend_terminate(struct backend *b)
{
    struct fault f;
    if (b->closed)
        return;
    fault_set(&f, "57P01", "terminating connection due to administrator command");
    f.severity = "FATAL";
    add_fault(b, 'E', &f);
    b->must_be_out = b->output.size;
    backend_disconnect(b);
}
