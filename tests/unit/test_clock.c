#include "proxy/clock.h"

#include <criterion/criterion.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The wall clock is put by this much, for all of the program. */
static int64_t put_by_us;

int clock_gettime(clockid_t id, struct timespec *now)
{
    long result = syscall(SYS_clock_gettime, id, now);
    if (id == CLOCK_REALTIME) {
        int64_t us = (int64_t)now->tv_sec * 1000000 + now->tv_nsec / 1000 + put_by_us;
        now->tv_sec = us / 1000000;
        now->tv_nsec = us % 1000000 * 1000;
    }
    return (int)result;
}

static const int64_t hour_us = INT64_C(3600) * 1000000;

static bool is_soon_after(uint64_t later_us, uint64_t earlier_us)
{
    return later_us >= earlier_us && later_us - earlier_us < (uint64_t)hour_us / 2;
}

Test(clock, P3_no_deadline_moves_when_somebody_puts_the_wall_clock)
{
    uint64_t before_us = clock_now_us();
    cr_expect(is_soon_after(before_us, (uint64_t)time(NULL) * 1000000));
    put_by_us = -hour_us;
    cr_expect(is_soon_after(clock_now_us(), before_us));
    put_by_us = hour_us;
    cr_expect(is_soon_after(clock_now_us(), before_us));
}

Test(clock, P9_what_is_shown_and_what_is_valid_follows_the_wall_clock)
{
    static const int64_t steps_us[] = { 0, -1, 1, 24, -24 * 365 };
    uint64_t now_us = clock_now_us();
    for (size_t i = 0; i < sizeof steps_us / sizeof steps_us[0]; i++) {
        put_by_us = steps_us[i] * hour_us;
        uint64_t wall_us = clock_to_wall_us(now_us);
        cr_expect(is_soon_after(wall_us + 1000000, now_us + (uint64_t)put_by_us), "step %zu", i);
        cr_expect_eq(clock_from_wall_us(wall_us), now_us);
    }
}

Test(clock, E6_the_times_of_a_story_do_not_jitter)
{
    uint64_t now_us = clock_now_us();
    for (put_by_us = -4000; put_by_us <= 4000; put_by_us += 100)
        cr_expect_eq(clock_to_wall_us(now_us), now_us);
}
