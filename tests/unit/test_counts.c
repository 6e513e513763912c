/* Counts of a worker, and of several together. */
#include <criterion/criterion.h>

#include <stdio.h>

#include "proxy/ops/counts.h"

Test(counts, a_request_counts_once_for_its_route_and_outcome)
{
    struct counts c = { 0 };
    struct request r = { .route = "checkout", .begun_us = 1000000, .statements = 3, .events = 2 };
    counts_request(&c, &r, REQUEST_COMMITTED, 1000000 + 2500);
    counts_request(&c, &r, request_outcome_of(DISCARD_TIMEOUT), 1000000 + 3600000000);
    counts_request(&c, &r, request_outcome_of(DISCARD_NO_OUTCOME), 999999); /* the clock was set back */

    const struct route_counts *route = counts_route(&c, "checkout");
    cr_expect_eq(route->outcomes[REQUEST_COMMITTED], 1);
    cr_expect_eq(route->outcomes[request_outcome_of(DISCARD_TIMEOUT)], 1);
    cr_expect_str_eq(request_outcome_name(request_outcome_of(DISCARD_NO_OUTCOME)), "no_outcome");
    cr_expect_eq(route->durations[0], 1);
    cr_expect_eq(route->durations[1], 1, "2.5 ms is within the step up to 2.5 ms");
    cr_expect_eq(route->durations[DURATION_STEPS], 1);
    cr_expect_eq(route->statements, 9);
    cr_expect_eq(route->events, 6);
    counts_free(&c);
}

Test(counts, workers_add_up)
{
    struct counts one = { 0 }, other = { 0 }, all = { 0 };
    counts_database(&one, "shop")->queries = 3;
    counts_database(&other, "shop")->queries = 4;
    counts_database(&other, "mail")->logins = 1;
    counts_pin(&one, "shop", "temporary table");
    counts_pin(&one, "shop", "advisory lock");
    counts_pin(&other, "shop", "temporary table");
    counts_add(&all, &one);
    counts_add(&all, &other);
    cr_expect_eq(counts_database(&all, "shop")->queries, 7);
    cr_expect_eq(counts_database(&all, "mail")->logins, 1);
    cr_expect_eq(all.database_count, 2);
    cr_assert_eq(counts_database(&all, "shop")->pin_count, 2);
    cr_expect_str_eq(counts_database(&all, "shop")->pins[0].cause, "temporary table");
    cr_expect_eq(counts_database(&all, "shop")->pins[0].count, 2);
    cr_expect_eq(counts_database(&all, "shop")->pins[1].count, 1);
    counts_free(&one);
    counts_free(&other);
    counts_free(&all);
}

Test(counts, names_without_end_share_one_entry)
{
    struct counts c = { 0 };
    for (unsigned i = 0; i < COUNTS_MOST + 500; i++) {
        char name[32];
        snprintf(name, sizeof name, "database %u", i);
        counts_database(&c, name)->logins++;
    }
    cr_expect_eq(c.database_count, COUNTS_MOST + 1);
    cr_expect_str_eq(c.databases[COUNTS_MOST].name, "*");
    cr_expect_eq(c.databases[COUNTS_MOST].logins, 500);
    counts_free(&c);
}
