/* Channels, sinks and outboxes: what their blocks may say, alone and together. */
#include "tests/unit/with_config.h"

#include "config/built.h"

static const char shop[] =
    "database \"shop\" { upstream = \"host=db1 dbname=shop\"  control = \"host=db1 dbname=shop user=pgatomic\" }\n"
    "outbox \"shop\" { upstream = \"host=db1 dbname=shop user=relay\" }\n"
    "channel \"tasks\" { sink = {\"tasks\"}  forward = off  delivery = outbox }\n"
    "channel \"heard\" { sink = {\"hook\", \"log\"}  capture = listen }\n"
    "sink \"log\" { type = log }\n"
    "sink \"listeners\" { type = postgres  upstream = \"host=db1 dbname=shop\" }\n"
    "sink \"hook\" { type = webhook  url = \"https://hooks.example/mail\" }\n"
    "sink \"redis\" { type = redis  url = \"redis://127.0.0.1\" }\n"
    "sink \"tasks\" { type = celery  url = \"redis://127.0.0.1/1\" }\n";

Test(config_delivery, sinks_have_the_documented_defaults)
{
    struct config *c = config_of(shop);
    const struct sink *hook = config_sink(c, "hook"), *redis = config_sink(c, "redis");

    cr_expect_eq(hook->kind, SINK_WEBHOOK);
    cr_expect_eq(hook->body, BODY_RAW);
    cr_expect_str_eq(hook->secret, "");
    cr_expect_str_eq(hook->ca, "");
    cr_expect_eq(hook->timeout_ms, 15000);
    cr_expect_eq(hook->retry.first_ms, 1000);
    cr_expect_eq(hook->retry.max_ms, 3600000);
    cr_expect_eq(hook->retry.attempts, 15);
    cr_expect_str_eq(hook->parts.host, "hooks.example");
    cr_expect_eq(redis->command, REDIS_PUBLISH);
    cr_expect_str_eq(redis->key, "");
    cr_expect_str_eq(config_sink(c, "tasks")->queue, "celery");
    cr_expect_eq(config_sink(c, "log")->retry.attempts, 15);
    cr_expect_null(config_sink(c, "log")->url);
    cr_expect_null(hook->upstream);
    config_release(c);
}

Test(config_delivery, E8_an_outbox_has_the_documented_defaults)
{
    struct config *c = config_of(shop);
    const struct outbox *o = config_outbox(c, "shop");

    cr_assert_not_null(o);
    cr_expect_str_eq(o->upstream, "host=db1 dbname=shop user=relay");
    cr_expect_eq(o->lease_ms, 30000);
    cr_expect_eq(o->poll_ms, 5000);
    cr_expect_eq(o->batch, 500);
    cr_expect_eq(c->channels[0].delivery, DELIVERY_OUTBOX);
    cr_expect_eq(c->channels[1].capture, CAPTURE_LISTEN);
    cr_expect_str_eq(c->databases[0].control, "host=db1 dbname=shop user=pgatomic");
    config_release(c);
}

Test(config_delivery, what_is_said_of_a_sink_is_read)
{
    struct config *c = config_of(
        ANY_DATABASE "sink hook { type = webhook url = \"https://h\" ca = \"/etc/ca.pem\" secret = \"whsec_c2VjcmV0\"\n"
                     "  body = structured timeout = 2s retry { first = 10ms max = 1min attempts = 3 } }\n"
                     "sink stream { type = redis url = \"redis://h\" command = xadd key = events }\n"
                     "sink tasks { type = celery url = \"redis://h\" queue = slow }\n"
                     "sink pg { type = postgres upstream = \"postgresql://me:pw@h/db\" }\n");

    cr_expect_str_eq(c->sinks[0].ca, "/etc/ca.pem");
    cr_expect_str_eq(c->sinks[0].secret, "whsec_c2VjcmV0");
    cr_expect_eq(c->sinks[0].body, BODY_STRUCTURED);
    cr_expect_eq(c->sinks[0].timeout_ms, 2000);
    cr_expect_eq(c->sinks[0].retry.first_ms, 10);
    cr_expect_eq(c->sinks[0].retry.max_ms, 60000);
    cr_expect_eq(c->sinks[0].retry.attempts, 3);
    cr_expect_eq(c->sinks[1].command, REDIS_XADD);
    cr_expect_str_eq(c->sinks[1].key, "events");
    cr_expect_str_eq(c->sinks[2].queue, "slow");
    cr_expect_str_eq(c->sinks[3].upstream, "postgresql://me:pw@h/db");
    config_release(c);
}

