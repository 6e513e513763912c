/* What databases have been asked lately, by the second: the averages of SHOW STATS.
 *
 * They are over the last one or two minutes, or since the start when that is nearer: twice in that time all counts are written down, and an
 * average is what has come since the older of the two. */
#ifndef PROXY_OPS_AVERAGES_H
#define PROXY_OPS_AVERAGES_H

#include "proxy/ops/counts.h"

struct loop;

struct database_rates {
    uint64_t transactions, queries, received, sent; /* a second */
    uint64_t transaction_us, query_us;              /* of one of them */
    uint64_t wait_us;                               /* a second: of all clients together */
};

/* Writes counts down from now on, on `l`, the first worker's loop, or does so no longer. For its thread. */
void averages_keep(struct loop *l, bool on);
/* Writes these down, as is done by itself once a minute: those that were written down last are the older ones from now on. */
void averages_write_down(const struct counts *c, uint64_t now_us);
/* `now`: what is counted at `now_us`. From any thread. */
void averages_read(const struct database_counts *now, uint64_t now_us, struct database_rates *out);

#endif
