#include "tests/unit/with_config.h"

#include "config/storage.h"

/* --- what is said, and what is not --------------------------------------------------------------- */

Test(config, the_smallest_file_is_one_database_block)
{
    struct config *c = config_of("database \"*\" { upstream = \"host=127.0.0.1\" }");

    cr_expect_eq(c->listen_count, 1);
    cr_expect_str_eq(c->listen[0].host, "127.0.0.1");
    cr_expect_eq(c->listen[0].port, 6432);
    cr_expect_eq(c->workers, 0);
    cr_expect_eq(c->drain_timeout_ms, 30000);
    cr_expect_eq(c->log.format, LOG_JSON);
    cr_expect_eq(c->log.level, LOG_INFO);
    cr_expect_str_eq(c->log.file, "");
    cr_expect_eq(c->log.payloads, PAYLOADS_PREVIEW);
    cr_expect_eq(c->limits.clients, 10000);
    cr_expect_eq(c->limits.message, 1 << 30);
    cr_expect_eq(c->limits.startup, 10240);
    cr_expect_eq(c->limits.events_per_request, 10000);
    cr_expect_eq(c->limits.event, 1 << 20);
    cr_expect_eq(c->limits.held, 256 << 20);
    cr_expect_eq(c->auth, AUTH_PASSTHROUGH);
    cr_expect_eq(c->route_count, 0);
    cr_expect_eq(c->database_count, 1);
    cr_expect_str_eq(c->databases[0].hosts[0], "127.0.0.1");
    cr_expect_null(c->databases[0].hosts[1]);
    cr_expect_eq(c->databases[0].ports[0], 5432);
    cr_expect_null(c->databases[0].dbname);
    cr_expect_eq(c->databases[0].pool, POOL_DEDICATED);
    cr_expect_eq(c->databases[0].connect_timeout_ms, 5000);
    config_release(c);
}

Test(config, a_route_and_a_channel_have_the_documented_defaults)
{
    struct config *c = config_of(ANY_DATABASE "route \"r\" { } channel \"c\" { }");
    const struct route *r = &c->routes[0];
    const struct channel *channel = &c->channels[0];

    cr_expect_null(r->match);
    cr_expect_str_eq(r->application, "*");
    cr_expect_str_eq(r->database, "*");
    cr_expect_str_eq(r->user, "*");
    cr_expect_eq(r->mode, MODE_AUTOCOMMIT);
    cr_expect_eq(r->nested, NESTED_SAVEPOINT);
    cr_expect_eq(r->on_error, ON_ERROR_ABORT);
    cr_expect_eq(r->timeout_ms, 0);
    cr_expect_eq(r->idle_timeout_ms, 0);
    cr_expect_eq(r->isolation, ISOLATION_DEFAULT);
    cr_expect_eq(r->access, ACCESS_DEFAULT);
    cr_expect_null(r->sandbox_sinks[0]);
    cr_expect(channel->forward);
    cr_expect_eq(channel->delivery, DELIVERY_MEMORY);
    cr_expect_eq(channel->capture, CAPTURE_WIRE);
    cr_expect_eq(channel->ordering, ORDERING_CHANNEL);
    cr_expect_eq(channel->duplicates, DUPLICATES_KEEP);
    cr_expect_null(channel->sinks[0]);
    config_release(c);
}

static const char everything[] =
    "# A file that says all that can be said.\n"
    "listen = {\"127.0.0.1:6432\", # a comment in a list\n"
    "          \"[::1]:7000\", 'unix:/run/pgatomic', \"unix:/run/other:6433\", \"localhost:0\"}\n"
    "workers = 4 /* a comment\n over two lines */ drain_timeout = 90s\n"
    "log { format = text  level = debug  file = \"/var/log/pg atomic.log\"  payloads = none } // another\n"
    "limits { clients = 7  message = 64MB  startup = 20kB  events_per_request = 3  event = 1025B  held = 1GB }\n"
    "auth { method = passthrough }\n"
    "client_tls { mode = verify-ca  certificate = \"c.pem\"  key = \"k.pem\"  ca = \"ca.pem\" }\n"
    "database \"shop\" { upstream = \"host=db1,/tmp port=5433,5434 dbname='my shop' sslmode=disable\"\n"
    "                  pool = dedicated  connect_timeout = 1min }\n"
    "database \"uri\" { upstream = \"postgresql://[::1]:5435,db2/other?sslmode=disable\" }\n"
    "route \"checkout\" { match = \"/checkout/*\" application = \"shop-*\" database = shop user = \"a\\\"b\\\\c\"\n"
    "    mode = atomic nested = refuse on_error = rollback_statement end = commit timeout = 1h idle_timeout = 250ms\n"
    "    isolation = \"repeatable read\" access = read_only sandbox_sinks = {audit} }\n"
    "route \"test\" { mode = sandbox isolation = serializable nested = join timeout = off }\n"
    "channel \"mail.*\" { sink = {\"audit\"} sink += {\"other\"} forward = off delivery = memory capture = wire\n"
    "    ordering = none duplicates = fold }\n"
    "sink \"audit\" { type = log }\n"
    "sink \"other\" { type = \"log\" }\n";

