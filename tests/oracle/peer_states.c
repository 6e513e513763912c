/* What a statement leaves behind in a session, by the tree that PostgreSQL's parser makes of it: what the statement itself is, and the calls,
 * temporary relations and EXECUTEs anywhere in its tree. */
#include <pg_query.h>
#include <stdlib.h>
#include <strings.h>

#include "protocol/statement_state.h"
#include "tests/oracle/peer.h"
#include "tests/oracle/tree.h"

static void add(struct buffer *out, const char *line)
{
    buffer_append_text(out, line);
    buffer_append_text(out, "\n");
}

static void add_cause(struct buffer *out, enum state_cause cause)
{
    add(out, statement_state_cause(cause));
}

static void add_named(struct buffer *out, const char *kind, const char *json, const char *key)
{
    buffer_append_text(out, kind);
    tree_append_field(out, json, key);
    buffer_append_text(out, "\n");
}

/* --- calls ------------------------------------------------------------------------------------ */

static const struct {
    const char *function;
    enum state_cause cause;
} pinning[] = {
    { "pg_advisory_lock", STATE_ADVISORY_LOCK },
    { "pg_advisory_lock_shared", STATE_ADVISORY_LOCK },
    { "pg_try_advisory_lock", STATE_ADVISORY_LOCK },
    { "pg_try_advisory_lock_shared", STATE_ADVISORY_LOCK },
    { "setseed", STATE_RANDOM_SEED },
    { "pg_backup_start", STATE_BACKUP },
    { "pg_replication_origin_session_setup", STATE_REPLICATION },
    { "pg_create_physical_replication_slot", STATE_REPLICATION },
    { "pg_create_logical_replication_slot", STATE_REPLICATION },
    { "pg_copy_physical_replication_slot", STATE_REPLICATION },
    { "pg_copy_logical_replication_slot", STATE_REPLICATION },
    { "dblink_connect", STATE_FOREIGN_CONNECTION },
};

/* `json` stands at the arguments of a set_config. True: it is certain that it outlives the transaction, or that nobody can know. */
static bool is_of_session(const char *json)
{
    static const char *const yes[] = { "t\"", "true\"", "on\"", "y\"", "yes\"", "1\"", NULL };
    const char *name = json, *string = "{\"A_Const\":{\"sval\":{\"sval\":\"";
    tree_eat(&name, "{\"TypeCast\":{\"arg\":");
    if (tree_eat(&name, string) && (strncasecmp(name, "transaction_", 12) == 0 || strncasecmp(name, "seed\"", 5) == 0))
        return false;
    tree_eat_value(&json);
    if (!tree_eat(&json, ","))
        return false;
    tree_eat_value(&json);
    if (!tree_eat(&json, ","))
        return false;
    tree_eat(&json, "{\"TypeCast\":{\"arg\":");
    if (tree_eat(&json, "{\"A_Const\":{\"boolval\":{\"boolval\":true}"))
        return false;
    for (const char *const *word = yes; tree_eat(&json, string) && *word; word++)
        if (strncasecmp(json, *word, strlen(*word)) == 0)
            return false;
    return true;
}

/* The last of a function's names; *json moves to its arguments. */
static void eat_function(const char **json, struct buffer *name)
{
    do {
        buffer_clear(name);
        tree_eat(json, "{\"String\":{\"sval\":\"");
        tree_eat_string(json, name);
        tree_eat(json, "}}");
    } while (tree_eat(json, ","));
    buffer_append_string(name, span_of(""));
    tree_eat(json, "],\"args\":[");
}

static void add_calls(const char *json, struct buffer *must)
{
    struct buffer name = { 0 };
    while ((json = tree_behind(json, "\"FuncCall\":{\"funcname\":["))) {
        eat_function(&json, &name);
        if (strcmp(name.data, "set_config") == 0 && is_of_session(json))
            add(must, "set_config");
        for (size_t i = 0; i < sizeof pinning / sizeof *pinning; i++)
            if (strcmp(name.data, pinning[i].function) == 0)
                add_cause(must, pinning[i].cause);
    }
    buffer_free(&name);
}

/* --- anything in the tree --------------------------------------------------------------------- */

static void add_temporary(const char *json, struct buffer *must)
{
    bool temporary = strstr(json, "\"relpersistence\":\"t\"") && !strstr(json, "\"ONCOMMIT_DROP\"");
    bool in_schema =
        strstr(json, "\"schemaname\":\"pg_temp") || strstr(json, "{\"String\":{\"sval\":\"pg_temp\"}},{\"S");
    if (temporary || in_schema)
        add_cause(must, STATE_TEMPORARY_TABLE);
}

static void add_executes(const char *json, struct buffer *must)
{
    while ((json = tree_behind(json, "\"ExecuteStmt\":{")))
        add_named(must, "execute", json, "\"name\":\"");
}

/* The scanner keeps no grammar: a function's or a table's name in front of a parenthesis may be another thing that is called so, and a
 * table called temp may be the target of an INSERT. */
