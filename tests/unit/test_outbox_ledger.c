/* What the relay knows of its rows: their way from hand to table, and the lanes that keep one channel from filling everything. */
#include <criterion/criterion.h>

#include "proxy/events/outbox_ledger.h"

enum { LIMIT = 4 };

static struct ledger ledger;

static void set_up(void)
{
    ledger_init(&ledger, LIMIT);
}

static void tear_down(void)
{
    ledger_free(&ledger);
}

TestSuite(outbox_ledger, .init = set_up, .fini = tear_down);

static const unsigned char *id(unsigned number)
{
    static unsigned char bytes[EVENT_ID_SIZE];
    bytes[0] = (unsigned char)(number >> 8);
    bytes[1] = (unsigned char)number;
    return bytes;
}

static struct row *add(unsigned number, const char *channel)
{
    return ledger_add(&ledger, id(number), channel, number);
}

static size_t length(const struct row_list *list)
{
    size_t count = 0;
    const struct row *row;
    TAILQ_FOREACH(row, list, link)
    count++;
    return count;
}

Test(outbox_ledger, E8_a_row_is_known_until_its_end_is_written)
{
    struct row *row = add(1, "jobs");
    cr_expect_eq(ledger_find(&ledger, id(1)), row);
    ledger_end(&ledger, row, ROW_DELIVERED, 0, NULL);
    cr_expect_eq(ledger_find(&ledger, id(1)), row, "it must not be delivered again");
    cr_expect_not(ledger_is_settled(&ledger));
    TAILQ_REMOVE(&ledger.rows[ROW_DELIVERED], row, link);
    ledger_forget(&ledger, row);
    cr_expect_null(ledger_find(&ledger, id(1)));
    cr_expect(ledger_is_settled(&ledger));
}

Test(outbox_ledger, E8_the_oldest_lease_comes_first_and_a_renewed_one_last)
{
    for (unsigned i = 1; i <= 3; i++)
        add(i, "jobs");
    ledger_renew(&ledger, ledger_find(&ledger, id(1)), 10);
    const struct row *first = TAILQ_FIRST(&ledger.rows[ROW_IN_HAND]);
    cr_expect_eq(first->leased_ms, 2);
    cr_expect_eq(TAILQ_LAST(&ledger.rows[ROW_IN_HAND], row_list)->leased_ms, 10);
}

Test(outbox_ledger, E12_the_last_note_counts_and_ends_with_the_row)
{
    struct row *row = add(1, "jobs");
    ledger_note(&ledger, row, 1, "refused");
    ledger_note(&ledger, row, 2, "timed out");
    cr_expect_eq(TAILQ_FIRST(&ledger.notes), row);
    cr_expect_null(TAILQ_NEXT(row, note_link));
    cr_expect_str_eq(row->reason, "timed out");
    cr_expect_eq(row->attempts, 2);
    ledger_end(&ledger, row, ROW_DEAD, 3, "gone");
    cr_expect(TAILQ_EMPTY(&ledger.notes));
    cr_expect_str_eq(row->reason, "gone");
}

Test(outbox_ledger, E13_a_crowded_lane_is_closed_until_half_of_it_is_gone)
{
    struct row *rows[LIMIT];
    for (unsigned i = 0; i < LIMIT; i++)
        rows[i] = add(i, "jobs");
    add(100, "other");
    cr_expect(lane_is_closed(rows[0]->lane));
    cr_expect_not(lane_is_closed(ledger_find(&ledger, id(100))->lane), "the neighbour is open");
    cr_expect_not(ledger_end(&ledger, rows[0], ROW_DELIVERED, 0, NULL));
    cr_expect(ledger_end(&ledger, rows[1], ROW_DELIVERED, 0, NULL), "there is room again");
    cr_expect_not(lane_is_closed(rows[2]->lane));
}

Test(outbox_ledger, E13_a_full_lane_is_open_again_after_the_poll)
{
    struct row *row = add(1, "jobs");
    ledger_close_lane(&ledger, row->lane);
    ledger_close_lane(&ledger, row->lane);
    cr_expect_eq(ledger.full_lanes, 1);
    cr_expect(lane_is_closed(row->lane));
    ledger_open_lanes(&ledger);
    cr_expect_eq(ledger.full_lanes, 0);
    cr_expect_not(lane_is_closed(row->lane));
}

Test(outbox_ledger, E13_what_spills_stays_behind_what_spilled_before_until_the_table_is_empty)
{
    for (unsigned i = 0; i < SPILL_LIMITS * LIMIT; i++) {
        cr_assert_not(ledger_spill(&ledger, id(i), "jobs", i));
        add(i, "jobs");
    }
    cr_expect(ledger_spill(&ledger, id(1000), "jobs", 1));
    cr_expect_eq(length(&ledger.rows[ROW_DROPPED]), 1);
    cr_expect_eq(ledger.in_hand, SPILL_LIMITS * LIMIT);
    for (unsigned i = 0; i < SPILL_LIMITS * LIMIT; i++)
        ledger_end(&ledger, ledger_find(&ledger, id(i)), ROW_DELIVERED, 0, NULL);
    cr_expect(ledger_spill(&ledger, id(1001), "jobs", 1), "there is room, but an older one is in the table");
    cr_expect(ledger.claim_wanted);

    ledger_claim_begins(&ledger);
    cr_expect(ledger_spill(&ledger, id(1002), "jobs", 1));
    ledger_claim_was_last(&ledger);
    cr_expect(ledger_spill(&ledger, id(1003), "jobs", 1), "the claim may not have seen the one before");

    ledger_claim_begins(&ledger);
    ledger_claim_was_last(&ledger);
    cr_expect_not(ledger_spill(&ledger, id(1004), "jobs", 1));
}

Test(outbox_ledger, E8_lanes_go_with_their_last_row)
{
    ledger_end(&ledger, add(1, "jobs"), ROW_DELIVERED, 0, NULL);
    cr_expect(TAILQ_EMPTY(&ledger.lanes));
    cr_expect_null(ledger.lane_table);
}
