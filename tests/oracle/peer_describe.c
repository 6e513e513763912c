/* What a statement is, by the tree that PostgreSQL's parser makes of it. */
#include <pg_query.h>
#include <stdlib.h>
#include <strings.h>

#include "tests/oracle/peer.h"
#include "tests/oracle/tree.h"

/* --- SELECT pg_notify and set_config ---------------------------------------------------------- */

enum { ARGUMENTS_MAX = 3 };

/* A SELECT that is nothing but one call. */
struct call {
    struct buffer column;
    bool cast;
    struct buffer arguments[ARGUMENTS_MAX];
    size_t count;
};

static bool eat_text_type(const char **json)
{
    bool text = tree_eat(json, ",\"typeName\":{\"names\":[{\"String\":{\"sval\":\"text\"}}],\"typemod\":-1") ||
                tree_eat(json, ",\"typeName\":{\"names\":[{\"String\":{\"sval\":\"pg_catalog\"}},{\"String\":{\"sval\":"
                               "\"text\"}}],\"typemod\":-1");
    tree_eat_location(json);
    text = text && tree_eat(json, "}");
    tree_eat_location(json);
    return text;
}

/* A constant or a parameter, as it is written in a description. */
static bool eat_constant(const char **json, struct buffer *out)
{
    const char *number;
    if (tree_eat(json, "{\"A_Const\":{\"sval\":{\"sval\":\"")) {
        buffer_append_text(out, "'");
        tree_eat_string(json, out);
        if (!tree_eat(json, "}"))
            return false;
    } else if (tree_eat(json, "{\"A_Const\":{\"sval\":{}")) {
        buffer_append_text(out, "'");
    } else if (tree_eat(json, "{\"A_Const\":{\"isnull\":true")) {
        buffer_append_text(out, "null");
    } else if (tree_eat(json, "{\"ParamRef\":{\"number\":")) {
        number = *json;
        tree_eat_number(json);
        buffer_format(out, "$%.*s", (int)(*json - number), number);
    } else if (tree_eat(json, "{\"A_Const\":{\"boolval\":{\"boolval\":true}")) {
        buffer_append_text(out, "true");
    } else if (tree_eat(json, "{\"A_Const\":{\"boolval\":{}")) {
        buffer_append_text(out, "false");
    } else {
        return false;
    }
    tree_eat_location(json);
    return tree_eat(json, "}}");
}

static bool eat_argument(const char **json, struct buffer *out)
{
    if (!tree_eat(json, "{\"TypeCast\":{\"arg\":"))
        return eat_constant(json, out);
    return eat_constant(json, out) && eat_text_type(json) && tree_eat(json, "}}");
}

static bool eat_call(const char **json, struct call *c)
{
    do {
        if (c->count == ARGUMENTS_MAX || !eat_argument(json, &c->arguments[c->count]))
            return false;
        c->count++;
    } while (tree_eat(json, ","));
    if (!tree_eat(json, "],\"funcformat\":\"COERCE_EXPLICIT_CALL\""))
        return false;
    tree_eat_location(json);
    if (!tree_eat(json, "}}") || (c->cast && (!eat_text_type(json) || !tree_eat(json, "}}"))))
        return false;
    tree_eat_location(json);
    return tree_eat(json, "}}],\"limitOption\":\"LIMIT_OPTION_DEFAULT\",\"op\":\"SETOP_NONE\"}");
}

static bool argument_is(const struct buffer *b, const char *const *texts)
{
    char text[64];
    if (b->size >= sizeof text)
        return false;
    memcpy(text, b->data, b->size);
    text[b->size] = 0;
    for (; *texts; texts++)
        if (strcasecmp(text, *texts) == 0)
            return true;
    return false;
}

