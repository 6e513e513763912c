/* Connection strings of upstreams: what they say, and what is made of it. */
#include "tests/unit/with_config.h"

static struct config *config_with(const char *upstream)
{
    char *text;
    cr_assert(asprintf(&text, "database x { upstream = \"%s\" }", upstream) > 0);
    struct config *c = config_of(text);
    free(text);
    return c;
}

Test(upstream, hostaddr_goes_before_host_and_one_port_is_for_all)
{
    struct config *c = config_with("host=a,b,c hostaddr=10.0.0.1,,::2 port=6000");
    const struct database *d = &c->databases[0];

    cr_expect_str_eq(d->hosts[0], "10.0.0.1");
    cr_expect_str_eq(d->hosts[1], "b");
    cr_expect_str_eq(d->hosts[2], "::2");
    cr_expect_eq(d->ports[2], 6000);
    config_release(c);
}

Test(upstream, P10_a_certificate_is_for_the_host_and_without_one_for_the_address)
{
    struct config *c = config_with("host=a,b,c hostaddr=10.0.0.1,,::2");
    const struct database *named = &c->databases[0];
    cr_expect_str_eq(named->names[0], "a");
    cr_expect_str_eq(named->names[1], "b");
    cr_expect_str_eq(named->names[2], "c");
    config_release(c);

    c = config_with("hostaddr=10.0.0.1");
    cr_expect_str_eq(c->databases[0].names[0], "10.0.0.1");
    config_release(c);
}

