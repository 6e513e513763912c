/* What a statement becomes under the rules in force (R2 to R11).
 *
 * Decisions that move a transaction are made when nothing is owed, so `d->st` starts as what the server has confirmed; it
 * runs ahead along the string, statement by statement, as if each succeeded. Where a rule refuses, a statement that must
 * fail takes the place of the client's, and its error is rewritten (R15): then the server's transaction, the pipeline and the
 * client agree about what happened. */
#include "proxy/session/decision.h"

/* --- the prelude ------------------------------------------------------------------------------- */

static const char *isolation_words(enum statement_isolation isolation)
{
    switch (isolation) {
    case STATEMENT_ISOLATION_DEFAULT:
        return "";
    case STATEMENT_READ_UNCOMMITTED:
        return " ISOLATION LEVEL READ UNCOMMITTED";
    case STATEMENT_READ_COMMITTED:
        return " ISOLATION LEVEL READ COMMITTED";
    case STATEMENT_REPEATABLE_READ:
        return " ISOLATION LEVEL REPEATABLE READ";
    case STATEMENT_SERIALIZABLE:
        return " ISOLATION LEVEL SERIALIZABLE";
    }
    return "";
}

static const char *access_words(enum statement_access access)
{
    switch (access) {
    case STATEMENT_ACCESS_DEFAULT:
        return "";
    case STATEMENT_READ_ONLY:
        return " READ ONLY";
    case STATEMENT_READ_WRITE:
        return " READ WRITE";
    }
    return "";
}

void decision_begin(struct decision *d, const char *verb, enum statement_isolation isolation,
                    enum statement_access access, bool deferrable, enum effect effect)
{
    struct buffer sql = { 0 };
    buffer_append_text(&sql, verb);
    buffer_append_text(&sql, isolation_words(isolation));
    buffer_append_text(&sql, access_words(access));
    if (deferrable)
        buffer_append_text(&sql, " DEFERRABLE");
    buffer_append_u8(&sql, '\0');
    decision_hidden(d, sql.data, effect);
    buffer_free(&sql);
}

/* What a route asks for; the two enums are in the same order on purpose. */
static enum statement_isolation route_isolation(const struct route *route)
{
    return route ? (enum statement_isolation)route->isolation : STATEMENT_ISOLATION_DEFAULT;
}

static enum statement_access route_access(const struct route *route)
{
    return route ? (enum statement_access)route->access : STATEMENT_ACCESS_DEFAULT;
}

static void open_wrapper(struct decision *d)
{
    struct state *st = &d->st;
    if (st->mode == MODE_ATOMIC && !d->moved)
        request_ensure(d->s);
    if (st->mode == MODE_SANDBOX) {
        if (!st->outer) {
            st->outer = true;
            decision_hidden(d, "BEGIN", EFFECT_NONE);
        }
        if (st->marked && !st->wrapper) {
            st->wrapper = true;
            decision_name(d, decision_hidden(d, "SAVEPOINT " SAVEPOINT_REQUEST, EFFECT_NONE), (struct span){ 0 });
        }
        return;
    }
    if (st->wrapper)
        return;
    st->wrapper = true;
    enum statement_isolation isolation = route_isolation(st->route);
    if (st->client == CLIENT_LAZY && st->modes.isolation > isolation)
        isolation = st->modes.isolation;
    st->isolation = isolation;
    decision_begin(d, "BEGIN", isolation, route_access(st->route), false, EFFECT_REQUEST_OPEN);
}

static bool has_unit_to_release(const struct state *st)
{
    return st->unit == UNIT_DONE || st->unit == UNIT_DONE_EXEMPT;
}

