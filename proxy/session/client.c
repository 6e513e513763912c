/* What to do with each message of the client.
 *
 * An ordinary statement goes through as it came, whatever is still owed. What moves a transaction, and what pgatomic answers itself,
 * is decided when nothing is owed: such a frame is held, and in the middle of a pipeline a Flush asks the server for what it
 * owes. So every decision is made on what is known, and pipelines of ordinary statements never wait. */
#include "proxy/session/machine.h"

/* --- holding ----------------------------------------------------------------------------------- */

static enum session_result hold(struct session *s)
{
    send_flush(s);
    return SESSION_HOLD;
}

static enum session_result taken(struct session *s, enum frame_rest rest)
{
    s->out->rest = rest;
    return SESSION_TAKEN;
}

static enum session_result bad(struct session *s, const char *message)
{
    struct buffer made = { 0 };
    message_add_error(&made, &(struct message_fault){ "FATAL", "08P01", span_of(message), { 0 }, { 0 } });
    send_made_to_client(s, &made);
    session_end_with(s, DISCARD_DISCONNECT);
    return SESSION_BAD;
}

/* A decision can be made now. */
static bool is_known(const struct session *s)
{
    return session_is_settled(s) && !s->controls;
}

/* --- the beginning of a unit ------------------------------------------------------------------------ */

static void begin_unit(struct session *s)
{
    if (s->unsynced == 0)
        s->unit_clean = s->pending.count == 0;
}

/* `required` is the server's own default_transaction_read_only, switched before the first statement under such rules. */
static bool switch_read_only(struct session *s)
{
    bool wanted = s->front.mode == MODE_REQUIRED && !s->client_read_only;
    if (wanted == s->front.read_only_sent)
        return true;
    if (!is_known(s) || s->server_status != 'I' || s->unsynced_sent > 0 || s->now.wrapper)
        return !wanted || s->server_status != 'I';
    struct plan *plan = session_plan(s);
    struct step *step = plan_add(plan, STEP_OURS);
    step->sql = plan_keep(plan, span_of(wanted ? "SET default_transaction_read_only = on"
                                               : "SET default_transaction_read_only = off"));
    step->swallow = true;
    step->after = s->front;
    step->after.read_only_sent = wanted;
    send_own_unit(s, plan);
    return true;
}

/* Routes that undo single units see one unit at a time. */
static bool must_wait(const struct session *s)
{
    if (s->going_ahead)
        return !is_known(s);
    if (s->controls || s->expiry != EXPIRY_NONE || s->cancelling || s->finishing || s->rollback_owed)
        return !is_known(s);
    return session_wants_units(&s->front) && s->unsynced == 0 && s->pending.count > 0;
}

/* A statement without a request of its own may name one in a comment (sqlcommenter). */
static void choose_by_comment(struct session *s, struct span text)
{
    if (!s->comments_matter || s->now.marked || s->now.wrapper || s->now.outer || s->server_status != 'I' ||
        s->now.client != CLIENT_NONE || !is_known(s) || s->unsynced_sent > 0)
        return;
    struct buffer label = { 0 };
    bool named = memchr(text.data, '*', text.size) && statement_route_comment(text, &s->sql, &label);
    buffer_append_u8(&label, '\0');
    if (named) {
        request_rules(s, label.data, &s->now);
    } else {
        s->now.route = s->base_route;
        s->now.mode = s->base_mode;
    }
    s->front = s->now;
    if (named && (s->now.mode == MODE_ATOMIC || s->now.route))
        request_begin_labelled(s, label.data);
    buffer_free(&label);
}

static void note_statement(struct session *s)
{
    if (s->expiry != EXPIRY_NONE)
        return;
    s->tx_used = true;
    request_count_statement(s);
}

/* Statements that the server never hears of under the rules in force. */
static bool is_answered_here(const struct session *s, enum statement_kind kind)
{
    switch (kind) {
    case STATEMENT_MARK_REQUEST:
    case STATEMENT_MARK_OUTCOME:
    case STATEMENT_SHOW_REQUEST:
    case STATEMENT_SET_CONFIG: /* a mark or not: the Bind will tell */
        return true;
    case STATEMENT_BEGIN:
    case STATEMENT_COMMIT:
    case STATEMENT_ROLLBACK:
    case STATEMENT_SET_TRANSACTION:
        return state_is_virtual(&s->front) || s->front.client == CLIENT_LAZY;
    default:
        return false;
    }
}

