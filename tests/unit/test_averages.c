/* Averages of what databases have been asked lately. */
#include <criterion/criterion.h>

#include "proxy/net/loop.h"
#include "proxy/ops/averages.h"

enum { SECOND = 1000 * 1000 };

static void on_turn(void *context)
{
    (void)context;
}

struct stage {
    struct loop loop;
    uint64_t began_us;
};

static void begin(struct stage *s)
{
    loop_init(&s->loop, on_turn, NULL);
    s->began_us = loop_now_us(&s->loop);
    averages_keep(&s->loop, true);
}

static void end(struct stage *s)
{
    averages_keep(NULL, false);
    loop_destroy(&s->loop);
}

/* So many transactions, and what goes with them. */
static void set_counts(struct database_counts *d, uint64_t many)
{
    d->transactions = many;
    d->queries = 2 * many;
    d->received = 30 * many;
    d->sent = 400 * many;
    d->transaction_us = 5000 * many;
    d->query_us = 2 * 600 * many;
    d->wait_us = 7 * many;
}

static void write_down(struct stage *s, uint64_t many, uint64_t at_s)
{
    struct counts c = { 0 };
    set_counts(counts_database(&c, "shop"), many);
    averages_write_down(&c, s->began_us + at_s * SECOND);
    counts_free(&c);
}

static struct database_rates read_at(struct stage *s, const char *database, uint64_t many, uint64_t at_s)
{
    struct database_counts now = { .name = (char *)database };
    struct database_rates rates;
    set_counts(&now, many);
    averages_read(&now, s->began_us + at_s * SECOND, &rates);
    return rates;
}

Test(averages, before_anything_is_written_down_they_are_those_since_the_start)
{
    struct stage s;
    begin(&s);
    struct database_rates r = read_at(&s, "shop", 1000, 10);
    cr_expect_eq(r.transactions, 100);
    cr_expect_eq(r.queries, 200);
    cr_expect_eq(r.received, 3000);
    cr_expect_eq(r.sent, 40000);
    cr_expect_eq(r.wait_us, 700, "a second");
    cr_expect_eq(r.transaction_us, 5000, "of one");
    cr_expect_eq(r.query_us, 600, "of one");
    end(&s);
}

Test(averages, they_are_over_what_came_since_the_older_of_two_times)
{
    struct stage s;
    begin(&s);
    write_down(&s, 600, 60);
    cr_expect_eq(read_at(&s, "shop", 1200, 90).transactions, 13, "still since the start: 1200 in 90 s");
    write_down(&s, 1200, 120);
    cr_expect_eq(read_at(&s, "shop", 1500, 160).transactions, 9, "900 in 100 s");
    write_down(&s, 1500, 180);
    cr_expect_eq(read_at(&s, "shop", 1500, 220).transactions, 3, "300 in 100 s");
    end(&s);
}

Test(averages, a_database_that_was_not_there_began_with_nothing)
{
    struct stage s;
    begin(&s);
    write_down(&s, 600, 60);
    write_down(&s, 600, 120);
    cr_expect_eq(read_at(&s, "mail", 600, 120).transactions, 10);
    cr_expect_eq(read_at(&s, "shop", 600, 120).transactions, 0);
    end(&s);
}

Test(averages, nothing_is_divided_by_nothing_and_nothing_is_below_it)
{
    struct stage s;
    begin(&s);
    cr_expect_eq(read_at(&s, "shop", 1000, 0).transactions, 0, "no time has passed");
    write_down(&s, 600, 60);
    write_down(&s, 600, 120);
    struct database_rates r = read_at(&s, "shop", 500, 180);
    cr_expect_eq(r.queries, 0, "less than there was");
    cr_expect_eq(r.query_us, 0);
    r = read_at(&s, "shop", 600, 180);
    cr_expect_eq(r.transaction_us, 0, "there was none");
    cr_expect_eq(r.wait_us, 0);
    end(&s);
}

Test(averages, they_begin_anew_when_they_are_switched_off_and_on)
{
    struct stage s;
    begin(&s);
    write_down(&s, 600, 60);
    write_down(&s, 600, 120);
    end(&s);
    begin(&s);
    cr_expect_eq(read_at(&s, "shop", 1000, 10).transactions, 100);
    end(&s);
}
