/* The rules of requests, one function a rule where that is possible.
 *
 * Three points in time are enough to go back to: where the client's transaction began, where PostgreSQL's implicit transaction
 * would have begun (a string or pipeline, or what follows a COMMIT within it), and where the unit of R9 began. The request's own beginning is the
 * store's. */
#include "tests/simulation/oracle.h"

#include <stdio.h>
#include <stdlib.h>

static struct oracle *oracle_of(const struct backend *b)
{
    return b->rules_state;
}

static bool is_atomic(const struct backend *b)
{
    return oracle_of(b)->route && oracle_of(b)->route->mode == MODE_ATOMIC;
}

/* --- points to go back to ------------------------------------------------------------------------ */

static struct mark_point point_here(const struct backend *b)
{
    const struct store *s = &b->store;
    return (struct mark_point){ { .rows = s->rows.count,
                                  .notes = s->notes.count,
                                  .events = s->events.count,
                                  .settings = s->settings.count,
                                  .listens = s->listens.count,
                                  .read_only = s->read_only,
                                  .immediate = s->immediate },
                                s->level_count };
}

static void go_back(struct backend *b, const struct mark_point *p)
{
    struct store *s = &b->store;
    backend_undo_portals(b, (int)p->level_count);
    s->rows.count = p->levels.rows;
    s->notes.count = p->levels.notes;
    s->events.count = p->levels.events;
    s->settings.count = p->levels.settings;
    s->listens.count = p->levels.listens;
    s->read_only = p->levels.read_only;
    s->immediate = p->levels.immediate;
    s->level_count = p->level_count;
}

static void start(struct backend *b);

/* --- a request's life ---------------------------------------------------------------------------- */

static void open_store(struct backend *b)
{
    struct oracle *o = oracle_of(b);
    if (b->store.level_count > 0)
        return;
    store_begin(&b->store);
    if (o->route && o->route->isolation != ISOLATION_DEFAULT)
        b->store.isolation = (enum isolation)o->route->isolation;
    b->store.read_only = o->route && o->route->access == ACCESS_READ_ONLY;
    o->unit_open = false;
}

static void open_unit(struct backend *b)
{
    struct oracle *o = oracle_of(b);
    if (o->unit_open)
        return;
    o->unit = o->implicit = point_here(b);
    o->unit_open = true;
    o->unit_inside = o->in_client;
    o->unit_savepoints = o->unit_used = o->ran = false;
}

/* R1: what cannot do without a transaction opens the wrapper, and with it an unmarked request. */
static void need_transaction(struct backend *b)
{
    struct oracle *o = oracle_of(b);
    o->wrapper = true;
    if (o->request == REQUEST_NONE)
        o->request = REQUEST_UNMARKED;
    if (o->in_client)
        o->used = true;
    else
        o->unit_used = true;
}

static void forget_request(struct backend *b)
{
    struct oracle *o = oracle_of(b);
    o->request = REQUEST_NONE;
    o->wrapper = o->failed = o->failed_inside = o->hushed = o->used = false;
    o->in_client = o->ran = false;
    o->expired = NULL;
    o->label[0] = '\0';
    o->route = o->connection;
    o->block.state = BLOCK_NONE;
}

/* The request is over: all of it, or nothing of it, is kept. False: COMMIT failed. */
static bool end_request(struct backend *b, bool commit, struct fault *f)
{
    struct oracle *o = oracle_of(b);
    bool ok = true;
    if (commit && b->store.level_count > 0)
        ok = block_commit(b, true, f);
    else if (b->store.level_count > 0)
        store_abort(&b->store);
    backend_drop_portals(b);
    forget_request(b);
    o->unit_open = false;
    start(b);
    return ok;
}

/* R5 */
static bool keeps_unmarked(const struct oracle *o)
{
    return o->request == REQUEST_UNMARKED && o->route->end == END_COMMIT && !o->failed;
}

/* R2, R4, R5: whatever is open ends because something else begins. */
static bool end_open_request(struct backend *b, struct fault *f)
{
    return end_request(b, keeps_unmarked(oracle_of(b)), f);
}

