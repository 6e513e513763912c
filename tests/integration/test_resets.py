"""What a client resets goes back to what it began with, of which a server of a pool knows nothing (P5)."""

import psycopg

from proxy import Proxy
from test_differential import bind, execute, parse
from test_neighbours import state, value
from test_pool import TRUST, database, error_of, pooled
from wire import SYNC, message, query

RUN = bind(b"", b"") + execute(b"")

# Something else than what servers have by themselves, and than what RESETS says.
STARTUP = {"application_name": "began", "client_encoding": "LATIN1",
           "options": "-c my.own=began -c work_mem=3MB -c timezone=Asia/Tokyo -c DateStyle=SQL,DMY -c IntervalStyle=iso_8601 "
                      "-c search_path=pg_catalog,\\ public -c statement_timeout=1h -c role=app"}
REPORTED = ["application_name", "client_encoding", "TimeZone", "DateStyle", "IntervalStyle", "is_superuser", "session_authorization"]

RESETS = [
    ["RESET ALL"],
    ["DISCARD ALL"],
    ["SET SESSION AUTHORIZATION DEFAULT"],
    ["SET my.own = 'x'", "RESET my.own"],
    ["SET my.own = ''", "SET my.own TO DEFAULT"],
    ["SET work_mem = '5MB'", "SET SESSION work_mem = DEFAULT"],
    ["SET search_path = public", "SET SCHEMA 'a'", "RESET search_path"],
    ["SET application_name = ''", "RESET application_name"],
    ["SET TIME ZONE 'Europe/Rome'", "SET TIME ZONE LOCAL"],
    ["SET timezone = 'UTC'", "SET TIME ZONE DEFAULT"],
    ["SET datestyle = 'ISO, MDY'", "RESET datestyle"],
    ["SET DateStyle = 'German'", "SET DateStyle TO DEFAULT"],
    ["SET intervalstyle = 'postgres'", "RESET IntervalStyle"],
    ["SET NAMES 'UTF8'", "SET NAMES DEFAULT"],
    ["SET client_encoding = 'SJIS'", "RESET client_encoding"],
    ["SET statement_timeout = '7s'", "RESET statement_timeout"],
    ["SET ROLE NONE", "RESET ROLE"],
    ["SET ROLE pg_read_all_data", "RESET SESSION AUTHORIZATION"],
    ["SET my.own = 'x'", "SET my.other = 'x'", "SET application_name = 'x'", "SET TimeZone = 'UTC'", "RESET ALL"],
    ["SET my.own = 'x'", "SET work_mem = '5MB'", "SET application_name = 'x'", "SET ROLE NONE", "DISCARD ALL"],
    ["BEGIN", "SET my.own = 'x'", "RESET ALL", "COMMIT"],
    ["BEGIN", "RESET ALL", "SET my.own = 'x'", "SET application_name = 'x'", "COMMIT"],
    ["SET my.own = 'x'", "SET application_name = 'x'", "BEGIN", "RESET ALL", "ROLLBACK"],
    ["SET my.own = 'x'", "SET TIME ZONE 'UTC'", "BEGIN", "SAVEPOINT a", "RESET my.own", "SET TIME ZONE LOCAL", "ROLLBACK TO a", "COMMIT"],
    ["BEGIN", "RESET work_mem", "SAVEPOINT a", "SET work_mem = '5MB'", "ROLLBACK TO a", "COMMIT"],
    ["BEGIN", "SET LOCAL work_mem = '5MB'", "RESET work_mem", "COMMIT"],
    ["BEGIN", "SET work_mem = '5MB'", "SAVEPOINT a", "RESET work_mem", "ROLLBACK TO a", "COMMIT"],
    ["SET work_mem = '5MB'", "BEGIN", "SAVEPOINT a", "RESET ALL", "ROLLBACK TO a", "RESET work_mem", "COMMIT"],
    # for the transaction alone
    ["SET work_mem = '5MB'", "BEGIN", "SET LOCAL work_mem TO DEFAULT", "COMMIT"],
    ["SET my.own = 'x'", "BEGIN", "SET LOCAL my.own TO DEFAULT", "SAVEPOINT a", "SET LOCAL my.own = 'y'", "ROLLBACK TO a", "COMMIT"],
    ["SET TIME ZONE 'UTC'", "BEGIN", "SAVEPOINT a", "SET LOCAL TIME ZONE LOCAL", "ROLLBACK TO a", "SET LOCAL TIME ZONE DEFAULT", "ROLLBACK"],
    ["SET client_encoding = 'SJIS'", "BEGIN", "SET LOCAL client_encoding TO DEFAULT", "COMMIT"],
    ["BEGIN", "SET LOCAL work_mem = '5MB'", "SET LOCAL work_mem TO DEFAULT", "SET work_mem = '7MB'", "COMMIT"],
    ["BEGIN", "RESET work_mem", "SET work_mem = '5MB'", "SET LOCAL work_mem TO DEFAULT", "COMMIT"],
    ["SET ROLE NONE", "BEGIN", "SET LOCAL role TO DEFAULT", "COMMIT"],
    ["SET work_mem = '5MB'", "SET LOCAL work_mem TO DEFAULT"],
    # a NULL is a default
    ["SET work_mem = '5MB'", "SELECT set_config('work_mem', NULL, false)"],
    ["SET my.own = 'x'", "SELECT set_config('my.own', NULL, false)"],
    ["SET TIME ZONE 'UTC'", "SELECT set_config('timezone', nullif('', ''), false)"],
    ["SET work_mem = '5MB'", "BEGIN", "SELECT set_config('work_mem', nullif('', ''), false)", "ROLLBACK"],
    ["SET work_mem = '5MB'", "BEGIN", "SELECT set_config('work_mem', NULL, true)", "COMMIT"],
    ["SET search_path = 'a'", "BEGIN", "SELECT set_config('search_path', nullif('', ''), true)", "COMMIT"],
]
# Nobody can tell what these set or reset.
RESETS_IN_THE_DARK = [
    ["SET work_mem = '5MB'", "SET TIME ZONE 'UTC'", "DO $$ BEGIN RESET work_mem; SET TIME ZONE LOCAL; END $$"],
    ["SET work_mem = '5MB'", "BEGIN", "DO $$ BEGIN EXECUTE 'RES' || 'ET ALL'; END $$", "ROLLBACK"],
    ["SET work_mem = '5MB'", "SELECT set_config('work' || '_mem', NULL, false)"],
]
# Strings of several statements.
RESETS_AMONG_OTHERS = [
    ["BEGIN; RESET ALL; COMMIT"],
    ["SET my.own = 'x'; RESET my.own"],
    ["RESET application_name; SET application_name = 'x'"],
    ["SET work_mem = '5MB'", "SET application_name = 'x'", "BEGIN; RESET ALL; ROLLBACK"],
    ["BEGIN; SET work_mem = '5MB'; SAVEPOINT a; RESET ALL; ROLLBACK TO a; COMMIT"],
    ["BEGIN; SET work_mem = '5MB'; SAVEPOINT a; SELECT 1; ROLLBACK TO a; RESET ALL; COMMIT"],
    ["SET client_encoding = 'UTF8'; SELECT 1; RESET ALL; SELECT 2"],
    ["BEGIN; SET work_mem = '5MB'; SAVEPOINT s; RESET work_mem; ROLLBACK TO s; COMMIT"],
    ["RESET work_mem; SET LOCAL work_mem = '5MB'"],
    ["BEGIN", "RESET ALL; SET LOCAL timezone = 'UTC'", "SAVEPOINT a", "COMMIT"],
    ["BEGIN", "RESET work_mem; SAVEPOINT a; RESET ALL; ROLLBACK TO a", "COMMIT"],
    ["BEGIN", "RESET work_mem; SAVEPOINT a; SET work_mem = '5MB'", "ROLLBACK TO a", "COMMIT"],
    ["BEGIN", "RESET TIME ZONE; SAVEPOINT a", "ROLLBACK TO a", "SET LOCAL work_mem TO DEFAULT; SAVEPOINT b", "ROLLBACK TO b", "COMMIT"],
]
# A Query, a statement without a name, and one with a name.
WAYS = [{}, {"binary": True}, {"prepare": True}]


