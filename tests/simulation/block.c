/* The state machine of a PostgreSQL transaction block, between the commands of a client.
 *
 *                start              BEGIN                finish
 *     NONE ─────────────▶ SINGLE ───────────▶ BEGINNING ────────▶ OPEN ──error──▶ FAILED
 *      ▲                    │ several             ▲                │ COMMIT          │ COMMIT, ROLLBACK
 *      │                    ▼                     │                ▼                 ▼
 *      │                 IMPLICIT ────BEGIN───────┘              ENDING        FAILED_ENDING
 *      └──────────────── finish, or error ───────────────────────┴─────────────────┘
 *
 * A command only says what is to become of the transaction; `finish` does it, behind the command or at Sync. That is why a BEGIN in
 * the middle of a string or pipeline adopts what ran before it, and why COMMIT can fail after its statement succeeded. */
#include "tests/simulation/block.h"

#include <stdio.h>
#include <stdlib.h>

static struct block *block_of(const struct backend *b)
{
    return b->rules_state;
}

static void start(struct backend *b)
{
    struct block *k = block_of(b);
    if (k->state != BLOCK_NONE)
        return;
    store_begin(&b->store);
    b->in_pipeline = false;
    k->isolation = READ_COMMITTED;
    k->read_only = b->store.read_only;
    k->state = BLOCK_SINGLE;
}

static void begin_implicit(struct backend *b)
{
    if (block_of(b)->state == BLOCK_SINGLE)
        block_of(b)->state = BLOCK_IMPLICIT;
}

static void end_implicit(struct backend *b)
{
    if (block_of(b)->state == BLOCK_IMPLICIT)
        block_of(b)->state = BLOCK_SINGLE;
}

static void read(struct backend *b, const struct command *c)
{
    (void)b;
    (void)c;
}

static bool refuses(struct backend *b, const struct command *c, struct fault *f)
{
    if (block_of(b)->state != BLOCK_FAILED || sql_is_exit(c))
        return false;
    fault_set(f, "25P02", "current transaction is aborted, commands ignored until end of transaction block");
    return true;
}

/* --- BEGIN, COMMIT, ROLLBACK --------------------------------------------------------------------- */

bool block_modes(struct backend *b, const struct command *c, bool nested, struct fault *f)
{
    struct store *s = &b->store;
    if (c->isolation != ISOLATION_UNSAID && c->isolation != s->isolation) {
        if (s->has_snapshot)
            return fault_set(f, "25001", "SET TRANSACTION ISOLATION LEVEL must be called before any query");
        if (nested)
            return fault_set(f, "25001", "SET TRANSACTION ISOLATION LEVEL must not be called in a subtransaction");
        s->isolation = c->isolation;
    }
    if (c->access == READ_WRITE && s->read_only) {
        if (nested)
            return fault_set(f, "25001", "cannot set transaction read-write mode inside a read-only transaction");
        if (s->has_snapshot)
            return fault_set(f, "25001", "transaction read-write mode must be set before any query");
    }
    if (c->access != ACCESS_UNSAID)
        s->read_only = c->access == READ_ONLY;
    return true;
}

static bool do_begin(struct backend *b, const struct command *c, struct fault *f)
{
    struct block *k = block_of(b);
    if (k->state == BLOCK_SINGLE || k->state == BLOCK_IMPLICIT)
        k->state = BLOCK_BEGINNING;
    else
        backend_warn(b, "25001", "there is already a transaction in progress");
    return block_modes(b, c, b->store.level_count > 1, f);
}

static bool do_commit(struct backend *b, const struct command *c, const char **tag, struct fault *f)
{
    struct block *k = block_of(b);
    k->chain = c->chain;
    if (k->state == BLOCK_FAILED) {
        k->state = BLOCK_FAILED_ENDING;
        *tag = "ROLLBACK";
        return true;
    }
    if (k->state == BLOCK_SINGLE || k->state == BLOCK_IMPLICIT) {
        if (c->chain)
            return fault_set(f, "25P01", "COMMIT AND CHAIN can only be used in transaction blocks");
        backend_warn(b, "25P01", "there is no transaction in progress");
    }
    k->state = BLOCK_ENDING;
    return true;
}