static void open_unit(struct decision *d)
{
    struct state *st = &d->st;
    bool inside = st->client == CLIENT_OPEN || st->client == CLIENT_JOINED;
    if (has_unit_to_release(st) && !inside) { /* not while what began within it is open */
        st->unit = st->unit == UNIT_DONE ? UNIT_NONE : UNIT_EXEMPT;
        decision_name(d, decision_hidden(d, "RELEASE SAVEPOINT " SAVEPOINT_UNIT, EFFECT_RELEASE),
                      span_of(SAVEPOINT_UNIT));
    }
    if (d->wants_unit && st->client == CLIENT_NONE && st->unit == UNIT_NONE) {
        st->unit = UNIT_SET;
        decision_name(d, decision_hidden(d, "SAVEPOINT " SAVEPOINT_UNIT, EFFECT_SAVEPOINT), span_of(SAVEPOINT_UNIT));
    }
}

static void open_client(struct decision *d)
{
    struct state *st = &d->st;
    if (st->client != CLIENT_LAZY)
        return;
    if (st->route && st->route->nested == NESTED_JOIN) {
        st->client = CLIENT_JOINED;
        decision_local(d, EFFECT_NONE)->swallow = true;
        return;
    }
    st->client = CLIENT_OPEN;
    decision_hidden(d, "SAVEPOINT " SAVEPOINT_CLIENT, EFFECT_NONE);
    if (st->modes.access != STATEMENT_ACCESS_DEFAULT)
        decision_begin(d, "SET TRANSACTION", STATEMENT_ISOLATION_DEFAULT, st->modes.access, false, EFFECT_NONE);
}

/* A client's BEGIN that stands between requests, told but not sent. */
static void open_plain(struct decision *d)
{
    struct state *st = &d->st;
    if (st->client != CLIENT_LAZY)
        return;
    st->client = CLIENT_NONE;
    d->begun = true;
    if (st->stale_begin) { /* it is there already */
        st->stale_begin = false;
        decision_local(d, EFFECT_NONE)->swallow = true;
        return;
    }
    enum statement_access access = st->modes.access;
    if (st->mode == MODE_REQUIRED && access == STATEMENT_ACCESS_DEFAULT)
        access = STATEMENT_READ_WRITE;
    decision_begin(d, "BEGIN", st->modes.isolation, access, st->modes.deferrable, EFFECT_NONE);
}

void decide_wrapper(struct decision *d)
{
    if (d->st.stale_begin) {
        d->st.stale_begin = false;
        decision_hidden(d, "ROLLBACK", EFFECT_NONE);
    }
    open_wrapper(d);
}

void decide_prelude(struct decision *d)
{
    if (d->failed)
        return;
    if (!state_is_virtual(&d->st)) {
        open_plain(d);
        return;
    }
    decide_wrapper(d);
    open_unit(d);
    open_client(d);
}

void decide_adopt(struct decision *d)
{
    if (d->failed || !state_is_virtual(&d->st) || d->st.client != CLIENT_NONE)
        return;
    decide_prelude(d);
    decision_hidden(d, "SAVEPOINT " SAVEPOINT_CLIENT, EFFECT_CLIENT_BEGIN);
    d->adopted = true;
}

void decide_init(struct decision *d, struct session *s, struct plan *plan, bool simple)
{
    *d = (struct decision){ .s = s, .plan = plan, .st = s->front, .simple = simple };
    d->failed = session_is_failed(s) && s->pending.count == 0;
    d->wants_unit = session_wants_units(&d->st);
}

bool session_wants_units(const struct state *st)
{
    return st->mode == MODE_SANDBOX ||
           (st->mode == MODE_ATOMIC && st->route && st->route->on_error == ON_ERROR_ROLLBACK_STATEMENT);
}

bool state_needs_prelude(const struct session *s, const struct state *st)
{
    if (s->server_status == 'E' && s->pending.count == 0)
        return false;
    if (!state_is_virtual(st))
        return st->client == CLIENT_LAZY;
    return st->stale_begin || st->client == CLIENT_LAZY || (st->mode == MODE_SANDBOX ? !st->outer : false) ||
           ((st->mode == MODE_ATOMIC || st->marked) && !st->wrapper) ||
           (st->client == CLIENT_NONE &&
            (has_unit_to_release(st) || (session_wants_units(st) && st->unit == UNIT_NONE)));
}