Test(config, what_is_said_is_read)
{
    struct config *c = config_of(everything);
    const struct route *r = &c->routes[0];

    cr_expect_eq(c->listen_count, 5);
    cr_expect_str_eq(c->listen[1].host, "::1");
    cr_expect_eq(c->listen[1].port, 7000);
    cr_expect(c->listen[2].is_unix);
    cr_expect_str_eq(c->listen[2].host, "/run/pgatomic");
    cr_expect_eq(c->listen[2].port, 6432);
    cr_expect_str_eq(c->listen[3].host, "/run/other");
    cr_expect_eq(c->listen[3].port, 6433);
    cr_expect_str_eq(c->listen[4].text, "localhost:0");
    cr_expect_str_eq(c->listen[4].host, "127.0.0.1");
    cr_expect_eq(c->workers, 4);
    cr_expect_eq(c->drain_timeout_ms, 90000);
    cr_expect_eq(c->log.format, LOG_TEXT);
    cr_expect_eq(c->log.level, LOG_DEBUG);
    cr_expect_str_eq(c->log.file, "/var/log/pg atomic.log");
    cr_expect_eq(c->log.payloads, PAYLOADS_NONE);
    cr_expect_eq(c->limits.clients, 7);
    cr_expect_eq(c->limits.message, 64 << 20);
    cr_expect_eq(c->limits.event, 1025);
    cr_expect_eq(c->limits.held, 1 << 30);
    cr_expect_eq(c->client_tls.mode, TLS_VERIFY_CA);
    cr_expect_str_eq(c->client_tls.certificate, "/tmp/c.pem");
    cr_expect_str_eq(c->client_tls.key, "/tmp/k.pem");
    cr_expect_str_eq(c->client_tls.ca, "/tmp/ca.pem");
    cr_expect_str_eq(r->match, "/checkout/*");
    cr_expect_str_eq(r->user, "a\"b\\c");
    cr_expect_eq(r->mode, MODE_ATOMIC);
    cr_expect_eq(r->nested, NESTED_REFUSE);
    cr_expect_eq(r->on_error, ON_ERROR_ROLLBACK_STATEMENT);
    cr_expect_eq(r->end, END_COMMIT);
    cr_expect_eq(r->timeout_ms, 3600000);
    cr_expect_eq(r->idle_timeout_ms, 250);
    cr_expect_eq(r->isolation, ISOLATION_REPEATABLE_READ);
    cr_expect_eq(r->access, ACCESS_READ_ONLY);
    cr_expect_str_eq(r->sandbox_sinks[0], "audit");
    cr_expect_eq(c->routes[1].mode, MODE_SANDBOX);
    cr_expect_eq(c->routes[1].isolation, ISOLATION_SERIALIZABLE);
    cr_expect_str_eq(c->channels[0].sinks[1], "other");
    cr_expect_eq(c->channels[0].ordering, ORDERING_NONE);
    config_release(c);
}

Test(config, a_small_message_limit_needs_no_word_about_events)
{
    struct config *c = config_of(ANY_DATABASE "limits { message = 64kB }");

    cr_expect_eq(c->limits.message, 65536);
    config_release(c);
}

Test(config, an_upstream_is_written_as_for_psql)
{
    struct config *c = config_of(everything);
    const struct database *shop = &c->databases[0], *uri = &c->databases[1];

    cr_expect_str_eq(shop->hosts[0], "db1");
    cr_expect_str_eq(shop->hosts[1], "/tmp");
    cr_expect_null(shop->hosts[2]);
    cr_expect_eq(shop->ports[0], 5433);
    cr_expect_eq(shop->ports[1], 5434);
    cr_expect_str_eq(shop->dbname, "my shop");
    cr_expect_eq(shop->connect_timeout_ms, 60000);
    cr_expect_str_eq(uri->hosts[0], "::1");
    cr_expect_str_eq(uri->hosts[1], "db2");
    cr_expect_eq(uri->ports[0], 5435);
    cr_expect_eq(uri->ports[1], 5432);
    cr_expect_str_eq(uri->dbname, "other");
    config_release(c);
}