/* --- marks --------------------------------------------------------------------------------------- */

/* SET and set_config() of ours; *name gets what stands behind "pgatomic.". */
static bool is_mark(const struct command *c, const char **name, const char **value)
{
    bool config = c->kind == COMMAND_SET_CONFIG;
    if (c->kind != COMMAND_SET && !config)
        return false;
    const char *whole = config ? c->args[0].text : c->name;
    if (strncmp(whole, "pgatomic.", 9) != 0 || c->local)
        return false;
    *name = whole + 9;
    *value = c->args[config].text;
    return true;
}

static bool speaks_to_proxy(const struct command *c)
{
    const char *name, *value;
    return is_mark(c, &name, &value) || (c->kind == COMMAND_SHOW && strcmp(c->name, "pgatomic.request") == 0);
}

/* A client's transaction, under whatever rules, and whether anything has run in it. */
static bool client_is_open(const struct backend *b)
{
    enum block_state state = oracle_of(b)->block.state;
    return is_atomic(b) ? oracle_of(b)->in_client : state == BLOCK_OPEN || state == BLOCK_FAILED;
}

static bool client_is_used(const struct backend *b)
{
    return client_is_open(b) ? oracle_of(b)->used : !is_atomic(b) && oracle_of(b)->ran;
}

/* A BEGIN that has run nothing does not end with the request around it: it goes on under the rules that come next (R2). */
static void carry_client(struct backend *b, bool open, enum isolation isolation, bool read_only)
{
    struct oracle *o = oracle_of(b);
    o->in_client = open && is_atomic(b);
    o->block.state = is_atomic(b) ? BLOCK_NONE : open ? BLOCK_OPEN : BLOCK_SINGLE;
    o->used = o->ran = false;
    o->client = point_here(b);
    if (open) {
        b->store.isolation = isolation;
        b->store.read_only = read_only;
    }
}

static bool mark_request(struct backend *b, const char *label, struct fault *f)
{
    struct oracle *o = oracle_of(b);
    if (client_is_used(b))
        return fault_set(f, "25001", "%s", "");
    bool open = client_is_open(b), read_only = b->store.read_only;
    enum isolation isolation = b->store.isolation;
    if (!end_open_request(b, f))
        return false;
    o->request = REQUEST_MARKED;
    snprintf(o->label, sizeof o->label, "%s", label);
    struct request_attributes a = o->attributes;
    a.label = o->label;
    o->route = config_route(o->config, &a);
    carry_client(b, open, isolation, read_only);
    return true;
}

static bool mark_outcome(struct backend *b, bool commit, struct fault *f)
{
    struct oracle *o = oracle_of(b);
    bool failed = o->failed || o->block.state == BLOCK_FAILED, used = client_is_used(b),
         open = client_is_open(b) && !used, read_only = b->store.read_only;
    enum isolation isolation = b->store.isolation;
    char reason[BACKEND_MESSAGE_MAX];
    if (o->request != REQUEST_MARKED)
        return !commit || fault_set(f, "25P01", "%s", "");
    snprintf(reason, sizeof reason, "%s", is_atomic(b) ? o->reason : "");
    bool ok = end_request(b, commit && !failed && !used, f);
    carry_client(b, open, isolation, read_only);
    if (!commit || !ok || (!failed && !used))
        return ok;
    if (!failed)
        return fault_set(f, "25001", "%s", "");
    fault_set(f, "25P02", "request was rolled back: an earlier statement failed");
    snprintf(f->detail, sizeof f->detail, "%s", reason);
    return false;
}

static enum before before_mark(struct backend *b, const char *name, const char *value, struct fault *f)
{
    bool ok =
        strcmp(name, "request") == 0 ? mark_request(b, value, f) : mark_outcome(b, strcmp(value, "commit") == 0, f);
    return ok ? BEFORE_ANSWERED : BEFORE_FAULT;
}

/* --- transaction control (R7, R8) ---------------------------------------------------------------- */