Test(config_delivery, E8_an_outbox_is_found_by_the_name_that_clients_ask_for)
{
    struct config *c = config_of("outbox \"*\" { upstream = \"host=a dbname=main\" }\n"
                                 "outbox \"other\" { upstream = \"host=a dbname=other\" }\n"
                                 "database \"*\" { upstream = \"host=a dbname=main\" }\n"
                                 "database \"own\" { upstream = \"host=b\" }\n");

    cr_expect_eq(config_outbox(c, "anything"), &c->outboxes[0]);
    cr_expect_eq(config_outbox(c, "other"), &c->outboxes[1]);
    cr_expect_null(config_outbox(c, "own"));
    config_release(c);

    c = config_of("database \"own\" { upstream = \"host=b\" } outbox \"own\" { upstream = \"host=b dbname=own\" }");
    cr_expect_null(config_outbox(c, "unknown"));
    config_release(c);
}

Test(config_delivery, an_empty_control_is_none)
{
    struct config *c = config_of("database x { upstream = \"host=a\" control = \"${PGATOMIC_UNSET:-}\" }");

    cr_expect_null(c->databases[0].control);
    config_release(c);
}

/* --- errors -------------------------------------------------------------------------------------- */

#define SHOP                                                                                                          \
    "outbox shop { upstream = \"dbname=a\" } database shop { upstream = \"host=a\" control = \"service=a\" } sink l " \
    "{ "                                                                                                              \
    "type = log } "
#define OPTIONS_OF_URLS "timeout, retry"