/* --- the environment ----------------------------------------------------------------------------- */

Test(config, variables_are_replaced_in_double_quotes_only)
{
    setenv("PGATOMIC_TEST", "from environment", 1);
    unsetenv("PGATOMIC_UNSET");
    struct config *c =
        config_of(ANY_DATABASE "log { file = \"<${PGATOMIC_TEST}>\" }\n"
                               "route a { user = '${PGATOMIC_TEST}' }\n"
                               "route b { user = \"${PGATOMIC_UNSET:-a default}, \\${PGATOMIC_TEST}\" }\n"
                               "route \"${PGATOMIC_TEST}\" { user = \"${PGATOMIC_TEST:-not this}\" }\n"
                               "route c { user = \"${PGATOMIC_UNSET:-}$ 5$\" }\n"
                               "# ${PGATOMIC_UNSET} in a comment is nobody's\n");

    cr_expect_str_eq(c->log.file, "<from environment>");
    cr_expect_str_eq(c->routes[0].user, "${PGATOMIC_TEST}");
    cr_expect_str_eq(c->routes[1].user, "a default, ${PGATOMIC_TEST}");
    cr_expect_str_eq(c->routes[2].name, "from environment");
    cr_expect_str_eq(c->routes[2].user, "from environment");
    cr_expect_str_eq(c->routes[3].user, "$ 5$");
    config_release(c);
}

Test(config, a_variable_is_only_ever_its_text)
{
    setenv("PGATOMIC_TEST", "\" } # { \\ ${HOME}\nworkers = 3 '", 1);
    setenv("PGATOMIC_BRACE", "{HOME}", 1);
    struct config *c = config_of(ANY_DATABASE "log { file = \"${PGATOMIC_TEST}\" }\n"
                                              "route a { user = \"$${PGATOMIC_BRACE}\" }");

    cr_expect_str_eq(c->log.file, getenv("PGATOMIC_TEST"));
    cr_expect_str_eq(c->routes[0].user, "${HOME}");
    cr_expect_eq(c->workers, 0);
    config_release(c);
}

Test(config, every_unset_variable_is_an_error_on_its_line)
{
    unsetenv("PGATOMIC_UNSET");
    unsetenv("PGATOMIC_OTHER");
    char *errors = errors_of("# comment\nlog { file = \"${PGATOMIC_UNSET}\" }\n\"\n\n\" = \"${PGATOMIC_OTHER}\"\n");

    cr_expect_str_eq(
        errors,
        "FILE:2: the environment variable PGATOMIC_UNSET is not set: set it, or write ${PGATOMIC_UNSET:-default}\n"
        "FILE:5: the environment variable PGATOMIC_OTHER is not set: set it, or write ${PGATOMIC_OTHER:-default}\n");
    free(errors);
}

/* --- errors -------------------------------------------------------------------------------------- */

#define LATER " is not supported by this version of pgatomic"
#define QUOTES ": a value with anything but letters, digits and _ - . : needs double quotes"

#define GLUED "a string ends and something else begins at once: a quote inside of a string is written with a \\"