static bool modes_inside(struct backend *b, const struct command *c, struct fault *f)
{
    struct store *s = &b->store;
    if (c->isolation > s->isolation) {
        if (s->has_snapshot || oracle_of(b)->wrapper)
            return fault_set(f, "25001", "%s", "");
        s->isolation = c->isolation;
    }
    if (c->access != ACCESS_UNSAID)
        s->read_only = c->access == READ_ONLY;
    return true;
}

static bool do_begin(struct backend *b, const struct command *c, struct fault *f)
{
    struct oracle *o = oracle_of(b);
    if (o->in_client) {
        backend_warn(b, "25001", "there is already a transaction in progress");
        return modes_inside(b, c, f);
    }
    if (o->route->nested == NESTED_REFUSE) {
        need_transaction(b);
        return fault_set(f, "25001", "a durable transaction cannot be nested in an atomic request");
    }
    o->in_client = true;
    o->used = false;
    o->join = o->route->nested == NESTED_JOIN;
    /* in a string it adopts what ran before it; a pipeline's messages are gone when it comes, so there it is R7 to the letter */
    o->client = b->query.running ? o->implicit : point_here(b);
    if (!b->query.running && !o->unit_used)
        o->unit_inside = true; /* the unit has nothing before it to undo */
    return modes_inside(b, c, f);
}

/* The client's transaction is over, and with it what could be gone back to inside. */
static void leave_client(struct backend *b)
{
    struct oracle *o = oracle_of(b);
    b->store.read_only = o->client.levels.read_only;
    if (b->store.level_count > o->client.level_count)
        b->store.level_count = o->client.level_count;
    o->in_client = o->failed_inside = o->ran = false;
    backend_drop_portals(b);
    o->implicit = point_here(b);
    if (o->unit_inside)
        o->unit = o->implicit;
    o->unit_inside = false;
}

static void rejoin_client(struct backend *b, bool chain, bool read_only)
{
    struct oracle *o = oracle_of(b);
    if (!chain)
        return;
    o->in_client = true;
    o->used = false;
    o->client = point_here(b);
    b->store.read_only = read_only;
}

/* Undoes the client's transaction; joined ones cannot be undone alone, and fail the request instead. */
static void undo_client(struct backend *b)
{
    struct oracle *o = oracle_of(b);
    if (o->join && !o->used && !o->failed) {
        o->in_client = false; /* nothing to undo */
    } else if (o->join) {
        need_transaction(b);
        if (!o->failed)
            o->reason[0] = '\0';
        o->failed = o->hushed = true;
    } else {
        go_back(b, &o->client);
        o->failed = false;
    }
    leave_client(b);
}

/* COMMIT or ROLLBACK where the request has failed outside of a client's transaction. */
static void hush(struct backend *b)
{
    struct oracle *o = oracle_of(b);
    struct fault ignored = { 0 };
    if (o->request == REQUEST_MARKED)
        o->hushed = true;
    else
        end_request(b, false, &ignored);
}

static bool do_end(struct backend *b, const struct command *c, const char **tag, struct fault *f)
{
    struct oracle *o = oracle_of(b);
    bool rolls_back = c->kind == COMMAND_ROLLBACK || o->failed, read_only = b->store.read_only;
    const char *name = c->kind == COMMAND_COMMIT ? "COMMIT" : "ROLLBACK";
    *tag = rolls_back ? "ROLLBACK" : "COMMIT";
    if (o->in_client) {
        if (rolls_back)
            undo_client(b);
        else
            leave_client(b);
        rejoin_client(b, c->chain && !o->failed, read_only);
        return true;
    }
    if (o->failed) {
        hush(b);
        return true;
    }
    if (c->chain) {
        if (o->request == REQUEST_MARKED)
            need_transaction(b); /* a failed statement is final, be it the first (R3) */
        return fault_set(f, "25P01", "%s AND CHAIN can only be used in transaction blocks", name);
    }
    if (c->kind == COMMAND_ROLLBACK && !b->query.running && o->ran) {
        need_transaction(b);
        return fault_set(f, "0A000", "%s", "");
    }
    backend_warn(b, "25P01", "there is no transaction in progress");
    if (c->kind == COMMAND_ROLLBACK)
        go_back(b, &o->implicit);
    o->implicit = point_here(b);
    o->ran = false;
    *tag = name;
    return true;
}

