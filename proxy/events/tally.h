/* What became of released events, counted per sink and per channel block.
 *
 * A tally is made when its name is first asked for and lives as long as the process, so that it counts on over reloads. There are only as
 * many as configs have named. Any thread may count, and read. */
#ifndef PROXY_EVENTS_TALLY_H
#define PROXY_EVENTS_TALLY_H

#include <stdatomic.h>
#include <stdint.h>

struct tally {
    struct tally *next;    /* never changes */
    char *name;            /* of a sink, or the pattern of a channel block */
    _Atomic uint64_t held; /* captured; of channels, as the next */
    _Atomic uint64_t discarded;
    _Atomic uint64_t released; /* came here to be delivered; a row that is read back comes anew */
    _Atomic uint64_t delivered;
    _Atomic uint64_t retried; /* tries that failed and were not the last */
    _Atomic uint64_t dead;
    _Atomic uint64_t dropped;     /* durable events whose copy in memory was given up (E13) */
    _Atomic uint64_t latency_us;  /* sum over those delivered, from release to confirmation */
    _Atomic uint64_t held_events; /* at the moment: released and not settled */
    _Atomic uint64_t held_bytes;  /* the memory that they take */
};

struct tally *tally_sink(const char *name);
struct tally *tally_channel(const char *pattern);

/* All of them, through `next`; NULL: there are none. */
const struct tally *tally_sinks(void);
const struct tally *tally_channels(void);

static inline void tally_add(_Atomic uint64_t *count, uint64_t by)
{
    atomic_fetch_add_explicit(count, by, memory_order_relaxed);
}

static inline void tally_take(_Atomic uint64_t *count, uint64_t by)
{
    atomic_fetch_sub_explicit(count, by, memory_order_relaxed);
}

static inline uint64_t tally_read(const _Atomic uint64_t *count)
{
    return atomic_load_explicit(count, memory_order_relaxed);
}

#endif
