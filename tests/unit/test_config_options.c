/* The config of `pgatomic run --upstream …`. */
#include "tests/unit/with_config.h"

static char *option_errors(const char *upstream, const char *listen, const char *mode, const char *end)
{
    char *errors = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&errors, &size);

    cr_expect_null(config_from_options(upstream, listen, mode, end, out));
    fclose(out);
    return errors;
}

Test(config, options_make_one_database_and_one_route)
{
    struct config *c = config_from_options("host=127.0.0.1 port=5999", "127.0.0.1:7001", "atomic", "commit", stderr);

    cr_assert_not_null(c);
    cr_expect_str_eq(c->file, "");
    cr_expect_eq(c->listen[0].port, 7001);
    cr_expect_str_eq(config_database(c, "anything")->hosts[0], "127.0.0.1");
    cr_expect_eq(config_database(c, "anything")->ports[0], 5999);
    cr_expect_eq(c->route_count, 1);
    cr_expect_eq(c->routes[0].mode, MODE_ATOMIC);
    cr_expect_eq(c->routes[0].end, END_COMMIT);
    config_release(c);

    c = config_from_options("host=a", NULL, NULL, NULL, stderr);
    cr_expect_eq(c->listen[0].port, 6432);
    cr_expect_eq(c->routes[0].mode, MODE_AUTOCOMMIT);
    config_release(c);
}

Test(config, a_wrong_option_is_told_by_its_name)
{
    static const struct {
        const char *upstream, *listen, *mode, *end, *want;
    } rows[] = {
        { "host=a", "here", NULL, NULL,
          "--listen: expected an address such as 127.0.0.1:6432, [::]:6432 or unix:/run/pgatomic, but found "
          "\"here\"\n" },
        { "host=a user=b", NULL, NULL, NULL,
          "--upstream: user= is not used with auth method passthrough: every client logs in as itself\n" },
        { NULL, NULL, NULL, NULL, "--upstream: upstream is missing from this block\n" },
        { "host=a", NULL, "x\" } workers = 3 #", NULL,
          "--mode: expected autocommit or atomic or required or sandbox, but found \"x\" } workers = 3 #\"\n" },
        { "host=a", NULL, "atomic", "later", "--end: expected rollback or commit, but found \"later\"\n" },
        { "host=a", NULL, "atomic", NULL,
          "--mode: an atomic route without match must say how an unmarked request ends: expected end = commit or end = "
          "rollback\n" },
        { "host=a", "$${HOME}", NULL, NULL,
          "--listen: expected an address such as 127.0.0.1:6432, [::]:6432 or unix:/run/pgatomic, but found "
          "\"$${HOME}\"\n" },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *errors = option_errors(rows[i].upstream, rows[i].listen, rows[i].mode, rows[i].end);
        cr_expect_str_eq(errors, rows[i].want, "row %zu: %s", i, errors);
        free(errors);
    }
}