/* Each is put behind a line with a whole database block, so that its own first line is line 2. */
static const struct {
    const char *text, *want;
} mistakes[] = {
    /* the text */
    { "workers = 1 }", "FILE:2: this } closes nothing" },
    { "route \"x\" {\n\n# end\n", "FILE:2: this { is never closed: expected }" },
    { "listen = {\n\"127.0.0.1:1\"", "FILE:2: this { is never closed: expected }" },
    { "log { file = \"\n\n", "FILE:2: this string has no end: expected \"" },
    { "log { file = 'x\n\n", "FILE:2: this string has no end: expected '" },
    { "log { file = 'x\\", "FILE:2: this string has no end: expected '" },
    { "/* comment\n* /", "FILE:2: this comment has no end: expected */" },
    { "route x { application = shop-* }", "FILE:2: unexpected \"*\"" QUOTES },
    { "route x {\nmatch = /checkout/ }", "FILE:3: unexpected \"/\"" QUOTES },
    { "log { file = ${HOME} }", "FILE:2: unexpected \"$\"" QUOTES },
    { "workers + 1", "FILE:2: unexpected \"+\"" QUOTES },
    { "route \xc3\xa9 { }", "FILE:2: unexpected byte 0xc3" QUOTES },
    { "log { file = \"\\x41\" }", "FILE:2: escapes by number are not understood: write the character itself" },
    { "log { file = \"\\0\" }", "FILE:2: escapes by number are not understood: write the character itself" },
    { "log { file = \"${HOME\" }",
      "FILE:2: ${ without }: expected ${VAR} or ${VAR:-default}; a plain dollar sign before { is written \\$" },
    { "log { file = \"${}\" }", "FILE:2: ${ is followed by no name of a variable; expected ${VAR} or ${VAR:-default}" },
    { "log { file = \"${A B}\" }", "FILE:2: ${A is followed by neither } nor :-; expected ${VAR} or ${VAR:-default}" },
    { "log { file = \"${VAR-secret}\" }",
      "FILE:2: ${VAR is followed by neither } nor :-; expected ${VAR} or ${VAR:-default}" },
    { "log { file = \"password=\"secret\"\" }", "FILE:2: " GLUED },
    { "log { file = \"password=\"'secret'\"\" }", "FILE:2: " GLUED },
    { "log { file = 'password=''secret'' }", "FILE:2: " GLUED },
    { "log { file = \"password=\"\"secret\"\" }", "FILE:2: " GLUED },
    { "log{log{log{log{log{log{log{log{log{log{log{log{log{log{log{log{log{", "FILE:2: blocks are nested too deeply" },
    /* the grammar */
    { "workers", "FILE:2: the file ends where a value or a block was expected" },
    { "workers =", "FILE:2: the file ends where a value or a block was expected" },
    { "workers 3", "FILE:2: workers: expected = and a value" },
    { "workers += 3", "FILE:2: workers: expected =, for it takes one value" },
    { "workers = { 3 }", "FILE:2: unexpected \"{\": expected a name, a value, or what goes between them" },
    { "listen = { \"127.0.0.1:1\" \"127.0.0.1:2\" }",
      "FILE:2: unexpected \"127.0.0.1:2\": expected a name, a value, or what goes between them" },
    { "route { mode = atomic }", "FILE:2: route: expected a title and a block, as in \"title\" { … }" },
    { "route = 3", "FILE:2: route: expected a title and a block, as in \"title\" { … }" },
    { "route \"x\" mode", "FILE:2: route: expected a block in { }" },
    { "log = 3", "FILE:2: log: expected a block in { }" },
    { "(", "FILE:2: unexpected \"(\": expected a name, a value, or what goes between them" },
    { "\"\" = 3", "FILE:2: syntax error: expected the name of an option or a block" },
    { "route x { }\nroute y { }\nroute x { }",
      "FILE:4: there is a second block with the title \"x\": expected titles that differ" },
    { "wrokers = 3",
      "FILE:2: unknown name \"wrokers\": expected one of log, limits, auth, client_tls, login, database, "
      "route, channel, sink, outbox, "
      "listen, workers, drain_timeout, http, admin_users, stats_users" },
    { "pool = session",
      "FILE:2: unknown name \"pool\": it belongs in database { }; expected one of log, limits, auth, client_tls, "
      "login, "
      "database, route, channel, sink, outbox, listen, workers, drain_timeout, http, admin_users, stats_users" },
    { "log { timeout = 1s }",
      "FILE:2: unknown name \"timeout\": it belongs in route { }, sink { }; expected one of format, level, file, "
      "payloads" },
    { "log {\nworkers = 3 }",
      "FILE:3: unknown name \"workers\": it belongs in the file itself, outside of blocks; expected one of format, "
      "level, file, payloads" },
    { "log {\nlevle = info }", "FILE:3: unknown name \"levle\": expected one of format, level, file, payloads" },
    { "\"(opened)\" = 3", "FILE:2: unknown name \"(opened)\": expected one of log, limits, auth, client_tls, login, "
                          "database, route, channel, "
                          "sink, outbox, listen, workers, drain_timeout, http, admin_users, stats_users" },
    /* values */
    { "workers = -1", "FILE:2: workers: expected a number from 0 to 1024, but found \"-1\"" },
    { "workers = 1025", "FILE:2: workers: expected a number from 0 to 1024, but found \"1025\"" },
    { "workers = 18446744073709551617",
      "FILE:2: workers: expected a number from 0 to 1024, but found \"18446744073709551617\"" },
    { "workers = two", "FILE:2: workers: expected a number from 0 to 1024, but found \"two\"" },
    { "workers = \"\"", "FILE:2: workers: expected a number from 0 to 1024, but found \"\"" },
    { "workers = 1\nworkers = 2", "FILE:3: workers is said twice: line 2 says it already" },
    { "log { level = info }\nlog { level = info }", "FILE:3: level is said twice: line 2 says it already" },
    { "limits { message = 16 }",
      "FILE:2: message: expected a number with its unit such as 64kB or 16MB, from 64kB to 1GB, but found \"16\"" },
    { "limits { message = 2GB }",
      "FILE:2: message: expected a number with its unit such as 64kB or 16MB, from 64kB to 1GB, but found \"2GB\"" },
    { "limits { message = 18014398509481985kB }", "FILE:2: message: expected a number with its unit such as 64kB or "
                                                  "16MB, from 64kB to 1GB, but found \"18014398509481985kB\"" },
    { "limits { event = 1MB\n held = 1kB }", "FILE:3: held: smaller than event, which could then never be held" },
    { "limits { message = 1MB\n event = 2MB }",
      "FILE:3: event: larger than message, which is the most that can arrive" },
    { "route x { timeout = 30 }", "FILE:2: timeout: expected off, or a number with its unit such as 250ms, 30s, 5min "
                                  "or 1h, up to 480h, but found \"30\"" },
    { "route x { timeout = 5m }", "FILE:2: timeout: expected off, or a number with its unit such as 250ms, 30s, 5min "
                                  "or 1h, up to 480h, but found \"5m\"" },
    { "database x { upstream = \"host=a\" connect_timeout = 0s }",
      "FILE:2: connect_timeout: expected a number with its unit such as 250ms, 30s, 5min or 1h, from 1ms to 480h, but "
      "found "
      "\"0s\"" },
    { "route x { mode = Atomic }",
      "FILE:2: mode: expected autocommit or atomic or required or sandbox, but found \"Atomic\"" },
    { "channel x { forward = maybe }", "FILE:2: forward: expected on or off, but found \"maybe\"" },
    { "log { format = \"a\\nb\" }", "FILE:2: format: expected json or text, but found \"a?b\"" },
    { "route \"\" { }", "FILE:2: route \"\": expected a title that is not empty" },
    { "sink x { }", "FILE:2: type is missing from this block" },
    { "database x {\n}", "FILE:2: upstream is missing from this block" },
    /* addresses */
    { "listen = \"6432\"", "FILE:2: listen: expected an address such as 127.0.0.1:6432, [::]:6432 or "
                           "unix:/run/pgatomic, but found \"6432\"" },
    { "listen = {}", "FILE:2: listen: expected an address such as 127.0.0.1:6432, [::]:6432 or unix:/run/pgatomic, but "
                     "found nothing" },
    { "listen = {\"127.0.0.1:1\", \"127.0.0.1:1\"}", "FILE:2: listen: 127.0.0.1:1 is said twice" },
    { "listen = {\"127.0.0.1:7432\", \"0.0.0.0:7432\"}",
      "FILE:2: listen: 127.0.0.1:7432 and 0.0.0.0:7432 cannot both be had: expected one of them" },
    { "listen = {\"[::]:7432\", \"[::1]:7432\"}",
      "FILE:2: listen: [::]:7432 and [::1]:7432 cannot both be had: expected one of them" },
    { "listen = {\"localhost:1\", \"127.0.0.1:1\"}",
      "FILE:2: listen: localhost:1 and 127.0.0.1:1 cannot both be had: expected one of them" },
    { "listen = {\"unix:/tmp\", \"unix:/tmp:6432\"}",
      "FILE:2: listen: unix:/tmp and unix:/tmp:6432 cannot both be had: expected one of them" },
    { "listen = \"0.0.0.0:7432\"\nhttp = \"127.0.0.1:7432\"",
      "FILE:3: http: 127.0.0.1:7432 cannot be had beside 0.0.0.0:7432 in listen" },
    { "database \"app_*\" { upstream = \"host=a\" }", "FILE:2: database \"app_*\": a title is one name and no pattern: "
                                                      "expected a block for each, or \"*\" for all that "
                                                      "have none" },
    { "admin_users = boss\ndatabase pgatomic { upstream = \"host=a\" }",
      "FILE:3: database \"pgatomic\": with admin_users or stats_users this name is the console's" },
    { "stats_users = boss\ndatabase pgatomic { upstream = \"host=a\" }",
      "FILE:3: database \"pgatomic\": with admin_users or stats_users this name is the console's" },
    { "database x { upstream = \"host=a port=0\" }", "FILE:2: upstream: expected numbers from 1 to 65535 in port=" },
    { "database x { upstream = \"host=a port=65536\" }",
      "FILE:2: upstream: expected numbers from 1 to 65535 in port=" },
    { "database x { upstream = \"host=a port=1,2\" }",
      "FILE:2: upstream: host= and port= have different numbers of items" },
    { "database x { upstream = \"host=a hostaddr=::1,::2\" }",
      "FILE:2: upstream: host= and hostaddr= have different numbers of items" },
    { "database x { upstream = \"hostaddr=localhost\" }", "FILE:2: upstream: hostaddr= expects numeric addresses" },
    { "database x { upstream = \"host=a,,b\" }",
      "FILE:2: upstream: expected a host name, an address, or the directory of a unix socket in host=" },
    { "database x { upstream = \"host=@abstract\" }",
      "FILE:2: upstream: expected a host name, an address, or the directory of a unix socket in host=" },
    { "database x { upstream = \"dbname=x\" }",
      "FILE:2: upstream: names no server: expected host=, with a name, an address, or the directory of a unix socket" },
    { "database x { upstream = \"host=a bogus=1\" }", "FILE:2: upstream: invalid connection option \"bogus\"" },
    { "database x { upstream = \"host\" }",
      "FILE:2: upstream: missing \"=\" after \"host\" in connection info string" },
    { "route x {\n\nmode = atomic }", "FILE:4: an atomic route without match must say how an unmarked request ends: "
                                      "expected end = commit or end = rollback" },
};

