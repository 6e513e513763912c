/* Token by token through a statement, for what may stand anywhere in it.
 *
 * No grammar is kept. A function is a name with a parenthesis behind it, in whatever clause; `create temp` and `into temp x` mean the same
 * wherever they stand; so what is found is found however deep it is nested. The body of a DO block is a string and is walked like a
 * statement, and so are the strings in it, for EXECUTE runs them.
 *
 * What something is may be decided far behind it, and what is looked over for that is walked again. A statement that has been looked over
 * many times is not any more: its causes are taken as given. So no text costs more than its length. */
#include "protocol/statement_state_walk.h"

#include <strings.h>

#include "protocol/sql_quote.h"
#include "protocol/sql_words.h"

/* --- saying it -------------------------------------------------------------------------------- */

static struct statement_state state_of(struct state_walk *w, enum state_kind kind)
{
    return (struct statement_state){ .kind = kind, .statement = w->statement, .index = w->index };
}

void state_walk_pin(struct state_walk *w, enum state_cause cause)
{
    struct statement_state state = state_of(w, STATE_PIN);
    state.cause = cause;
    w->on_state(w->owner, &state);
}

void state_walk_named(struct state_walk *w, enum state_kind kind, const struct operand *name)
{
    struct statement_state state = state_of(w, kind);
    struct buffer value = { 0 };
    state.name = *name;
    if (operand_decode(name, w->options, &value))
        w->on_state(w->owner, &state);
    else
        state_walk_pin(w, STATE_UNREADABLE_NAME);
    buffer_free(&value);
}

/* The transaction's own settings go with it, whichever way they were made. */
static bool ends_with_transaction(const struct operand *name, const struct sql_options *options)
{
    return operand_is_ignoring_case(name, options, "transaction_isolation") ||
           operand_is_ignoring_case(name, options, "transaction_read_only") ||
           operand_is_ignoring_case(name, options, "transaction_deferrable");
}

bool statement_path_is_temporary(struct span value)
{
    static const char schema[] = "pg_temp";
    enum { SIZE = sizeof schema - 1 };
    for (size_t at = 0; at + SIZE <= value.size; at++)
        if (strncasecmp(value.data + at, schema, SIZE) == 0)
            return true;
    return false;
}

bool state_walk_is_temporary(struct state_walk *w)
{
    if (w->temporary == TEMPORARY_UNKNOWN)
        w->temporary = statement_path_is_temporary(w->statement) ? TEMPORARY : TEMPORARY_NOT;
    return w->temporary == TEMPORARY;
}

/* With that schema in it everything that is created is temporary, also when it holds for a transaction only. */
static void look_at_search_path(struct state_walk *w, const struct operand *name)
{
    if (operand_is_ignoring_case(name, w->options, "search_path") && state_walk_is_temporary(w))
        state_walk_pin(w, STATE_TEMPORARY_TABLE);
}

void state_walk_setting(struct state_walk *w, const struct operand *name, bool is_whole, enum state_default is_default)
{
    struct statement_state state = state_of(w, STATE_SETTING);
    struct buffer value = { 0 };
    state.name = *name;
    state.is_whole = is_whole;
    state.is_default = is_default == DEFAULT_SURELY;
    state.may_be_default = is_default == DEFAULT_PERHAPS;
    if (!operand_decode(name, w->options, &value))
        state_walk_pin(w, STATE_UNREADABLE_NAME);
    else if (operand_is_ignoring_case(name, w->options, "seed"))
        state_walk_pin(w, STATE_RANDOM_SEED);
    else if (!ends_with_transaction(name, w->options))
        w->on_state(w->owner, &state);
    look_at_search_path(w, name);
    buffer_free(&value);
}

void state_walk_local(struct state_walk *w, const struct operand *name, enum state_default is_default)
{
    struct statement_state state = state_of(w, STATE_LOCAL_SETTING);
    state.name = *name;
    state.is_default = is_default == DEFAULT_SURELY;
    state.may_be_default = is_default == DEFAULT_PERHAPS;
    w->on_state(w->owner, &state);
}

/* --- looking ahead ---------------------------------------------------------------------------- */

/* So many times its length a statement is looked over, and literals so deep in each other. */
enum { AHEAD_TIMES_MAX = 8, STRINGS_DEPTH_MAX = 8 };

static bool may_look_ahead(const struct state_walk *w)
{
    return w->ahead / AHEAD_TIMES_MAX <= w->statement.size;
}

static void looked_ahead(struct state_walk *w, const struct statement_reader *from, const struct statement_reader *to)
{
    w->ahead += to->lexer.at - from->lexer.at;
}