static bool do_savepoint(struct backend *b, const struct command *c, struct fault *f)
{
    struct oracle *o = oracle_of(b);
    need_transaction(b);
    o->unit_savepoints = o->ran = true;
    if (c->kind == COMMAND_SAVEPOINT) {
        store_push(&b->store, LEVEL_SAVEPOINT, c->name);
        return true;
    }
    int level = store_find(&b->store, LEVEL_SAVEPOINT, c->name);
    if (level < 0 || (o->in_client && (unsigned)level < o->client.level_count))
        return fault_set(f, "3B001", "savepoint \"%s\" does not exist", c->name);
    if (c->kind == COMMAND_RELEASE) {
        backend_release_portals(b, level);
        store_release(&b->store, level);
        return true;
    }
    backend_undo_portals(b, level);
    store_undo(&b->store, level, true);
    o->failed = o->failed_inside = o->hushed = false;
    return true;
}

static bool control(struct backend *b, const struct command *c, bool top_level, const char **tag, struct fault *f)
{
    if (!is_atomic(b)) {
        enum block_state state = oracle_of(b)->block.state;
        bool inside = state == BLOCK_OPEN || state == BLOCK_FAILED;
        oracle_of(b)->used = inside && c->kind != COMMAND_COMMIT && c->kind != COMMAND_ROLLBACK;
        return block_rules.control(b, c, top_level, tag, f);
    }
    switch (c->kind) {
    case COMMAND_BEGIN:
        *tag = c->start ? "START TRANSACTION" : "BEGIN";
        return do_begin(b, c, f);
    case COMMAND_COMMIT:
    case COMMAND_ROLLBACK:
        return do_end(b, c, tag, f);
    case COMMAND_SAVEPOINT:
    case COMMAND_RELEASE:
    case COMMAND_ROLLBACK_TO:
        *tag = c->kind == COMMAND_SAVEPOINT ? "SAVEPOINT" : c->kind == COMMAND_RELEASE ? "RELEASE" : "ROLLBACK";
        return do_savepoint(b, c, f);
    default:
        need_transaction(b);
        return fault_set(f, "0A000", "%s", "");
    }
}

/* --- other commands ------------------------------------------------------------------------------ */

/* R1: those that need no transaction. */
static bool is_session_command(const struct command *c)
{
    switch (c->kind) {
    case COMMAND_SET:
        return !c->local;
    case COMMAND_RESET:
    case COMMAND_RESET_ALL:
    case COMMAND_SHOW:
    case COMMAND_DISCARD_ALL:
    case COMMAND_LISTEN:
    case COMMAND_UNLISTEN:
    case COMMAND_PREPARE:
    case COMMAND_DEALLOCATE:
        return true;
    default:
        return false;
    }
}

static bool is_reset(const struct backend *b, const struct command *c)
{
    return !oracle_of(b)->in_client && (c->kind == COMMAND_DISCARD_ALL || c->kind == COMMAND_RESET_ALL);
}

/* E1, E2, E7: true when the proxy answers and the server never sees it. */
static bool capture(struct backend *b, const struct command *c)
{
    if (c->kind != COMMAND_NOTIFY && c->kind != COMMAND_PG_NOTIFY)
        return false;
    bool function = c->kind == COMMAND_PG_NOTIFY;
    const char *channel = function ? c->args[0].text : c->name;
    if (channel[0] == '\0')
        return false;
    store_notify(&b->store, &b->store.events, channel, c->args[function].text);
    return !config_channel(oracle_of(b)->config, channel, strlen(channel))->forward;
}

static void read_by_proxy(struct backend *b, const struct command *c)
{
    if (is_atomic(b) && !sql_is_control(c) && !speaks_to_proxy(c) &&
        (oracle_of(b)->in_client || !is_session_command(c)))
        need_transaction(b);
}