static bool do_rollback(struct backend *b, const struct command *c, struct fault *f)
{
    struct block *k = block_of(b);
    k->chain = c->chain;
    if (k->state == BLOCK_FAILED) {
        k->state = BLOCK_FAILED_ENDING;
        return true;
    }
    if (k->state == BLOCK_SINGLE || k->state == BLOCK_IMPLICIT) {
        if (c->chain)
            return fault_set(f, "25P01", "ROLLBACK AND CHAIN can only be used in transaction blocks");
        backend_warn(b, "25P01", "there is no transaction in progress");
    }
    k->state = BLOCK_ABANDONING;
    return true;
}

/* --- savepoints ---------------------------------------------------------------------------------- */

static bool do_savepoint(struct backend *b, const struct command *c, struct fault *f)
{
    struct block *k = block_of(b);
    static const char *const names[] = { [COMMAND_SAVEPOINT] = "SAVEPOINT",
                                         [COMMAND_RELEASE] = "RELEASE SAVEPOINT",
                                         [COMMAND_ROLLBACK_TO] = "ROLLBACK TO SAVEPOINT" };
    if (k->state == BLOCK_SINGLE || k->state == BLOCK_IMPLICIT)
        return fault_set(f, "25P01", "%s can only be used in transaction blocks", names[c->kind]);
    if (c->kind == COMMAND_SAVEPOINT) {
        store_push(&b->store, LEVEL_SAVEPOINT, c->name);
        return true;
    }
    int level = store_find(&b->store, LEVEL_SAVEPOINT, c->name);
    if (level < 0)
        return fault_set(f, "3B001", "savepoint \"%s\" does not exist", c->name);
    if (c->kind == COMMAND_RELEASE) {
        backend_release_portals(b, level);
        store_release(&b->store, level);
        return true;
    }
    backend_undo_portals(b, level);
    store_undo(&b->store, level, true);
    if (k->state == BLOCK_FAILED)
        k->state = BLOCK_OPEN;
    return true;
}

static bool control(struct backend *b, const struct command *c, bool top_level, const char **tag, struct fault *f)
{
    (void)top_level;
    switch (c->kind) {
    case COMMAND_BEGIN:
        *tag = c->start ? "START TRANSACTION" : "BEGIN";
        return do_begin(b, c, f);
    case COMMAND_COMMIT:
        *tag = "COMMIT";
        return do_commit(b, c, tag, f);
    case COMMAND_ROLLBACK:
        *tag = "ROLLBACK";
        return do_rollback(b, c, f);
    case COMMAND_SAVEPOINT:
        *tag = "SAVEPOINT";
        return do_savepoint(b, c, f);
    case COMMAND_RELEASE:
        *tag = "RELEASE";
        return do_savepoint(b, c, f);
    case COMMAND_ROLLBACK_TO:
        *tag = "ROLLBACK";
        return do_savepoint(b, c, f);
    default: /* PREPARE TRANSACTION, of which the server allows none */
        return fault_set(f, "55000", "prepared transactions are disabled");
    }
}

/* --- other commands ------------------------------------------------------------------------------ */

static bool takes_snapshot(const struct command *c)
{
    switch (c->kind) {
    case COMMAND_SET_TRANSACTION:
    case COMMAND_SET_CONSTRAINTS:
    case COMMAND_SET:
    case COMMAND_RESET:
    case COMMAND_RESET_ALL:
    case COMMAND_SHOW:
    case COMMAND_LISTEN:
    case COMMAND_UNLISTEN:
    case COMMAND_NOTIFY:
        return false;
    default:
        return true;
    }
}

enum before block_before_work(struct backend *b, const struct command *c, struct fault *f)
{
    if (b->store.read_only && (c->kind == COMMAND_INSERT || c->kind == COMMAND_OUTBOX || c->kind == COMMAND_COPY_IN)) {
        fault_set(f, "25006", "cannot execute %s in a read-only transaction",
                  c->kind == COMMAND_COPY_IN ? "COPY FROM" : "INSERT");
        return BEFORE_FAULT;
    }
    if (takes_snapshot(c))
        b->store.has_snapshot = true;
    return BEFORE_GO_ON;
}

