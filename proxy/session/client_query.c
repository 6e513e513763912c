/* The simple protocol: a Query and its string of statements (R13).
 *
 * A string without anything special goes on as it came, behind what has to go ahead of it. Any other is looked at statement by
 * statement and becomes one plan, which is one Query again. */
#include "protocol/statement_state.h"
#include "proxy/session/client.h"

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
    return client_taken(s, REST_DROP);
}

static enum session_result expired(struct session *s)
{
    const struct expiry_words *words = request_expiry_words(s);
    return refuse_query(s, words->sqlstate, words->statement);
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
static void send_prelude_query(struct session *s, struct plan *take)
{
    if (take->text.size > 0)
        send_query_plan(s, take, true);
    else
        send_local(s, take);
}

/* As it came, with nothing ahead of it. */
static enum session_result forward_query(struct session *s, const struct frame *f)
{
    s->unit++;
    pending_push(&s->pending, (struct pending){ .kind = PENDING_QUERY });
    send_to_server(s, f->bytes);
    return client_taken(s, REST_FORWARD);
}

static enum session_result on_plain_query(struct session *s, const struct frame *f)
{
    struct plan *plan = NULL;
    if (s->expiry != EXPIRY_NONE)
        return expired(s);
    if (state_needs_prelude(s, &s->front)) {
        if (s->unsynced_sent > 0 && !session_is_settled(s))
            return client_hold(s);
        plan = prelude_of(s);
        if (is_open(&s->front) || plan->text.size == 0) {
            send_prelude_query(s, plan);
            plan = NULL;
        }
    }
    client_note_statement(s);
    if (!plan)
        return forward_query(s, f);
    send_query_behind(s, plan, frame_body(f), f->left);
    return client_taken(s, REST_FORWARD);
}

/* Behind these an implicit transaction of the string begins anew. */
static bool ends_implicit(enum statement_kind kind)
{
    return kind == STATEMENT_COMMIT || kind == STATEMENT_ROLLBACK || kind == STATEMENT_MARK_OUTCOME ||
           kind == STATEMENT_MARK_REQUEST;
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
        if (ends_implicit(st.kind))
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
bool client_resolve_execute(const struct session *s, const struct statement *execute, struct statement *out)
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
    if (st->kind == STATEMENT_EXECUTE && client_resolve_execute(s, st, &resolved))
        st = &resolved;
    decide_read_arguments(s, st, &values, &arguments);
    decide_statement(d, st, slice, &arguments);
    if (!client_speaks_to_us(st->kind))
        client_note_statement(s);
    buffer_free(&values);
}

static void adopt_if_reached(struct decision *d, struct span text, size_t at)
{
    bool joined = d->st.route && d->st.route->nested != NESTED_SAVEPOINT;
    if (state_is_virtual(&d->st) && d->st.client == CLIENT_NONE && !d->failed &&
        reaches_back(text, at, &d->s->sql, joined))
        decide_adopt(d);
}

/* Behind the end of a request, or of a transaction, the string begins anew. */
static void begin_implicit(struct decision *d, struct span text, size_t at)
{
    const struct plan *plan = d->plan;
    if (plan->step_count > 0 && plan->steps[plan->step_count - 1].effect == EFFECT_REQUEST_ROLLBACK)
        decide_settings(d);
    adopt_if_reached(d, text, at);
}

/* What is answered here must not be answered before the string is known to parse, for then nothing of it runs. So a string that
 * begins with such a statement gets one of ours ahead of it, whose completion tells. */
static void guard(struct decision *d, enum statement_kind kind)
{
    if (client_answers(d->s, kind) || kind == STATEMENT_NOTIFY || kind == STATEMENT_PG_NOTIFY ||
        kind == STATEMENT_EXECUTE)
        decision_hidden(d, GUARD, EFFECT_NONE);
}

static bool is_guarded(const struct plan *plan)
{
    return plan->step_count > 0 && plan->steps[0].kind == STEP_OURS &&
           span_is(plan_span(plan, plan->steps[0].sql), GUARD);
}

/* The first answer comes from the server all the same, or the server has no part in the string at all. */
static bool guards_nothing(const struct plan *plan)
{
    if (plan->step_count < 2 || plan->steps[1].kind != STEP_LOCAL)
        return true;
    for (size_t i = 1; i < plan->step_count; i++)
        if (plan->steps[i].kind != STEP_LOCAL)
            return false;
    return true;
}

static void drop_idle_guard(struct plan *plan)
{
    size_t size = strlen(GUARD ";");
    if (!is_guarded(plan) || !guards_nothing(plan))
        return;
    plan->step_count--;
    memmove(plan->steps, plan->steps + 1, plan->step_count * sizeof *plan->steps);
    buffer_consume(&plan->text, size);
    for (size_t i = 0; i < plan->segment_count; i++)
        plan->segments[i].server_at -= size;
}

/* Statement by statement, each with what stands around it: comments belong to the slice that they precede, and the last slice
 * takes the rest of the string. */
static void decide_string(struct decision *d, struct span text)
{
    const struct sql_options *options = &d->s->sql;
    struct statement st, following;
    size_t begin = 0, at = 0;
    bool more = statement_next(text, &at, options, &st);
    if (d->several && more)
        guard(d, st.kind);
    adopt_if_reached(d, text, begin);
    while (more && !d->stopped) {
        size_t end = at;
        more = statement_next(text, &at, options, &following);
        struct span slice = span_make(text.data + begin, (more ? end : text.size) - begin);
        d->ends_implicit = !more && d->several && !state_is_virtual(&d->st);
        d->last = !more;
        if (d->last)
            doubt_ask_ahead_of_last(d, st.kind);
        decide_one(d, &st, slice);
        if (more && !d->stopped && ends_implicit(st.kind))
            begin_implicit(d, text, end);
        d->client_characters += encoding_count(session_counts_in(d->s), slice);
        begin = end;
        st = following;
    }
    doubt_ask_at_end(d);
}

/* A string of the client's own transactions that only has to be watched may be sent whatever is owed. */
bool client_only_watches(const struct session *s, const struct plan *plan)
{
    if (state_is_virtual(&s->front) || s->front.client != CLIENT_NONE || s->front.mode == MODE_REQUIRED ||
        durable_must_wait(s, plan))
        return false;
    for (size_t i = 0; i < plan->step_count; i++)
        if (plan->steps[i].kind != STEP_CLIENT && !plan->steps[i].rides)
            return false;
    return true;
}

static void follow_plain_begin(struct session *s, struct span text, const struct plan *plan)
{
    struct statement st;
    size_t at = 0;
    bool alone = plan->step_count == 1 && statement_next(text, &at, &s->sql, &st);
    if (alone && client_speaks_to_us(st.kind))
        return;
    s->tx_used = !(alone && st.kind == STATEMENT_BEGIN && s->server_status == 'I' && session_is_settled(s));
    if (!s->tx_used)
        s->tx_modes = st.modes;
}

/* The server has a part in the string, and a savepoint has to stand before it. */
static bool savepoint_goes_first(const struct session *s, struct span text, bool several)
{
    struct statement st;
    size_t at = 0;
    if (!is_open(&s->front) || !state_needs_prelude(s, &s->front) || !statement_next(text, &at, &s->sql, &st))
        return false;
    return several || (!client_answers(s, st.kind) && st.kind != STATEMENT_NOTIFY && st.kind != STATEMENT_PG_NOTIFY &&
                       st.kind != STATEMENT_RESET_ALL && st.kind != STATEMENT_DISCARD_ALL);
}

static enum session_result on_special_query(struct session *s, const struct frame *f, struct span text, bool several)
{
    if (state_is_virtual(&s->front) && !client_is_settled(s))
        return client_hold(s);
    bool exempts = session_wants_units(&s->front) && (s->front.mode != MODE_SANDBOX || s->front.marked);
    bool own_savepoints = exempts && has_own_savepoints(text, &s->sql);
    if (!own_savepoints && savepoint_goes_first(s, text, several))
        send_prelude_query(s, prelude_of(s));
    struct plan *plan = session_plan(s);
    struct decision d;
    decide_init(&d, s, plan, true);
    d.several = several;
    d.wants_unit &= !own_savepoints;
    decide_string(&d, text);
    drop_idle_guard(plan);
    if (!state_is_virtual(&s->front) && !client_is_settled(s) && !client_only_watches(s, plan)) {
        session_plan_done(s, plan);
        return client_hold(s);
    }
    if (plan->step_count == 0) { /* an empty string: behind a BEGIN it would get no reply of its own */
        session_plan_done(s, plan);
        return forward_query(s, f);
    }
    if (!state_is_virtual(&s->now))
        follow_plain_begin(s, text, plan);
    plan->controls = !client_only_watches(s, plan);
    bool local = plan->text.size == 0;
    send_query_plan(s, plan, false);
    if (local)
        server_end_local_unit(s);
    return client_taken(s, REST_DROP);
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
    bool open = state_is_virtual(&s->now) && s->now.client == CLIENT_NONE &&
                (s->now.wrapper || s->now.outer || durable_is_held(s));
    if (!open || !client_is_settled(s) || !statement_next(text, &at, &s->sql, &st) || st.kind != STATEMENT_DISCARD_ALL)
        return false;
    struct plan *plan = session_plan(s);
    struct decision d;
    decide_init(&d, s, plan, false);
    decide_end_for_reset(&d);
    s->going_ahead = true;
    send_own_unit(s, plan);
    return true;
}

enum session_result client_on_query(struct session *s, const struct frame *f)
{
    struct span text;
    bool several;
    if (!message_read_query(frame_body(f), &text))
        return client_bad(s, "malformed Query message");
    if (s->copy_in) { /* it would break the COPY; or run, if the COPY has failed, of which we may not know yet */
        session_break_copy(s, "a message came that is no part of it");
        return client_taken(s, REST_DROP);
    }
    if (client_must_wait(s))
        return client_hold(s);
    if (s->ahead_failed)
        return client_refuse_ahead(s);
    if (ends_request_first(s, text))
        return client_hold(s);
    client_choose_route(s, text);
    if (!client_switch_read_only(s))
        return client_hold(s);
    if (s->front.mode == MODE_REQUIRED && statement_may_leave_state(text))
        client_doubt_read_only(s);
    if (is_ordinary(s, text, &several))
        return on_plain_query(s, f);
    return on_special_query(s, f, text, several);
}

enum session_result client_on_function_call(struct session *s, const struct frame *f)
{
    if (!client_is_settled(s))
        return client_hold(s);
    if (s->ahead_failed)
        return client_refuse_ahead(s);
    if (s->expiry != EXPIRY_NONE)
        return expired(s);
    if (state_needs_prelude(s, &s->front)) { /* not a Query: what goes ahead of it has to be confirmed first */
        struct plan *plan = session_plan(s);
        struct decision d;
        decide_init(&d, s, plan, false);
        decide_prelude(&d);
        s->going_ahead = true;
        send_own_unit(s, plan);
        return SESSION_HOLD;
    }
    client_note_statement(s);
    s->unit++;
    pending_push(&s->pending, (struct pending){ .kind = PENDING_QUERY });
    send_to_server(s, f->bytes);
    return client_taken(s, REST_FORWARD);
}
