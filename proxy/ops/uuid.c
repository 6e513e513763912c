/* 48 bits of milliseconds, then 74 bits that are random in each new millisecond and climb by a random step within one:
 *
 *      0                   48  52          64 66                             128
 *     | milliseconds       | 7 | high (12) |2| low (62)                       |
 *
 * So ids of one thread are ordered, ids of different threads do not meet, and nobody can tell from an id how many were made. The
 * first of a millisecond leaves the top bit of `high` free, which is room to climb. */
#include "proxy/ops/uuid.h"

#include <assert.h>
#include <string.h>
#include <sys/random.h>

enum { HIGH_BITS = 12, RANDOM_BATCH = 256 /* the most that getrandom() gives in one piece, whatever happens */ };

#define LOW_LIMIT (UINT64_C(1) << 62)

struct generator {
    uint64_t ms, high, low; /* of the newest id */
    unsigned char random[RANDOM_BATCH];
    size_t random_left;
};

static _Thread_local struct generator generator;

static uint64_t random_bits(struct generator *g, unsigned bits)
{
    uint64_t value;

    if (g->random_left < sizeof value) {
        ssize_t got = getrandom(g->random, sizeof g->random, 0);
        assert(got == (ssize_t)sizeof g->random);
        g->random_left = sizeof g->random;
    }
    g->random_left -= sizeof value;
    memcpy(&value, g->random + g->random_left, sizeof value);
    return value >> (64 - bits);
}

static void start_millisecond(struct generator *g, uint64_t ms)
{
    g->ms = ms;
    g->high = random_bits(g, HIGH_BITS - 1);
    g->low = random_bits(g, 62);
}

static void climb(struct generator *g)
{
    g->low += 1 + random_bits(g, 32);
    if (g->low < LOW_LIMIT)
        return;
    g->low -= LOW_LIMIT;
    if (++g->high == 1 << HIGH_BITS)
        start_millisecond(g, g->ms + 1);
}

static void put_bytes(unsigned char *to, uint64_t value, unsigned bytes)
{
    while (bytes-- > 0) {
        to[bytes] = (unsigned char)value;
        value >>= 8;
    }
}

void uuid_make(unsigned char id[UUID_SIZE], uint64_t now_us)
{
    struct generator *g = &generator;

    if (now_us / 1000 > g->ms)
        start_millisecond(g, now_us / 1000);
    else
        climb(g);
    put_bytes(id, g->ms, 6);
    put_bytes(id + 6, UINT64_C(0x7000) | g->high, 2);
    put_bytes(id + 8, UINT64_C(2) << 62 | g->low, 8);
}

void uuid_format(const unsigned char id[UUID_SIZE], char text[UUID_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 0; i < UUID_SIZE; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *text++ = '-';
        *text++ = digits[id[i] >> 4];
        *text++ = digits[id[i] & 15];
    }
    *text = '\0';
}
