#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

#include "proxy/ops/uuid.h"

static const uint64_t some_time_us = UINT64_C(1763827445123456);

static uint64_t milliseconds_of(const unsigned char *id)
{
    uint64_t ms = 0;

    for (int i = 0; i < 6; i++)
        ms = ms << 8 | id[i];
    return ms;
}

Test(uuid, has_the_version_the_variant_and_the_milliseconds)
{
    unsigned char id[UUID_SIZE];

    for (uint64_t i = 0; i < 1000; i++) {
        uuid_make(id, some_time_us + i * 1000);
        cr_assert_eq(id[6] >> 4, 7);
        cr_assert_eq(id[8] >> 6, 2);
        cr_assert_eq(milliseconds_of(id), some_time_us / 1000 + i);
    }
}

Test(uuid, each_is_greater_than_the_one_before_within_a_millisecond)
{
    unsigned char before[UUID_SIZE], id[UUID_SIZE];

    uuid_make(before, some_time_us);
    for (int i = 0; i < 200000; i++) {
        uuid_make(id, some_time_us);
        cr_assert_lt(memcmp(before, id, UUID_SIZE), 0);
        memcpy(before, id, UUID_SIZE);
    }
    cr_expect_eq(milliseconds_of(id), some_time_us / 1000);
}

Test(uuid, each_is_greater_than_the_one_before_when_the_clock_steps_back)
{
    unsigned char before[UUID_SIZE], id[UUID_SIZE];

    uuid_make(before, some_time_us);
    uuid_make(id, some_time_us - 60000000);
    cr_expect_lt(memcmp(before, id, UUID_SIZE), 0);
    cr_expect_eq(milliseconds_of(id), some_time_us / 1000);
}

static void *make_one(void *id)
{
    uuid_make(id, some_time_us);
    return NULL;
}

Test(uuid, threads_do_not_share_a_sequence)
{
    unsigned char ids[8][UUID_SIZE];
    pthread_t threads[8];

    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, make_one, ids[i]);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < i; j++)
            cr_expect_neq(memcmp(ids[i], ids[j], UUID_SIZE), 0);
}

Test(uuid, is_written_in_five_groups)
{
    static const unsigned char id[UUID_SIZE] = { 0x01, 0x92, 0xf0, 0xc1, 0x7a, 0x2b, 0x7c, 0x3d,
                                                 0x8e, 0x4f, 0x5a, 0x6b, 0x7c, 0x8d, 0x9e, 0x0f };
    char text[UUID_TEXT_SIZE];

    uuid_format(id, text);
    cr_expect_str_eq(text, "0192f0c1-7a2b-7c3d-8e4f-5a6b7c8d9e0f");
}