/* What had to go ahead of a message has failed, and the client was told: only the end of its unit is missing. */
static enum session_result refuse_after_prelude(struct session *s)
{
    s->ahead_failed = false;
    send_ready(s);
    return taken(s, REST_DROP);
}

/* --- Query ------------------------------------------------------------------------------------- */

static enum session_result refuse_query(struct session *s, const char *sqlstate, const char *message)
{
    struct plan *plan = session_plan(s);
    struct decision d;
    decide_init(&d, s, plan, true);
    decide_refusal(&d, sqlstate, message, (struct span){ 0 });
    bool local = plan->text.size == 0;
    send_query_plan(s, plan, false);
    if (local)
        server_end_local_unit(s);
    return taken(s, REST_DROP);
}

/* A transaction is open on the server, so that nothing can slip out of it. */
static bool is_open(const struct state *st)
{
    return st->wrapper || st->outer;
}

static struct plan *prelude_of(struct session *s)
{
    struct plan *plan = session_plan(s);
    struct decision d;
    decide_init(&d, s, plan, true);
    decide_prelude(&d);
    return plan;
}

/* BEGIN has to be in one string with what it protects: if it failed alone, the statement would commit by itself. A savepoint has
 * to be in a string of its own: a syntax error behind it would undo it too. */
static void send_prelude_query(struct session *s)
{
    struct plan *plan = prelude_of(s);
    if (plan->text.size > 0)
        send_query_plan(s, plan, true);
    else
        session_plan_done(s, plan);
}

static enum session_result on_plain_query(struct session *s, const struct frame *f)
{
    struct plan *plan = NULL;
    if (s->expiry != EXPIRY_NONE) {
        bool timeout = s->expiry == EXPIRY_TIMEOUT;
        return refuse_query(s, timeout ? "25P04" : "25P03",
                            timeout ? "request was rolled back: it ran longer than its route's timeout"
                                    : "request was rolled back: it was idle longer than its route's idle_timeout");
    }
    if (state_needs_prelude(s, &s->front)) {
        if (s->unsynced_sent > 0 && !session_is_settled(s))
            return hold(s);
        if (is_open(&s->front))
            send_prelude_query(s);
        else
            plan = prelude_of(s);
    }
    note_statement(s);
    if (plan && plan->text.size > 0) {
        send_query_behind(s, plan, frame_body(f), f->left);
        return taken(s, REST_FORWARD);
    }
    session_plan_done(s, plan);
    s->unit++;
    pending_push(&s->pending, (struct pending){ .kind = PENDING_QUERY });
    send_to_server(s, f->bytes);
    return taken(s, REST_FORWARD);
}

/* A BEGIN or a ROLLBACK outside a transaction reaches back over the string's earlier statements, as in PostgreSQL (R13). */
static bool reaches_back(struct span text, size_t at, const struct sql_options *options, bool joined)
{
    struct statement st;
    bool ran = false;
    while (statement_next(text, &at, options, &st)) {
        if (st.kind == STATEMENT_BEGIN)
            return ran && !joined;
        if (st.kind == STATEMENT_ROLLBACK)
            return ran;
        if (st.kind == STATEMENT_COMMIT || st.kind == STATEMENT_MARK_OUTCOME || st.kind == STATEMENT_MARK_REQUEST)
            return false;
        ran = true;
    }
    return false;
}

static bool has_own_savepoints(struct span text, const struct sql_options *options)
{
    struct statement st;
    for (size_t at = 0; statement_next(text, &at, options, &st);)
        if (st.kind == STATEMENT_SAVEPOINT || st.kind == STATEMENT_RELEASE || st.kind == STATEMENT_ROLLBACK_TO)
            return true;
    return false;
}