Test(config, a_mistake_is_told_with_its_line_and_what_was_expected)
{
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        char *text;
        cr_assert(asprintf(&text, ANY_DATABASE "\n%s", mistakes[i].text) > 0);
        char *errors = errors_of(text);
        errors[strcspn(errors, "\n")] = '\0'; /* the first is enough here */
        cr_expect_str_eq(errors, mistakes[i].want, "%s\n gives: %s\n  want: %s", mistakes[i].text, errors,
                         mistakes[i].want);
        free(errors);
        free(text);
    }
}

Test(config, all_impossible_values_are_told_at_once_in_the_order_of_their_lines)
{
    char *errors = errors_of("sink \"w\" { type = carrier\n"
                             "  url = \"https://hooks.example\" }\n"
                             "channel \"c\" { forward = off\n"
                             "  delivery = outbox }\n"
                             "workers = many\n"
                             "route \"r\" {\n"
                             "  mode = atomic\n"
                             "  timeout = soon }\n"
                             "database \"d\" { pool = session }\n");

    cr_expect_str_eq(
        errors,
        "FILE:1: type: expected log or postgres or webhook or redis or celery or amqp or kafka, but found \"carrier\"\n"
        "FILE:3: this channel would lose its events: expected a sink, or forward = on\n"
        "FILE:4: delivery = outbox: expected a sink to deliver to\n"
        "FILE:4: delivery = outbox: there is no outbox block: expected one for each database that has such events, as "
        "in "
        "outbox \"shop\" { upstream = \"host=127.0.0.1 dbname=shop\" }\n"
        "FILE:5: workers: expected a number from 0 to 1024, but found \"many\"\n"
        "FILE:7: an atomic route without match must say how an unmarked request ends: expected end = commit or end = "
        "rollback\n"
        "FILE:8: timeout: expected off, or a number with its unit such as 250ms, 30s, 5min or 1h, up to 480h, but "
        "found \"soon\"\n"
        "FILE:9: upstream is missing from this block\n"
        "FILE:9: pool: expected dedicated with auth method passthrough, for a client's login is good for one "
        "connection only; or auth { method = scram-sha-256  users = \"users.conf\" }\n");
    free(errors);
}