/* --- session commands and the rest ------------------------------------------------------------- */

static void name_after(struct decision *d, struct step *step, const struct operand *operand)
{
    struct buffer name = { 0 };
    if (operand->kind != OPERAND_NONE)
        operand_decode(operand, &d->s->sql, &name);
    decision_name(d, step, buffer_span(&name));
    buffer_free(&name);
}

/* A BEGIN of ours that comes behind it in its string or pipeline takes it into the request. */
static bool shares_its_unit(const struct decision *d)
{
    return state_is_virtual(&d->st) && d->st.client == CLIENT_NONE && (d->several || !d->simple);
}

/* What has to be remembered of a connection has its bounds. */
static bool refuse_more(struct decision *d, const struct statement *st)
{
    const struct session *s = d->s;
    bool sets = st->kind == STATEMENT_SET || st->kind == STATEMENT_RESET;
    bool names = st->kind == STATEMENT_PREPARE || st->kind == STATEMENT_DECLARE;
    if (!(sets && s->settings.count >= SETTINGS_MAX) && !(names && names_are_many(&s->names)))
        return false;
    decide_refuse(d, "54000",
                  sets ? "too many settings in one request"
                       : "too many prepared statements, portals or cursors on this connection");
    return true;
}

static void decide_session_command(struct decision *d, const struct statement *st, struct span slice)
{
    bool outside = d->st.client == CLIENT_NONE;
    bool open = d->st.wrapper || d->st.outer || decision_has_begun(d); /* an error has to fail it */
    bool in_wrapper = state_is_virtual(&d->st) && outside && open;
    if (refuse_more(d, st))
        return;
    if (!outside || in_wrapper)
        decide_prelude(d);

    struct step *step;
    if ((st->kind == STATEMENT_SET || st->kind == STATEMENT_RESET) && (in_wrapper || shares_its_unit(d))) {
        step = decision_client(d, slice, EFFECT_SETTING);
        name_after(d, step, &st->name);
        step->payload = plan_keep(d->plan, st->text);
    } else if (st->kind == STATEMENT_PREPARE) {
        step = decision_client(d, slice, EFFECT_PREPARE);
        name_after(d, step, &st->name);
        step->payload = plan_keep(d->plan, st->body);
    } else if (st->kind == STATEMENT_DEALLOCATE) {
        step = decision_client(d, slice, EFFECT_DEALLOCATE);
        name_after(d, step, &st->name);
    } else {
        decision_client(d, slice, st->kind == STATEMENT_DEALLOCATE_ALL ? EFFECT_DEALLOCATE_ALL : EFFECT_NONE);
    }
}

void decide_settings(struct decision *d)
{
    const struct settings *settings = &d->s->settings;
    for (size_t i = 0; i < settings->count; i++)
        decision_hidden(d, settings->list[i].sql, i + 1 < settings->count ? EFFECT_NONE : EFFECT_SETTINGS_AGAIN);
}

void decide_end_for_reset(struct decision *d)
{
    decide_end_open(d);
    if (!d->st.outer)
        return;
    d->st.outer = false;
    decision_hidden(d, "ROLLBACK", EFFECT_NONE);
}

/* DISCARD ALL, RESET ALL: between two users of one connection (R2, R4, R5). */
static void decide_reset(struct decision *d, const struct statement *st, struct span slice)
{
    if (d->st.client != CLIENT_NONE || (!state_is_virtual(&d->st) && !d->st.marked))
        decide_prelude(d);
    else
        decide_end_for_reset(d);
    decision_client(d, slice, st->kind == STATEMENT_DISCARD_ALL ? EFFECT_DISCARD_ALL : EFFECT_RESET_ALL);
}

/* The client's own transaction is over behind this, and what comes in the string is another's. */
static void leave_own_transaction(struct decision *d, bool chain)
{
    decision_settle(d);
    d->plain_ended = !chain;
    d->begun &= chain;
    d->ran = d->failed = false;
}

