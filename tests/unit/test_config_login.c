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
    cr_expect_null(c->stats_users[0]);
    cr_expect_not(config_has_console(c));
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
      "pool: expected dedicated with auth method passthrough, for a client's login is good for one connection only; "
      "or auth { method = scram-sha-256  users = \"users.conf\" }" },
    { "auth { method = trust } database x { upstream = \"host=a\" pool = session\nmin_size = 21 }",
      "FILE:3: min_size: larger than pool_size" },
    { "auth { method = trust } database x { upstream = \"host=a\" pool = session pool_size = 0 }",
      "FILE:2: pool_size: expected a number from 1 to 100000, but found \"0\"" },
    { "auth { method = trust } database x { upstream = \"host=a\" pool = session server_reset = never }",
      "FILE:2: server_reset: expected auto or always, but found \"never\"" },
    { "database x { upstream = \"host=a\"\npool_size = 20 }",
      "FILE:3: pool_size has no effect with pool = dedicated, which takes upstream, connect_timeout, control: expected "
      "pool = session or transaction" },
    { "database x { upstream = \"host=a\" min_size = 0 }", "FILE:2: min_size has no effect with pool = dedicated, " },
    { "database x { upstream = \"host=a\" queue_timeout = 1s }",
      "FILE:2: queue_timeout has no effect with pool = dedicated, " },
    { "database x { upstream = \"host=a\" server_idle_timeout = 1s }",
      "FILE:2: server_idle_timeout has no effect with pool = dedicated, " },
    { "database x { upstream = \"host=a\" server_lifetime = 1s }",
      "FILE:2: server_lifetime has no effect with pool = dedicated, " },
    { "database x { upstream = \"host=a\" server_reset = auto }",
      "FILE:2: server_reset has no effect with pool = dedicated, " },
    { "database x { upstream = \"host=a\" prepare_unnamed = off }",
      "FILE:2: prepare_unnamed has no effect with pool = dedicated, " },
    { "auth { method = md5 }",
      "FILE:2: method: there is nothing to compare a password with: expected users = \"users.conf\" or a query" },
    { "auth {\nquery = \"SELECT 1\" }",
      "FILE:3: query: no database block has a connection to ask on: expected control = \"host=… dbname=… user=…\"" },
    { "auth { method = md5 query = \"SELECT $1\" } database x { upstream = \"host=a\" control = \"host=a dbname=x\" }",
      "FILE:1: database \"*\": nobody could log in: expected control = \"host=… dbname=… user=…\", on which auth { "
      "query "
      "} is asked, or a users file" },
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
      "only; or auth { method = scram-sha-256  users = \"users.conf\" }" },
    { "login x { }", "FILE:2: method is missing from this block" },
    { "login x {\nmethod = ldap }",
      "FILE:3: method: expected passthrough or trust or scram-sha-256 or md5 or cert or reject, but found \"ldap\"" },
    { "login x {\nmethod = md5 }",
      "FILE:3: method: there is nothing to compare a password with: expected users = \"users.conf\" or a query" },
    { "login x { method = reject\naddress = { \"::1\", \"localhost\" } }",
      "FILE:3: address: expected addresses or networks such as 127.0.0.1, 10.0.0.0/8, ::1 or fd00::/8, or unix; behind "
      "a "
      "prefix all bits are zero, but found \"localhost\"" },
    { "login x {\ndatabase = \"all\" method = reject }", "FILE:3: database: pg_hba.conf's all is \"*\" here" },
    { "login x {\nuser = all method = reject }", "FILE:3: user: pg_hba.conf's all is \"*\" here" },
    { "login x {\ndatabase = {shop, sameuser} method = reject }",
      "FILE:3: database: pg_hba.conf's sameuser does not exist here: expected names, or patterns such as \"shop_*\"" },
    { "login x { database = samerole method = reject }",
      "FILE:2: database: pg_hba.conf's samerole does not exist here: " },
    { "login x { database = replication method = reject }",
      "FILE:2: database: pg_hba.conf's replication does not exist here: " },
    { "login x {\nuser = {app, \"+admins\"} method = reject }",
      "FILE:3: user: pg_hba.conf's +admins does not exist here: expected names, or patterns such as \"shop_*\"" },
    { "login x { user = \"/^app\" method = reject }", "FILE:2: user: pg_hba.conf's /^app does not exist here: " },
    { "login x { user = \"@names\" method = reject }", "FILE:2: user: pg_hba.conf's @names does not exist here: " },
    { "login x { database = {} method = reject }",
      "FILE:2: database: expected a name or a pattern, but found nothing" },
    { "login x { user = {} method = reject }", "FILE:2: user: expected a name or a pattern, but found nothing" },
    { "login x {\ntls = on  method = reject }",
      "FILE:3: tls = on: nobody comes over TLS: expected client_tls with a certificate and a key, and not mode = "
      "disable" },
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