/* An EXECUTE of a prepared SELECT pg_notify($1, $2) is one itself when its arguments are literals (E1). */
static bool resolve_execute(const struct session *s, const struct statement *execute, struct statement *out)
{
    struct buffer name = { 0 };
    bool decoded = execute->args_plain && operand_decode(&execute->name, &s->sql, &name);
    const struct prepared *p = decoded ? names_find(&s->names, buffer_span(&name)) : NULL;
    buffer_free(&name);
    if (!p || p->statement.kind != STATEMENT_PG_NOTIFY)
        return false;
    *out = p->statement;
    for (int i = 0; i < 2; i++) {
        struct operand *operand = &out->args[i];
        if (operand->kind != OPERAND_PARAMETER)
            continue;
        if (operand->parameter < 1 || operand->parameter > execute->arg_count)
            return false;
        *operand = execute->args[operand->parameter - 1];
    }
    return true;
}

static void decide_one(struct decision *d, const struct statement *st, struct span slice)
{
    struct session *s = d->s;
    struct buffer values = { 0 };
    struct arguments arguments = { 0 };
    struct statement resolved;
    if (st->kind == STATEMENT_EXECUTE && resolve_execute(s, st, &resolved))
        st = &resolved;
    decide_read_arguments(s, st, &values, &arguments);
    decide_statement(d, st, slice, &arguments);
    if (st->kind != STATEMENT_MARK_REQUEST && st->kind != STATEMENT_MARK_OUTCOME)
        note_statement(s);
    buffer_free(&values);
}

static void decide_string(struct decision *d, struct span text)
{
    const struct sql_options *options = &d->s->sql;
    bool joined = d->st.route && d->st.route->nested != NESTED_SAVEPOINT;
    bool at_start = true;
    struct statement st;
    for (size_t at = 0, begin = 0; !d->stopped && statement_next(text, &at, options, &st); begin = at) {
        if (at_start && state_is_virtual(&d->st) && d->st.client == CLIENT_NONE && !d->failed &&
            reaches_back(text, begin, options, joined))
            decide_adopt(d);
        at_start = false;
        struct span rest = span_make(text.data + at, text.size - at);
        struct statement unused;
        size_t next = 0;
        bool last = !statement_next(rest, &next, options, &unused);
        struct span slice = span_make(text.data + begin, (last ? text.size : at) - begin);
        d->client_characters = encoding_count(options->encoding, span_make(text.data, begin));
        decide_one(d, &st, slice);
        if (d->st.client == CLIENT_NONE && !d->ran)
            at_start = true;
    }
}

/* A string of the client's own transactions that only has to be watched may be sent whatever is owed. */
static bool only_watches(const struct session *s, const struct plan *plan)
{
    if (state_is_virtual(&s->front) || s->front.client != CLIENT_NONE)
        return false;
    for (size_t i = 0; i < plan->step_count; i++)
        if (plan->steps[i].kind != STEP_CLIENT)
            return false;
    return true;
}

static void follow_plain_begin(struct session *s, struct span text, const struct plan *plan)
{
    struct statement st;
    size_t at = 0;
    bool alone = plan->step_count == 1 && statement_next(text, &at, &s->sql, &st) && st.kind == STATEMENT_BEGIN;
    s->tx_used = !(alone && s->server_status == 'I' && session_is_settled(s));
    if (!s->tx_used)
        s->tx_modes = st.modes;
}

/* The string begins with something that is the server's business, and a savepoint has to stand before it. */
static bool savepoint_goes_first(const struct session *s, struct span text)
{
    struct statement st;
    size_t at = 0;
    if (!is_open(&s->front) || !state_needs_prelude(s, &s->front) || !statement_next(text, &at, &s->sql, &st))
        return false;
    return !is_answered_here(s, st.kind) && st.kind != STATEMENT_NOTIFY && st.kind != STATEMENT_PG_NOTIFY &&
           st.kind != STATEMENT_RESET_ALL && st.kind != STATEMENT_DISCARD_ALL;
}