Test(config, modes_that_are_set_one_after_the_other_all_hold_and_keep_only_the_config_that_was_read)
{
    struct config *read = config_of("route \"a\" { match = \"/a\" }\nroute \"b\" { match = \"/b\" }\n" ANY_DATABASE);
    struct config *first = config_with_route_mode(read, "a", MODE_SANDBOX);
    struct config *second = config_with_route_mode(first, "b", MODE_REQUIRED);
    config_release(first);
    cr_assert_eq(((struct config_storage *)second)->base, read);
    config_release(read);
    cr_assert_eq(config_route_named(second, "a")->mode, MODE_SANDBOX);
    cr_assert_eq(config_route_named(second, "b")->mode, MODE_REQUIRED);
    cr_assert_str_eq(config_route_named(second, "b")->match, "/b");
    config_release(second);
}

Test(config, addresses_that_sockets_share_are_accepted)
{
    config_release(
        config_of("listen = {\"0.0.0.0:7432\", \"[::]:7432\", \"127.0.0.1:7433\", \"unix:/tmp:7432\", "
                  "\"unix:/run:7432\", \"127.0.0.1:0\", \"0.0.0.0:0\"} http = \"127.0.0.1:7434\" " ANY_DATABASE));
}

/* Each stands behind a database block. */
static const struct {
    const char *text, *want; /* NULL: each of them has its turn */
} orders[] = {
    { "route a { }\nroute b { match = \"/x\" }",
      "FILE:2: route \"b\": route \"a\" above takes all of its requests: expected the narrower one first\n" },
    { "route a { match = \"/x/*\" user = \"app*\" }\nroute b { match = \"/x/1\" user = app database = shop }",
      "FILE:2: route \"b\": route \"a\" above takes all of its requests: expected the narrower one first\n" },
    { "route a { user = app }\nroute b { user = other }\nroute c { user = app }",
      "FILE:3: route \"c\": route \"a\" above takes all of its requests: expected the narrower one first\n" },
    { "route a { match = \"*\" } route b { }", NULL }, /* of requests without a label */
    { "route a { match = \"/x\" } route b { }", NULL },
    { "route a { user = \"a?\" } route b { user = \"a*\" }", NULL },
    { "route a { application = x } route b { user = x } route c { database = x }", NULL },
    { "login a { method = trust }\nlogin b { user = app  method = reject }",
      "FILE:2: login \"b\": login \"a\" above takes all of its clients: expected the narrower one first\n" },
    { "login a { database = {shop, \"till_*\"} method = trust }\n"
      "login b { database = {till_1, shop} address = \"::1\" tls = off method = reject }",
      "FILE:2: login \"b\": login \"a\" above takes all of its clients: expected the narrower one first\n" },
    { "login a { address = {\"unix\", \"::1\"} method = trust }\nlogin b { address = \"::1\" method = reject }",
      "FILE:2: login \"b\": login \"a\" above takes all of its clients: expected the narrower one first\n" },
    { "login a { tls = off method = trust } login b { method = reject }", NULL },
    { "login a { address = \"::1\" method = trust } login b { method = reject }", NULL },
    { "login a { database = {shop, till} method = trust } login b { database = {shop, other} method = reject }", NULL },
    { "channel \"*\" { }\nchannel \"mail.*\" { }",
      "FILE:2: channel \"mail.*\": channel \"*\" above takes all of its events: expected the narrower one first\n" },
    { "channel \"mail.*\" { } channel \"*\" { }", NULL },
};

