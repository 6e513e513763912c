/* How long a server has worked: for SHOW STATS and the metrics.
 *
 * A watch that runs has the time of its start taken off, so that starting and stopping are one addition each, whose time is that of the
 * loop's turn. */
#ifndef PROXY_POOL_STOPWATCH_H
#define PROXY_POOL_STOPWATCH_H

#include "proxy/net/loop.h"
#include "proxy/session/session.h"

/* A zeroed one has seen nothing. µs, summed. */
struct stopwatch {
    uint64_t query_us;       /* replies were owed */
    uint64_t transaction_us; /* that, or a transaction was open */
    enum session_activity activity;
};

/* `on` now, `was` before. */
static inline uint64_t stopwatch_turn(uint64_t sum_us, bool was, bool on, uint64_t now_us)
{
    return sum_us + (was ? now_us : 0) - (on ? now_us : 0);
}

/* What the server does from now on. */
static inline void stopwatch_see(struct stopwatch *w, enum session_activity activity, struct loop *l)
{
    if (activity == w->activity)
        return;
    uint64_t now_us = loop_now_us(l);
    w->query_us = stopwatch_turn(w->query_us, w->activity == SESSION_RUNS, activity == SESSION_RUNS, now_us);
    w->transaction_us =
        stopwatch_turn(w->transaction_us, w->activity != SESSION_RESTS, activity != SESSION_RESTS, now_us);
    w->activity = activity;
}

/* As it stands at `now_us`, added. */
static inline void stopwatch_add(const struct stopwatch *w, uint64_t now_us, uint64_t *query_us,
                                 uint64_t *transaction_us)
{
    *query_us += stopwatch_turn(w->query_us, w->activity == SESSION_RUNS, false, now_us);
    *transaction_us += stopwatch_turn(w->transaction_us, w->activity != SESSION_RESTS, false, now_us);
}

#endif