static enum session_result on_special_query(struct session *s, const struct frame *f, struct span text, bool several)
{
    if (state_is_virtual(&s->front) && !is_known(s))
        return hold(s);
    bool own_savepoints = session_wants_units(&s->front) && has_own_savepoints(text, &s->sql);
    if (!own_savepoints && savepoint_goes_first(s, text))
        send_prelude_query(s);
    struct plan *plan = session_plan(s);
    struct decision d;
    decide_init(&d, s, plan, true);
    d.several = several;
    d.wants_unit &= !own_savepoints;
    decide_string(&d, text);
    if (!state_is_virtual(&s->front) && !is_known(s) && !only_watches(s, plan)) {
        session_plan_done(s, plan);
        return hold(s);
    }
    if (plan->step_count == 0) { /* an empty string */
        session_plan_done(s, plan);
        return on_plain_query(s, f);
    }
    if (!state_is_virtual(&s->now))
        follow_plain_begin(s, text, plan);
    plan->controls = !only_watches(s, plan);
    bool local = plan->text.size == 0;
    send_query_plan(s, plan, false);
    if (local)
        server_end_local_unit(s);
    return taken(s, REST_DROP);
}

/* One statement of kind OTHER, or several: then nothing has to be decided for each. */
static bool is_ordinary(const struct session *s, struct span text, bool *several)
{
    *several = false;
    if (statement_is_plain(text, &s->sql))
        return true;
    struct statement st;
    size_t count = 0;
    bool ordinary = true;
    for (size_t at = 0; statement_next(text, &at, &s->sql, &st); count++)
        ordinary &= st.kind == STATEMENT_OTHER;
    *several = count > 1;
    return ordinary && count > 0;
}

/* DISCARD ALL cannot stand in a string behind a COMMIT. So the request ends first, and the statement is looked at again when
 * that is answered; an error of the COMMIT is then its reply. */
static bool ends_request_first(struct session *s, struct span text)
{
    struct statement st;
    size_t at = 0;
    bool open = state_is_virtual(&s->now) && s->now.client == CLIENT_NONE && (s->now.wrapper || s->now.outer);
    if (!open || !is_known(s) || !statement_next(text, &at, &s->sql, &st) || st.kind != STATEMENT_DISCARD_ALL)
        return false;
    struct plan *plan = session_plan(s);
    struct decision d;
    decide_init(&d, s, plan, false);
    decide_end_for_reset(&d);
    s->going_ahead = true;
    send_own_unit(s, plan);
    return true;
}

static enum session_result on_query(struct session *s, const struct frame *f)
{
    struct span text;
    bool several;
    if (!message_read_query(frame_body(f), &text))
        return bad(s, "malformed Query message");
    if (s->copy_in) { /* breaks the COPY, as it would without us */
        send_to_server(s, f->bytes);
        return taken(s, REST_FORWARD);
    }
    if (must_wait(s) || ends_request_first(s, text))
        return hold(s);
    if (s->ahead_failed)
        return refuse_after_prelude(s);
    choose_by_comment(s, text);
    if (!switch_read_only(s))
        return hold(s);
    if (is_ordinary(s, text, &several))
        return on_plain_query(s, f);
    return on_special_query(s, f, text, several);
}

static enum session_result on_function_call(struct session *s, const struct frame *f)
{
    if (!is_known(s))
        return hold(s);
    if (s->ahead_failed)
        return refuse_after_prelude(s);
    if (state_needs_prelude(s, &s->front)) { /* not a Query: what goes ahead of it has to be confirmed first */
        struct plan *plan = session_plan(s);
        struct decision d;
        decide_init(&d, s, plan, false);
        decide_prelude(&d);
        s->going_ahead = true;
        send_own_unit(s, plan);
        return SESSION_HOLD;
    }
    note_statement(s);
    s->unit++;
    pending_push(&s->pending, (struct pending){ .kind = PENDING_QUERY });
    send_to_server(s, f->bytes);
    return taken(s, REST_FORWARD);
}

/* --- the extended protocol --------------------------------------------------------------------- */

static enum session_result pass(struct session *s, const struct frame *f, struct pending entry)
{
    pending_push(&s->pending, entry);
    s->unsynced++;
    s->unsynced_sent++;
    s->flushed = false;
    send_to_server(s, f->bytes);
    return taken(s, REST_FORWARD);
}

static enum session_result answer(struct session *s, struct buffer *made)
{
    s->unsynced++;
    send_local_bytes(s, made);
    return taken(s, REST_DROP);
}

