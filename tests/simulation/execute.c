#include "tests/simulation/execute.h"

#include <stdio.h>
#include <stdlib.h>

enum { OID_INT8 = 20, OID_INT4 = 23, OID_TEXT = 25, OID_VOID = 2278 };

/* --- before it runs ------------------------------------------------------------------------------ */

/* Where byte `at` of the text is, in characters from 1. */
static unsigned character_position(struct span text, size_t at)
{
    unsigned position = 1;
    for (size_t i = 0; i < at; i++)
        position += (text.data[i] & 0xc0) != 0x80;
    return position;
}

bool execute_analyse(struct backend *b, const struct command *c, struct span text, struct fault *f)
{
    (void)b;
    if (c->kind == COMMAND_WRONG) {
        if (c->wrong.size == 0)
            fault_set(f, "42601", "syntax error at end of input");
        else
            fault_set(f, "42601", "syntax error at or near \"%.*s\"", (int)c->wrong.size, c->wrong.data);
        f->position = character_position(text, c->position);
        return false;
    }
    bool table = c->kind == COMMAND_INSERT || c->kind == COMMAND_COUNT;
    if (c->kind == COMMAND_MISSING || (table && strcmp(c->name, "t") != 0 && strcmp(c->name, "d") != 0)) {
        fault_set(f, "42P01", "relation \"%s\" does not exist", c->name);
        f->position = character_position(text, c->position);
        return false;
    }
    return true;
}

bool execute_plan(const struct command *c, struct fault *f)
{
    return c->kind != COMMAND_DIVIDE || fault_set(f, "22012", "division by zero");
}

bool execute_resolve(struct backend *b, const struct command *c, struct command *out, struct fault *f)
{
    *out = *c;
    if (c->kind != COMMAND_EXECUTE)
        return true;
    const struct prepared *p = backend_find_statement(b, c->name);
    if (!p)
        return fault_set(f, "26000", "prepared statement \"%s\" does not exist", c->name);
    *out = p->command;
    unsigned given = 0;
    while (given < SQL_ARGS_MAX && c->args[given].kind != VALUE_NONE)
        given++;
    if (given != sql_parameter_count(&p->command))
        return fault_set(f, "42601", "wrong number of parameters for prepared statement \"%s\"", c->name);
    for (unsigned i = 0; i < SQL_ARGS_MAX; i++)
        if (out->args[i].kind == VALUE_PARAMETER)
            out->args[i] = c->args[out->args[i].parameter - 1];
    return execute_plan(out, f);
}

/* --- what it does -------------------------------------------------------------------------------- */

static bool do_insert(struct backend *b, const struct command *c, struct fault *f)
{
    int id = atoi(c->args[0].text), duplicate;
    store_insert(&b->store, c->name[0], id);
    if (!b->store.immediate || store_check(&b->store, &duplicate))
        return true;
    fault_set(f, "23505", "duplicate key value violates unique constraint \"d_id_key\"");
    snprintf(f->detail, sizeof f->detail, "Key (id)=(%d) already exists.", duplicate);
    return false;
}

/* Whoever runs a transcript has no right to rows that say so. */
static bool do_outbox(struct backend *b, const struct command *c, struct fault *f)
{
    struct value channel, payload;
    for (size_t at = 0; sql_next_row(c, &at, &channel, &payload);) {
        if (strcmp(payload.text, "forbidden") == 0)
            return fault_set(f, "42501", "permission denied for table outbox");
        store_notify(&b->store, &b->store.outbox, channel.text, payload.text);
    }
    return true;
}

static bool do_set_constraints(struct backend *b, const struct command *c, struct fault *f)
{
    int id;
    if (c->immediate && !store_check(&b->store, &id)) {
        fault_set(f, "23505", "duplicate key value violates unique constraint \"d_id_key\"");
        snprintf(f->detail, sizeof f->detail, "Key (id)=(%d) already exists.", id);
        return false;
    }
    b->store.immediate = c->immediate;
    return true;
}

static void do_set(struct backend *b, const struct command *c, const char *name, const struct value *v)
{
    struct setting_change change = { .local = c->local, .unset = v->kind == VALUE_NONE };
    snprintf(change.name, sizeof change.name, "%s", name);
    snprintf(change.value, sizeof change.value, "%s", v->text);
    store_set(&b->store, &change);
}

static void do_settings(struct backend *b, const struct command *c)
{
    struct value name, value;
    for (size_t at = 0; sql_next_setting(c, &at, &name, &value);)
        if (value.kind != VALUE_NONE)
            do_set(b, c, name.text, &value);
}

static bool do_show(const struct backend *b, const struct command *c, struct fault *f)
{
    return execute_row(b, c, 0) || fault_set(f, "42704", "unrecognized configuration parameter \"%s\"", c->name);
}

static bool do_notify(struct backend *b, const char *channel, const struct value *payload, struct fault *f)
{
    if (channel[0] == '\0')
        return fault_set(f, "22023", "channel name cannot be empty");
    store_notify(&b->store, &b->store.notes, channel, payload->text);
    return true;
}