static void add_possible(const char *text, struct buffer *may)
{
    for (size_t i = 0; i < sizeof pinning / sizeof *pinning; i++)
        if (strcasestr(text, pinning[i].function))
            add_cause(may, pinning[i].cause);
    if (strcasestr(text, "set_config") || strcasestr(text, "pg_settings"))
        add(may, "set_config");
    if (strcasestr(text, "pg_temp") ||
        ((strcasestr(text, "insert") || strcasestr(text, "merge")) && strcasestr(text, "temp")))
        add_cause(may, STATE_TEMPORARY_TABLE);
}

/* --- what the statement is -------------------------------------------------------------------- */

static void add_characteristics(const char *json, struct buffer *must)
{
    static const char *const settings[] = { "isolation", "read_only", "deferrable" };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        struct buffer key = { 0 };
        buffer_format(&key, "\"defname\":\"transaction_%s\"", settings[i]);
        buffer_append_string(&key, span_of(""));
        if (strstr(json, key.data))
            buffer_format(must, "set default_transaction_%s\n", settings[i]);
        buffer_free(&key);
    }
}

static void add_setting(const char *json, const char *kind, struct buffer *must)
{
    size_t start = must->size;
    add_named(must, kind, json, "\"name\":\"");
    for (size_t i = start; i < must->size; i++)
        must->data[i] = sql_lower(must->data[i]);
    struct span name = span_make(must->data + start, must->size - start);
    if (memmem(name.data, name.size, " seed\n", 6)) {
        must->size = start;
        add_cause(must, STATE_RANDOM_SEED);
    } else if (memmem(name.data, name.size, " transaction_isolation\n", 23) ||
               memmem(name.data, name.size, " transaction_read_only\n", 23) ||
               memmem(name.data, name.size, " transaction_deferrable\n", 24)) {
        must->size = start;
    } else if (memmem(name.data, name.size, " pgatomic.outcome", 17) && strstr(json, "},{")) {
        must->size = start; /* a list, which no server takes for it */
    }
}

static void add_set(const char *json, struct buffer *must)
{
    if (strstr(json, "\"is_local\":true") || strstr(json, "\"name\":\"TRANSACTION"))
        return;
    if (strstr(json, "\"ParamRef\"")) /* $1 as a value, which only libpg_query takes */
        return;
    if (tree_eat(&json, "\"kind\":\"VAR_RESET_ALL\""))
        add(must, "reset all");
    else if (strstr(json, "\"name\":\"SESSION CHARACTERISTICS\""))
        add_characteristics(json, must);
    else if (tree_eat(&json, "\"kind\":\"VAR_SET_CURRENT\""))
        add(must, "set_config");
    else
        add_setting(json, strstr(json, "\"kind\":\"VAR_SET_VALUE\"") ? "set" : "reset", must);
}

static void add_discard(const char *json, struct buffer *must)
{
    if (tree_eat(&json, "\"target\":\"DISCARD_PLANS\""))
        add(must, "discard plans");
    else if (tree_eat(&json, "\"target\":\"DISCARD_SEQUENCES\""))
        add(must, "discard sequences");
    else if (tree_eat(&json, "\"target\":\"DISCARD_TEMP\""))
        add(must, "discard temp");
    else
        add(must, "discard all");
}

static void add_cursor(const char *json, struct buffer *must)
{
    enum { CURSOR_OPT_HOLD = 0x20 };
    const char *options = tree_behind(json, "\"options\":");
    if (options && strtol(options, NULL, 10) & CURSOR_OPT_HOLD)
        add_cause(must, STATE_HELD_CURSOR);
}

static void add_statement(const char *json, struct buffer *must)
{
    if (tree_eat(&json, "\"VariableSetStmt\":{"))
        add_set(json, must);
    else if (tree_eat(&json, "\"DiscardStmt\":{"))
        add_discard(json, must);
    else if (tree_eat(&json, "\"PrepareStmt\":{"))
        add_named(must, "prepare", json, "\"name\":\"");
    else if (tree_eat(&json, "\"DeallocateStmt\":{"))
        add_named(must, "deallocate", json, "\"name\":\"");
    else if (tree_eat(&json, "\"ListenStmt\":{"))
        add_named(must, "listen", json, "\"conditionname\":\"");
    else if (tree_eat(&json, "\"UnlistenStmt\":{"))
        add_named(must, "unlisten", json, "\"conditionname\":\"");
    else if (tree_eat(&json, "\"LoadStmt\":{"))
        add_cause(must, STATE_LOADED_LIBRARY);
    else if (tree_eat(&json, "\"DeclareCursorStmt\":{"))
        add_cursor(json, must);
}

bool peer_states(const char *text, struct buffer *must, struct buffer *may)
{
    PgQueryParseResult r = pg_query_parse(text);
    const char *node = r.error ? NULL : tree_behind(r.parse_tree, "\"stmts\":[{\"stmt\":{");
    bool good = node && !strstr(node, ",{\"stmt\":{");
    if (good) {
        add_statement(node, must);
        add_executes(node, must);
        add_calls(node, must);
        add_temporary(node, must);
        add_possible(text, may);
        if (strncmp(node, "\"DoStmt\":", 9) == 0) /* whose body is but a string to the parser */
            own_states(span_of(text), &(struct sql_options){ true, encoding_utf8() }, may);
    }
    pg_query_free_parse_result(r);
    return good;
}