static void append_call(const struct call *c, size_t from, size_t to, struct buffer *out)
{
    buffer_append_text(out, " ");
    buffer_append_span(out, buffer_span(&c->column));
    buffer_append_text(out, c->cast ? " text" : " -");
    for (size_t i = from; i < to; i++) {
        buffer_append_text(out, " ");
        buffer_append_span(out, buffer_span(&c->arguments[i]));
    }
}

static void describe_set_config(struct call *c, struct buffer *out)
{
    static const char *const request[] = { "'pgatomic.request", NULL }, *const outcome[] = { "'pgatomic.outcome",
                                                                                             NULL };
    static const char *const yes[] = { "true", "'t", "'true", "'on", "'y", "'yes", "'1", NULL };
    static const char *const no[] = { "false", "null", "'f", "'false", "'off", "'n", "'no", "'0", NULL };
    struct buffer *is_local = &c->arguments[2];
    bool bound = c->count == 3 && is_local->data[0] == '$', local = !bound && argument_is(is_local, yes);
    char first = c->count == 3 ? c->arguments[0].data[0] : 0;
    if ((first != '$' && first != '\'') || (!bound && !local && !argument_is(is_local, no))) {
        buffer_append_text(out, "other");
        return;
    }
    bool is_request = argument_is(&c->arguments[0], request), is_outcome = argument_is(&c->arguments[0], outcome);
    if (!local && (is_request || is_outcome)) {
        buffer_append_text(out, is_request ? "mark request row" : "mark outcome row");
        append_call(c, 1, bound ? 3 : 2, out);
        return;
    }
    if (!bound) {
        buffer_clear(is_local);
        buffer_append_text(is_local, local ? "true" : "false");
    }
    buffer_append_text(out, "set_config");
    append_call(c, 0, 3, out);
}

static void describe_call(struct call *c, bool notify, struct buffer *out)
{
    if (!notify) {
        describe_set_config(c, out);
    } else if (c->count == 2 && !strchr("tf", c->arguments[0].data[0]) && !strchr("tf", c->arguments[1].data[0])) {
        buffer_append_text(out, "pg_notify");
        append_call(c, 0, 2, out);
    } else {
        buffer_append_text(out, "other");
    }
}

static void describe_select(const char *json, struct buffer *out)
{
    struct call c = { 0 };
    bool good = tree_eat(&json, "\"targetList\":[{\"ResTarget\":{");
    if (tree_eat(&json, "\"name\":\"")) {
        tree_eat_string(&json, &c.column);
        good = good && tree_eat(&json, ",");
    } else {
        buffer_append_text(&c.column, "-");
    }
    good = good && tree_eat(&json, "\"val\":{");
    c.cast = tree_eat(&json, "\"TypeCast\":{\"arg\":{");
    good = good && tree_eat(&json, "\"FuncCall\":{\"funcname\":[");
    tree_eat(&json, "{\"String\":{\"sval\":\"pg_catalog\"}},");
    bool notify = tree_eat(&json, "{\"String\":{\"sval\":\"pg_notify\"}}],\"args\":[");
    bool config = !notify && tree_eat(&json, "{\"String\":{\"sval\":\"set_config\"}}],\"args\":[");
    if (good && (notify || config) && eat_call(&json, &c))
        describe_call(&c, notify, out);
    else
        buffer_append_text(out, "other");
    buffer_free(&c.column);
    for (size_t i = 0; i < ARGUMENTS_MAX; i++)
        buffer_free(&c.arguments[i]);
}

/* --- the other statements --------------------------------------------------------------------- */

void append_modes(struct buffer *out, const struct statement_modes *m)
{
    buffer_format(out, " isolation %d access %d deferrable %d", (int)m->isolation, (int)m->access,
                  m->deferrable - m->not_deferrable);
}

