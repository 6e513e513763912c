#include <criterion/criterion.h>

#include "proxy/session/pending.h"

static struct pending entry(enum pending_kind kind)
{
    return (struct pending){ .kind = kind };
}

Test(pending, replies_are_owed_in_the_order_in_which_the_messages_went_out)
{
    static const enum pending_kind kinds[] = { PENDING_PARSE, PENDING_BIND, PENDING_DESCRIBE, PENDING_EXECUTE,
                                               PENDING_CLOSE, PENDING_SYNC, PENDING_QUERY,    PENDING_LOCAL };
    struct pending_queue q = { 0 };

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        pending_push(&q, entry(kinds[i]));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        cr_assert_not_null(pending_head(&q));
        cr_expect_eq(pending_head(&q)->kind, kinds[i], "entry %zu", i);
        pending_pop(&q);
    }
    pending_free(&q);
}

Test(pending, nothing_is_owed_at_first_nor_when_all_has_come)
{
    struct pending_queue q = { 0 };

    cr_expect_null(pending_head(&q));
    pending_push(&q, entry(PENDING_SYNC));
    pending_pop(&q);
    cr_expect_null(pending_head(&q));
    cr_expect_eq(q.count, 0);
    pending_free(&q);
}

Test(pending, an_entry_keeps_what_it_says_of_its_reply)
{
    struct pending_queue q = { 0 };

    pending_push(&q, entry(PENDING_QUERY));
    pending_push(&q, (struct pending){ .kind = PENDING_SYNC, .swallow = true });
    cr_expect_not(pending_at(&q, 0)->swallow);
    cr_expect(pending_at(&q, 1)->swallow);
    cr_expect_eq(pending_at(&q, 1)->kind, PENDING_SYNC);
    pending_free(&q);
}

/* Every size at every place of the ring where its end can fall. */
Test(pending, a_queue_that_grows_while_it_is_wrapped_around_loses_nothing)
{
    for (size_t popped = 0; popped < 20; popped++) {
        struct pending_queue q = { 0 };
        size_t next_in = 0, next_out = 0;

        for (size_t i = 0; i < popped; i++) {
            pending_push(&q, entry((enum pending_kind)(next_in++ % PENDING_LOCAL)));
            pending_pop(&q);
            next_out++;
        }
        for (size_t i = 0; i < 100; i++)
            pending_push(&q, entry((enum pending_kind)(next_in++ % PENDING_LOCAL)));
        cr_expect_eq(q.count, 100);
        for (size_t i = 0; i < 100; i++)
            cr_expect_eq(pending_at(&q, i)->kind, (enum pending_kind)((next_out + i) % PENDING_LOCAL),
                         "entry %zu after %zu", i, popped);
        pending_free(&q);
    }
}

Test(pending, a_steady_pipeline_needs_no_more_room_than_its_depth)
{
    struct pending_queue q = { 0 };

    for (size_t i = 0; i < 100000; i++) {
        pending_push(&q, entry(PENDING_EXECUTE));
        pending_push(&q, entry(PENDING_SYNC));
        pending_pop(&q);
        pending_pop(&q);
    }
    cr_expect_leq(q.capacity, 8);
    pending_free(&q);
}
