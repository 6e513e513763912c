/* Trees of the C library for look-up, since ids and channels are chosen by whoever may insert a row; lists for order. */
#include "proxy/events/outbox_ledger.h"

#include <search.h>
#include <string.h>

#include "protocol/memory.h"

static int compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, EVENT_ID_SIZE);
}

static int compare_lanes(const void *a, const void *b)
{
    return strcmp(((const struct channel_lane *)a)->channel, ((const struct channel_lane *)b)->channel);
}

void ledger_init(struct ledger *l, size_t lane_limit)
{
    *l = (struct ledger){ .lane_limit = lane_limit };
    for (int i = 0; i < ROW_STATES; i++)
        TAILQ_INIT(&l->rows[i]);
    TAILQ_INIT(&l->notes);
    TAILQ_INIT(&l->lanes);
}

static void row_free(void *row)
{
    free(((struct row *)row)->reason);
    free(row);
}

void ledger_free(struct ledger *l)
{
    tdestroy(l->table, row_free);
    tdestroy(l->lane_table, free);
}

/* --- lanes ------------------------------------------------------------------------------------- */

static struct channel_lane *find_lane(struct ledger *l, const char *channel)
{
    size_t size = strlen(channel) + 1;
    struct channel_lane *lane = or_abort(calloc(1, sizeof *lane + size));
    memcpy(lane->channel, channel, size);
    struct channel_lane *const *found = or_abort(tsearch(lane, &l->lane_table, compare_lanes));
    if (*found != lane) {
        free(lane);
        return *found;
    }
    TAILQ_INSERT_TAIL(&l->lanes, lane, link);
    return lane;
}

static void drop_idle_lane(struct ledger *l, struct channel_lane *lane)
{
    if (lane->in_hand > 0 || lane->full || lane->spilling)
        return;
    tdelete(lane, &l->lane_table, compare_lanes);
    TAILQ_REMOVE(&l->lanes, lane, link);
    free(lane);
}

void ledger_close_lane(struct ledger *l, struct channel_lane *lane)
{
    l->full_lanes += !lane->full;
    lane->full = true;
}

void ledger_open_lanes(struct ledger *l)
{
    for (struct channel_lane *lane = TAILQ_FIRST(&l->lanes), *next; lane != NULL && l->full_lanes > 0; lane = next) {
        next = TAILQ_NEXT(lane, link);
        l->full_lanes -= lane->full;
        lane->full = false;
        drop_idle_lane(l, lane);
    }
}

void ledger_claim_begins(struct ledger *l)
{
    struct channel_lane *lane;
    TAILQ_FOREACH(lane, &l->lanes, link)
    lane->claiming = !lane_is_closed(lane);
}

void ledger_claim_was_last(struct ledger *l)
{
    for (struct channel_lane *lane = TAILQ_FIRST(&l->lanes), *next; lane != NULL; lane = next) {
        next = TAILQ_NEXT(lane, link);
        if (!lane->claiming)
            continue;
        lane->spilling = false;
        drop_idle_lane(l, lane);
    }
}

/* --- rows -------------------------------------------------------------------------------------- */

struct row *ledger_find(const struct ledger *l, const unsigned char id[EVENT_ID_SIZE])
{
    struct row *const *found = tfind(id, &l->table, compare_ids);
    return found != NULL ? *found : NULL;
}

struct row *ledger_add(struct ledger *l, const unsigned char id[EVENT_ID_SIZE], const char *channel, uint64_t now_ms)
{
    struct row *r = or_abort(calloc(1, sizeof *r));
    memcpy(r->id, id, EVENT_ID_SIZE);
    r->leased_ms = now_ms;
    r->lane = find_lane(l, channel);
    r->lane->in_hand++;
    r->lane->crowded |= r->lane->in_hand >= l->lane_limit;
    l->in_hand++;
    (void)or_abort(tsearch(r, &l->table, compare_ids));
    TAILQ_INSERT_TAIL(&l->rows[ROW_IN_HAND], r, link);
    return r;
}

void ledger_renew(struct ledger *l, struct row *r, uint64_t now_ms)
{
    r->leased_ms = now_ms;
    if (r->state != ROW_IN_HAND)
        return;
    TAILQ_REMOVE(&l->rows[ROW_IN_HAND], r, link);
    TAILQ_INSERT_TAIL(&l->rows[ROW_IN_HAND], r, link);
}

static void set_words(struct row *r, unsigned attempts, const char *reason)
{
    free(r->reason);
    r->reason = memory_copy_text(reason);
    r->attempts = attempts;
}

void ledger_note(struct ledger *l, struct row *r, unsigned attempts, const char *reason)
{
    set_words(r, attempts, reason);
    if (!r->has_note)
        TAILQ_INSERT_TAIL(&l->notes, r, note_link);
    r->has_note = true;
}

static bool leave_lane(struct ledger *l, struct row *r)
{
    struct channel_lane *lane = r->lane;
    r->lane = NULL;
    l->in_hand--;
    lane->in_hand--;
    bool reopened = lane->crowded && lane->in_hand <= l->lane_limit / 2;
    if (reopened)
        lane->crowded = false;
    drop_idle_lane(l, lane);
    return reopened;
}

bool ledger_end(struct ledger *l, struct row *r, enum row_state end, unsigned attempts, const char *reason)
{
    if (r->has_note)
        TAILQ_REMOVE(&l->notes, r, note_link);
    r->has_note = false;
    if (end == ROW_DEAD)
        set_words(r, attempts, reason);
    TAILQ_REMOVE(&l->rows[ROW_IN_HAND], r, link);
    TAILQ_INSERT_TAIL(&l->rows[end], r, link);
    r->state = end;
    return leave_lane(l, r);
}

bool ledger_spill(struct ledger *l, const unsigned char id[EVENT_ID_SIZE], const char *channel, uint64_t now_ms)
{
    struct channel_lane *lane = find_lane(l, channel);
    lane->spilling |= lane->in_hand >= SPILL_LIMITS * l->lane_limit;
    if (!lane->spilling)
        return false; /* an idle lane is about to get its first row */
    lane->claiming = false;
    l->claim_wanted |= !lane_is_closed(lane);
    ledger_end(l, ledger_add(l, id, channel, now_ms), ROW_DROPPED, 0, NULL);
    return true;
}

void ledger_forget(struct ledger *l, struct row *r)
{
    tdelete(r, &l->table, compare_ids);
    row_free(r);
}

bool ledger_is_settled(const struct ledger *l)
{
    bool settled = TAILQ_EMPTY(&l->notes);
    for (int i = ROW_IN_HAND + 1; i < ROW_STATES; i++)
        settled = settled && TAILQ_EMPTY(&l->rows[i]);
    return settled;
}