/* Each stands behind a line with a database "*", as lines from 2 on. */
static const struct {
    const char *text, *want;
} mistakes[] = {
    /* channels */
    { "channel x { forward = off }", "FILE:2: this channel would lose its events: expected a sink, or forward = on" },
    { "channel x { forward = off sink = {} }",
      "FILE:2: this channel would lose its events: expected a sink, or forward = on" },
    { "channel x {\nsink = {\"nowhere\"} }", "FILE:3: sink: there is no sink block \"nowhere\"" },
    { "route x {\nsandbox_sinks = {\"nowhere\"} }", "FILE:3: sandbox_sinks: there is no sink block \"nowhere\"" },
    { "channel \"jobs*\" { }\nchannel \"jobs.mail\" { }",
      "FILE:3: channel \"jobs.mail\": channel \"jobs*\" above takes all of its events: expected the narrower one "
      "first" },
    { "sink l { type = log } channel x { sink = l\ndelivery = outbox }",
      "FILE:3: delivery = outbox: there is no outbox block: expected one for each database that has such events, as in "
      "outbox \"shop\" { upstream = \"host=127.0.0.1 dbname=shop\" }" },
    { SHOP "channel x {\ndelivery = outbox }", "FILE:3: delivery = outbox: expected a sink to deliver to" },
    { SHOP "channel \"x*\" { sink = l\ncapture = listen }",
      "FILE:3: capture = listen: expected the name of one channel, of at most 63 bytes, for PostgreSQL cannot LISTEN "
      "to "
      "a pattern" },
    { SHOP "channel \"x?\" { sink = l\ncapture = listen }",
      "FILE:3: capture = listen: expected the name of one channel, of at most 63 bytes, for PostgreSQL cannot LISTEN "
      "to "
      "a pattern" },
    { SHOP
      "channel \"1234567890123456789012345678901234567890123456789012345678901234\" { sink = l\ncapture = listen }",
      "FILE:3: capture = listen: expected the name of one channel, of at most 63 bytes, for PostgreSQL cannot LISTEN "
      "to "
      "a pattern" },
    { SHOP "channel x {\ncapture = listen }", "FILE:3: capture = listen: expected a sink for what is heard" },
    { SHOP "sink p { type = postgres upstream = \"host=db1\" } channel x { sink = {l, p}\ncapture = listen }",
      "FILE:3: capture = listen: expected no sink of type postgres, for what it NOTIFYs would be heard again, for "
      "ever" },
    { SHOP "channel x { sink = l forward = off\ncapture = listen }",
      "FILE:3: capture = listen: expected forward = on, for PostgreSQL must have what is to be heard" },
    { SHOP "channel x { sink = l delivery = outbox\ncapture = listen }",
      "FILE:3: capture = listen: expected delivery = memory, for what is heard is no part of a transaction any more" },
    { "sink l { type = log } channel x { sink = l\ncapture = listen }",
      "FILE:3: capture = listen: no database block has a connection to listen on: expected control = \"host=… dbname=… "
      "user=…\"" },
    /* options of sinks */
    { "sink x {\n}", "FILE:2: type is missing from this block" },
    { "sink x { type = smoke url = \"https://h\" }",
      "FILE:2: type: expected log or postgres or webhook or redis or celery or amqp or kafka, but found \"smoke\"" },
    { "sink x {\ntype = webhook }", "FILE:2: url is missing from this block" },
    { "sink x {\ntype = postgres }", "FILE:2: upstream is missing from this block" },
    { "sink x { type = webhook url = \"https://h\"\nqueue = q }",
      "FILE:3: queue has no effect with type = webhook, which takes url, ca, secret, body, " OPTIONS_OF_URLS
      ": expected type = celery" },
    { "sink x { type = redis url = \"redis://h\"\nexchange = \"\" }",
      "FILE:3: exchange has no effect with type = redis, which takes url, ca, command, key, " OPTIONS_OF_URLS
      ": expected type = amqp" },
    { "sink x { type = postgres upstream = \"host=a\"\nurl = \"http://h\" }",
      "FILE:3: url has no effect with type = postgres, which takes upstream, " OPTIONS_OF_URLS
      ": expected type = webhook or redis or celery or amqp or kafka" },
    { "sink x { type = log\nretry {\nfirst = 1s } }",
      "FILE:3: retry has no effect with type = log, which takes no other: expected type = postgres or webhook or "
      "redis or celery or amqp or kafka" },
    { "sink x { type = webhook url = \"https://h\" command = lpush }",
      "FILE:2: command has no effect with type = webhook, which takes url, ca, secret, body, " OPTIONS_OF_URLS
      ": expected type = redis" },
    { "sink x { type = redis url = \"redis://h\" command = get }",
      "FILE:2: command: expected publish or lpush or rpush or xadd, but found \"get\"" },
    { "sink x { type = webhook url = \"https://h\" body = xml }",
      "FILE:2: body: expected raw or binary or structured, but found \"xml\"" },
    { "sink x { type = webhook url = \"https://h\" timeout = off }",
      "FILE:2: timeout: expected a number with its unit such as 250ms, 30s, 5min or 1h, from 1ms to 24h, but found "
      "\"off\"" },
    { "sink x { type = webhook url = \"https://h\" retry {\nfrist = 1s } }",
      "FILE:3: unknown name \"frist\": expected one of first, max, attempts" },
    { "sink x { type = webhook url = \"https://h\" retry {\nattempts = 0 } }",
      "FILE:3: attempts: expected a number from 1 to 1000000, but found \"0\"" },
    { "sink x { type = webhook url = \"https://h\" retry {\nfirst = 1min\nmax = 30s } }",
      "FILE:4: retry: the first wait is longer than max, the longest" },
    { "sink x { type = webhook url = \"https://h\" retry {\nfirst = 2h } }",
      "FILE:3: retry: the first wait is longer than max, the longest" },
    { "sink x { type = webhook url = \"https://h\" retry { first = 1s }\nretry { first = 2s } }",
      "FILE:3: first is said twice: line 2 says it already" },
    /* URLs */
    { "sink x { type = webhook\nurl = \"redis://h\" }",
      "FILE:3: url: expected a URL such as https://hooks.example/path" },
    { "sink x { type = redis\nurl = \"redis://h:port\" }",
      "FILE:3: url: expected a port from 1 to 65535 behind the colon of the host; in a password : / ? # @ are written "
      "%3A %2F %3F %23 %40" },
    { "sink x { type = redis url = \"redis://h\"\nca = \"/ca.pem\" }",
      "FILE:3: ca: the url does not ask for TLS, so no certificate is looked at" },
    /* names that the receiver could not take */
    { "sink x { type = webhook url = \"https://h\" secret = hush }",
      "FILE:2: secret: expected whsec_ and a key in base64 behind it" },
    { "sink x { type = webhook url = \"https://h\" secret = \"whsec_abc\" }",
      "FILE:2: secret: expected whsec_ and a key in base64 behind it" },
    { "sink x { type = webhook url = \"https://h\" secret = \"whsec_ab!=\" }",
      "FILE:2: secret: expected whsec_ and a key in base64 behind it" },
    /* connection strings */
    { "database x { upstream = \"host=a\"\ncontrol = \"hots=b\" }",
      "FILE:3: control: invalid connection option \"hots\"" },
    { "sink x { type = postgres\nupstream = \"\" }",
      "FILE:3: upstream: is not a connection string: expected key=value pairs such as host=127.0.0.1 port=5432 "
      "dbname=shop" },
    { "database a { upstream = \"host=a\" } outbox a {\nupstream = \"host\" }",
      "FILE:3: upstream: missing \"=\" after \"host\" in connection info string" },
    { "database x { upstream = \"host=a\"\ncontrol = \"host=a user=me\" }",
      "FILE:3: control: expected also dbname=, the database to connect to" },
    { "database a { upstream = \"host=a\" }\noutbox a {\nupstream = \"host=a dbname=''\" }",
      "FILE:4: upstream: expected also dbname=, the database to connect to" },
    /* outboxes */
    { "database a { upstream = \"host=a dbname=a\" }\noutbox a { }", "FILE:3: upstream is missing from this block" },
    { "\noutbox \"*\" { upstream = \"host=a dbname=a\" }",
      "FILE:3: outbox \"*\": expected the name of one database, or a dbname= in the upstream of database \"*\"" },
    { "outbox a { upstream = \"host=a\" poll = 0s }", "FILE:2: poll: expected a number with its unit such as 250ms, "
                                                      "30s, 5min or 1h, from 10ms to 24h, but found \"0s\"" },
    { "outbox a { upstream = \"host=a\" batch = 0 }",
      "FILE:2: batch: expected a number from 1 to 10000, but found \"0\"" },
    { "outbox a { upstream = \"host=a\" } outbox a { upstream = \"host=b\" }",
      "FILE:2: there is a second block with the title \"a\": expected titles that differ" },
};

