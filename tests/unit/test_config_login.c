/* Who may come in, pools and HTTP: what may be said, and what may not. */
#include "config/users.h"
#include "tests/unit/with_config.h"

Test(config_login, pools_have_the_documented_defaults)
{
    struct config *c = config_of(ANY_DATABASE);
    const struct database *d = &c->databases[0];

    cr_expect_eq(d->pool_size, 20);
    cr_expect_eq(d->min_size, 0);
    cr_expect_eq(d->queue_timeout_ms, 30000);
    cr_expect_eq(d->server_idle_timeout_ms, 600000);
    cr_expect_eq(d->server_lifetime_ms, 3600000);
    cr_expect_eq(d->server_reset, RESET_AUTO);
    cr_expect_not(d->prepare_unnamed);
    cr_expect_str_eq(c->auth_users, "");
    cr_expect_str_eq(c->auth_query, "");
    cr_expect_eq(c->client_tls.mode, TLS_PREFER);
    cr_expect_str_eq(c->client_tls.certificate, "");
    cr_expect_not(config_offers_tls(c));
    cr_expect_str_eq(c->http.text, "");
    cr_expect_null(c->admin_users[0]);
    config_release(c);
}

/* Each stands behind a line with a database, as lines from 2 on. */
static const struct {
    const char *text, *want;
} mistakes[] = {
    { "auth { method = scram-sha-256 }",
      "FILE:2: method: there is nothing to compare a password with: expected users = \"users.conf\" or a query" },
    { "auth { method = simple }",
      "FILE:2: method: expected passthrough or trust or scram-sha-256 or md5 or cert, but found \"simple\"" },
    { "auth {\nusers = \"/nowhere/users.conf\" }",
      "FILE:3: users: /nowhere/users.conf: cannot be opened: No such file or directory" },
    { "auth { users = \"pgatomic-no-users.conf\" }", "FILE:2: users: /tmp/pgatomic-no-users.conf: cannot be opened" },
    { "auth {\nquery = \"SELECT rolname, rolpassword FROM pg_authid\" }",
      "FILE:3: query: expected $1 where the name of the user belongs" },
    { "database x { upstream = \"host=a\" pool = session }",
      "pool: expected dedicated with auth method passthrough, for a client's login is good for one connection only" },
    { "database x { upstream = \"host=a\"\nmin_size = 21 }", "FILE:3: min_size: larger than pool_size" },
    { "database x { upstream = \"host=a\" pool_size = 0 }",
      "FILE:2: pool_size: expected a number from 1 to 100000, but found \"0\"" },
    { "database x { upstream = \"host=a\" server_reset = never }",
      "FILE:2: server_reset: expected auto or always, but found \"never\"" },
    { "auth { method = md5 }",
      "FILE:2: method: there is nothing to compare a password with: expected users = \"users.conf\" or a query" },
    { "auth {\nquery = \"SELECT 1\" }",
      "FILE:3: query: no database block has a connection to ask on: expected control = \"host=… dbname=… user=…\"" },
    { "auth { method = cert }",
      "FILE:2: method = cert: expected client_tls { mode = verify-ca } or verify-full, for else nobody shows a "
      "certificate" },
    { "client_tls { certificate = \"c\"\nmode = require }",
      "FILE:3: client_tls: expected the certificate and key to show to clients" },
    { "client_tls {\nkey = \"k\" }", "FILE:2: client_tls: expected the certificate and key to show to clients" },
    { "client_tls { certificate = \"c\" key = \"k\"\nmode = verify-ca }",
      "FILE:3: client_tls: expected the ca that clients' certificates come from" },
    { "auth { method = trust }\nlogin x { method = passthrough }\ndatabase x { upstream = \"host=a\" pool = session }",
      "FILE:4: pool: expected dedicated with auth method passthrough, for a client's login is good for one connection "
      "only" },
    { "login x { }", "FILE:2: method is missing from this block" },
    { "login x {\nmethod = ldap }",
      "FILE:3: method: expected passthrough or trust or scram-sha-256 or md5 or cert or reject, but found \"ldap\"" },
    { "login x {\nmethod = md5 }",
      "FILE:3: method: there is nothing to compare a password with: expected users = \"users.conf\" or a query" },
    { "login x { method = reject\naddress = { \"::1\", \"localhost\" } }",
      "FILE:3: address: expected addresses or networks such as 127.0.0.1, 10.0.0.0/8, ::1 or fd00::/8, or unix; behind "
      "a "
      "prefix all bits are zero, but found \"localhost\"" },
    { "http = \"9632\"", "FILE:2: http: expected an address such as 127.0.0.1:9632 or [::1]:9632, but found \"9632\"" },
    { "http = \"unix:/run/pgatomic\"",
      "FILE:2: http: expected an address such as 127.0.0.1:9632 or [::1]:9632, but found \"unix:/run/pgatomic\"" },
};

Test(config_login, a_mistake_is_told_with_its_line_and_what_was_expected)
{
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        char *text;
        cr_assert(asprintf(&text, ANY_DATABASE "\n%s", mistakes[i].text) > 0);
        char *errors = errors_of(text);
        cr_expect_not_null(strstr(errors, mistakes[i].want), "%s\n gives: %s\n  want: %s", mistakes[i].text, errors,
                           mistakes[i].want);
        free(errors);
        free(text);
    }
}