Test(config, a_block_that_never_has_its_turn_is_refused_and_no_other)
{
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        char *text, *errors;
        cr_assert(asprintf(&text, ANY_DATABASE "%s", orders[i].text) > 0);
        struct config *c = config_of_bytes(text, strlen(text), &errors);
        cr_expect_str_eq(errors, orders[i].want != NULL ? orders[i].want : "", "%s\n gives: %s", text, errors);
        if (c != NULL)
            config_release(c);
        free(errors);
        free(text);
    }
}

Test(config, a_syntax_error_stands_alone)
{
    char *errors = errors_of("workers = many\nroute {\nworkers = several\n}");

    cr_expect_str_eq(errors, "FILE:2: route: expected a title and a block, as in \"title\" { … }\n");
    free(errors);
}

Test(config, a_file_without_a_database_is_refused)
{
    char *errors = errors_of("workers = 1\n");

    cr_expect_str_eq(
        errors,
        "FILE:2: there is no database block: expected at least database \"*\" { upstream = \"host=127.0.0.1\" }\n");
    free(errors);
}

Test(config, a_file_that_cannot_be_read_is_an_error)
{
    static const struct {
        const char *file, *want;
    } rows[] = {
        { "/nowhere/pgatomic.conf", "/nowhere/pgatomic.conf: cannot be opened: No such file or directory\n" },
        { "/", "/: cannot be read: Is a directory\n" },
        { "/dev/zero", "/dev/zero: is larger than 4 MB\n" },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *errors = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&errors, &size);
        cr_expect_null(config_read(rows[i].file, out));
        fclose(out);
        cr_expect_str_eq(errors, rows[i].want);
        free(errors);
    }
}