static void expect_first_error(const char *text, const char *want)
{
    char *errors = errors_of(text);

    errors[strcspn(errors, "\n")] = '\0';
    cr_expect_str_eq(errors, want, "%s\n gives: %s\n  want: %s", text, errors, want);
    free(errors);
}

Test(config_delivery, a_mistake_is_told_with_its_line_and_what_was_expected)
{
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        char *text;
        cr_assert(asprintf(&text, ANY_DATABASE "\n%s", mistakes[i].text) > 0);
        expect_first_error(text, mistakes[i].want);
        free(text);
    }
}

Test(config_delivery, an_outbox_needs_a_database)
{
    expect_first_error("database a { upstream = \"host=a\" }\noutbox b { upstream = \"dbname=a\" }",
                       "FILE:2: outbox \"b\": no database block is for a database of this name");
}

Test(config_delivery, a_name_that_amqp_or_kafka_cannot_take_is_refused)
{
    char name[257] = "";
    char *text;

    memset(name, 'n', sizeof name - 1);
    if (sink_kind_is_built(SINK_AMQP)) {
        cr_assert(asprintf(&text, ANY_DATABASE "sink x { type = amqp url = \"amqp://h\" routing_key = %s }", name) > 0);
        expect_first_error(text, "FILE:1: routing_key: expected at most 255 bytes");
        free(text);
    }
    if (sink_kind_is_built(SINK_KAFKA))
        expect_first_error(ANY_DATABASE "sink x { type = kafka url = \"kafka://h\" topic = \"a b\" }",
                           "FILE:1: topic: expected at most 249 letters, digits and . _ -, which is what Kafka takes");
}