/* For the session it is a COMMIT, of a transaction without events. */
static void decide_prepare_transaction(struct decision *d, struct span slice)
{
    bool captured = decision_captured(d) > d->settled;
    if (state_is_virtual(&d->st))
        decide_refuse(d, "0A000", "PREPARE TRANSACTION cannot be used in an atomic request");
    else if (captured)
        decide_refuse(d, "0A000", "PREPARE TRANSACTION cannot be used in a transaction with captured notifications");
    else {
        decide_prelude(d);
        decision_client(d, slice, EFFECT_PLAIN_COMMIT);
        leave_own_transaction(d, false);
    }
}

static void decide_cursor(struct decision *d, const struct statement *st, struct span slice)
{
    if (refuse_more(d, st))
        return;
    decide_prelude(d);
    struct step *step = decision_client(d, slice, EFFECT_NONE);
    if (st->kind == STATEMENT_DECLARE && !st->hold && d->st.client == CLIENT_OPEN) {
        step->effect = EFFECT_CURSOR;
        name_after(d, step, &st->name);
    }
}

/* --- transactions that are the client's own (autocommit, required) -------------------------------- */

static void decide_plain_begin(struct decision *d, const struct statement *st, struct span slice)
{
    bool inside = d->s->server_status != 'I' && !d->plain_ended;
    d->begun = true;
    if (d->st.mode == MODE_REQUIRED && !inside && st->modes.access == STATEMENT_ACCESS_DEFAULT) {
        bool has_modes =
            st->modes.isolation != STATEMENT_ISOLATION_DEFAULT || st->modes.deferrable || st->modes.not_deferrable;
        struct buffer sql = { 0 };
        buffer_append_span(&sql, st->text);
        buffer_append_text(&sql, has_modes ? ", READ WRITE" : " READ WRITE");
        buffer_append_u8(&sql, '\0');
        decision_ours(d, sql.data, EFFECT_NONE);
        buffer_free(&sql);
        return;
    }
    decision_client(d, slice, EFFECT_NONE);
}

static void decide_plain_end(struct decision *d, const struct statement *st, struct span slice)
{
    enum effect effect = st->kind == STATEMENT_COMMIT ? EFFECT_PLAIN_COMMIT : EFFECT_PLAIN_ROLLBACK;
    const char *tag = st->kind == STATEMENT_COMMIT ? "COMMIT" : "ROLLBACK";
    if (d->s->expiry != EXPIRY_NONE) {
        decision_reply_tag(d, decision_local(d, EFFECT_REQUEST_OVER), "ROLLBACK");
        return;
    }
    if (d->st.client == CLIENT_LAZY && d->st.stale_begin)
        decide_prelude(d);
    if (d->st.client == CLIENT_LAZY) {
        if (!st->chain)
            d->st.client = CLIENT_NONE;
        decision_reply_tag(d, decision_local(d, effect), tag);
        return;
    }
    if (st->kind == STATEMENT_COMMIT && !d->failed) {
        durable_write_all(d, UNDO_PLAIN);
        doubt_ask_ahead_of_commit(d);
    }
    decision_client(d, slice, effect)->chains = st->chain;
    if (st->chain && d->failed &&
        d->st.mode == MODE_REQUIRED) /* its failure has taken back what we asked for at BEGIN */
        decision_hidden(d, "SET TRANSACTION READ WRITE", EFFECT_NONE);
    leave_own_transaction(d, st->chain);
}

/* --- the table --------------------------------------------------------------------------------- */

static void decide_control(struct decision *d, const struct statement *st, struct span slice)
{
    bool is_virtual = state_is_virtual(&d->st);
    if (!is_virtual && d->st.client == CLIENT_LAZY && st->kind == STATEMENT_BEGIN) {
        decision_warn(d, decision_local(d, EFFECT_NONE), "25001", "there is already a transaction in progress",
                      decision_begin_tag(st));
    } else if (st->kind == STATEMENT_BEGIN) {
        if (is_virtual)
            decide_virtual_begin(d, st, slice);
        else
            decide_plain_begin(d, st, slice);
    } else if (!is_virtual) {
        decide_plain_end(d, st, slice);
    } else if (st->kind == STATEMENT_COMMIT) {
        decide_virtual_commit(d, st);
    } else {
        decide_virtual_rollback(d, st);
    }
}