/* --- calls ------------------------------------------------------------------------------------ */

/* Behind the next comma of the same call. False: it has no further argument. */
static bool pass_argument(struct statement_reader *r)
{
    size_t depth = 0;
    for (; !reader_at_end(r); reader_advance(r)) {
        if (reader_sees_symbol(r, "(") || reader_sees_symbol(r, "[")) {
            depth++;
        } else if (reader_sees_symbol(r, ")") || reader_sees_symbol(r, "]")) {
            if (depth-- == 0)
                return false;
        } else if (depth == 0 && reader_accept_symbol(r, ",")) {
            return true;
        }
    }
    return false;
}

/* set_config(name, value, true) */
static void look_at_local(struct state_walk *w, const struct operand *name, enum state_default is_default)
{
    state_walk_local(w, name, is_default);
    look_at_search_path(w, name);
}

/* The value, which is a default if it is NULL; the reader stays in front of it. */
static enum state_default default_of(struct statement_reader r)
{
    struct operand value;
    if (!reader_accept_text_argument(&r, &value) || !reader_sees_symbol(&r, ","))
        return DEFAULT_PERHAPS;
    if (value.kind == OPERAND_NULL)
        return DEFAULT_SURELY;
    return value.kind == OPERAND_TEXT ? DEFAULT_NOT : DEFAULT_PERHAPS;
}

/* set_config(name, value, is_local), behind its opening parenthesis. */
static void look_at_set_config(struct state_walk *w, struct statement_reader r)
{
    struct statement_reader start = r;
    struct operand name = { 0 }, is_local;
    if (!may_look_ahead(w)) {
        state_walk_pin(w, STATE_UNKNOWN_SETTING);
        return;
    }
    bool known = reader_accept_text_argument(&r, &name) && reader_accept_symbol(&r, ",") && name.kind == OPERAND_TEXT;
    if (!known) {
        r = start;
        name = (struct operand){ 0 };
    }
    enum state_default is_default = known ? default_of(r) : DEFAULT_PERHAPS;
    bool whole = (known || pass_argument(&r)) && pass_argument(&r) && reader_accept_is_local(&r, &is_local) &&
                 reader_sees_symbol(&r, ")") && is_local.kind == OPERAND_WORD;
    looked_ahead(w, &start, &r);
    if (!whole)
        state_walk_pin(w, STATE_UNKNOWN_SETTING);
    else if (sql_word_is(is_local.raw, "true"))
        look_at_local(w, &name, is_default);
    else if (known)
        state_walk_setting(w, &name, false, is_default);
    else
        state_walk_pin(w, STATE_UNKNOWN_SETTING);
}

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
    { "pg_start_backup", STATE_BACKUP },
    { "pg_replication_origin_session_setup", STATE_REPLICATION },
    { "pg_create_physical_replication_slot", STATE_REPLICATION },
    { "pg_create_logical_replication_slot", STATE_REPLICATION },
    { "pg_copy_physical_replication_slot", STATE_REPLICATION },
    { "pg_copy_logical_replication_slot", STATE_REPLICATION },
    { "dblink_connect", STATE_FOREIGN_CONNECTION },
    { "dblink_connect_u", STATE_FOREIGN_CONNECTION },
};

/* The inside of a literal, as it is written: '' stays doubled, which is an empty literal to the walk, with its inside behind it. */
static struct span inside_of(const struct sql_lexer *l, struct span literal)
{
    const char *quote = literal.data[0] == '$' ? NULL : memchr(literal.data, '\'', literal.size);
    size_t begin =
        quote ? (size_t)(quote - literal.data) + 1 : sql_dollar_delimiter(l, (size_t)(literal.data - l->text.data));
    size_t end = quote ? 1 : begin;
    return begin + end <= literal.size ? span_make(literal.data + begin, literal.size - begin - end) : literal;
}

static void look_at_token(struct state_walk *w, struct statement_reader *r);

/* The literals of the text from here on, as texts of their own. */
static void look_into_strings(struct state_walk *w, struct statement_reader r)
{
    if (!may_look_ahead(w) || w->depth == STRINGS_DEPTH_MAX) {
        state_walk_pin(w, STATE_UNKNOWN_SETTING);
        return;
    }
    w->depth++;
    w->ahead += r.lexer.text.size - r.lexer.at;
    for (; !reader_at_end(&r); reader_advance(&r)) {
        struct statement_reader inside;
        if (r.token.kind != SQL_STRING)
            continue;
        for (reader_init(&inside, inside_of(&r.lexer, r.token.text), w->options); !reader_at_end(&inside);)
            look_at_token(w, &inside);
    }
    w->depth--;
}