def came_to(client, statements, way, in_between):
    """What the client has and was told, after each of these."""
    found = []
    for sql in statements:
        client.execute(sql, **way)
        found.append((sql, state(client), [(name, client.info.parameter_status(name)) for name in REPORTED]))
        if client.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            in_between()
    return found


def compare_resets(server, pool, pin):
    with pooled(server, pool=pool, pool_size=2 if pin or pool == "session" else 1) as proxy:
        neighbour = proxy.log_in(database="resets")
        options = {"user": "postgres", "dbname": "resets", "autocommit": True, **STARTUP}
        for way in WAYS:
            for statements in RESETS + (RESETS_AMONG_OTHERS if not way else []) + (RESETS_IN_THE_DARK if pin or pool == "session" else []):
                with psycopg.connect(host=server.directory, port=server.port, **options) as alone:
                    expected = came_to(alone, pin + statements, way, lambda: None)
                with psycopg.connect(host="127.0.0.1", port=proxy.port, **options) as client:
                    found = came_to(client, pin + statements, way, lambda: neighbour.ask("SELECT 1"))
                for one, other in zip(expected, found):
                    assert one == other, (pool, way, statements, one[0], set(str(one).split()) ^ set(str(other).split()))


def P5_every_kind_of_reset_goes_back_to_the_startup_packet_in_every_kind_of_pool(server):
    """At once, for what comes next, in a transaction too; and the client is told what it is told by PostgreSQL itself."""
    server.sql("CREATE DATABASE resets")
    server.sql("ALTER DATABASE resets SET timezone = 'Europe/Rome'; ALTER DATABASE resets SET work_mem = '6MB'; "
               "ALTER DATABASE resets SET my.own = 'database'; ALTER ROLE postgres IN DATABASE resets SET datestyle = 'German'")
    compare_resets(server, "transaction", [])
    server.sql("ALTER DATABASE resets RESET my.own")  # where not all is known, one of these is taken for what the client has set
    compare_resets(server, "transaction", ["CREATE TEMP TABLE pin (i int)"])
    compare_resets(server, "session", [])