Test(config_delivery, a_sink_that_was_left_out_of_the_build_is_refused)
{
    static const struct {
        enum sink_kind kind;
        const char *text, *want;
    } rows[] = {
        { SINK_AMQP, ANY_DATABASE "sink x { type = amqp url = \"amqp://h\" }",
          "FILE:1: type: this build of pgatomic has no amqp sink" },
        { SINK_KAFKA, ANY_DATABASE "sink x { type = kafka url = \"kafka://h\" }",
          "FILE:1: type: this build of pgatomic has no kafka sink" },
        { SINK_REDIS, ANY_DATABASE "sink x { type = redis url = \"redis://h\" }",
          "FILE:1: type: this build of pgatomic has no redis sink" },
        { SINK_REDIS, ANY_DATABASE "sink x { type = celery url = \"redis://h\" }",
          "FILE:1: url: this build of pgatomic has no redis" },
        { SINK_AMQP, ANY_DATABASE "sink x { type = celery url = \"amqp://h\" }",
          "FILE:1: url: this build of pgatomic has no amqp" },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (sink_kind_is_built(rows[i].kind))
            config_release(config_of(rows[i].text));
        else
            expect_first_error(rows[i].text, rows[i].want);
}

Test(config_delivery, a_connection_string_that_cannot_be_read_is_one_mistake)
{
    char *errors = errors_of("database a { upstream = \"host=a\" control = \"hots=b\" }");

    cr_expect_str_eq(errors, "FILE:1: control: invalid connection option \"hots\"\n");
    free(errors);
}

/* --- secrets ------------------------------------------------------------------------------------- */

/* SECRET stands where a password does. */
#define WITH_SECRETS(secret, key)                                                                                  \
    "database \"shop\" { upstream = \"host=a dbname=shop\"  control = \"host=a dbname=a user=me password='" secret \
    "'\" }\n"                                                                                                      \
    "outbox \"shop\" { upstream = \"postgresql://me:" secret "@h/shop\" }\n"                                       \
    "sink \"redis\" { type = redis  url = \"rediss://app:" secret "@h/0\" }\n"                                     \
    "sink \"hook\" { type = webhook  url = \"https://me:" secret "@h/p?" secret "\"  secret = \"" key "\" }\n"     \
    "sink \"pg\" { type = postgres  upstream = \"host=a password=" secret " sslpassword=" secret "\" }\n"

Test(config_delivery, a_secret_in_the_file_is_not_printed)
{
    struct config *c = config_of(WITH_SECRETS("xyzzy", "whsec_eHl6enk="));
    char *text = printed(c);

    cr_expect_null(strstr(text, "xyzzy"), "%s", text);
    cr_expect_null(strstr(text, "eHl6enk"), "%s", text);
    cr_expect_not_null(strstr(text, "url = \"rediss://app:***@h/0\"    # ***: a secret, not printed\n"));
    cr_expect_not_null(strstr(text, "url = \"https://me:***@h/p?***\"    # ***: a secret, not printed\n"));
    cr_expect_not_null(
        strstr(text, "control = \"user=me password='***' dbname=a host=a\"    # ***: a secret, not printed\n"));
    free(text);
    config_release(c);
}

Test(config_delivery, what_is_printed_for_a_secret_is_not_taken_for_one)
{
    struct config *c = config_of(WITH_SECRETS("xyzzy", "whsec_eHl6enk="));
    char *text = printed(c), *errors = errors_of(text);
    size_t count = 0;

    for (char *line = strtok(errors, "\n"); line != NULL; line = strtok(NULL, "\n"), count++)
        cr_expect_not_null(strstr(line, ": *** stands for a secret that was not printed"), "%s", line);
    cr_expect_eq(count, 6);
    free(text);
    free(errors);
    config_release(c);
}

Test(config_delivery, a_secret_from_the_environment_is_printed_as_its_variable)
{
    setenv("PGATOMIC_TEST", "xyzzy", 1);
    setenv("PGATOMIC_KEY", "whsec_eHl6enk=", 1);
    struct config *c = config_of(WITH_SECRETS("${PGATOMIC_TEST}", "${PGATOMIC_KEY}"));
    char *once = printed(c);
    struct config *again = config_of(once);
    char *twice = printed(again);

    cr_expect_str_eq(once, twice);
    cr_expect_null(strstr(once, "xyzzy"), "%s", once);
    cr_expect_null(strstr(once, "***"), "%s", once);
    cr_expect_str_eq(config_sink(again, "redis")->parts.password, "xyzzy");
    cr_expect_str_eq(config_sink(again, "hook")->secret, "whsec_eHl6enk=");
    cr_expect_str_eq(config_sink(again, "hook")->url, config_sink(c, "hook")->url);
    cr_expect_not_null(strstr(once, "control = \"user=me password='${PGATOMIC_TEST}' dbname=a host=a\"\n"));
    free(once);
    free(twice);
    config_release(c);
    config_release(again);
}

Test(config_delivery, a_variable_that_is_the_whole_value_is_printed_as_it)
{
    static const char *const values[] = { "host=a password='it\\'s'", "postgresql://me:it's@a/b", "host=a" };

    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        setenv("PGATOMIC_TEST", values[i], 1);
        struct config *c = config_of(ANY_DATABASE "sink pg { type = postgres upstream = \"${PGATOMIC_TEST}\" }");
        char *text = printed(c);
        cr_expect_not_null(strstr(text, "upstream = \"${PGATOMIC_TEST}\"\n"));
        free(text);
        config_release(c);
    }
}