static enum before before(struct backend *b, const struct command *c, bool top_level, struct fault *f)
{
    struct block *k = block_of(b);
    bool in_block = k->state != BLOCK_SINGLE;
    if (c->kind == COMMAND_VACUUM || c->kind == COMMAND_DISCARD_ALL) {
        const char *what = c->kind == COMMAND_VACUUM ? "VACUUM" : "DISCARD ALL";
        if (in_block)
            fault_set(f, "25001", "%s cannot run inside a transaction block", what);
        else if (b->in_pipeline)
            fault_set(f, "25001", "%s cannot be executed within a pipeline", what);
        else if (!top_level)
            fault_set(f, "25001", "%s cannot be executed from a function", what);
        if (f->sqlstate)
            return BEFORE_FAULT;
        k->immediate_commit = true;
    }
    if (c->kind == COMMAND_SET_TRANSACTION) {
        if (!in_block)
            backend_warn(b, "25P01", "SET TRANSACTION can only be used in transaction blocks");
        return block_modes(b, c, b->store.level_count > 1, f) ? BEFORE_GO_ON : BEFORE_FAULT;
    }
    if (!in_block && c->kind == COMMAND_SET_CONSTRAINTS)
        backend_warn(b, "25P01", "SET CONSTRAINTS can only be used in transaction blocks");
    if (!in_block && c->kind == COMMAND_SET && c->local)
        backend_warn(b, "25P01", "SET LOCAL can only be used in transaction blocks");
    return block_before_work(b, c, f);
}

/* --- the ends ------------------------------------------------------------------------------------ */

bool block_commit(struct backend *b, bool said, struct fault *f)
{
    int id;
    b->store.output = b->output.size;
    b->store.said = said;
    backend_drop_portals(b);
    if (store_check(&b->store, &id)) {
        store_commit(&b->store);
        return true;
    }
    store_abort(&b->store);
    fault_set(f, "23505", "duplicate key value violates unique constraint \"d_id_key\"");
    snprintf(f->detail, sizeof f->detail, "Key (id)=(%d) already exists.", id);
    return false;
}

static void abandon(struct backend *b)
{
    backend_drop_portals(b);
    store_abort(&b->store);
}

static bool finish(struct backend *b, struct fault *f)
{
    struct block *k = block_of(b);
    enum isolation isolation = b->store.isolation;
    bool read_only = b->store.read_only, ok = true;
    switch (k->state) {
    case BLOCK_NONE:
    case BLOCK_IMPLICIT:
    case BLOCK_OPEN:
    case BLOCK_FAILED:
        return true;
    case BLOCK_BEGINNING:
        k->state = BLOCK_OPEN;
        return true;
    case BLOCK_SINGLE:
    case BLOCK_ENDING:
        ok = block_commit(b, k->state == BLOCK_ENDING, f);
        k->state = BLOCK_NONE;
        break;
    case BLOCK_FAILED_ENDING:
    case BLOCK_ABANDONING:
        k->state = BLOCK_NONE;
        abandon(b);
        break;
    }
    if (ok && k->chain) {
        store_begin(&b->store);
        b->store.isolation = k->isolation = isolation;
        b->store.read_only = k->read_only = read_only;
        k->state = BLOCK_OPEN;
    }
    k->chain = false;
    return ok;
}

/* A failure takes settings back at once, and isolation and access are settings: AND CHAIN behind it finds those that the
 * transaction began with. */
static void forget_modes(struct backend *b)
{
    struct store *s = &b->store;
    s->settings.count = s->levels[s->level_count - 1].settings;
    const struct block *k = block_of(b);
    s->read_only = s->level_count > 1 ? s->levels[s->level_count - 1].read_only : k->read_only;
    if (s->level_count == 1)
        s->isolation = k->isolation;
}

static void failed(struct backend *b, const struct fault *f)
{
    struct block *k = block_of(b);
    (void)f;
    k->chain = false;
    if (k->state == BLOCK_OPEN || k->state == BLOCK_FAILED) {
        k->state = BLOCK_FAILED;
        forget_modes(b);
        return;
    }
    if (b->store.level_count > 0)
        abandon(b);
    k->state = BLOCK_NONE;
}

static void ready(struct backend *b)
{
    (void)b;
}

static char status(const struct backend *b)
{
    enum block_state state = block_of(b)->state;
    return state == BLOCK_OPEN ? 'T' : state == BLOCK_FAILED ? 'E' : 'I';
}

static const char *setting(const struct backend *b, const char *name)
{
    return store_setting(&b->store, name);
}

static void terminate(struct backend *b)
{
    failed(b, NULL);
}

const struct transaction_rules block_rules = {
    .start = start,
    .begin_implicit = begin_implicit,
    .end_implicit = end_implicit,
    .read = read,
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

struct backend *block_new(struct committed *db)
{
    struct block *k = calloc(1, sizeof *k);
    if (!k)
        abort();
    return backend_new(db, &block_rules, k);
}

void block_free(struct backend *b)
{
    free(b->rules_state);
    backend_free(b);
}