def P5_after_a_reset_the_first_statement_is_read_in_the_clients_encoding(server):
    server.sql("CREATE DATABASE latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    for pool in ("transaction", "session"):
        with pooled(server, pool=pool, pool_size=2) as proxy:
            for name, encoding in (("postgres", "LATIN1"), ("latin1", "UTF8")):
                for reset in ("DISCARD ALL", "RESET ALL", "RESET client_encoding", "SET NAMES DEFAULT"):
                    with psycopg.connect(host="127.0.0.1", port=proxy.port, user="postgres", dbname=name, autocommit=True,
                                         client_encoding=encoding) as client:
                        client.execute(reset)
                        assert value(client, "SELECT ascii('ü')") == ord("ü"), (pool, name, reset)
                        client.execute("BEGIN")
                        client.execute(reset if reset != "DISCARD ALL" else "RESET ALL")
                        assert value(client, "SELECT ascii('ü')") == ord("ü"), (pool, name, reset)
                        client.execute("ROLLBACK")
                        assert value(client, "SELECT ascii('ü')") == ord("ü"), (pool, name, reset)


def R2_after_a_reset_the_application_still_chooses_the_route(server):
    server.create_database("shop", "CREATE TABLE kept (n int)")
    for pool in ("transaction", "session"):
        route = 'route "shop" { match = "/*"  application = "shop-*"  mode = atomic }\n'
        with Proxy(server, TRUST + database(server, pool=pool) + route, database=False) as proxy:
            client = proxy.log_in(database="shop", application_name="shop-1")
            for reset in ("DISCARD ALL", "RESET ALL", "RESET application_name", "SET application_name TO DEFAULT"):
                client.ask(reset)
                client.ask("SET pgatomic.request = '/basket'")
                client.ask("INSERT INTO kept VALUES (1)")
                client.ask("SET pgatomic.outcome = 'rollback'")
                assert client.value("SELECT count(*) FROM kept") == "0", (pool, reset)
                assert client.value("SHOW application_name") == "shop-1", (pool, reset)


def P5_a_role_outlasts_RESET_ALL_and_stays_its_clients(server):
    server.sql("CREATE ROLE lasting")
    try:
        for pool in ("transaction", "session"):
            with pooled(server, pool=pool, pool_size=1) as proxy:
                with proxy.log_in(TimeZone="Asia/Tokyo") as client:
                    client.ask("SET ROLE lasting")
                    client.ask("SET timezone = 'Europe/Rome'")
                    client.ask("RESET ALL")
                    assert (client.value("SELECT current_user"), client.value("SHOW timezone")) == ("lasting", "Asia/Tokyo"), pool
                    if pool == "transaction":
                        with proxy.log_in() as neighbour:
                            assert neighbour.value("SELECT current_user") == "postgres"
                        assert client.value("SELECT current_user") == "lasting"
                with proxy.log_in() as neighbour:
                    assert neighbour.value("SELECT current_user") == "postgres", pool
    finally:
        server.sql("DROP ROLE lasting")


def R11_required_stands_after_every_kind_of_reset(server):
    name = "default_transaction_read_only"
    resets = ("RESET ALL", "DISCARD ALL", f"RESET {name}", f"SET {name} = off", f"SET {name} TO DEFAULT", f"SELECT set_config('{name}', 'off', false)",
              "BEGIN; RESET ALL; ROLLBACK", "BEGIN; RESET ALL; COMMIT")
    route = 'route "reads" { mode = required  application = "reader" }\n'
    server.sql("CREATE TABLE required (i int)")
    try:
        for pool in ("dedicated", "session", "transaction"):
            size = {} if pool == "dedicated" else {"pool_size": 1}
            blocks = TRUST + database(f"host={server.directory} port={server.port}", pool=pool, **size) + route
            with Proxy(server, blocks, database=False) as proxy, proxy.log_in(application_name="reader") as client:
                for reset in resets:
                    for behind in (query(reset), parse(b"", reset) + RUN + SYNC):
                        client.send(behind + query("INSERT INTO required VALUES (1)") + parse(b"", "INSERT INTO required VALUES (1)") + RUN + SYNC)
                        client.read_until(b"Z")
                        for _ in range(2):
                            refused = error_of(client.read_until(b"Z"))
                            assert refused["C"] == "25P01", (pool, reset, refused)
                    said = client.ask(reset)
                    assert not any(kind == b"E" or kind == b"S" and body.startswith(name.encode()) for kind, body in said), (pool, reset, said)
                    refused = error_of(client.ask("INSERT INTO required VALUES (1)"))
                    assert refused["C"] == "25P01", (pool, reset, refused)
                assert client.ask("BEGIN; INSERT INTO required VALUES (2); COMMIT")[-1] == (b"Z", b"I")
                if pool == "transaction":
                    with proxy.log_in(application_name="writer") as neighbour:
                        assert neighbour.ask("INSERT INTO required VALUES (3)")[0] == (b"C", b"INSERT 0 1\0")
        rows = [row[0] for row in server.sql("SELECT i FROM required ORDER BY i")]
        assert rows == ["2", "2", "2", "3"], rows
    finally:
        server.sql("DROP TABLE required")


# --- what may never have run ----------------------------------------------------------------------------------------

WORK_MEM = query("SHOW work_mem")
COPY = message(b"d", b"1\n") + message(b"c")

# What is sent at once, and what work_mem is at its end. The client began with 3MB.
PIPELINES = [
    (parse(b"", "RESET work_mem") + parse(b"", "SET my.own = 'x'") + RUN + SYNC, "5MB"),
    (parse(b"", "SET my.own = 'x'") + RUN + parse(b"", "SET work_mem TO DEFAULT") + SYNC, "5MB"),
    (parse(b"s", "RESET work_mem") + parse(b"", "RESET my.own") + RUN + SYNC + bind(b"", b"s") + execute(b"") + SYNC, "3MB"),
    (query("BEGIN") + parse(b"", "RESET ALL") + parse(b"", "SET my.own = 'x'") + RUN + SYNC + query("COMMIT"), "5MB"),
    (parse(b"", "RESET work_mem") + RUN + execute(b"nothing") + SYNC, "5MB"),
    (query("RESET work_mem; SELECT 1/0"), "5MB"),
    (query("RESET work_mem; COPY copied FROM STDIN") + COPY, "3MB"),
    (query("COPY copied FROM STDIN; RESET work_mem") + COPY, "3MB"),
    (query("COPY copied FROM STDIN; RESET work_mem; COPY copied FROM STDIN") + COPY + COPY, "3MB"),
    (query("RESET work_mem; COPY copied FROM STDIN") + message(b"f", b"no\0"), "5MB"),
    (query("DISCARD ALL"), "3MB"),
]


def shown(client, pipeline):
    """What SHOW says that was sent right behind."""
    client.send(pipeline + WORK_MEM)
    while True:
        kind, body = client.read()
        if kind == b"T" and b"work_mem" in body:
            row = client.read()[1]
            client.read_until(b"Z")
            return row[6:].decode()


def P5_a_reset_that_never_ran_resets_nothing_and_one_that_ran_is_followed_at_once(server):
    server.create_database("copies", "CREATE TABLE copied (i int)")
    for pool in ("transaction", "session"):
        with pooled(server, pool=pool, pool_size=1) as proxy:
            for number, (pipeline, expected) in enumerate(PIPELINES):
                with proxy.log_in(database="copies", options="-c work_mem=3MB") as client:
                    client.ask("SET work_mem = '5MB'")
                    assert shown(client, pipeline) == expected, (pool, number)
                    if pool == "transaction":
                        with proxy.log_in(database="copies") as neighbour:
                            assert neighbour.value("SHOW work_mem") == "4MB", number
                    assert client.value("SHOW work_mem") == expected, (pool, number)


def P5_a_transaction_in_which_a_reset_cannot_be_followed_fails_with_an_error(server):
    """The role may reset what it may not set: its transaction fails, and says so, and all is as before."""
    server.sql("CREATE ROLE humble")
    try:
        with pooled(server, pool_size=1) as proxy, proxy.log_in(options="-c log_min_duration_statement=1h") as client:
            client.ask("BEGIN")
            client.ask("SET LOCAL ROLE humble")
            for way in (query("RESET ALL"), parse(b"", "RESET ALL") + RUN + SYNC):
                client.ask("SAVEPOINT a")
                client.send(way)
                said = client.read_until(b"Z")
                assert error_of(said)["C"] == "42501" and said[-1] == (b"Z", b"E"), said
                client.ask("ROLLBACK TO a")
                assert client.value("SHOW log_min_duration_statement") == "1h"
            client.ask("COMMIT")
            with proxy.log_in() as neighbour:
                assert neighbour.value("SHOW log_min_duration_statement") == "-1"
            assert client.value("SHOW log_min_duration_statement") == "1h"
    finally:
        server.sql("DROP ROLE humble")
