/* What administrators type, understood. */
#include <criterion/criterion.h>

#include "proxy/ops/admin_command.h"

static const struct {
    const char *text;
    enum admin_verb verb;
    const char *name; /* the database, the route, or what is wrong */
    uint64_t id;
} rows[] = {
    { "RELOAD", ADMIN_RELOAD, "", 0 },
    { "  /* now */ reload ;", ADMIN_RELOAD, "", 0 },
    { "PAUSE", ADMIN_PAUSE, "", 0 },
    { "pause shop", ADMIN_PAUSE, "shop", 0 },
    { "RESUME \"a \"\"b\"\"\";", ADMIN_RESUME, "a \"b\"", 0 },
    { "RECONNECT 'shop'", ADMIN_RECONNECT, "shop", 0 },
    { "KILL 17", ADMIN_KILL, "", 17 },
    { "KILL '17'", ADMIN_KILL, "", 17 },
    { "KILL_CLIENT 17", ADMIN_KILL, "", 17 },
    { "KILL shop", ADMIN_UNKNOWN,
      "KILL takes the id of one client, as SHOW CLIENTS has it; PAUSE and RECONNECT take a database.", 0 },
    { "KILL 17x", ADMIN_WRONG, "syntax error at or near \"17x\"", 17 },
    { "KILL", ADMIN_WRONG, "syntax error at end of input", 0 },
    { "SHUTDOWN", ADMIN_SHUTDOWN, "", 0 },
    { "shutdown wait", ADMIN_SHUTDOWN_WAIT, "", 0 },
    { "SHUTDOWN WAIT_FOR_SERVERS;", ADMIN_SHUTDOWN_WAIT, "", 0 },
    { "SHUTDOWN WAIT_FOR", ADMIN_WRONG, "syntax error at or near \"WAIT_FOR\"", 0 },
    { "SET default_pool_size = 5", ADMIN_UNKNOWN,
      "Options are changed in the config, and RELOAD reads it again; here only route.NAME.mode is set.", 0 },
    { "SET = 5", ADMIN_WRONG, "syntax error at or near \"=\"", 0 },
    { "SET route.checkout.mode = 'autocommit'", ADMIN_SET_ROUTE_MODE, "checkout", 0 },
    { "SET route.\"my route\".mode TO autocommit", ADMIN_SET_ROUTE_MODE, "my route", 0 },
    { "SET route.checkout.timeout = 1", ADMIN_WRONG,
      "expected route.NAME.mode: nothing else of a route can be set here", 0 },
    { "SET client_encoding TO 'UTF8'", ADMIN_POLITE, "", 0 },
    { "BEGIN READ ONLY", ADMIN_POLITE, "", 0 },
    { "SELECT 1", ADMIN_WRONG, "syntax error at or near \"SELECT\"", 0 },
    { "SHOW 'POOLS'", ADMIN_WRONG, "syntax error at or near \"'POOLS'\"", 0 },
};

Test(admin_command, each_statement_is_what_it_says)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct admin_command command;
        size_t at = 0;
        cr_assert(admin_command_next(span_of(rows[i].text), &at, &command), "%s", rows[i].text);
        cr_expect_eq(command.verb, rows[i].verb, "%s", rows[i].text);
        cr_expect_str_eq(command.name, rows[i].name, "%s gives %s", rows[i].text, command.name);
        if (rows[i].verb == ADMIN_KILL)
            cr_expect_eq(command.id, rows[i].id, "%s", rows[i].text);
    }
}

Test(admin_command, a_string_is_read_statement_by_statement)
{
    struct span text = span_of("SHOW POOLS; -- ;\n RELOAD;; KILL 1");
    static const enum admin_verb want[] = { ADMIN_SHOW, ADMIN_RELOAD, ADMIN_KILL };
    struct admin_command command;
    size_t at = 0;
    for (size_t i = 0; i < 3; i++) {
        cr_assert(admin_command_next(text, &at, &command));
        cr_expect_eq(command.verb, want[i]);
    }
    cr_expect_not(admin_command_next(text, &at, &command));
}

Test(admin_command, nothing_but_blanks_is_no_statement)
{
    static const char *const texts[] = { "", " ", ";", " ; /* x */ ;", "-- RELOAD" };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct admin_command command;
        size_t at = 0;
        cr_expect_not(admin_command_next(span_of(texts[i]), &at, &command), "%s", texts[i]);
    }
}

Test(admin_command, names_without_end_are_refused)
{
    char text[1000] = "PAUSE ";
    memset(text + 6, 'x', sizeof text - 7);
    struct admin_command command;
    size_t at = 0;
    cr_assert(admin_command_next(span_of(text), &at, &command));
    cr_expect_eq(command.verb, ADMIN_WRONG);
}

Test(admin_command, every_table_has_columns_and_is_found_in_any_case)
{
    const struct admin_table *t;
    for (size_t i = 0; (t = admin_table_at(i)) != NULL; i++) {
        cr_expect_gt(admin_columns_count(t->columns), 0, "%s", t->subject);
        cr_expect_eq(admin_table_find(span_of(t->subject)), t);
    }
    cr_expect_eq(admin_table_find(span_of("pools")), admin_table_find(span_of("POOLS")));
    cr_expect_null(admin_table_find(span_of("POOL")));
}