/* R11: outside a client's transaction there is only reading. */
static bool is_write_outside(const struct backend *b, const struct command *c)
{
    const struct oracle *o = oracle_of(b);
    bool outside = o->block.state == BLOCK_SINGLE || o->block.state == BLOCK_IMPLICIT;
    return o->route && o->route->mode == MODE_REQUIRED && outside &&
           (c->kind == COMMAND_INSERT || c->kind == COMMAND_COPY_IN);
}

static enum before before_atomic(struct backend *b, const struct command *c, bool top_level, struct fault *f)
{
    struct oracle *o = oracle_of(b);
    if (c->kind == COMMAND_DISCARD_ALL && (o->in_client || !top_level)) {
        need_transaction(b);
        fault_set(f, "25001", "DISCARD ALL cannot run inside a transaction block");
        return BEFORE_FAULT;
    }
    if (is_reset(b, c) && !end_open_request(b, f))
        return BEFORE_FAULT;
    if (c->kind == COMMAND_VACUUM) {
        fault_set(f, "25001", "VACUUM cannot run inside a transaction block");
        f->hint = !o->in_client;
        return BEFORE_FAULT;
    }
    if (c->kind == COMMAND_SET_TRANSACTION)
        return modes_inside(b, c, f) ? BEFORE_GO_ON : BEFORE_FAULT;
    if (capture(b, c))
        return BEFORE_ANSWERED;
    return block_before_work(b, c, f);
}

static enum before before(struct backend *b, const struct command *c, bool top_level, struct fault *f)
{
    const char *name, *value;
    if (is_mark(c, &name, &value))
        return before_mark(b, name, value, f);
    if (is_atomic(b)) {
        read_by_proxy(b, c);
        oracle_of(b)->ran = true;
        b->store.inside = oracle_of(b)->in_client || c->kind == COMMAND_SET_CONFIG; /* R16 speaks of SET */
        return before_atomic(b, c, top_level, f);
    }
    if (speaks_to_proxy(c))
        return BEFORE_GO_ON;
    oracle_of(b)->used = oracle_of(b)->ran = true;
    if (is_write_outside(b, c)) {
        fault_set(f, "25P01", "%s", "");
        return BEFORE_FAULT;
    }
    bool had_snapshot = b->store.has_snapshot;
    enum before result = block_rules.before(b, c, top_level, f);
    if (result != BEFORE_GO_ON || !capture(b, c))
        return result;
    b->store.has_snapshot = had_snapshot; /* the server never saw it */
    return BEFORE_ANSWERED;
}

static bool refuses(struct backend *b, const struct command *c, struct fault *f)
{
    struct oracle *o = oracle_of(b);
    if (speaks_to_proxy(c) || (is_atomic(b) && is_reset(b, c)))
        return false;
    if (!is_atomic(b))
        return block_rules.refuses(b, c, f);
    if (!o->failed)
        return false;
    if (o->expired && !(sql_is_exit(c) && c->kind != COMMAND_ROLLBACK_TO)) {
        fault_set(f, o->expired, "%s", "");
        return true;
    }
    if (sql_is_exit(c))
        return false;
    fault_set(f, "25P02", "current transaction is aborted, commands ignored until end of transaction block");
    return true;
}

/* --- the ends ------------------------------------------------------------------------------------ */

static void start(struct backend *b)
{
    if (!is_atomic(b)) {
        oracle_of(b)->ran &= oracle_of(b)->block.state != BLOCK_NONE;
        block_rules.start(b);
        return;
    }
    open_store(b);
    open_unit(b);
}

static void begin_implicit(struct backend *b)
{
    if (!is_atomic(b))
        block_rules.begin_implicit(b);
}

static void end_implicit(struct backend *b)
{
    if (!is_atomic(b))
        block_rules.end_implicit(b);
}

