/* The extended protocol: Parse, Bind, Describe, Execute, Close, Sync (R14).
 *
 * Statements of interest are known by name (names.h). Those that the server is never told of are answered here, in their place in the
 * pipeline; of the others only the Execute may become something else. */
#include "proxy/session/client.h"

static enum session_result pass(struct session *s, const struct frame *f, struct pending entry)
{
    pending_push(&s->pending, entry);
    s->unsynced++;
    s->unsynced_sent++;
    s->flushed = false;
    send_to_server(s, f->bytes);
    return client_taken(s, REST_FORWARD);
}

static enum session_result answer(struct session *s, struct buffer *made)
{
    s->unsynced++;
    send_local_bytes(s, made, NULL);
    return client_taken(s, REST_DROP);
}

static enum session_result answer_empty(struct session *s, char type, struct prepared *prepared)
{
    struct buffer made = { 0 };
    message_add_empty(&made, type);
    s->unsynced++;
    send_local_bytes(s, &made, prepared);
    return client_taken(s, REST_DROP);
}

/* An error that the server has no part in; everything up to Sync is skipped. */
enum session_result client_fail_extended(struct session *s, const char *sqlstate, const char *message)
{
    struct buffer made = { 0 };
    message_add_error(&made, &(struct message_fault){ "ERROR", sqlstate, span_of(message), { 0 }, { 0 } });
    s->unsynced++;
    send_made_to_client(s, &made);
    s->skipping = true;
    s->failed_seen = false;
    return client_taken(s, REST_DROP);
}

