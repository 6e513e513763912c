#include <criterion/criterion.h>
#include <stdlib.h>

#include "proxy/pool/pool_part.h"

enum { SERVERS = 50, HOUR_MS = 60 * 60 * 1000, SECOND_US = 1000 * 1000 };

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

Test(lifetime, servers_of_one_burst_go_one_by_one)
{
    static const uint32_t firsts[] = { 1, 1000, 32700, 4194000, UINT32_MAX - SERVERS };
    for (size_t row = 0; row < sizeof firsts / sizeof *firsts; row++) {
        uint64_t lifetimes[SERVERS];
        for (uint32_t i = 0; i < SERVERS; i++)
            lifetimes[i] = pool_lifetime_us(HOUR_MS, firsts[row] + i);
        qsort(lifetimes, SERVERS, sizeof *lifetimes, compare);
        for (size_t i = 1; i < SERVERS; i++)
            cr_expect_geq(lifetimes[i] - lifetimes[i - 1], SECOND_US, "process ids from %u on", firsts[row]);
    }
}

Test(lifetime, no_server_gets_older_than_was_said_or_goes_more_than_a_tenth_sooner)
{
    static const uint64_t lifetimes_ms[] = { 0, 1, 300, HOUR_MS, 365ULL * 24 * HOUR_MS };
    for (size_t row = 0; row < sizeof lifetimes_ms / sizeof *lifetimes_ms; row++)
        for (uint32_t process_id = 0; process_id < 100000; process_id += 7) {
            uint64_t lifetime_us = pool_lifetime_us(lifetimes_ms[row], process_id), most_us = lifetimes_ms[row] * 1000;
            cr_assert(lifetime_us <= most_us && lifetime_us >= most_us - most_us / 10);
        }
}