Test(config_login, P9_a_login_block_takes_lists_and_any_name_that_a_database_has)
{
    struct config *c =
        config_of("database all { upstream = \"host=127.0.0.1\" }\n"
                  "login x { database = {all, \"shop_*\"}  user = {replication, \"dba_*\"}  method = reject }\n"
                  "login y { database = shop  user = app  method = reject }\n"
                  "login z { method = reject }");

    cr_expect_str_eq(c->logins[0].databases[0], "all");
    cr_expect_str_eq(c->logins[0].databases[1], "shop_*");
    cr_expect_null(c->logins[0].databases[2]);
    cr_expect_str_eq(c->logins[0].users[1], "dba_*");
    cr_expect_str_eq(c->logins[1].databases[0], "shop");
    cr_expect_str_eq(c->logins[1].users[0], "app");
    cr_expect_str_eq(c->logins[2].databases[0], "*");
    cr_expect_str_eq(c->logins[2].users[0], "*");
    config_release(c);
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

Test(config_login, P9_a_database_on_which_the_query_cannot_be_asked_is_remarked_on)
{
    static const char databases[] = "database \"asked\" { upstream = \"host=a\" control = \"host=a dbname=x\" }\n"
                                    "database \"silent\" { upstream = \"host=a\" }\n";
    static const char remark[] = "# no control: here nobody logs in whom only the query of auth knows\n";
    static const char *const logins[] = {
        "login x { database = silent  method = trust } auth { method = md5  query = \"SELECT $1\" }",
        "auth { method = trust  query = \"SELECT $1\" }",
    };

    for (size_t i = 0; i < sizeof logins / sizeof *logins; i++) {
        char *text;
        cr_assert(asprintf(&text, "%s%s", databases, logins[i]) > 0);
        struct config *c = config_of(text);
        char *print = printed(c), *silent = strstr(print, "database \"silent\"");
        cr_assert_not_null(silent);
        cr_expect_not_null(strstr(silent, remark), "%s", print);
        *silent = '\0';
        cr_expect_null(strstr(print, remark), "%s", print);
        free(print);
        config_release(c);
        free(text);
    }
}

Test(config_login, what_only_shared_servers_have_is_printed_for_them_alone)
{
    struct config *c = config_of(ANY_DATABASE);
    char *print = printed(c);
    cr_expect_null(strstr(print, "pool_size"), "%s", print);
    free(print);
    config_release(c);

    c = config_of("auth { method = trust } database x { upstream = \"host=a\" pool = session }");
    print = printed(c);
    cr_expect_not_null(strstr(print, "pool_size = 20\n"), "%s", print);
    free(print);
    config_release(c);
}

Test(config_login, P9_what_stands_in_place_of_a_method_is_not_taken_for_passthrough)
{
    char *errors = errors_of("auth { method = simple }\ndatabase x { upstream = \"host=a user=rep\" pool = session }");

    cr_expect_str_eq(errors, "FILE:1: method: expected passthrough or trust or scram-sha-256 or md5 or cert, but found "
                             "\"simple\"\n");
    free(errors);
}

Test(config_login, P9_md5_secrets_are_remarked_on_where_scram_is_asked_for)
{
    static const char users[] = "user \"new\" { password = \"xyzzy\" }\n"
                                "user \"old\" { password = \"md5a3556571e93b0d20722ba62be61e8c2d\" }\n";
    static const char remark[] =
        "# 1 with an md5 secret, with which nobody logs in by scram-sha-256; the first is \"old\"\n";
    static const char *const methods[] = { "scram-sha-256", "md5" };
    char *path = file_with(users, strlen(users));

    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        char *text;
        cr_assert(asprintf(&text, ANY_DATABASE "auth { users = \"%s\" method = %s }", path, methods[i]) > 0);
        struct config *c = config_of(text);
        char *print = printed(c);
        cr_expect_eq(strstr(print, remark) != NULL, i == 0, "%s", print);
        free(print);
        config_release(c);
        free(text);
    }
    unlink(path);
    free(path);
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
    "http    = \"127.0.0.1:9632\" admin_users = {\"postgres\"} stats_users = {\"monitor\"}\n"
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
    "login \"nobody\" { database = \"shop\" user = \"postgres\"  address = {\"10.1.0.0/16\", \"unix\"}  tls = off  "
    "method = "
    "reject }\n"
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

Test(config_login, a_console_is_for_whoever_is_listed)
{
    struct config *c = config_of("stats_users = {\"a\", \"b\"} admin_users = {\"c\"}" ANY_DATABASE);
    cr_expect(config_has_console(c));
    cr_expect(config_is_watcher(c, "a") && config_is_watcher(c, "b") && config_is_admin(c, "c"));
    cr_expect_not(config_is_watcher(c, "c") || config_is_watcher(c, "") || config_is_admin(c, "a"));
    config_release(c);
}

Test(config_login, names_that_are_switched_off_are_accepted_before_they_can_be_switched_on)
{
    config_release(config_of("http = \"\" admin_users = {} auth { users = \"\" query = \"\" }"
                             "client_tls { mode = disable certificate = \"\" }" ANY_DATABASE));
}