static bool do_prepare(struct backend *b, const struct command *c, struct fault *f)
{
    if (backend_find_statement(b, c->name))
        return fault_set(f, "42P05", "prepared statement \"%s\" already exists", c->name);
    for (unsigned i = 0; i < BACKEND_STATEMENTS_MAX; i++) {
        struct prepared *p = &b->statements[i];
        if (p->used)
            continue;
        *p = (struct prepared){ .used = true, .text = strndup(c->body.data, c->body.size) };
        snprintf(p->name, sizeof p->name, "%s", c->name);
        size_t at = 0;
        p->empty = !sql_next(span_of(p->text), &at, &p->command);
        return true;
    }
    abort();
}

static bool do_deallocate(struct backend *b, const struct command *c, struct fault *f)
{
    if (c->name[0]) {
        struct prepared *p = backend_find_statement(b, c->name);
        if (!p)
            return fault_set(f, "26000", "prepared statement \"%s\" does not exist", c->name);
        backend_drop_statement(p);
        return true;
    }
    for (unsigned i = 0; i < BACKEND_STATEMENTS_MAX; i++)
        if (b->statements[i].used && b->statements[i].name[0])
            backend_drop_statement(&b->statements[i]);
    return true;
}

static void do_discard(struct backend *b)
{
    for (unsigned i = 0; i < BACKEND_STATEMENTS_MAX; i++)
        if (b->statements[i].used && b->statements[i].name[0])
            backend_drop_statement(&b->statements[i]);
    store_discard(&b->store);
}

static bool do_command(struct backend *b, const struct command *c, struct fault *f)
{
    switch (c->kind) {
    case COMMAND_INSERT:
        return do_insert(b, c, f);
    case COMMAND_OUTBOX:
        return do_outbox(b, c, f);
    case COMMAND_SET_CONSTRAINTS:
        return do_set_constraints(b, c, f);
    case COMMAND_SET:
        do_set(b, c, c->name, &c->args[0]);
        return true;
    case COMMAND_SET_CONFIG:
        do_set(b, c, c->args[0].text, &c->args[1]);
        return true;
    case COMMAND_SETTINGS:
        do_settings(b, c);
        return true;
    case COMMAND_RESET:
        do_set(b, c, c->name, &(struct value){ .kind = VALUE_NONE });
        return true;
    case COMMAND_RESET_ALL:
        do_set(b, c, "", &(struct value){ .kind = VALUE_NONE });
        return true;
    case COMMAND_SHOW:
        return do_show(b, c, f);
    case COMMAND_DISCARD_ALL:
        do_discard(b);
        return true;
    case COMMAND_LISTEN:
    case COMMAND_UNLISTEN:
        store_listen(&b->store, c->name, c->kind == COMMAND_LISTEN);
        return true;
    case COMMAND_NOTIFY:
        return do_notify(b, c->name, &c->args[0], f);
    case COMMAND_PG_NOTIFY:
        return do_notify(b, c->args[0].text, &c->args[1], f);
    case COMMAND_PREPARE:
        return do_prepare(b, c, f);
    case COMMAND_DEALLOCATE:
        return do_deallocate(b, c, f);
    case COMMAND_WRONG:
    case COMMAND_BEGIN:
    case COMMAND_COMMIT:
    case COMMAND_ROLLBACK:
    case COMMAND_SAVEPOINT:
    case COMMAND_RELEASE:
    case COMMAND_ROLLBACK_TO:
    case COMMAND_PREPARE_TRANSACTION:
    case COMMAND_SET_TRANSACTION: /* its effect is the rules' business */
    case COMMAND_EXECUTE:
    case COMMAND_VACUUM:
    case COMMAND_COPY_IN:
    case COMMAND_COPY_OUT:
    case COMMAND_VALUE:
    case COMMAND_SERIES:
    case COMMAND_COUNT:
    case COMMAND_DIVIDE:
    case COMMAND_MISSING:
    case COMMAND_SLEEP:
    case COMMAND_XID:
    case COMMAND_REPEAT:
        break;
    }
    return true;
}

static unsigned row_count(const struct backend *b, const struct command *c)
{
    if (c->kind == COMMAND_COPY_IN)
        return b->copied;
    if (c->kind == COMMAND_COPY_OUT)
        return (unsigned)store_count(&b->store, c->name[0]);
    return c->kind == COMMAND_SERIES ? (unsigned)atoi(c->args[0].text) : 1;
}

enum executed execute_command(struct backend *b, const struct command *c, bool top_level, struct result *out,
                              struct fault *f)
{
    if (!b->woken) {
        switch (b->rules->before(b, c, top_level, f)) {
        case BEFORE_FAULT:
            return EXECUTE_FAULT;
        case BEFORE_ANSWERED:
            out->rows = 1;
            execute_tag(c, out->rows, out->tag);
            return EXECUTED;
        case BEFORE_GO_ON:
            break;
        }
        if (!execute_plan(c, f))
            return EXECUTE_FAULT;
        if (c->kind == COMMAND_SLEEP || c->kind == COMMAND_COPY_IN) {
            b->wait = c->kind == COMMAND_SLEEP ? WAIT_SLEEP : WAIT_COPY;
            return EXECUTE_WAITS;
        }
    }
    b->woken = false;
    if (!do_command(b, c, f))
        return EXECUTE_FAULT;
    out->rows = row_count(b, c);
    execute_tag(c, out->rows, out->tag);
    return EXECUTED;
}

