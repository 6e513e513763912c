/* Rows of the ledger as parameters of a statement, and rows of an answer as events. */
#ifndef PROXY_EVENTS_OUTBOX_ROWS_H
#define PROXY_EVENTS_OUTBOX_ROWS_H

#include <libpq-fe.h>

#include "config/config.h"
#include "proxy/events/outbox_ledger.h"
#include "proxy/events/pq_values.h"

/* An array with the ids of the list. */
void rows_add_ids(struct pq_values *v, const struct row_list *list);
/* Two: how often they were tried, and why they failed. */
void rows_add_words(struct pq_values *v, const struct row_list *list);
/* An array with the names of the lanes that are closed. */
void rows_add_closed_lanes(struct pq_values *v, const struct ledger *l);

/* The same three arrays of `count` notes at most, which are then no longer to be written. Writing one renews the lease. */
void rows_take_notes(struct pq_values *v, struct ledger *l, unsigned count, uint64_t now_ms);
/* The ids of `count` rows at most whose leases began before `before_ms`, which begin again. */
void rows_take_leases(struct pq_values *v, struct ledger *l, unsigned count, uint64_t before_ms, uint64_t now_ms);

struct rows_claim {
    struct config *config;
    const char *database; /* as clients name it */
    struct ledger *ledger;
    uint64_t now_ms;
};

/* The answer to outbox_sql_claim as a list of events, all of them now in hand. Those that were in hand already are only renewed. Those that
 * cannot be delivered, for their channel has no sink or they are too large, are dead at once, and the log says so. */
struct notification *rows_read_claim(const struct rows_claim *claim, const PGresult *result);

#endif
