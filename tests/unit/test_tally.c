#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>

#include "proxy/events/tally.h"

enum { THREADS = 4, NAMES = 50, ROUNDS = 20 };

static void *count_everywhere(void *context)
{
    for (int i = 0; i < NAMES * ROUNDS; i++) {
        char name[16];
        snprintf(name, sizeof name, "sink-%d", i % NAMES);
        tally_add(&tally_sink(name)->delivered, 1);
    }
    return context;
}

Test(tally, a_name_has_one_tally_whoever_asks_for_it_first)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, count_everywhere, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    size_t count = 0;
    for (const struct tally *t = tally_sinks(); t != NULL; t = t->next, count++)
        cr_expect_eq(tally_read(&t->delivered), THREADS * ROUNDS, "%s", t->name);
    cr_expect_eq(count, NAMES);
}

Test(tally, sinks_and_channels_of_one_name_are_counted_apart)
{
    tally_add(&tally_sink("a")->dead, 2);
    tally_add(&tally_channel("a")->dead, 1);
    cr_expect_eq(tally_read(&tally_sinks()->dead), 2);
    cr_expect_eq(tally_read(&tally_channels()->dead), 1);
    cr_expect_null(tally_channels()->next);
}
