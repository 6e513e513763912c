/* What the statements say at their heads: SET, PREPARE, LISTEN and the like, which statement.h reads, and LOAD, DO, EXPLAIN and CREATE, of
 * which it does not speak. What hides inside of statements is the walk's business (statement_state_walk.c). */
#include "protocol/statement_state_walk.h"

/* --- settings --------------------------------------------------------------------------------- */

/* How an assignment ends. */
struct ending {
    struct sql_token last, before;
    size_t count; /* of the statement's tokens */
};

static struct ending ending_of(struct span text, const struct sql_options *options)
{
    struct ending e = { 0 };
    struct statement_reader r;
    for (reader_init(&r, text, options); !reader_at_end(&r); reader_advance(&r)) {
        e.before = e.last;
        e.last = r.token;
        e.count++;
    }
    return e;
}

static bool token_is(struct sql_token token, const char *word)
{
    return token.kind == SQL_WORD && sql_word_is(token.text, word);
}

/* DEFAULT, the LOCAL of TIME ZONE LOCAL, and NAMES with nothing behind it. */
static enum state_default default_of(struct span text, const struct operand *name, const struct ending *e)
{
    bool by_words = name->raw.data < text.data || name->raw.data >= text.data + text.size;
    bool is = token_is(e->last, "default") || (by_words && token_is(e->last, "local") && token_is(e->before, "zone")) ||
              (by_words && token_is(e->last, "names") && !token_is(e->before, "names"));
    return is ? DEFAULT_SURELY : DEFAULT_NOT;
}

static void on_characteristics(struct state_walk *w, const struct statement_modes *m)
{
    static const struct operand isolation = { .kind = OPERAND_NAME, .raw = { "default_transaction_isolation", 29 } },
                                access = { .kind = OPERAND_NAME, .raw = { "default_transaction_read_only", 29 } },
                                deferrable = { .kind = OPERAND_NAME, .raw = { "default_transaction_deferrable", 30 } };
    if (m->isolation != STATEMENT_ISOLATION_DEFAULT)
        state_walk_setting(w, &isolation, true, DEFAULT_NOT);
    if (m->access != STATEMENT_ACCESS_DEFAULT)
        state_walk_setting(w, &access, true, DEFAULT_NOT);
    if (m->deferrable || m->not_deferrable)
        state_walk_setting(w, &deferrable, true, DEFAULT_NOT);
}

static void on_set(struct state_walk *w, const struct statement *s)
{
    if (s->name.kind == OPERAND_NONE) {
        on_characteristics(w, &s->modes);
        return;
    }
    struct ending e = ending_of(s->text, w->options);
    if (token_is(e.last, "current") && token_is(e.before, "from"))
        state_walk_pin(w, STATE_UNKNOWN_SETTING);
    else
        state_walk_setting(w, &s->name, true, default_of(s->text, &s->name, &e));
}

static void on_mark(struct state_walk *w, const char *name)
{
    state_walk_setting(w, &(struct operand){ .kind = OPERAND_NAME, .raw = span_of(name) }, true, DEFAULT_NOT);
}

/* --- the other heads -------------------------------------------------------------------------- */

static void on_plain(struct state_walk *w, enum state_kind kind)
{
    struct statement_state state = { .kind = kind, .statement = w->statement, .index = w->index };
    w->on_state(w->owner, &state);
}

/* The reader stands behind the first word. */
static struct statement_reader behind_head(struct state_walk *w)
{
    struct statement_reader r;
    reader_init(&r, w->statement, w->options);
    reader_advance(&r);
    return r;
}

static void on_discard(struct state_walk *w)
{
    struct statement_reader r = behind_head(w);
    if (reader_sees_word(&r, "plans"))
        on_plain(w, STATE_DISCARD_PLANS);
    else if (reader_sees_word(&r, "sequences"))
        on_plain(w, STATE_DISCARD_SEQUENCES);
    else
        on_plain(w, STATE_DISCARD_TEMP);
}

/* [LOCAL|GLOBAL] [TEMP|TEMPORARY|UNLOGGED] TABLE */
static bool accept_table(struct statement_reader *r)
{
    if (!reader_accept_word(r, "local"))
        reader_accept_word(r, "global");
    if (!reader_accept_word(r, "temp") && !reader_accept_word(r, "temporary"))
        reader_accept_word(r, "unlogged");
    return reader_accept_word(r, "table");
}

/* CREATE TABLE … AS EXECUTE name, from behind CREATE: the first AS outside of parentheses. */
static void look_for_execute(struct state_walk *w, struct statement_reader *r)
{
    struct operand name;
    if (!accept_table(r))
        return;
    while (!reader_at_end(r) && !reader_sees_word(r, "as"))
        if (!reader_sees_symbol(r, "(") || !reader_accept_parentheses(r))
            reader_advance(r);
    reader_advance(r);
    if (reader_accept_word(r, "execute") && reader_accept_name(r, &name))
        state_walk_named(w, STATE_EXECUTE, &name);
}

static void on_explain(struct state_walk *w, struct statement_reader *r)
{
    struct operand name;
    if (!reader_sees_symbol(r, "(") || !reader_accept_parentheses(r))
        while (reader_accept_word(r, "analyze") || reader_accept_word(r, "analyse") || reader_accept_word(r, "verbose"))
            ;
    if (reader_accept_word(r, "create"))
        look_for_execute(w, r);
    else if (reader_accept_word(r, "execute") && reader_accept_name(r, &name))
        state_walk_named(w, STATE_EXECUTE, &name);
}