/* The text of a variable stands in the string before libpq reads it, quotes and all. */
Test(config_delivery, a_variable_with_quotes_is_not_printed_where_it_would_read_back_as_another)
{
    setenv("PGATOMIC_TEST", "it's\\x", 1);
    struct config *c =
        config_of(ANY_DATABASE "sink pg { type = postgres upstream = \"host=a password=${PGATOMIC_TEST}\" }");
    char *text = printed(c);

    cr_expect_null(strstr(text, "it's"), "%s", text);
    cr_expect_not_null(strstr(text, "password='***'"), "%s", text);
    free(text);
    config_release(c);
}

Test(config_delivery, a_url_with_an_empty_password_is_printed_whole)
{
    struct config *c = config_of(ANY_DATABASE "sink r { type = redis url = \"redis://app:@h/0\" }");
    char *text = printed(c);

    cr_expect_not_null(strstr(text, "url = \"redis://app:@h/0\"\n"), "%s", text);
    free(text);
    config_release(c);
}

Test(config_delivery, a_key_in_the_path_of_a_webhook_is_printed_as_its_variable)
{
    setenv("PGATOMIC_TEST", "T00/B00/xyzzy", 1);
    struct config *c =
        config_of(ANY_DATABASE "sink w { type = webhook url = \"https://hooks.example/services/${PGATOMIC_TEST}\" }");
    char *text = printed(c);

    cr_expect_not_null(strstr(text, "url = \"https://hooks.example/services/${PGATOMIC_TEST}\"\n"), "%s", text);
    free(text);
    config_release(c);
}

