/* Between libpq's binary formats and what the rest of pgatomic works with. */
#include "proxy/events/outbox_rows.h"

#include <stdio.h>
#include <string.h>

#include "protocol/encoding.h"
#include "protocol/wire.h"
#include "proxy/clock.h"
#include "proxy/ops/log.h"

enum { REASON_MAX = 1000 };

/* --- parameters -------------------------------------------------------------------------------------- */

static void add_id(struct pq_values *v, const struct row *row)
{
    pq_values_add_element(v, span_make((const char *)row->id, EVENT_ID_SIZE));
}

void rows_add_ids(struct pq_values *v, const struct row_list *list)
{
    const struct row *row;
    pq_values_begin_array(v, PQ_UUID);
    TAILQ_FOREACH(row, list, link)
    add_id(v, row);
}

static void add_attempts(struct pq_values *v, const struct row *row)
{
    pq_values_add_int_element(v, row->attempts < INT32_MAX ? (int32_t)row->attempts : INT32_MAX);
}

/* A sink's words come from anywhere, and must not be what the statement fails for, in whatever encoding the database is: only ASCII. */
static void add_reason(struct pq_values *v, const struct row *row)
{
    char words[REASON_MAX];
    size_t size = 0;
    for (const char *c = row->reason; *c != '\0' && size < sizeof words; c++)
        words[size++] = (unsigned char)*c < 0x80 ? *c : '?';
    pq_values_add_element(v, span_make(words, size));
}

void rows_add_words(struct pq_values *v, const struct row_list *list)
{
    const struct row *row;
    pq_values_begin_array(v, PQ_INT4);
    TAILQ_FOREACH(row, list, link)
    add_attempts(v, row);
    pq_values_begin_array(v, PQ_TEXT);
    TAILQ_FOREACH(row, list, link)
    add_reason(v, row);
}

void rows_add_closed_lanes(struct pq_values *v, const struct ledger *l)
{
    const struct channel_lane *lane;
    pq_values_begin_array(v, PQ_TEXT);
    TAILQ_FOREACH(lane, &l->lanes, link)
    if (lane_is_closed(lane))
        pq_values_add_element(v, span_of(lane->channel));
}

void rows_take_notes(struct pq_values *v, struct ledger *l, unsigned count, uint64_t now_ms)
{
    struct row_list taken = TAILQ_HEAD_INITIALIZER(taken);
    struct row *row;
    for (; count > 0 && (row = TAILQ_FIRST(&l->notes)) != NULL; count--) {
        TAILQ_REMOVE(&l->notes, row, note_link);
        row->has_note = false;
        TAILQ_REMOVE(&l->rows[ROW_IN_HAND], row, link);
        TAILQ_INSERT_TAIL(&taken, row, link);
        row->leased_ms = now_ms;
    }
    rows_add_ids(v, &taken);
    rows_add_words(v, &taken);
    TAILQ_CONCAT(&l->rows[ROW_IN_HAND], &taken, link);
}

void rows_take_leases(struct pq_values *v, struct ledger *l, unsigned count, uint64_t before_ms, uint64_t now_ms)
{
    pq_values_begin_array(v, PQ_UUID);
    struct row *row;
    for (; count > 0 && (row = TAILQ_FIRST(&l->rows[ROW_IN_HAND])) != NULL && row->leased_ms < before_ms; count--) {
        add_id(v, row);
        ledger_renew(l, row, now_ms);
    }
}

/* --- events ------------------------------------------------------------------------------------------ */

/* As in outbox_sql_claim. */
enum { ID, CHANNEL, PAYLOAD, SIZE, ROUTE, LABEL, REQUEST, ATTEMPTS, CREATED, ENCODING };

static struct span field(const PGresult *result, int row, int column)
{
    return span_make(PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column));
}

static uint64_t number(const PGresult *result, int row, int column)
{
    const char *bytes = PQgetvalue(result, row, column);
    return (uint64_t)wire_get_u32(bytes) << 32 | wire_get_u32(bytes + 4);
}

/* That of the texts. Where the database does not say what its bytes are, they have to be UTF-8 themselves. */
static const struct encoding *encoding(const PGresult *result)
{
    const struct encoding *e = encoding_find(field(result, 0, ENCODING));
    return e == encoding_find(span_of("SQL_ASCII")) ? encoding_utf8() : e;
}