/* Functions that run the text that they are given, as a query that may not write. */
static bool runs_text(struct state_walk *w, const struct operand *name)
{
    static const char *const functions[] = { "query_to_xml", "query_to_xml_and_xmlschema", "ts_stat" };
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (operand_is(name, w->options, functions[i]))
            return true;
    return false;
}

/* A call of `name`; the reader stands at the opening parenthesis. */
static void look_at_call(struct state_walk *w, struct statement_reader r, const struct operand *name)
{
    if (operand_is(name, w->options, "set_config")) {
        reader_advance(&r);
        look_at_set_config(w, r);
        return;
    }
    if (runs_text(w, name))
        look_into_strings(w, r);
    for (size_t i = 0; i < sizeof pinning / sizeof *pinning; i++)
        if (operand_is(name, w->options, pinning[i].function))
            state_walk_pin(w, pinning[i].cause);
}

static bool is_temporary_schema(struct state_walk *w, const struct operand *name)
{
    struct buffer decoded = { 0 };
    bool is = !operand_decode(name, w->options, &decoded) || statement_path_is_temporary(buffer_span(&decoded));
    buffer_free(&decoded);
    return is;
}

/* A name, of a function or of the temporary schema perhaps. */
static void look_at_name(struct state_walk *w, struct statement_reader *r)
{
    struct operand name = { .kind = OPERAND_NAME, .raw = r->token.text };
    if (!reader_accept_name(r, &name))
        reader_advance(r);
    if (reader_sees_symbol(r, ".")) {
        if (is_temporary_schema(w, &name))
            state_walk_pin(w, STATE_TEMPORARY_TABLE);
    } else if (reader_sees_symbol(r, "(")) {
        look_at_call(w, *r, &name);
    }
}

/* --- temporary things ------------------------------------------------------------------------- */

static bool accept_temporary(struct statement_reader *r)
{
    if (!reader_accept_word(r, "local"))
        reader_accept_word(r, "global");
    return reader_accept_word(r, "temp") || reader_accept_word(r, "temporary");
}

/* ON COMMIT DROP, outside of parentheses: the table does not outlive its transaction. */
static bool accept_drop_at_commit(struct statement_reader *r)
{
    for (; !reader_at_end(r) && !reader_sees_symbol(r, ";"); reader_advance(r)) {
        while (reader_sees_symbol(r, "("))
            if (!reader_accept_parentheses(r))
                return false;
        if (reader_accept_word(r, "on") && reader_accept_words(r, "commit", "drop"))
            return true;
    }
    return false;
}

static bool is_dropped_at_commit(struct state_walk *w, struct statement_reader r)
{
    struct statement_reader start = r;
    bool is = may_look_ahead(w) && accept_drop_at_commit(&r);
    looked_ahead(w, &start, &r);
    return is;
}

/* [OR REPLACE] [LOCAL|GLOBAL] TEMP … behind CREATE. */
static void look_at_create(struct state_walk *w, struct statement_reader r)
{
    reader_accept_words(&r, "or", "replace");
    if (accept_temporary(&r) && !is_dropped_at_commit(w, r))
        state_walk_pin(w, STATE_TEMPORARY_TABLE);
}

/* [LOCAL|GLOBAL] TEMP [TABLE] name behind the INTO of a SELECT. Without a name, TEMP itself is the table's. */
static void look_at_into(struct state_walk *w, struct statement_reader r)
{
    struct operand name;
    if (!accept_temporary(&r))
        return;
    reader_accept_word(&r, "table");
    if (reader_accept_name(&r, &name))
        state_walk_pin(w, STATE_TEMPORARY_TABLE);
}

/* CREATE EXTENSION … SCHEMA pg_temp */
static void look_at_schema(struct state_walk *w, struct statement_reader r)
{
    struct operand name;
    if (reader_accept_name(&r, &name) && is_temporary_schema(w, &name))
        state_walk_pin(w, STATE_TEMPORARY_TABLE);
}

/* --- statements ------------------------------------------------------------------------------- */

/* UPDATE [ONLY [(]] pg_settings, the view whose rule calls set_config. */
static void look_at_update(struct state_walk *w, struct statement_reader r)
{
    struct operand name;
    if (reader_accept_word(&r, "only"))
        reader_accept_symbol(&r, "(");
    do {
        if (!reader_accept_name(&r, &name))
            return;
    } while (reader_accept_symbol(&r, "."));
    if (operand_is(&name, w->options, "pg_settings"))
        state_walk_pin(w, STATE_UNKNOWN_SETTING);
}