static enum session_result answer_empty(struct session *s, char type)
{
    struct buffer made = { 0 };
    message_add_empty(&made, type);
    return answer(s, &made);
}

/* An error that the server has no part in; everything up to Sync is skipped. */
static enum session_result fail_extended(struct session *s, const char *sqlstate, const char *message)
{
    struct buffer made = { 0 };
    message_add_error(&made, &(struct message_fault){ "ERROR", sqlstate, span_of(message), { 0 }, { 0 } });
    s->unsynced++;
    send_made_to_client(s, &made);
    s->skipping = true;
    s->failed_seen = false;
    return taken(s, REST_DROP);
}

enum readiness { READY, NOT_YET, FAILED };

/* What has to be true before a message that needs a transaction may go out. */
static enum readiness open_for_extended(struct session *s)
{
    if (!state_needs_prelude(s, &s->front))
        return READY;
    bool at_start = s->unsynced_sent == 0;
    if (!at_start && !session_is_settled(s)) {
        send_flush(s);
        return NOT_YET;
    }
    struct plan *plan = session_plan(s);
    struct decision d;
    decide_init(&d, s, plan, false);
    decide_prelude(&d);
    send_prelude_plan(s, plan, at_start);
    s->flushed = false;
    return READY;
}

static bool needs_transaction(enum statement_kind kind)
{
    switch (kind) {
    case STATEMENT_OTHER:
    case STATEMENT_SAVEPOINT:
    case STATEMENT_RELEASE:
    case STATEMENT_ROLLBACK_TO:
    case STATEMENT_EXECUTE:
    case STATEMENT_DECLARE:
    case STATEMENT_CLOSE:
        return true;
    default:
        return false;
    }
}

static enum session_result expired(struct session *s)
{
    bool timeout = s->expiry == EXPIRY_TIMEOUT;
    return fail_extended(s, timeout ? "25P04" : "25P03",
                         timeout ? "request was rolled back: it ran longer than its route's timeout"
                                 : "request was rolled back: it was idle longer than its route's idle_timeout");
}

static enum session_result parse_special(struct session *s, const struct frame *f, const struct message_parse *parse)
{
    struct prepared *p = names_prepare(&s->names, parse->name, parse->text, &s->sql);
    enum statement_kind kind = p->statement.kind;
    p->unit = s->unit;
    if (is_answered_here(s, kind)) {
        p->confirmed = true;
        return answer_empty(s, '1');
    }
    p->on_server = true;
    p->references++;
    return pass(s, f, (struct pending){ .kind = PENDING_PARSE, .prepared = p });
}

static bool is_single_special(const struct session *s, struct span text, struct statement *st)
{
    size_t at = 0;
    struct statement second;
    return statement_next(text, &at, &s->sql, st) && st->kind != STATEMENT_OTHER &&
           !statement_next(text, &at, &s->sql, &second);
}

static enum session_result on_parse(struct session *s, const struct frame *f)
{
    struct message_parse parse;
    if (!message_read_parse(frame_body(f), &parse))
        return bad(s, "malformed Parse message");
    choose_by_comment(s, parse.text);
    if (!switch_read_only(s))
        return hold(s);
    struct statement st;
    if (!statement_is_plain(parse.text, &s->sql) && is_single_special(s, parse.text, &st)) {
        if (needs_transaction(st.kind) && open_for_extended(s) == NOT_YET)
            return SESSION_HOLD;
        return parse_special(s, f, &parse);
    }
    if (s->expiry != EXPIRY_NONE)
        return expired(s);
    if (open_for_extended(s) == NOT_YET)
        return SESSION_HOLD;
    if (parse.name.size == 0 && s->names.prepared)
        names_forget(&s->names, parse.name);
    return pass(s, f, (struct pending){ .kind = PENDING_PARSE });
}

/* R14: the client's portals end with its implicit transaction. */
static void note_portal(struct session *s, struct span name)
{
    if (s->names.portals)
        names_unbind(&s->names, name);
    if (name.size == 0)
        s->unnamed_portal_stale = false;
    else if (state_is_virtual(&s->front))
        names_add_cursor(&s->names, name, s->front.client != CLIENT_NONE, s->front.client == CLIENT_NONE);
}