/* More names than are kept. The server fails what the client is in, and the client is told why (R15). */
static enum session_result refuse_names(struct session *s)
{
    if (!client_is_settled(s))
        return client_hold(s);
    struct plan *plan = session_plan(s);
    struct decision d;
    decide_init(&d, s, plan, false);
    decide_refusal(&d, "54000", "too many prepared statements, portals or cursors on this connection",
                   (struct span){ 0 });
    bool fails = plan->step_count > 0 && plan->steps[plan->step_count - 1].kind == STEP_LOCAL;
    s->unsynced++;
    s->flushed = false;
    send_execute_plan(s, plan, NULL, (struct span){ 0 });
    if (fails)
        s->skipping = true;
    return client_taken(s, REST_DROP);
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

/* Inside a transaction even a session command can fail, and then what it fails in has to have its savepoint. */
static bool needs_prelude(const struct session *s, enum statement_kind kind)
{
    bool inside = s->front.wrapper || s->front.outer || s->front.client == CLIENT_LAZY;
    return needs_transaction(kind) || (inside && !client_answers(s, kind));
}

static enum session_result expired(struct session *s)
{
    const struct expiry_words *words = request_expiry_words(s);
    return client_fail_extended(s, words->sqlstate, words->statement);
}

/* What a failed transaction lets nobody prepare. */
static bool needs_sound_transaction(enum statement_kind kind)
{
    return kind == STATEMENT_BEGIN || kind == STATEMENT_SET_TRANSACTION;
}

static enum session_result parse_special(struct session *s, const struct frame *f, const struct message_parse *parse,
                                         enum statement_kind kind)
{
    bool sound = needs_sound_transaction(kind) && client_answers(s, kind);
    if (sound && !client_is_settled(s))
        return client_hold(s);
    struct prepared *p = names_prepare(&s->names, parse->name, parse->text, &s->sql);
    arguments_read_types(&p->statement, parse, p->types);
    p->unit = s->unit;
    if (client_answers(s, kind) && !(sound && session_is_failed(s))) {
        return answer_empty(s, '1', p);
    }
    p->on_server = true;
    p->references++;
    return pass(s, f, (struct pending){ .kind = PENDING_PARSE, .prepared = p });
}

/* A set_config whose name is written out, and is no mark's, is a statement like any other. */
static bool is_plainly_other(const struct statement *st)
{
    return st->kind == STATEMENT_OTHER || (st->kind == STATEMENT_SET_CONFIG && st->args[0].kind != OPERAND_PARAMETER);
}

static bool is_single_special(const struct session *s, const struct message_parse *parse, struct statement *st)
{
    size_t at = 0;
    struct statement second;
    uint32_t types[PREPARED_TYPES_MAX] = { 0 };
    return statement_next(parse->text, &at, &s->sql, st) && !is_plainly_other(st) &&
           !statement_next(parse->text, &at, &s->sql, &second) && arguments_read_types(st, parse, types);
}

/* A portal without rows runs once, whoever answered it. */
static void decide_second_run(struct decision *d, const struct portal *portal)
{
    struct buffer text = { 0 };
    buffer_format(&text, "portal \"%s\" cannot be run", portal->name);
    buffer_append_u8(&text, '\0');
    decide_refuse(d, "55000", text.data);
    buffer_free(&text);
}

static bool is_local(const struct plan *plan)
{
    for (size_t i = 0; i < plan->step_count; i++)
        if (plan->steps[i].kind != STEP_LOCAL)
            return false;
    return true;
}

static bool is_reset(enum statement_kind kind)
{
    return kind == STATEMENT_DISCARD_ALL || kind == STATEMENT_RESET_ALL;
}

/* Of a request that has expired only what may end it; a set_config may. */
static bool may_be_parsed(const struct session *s, enum statement_kind kind)
{
    return s->expiry == EXPIRY_NONE || kind == STATEMENT_SET_CONFIG || decide_speaks_of_the_end(kind);
}

static enum session_result on_parse(struct session *s, const struct frame *f)
{
    struct message_parse parse;
    if (!message_read_parse(frame_body(f), &parse))
        return client_bad(s, "malformed Parse message");
    client_choose_route(s, parse.text);
    if (!client_switch_read_only(s))
        return client_hold(s);
    struct statement st;
    if (!statement_is_plain(parse.text, &s->sql) && is_single_special(s, &parse, &st) && may_be_parsed(s, st.kind)) {
        if (needs_prelude(s, st.kind) && open_for_extended(s) == NOT_YET)
            return SESSION_HOLD;
        if (is_reset(st.kind) && state_is_virtual(&s->front) && !client_is_settled(s))
            return client_hold(s);
        if (names_are_many(&s->names))
            return refuse_names(s);
        return parse_special(s, f, &parse, st.kind);
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
    portal->unit = s->unit;
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
        return answer_empty(s, '2', NULL);
    portal->on_server = true;
    return pass(s, f, (struct pending){ .kind = PENDING_BIND });
}

static enum session_result on_bind(struct session *s, const struct frame *f)
{
    struct message_bind bind;
    if (!message_read_bind(frame_body(f), &bind))
        return client_bad(s, "malformed Bind message");
    struct prepared *p = s->names.prepared ? names_find(&s->names, bind.statement) : NULL;
    if (names_are_many(&s->names) && bind.portal.size > 0)
        return refuse_names(s);
    if (!client_switch_read_only(s))
        return client_hold(s);
    client_doubt_read_only(s); /* what it says may have been parsed long ago */
    if (p && !needs_prelude(s, p->statement.kind))
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

static enum session_result describe_here(struct session *s, const struct prepared *p, char kind, uint16_t format)
{
    const struct statement *st = &p->statement;
    struct buffer made = { 0 };
    if (kind == 'S')
        describe_parameters(p, &made);
    if (st->kind == STATEMENT_SHOW_REQUEST || st->as_row)
        describe_row(s, st, format, &made);
    else
        message_add_empty(&made, 'n');
    return answer(s, &made);
}

/* A Sync has come since it was bound: whether it lives on depends on how that is answered. */
static bool is_in_doubt(const struct session *s, const struct portal *portal)
{
    return portal->unit < s->unit && !client_is_settled(s);
}

static enum session_result on_describe(struct session *s, const struct frame *f)
{
    struct message_named describe;
    if (!message_read_named(frame_body(f), &describe))
        return client_bad(s, "malformed Describe message");
    if (describe.kind == 'S') {
        const struct prepared *p = names_find(&s->names, describe.name);
        if (p && !p->on_server)
            return describe_here(s, p, 'S', 0);
    } else {
        const struct portal *portal = names_portal(&s->names, describe.name);
        if (portal && is_in_doubt(s, portal))
            return client_hold(s);
        if (portal && !portal->on_server)
            return describe_here(s, portal->prepared, 'P', portal->result_format);
        drop_stale_portal(s, describe.name);
    }
    if (s->expiry != EXPIRY_NONE)
        return expired(s);
    return pass(s, f, (struct pending){ .kind = PENDING_DESCRIBE });
}

/* A statement that is only watched, or that is answered in its place in the pipeline, need not wait. */
static bool may_execute_now(const struct session *s, const struct plan *plan, enum statement_kind kind)
{
    if (client_is_settled(s))
        return true;
    bool notifies = kind == STATEMENT_NOTIFY || kind == STATEMENT_PG_NOTIFY;
    if (notifies && s->unit_clean && s->server_status != 'E' && !s->controls)
        return true;
    return client_only_watches(s, plan);
}

static void note_extended_begin(struct session *s, const struct statement *st)
{
    if (state_is_virtual(&s->front) || st->kind != STATEMENT_BEGIN || s->server_status != 'I' || s->unit_ran)
        return;
    s->tx_used = false;
    s->tx_modes = st->modes;
}

/* No row is left, but in a failed transaction not even that may be said. */
static enum session_result execute_done_row(struct session *s)
{
    if (!client_is_settled(s))
        return client_hold(s);
    if (session_is_failed(s))
        return client_fail_extended(s, "25P02",
                                    "current transaction is aborted, commands ignored until end of transaction block");
    struct buffer made = { 0 };
    message_add_command_complete(&made, span_of("SELECT 0"));
    return answer(s, &made);
}

/* Whether something has run, since the last Sync or COMMIT, that a ROLLBACK outside a transaction would undo on plain PostgreSQL. */
static void note_run(struct session *s, enum statement_kind kind)
{
    switch (kind) {
    case STATEMENT_BEGIN:
    case STATEMENT_SHOW_REQUEST:
        break;
    case STATEMENT_COMMIT:
    case STATEMENT_ROLLBACK:
    case STATEMENT_MARK_REQUEST:
    case STATEMENT_MARK_OUTCOME:
        s->unit_ran = false;
        break;
    default:
        s->unit_ran = true;
        break;
    }
}

/* What comes behind it has to wait for whether it has to be undone. */
static bool has_undo(const struct plan *plan)
{
    for (size_t i = 0; i < plan->step_count; i++)
        if (plan->steps[i].undo != UNDO_NONE)
            return true;
    return false;
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
    if (portal->done && st->as_row)
        return execute_done_row(s);
    if (st->kind == STATEMENT_EXECUTE && client_resolve_execute(s, st, &resolved)) {
        st = &resolved;
        portal_read_literals(s, portal, st);
    }
    struct arguments arguments;
    portal_arguments(portal, &arguments);
    struct plan *plan = session_plan(s);
    struct decision d;
    decide_init(&d, s, plan, false);
    d.max_rows = execute->max_rows;
    if (portal->done)
        decide_second_run(&d, portal);
    else
        decide_statement(&d, st, (struct span){ 0 }, &arguments);
    if (!may_execute_now(s, plan, st->kind)) {
        session_plan_done(s, plan);
        return client_hold(s);
    }
    bool mark = st->kind == STATEMENT_MARK_REQUEST || st->kind == STATEMENT_MARK_OUTCOME;
    if (!client_speaks_to_us(st->kind))
        client_note_statement(s);
    note_extended_begin(s, st);
    note_run(s, st->kind);
    portal->done = st->as_row || is_local(plan); /* a second Execute finds no row left, or fails */
    if (state_is_virtual(&s->front) || mark || has_undo(plan))
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
    return client_taken(s, REST_DROP);
}

static enum session_result on_execute(struct session *s, const struct frame *f)
{
    struct message_execute execute;
    if (!message_read_execute(frame_body(f), &execute))
        return client_bad(s, "malformed Execute message");
    struct portal *portal = s->names.portals ? names_portal(&s->names, execute.portal) : NULL;
    if (portal && is_in_doubt(s, portal))
        return client_hold(s);
    if (portal)
        return execute_special(s, f, portal, &execute);
    if (s->expiry != EXPIRY_NONE)
        return expired(s);
    drop_stale_portal(s, execute.portal);
    client_note_statement(s);
    s->unit_ran = true;
    return pass(s, f, (struct pending){ .kind = PENDING_EXECUTE });
}

static enum session_result on_close(struct session *s, const struct frame *f)
{
    struct message_named close;
    if (!message_read_named(frame_body(f), &close))
        return client_bad(s, "malformed Close message");
    struct pending entry = { .kind = PENDING_CLOSE };
    if (close.kind == 'S') {
        struct prepared *p = names_find(&s->names, close.name);
        struct prepared *closed = names_close(&s->names, close.name, s->unit);
        if (p && !p->on_server)
            return answer_empty(s, '3', p);
        if (closed) {
            closed->references++;
            entry.prepared = closed;
        }
    } else {
        const struct portal *portal = names_portal(&s->names, close.name);
        bool here = portal && !portal->on_server;
        names_unbind(&s->names, close.name);
        names_drop_cursor(&s->names, close.name);
        if (here)
            return answer_empty(s, '3', NULL);
    }
    return pass(s, f, entry);
}

static void close_portals_of_unit(struct session *s)
{
    bool answered = !s->server_skips;
    s->server_skips = false;
    if (!state_is_virtual(&s->front) || s->front.client != CLIENT_NONE)
        return;
    s->unnamed_portal_stale = true;
    for (struct cursor *c = s->names.cursors, *next; c; c = next) {
        next = c->next;
        if (!c->at_sync)
            continue;
        if ((s->front.wrapper || s->front.outer) && answered)
            send_close_portal(s, span_of(c->name));
        names_drop_cursor(&s->names, span_of(c->name));
    }
}

enum session_result client_on_sync(struct session *s, const struct frame *f)
{
    if (s->copy_in) /* COPY reads past it; and so do we, for it may have failed, of which we do not know yet */
        return client_taken(s, REST_DROP);
    bool local = s->unsynced_sent == 0 && s->pending.count == 0;
    if (s->unsynced == 0 && client_must_wait(s)) /* a unit of its own, if an empty one */
        return client_hold(s);
    if (s->cancelling || s->finishing || (local && s->rollback_owed))
        return SESSION_HOLD;
    s->skipping = s->failure_owed = s->unit_ran = false;
    s->unsynced = 0;
    doubt_ask_ahead_of_sync(s);
    close_portals_of_unit(s);
    if (local && s->pending.count == 0) {
        server_end_local_unit(s);
        return client_taken(s, REST_DROP);
    }
    send_sync(s, f->bytes, false);
    return client_taken(s, REST_FORWARD);
}

/* A ROLLBACK in the middle of the pipeline has undone them, and what follows counts on them (R16). */
static void repeat_settings(struct session *s)
{
    struct plan *plan = session_plan(s);
    struct decision d;
    decide_init(&d, s, plan, false);
    decide_settings(&d);
    send_prelude_plan(s, plan, false);
}

enum session_result client_on_extended(struct session *s, const struct frame *f)
{
    if (s->failure_owed) {
        s->failure_owed = false;
        return client_fail_extended(s, "25P02",
                                    "current transaction is aborted, commands ignored until end of transaction block");
    }
    if (client_must_wait(s))
        return client_hold(s);
    client_begin_unit(s);
    if (session_misses_settings(s) && client_is_settled(s))
        repeat_settings(s);
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