static void describe_modes(const char *json, struct buffer *out)
{
    struct statement_modes m = { 0 };
    while ((json = tree_behind(json, "\"defname\":\"transaction_"))) {
        if (tree_eat(&json, "isolation\",\"arg\":{\"A_Const\":{\"sval\":{\"sval\":\"")) {
            static const char *const levels[] = { "", "read uncommitted", "read committed", "repeatable read",
                                                  "serializable" };
            for (unsigned i = 1; i < sizeof levels / sizeof *levels; i++)
                if (tree_eat(&json, levels[i]))
                    m.isolation = (enum statement_isolation)i;
        } else if (tree_eat(&json, "read_only\",\"arg\":{\"A_Const\":{\"ival\":{")) {
            m.access = tree_eat(&json, "\"ival\":1") ? STATEMENT_READ_ONLY : STATEMENT_READ_WRITE;
        } else if (tree_eat(&json, "deferrable\",\"arg\":{\"A_Const\":{\"ival\":{")) {
            m.deferrable = tree_eat(&json, "\"ival\":1");
            m.not_deferrable = !m.deferrable;
        }
    }
    append_modes(out, &m);
}

static void describe_transaction(const char *json, struct buffer *out)
{
    const char *chain = strstr(json, "\"chain\":true") ? " chain" : "";
    if (tree_eat(&json, "\"kind\":\"TRANS_STMT_BEGIN\"") || tree_eat(&json, "\"kind\":\"TRANS_STMT_START\"")) {
        buffer_append_text(out, "begin");
        describe_modes(json, out);
    } else if (tree_eat(&json, "\"kind\":\"TRANS_STMT_COMMIT\"")) {
        buffer_format(out, "commit%s", chain);
    } else if (tree_eat(&json, "\"kind\":\"TRANS_STMT_ROLLBACK\"")) {
        buffer_format(out, "rollback%s", chain);
    } else if (tree_eat(&json, "\"kind\":\"TRANS_STMT_SAVEPOINT\"")) {
        buffer_append_text(out, "savepoint");
        tree_append_field(out, json, "\"savepoint_name\":\"");
    } else if (tree_eat(&json, "\"kind\":\"TRANS_STMT_RELEASE\"")) {
        buffer_append_text(out, "release");
        tree_append_field(out, json, "\"savepoint_name\":\"");
    } else if (tree_eat(&json, "\"kind\":\"TRANS_STMT_ROLLBACK_TO\"")) {
        buffer_append_text(out, "rollback to");
        tree_append_field(out, json, "\"savepoint_name\":\"");
    } else if (tree_eat(&json, "\"kind\":\"TRANS_STMT_PREPARE\"")) {
        buffer_append_text(out, "prepare transaction");
    } else if (tree_eat(&json, "\"kind\":\"TRANS_STMT_COMMIT_PREPARED\"")) {
        buffer_append_text(out, "commit prepared");
    } else if (tree_eat(&json, "\"kind\":\"TRANS_STMT_ROLLBACK_PREPARED\"")) {
        buffer_append_text(out, "rollback prepared");
    }
}

/* SET of a mark: one value, whichever way it is written. False: of something else. */
static bool describe_mark(const char *json, struct buffer *out)
{
    const char *name = tree_behind(json, "\"name\":\""), *value = tree_behind(json, "\"args\":[{\"A_Const\":{");
    if (!name || strncmp(json, "\"kind\":\"VAR_SET_VALUE\"", 22) != 0)
        return false;
    bool request = strncasecmp(name, "pgatomic.request\"", 17) == 0,
         outcome = strncasecmp(name, "pgatomic.outcome\"", 17) == 0;
    if (!request && !outcome)
        return false;
    if (!value || strstr(value, ",{\"A_Const\"")) {
        buffer_append_text(out, "other");
        return true;
    }
    buffer_append_text(out, request ? "mark request set " : "mark outcome set ");
    if (tree_eat(&value, "\"ival\":{\"ival\":"))
        buffer_format(out, "%ld", strtol(value, NULL, 10));
    else if (tree_eat(&value, "\"sval\":{\"sval\":\"") || tree_eat(&value, "\"fval\":{\"fval\":\""))
        tree_eat_string(&value, out);
    return true;
}

