/* The system has a clock that nobody can put; it counts from an arbitrary moment. What it lacks to the wall clock is learnt once, and any
 * difference that shows later is a step of the wall clock. Two clocks cannot be read at the same moment, so tiny differences are nothing:
 * the times of a story in the log stay in their order. */
#include "proxy/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum { STEP_LEAST_US = 10 * 1000 };

static struct {
    pthread_once_t once;
    int64_t ahead_us;              /* of the steady clock, at the start */
    atomic_int_fast64_t put_by_us; /* since then */
} wall = { .once = PTHREAD_ONCE_INIT };

static int64_t read_clock(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void begin(void)
{
    wall.ahead_us = read_clock(CLOCK_REALTIME) - read_clock(CLOCK_MONOTONIC);
}

uint64_t clock_now_us(void)
{
    pthread_once(&wall.once, begin);
    return (uint64_t)(read_clock(CLOCK_MONOTONIC) + wall.ahead_us);
}

/* A thread that was held up between its looks has seen nothing. */
static int64_t put_by_us(void)
{
    int64_t before_us = (int64_t)clock_now_us(), wall_us = read_clock(CLOCK_REALTIME);
    int64_t after_us = (int64_t)clock_now_us(), known_us = atomic_load(&wall.put_by_us);
    int64_t seen_us = wall_us - before_us;
    if (after_us - before_us >= STEP_LEAST_US / 2 || llabs(seen_us - known_us) < STEP_LEAST_US)
        return known_us;
    atomic_store(&wall.put_by_us, seen_us);
    return seen_us;
}

uint64_t clock_to_wall_us(uint64_t now_us)
{
    return now_us + (uint64_t)put_by_us();
}

uint64_t clock_from_wall_us(uint64_t wall_us)
{
    return wall_us - (uint64_t)put_by_us();
}
