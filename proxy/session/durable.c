/* Events that have to outlive this process: rows of pgatomic.outbox, in the transaction that they belong to (E8).
 *
 * What the transaction has captured is written ahead of its COMMIT, in the same write: then the rows are committed with it, or not at
 * all, and if they cannot be written there is no COMMIT. Where nobody sends a COMMIT, for a statement that is its own transaction, or
 * where that is not known for sure, the row is written where the notification stands.
 *
 * The rows are literals in the text of an INSERT, because that can stand in a string of several statements as well as in a pipeline. Nothing
 * in it depends on the client's settings: every name is qualified, and text that is not ASCII travels as bytes, since what
 * client_encoding will be when the server reads it is not known here. */
#include "proxy/session/decision.h"

#define INSERT \
    "INSERT INTO pgatomic.outbox (id, channel, payload, route, label, request, position, leased_until) VALUES "

enum { STATEMENT_SIZE = 1 << 20 /* a statement that has grown past it is followed by another */ };

bool durable_is(const struct decision *d, const struct channel *channel)
{
    return channel->delivery == DELIVERY_OUTBOX && d->st.mode != MODE_SANDBOX;
}

/* --- where -------------------------------------------------------------------------------------- */

/* A step that has been sent and is not answered, after which the transaction is over; or one that captures an event whose row has to be
 * written ahead of that. */
static bool any_step_out(const struct session *s, bool (*is_such)(const struct step *step))
{
    struct pending_queue q = s->pending;
    for (size_t i = 0; i < q.count; i++) {
        const struct plan *plan = pending_at(&q, i)->plan;
        for (size_t j = plan ? plan->at : 0; plan && j < plan->step_count; j++)
            if (is_such(&plan->steps[j]))
                return true;
    }
    return false;
}

static bool ends_own_transaction(const struct step *step)
{
    return step->effect == EFFECT_PLAIN_COMMIT || step->effect == EFFECT_PLAIN_ROLLBACK;
}

static bool owes_a_row(const struct step *step)
{
    return step->effect == EFFECT_HOLD && step->id.size > 0 && !step->written;
}

bool durable_must_wait(const struct session *s, const struct plan *plan)
{
    if (s->events_in_flight == 0)
        return false;
    for (size_t i = 0; i < plan->step_count; i++)
        if (plan->steps[i].effect == EFFECT_PLAIN_COMMIT)
            return any_step_out(s, owes_a_row);
    return false;
}

bool durable_needs_row_now(const struct decision *d)
{
    if (state_is_virtual(&d->st))
        return false;
    if (d->begun)
        return false;
    if (d->s->unit_failed) /* of the transaction only the failed unit's ReadyForQuery will tell: a COMMIT that fails has ended it */
        return true;
    return d->s->server_status != 'T' || d->plain_ended || any_step_out(d->s, ends_own_transaction);
}

/* A look back over the steps so far, the newest first, for an event like the one that is decided. */
struct search {
    struct span name, payload;
    bool found, over;
};

static void look_back(struct search *search, const struct plan *plan, size_t first)
{
    for (size_t i = plan->step_count; i > first && !search->over; i--) {
        const struct step *step = &plan->steps[i - 1];
        search->found = step->effect == EFFECT_HOLD && span_equal(plan_span(plan, step->name), search->name) &&
                        span_equal(plan_span(plan, step->payload), search->payload);
        search->over = search->found || (step->effect != EFFECT_HOLD && step->effect != EFFECT_NONE);
    }
}

/* Only where nothing stands between the two that ends the transaction, or goes back in it. For an event that counts on another, and is
 * released without it, has no row. */
bool durable_is_folded(const struct decision *d, const struct channel *channel, const struct arguments *arguments)
{
    if (channel->duplicates != DUPLICATES_FOLD)
        return false;
    struct search search = { .name = arguments->first, .payload = arguments->second };
    struct pending_queue q = d->s->pending;
    look_back(&search, d->plan, 0);
    for (size_t i = q.count; i > 0 && !search.over; i--) {
        const struct pending *entry = pending_at(&q, i - 1);
        if (entry->kind == PENDING_SYNC || entry->kind == PENDING_QUERY)
            return false;
        if (entry->plan)
            look_back(&search, entry->plan, entry->plan->at);
    }
    return search.found || (!search.over && txn_holds(&d->s->txn, search.name, search.payload));
}

/* --- the text ------------------------------------------------------------------------------------ */

static bool is_ascii(struct span text)
{
    for (size_t i = 0; i < text.size; i++)
        if ((unsigned char)text.data[i] >= 0x80)
            return false;
    return true;
}