/* --- what comes back ----------------------------------------------------------------------------- */

void execute_tag(const struct command *c, unsigned rows, char tag[SQL_NAME_MAX])
{
    static const char *const tags[] = {
        [COMMAND_SET_TRANSACTION] = "SET",
        [COMMAND_SET_CONSTRAINTS] = "SET CONSTRAINTS",
        [COMMAND_SET] = "SET",
        [COMMAND_RESET] = "RESET",
        [COMMAND_RESET_ALL] = "RESET",
        [COMMAND_SHOW] = "SHOW",
        [COMMAND_DISCARD_ALL] = "DISCARD ALL",
        [COMMAND_LISTEN] = "LISTEN",
        [COMMAND_UNLISTEN] = "UNLISTEN",
        [COMMAND_NOTIFY] = "NOTIFY",
        [COMMAND_PREPARE] = "PREPARE",
        [COMMAND_VACUUM] = "VACUUM",
        [COMMAND_INSERT] = "INSERT 0 1",
        [COMMAND_OUTBOX] = "INSERT 0 1",
    };
    if (c->kind == COMMAND_COPY_IN || c->kind == COMMAND_COPY_OUT)
        snprintf(tag, SQL_NAME_MAX, "COPY %u", rows);
    else if (c->kind == COMMAND_DEALLOCATE)
        snprintf(tag, SQL_NAME_MAX, c->name[0] ? "DEALLOCATE" : "DEALLOCATE ALL");
    else if (c->kind < sizeof tags / sizeof *tags && tags[c->kind])
        snprintf(tag, SQL_NAME_MAX, "%s", tags[c->kind]);
    else
        snprintf(tag, SQL_NAME_MAX, "SELECT %u", rows);
}

void execute_column(const struct command *c, char name[SQL_NAME_MAX], uint32_t *type)
{
    const char *usual = "?column?";
    *type = OID_TEXT;
    if (c->kind == COMMAND_VALUE) {
        *type = c->args[0].kind == VALUE_NUMBER && !c->cast ? OID_INT4 : OID_TEXT;
        usual = c->cast ? "text" : usual;
    } else if (c->kind == COMMAND_SERIES) {
        *type = OID_INT4;
        usual = "generate_series";
    } else if (c->kind == COMMAND_COUNT) {
        *type = OID_INT8;
        usual = "count";
    } else if (c->kind == COMMAND_DIVIDE || c->kind == COMMAND_MISSING) {
        *type = OID_INT4;
    } else if (c->kind == COMMAND_SLEEP || c->kind == COMMAND_PG_NOTIFY) {
        *type = c->cast ? OID_TEXT : OID_VOID;
        usual = c->kind == COMMAND_SLEEP ? "pg_sleep" : "pg_notify";
    } else if (c->kind == COMMAND_XID) {
        usual = "pg_current_xact_id";
    } else if (c->kind == COMMAND_REPEAT) {
        usual = "repeat";
    } else if (c->kind == COMMAND_SET_CONFIG) {
        usual = "set_config";
    } else if (c->kind == COMMAND_SHOW) {
        usual = c->name;
    }
    snprintf(name, SQL_NAME_MAX, "%s", c->column[0] ? c->column : usual);
}

const char *execute_row(const struct backend *b, const struct command *c, unsigned i)
{
    static char number[24];
    static const char *const levels[] = { "", "read uncommitted", "read committed", "repeatable read", "serializable" };
    switch (c->kind) {
    case COMMAND_SHOW:
        if (strcmp(c->name, "transaction_isolation") == 0)
            return levels[b->store.isolation];
        if (strcmp(c->name, "transaction_read_only") == 0)
            return b->store.read_only ? "on" : "off";
        return b->rules->setting(b, c->name);
    case COMMAND_VALUE:
        return c->args[0].kind == VALUE_NULL ? NULL : c->args[0].text;
    case COMMAND_SERIES:
        snprintf(number, sizeof number, "%u", i + 1);
        return number;
    case COMMAND_COUNT:
        snprintf(number, sizeof number, "%zu", store_count(&b->store, c->name[0]));
        return number;
    case COMMAND_SET_CONFIG:
        return c->args[1].text;
    case COMMAND_XID: /* nothing else uses them up */
        snprintf(number, sizeof number, "%zu", 700 + b->store.db->commits.count);
        return number;
    default:
        return "";
    }
}

uint32_t execute_parameter_type(const struct command *c)
{
    return c->kind == COMMAND_INSERT || c->kind == COMMAND_SERIES ? OID_INT4 : OID_TEXT;
}
