#include "tests/unit/with_config.h"

static const char rules[] =
    ANY_DATABASE "route \"checkout\" { match = \"/checkout/*\" application = \"shop-*\" mode = atomic }"
                 "route \"reports\"  { match = \"/reports/\" database = \"stats\" mode = required }"
                 "route \"admin\"    { user = \"admin\" mode = atomic end = commit }"
                 "route \"labelled\" { match = \"*\" mode = sandbox }"
                 "route \"shop\"     { application = \"shop-?\" mode = autocommit }";

static const struct {
    const char *label, *application, *database, *user, *want;
} rows[] = {
    { "/checkout/cart/", "shop-1", "shop", "app", "checkout" },
    { "/checkout/", "shop-", "shop", "app", "checkout" },
    { "/checkout/cart/", "other", "shop", "app", "labelled" }, /* one condition fails */
    { "/checkout/cart/", "other", "shop", "admin", "admin" },
    { "/reports/", "x", "stats", "app", "reports" },
    { "/reports/", "x", "shop", "app", "labelled" },
    { "/checkout/cart/", "shop-1", "shop", "admin", "checkout" }, /* the first block wins, not the most exact */
    { NULL, "shop-1", "shop", "admin", "admin" }, /* a route without match is for unlabelled requests too */
    { NULL, "shop-1", "shop", "app", "shop" },    /* match = "*" is any label, but a label */
    { "", "shop-1", "shop", "app", "labelled" },
    { NULL, "psql", "shop", "app", NULL },
};

Test(route, R2_the_first_block_whose_every_condition_matches_wins)
{
    struct config *c = config_of(rules);

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct route *r = config_route(
            c, &(struct request_attributes){ rows[i].label, rows[i].application, rows[i].database, rows[i].user });
        cr_expect_str_eq(r != NULL ? r->name : "none", rows[i].want != NULL ? rows[i].want : "none", "row %zu", i);
    }
    config_release(c);
}

Test(route, the_first_channel_block_that_matches_has_the_rules)
{
    struct config *c =
        config_of(ANY_DATABASE "sink \"a\" { type = log } sink \"b\" { type = log }"
                               "channel \"*.welcome\" { sink = {\"a\", \"b\"} forward = off duplicates = fold }"
                               "channel \"mail.*\" { sink = {\"a\"} }");
    const struct channel *mail = config_channel(c, "mail.welcome", strlen("mail.welcome"));

    cr_expect_str_eq(mail->pattern, "*.welcome");
    cr_expect_not(mail->forward);
    cr_expect_eq(mail->duplicates, DUPLICATES_FOLD);
    cr_expect_str_eq(mail->sinks[0], "a");
    cr_expect_str_eq(mail->sinks[1], "b");
    cr_expect_null(mail->sinks[2]);
    cr_expect_eq(config_sink(c, "b")->kind, SINK_LOG);
    cr_expect_null(config_sink(c, "c"));
    config_release(c);
}

Test(route, E7_a_channel_without_a_block_is_forwarded_and_has_no_sinks)
{
    struct config *c = config_of(ANY_DATABASE "channel \"mail\" { }");
    const struct channel *other = config_channel(c, "mailing", strlen("mailing"));

    cr_expect(other->forward);
    cr_expect_null(other->sinks[0]);
    cr_expect_eq(other->delivery, DELIVERY_MEMORY);
    cr_expect(config_channel(c, "mailing", 4)->forward); /* "mail": the block with all its defaults */
    cr_expect_str_eq(config_channel(c, "mailing", 4)->pattern, "mail");
    config_release(c);
}

Test(route, a_database_of_that_name_goes_before_the_one_for_any)
{
    struct config *c =
        config_of("database \"*\" { upstream = \"host=any\" } database \"shop\" { upstream = \"host=shop\" }");

    cr_expect_str_eq(config_database(c, "shop")->hosts[0], "shop");
    cr_expect_str_eq(config_database(c, "other")->hosts[0], "any");
    config_release(c);

    c = config_of("database \"shop\" { upstream = \"host=shop\" }");
    cr_expect_null(config_database(c, "other"));
    cr_expect_null(config_database(c, "*"));
    config_release(c);
}
