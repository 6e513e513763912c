/* The rows of one outbox that this process has, and what it still has to write about each.
 *
 *     (none) --arrived, claimed--> IN_HAND --delivered--> DELIVERED ---+
 *                                     |-----dead--------> DEAD --------+--written--> (none)
 *                                     +-----dropped-----> DROPPED -----+
 *
 * A row stays known until its end is written, so that one whose DELETE could not be done yet is not delivered a second time. Each
 * channel has a lane, which counts what is in hand of it: what moves slowly must not fill the memory nor keep others waiting. */
#ifndef PROXY_EVENTS_OUTBOX_LEDGER_H
#define PROXY_EVENTS_OUTBOX_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "proxy/events/event.h"

enum row_state { ROW_IN_HAND, ROW_DELIVERED, ROW_DEAD, ROW_DROPPED, ROW_STATES };

struct channel_lane {
    TAILQ_ENTRY(channel_lane) link; /* in `lanes` */
    size_t in_hand;
    bool crowded;  /* nothing more of it is claimed until half of what is in hand is gone */
    bool full;     /* nothing more of it is claimed until the next poll, for a sink had no room */
    bool spilling; /* what arrives stays in the table, behind what is there already */
    bool claiming; /* it was open when the claim that is under way was made */
    char channel[];
};

struct row {
    unsigned char id[EVENT_ID_SIZE]; /* first, for the table compares ids */
    enum row_state state;
    bool has_note;
    struct channel_lane *lane; /* while in hand */
    uint64_t leased_ms;
    unsigned attempts; /* of the note, or of a death */
    char *reason;      /* likewise; owned, may be NULL */
    TAILQ_ENTRY(row) link;
    TAILQ_ENTRY(row) note_link;
};

TAILQ_HEAD(row_list, row);
TAILQ_HEAD(lane_list, channel_lane);

struct ledger {
    void *table;                      /* of all rows, by id: a tree of search.h */
    void *lane_table;                 /* of all lanes, by channel */
    struct row_list rows[ROW_STATES]; /* those in hand in the order of their leases */
    struct row_list notes;            /* rows in hand with something to write down */
    struct lane_list lanes;
    size_t in_hand, full_lanes;
    bool claim_wanted; /* a lane has spilled that could be claimed from, once its rows are let go */
    size_t lane_limit; /* a lane with so many in hand is crowded; with SPILL_LIMITS times as many it spills */
};

enum { SPILL_LIMITS = 8 };

void ledger_init(struct ledger *l, size_t lane_limit);
void ledger_free(struct ledger *l);

struct row *ledger_find(const struct ledger *l, const unsigned char id[EVENT_ID_SIZE]);
/* One that is not known, in hand from now on; its lease begins at `now_ms`. */
struct row *ledger_add(struct ledger *l, const unsigned char id[EVENT_ID_SIZE], const char *channel, uint64_t now_ms);
/* Its lease begins again. */
void ledger_renew(struct ledger *l, struct row *r, uint64_t now_ms);
/* Something to be written about a row that stays in hand. */
void ledger_note(struct ledger *l, struct row *r, unsigned attempts, const char *reason);
/* One that is not known and should be, but its lane has too much in hand, or left something in the table before: it is DROPPED, and true.
 * So what waits for a sink that is down costs neither memory nor leases that have to be renewed. */
bool ledger_spill(struct ledger *l, const unsigned char id[EVENT_ID_SIZE], const char *channel, uint64_t now_ms);
/* A row in hand comes to its end. True: its lane was crowded, and has room again. */
bool ledger_end(struct ledger *l, struct row *r, enum row_state end, unsigned attempts, const char *reason);
/* Its end is written. It stands in none of the ledger's lists. */
void ledger_forget(struct ledger *l, struct row *r);

/* A claim is about to be made; and it has found all there was. */
void ledger_claim_begins(struct ledger *l);
void ledger_claim_was_last(struct ledger *l);
/* No more rows of its channel for now. Lanes that stay closed are few: those that are crowded, and those that became full since the last
 * ledger_open_lanes(). */
void ledger_close_lane(struct ledger *l, struct channel_lane *lane);
void ledger_open_lanes(struct ledger *l);
static inline bool lane_is_closed(const struct channel_lane *lane)
{
    return lane->crowded || lane->full;
}

/* Nothing is left to be written. */
bool ledger_is_settled(const struct ledger *l);

#endif