static void describe_set(const char *json, struct buffer *out)
{
    bool local = strstr(json, "\"is_local\":true") != NULL;
    if (!local && describe_mark(json, out))
        return;
    if (tree_eat(&json, "\"kind\":\"VAR_RESET_ALL\"")) {
        buffer_append_text(out, "reset all");
    } else if (tree_eat(&json, "\"kind\":\"VAR_RESET\"")) {
        buffer_append_text(out, "reset");
        tree_append_field(out, json, "\"name\":\"");
    } else if (strstr(json, "\"name\":\"TRANSACTION\"")) {
        buffer_append_text(out, "set transaction");
        describe_modes(json, out);
    } else if (local || strstr(json, "\"name\":\"TRANSACTION SNAPSHOT\"")) {
        buffer_append_text(out, "other");
    } else if (strstr(json, "\"name\":\"SESSION CHARACTERISTICS\"")) {
        buffer_append_text(out, "set -");
        describe_modes(json, out);
    } else {
        buffer_append_text(out, "set");
        tree_append_field(out, json, "\"name\":\"");
    }
}

static void describe_named(const char *json, const char *kind, const char *key, struct buffer *out)
{
    buffer_append_text(out, kind);
    tree_append_field(out, json, key);
}

static void describe_node(const char *json, struct buffer *out)
{
    enum { CURSOR_OPT_HOLD = 0x20 };
    if (tree_eat(&json, "\"SelectStmt\":{")) {
        describe_select(json, out);
    } else if (tree_eat(&json, "\"TransactionStmt\":{")) {
        describe_transaction(json, out);
    } else if (tree_eat(&json, "\"VariableSetStmt\":{")) {
        describe_set(json, out);
    } else if (tree_eat(&json, "\"VariableShowStmt\":{")) {
        describe_named(json, "show", "\"name\":\"", out);
    } else if (tree_eat(&json, "\"DiscardStmt\":{")) {
        buffer_append_text(out, strstr(json, "DISCARD_ALL") || *json == '}' ? "discard all" : "discard");
    } else if (tree_eat(&json, "\"ListenStmt\":{")) {
        describe_named(json, "listen", "\"conditionname\":\"", out);
    } else if (tree_eat(&json, "\"UnlistenStmt\":{")) {
        describe_named(json, "unlisten", "\"conditionname\":\"", out);
    } else if (tree_eat(&json, "\"NotifyStmt\":{")) {
        describe_named(json, "notify", "\"conditionname\":\"", out);
        tree_append_field(out, json, "\"payload\":\"");
    } else if (tree_eat(&json, "\"PrepareStmt\":{")) {
        describe_named(json, "prepare", "\"name\":\"", out);
    } else if (tree_eat(&json, "\"ExecuteStmt\":{")) {
        describe_named(json, "execute", "\"name\":\"", out);
    } else if (tree_eat(&json, "\"DeallocateStmt\":{")) {
        describe_named(json, "deallocate", "\"name\":\"", out);
    } else if (tree_eat(&json, "\"DeclareCursorStmt\":{")) {
        describe_named(json, "declare", "\"portalname\":\"", out);
        const char *options = tree_behind(json, "\"options\":");
        buffer_append_text(out, options && strtol(options, NULL, 10) & CURSOR_OPT_HOLD ? " hold" : "");
    } else if (tree_eat(&json, "\"ClosePortalStmt\":{")) {
        describe_named(json, "close", "\"portalname\":\"", out);
    } else {
        buffer_append_text(out, "other");
    }
}

bool peer_describe(const char *text, struct buffer *out)
{
    PgQueryParseResult r = pg_query_parse(text);
    const char *node = r.error ? NULL : tree_behind(r.parse_tree, "\"stmts\":[{\"stmt\":{");
    bool good = node && !strstr(node, ",{\"stmt\":{");
    if (good)
        describe_node(node, out);
    pg_query_free_parse_result(r);
    return good;
}