bool decide_speaks_of_the_end(enum statement_kind kind)
{
    return kind == STATEMENT_COMMIT || kind == STATEMENT_ROLLBACK || kind == STATEMENT_MARK_REQUEST ||
           kind == STATEMENT_MARK_OUTCOME || kind == STATEMENT_SHOW_REQUEST || kind == STATEMENT_DISCARD_ALL ||
           kind == STATEMENT_RESET_ALL;
}

/* AND CHAIN also begins, as what nobody knows any more. */
static bool only_ends(const struct statement *st)
{
    bool may_chain = st->kind == STATEMENT_COMMIT || st->kind == STATEMENT_ROLLBACK;
    return decide_speaks_of_the_end(st->kind) && !(may_chain && st->chain);
}

static bool refuse_expired(struct decision *d, const struct statement *st)
{
    if (d->s->expiry == EXPIRY_NONE || only_ends(st))
        return false;
    const struct expiry_words *words = request_expiry_words(d->s);
    decide_refuse(d, words->sqlstate, words->statement);
    return true;
}

void decide_statement(struct decision *d, const struct statement *st, struct span slice,
                      const struct arguments *arguments)
{
    if (refuse_expired(d, st))
        return;
    switch (st->kind) {
    case STATEMENT_BEGIN:
    case STATEMENT_COMMIT:
    case STATEMENT_ROLLBACK:
        decide_control(d, st, slice);
        break;
    case STATEMENT_SAVEPOINT:
        decide_savepoint(d, st, slice, EFFECT_SAVEPOINT);
        break;
    case STATEMENT_RELEASE:
        decide_savepoint(d, st, slice, EFFECT_RELEASE);
        break;
    case STATEMENT_ROLLBACK_TO:
        decide_savepoint(d, st, slice, EFFECT_ROLLBACK_TO);
        break;
    case STATEMENT_PREPARE_TRANSACTION:
        decide_prepare_transaction(d, slice);
        break;
    case STATEMENT_SET_TRANSACTION:
        if (state_is_virtual(&d->st)) {
            decide_virtual_set_transaction(d, st, slice);
        } else {
            decide_prelude(d);
            decision_client(d, slice, EFFECT_NONE);
        }
        break;
    case STATEMENT_SET:
    case STATEMENT_RESET:
    case STATEMENT_SHOW:
    case STATEMENT_DISCARD:
    case STATEMENT_LISTEN:
    case STATEMENT_UNLISTEN:
    case STATEMENT_PREPARE:
    case STATEMENT_DEALLOCATE:
    case STATEMENT_DEALLOCATE_ALL:
        decide_session_command(d, st, slice);
        break;
    case STATEMENT_RESET_ALL:
    case STATEMENT_DISCARD_ALL:
        decide_reset(d, st, slice);
        break;
    case STATEMENT_DECLARE:
    case STATEMENT_CLOSE:
        decide_cursor(d, st, slice);
        break;
    case STATEMENT_NOTIFY:
    case STATEMENT_PG_NOTIFY:
        decide_notify(d, st, slice, arguments);
        break;
    case STATEMENT_MARK_REQUEST:
        decide_mark_request(d, st, arguments);
        break;
    case STATEMENT_MARK_OUTCOME:
        decide_mark_outcome(d, st, arguments);
        break;
    case STATEMENT_SHOW_REQUEST:
        decide_show_request(d);
        break;
    case STATEMENT_EXECUTE:
    case STATEMENT_COMMIT_PREPARED:
    case STATEMENT_ROLLBACK_PREPARED:
    case STATEMENT_SET_CONFIG:
    case STATEMENT_OTHER:
        decide_prelude(d);
        decision_client(d, slice, EFFECT_NONE);
        break;
    }
}