/* A set_config that is no mark after all: now the server has to hear of it. */
static void parse_late(struct session *s, struct prepared *p)
{
    struct buffer made = { 0 };
    message_add_parse(&made, span_of(p->name), span_of(p->text));
    send_to_server(s, actions_keep(s->out, buffer_span(&made)));
    buffer_free(&made);
    p->on_server = true;
    p->references++;
    pending_push(&s->pending, (struct pending){ .kind = PENDING_PARSE, .swallow = true, .prepared = p });
    s->unsynced_sent++;
}

static enum session_result bind_special(struct session *s, const struct frame *f, const struct message_bind *bind,
                                        struct prepared *p)
{
    if (f->left > 0)
        return SESSION_WHOLE;
    note_portal(s, bind->portal);
    struct portal *portal = names_bind(&s->names, bind->portal, p);
    portal_read_arguments(s, portal, bind);
    portal->result_format = message_bind_result_format(bind);
    if (portal->kind == STATEMENT_SET_CONFIG) {
        names_unbind(&s->names, bind->portal);
        if (s->expiry != EXPIRY_NONE)
            return expired(s);
        if (open_for_extended(s) == NOT_YET)
            return SESSION_HOLD;
        if (!p->on_server)
            parse_late(s, p);
        return pass(s, f, (struct pending){ .kind = PENDING_BIND });
    }
    if (!p->on_server)
        return answer_empty(s, '2');
    portal->on_server = true;
    return pass(s, f, (struct pending){ .kind = PENDING_BIND });
}

static enum session_result on_bind(struct session *s, const struct frame *f)
{
    struct message_bind bind;
    if (!message_read_bind(frame_body(f), &bind))
        return bad(s, "malformed Bind message");
    struct prepared *p = s->names.prepared ? names_find(&s->names, bind.statement) : NULL;
    if (!switch_read_only(s))
        return hold(s);
    if (p && !needs_transaction(p->statement.kind))
        return bind_special(s, f, &bind, p);
    if (s->expiry != EXPIRY_NONE)
        return expired(s);
    if (open_for_extended(s) == NOT_YET)
        return SESSION_HOLD;
    if (p)
        return bind_special(s, f, &bind, p);
    note_portal(s, bind.portal);
    return pass(s, f, (struct pending){ .kind = PENDING_BIND });
}

/* On plain PostgreSQL the unnamed portal would be gone since the last Sync: so it goes, just before anyone asks for it. */
static void drop_stale_portal(struct session *s, struct span name)
{
    if (!s->unnamed_portal_stale || name.size > 0)
        return;
    s->unnamed_portal_stale = false;
    if (s->front.wrapper || s->front.outer)
        send_close_portal(s, name);
}

static enum session_result describe_here(struct session *s, const struct statement *st, char kind, uint16_t format)
{
    struct buffer made = { 0 };
    if (kind == 'S')
        describe_parameters(st, &made);
    if (st->kind == STATEMENT_SHOW_REQUEST || st->as_row)
        describe_row(s, st, format, &made);
    else
        message_add_empty(&made, 'n');
    return answer(s, &made);
}

static enum session_result on_describe(struct session *s, const struct frame *f)
{
    struct message_named describe;
    if (!message_read_named(frame_body(f), &describe))
        return bad(s, "malformed Describe message");
    if (describe.kind == 'S') {
        const struct prepared *p = names_find(&s->names, describe.name);
        if (p && !p->on_server)
            return describe_here(s, &p->statement, 'S', 0);
    } else {
        const struct portal *portal = names_portal(&s->names, describe.name);
        if (portal && !portal->on_server)
            return describe_here(s, &portal->prepared->statement, 'P', portal->result_format);
        drop_stale_portal(s, describe.name);
    }
    if (s->expiry != EXPIRY_NONE)
        return expired(s);
    return pass(s, f, (struct pending){ .kind = PENDING_DESCRIBE });
}