/* Behind SET LOCAL. */
static void on_set_local(struct state_walk *w, struct statement_reader *r)
{
    struct operand name;
    struct ending e = ending_of(w->statement, w->options);
    if (reader_accept_parameter(r, &name))
        state_walk_local(w, &name, default_of(w->statement, &name, &e));
    if (state_walk_is_temporary(w))
        state_walk_pin(w, STATE_TEMPORARY_TABLE); /* as search_path */
}

/* Statements that are OTHER to statement.h. */
static void on_other(struct state_walk *w)
{
    struct statement_reader r;
    reader_init(&r, w->statement, w->options);
    if (reader_accept_word(&r, "create"))
        look_for_execute(w, &r);
    else if (reader_accept_word(&r, "explain"))
        on_explain(w, &r);
    else if (reader_accept_word(&r, "load"))
        state_walk_pin(w, STATE_LOADED_LIBRARY);
    else if (reader_accept_word(&r, "do"))
        state_walk_do(w);
    else if (reader_accept_words(&r, "set", "local"))
        on_set_local(w, &r);
}

static void on_head(struct state_walk *w, const struct statement *s)
{
    switch (s->kind) {
    case STATEMENT_SET:
        on_set(w, s);
        break;
    case STATEMENT_MARK_REQUEST:
    case STATEMENT_MARK_OUTCOME:
        if (!s->as_row)
            on_mark(w, s->kind == STATEMENT_MARK_REQUEST ? "pgatomic.request" : "pgatomic.outcome");
        break;
    case STATEMENT_RESET:
        state_walk_setting(w, &s->name, true, DEFAULT_SURELY);
        break;
    case STATEMENT_RESET_ALL:
        on_plain(w, STATE_RESET_ALL);
        break;
    case STATEMENT_DISCARD:
        on_discard(w);
        break;
    case STATEMENT_DISCARD_ALL:
        on_plain(w, STATE_DISCARD_ALL);
        break;
    case STATEMENT_LISTEN:
        state_walk_named(w, STATE_LISTEN, &s->name);
        break;
    case STATEMENT_UNLISTEN:
        if (s->name.kind == OPERAND_NONE)
            on_plain(w, STATE_UNLISTEN_ALL);
        else
            state_walk_named(w, STATE_UNLISTEN, &s->name);
        break;
    case STATEMENT_PREPARE:
        state_walk_named(w, STATE_PREPARE, &s->name);
        break;
    case STATEMENT_EXECUTE:
        state_walk_named(w, STATE_EXECUTE, &s->name);
        break;
    case STATEMENT_DEALLOCATE:
        state_walk_named(w, STATE_DEALLOCATE, &s->name);
        break;
    case STATEMENT_DEALLOCATE_ALL:
        on_plain(w, STATE_DEALLOCATE_ALL);
        break;
    case STATEMENT_DECLARE:
        if (s->hold)
            state_walk_pin(w, STATE_HELD_CURSOR);
        break;
    case STATEMENT_OTHER:
        on_other(w);
        break;
    case STATEMENT_BEGIN:
    case STATEMENT_COMMIT:
    case STATEMENT_ROLLBACK:
    case STATEMENT_SAVEPOINT:
    case STATEMENT_RELEASE:
    case STATEMENT_ROLLBACK_TO:
    case STATEMENT_PREPARE_TRANSACTION:
    case STATEMENT_COMMIT_PREPARED:
    case STATEMENT_ROLLBACK_PREPARED:
    case STATEMENT_SET_TRANSACTION:
    case STATEMENT_SHOW:
    case STATEMENT_CLOSE:
    case STATEMENT_NOTIFY:
    case STATEMENT_PG_NOTIFY:
    case STATEMENT_SHOW_REQUEST:
    case STATEMENT_SET_CONFIG:
        break;
    }
}

/* --- the whole text --------------------------------------------------------------------------- */

void statement_states(struct span text, const struct sql_options *options, statement_on_state *on_state, void *owner)
{
    struct state_walk w = { .options = options, .on_state = on_state, .owner = owner };
    struct statement s;
    for (size_t at = 0; statement_next(text, &at, options, &s); w.index++) {
        state_walk_begin(&w, s.text);
        on_head(&w, &s);
        state_walk_inside(&w);
    }
}

static void look_for_name(void *owner, const struct statement_state *state)
{
    *(bool *)owner |= state->kind == STATE_PREPARE || state->kind == STATE_EXECUTE || state->kind == STATE_DEALLOCATE;
}

bool statement_says_names(struct span text, const struct sql_options *options)
{
    bool found = false;
    if (statement_may_leave_state(text))
        statement_states(text, options, look_for_name, &found);
    return found;
}

void statement_state_name(const struct statement_state *state, const struct sql_options *options, struct buffer *out)
{
    size_t start = out->size;
    operand_decode(&state->name, options, out);
    if (state->kind == STATE_SETTING || state->kind == STATE_LOCAL_SETTING)
        for (size_t i = start; i < out->size; i++)
            out->data[i] = sql_lower(out->data[i]);
}

const char *statement_state_cause(enum state_cause cause)
{
    switch (cause) {
    case STATE_TEMPORARY_TABLE:
        return "temporary table";
    case STATE_ADVISORY_LOCK:
        return "advisory lock";
    case STATE_HELD_CURSOR:
        return "cursor with hold";
    case STATE_LOADED_LIBRARY:
        return "load";
    case STATE_UNKNOWN_SETTING:
        return "unknown setting";
    case STATE_RANDOM_SEED:
        return "random seed";
    case STATE_BACKUP:
        return "backup";
    case STATE_REPLICATION:
        return "replication";
    case STATE_FOREIGN_CONNECTION:
        return "foreign connection";
    case STATE_DO_BLOCK:
        return "session command in a DO block";
    case STATE_UNREADABLE_NAME:
        return "unreadable name";
    }
    return "";
}