Test(config_login, P9_the_users_file_is_read_from_beside_the_config)
{
    static const char users[] = "user \"app\" { password = \"xyzzy\" }\nuser \"bad\" { password = \"\" }\n";
    const char *first_line_end = strchr(users, '\n');
    char *text;

    char *path = file_with(users, (size_t)(first_line_end + 1 - users));
    cr_assert(asprintf(&text, ANY_DATABASE "\nauth { users = \"%s\" method = md5 }", strrchr(path, '/') + 1) > 0);
    struct config *c = config_of(text);
    cr_expect_str_eq(users_password(c->users, "app"), "xyzzy");
    cr_expect_null(users_password(c->users, "bad"));
    char *print = printed(c);
    cr_expect_null(strstr(print, "xyzzy"), "%s", print);
    free(print);
    config_release(c);
    unlink(path);
    free(path);
    free(text);

    path = file_with(users, strlen(users));
    cr_assert(asprintf(&text, ANY_DATABASE "\nauth {\nusers = \"%s\" }", path) > 0);
    char *errors = errors_of(text), *want;
    cr_assert(asprintf(&want, "FILE:3: users: %s:2: password: expected from 1 to 1000 bytes\n", path) > 0);
    cr_expect_str_eq(errors, want);
    unlink(path);
    free(path);
    free(text);
    free(errors);
    free(want);
}

Test(config_login, P10_files_are_those_beside_the_config_and_print_as_they_can_be_opened)
{
    struct config *c = config_of("client_tls { certificate = \"tls/c.pem\"  key = \"/k.pem\" }\n"
                                 "sink \"hook\" { type = webhook  url = \"https://a\"  ca = \"ca.pem\" }\n"
                                 "database \"plain\" { upstream = \"host=127.0.0.1 sslmode=disable\" }");

    cr_expect(config_offers_tls(c));
    cr_expect_str_eq(c->client_tls.certificate, "/tmp/tls/c.pem");
    cr_expect_str_eq(c->client_tls.key, "/k.pem");
    cr_expect_str_eq(c->client_tls.ca, "");
    cr_expect_str_eq(c->sinks[0].ca, "/tmp/ca.pem");
    char *print = printed(c);
    cr_expect_not_null(strstr(print, "certificate = \"/tmp/tls/c.pem\""), "%s", print);
    free(print);
    config_release(c);
}

/* The names of everything that is documented, in use now or not. */
static const char documented[] =
    "listen  = {\"127.0.0.1:6432\"}\n"
    "workers = 0 drain_timeout = 30s\n"
    "http    = \"127.0.0.1:9632\" admin_users = {\"postgres\"}\n"
    "log { format = json  level = info  file = \"\"  payloads = preview }\n"
    "limits { clients = 10000  message = 1GB  startup = 10kB events_per_request = 10000  event = 1MB  held = 256MB }\n"
    "auth { method = scram-sha-256 users = \"users.conf\"  query = \"\" }\n"
    "client_tls { mode = prefer  certificate = \"c.pem\"  key = \"k.pem\"  ca = \"\" }\n"
    "database \"shop\" { upstream = \"host=db1,db2 port=5432 dbname=shop target_session_attrs=read-write "
    "sslmode=verify-full\"\n"
    "    control = \"host=db1,db2 dbname=shop user=pgatomic\" pool = transaction pool_size = 20  min_size = 0\n"
    "    queue_timeout = 30s server_idle_timeout = 10min  server_lifetime = 1h  connect_timeout = 5s  server_reset = "
    "auto\n"
    "    prepare_unnamed = on }\n"
    "route \"checkout\" { match = \"/checkout/*\" application = \"shop-*\"  database = \"shop\"  user = \"*\" mode = "
    "atomic\n"
    "    nested = savepoint on_error = abort end = rollback timeout = 30s  idle_timeout = 10s isolation = default\n"
    "    access = default sandbox_sinks = {} }\n"
    "channel \"celery\" { sink = {\"tasks\"}  forward = off  delivery = outbox }\n"
    "channel \"mail.*\" { sink = {\"mail-hook\"}  capture = wire  ordering = channel  duplicates = keep }\n"
    "sink \"tasks\" { type = celery url = \"redis://127.0.0.1:6379/0\"  queue = \"celery\" }\n"
    "sink \"mail-hook\" { type = webhook url = \"https://hooks.example/mail\" secret = "
    "\"${HOOK_SECRET:-whsec_c2VjcmV0}\" body = raw timeout "
    "= 15s\n"
    "    retry { first = 1s  max = 1h  attempts = 15 } }\n"
    "sink \"stream\" { type = redis url = \"redis://127.0.0.1:6379/0\" command = xadd  key = \"events\" }\n"
    "sink \"listeners\" { type = postgres upstream = \"host=db1 dbname=shop user=pgatomic\" }\n"
    "outbox \"shop\" { upstream = \"host=db1,db2 dbname=shop user=pgatomic\"  lease = 30s  batch = 500  poll = 5s }\n";

Test(config_login, nothing_that_is_documented_is_called_unknown)
{
    char *errors = errors_of(documented);

    for (char *line = strtok(errors, "\n"); line != NULL; line = strtok(NULL, "\n"))
        cr_expect_not_null(strstr(line, "users.conf: cannot be opened"), "%s", line);
    free(errors);
}

Test(config_login, names_that_are_switched_off_are_accepted_before_they_can_be_switched_on)
{
    config_release(config_of("http = \"\" admin_users = {} auth { users = \"\" query = \"\" }"
                             "client_tls { mode = disable certificate = \"\" }" ANY_DATABASE));
}