static void append_quoted(struct buffer *sql, struct span text)
{
    bool backslash = text.size > 0 && memchr(text.data, '\\', text.size);
    buffer_append_text(sql, backslash ? "E'" : "'");
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (c == '\'' || c == '\\')
            buffer_append_u8(sql, (uint8_t)c);
        buffer_append_u8(sql, (uint8_t)c);
    }
    buffer_append_u8(sql, '\'');
}

static void append_hex(struct buffer *sql, struct span bytes)
{
    static const char digits[] = "0123456789abcdef";
    char *to = buffer_reserve(sql, 2 * bytes.size);
    for (size_t i = 0; i < bytes.size; i++) {
        *to++ = digits[(unsigned char)bytes.data[i] >> 4];
        *to++ = digits[(unsigned char)bytes.data[i] & 15];
    }
    sql->size += 2 * bytes.size;
}

/* `text` is UTF-8. */
static void append_text(struct buffer *sql, struct span text)
{
    if (is_ascii(text)) {
        append_quoted(sql, text);
        return;
    }
    buffer_append_text(sql, "pg_catalog.convert_from(pg_catalog.decode('");
    append_hex(sql, text);
    buffer_append_text(sql, "','hex'),'UTF8')");
}

static void append_name(struct buffer *sql, const char *name)
{
    struct buffer checked = { 0 };
    if (name && name[0] != '\0' && encoding_to_utf8(encoding_utf8(), span_of(name), &checked))
        append_text(sql, buffer_span(&checked));
    else
        buffer_append_text(sql, "NULL");
    buffer_free(&checked);
}

static void append_id(struct buffer *sql, const unsigned char id[EVENT_ID_SIZE])
{
    buffer_append_u8(sql, '\'');
    append_hex(sql, span_make((const char *)id, EVENT_ID_SIZE));
    buffer_append_u8(sql, '\'');
}

/* What the rows of one decision have in common. */
static void append_origin(struct decision *d, struct buffer *sql)
{
    const struct request *request = d->moved ? NULL : request_ensure(d->s); /* behind a mark it has no id yet */
    append_name(sql, d->st.route ? d->st.route->name : NULL);
    buffer_append_text(sql, ", ");
    append_name(sql, request ? request->label : NULL);
    buffer_append_text(sql, ", ");
    if (request)
        append_id(sql, request->id);
    else
        buffer_append_text(sql, "NULL");
}

struct row {
    const unsigned char *id;
    struct span channel, payload;
    size_t position;
};

static void append_row(struct decision *d, struct buffer *sql, const struct row *row)
{
    const struct outbox *outbox = config_outbox(d->s->config, d->s->who->database);
    buffer_append_u8(sql, '(');
    append_id(sql, row->id);
    buffer_append_text(sql, ", ");
    append_text(sql, row->channel);
    buffer_append_text(sql, ", ");
    append_text(sql, row->payload);
    buffer_append_text(sql, ", ");
    append_origin(d, sql);
    buffer_format(sql,
                  ", %zu, pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) "
                  "'%llu milliseconds'::pg_catalog.interval)",
                  row->position, (unsigned long long)(outbox ? outbox->lease_ms : 0));
}

static struct step *write_statement(struct decision *d, struct buffer *sql, const unsigned char *first,
                                    enum effect effect)
{
    buffer_append_u8(sql, '\0');
    struct step *step = decision_ours(d, sql->data, effect);
    step->row = plan_keep(d->plan, span_make((const char *)first, EVENT_ID_SIZE));
    buffer_free(sql);
    return step;
}

/* --- one row ------------------------------------------------------------------------------------- */

struct step *durable_write_one(struct decision *d, const struct step *hold, enum effect effect)
{
    unsigned char id[EVENT_ID_SIZE];
    struct buffer sql = { 0 };
    size_t position = decision_captured(d);
    memcpy(id, plan_span(d->plan, hold->id).data, sizeof id);
    struct row row = { id, plan_span(d->plan, hold->name), plan_span(d->plan, hold->payload), position };
    buffer_append_text(&sql, INSERT);
    append_row(d, &sql, &row);
    return write_statement(d, &sql, id, effect);
}

/* --- all of them ---------------------------------------------------------------------------------- */

static bool is_owed(const struct channel *channel, bool written)
{
    return channel->delivery == DELIVERY_OUTBOX && !written;
}

bool durable_is_held(const struct session *s)
{
    for (size_t i = 0; i < s->txn.event_count; i++)
        if (is_owed(s->txn.events[i]->channel, s->txn.events[i]->durable))
            return true;
    return false;
}