Test(config, a_password_is_never_repeated)
{
    static const char *const upstreams[] = {
        "host=a password=xyzzy",         "host=a password=a xyzzy", "password=xyzzy xyzzy",
        "postgresql://me:xyzzy@a/b?c",   "postgres://me:xyzzy@[",   "host=a passwd=xyzzy",
        "host=a user=x password='xyzzy", "passwort xyzzy",
    };

    for (size_t i = 0; i < sizeof upstreams / sizeof *upstreams; i++) {
        char *text;
        cr_assert(asprintf(&text, "database x { upstream = \"%s\" }", upstreams[i]) > 0);
        char *errors = errors_of(text);
        cr_expect_null(strstr(errors, "xyzzy"), "%s", errors);
        free(errors);
        free(text);
    }
}

/* --- printing ------------------------------------------------------------------------------------ */

Test(config, what_is_printed_reads_back_as_the_same)
{
    struct config *c = config_of(everything);
    char *once = printed(c);
    struct config *again = config_of(once);
    char *twice = printed(again);

    cr_expect_str_eq(once, twice);
    cr_expect_str_eq(again->routes[0].user, "a\"b\\c");
    cr_expect_str_eq(again->log.file, c->log.file);
    cr_expect_eq(again->limits.event, 1025);
    cr_expect_eq(again->routes[0].idle_timeout_ms, 250);
    cr_expect_str_eq(again->databases[0].hosts[1], "/tmp");
    free(once);
    free(twice);
    config_release(c);
    config_release(again);
}

Test(config, strings_of_any_bytes_survive_printing)
{
    static const char *const strings[] = { "\"",   "\\", "$",        "${HOME}",       "a\nb",
                                           "\r\t", "'",  "\xff\xfe", "// no comment", "# none",
                                           "/* }" };

    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
        setenv("PGATOMIC_TEST", strings[i], 1);
        struct config *c = config_of(ANY_DATABASE "route \"r${PGATOMIC_TEST}\" { match = \"${PGATOMIC_TEST}\" }");
        char *text = printed(c);
        struct config *again = config_of(text);
        cr_expect_str_eq(again->routes[0].match, strings[i]);
        cr_expect_str_eq(again->routes[0].name + 1, strings[i]);
        free(text);
        config_release(c);
        config_release(again);
    }
}

/* --- robustness ---------------------------------------------------------------------------------- */

Test(config, a_file_cut_anywhere_is_read_or_refused_with_a_line)
{
    for (size_t size = 0; size < sizeof everything - 1; size++) {
        char *errors;
        struct config *c = config_of_bytes(everything, size, &errors);
        cr_expect_eq(c == NULL, *errors != '\0', "cut at %zu: %s", size, errors);
        if (c != NULL)
            config_release(c);
        free(errors);
    }
}

Test(config, any_byte_anywhere_is_read_or_refused)
{
    static const char bytes[] = { '\0', '\n', '"', '\'', '\\', '{', '}', '#',    '/',
                                  '*',  '$',  '=', '+',  ',',  '(', '|', '\xff', 'x' };
    char text[sizeof everything];

    for (size_t i = 0; i < sizeof everything - 1; i += 7)
        for (size_t b = 0; b < sizeof bytes; b++) {
            char *errors;
            memcpy(text, everything, sizeof text);
            text[i] = bytes[b];
            struct config *c = config_of_bytes(text, sizeof text - 1, &errors);
            cr_expect_eq(c == NULL, *errors != '\0', "byte %d at %zu", bytes[b], i);
            if (c != NULL)
                config_release(c);
            free(errors);
        }
}

Test(config, the_last_reference_frees_it)
{
    struct config *c = config_of(ANY_DATABASE);

    cr_expect_eq(config_retain(c), c);
    config_release(c);
    cr_expect_eq(atomic_load(&((struct config_storage *)c)->references), 1);
    config_release(c);
}