/* With a NUL behind it. False: it is not text; then only what of it is ASCII can be read. */
static bool read_text(const PGresult *result, int row, int column, struct buffer *text)
{
    struct span bytes = field(result, row, column);
    buffer_clear(text);
    bool good = encoding_to_utf8(encoding(result), bytes, text);
    for (size_t i = 0; i < bytes.size && !good; i++)
        buffer_append_u8(text, (unsigned char)bytes.data[i] < 0x80 ? (uint8_t)bytes.data[i] : '?');
    buffer_append_u8(text, '\0');
    return good;
}

static struct span text_span(const struct buffer *text)
{
    return span_make(text->data, text->size - 1);
}

/* Rows of other programs may have none: then it is the nil UUID. */
static const unsigned char *request_id(const PGresult *result, int row)
{
    static const unsigned char none[EVENT_ID_SIZE];
    struct span id = field(result, row, REQUEST);
    return id.size == EVENT_ID_SIZE ? (const unsigned char *)id.data : none;
}

struct reading {
    const struct rows_claim *claim;
    struct buffer channel, payload, route, label; /* of one row */
    bool is_text;                                 /* the first two are */
};

/* The request that the row tells of: that of the row before it, if it is the same. */
static struct request *find_request(struct reading *r, const PGresult *result, int row, struct request *before)
{
    const struct rows_claim *claim = r->claim;
    const unsigned char *id = request_id(result, row);
    read_text(result, row, ROUTE, &r->route);
    read_text(result, row, LABEL, &r->label);
    struct request_names names = { .route = r->route.data, .label = r->label.data, .database = claim->database };
    if (before != NULL && memcmp(before->id, id, EVENT_ID_SIZE) == 0 && strcmp(before->route, names.route) == 0 &&
        strcmp(before->label, names.label) == 0)
        return before;
    if (before != NULL)
        request_release(before);
    return request_new(id, &names, claim->config, 0);
}

static struct notification *read_event(struct reading *r, const PGresult *result, int row, struct request *request)
{
    bool has_name = read_text(result, row, CHANNEL, &r->channel);
    r->is_text = read_text(result, row, PAYLOAD, &r->payload) && has_name;
    struct span name = text_span(&r->channel);
    const struct channel *channel = config_channel(r->claim->config, name.data, name.size);
    struct notification *e = notification_new((const unsigned char *)PQgetvalue(result, row, ID), request, channel,
                                              name, text_span(&r->payload));
    e->durable = true;
    e->held_us = clock_from_wall_us(number(result, row, CREATED));
    e->attempts = wire_get_u32(PQgetvalue(result, row, ATTEMPTS));
    return e;
}

/* NULL when it can be delivered. */
static const char *obstacle(const struct reading *r, const struct notification *e, const PGresult *result, int row)
{
    if (!r->is_text)
        return "it is not valid text in the encoding of its database";
    if (e->channel->sinks[0] == NULL)
        return "no channel block of the config names a sink for it";
    if (PQgetisnull(result, row, PAYLOAD))
        return number(result, row, SIZE) > r->claim->config->limits.event ? "its payload is larger than limits.event"
                                                                          : "its channel has too long a name";
    return NULL;
}

static void append_or_bury(const struct reading *r, const PGresult *result, int row, struct notification *e,
                           struct notification ***last)
{
    const struct rows_claim *claim = r->claim;
    struct row *known = ledger_add(claim->ledger, e->id, e->name, claim->now_ms);
    const char *why = obstacle(r, e, result, row);
    if (why == NULL) {
        **last = e;
        *last = &e->next;
        return;
    }
    log_event_dead(e, "", e->attempts, why, 0, 0);
    ledger_end(claim->ledger, known, ROW_DEAD, e->attempts, why);
    notification_free(e);
}

struct notification *rows_read_claim(const struct rows_claim *claim, const PGresult *result)
{
    struct notification *first = NULL, **last = &first;
    struct request *request = NULL;
    struct reading reading = { .claim = claim };
    for (int i = 0; i < PQntuples(result); i++) {
        struct row *known = ledger_find(claim->ledger, (const unsigned char *)PQgetvalue(result, i, ID));
        if (known != NULL) {
            ledger_renew(claim->ledger, known, claim->now_ms);
            continue;
        }
        request = find_request(&reading, result, i, request);
        append_or_bury(&reading, result, i, read_event(&reading, result, i, request), &last);
    }
    buffer_free(&reading.channel);
    buffer_free(&reading.payload);
    buffer_free(&reading.route);
    buffer_free(&reading.label);
    if (request != NULL)
        request_release(request);
    return first;
}