/* R14, R16: at the end of what would be an implicit transaction its portals go, and its settings are there to stay. */
static bool finish(struct backend *b, struct fault *f)
{
    struct oracle *o = oracle_of(b);
    if (!is_atomic(b))
        return block_rules.finish(b, f);
    if (o->in_client || b->store.level_count == 0)
        return true;
    if (!o->wrapper)
        return block_commit(b, false, f);
    return true;
}

static void settings_survive(struct backend *b)
{
    for (size_t i = 0; i < b->store.settings.count; i++) {
        struct setting_change *c = log_at(&b->store.settings, i);
        c->survives = !c->inside;
    }
}

static void ready(struct backend *b)
{
    struct oracle *o = oracle_of(b);
    o->unit_open = false;
    if (!is_atomic(b) || o->in_client)
        return;
    backend_drop_portals(b);
    if (!o->failed)
        settings_survive(b);
}

static void failed(struct backend *b, const struct fault *f)
{
    struct oracle *o = oracle_of(b);
    if (!is_atomic(b)) {
        o->used = true;
        block_rules.failed(b, f);
        return;
    }
    if (!o->wrapper && !o->in_client) {
        if (b->store.level_count > 0)
            store_abort(&b->store);
        return;
    }
    if (!o->failed && !o->in_client && o->route->on_error == ON_ERROR_ROLLBACK_STATEMENT && !o->unit_savepoints) {
        go_back(b, &o->unit);
        return;
    }
    if (!o->failed && f)
        snprintf(o->reason, sizeof o->reason, "%s", f->message);
    o->failed_inside = o->in_client;
    o->failed = true;
    o->hushed = false;
}

static char status(const struct backend *b)
{
    const struct oracle *o = oracle_of(b);
    if (!is_atomic(b))
        return block_rules.status(b);
    if (o->failed && !o->hushed)
        return 'E';
    return o->in_client ? 'T' : 'I';
}

static const char *setting(const struct backend *b, const char *name)
{
    return strcmp(name, "pgatomic.request") == 0 ? oracle_of(b)->label : store_setting(&b->store, name);
}

/* R5: a client's open transaction is undone to before its BEGIN. Messages without their Sync, or a COPY without its end, cannot be undone
 * alone: for them the whole request goes. */
static void terminate(struct backend *b)
{
    struct oracle *o = oracle_of(b);
    struct fault ignored = { 0 };
    if (!is_atomic(b)) {
        block_rules.terminate(b);
        return;
    }
    if (b->wait == WAIT_COPY && !b->paused) { /* the COPY of a Query fails, and the Query with it */
        failed(b, NULL);
        o->unit_open = false;
    }
    bool undone = o->in_client && !o->join;
    bool keep = o->request == REQUEST_UNMARKED && o->route->end == END_COMMIT && !o->unit_open &&
                (!o->failed || undone) && (!o->in_client || undone || !o->used);
    if (undone)
        go_back(b, &o->client);
    end_request(b, keep, &ignored);
    store_abort(&b->store);
}

const struct transaction_rules oracle_rules = {
    .start = start,
    .begin_implicit = begin_implicit,
    .end_implicit = end_implicit,
    .read = read_by_proxy,
    .refuses = refuses,
    .control = control,
    .before = before,
    .finish = finish,
    .failed = failed,
    .ready = ready,
    .status = status,
    .setting = setting,
    .terminate = terminate,
};

struct backend *oracle_new(struct committed *db, struct config *config, const struct request_attributes *attributes)
{
    struct oracle *o = calloc(1, sizeof *o);
    if (!o)
        abort();
    o->config = config;
    o->attributes = *attributes;
    o->connection = o->route = config_route(config, attributes);
    return backend_new(db, &oracle_rules, o);
}

void oracle_free(struct backend *b)
{
    free(b->rules_state);
    backend_free(b);
}

void oracle_expire(struct backend *b, const char *sqlstate)
{
    struct oracle *o = oracle_of(b);
    o->failed = true;
    o->expired = sqlstate;
}

bool oracle_is_request_open(const struct backend *b)
{
    return oracle_of(b)->request != REQUEST_NONE;
}