Test(upstream, P10_sslmode_means_what_it_means_to_libpq)
{
    static const struct {
        const char *upstream;
        enum tls_mode mode;
        const char *ca;
    } rows[] = {
        { "host=a", TLS_PREFER, "" },
        { "host=a sslmode=disable", TLS_DISABLE, "" },
        { "host=a sslmode=allow", TLS_PREFER, "" },
        { "host=a sslmode=require", TLS_REQUIRE, "" },
        { "host=a sslmode=require sslrootcert=ca.pem", TLS_VERIFY_CA, "ca.pem" },
        { "host=a sslmode=verify-ca sslrootcert=ca.pem", TLS_VERIFY_CA, "ca.pem" },
        { "host=a sslmode=verify-full", TLS_VERIFY_FULL, "" },
        { "host=a sslmode=verify-full sslrootcert=system", TLS_VERIFY_FULL, "" },
        { "host=a sslmode=verify-full sslrootcert='my ca.pem'", TLS_VERIFY_FULL, "my ca.pem" },
        { "postgresql://a/b?sslmode=require", TLS_REQUIRE, "" },
        { "host=/tmp", TLS_DISABLE, "" },
        { "host=/tmp sslmode=require", TLS_DISABLE, "" },
        { "host=/tmp,a sslmode=require", TLS_REQUIRE, "" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct config *c = config_with(rows[i].upstream);
        cr_expect_eq(c->databases[0].tls.mode, rows[i].mode, "%s", rows[i].upstream);
        cr_expect_str_eq(c->databases[0].tls.ca, rows[i].ca);
        config_release(c);
    }
}

Test(upstream, P10_newer_parameters_are_read_whatever_libpq_knows)
{
    static const struct {
        const char *upstream;
        bool direct, shuffles;
    } rows[] = {
        { "host=a sslmode=require sslnegotiation=direct", true, false },
        { "sslnegotiation = 'direct' host=a sslmode=require", true, false },
        { "host=a sslmode=require sslnegotiation=postgres", false, false },
        { "host=a,b load_balance_hosts=random", false, true },
        { "host=a,b load_balance_hosts='disable'", false, false },
        { "postgresql://a/b?sslnegotiation=direct&sslmode=require", true, false },
        { "postgresql://a/b?sslmode=require&sslnegotiation=direct", true, false },
        { "postgresql://a/b?load_balance_hosts=random", false, true },
        { "postgresql://a/b?load_balance_hosts=random&sslnegotiation=direct&sslmode=require", true, true },
        { "host=a dbname='sslnegotiation=direct'", false, false },
        { "host=a dbname=it\\\\'s\\\\ sslnegotiation=direct", false, false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct config *c = config_with(rows[i].upstream);
        cr_expect_eq(c->databases[0].direct_tls, rows[i].direct, "%s", rows[i].upstream);
        cr_expect_eq(c->databases[0].shuffles_hosts, rows[i].shuffles, "%s", rows[i].upstream);
        config_release(c);
    }
}

Test(upstream, connect_timeout_may_be_said_here)
{
    struct config *c = config_with("host=a connect_timeout=3");
    cr_expect_eq(c->databases[0].connect_timeout_ms, 3000);
    config_release(c);
    c = config_of("database x { upstream = \"host=a connect_timeout=3\" connect_timeout = 3s }");
    cr_expect_eq(c->databases[0].connect_timeout_ms, 3000);
    config_release(c);
}

Test(upstream, P8_how_a_lost_server_is_found_out_may_be_said_in_the_words_of_libpq)
{
    static const struct {
        const char *upstream;
        struct tcp_options want;
    } rows[] = {
        { "host=a", { true, 30, 10, 3, 0 } },
        { "host=a keepalives=1", { true, 30, 10, 3, 0 } },
        { "host=a keepalives=0", { false, 30, 10, 3, 0 } },
        { "host=a keepalives_idle=0 keepalives_interval=0 keepalives_count=0", { true, 0, 0, 0, 0 } },
        { "host=a keepalives_idle=32767 keepalives_interval=32767 keepalives_count=127",
          { true, 32767, 32767, 127, 0 } },
        { "host=a keepalives_idle=''", { true, 30, 10, 3, 0 } },
        { "host=a tcp_user_timeout=0", { true, 30, 10, 3, 0 } },
        { "host=a tcp_user_timeout=2147483647", { true, 30, 10, 3, 2147483647 } },
        { "postgresql://a/b?keepalives_idle=60&tcp_user_timeout=9000", { true, 60, 10, 3, 9000 } },
        { "host=/tmp keepalives_count=5", { true, 30, 10, 5, 0 } },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct config *c = config_with(rows[i].upstream);
        const struct tcp_options *got = &c->databases[0].tcp, *want = &rows[i].want;
        cr_expect_eq(got->keepalives, want->keepalives, "%s", rows[i].upstream);
        cr_expect_eq(got->idle_s, want->idle_s, "%s", rows[i].upstream);
        cr_expect_eq(got->interval_s, want->interval_s, "%s", rows[i].upstream);
        cr_expect_eq(got->count, want->count, "%s", rows[i].upstream);
        cr_expect_eq(got->user_timeout_ms, want->user_timeout_ms, "%s", rows[i].upstream);
        config_release(c);
    }
}

#define PASSTHROUGH "with auth method passthrough"

/* Each is the connection string of a database on line 2. */
static const struct {
    const char *upstream, *want;
} mistakes[] = {
    { "host=a user=me", "user= is not used " PASSTHROUGH ": every client logs in as itself" },
    { "host=a password=xyzzy", "password= is not used " PASSTHROUGH ": every client logs in as itself" },
    { "host=a target_session_attrs=read-write",
      "target_session_attrs= is not used " PASSTHROUGH ": a client's login is good for one server only" },
    { "host=a channel_binding=require", "channel_binding=require cannot be kept " PASSTHROUGH },
    { "host=a target_session_attrs=master", "target_session_attrs= cannot be \"master\"" },
    { "host=a sslmode=maybe", "sslmode= cannot be \"maybe\"" },
    { "host=a sslnegotiation=later", "sslnegotiation= cannot be \"later\"" },
    { "postgresql://a?load_balance_hosts=round", "load_balance_hosts= cannot be \"round\"" },
    { "host=a channel_binding=no", "channel_binding= cannot be \"no\"" },
    { "host=a gssencmode=require", "gssencmode= cannot be \"require\"" },
    { "host=a sslnegotiation=direct",
      "sslnegotiation=direct cannot do without TLS: expected sslmode=require, verify-ca or verify-full" },
    { "host=a sslmode=verify-ca", "the system's authorities sign for everybody: expected sslrootcert= with a file" },
    { "host=a sslrootcert=system", "the system's authorities sign for everybody" },
    { "host=a sslrootcert=ca.pem", "sslrootcert= would not be looked at: expected sslmode=verify-full" },
    { "host=a sslcert=c.pem", "sslcert= and sslkey= need each other" },
    { "host=a sslpassword=xyzzy", "sslpassword= is not supported by this version of pgatomic: expected host, " },
    { "host=a passfile=x", "passfile= is not supported by this version" },
    { "host=a connect_timeout=0", "expected seconds, from 1 to 86400, in connect_timeout=" },
    { "host=a connect_timeout=1s", "expected seconds, from 1 to 86400, in connect_timeout=" },
    { "host=a connect_timeout=-1", "expected seconds, from 1 to 86400, in connect_timeout=" },
    { "host=a connect_timeout=3\" connect_timeout = \"5s", "connect_timeout= is not what the database block says" },
    { "host=a keepalives=on", "keepalives= cannot be \"on\"" },
    { "host=a keepalives=-1", "keepalives= cannot be \"-1\"" },
    { "host=a keepalives_idle=-1", "expected seconds, from 0 to 32767, in keepalives_idle=" },
    { "host=a keepalives_idle=32768", "expected seconds, from 0 to 32767, in keepalives_idle=" },
    { "host=a keepalives_idle=18446744073709551617", "expected seconds, from 0 to 32767, in keepalives_idle=" },
    { "host=a keepalives_interval=1s", "expected seconds, from 0 to 32767, in keepalives_interval=" },
    { "host=a keepalives_count=128", "expected probes, from 0 to 127, in keepalives_count=" },
    { "host=a tcp_user_timeout=2147483648", "expected milliseconds, from 0 to 2147483647, in tcp_user_timeout=" },
    { "host=a tcp_user_timeout=' 5'", "expected milliseconds, from 0 to 2147483647, in tcp_user_timeout=" },
    { "host=a sslnegotiation", "missing \"=\" after \"sslnegotiation\" in connection info string" },
    { "host=a sslnegotiation='direct", "sslnegotiation= cannot be \"'direct\"" },
    { "host=a password=***", "*** stands for a secret that was not printed" },
};

Test(upstream, a_mistake_is_told_and_no_password_is)
{
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        char *text, *want;
        cr_assert(asprintf(&text, ANY_DATABASE "\ndatabase x { upstream = \"%s\" }", mistakes[i].upstream) > 0);
        cr_assert(asprintf(&want, "FILE:2: upstream: %s", mistakes[i].want) > 0);
        char *errors = errors_of(text);
        cr_expect_not_null(strstr(errors, want), "%s\n gives: %s\n  want: %s", text, errors, want);
        cr_expect_null(strstr(errors, "xyzzy"));
        free(errors);
        free(want);
        free(text);
    }
}

#define CLIENT_TLS "client_tls { mode = prefer certificate = c key = k }\n"

Test(upstream, P10_passthrough_has_tls_on_one_leg_at_most)
{
    char *errors = errors_of(CLIENT_TLS "database x { upstream = \"host=a\" }");
    cr_expect_not_null(strstr(errors,
                              "SCRAM cannot be relayed between TLS to clients and TLS to the upstream: expected "
                              "sslmode=disable"),
                       "%s", errors);
    free(errors);
    config_release(config_of(CLIENT_TLS "database x { upstream = \"host=a sslmode=disable\" }"));
    config_release(config_of(CLIENT_TLS "database x { upstream = \"host=/tmp\" }"));
    config_release(config_of("database x { upstream = \"host=a sslmode=require\" }"));
}

Test(upstream, what_is_printed_reads_back_as_the_same)
{
    struct config *c =
        config_with("postgresql://a,b/shop?sslnegotiation=direct&sslmode=verify-full&load_balance_hosts=random"
                    "&keepalives_count=5&tcp_user_timeout=9000");
    char *once = printed(c);
    struct config *again = config_of(once);
    char *twice = printed(again);

    cr_expect_str_eq(once, twice);
    cr_expect(again->databases[0].direct_tls);
    cr_expect(again->databases[0].shuffles_hosts);
    cr_expect_eq(again->databases[0].tls.mode, TLS_VERIFY_FULL);
    cr_expect_eq(again->databases[0].tcp.count, 5);
    cr_expect_eq(again->databases[0].tcp.user_timeout_ms, 9000);
    free(once);
    free(twice);
    config_release(c);
    config_release(again);
}