Test(config_delivery, a_password_is_never_repeated_in_an_error)
{
    static const char *const texts[] = {
        "sink x { type = redis url = \"redis://:xyzzy@h:port\" }",
        "sink x { type = redis url = \"redis://:xy/xyzzy@h\" }",
        "sink x { type = redis url = \"redis://:%xyzzy@h\" }",
        "sink x { type = redis url = \"xyzzy\" }",
        "sink x { type = redis url = \"redis://h?xyzzy\" }",
        "sink x { type = redis url = \"xyzzy://h\" }",
        "sink x { type = webhook url = \"https://h\" secret = \"xyzzy\" }",
        "sink x { type = postgres upstream = \"host=a password=a xyzzy\" }",
        "sink x { type = postgres upstream = \"postgres://me:xyzzy@[\" }",
        "outbox \"*\" { upstream = \"host=a password='xyzzy\" }",
        "database x { upstream = \"host=a\" control = \"host=a passwd=xyzzy\" }",
    };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char *text;
        cr_assert(asprintf(&text, ANY_DATABASE "%s", texts[i]) > 0);
        char *errors = errors_of(text);
        cr_expect_null(strstr(errors, "xyzzy"), "%s", errors);
        free(errors);
        free(text);
    }
}

/* --- printing ------------------------------------------------------------------------------------ */

Test(config_delivery, what_is_printed_of_sinks_reads_back_as_the_same)
{
    struct config *c = config_of(shop);
    char *once = printed(c);
    struct config *again = config_of(once);
    char *twice = printed(again);

    cr_expect_str_eq(once, twice);
    cr_expect_null(strstr(once, "queue = \"\""), "a webhook has no queue: %s", once);
    cr_expect_not_null(
        strstr(once, "    retry {\n        first = 1s\n        max = 1h\n        attempts = 15\n    }\n"));
    free(once);
    free(twice);
    config_release(c);
    config_release(again);
}

Test(config_delivery, a_connection_string_is_printed_with_its_quotes)
{
    struct config *c = config_of(
        ANY_DATABASE "sink pg { type = postgres upstream = \"host=a dbname='my \\\\'shop\\\\\\\\' user=''\" }");
    char *text = printed(c);
    struct config *again = config_of(text);

    cr_expect_not_null(strstr(text, "upstream = \"user='' dbname='my \\\\'shop\\\\\\\\' host=a\"\n"), "%s", text);
    free(text);
    config_release(c);
    config_release(again);
}

Test(config_delivery, databases_in_which_a_channel_would_not_work_are_remarked)
{
    char both[sizeof shop + sizeof ANY_DATABASE];
    snprintf(both, sizeof both, "%s" ANY_DATABASE, shop);
    struct config *c = config_of(both);
    char *text = printed(c), *any = strstr(text, "database \"*\"");

    cr_assert_not_null(any);
    cr_expect_not_null(
        strstr(any, "# no outbox block: here a NOTIFY on a channel with delivery = outbox is an error\n"));
    cr_expect_not_null(strstr(any, "# no control: here nothing is heard on channels with capture = listen\n"));
    *any = '\0';
    cr_expect_null(strstr(text, "# no outbox block"), "%s", text);
    cr_expect_null(strstr(text, "# no control"), "%s", text);
    free(text);
    config_release(c);
}
