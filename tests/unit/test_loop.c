#include <criterion/criterion.h>
#include <pthread.h>

#include "proxy/net/loop.h"

static void on_turn(void *context)
{
    (void)context;
}

struct count {
    struct loop *loop;
    unsigned seen;
    unsigned until;
};

static void count_one(void *context)
{
    struct count *count = context;
    if (++count->seen == count->until)
        loop_stop(count->loop);
}

static void *post_many(void *context)
{
    struct count *count = context;
    for (unsigned i = 0; i < 1000; i++)
        loop_post(count->loop, count_one, count);
    return NULL;
}

Test(loop, what_other_threads_post_is_done_once_each)
{
    struct loop l;
    loop_init(&l, on_turn, NULL);
    struct count count = { &l, 0, 4000 };
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, post_many, &count);
    loop_run(&l);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(count.seen, 4000);
    loop_destroy(&l);
}

Test(loop, what_is_posted_to_a_loop_that_ends_is_still_done)
{
    struct loop l;
    loop_init(&l, on_turn, NULL);
    struct count count = { &l, 0, 0 };
    loop_post(&l, count_one, &count);
    loop_destroy(&l);
    cr_assert_eq(count.seen, 1);
}

Test(loop, a_timer_rings_once_and_a_stopped_one_never)
{
    struct loop l;
    loop_init(&l, on_turn, NULL);
    struct count rings = { &l, 0, 1 }, never = { &l, 0, 0 };
    struct timer *timer = timer_new(&l, count_one, &rings), *stopped = timer_new(&l, count_one, &never);
    timer_start(stopped, 0);
    timer_stop(stopped);
    timer_start(timer, 60 * 1000 * 1000);
    timer_start(timer, 1000); /* again: the newest time counts */
    cr_assert(timer_is_running(timer));
    loop_run(&l);
    cr_assert_eq(rings.seen, 1);
    cr_assert_eq(never.seen, 0);
    cr_assert_not(timer_is_running(timer));
    timer_free(timer);
    timer_free(stopped);
    timer_free(NULL);
    loop_destroy(&l);
}