bool durable_is_owed(const struct decision *d)
{
    if (durable_is_held(d->s))
        return true;
    for (size_t i = 0; d->held > 0 && i < d->plan->step_count; i++)
        if (d->plan->steps[i].effect == EFFECT_HOLD && is_owed(d->plan->steps[i].channel, d->plan->steps[i].written))
            return true;
    return false;
}

static void copy_event(struct decision *d, struct txn *to, const struct notification *e)
{
    struct notification *copy = notification_new(e->id, request_ensure(d->s), e->channel, span_of(e->name),
                                                 span_make(e->payload, e->payload_size));
    copy->durable = e->durable;
    txn_hold(to, copy);
}

static void copy_confirmed(struct decision *d, struct txn *to)
{
    const struct txn *from = &d->s->txn;
    size_t mark = 0;
    for (size_t i = 0; i <= from->event_count; i++) {
        for (; mark < from->mark_count && from->marks[mark].events == i; mark++)
            txn_savepoint(to, span_of(from->marks[mark].name));
        if (i < from->event_count)
            copy_event(d, to, from->events[i]);
    }
}

static void replay_hold(struct decision *d, struct txn *t, const struct step *step)
{
    struct span name = plan_span(d->plan, step->name), payload = plan_span(d->plan, step->payload);
    if (step->id.size == 0 || request_folds(t, d->plan, step))
        return;
    const unsigned char *id = (const unsigned char *)plan_span(d->plan, step->id).data;
    struct notification *e = notification_new(id, request_ensure(d->s), step->channel, name, payload);
    e->durable = step->written;
    txn_hold(t, e);
}

static void replay_rollback_to(struct txn *t, struct span name)
{
    struct notification *cut = NULL;
    txn_rollback_to(t, name, &cut);
    notification_list_free(cut);
}

static void replay_step(struct decision *d, struct txn *t, const struct step *step)
{
    struct span name = plan_span(d->plan, step->name), client = span_of(SAVEPOINT_CLIENT);
    switch (step->effect) {
    case EFFECT_HOLD:
        replay_hold(d, t, step);
        break;
    case EFFECT_CLIENT_BEGIN:
        txn_savepoint(t, client);
        break;
    case EFFECT_CLIENT_ROLLBACK:
        replay_rollback_to(t, client);
        txn_release(t, client);
        break;
    case EFFECT_CLIENT_COMMIT:
        txn_release(t, client);
        break;
    case EFFECT_SAVEPOINT:
        txn_savepoint(t, name);
        break;
    case EFFECT_RELEASE:
        txn_release(t, name);
        break;
    case EFFECT_ROLLBACK_TO:
        replay_rollback_to(t, name);
        break;
    case EFFECT_REQUEST_COMMIT:
    case EFFECT_REQUEST_ROLLBACK:
    case EFFECT_PLAIN_COMMIT:
    case EFFECT_PLAIN_ROLLBACK:
        notification_list_free(txn_take(t));
        break;
    default:
        break;
    }
}

/* The transaction as it will be when the steps so far have succeeded. */
static void foresee(struct decision *d, struct txn *t)
{
    copy_confirmed(d, t);
    for (size_t i = 0; i < d->plan->step_count; i++)
        replay_step(d, t, &d->plan->steps[i]);
}

static void end_statement(struct decision *d, struct buffer *sql, const unsigned char *first, enum undo undo)
{
    struct step *step = write_statement(d, sql, first, EFFECT_NONE);
    step->swallow = true;
    step->undo = undo;
}

void durable_write_all(struct decision *d, enum undo undo)
{
    if (!durable_is_owed(d))
        return;
    struct txn t = { 0 };
    struct buffer sql = { 0 };
    const unsigned char *first = NULL;
    foresee(d, &t);
    for (size_t i = 0; i < t.event_count; i++) {
        const struct notification *e = t.events[i];
        if (!is_owed(e->channel, e->durable))
            continue;
        first = sql.size == 0 ? e->id : first;
        buffer_append_text(&sql, sql.size == 0 ? INSERT : ", ");
        append_row(d, &sql, &(struct row){ e->id, span_of(e->name), span_make(e->payload, e->payload_size), i });
        if (sql.size > STATEMENT_SIZE)
            end_statement(d, &sql, first, undo);
    }
    if (sql.size > 0)
        end_statement(d, &sql, first, undo);
    txn_free(&t);
}

void durable_all_written(struct session *s)
{
    for (size_t i = 0; i < s->txn.event_count; i++)
        s->txn.events[i]->durable |= s->txn.events[i]->channel->delivery == DELIVERY_OUTBOX;
}