/* Where a command of its own may begin: INSERT INTO temp … and MERGE INTO temp … are about tables that are called so. */
static bool accept_other_into(struct statement_reader *r)
{
    return reader_accept_words(r, "insert", "into") || reader_accept_words(r, "merge", "into");
}

/* One step on, and what begins there. */
static void look_at_token(struct state_walk *w, struct statement_reader *r)
{
    if (reader_accept_word(r, "create")) {
        look_at_create(w, *r);
    } else if (reader_accept_word(r, "update")) {
        look_at_update(w, *r);
    } else if (reader_accept_word(r, "into")) {
        look_at_into(w, *r);
    } else if (reader_accept_word(r, "schema")) {
        look_at_schema(w, *r);
    } else if (reader_accept_symbol(r, "(")) {
        accept_other_into(r);
    } else if (r->token.kind == SQL_WORD || r->token.kind == SQL_NAME) {
        look_at_name(w, r);
    } else {
        reader_advance(r);
    }
}

void state_walk_inside(struct state_walk *w)
{
    struct statement_reader r;
    reader_init(&r, w->statement, w->options);
    accept_other_into(&r);
    while (!reader_at_end(&r))
        look_at_token(w, &r);
}

/* --- DO --------------------------------------------------------------------------------------- */

/* A session command, where a statement of the block begins. */
static bool sees_session_command(const struct statement_reader *r)
{
    static const char *const commands[] = { "reset",   "listen",  "unlisten",   "load",
                                            "discard", "prepare", "deallocate", NULL };
    struct statement_reader set = *r;
    for (const char *const *c = commands; *c; c++)
        if (reader_sees_word(r, *c))
            return true;
    return reader_accept_word(&set, "set") && !reader_sees_word(&set, "local") &&
           !reader_sees_word(&set, "transaction") && !reader_sees_word(&set, "constraints");
}

/* What stands in front of a statement: behind a literal, that is the inside of the next one, in a body whose quotes are doubled. */
static bool sees_beginning(const struct statement_reader *r)
{
    return r->token.kind == SQL_STRING || reader_sees_symbol(r, ";") || reader_sees_word(r, "begin") ||
           reader_sees_word(r, "then") || reader_sees_word(r, "else") || reader_sees_word(r, "loop");
}

/* The text up to the end of its first word. */
static bool has_readable_head(struct span text)
{
    size_t at = 0;
    while (at < text.size && sql_lower(text.data[at]) >= 'a' && sql_lower(text.data[at]) <= 'z')
        at++;
    return at > 0 && at < text.size && sql_is(text.data[at], SQL_BLANK);
}

/* EXECUTE of a text of which not even the beginning can be read. What can be is walked as a literal. */
static bool sees_unreadable_execute(struct statement_reader r)
{
    if (!reader_accept_word(&r, "execute") || reader_sees_word(&r, "on") || reader_sees_word(&r, "function") ||
        reader_sees_word(&r, "procedure"))
        return false;
    if (reader_accept_word(&r, "format"))
        reader_accept_symbol(&r, "(");
    if (r.token.kind != SQL_STRING)
        return true;
    struct span text = inside_of(&r.lexer, r.token.text);
    reader_advance(&r);
    bool is_doubled = text.size == 0 && r.token.kind == SQL_WORD; /* it stands behind the first of two quotes */
    return !is_doubled && !has_readable_head(text);
}

static bool sees_hold(struct statement_reader r)
{
    return reader_accept_words(&r, "with", "hold");
}

static void walk_block(struct state_walk *w, struct span body, unsigned depth)
{
    struct statement_reader r;
    bool at_beginning = true;
    for (reader_init(&r, body, w->options); !reader_at_end(&r); look_at_token(w, &r)) {
        if ((at_beginning && sees_session_command(&r)) || (depth == 0 && sees_unreadable_execute(r)))
            state_walk_pin(w, STATE_DO_BLOCK);
        if (sees_hold(r))
            state_walk_pin(w, STATE_HELD_CURSOR);
        if (r.token.kind == SQL_STRING && depth < STRINGS_DEPTH_MAX)
            walk_block(w, inside_of(&r.lexer, r.token.text), depth + 1);
        at_beginning = sees_beginning(&r);
    }
}

void state_walk_do(struct state_walk *w)
{
    struct statement_reader r;
    for (reader_init(&r, w->statement, w->options); !reader_at_end(&r); reader_advance(&r)) {
        if (r.token.kind != SQL_STRING)
            continue;
        if (r.token.text.data[0] != '\'' && r.token.text.data[0] != '$') /* escapes may hide anything */
            state_walk_pin(w, STATE_DO_BLOCK);
        walk_block(w, inside_of(&r.lexer, r.token.text), 0);
    }
}
