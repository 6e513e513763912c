#include <criterion/criterion.h>

#include "proxy/link/owed.h"

Test(owed, R14_replies_are_owed_in_the_order_of_the_messages)
{
    struct owed_queue q = { 0 };
    cr_assert_null(owed_head(&q));
    for (unsigned i = 0; i < 100; i++) {
        owed_push(&q, OWED_BIND, FOR_CLIENT)->statement = i;
        owed_push(&q, OWED_EXECUTE, FOR_CLIENT)->statement = i;
        if (i % 3 == 0)
            owed_pop(&q); /* so that the ring turns while it grows */
    }
    size_t popped = 34;
    for (size_t i = 0; i < q.count; i++)
        cr_assert_eq(owed_at(&q, i)->statement, (i + popped) / 2);
    owed_free(&q);
}

Test(owed, R14_a_unit_ends_with_its_sync_or_query)
{
    static const struct {
        enum owed_kind kind;
        uint32_t unit;
    } rows[] = {
        { OWED_PARSE, 0 }, { OWED_SYNC, 0 }, { OWED_QUERY, 1 }, { OWED_BIND, 2 }, { OWED_EXECUTE, 2 }, { OWED_SYNC, 2 },
    };
    struct owed_queue q = { 0 };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_assert_eq(owed_push(&q, rows[i].kind, FOR_CLIENT)->unit, rows[i].unit, "row %zu", i);
    cr_assert_eq(q.unit, 3);
    owed_free(&q);
}

Test(owed, R14_the_end_of_a_COPY_has_no_reply_of_its_own)
{
    struct owed_queue q = { 0 };
    owed_push(&q, OWED_EXECUTE, FOR_CLIENT);
    owed_push(&q, OWED_COPY_END, FOR_CLIENT);
    owed_push(&q, OWED_COPY_END, FOR_CLIENT);
    owed_push(&q, OWED_SYNC, FOR_CLIENT);
    owed_pop(&q);
    cr_assert_eq(owed_head(&q)->kind, OWED_SYNC);
    owed_pop(&q);
    cr_assert_null(owed_head(&q));
    owed_free(&q);
}