/* A statement that is only watched, or that is answered in its place in the pipeline, need not wait. */
static bool may_execute_now(const struct session *s, const struct plan *plan, enum statement_kind kind)
{
    if (is_known(s))
        return true;
    bool notifies = kind == STATEMENT_NOTIFY || kind == STATEMENT_PG_NOTIFY;
    if (notifies && s->unit_clean && s->server_status != 'E' && !s->controls)
        return true;
    return only_watches(s, plan);
}

static void note_extended_begin(struct session *s, const struct statement *st)
{
    if (state_is_virtual(&s->front) || st->kind != STATEMENT_BEGIN || s->server_status != 'I' || s->unit_ran)
        return;
    s->tx_used = false;
    s->tx_modes = st->modes;
}

static enum session_result execute_done_row(struct session *s)
{
    struct buffer made = { 0 };
    message_add_command_complete(&made, span_of("SELECT 0"));
    return answer(s, &made);
}

static bool is_reset(enum statement_kind kind)
{
    return kind == STATEMENT_DISCARD_ALL || kind == STATEMENT_RESET_ALL;
}

static enum session_result execute_special(struct session *s, const struct frame *f, struct portal *portal,
                                           const struct message_execute *execute)
{
    const struct statement *st = &portal->prepared->statement;
    struct statement resolved;
    if (st->kind == STATEMENT_SET_CONFIG) { /* bound to a mark's name */
        resolved = *st;
        resolved.kind = portal->kind;
        st = &resolved;
    }
    if (portal->done)
        return execute_done_row(s);
    if (st->kind == STATEMENT_EXECUTE && resolve_execute(s, st, &resolved)) {
        st = &resolved;
        portal_read_literals(s, portal, st);
    }
    struct arguments arguments;
    portal_arguments(portal, &arguments);
    struct plan *plan = session_plan(s);
    struct decision d;
    decide_init(&d, s, plan, false);
    d.max_rows = execute->max_rows;
    decide_statement(&d, st, (struct span){ 0 }, &arguments);
    if (!may_execute_now(s, plan, st->kind)) {
        session_plan_done(s, plan);
        return hold(s);
    }
    bool mark = st->kind == STATEMENT_MARK_REQUEST || st->kind == STATEMENT_MARK_OUTCOME;
    if (!mark)
        note_statement(s);
    note_extended_begin(s, st);
    portal->done = st->kind == STATEMENT_PG_NOTIFY && execute->max_rows == 1;
    if (state_is_virtual(&s->front) || mark)
        plan->controls = true;
    bool fails = plan->step_count > 0 && plan->steps[plan->step_count - 1].fails &&
                 plan->steps[plan->step_count - 1].kind == STEP_LOCAL;
    s->unsynced++;
    s->flushed = false;
    if (is_reset(st->kind) && plan->step_count > 1)
        portal->on_server = false; /* it ended with the request that ends ahead of it */
    send_execute_plan(s, plan, portal, f->bytes);
    if (fails)
        s->skipping = true;
    if (s->pending.count == 0)
        s->controls = false;
    return taken(s, REST_DROP);
}

static enum session_result on_execute(struct session *s, const struct frame *f)
{
    struct message_execute execute;
    if (!message_read_execute(frame_body(f), &execute))
        return bad(s, "malformed Execute message");
    struct portal *portal = s->names.portals ? names_portal(&s->names, execute.portal) : NULL;
    if (portal)
        return execute_special(s, f, portal, &execute);
    if (s->expiry != EXPIRY_NONE)
        return expired(s);
    drop_stale_portal(s, execute.portal);
    note_statement(s);
    s->unit_ran = true;
    return pass(s, f, (struct pending){ .kind = PENDING_EXECUTE });
}

static enum session_result on_close(struct session *s, const struct frame *f)
{
    struct message_named close;
    if (!message_read_named(frame_body(f), &close))
        return bad(s, "malformed Close message");
    struct pending entry = { .kind = PENDING_CLOSE };
    if (close.kind == 'S') {
        struct prepared *p = names_find(&s->names, close.name);
        if (p && !p->on_server) {
            names_forget(&s->names, close.name);
            return answer_empty(s, '3');
        }
        if (p) {
            p->references++;
            entry.prepared = p;
        }
    } else {
        const struct portal *portal = names_portal(&s->names, close.name);
        bool here = portal && !portal->on_server;
        names_unbind(&s->names, close.name);
        names_drop_cursor(&s->names, close.name);
        if (here)
            return answer_empty(s, '3');
    }
    return pass(s, f, entry);
}

static void close_portals_of_unit(struct session *s)
{
    if (!state_is_virtual(&s->front) || s->front.client != CLIENT_NONE)
        return;
    s->unnamed_portal_stale = true;
    for (struct cursor *c = s->names.cursors, *next; c; c = next) {
        next = c->next;
        if (!c->at_sync)
            continue;
        if (s->front.wrapper || s->front.outer)
            send_close_portal(s, span_of(c->name));
        names_drop_cursor(&s->names, span_of(c->name));
    }
}

static enum session_result on_sync(struct session *s, const struct frame *f)
{
    bool local = s->unsynced_sent == 0 && s->pending.count == 0;
    if (s->cancelling || s->finishing || (local && s->rollback_owed))
        return SESSION_HOLD;
    if (s->copy_in) { /* COPY reads past it */
        send_to_server(s, f->bytes);
        return taken(s, REST_FORWARD);
    }
    s->skipping = s->failure_owed = false;
    s->unsynced = 0;
    close_portals_of_unit(s);
    if (local) {
        server_end_local_unit(s);
        return taken(s, REST_DROP);
    }
    send_sync(s, f->bytes, false);
    return taken(s, REST_FORWARD);
}

/* --- COPY, Terminate --------------------------------------------------------------------------- */

static enum session_result on_copy(struct session *s, const struct frame *f)
{
    if (s->pending.count == 0 || s->skipping)
        return taken(s, REST_DROP); /* late: its COPY has failed */
    if (f->type != 'd') {
        s->copy_in = false;
        pending_push(&s->pending, (struct pending){ .kind = PENDING_COPY_END });
    }
    send_to_server(s, f->bytes);
    return taken(s, REST_FORWARD);
}

void session_break_copy(struct session *s)
{
    if (!s->copy_in)
        return;
    struct buffer made = { 0 };
    message_add_copy_fail(&made, span_of("the client has gone"));
    send_to_server(s, actions_keep(s->out, buffer_span(&made)));
    buffer_free(&made);
    s->copy_in = false;
}

/* Terminate takes its place in order, after what was sent before it (R5). */
static enum session_result on_terminate(struct session *s)
{
    session_break_copy(s);
    s->skipping = false;
    if (!is_known(s))
        return hold(s);
    session_terminate(s);
    return taken(s, REST_DROP);
}

/* --- the table --------------------------------------------------------------------------------- */

static bool is_extended(char type)
{
    return type == 'P' || type == 'B' || type == 'D' || type == 'E' || type == 'C';
}

static enum session_result extended_frame(struct session *s, const struct frame *f)
{
    if (s->failure_owed) {
        s->failure_owed = false;
        return fail_extended(s, "25P02", "current transaction is aborted, commands ignored until end of transaction block");
    }
    if (must_wait(s))
        return hold(s);
    begin_unit(s);
    switch (f->type) {
    case 'P':
        return on_parse(s, f);
    case 'B':
        return on_bind(s, f);
    case 'D':
        return on_describe(s, f);
    case 'E':
        return on_execute(s, f);
    default:
        return on_close(s, f);
    }
}

enum session_result client_frame(struct session *s, const struct frame *f)
{
    if (s->skipping && f->type != 'S' && f->type != 'X') {
        if (!s->failure_owed)
            return taken(s, REST_DROP);
    }
    if (is_extended(f->type))
        return extended_frame(s, f);
    switch (f->type) {
    case 'Q':
        return on_query(s, f);
    case 'S':
        return on_sync(s, f);
    case 'H':
        if (s->unsynced_sent > 0)
            send_to_server(s, f->bytes);
        return taken(s, REST_FORWARD);
    case 'd':
    case 'c':
    case 'f':
        return on_copy(s, f);
    case 'F':
        return on_function_call(s, f);
    case 'X':
        return on_terminate(s);
    default:
        return bad(s, "unexpected message type");
    }
}
