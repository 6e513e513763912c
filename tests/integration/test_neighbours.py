"""Two clients on one server: whatever state one of them makes, the other never meets it, and its own follows it (P4, P5)."""

import concurrent.futures
import socket
import struct

import psycopg

from proxy import Proxy, wait_until
from test_differential import bind, execute, parse
from test_pool import TRUST, database, error_of, pooled
from test_pool_turns import waiting
from wire import SYNC, Wire, fields, message, query, startup


def connect(proxy, **options):
    return psycopg.connect(host="127.0.0.1", port=proxy.port, user="postgres", dbname="postgres", autocommit=True, **options)


def value(client, sql, parameters=None, **options):
    return client.execute(sql, parameters, **options).fetchone()[0]


def setting(client, name):
    return value(client, f"SELECT current_setting('{name}', true)")


# Each is set by the first statement, shown by the second, and means something else to a neighbour.
SETTINGS = [
    ("SET timezone = 'Europe/Rome'", "timezone"),
    ("SET TIME ZONE 'Asia/Tokyo'", "timezone"),
    ("SET my.own = 'ü'", "my.own"),
    ("SET search_path = pg_catalog, \"$user\", public", "search_path"),
    ("SET SCHEMA 'pg_catalog'", "search_path"),
    ("SET NAMES 'LATIN1'", "client_encoding"),
    ("SET DateStyle = 'SQL, DMY'", "datestyle"),
    ("SET standard_conforming_strings = off", "standard_conforming_strings"),
    ("SET SESSION statement_timeout = '7s'", "statement_timeout"),
    ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE", "default_transaction_isolation"),
    ("SET ROLE pg_read_all_data", "role"),
    ("SELECT set_config('my.other', 'x', false)", "my.other"),
    ("BEGIN; SET work_mem = '3MB'; COMMIT", "work_mem"),
    ("BEGIN; SAVEPOINT a; SET my.point = 'kept'; RELEASE a; COMMIT", "my.point"),
    ("SET application_name = 'it''s \\ mine'", "application_name"),
]


def P5_every_kind_of_setting_follows_its_client_and_never_meets_a_neighbour(server):
    with pooled(server, pool_size=1) as proxy:
        neighbour = connect(proxy)
        for sql, name in SETTINGS:
            before = setting(neighbour, name) or ""
            client = connect(proxy)
            client.execute(sql)
            mine = setting(client, name)
            assert mine not in (None, before), sql
            assert (setting(neighbour, name) or "") == before, sql
            assert setting(client, name) == mine, sql
            client.close()
            assert (setting(neighbour, name) or "") == before, sql


def P5_a_setting_that_was_rolled_back_does_not_follow(server):
    with pooled(server, pool_size=1) as proxy:
        client, neighbour = connect(proxy), connect(proxy)
        client.execute("SET my.own = 'kept'")
        client.execute("BEGIN")
        client.execute("SET my.own = 'lost'")
        client.execute("ROLLBACK")
        value(neighbour, "SELECT 1")
        assert setting(client, "my.own") == "kept"
        client.execute("BEGIN")
        client.execute("SAVEPOINT a")
        client.execute("SET my.own = 'lost'")
        client.execute("ROLLBACK TO a")
        client.execute("COMMIT")
        value(neighbour, "SELECT 1")
        assert setting(client, "my.own") == "kept"
        client.execute("BEGIN")
        client.execute("SET LOCAL my.own = 'local'")
        assert setting(client, "my.own") == "local"
        client.execute("COMMIT")
        assert setting(client, "my.own") == "kept"


def P5_reset_and_discard_all_go_back_to_what_the_client_began_with(server):
    with pooled(server, pool_size=1) as proxy:
        client, neighbour = connect(proxy, options="-c my.own=began -c work_mem=3MB", application_name="began"), connect(proxy)
        for sql in ("RESET my.own", "RESET ALL", "DISCARD ALL"):
            client.execute("SET my.own = 'changed'")
            client.execute("SET work_mem = '5MB'")
            client.execute("RESET work_mem")
            client.execute(sql)
            assert setting(client, "my.own") == "began", sql
            value(neighbour, "SELECT 1")
            assert setting(client, "my.own") == "began", sql
            assert setting(client, "work_mem") == "3MB", sql
            assert client.info.parameter_status("application_name") == "began", sql


def P5_encodings_of_neighbours_do_not_mix(server):
    with pooled(server, pool_size=1) as proxy:
        utf8, latin1 = connect(proxy, client_encoding="UTF8"), connect(proxy, client_encoding="LATIN1")
        utf8.execute("SET my.own = 'é'")
        for _ in range(3):
            assert value(latin1, "SELECT 'ü' || %s", ("ß",)) == "üß"
            assert setting(utf8, "my.own") == "é"


# --- every kind of state ----------------------------------------------------------------------------------------

# What is left in a session, as its client sees it. Settings of extensions come and go with these.
STATE = """SELECT
    (SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_catalog.pg_settings
     WHERE name NOT LIKE '%.%' AND name NOT IN ('transaction_isolation', 'in_hot_standby', 'max_stack_depth')),
    coalesce(current_setting('my.own', true), ''), current_user, session_user,
    (SELECT count(*) FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
    (SELECT string_agg(name, ' ') FROM pg_catalog.pg_cursors WHERE is_holdable),
    (SELECT count(*) FROM pg_catalog.pg_class WHERE relnamespace = pg_my_temp_schema() AND relkind <> 'i'),
    (SELECT count(*) FROM pg_catalog.pg_proc WHERE pronamespace = pg_my_temp_schema()),
    (SELECT string_agg(c, ' ') FROM pg_catalog.pg_listening_channels() c)"""

FOLLOWS, PINS, ENDS = "follows", "pins", "ends"

KINDS = [
    # settings, in every form that SET has
    (FOLLOWS, "SET my.own = 'x'"),
    (FOLLOWS, 'SET SESSION "My"."Own" TO \'X y\''),
    (FOLLOWS, 'SET search_path TO a, "b c", public'),
    (FOLLOWS, "SET SCHEMA 'a'"),
    (FOLLOWS, "SET TIME ZONE -8"),
    (FOLLOWS, "SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE"),
    (ENDS, "SET TIME ZONE 'Asia/Tokyo'", "SET TIME ZONE LOCAL"),
    (FOLLOWS, "SET NAMES 'LATIN1'"),
    (ENDS, "SET NAMES 'LATIN1'", "SET NAMES DEFAULT"),
    (FOLLOWS, "SET XML OPTION DOCUMENT"),
    (FOLLOWS, "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY, ISOLATION LEVEL SERIALIZABLE, DEFERRABLE"),
    (FOLLOWS, "SET default_transaction_read_only = on"),
    (FOLLOWS, "SET session_replication_role = replica"),
    (FOLLOWS, "SELECT set_config('my.own', 'x', false)"),
    (FOLLOWS, "WITH a AS (SELECT pg_catalog.\"set_config\"('my.own', 'x', false)) TABLE a"),
    (FOLLOWS, "EXPLAIN ANALYZE SELECT set_config('my.own', 'x', false)"),
    (FOLLOWS, "PREPARE p AS SELECT set_config('my.own', 'x', false)", "SET my.own = 'y'", "EXECUTE p"),
    (FOLLOWS, "PREPARE p AS SELECT set_config('my.own', 'x', false)", "EXPLAIN ANALYZE EXECUTE p"),
    (FOLLOWS, "DO $$ BEGIN PERFORM set_config('my.own', 'x', false); END $$"),
    (PINS, "PREPARE p AS SELECT set_config($1::text, 'x', false)", "EXECUTE p('my.own')"),
    (PINS, "UPDATE pg_settings SET setting = '7s' WHERE name = 'statement_timeout'"),
    (PINS, "WITH x AS (SELECT '7s' AS s) UPDATE pg_settings SET setting = s FROM x WHERE name = 'statement_timeout'"),
    (PINS, "UPDATE ONLY (pg_settings) SET setting = '7s' WHERE name = 'statement_timeout'"),
    (PINS, "SELECT query_to_xml('SELECT set_config(''my.own'', ''x'', false)', true, false, '')"),
    (PINS, "DO $$ BEGIN SET my.own = 'x'; END $$"),
    (PINS, "DO $$ BEGIN EXECUTE 'SE' || 'T my.own = 1'; END $$"),
    (PINS, "SET SEED TO 0.5"),
    (PINS, "SELECT setseed(0.5)"),
    # settings that go again
    (ENDS, "SET LOCAL my.own = 'x'"),
    (ENDS, "BEGIN", "SET LOCAL my.own = 'x'", "COMMIT"),
    (ENDS, "BEGIN", "SET my.own = 'x'", "ROLLBACK"),
    (FOLLOWS, "BEGIN", "SET my.own = 'kept'", "SAVEPOINT a", "SET my.own = 'x'", "ROLLBACK TO a", "COMMIT"),
    (FOLLOWS, "BEGIN; SET my.own = 'kept'; SET LOCAL my.own = 'x'; COMMIT"),
    (ENDS, "SET my.own = 'x'", "RESET my.own"),
    (ENDS, "SET my.own = 'x'", "SET work_mem = '5MB'", "RESET ALL"),
    (ENDS, "SET work_mem = '5MB'", "SET work_mem TO DEFAULT"),
    (ENDS, "BEGIN", "SET TRANSACTION READ ONLY", "COMMIT"),
    (ENDS, "ALTER ROLE app SET my.own = 'x'", "ALTER ROLE app RESET my.own"),
    # who it is
    (FOLLOWS, "SET ROLE app"),
    (FOLLOWS, "SET SESSION ROLE app", "SET my.own = 'x'"),
    (FOLLOWS, "SELECT set_config('role', 'app', false)"),
    (ENDS, "BEGIN", "SET LOCAL ROLE app", "COMMIT"),
    (ENDS, "SET ROLE app", "SET ROLE NONE"),
    (ENDS, "SET ROLE app", "RESET ROLE"),
    (ENDS, "SET ROLE app", "RESET SESSION AUTHORIZATION"),
    (PINS, "SET SESSION AUTHORIZATION app"),
    (PINS, "SET SESSION AUTHORIZATION app", "RESET SESSION AUTHORIZATION"),
    (PINS, "SELECT set_config('session_authorization', 'app', false)"),
    # temporary things
    (PINS, "CREATE TEMP TABLE t (i int)"),
    (PINS, "CREATE LOCAL TEMPORARY TABLE IF NOT EXISTS t (i int) ON COMMIT DELETE ROWS"),
    (PINS, "CREATE TEMP TABLE t AS SELECT 1"),
    (PINS, "SELECT 1 AS a INTO TEMPORARY TABLE t"),
    (PINS, "SELECT 1 AS a INTO pg_temp.t"),
    (PINS, 'CREATE TABLE "pg_temp".t (i int)'),
    (PINS, 'CREATE TABLE U&"pg\\005ftemp".t (i int)'),
    (PINS, "BEGIN; SET LOCAL search_path = pg_temp; CREATE TABLE t (i int); COMMIT"),
    (PINS, "SELECT set_config('search_path', 'pg_' || 'temp', false)", "CREATE TABLE t (i int)"),
    (PINS, "CREATE OR REPLACE TEMP VIEW v AS SELECT 1"),
    (PINS, "CREATE TEMP RECURSIVE VIEW v (a) AS SELECT 1"),
    (PINS, "CREATE TEMP SEQUENCE s"),
    (PINS, "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    (PINS, "CREATE TYPE pg_temp.y AS (a int)"),
    (PINS, "DO $$ BEGIN CREATE TEMP TABLE t (i int); END $$"),
    (PINS, "CREATE TEMP TABLE t (i int)", "DISCARD TEMP"),
    (ENDS, "CREATE TEMP TABLE t (i int) ON COMMIT DROP"),
    (ENDS, "BEGIN", "CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1", "COMMIT"),
    (ENDS, "CREATE TEMP TABLE t (i int)", "SET my.own = 'x'", "DISCARD ALL"),
    # cursors
    (PINS, "DECLARE c CURSOR WITH HOLD FOR SELECT 1"),
    (PINS, "BEGIN", "DECLARE c INSENSITIVE SCROLL CURSOR WITH HOLD FOR SELECT 1", "COMMIT"),
    (ENDS, "BEGIN", "DECLARE c CURSOR FOR SELECT 1", "COMMIT"),
    # advisory locks; each its own, for the session that had the last one may not have ended yet
    (PINS, "SELECT pg_advisory_lock({n})"),
    (PINS, "SELECT pg_advisory_lock_shared({n})"),
    (PINS, "SELECT pg_try_advisory_lock({n})"),
    (PINS, "SELECT pg_try_advisory_lock_shared({n}, 2)"),
    (PINS, 'SELECT "pg_catalog" . "pg_advisory_lock" /* x */ ( {n} )'),
    (PINS, "WITH a AS MATERIALIZED (SELECT pg_advisory_lock({n})) SELECT count(*) FROM a"),
    (PINS, "SELECT * FROM ROWS FROM (pg_advisory_lock({n}))"),
    (PINS, "SELECT pg_advisory_lock({n})", "SELECT pg_advisory_unlock({n})"),
    (ENDS, "BEGIN", "SELECT pg_advisory_xact_lock({n})", "COMMIT"),
    # the rest
    (PINS, "LOAD 'plpgsql'"),
    (PINS, "LISTEN a"),
    (PINS, "DO $$ BEGIN LISTEN a; END $$"),
    (PINS, "SET idle_session_timeout = '1h'"),
    (ENDS, "SET my.own = 'x'", "RESET my.own", "DISCARD PLANS", "DISCARD SEQUENCES"),
    (ENDS, "BEGIN", "SELECT lo_open(lo_create(0), 131072)", "COMMIT"),
    (ENDS, "BEGIN", "SELECT pg_export_snapshot()", "COMMIT"),
]


def state(client):
    return client.execute(STATE).fetchone()


def state_after(client, statements, number):
    for sql in statements:
        client.execute(sql.replace("{n}", str(number)))
    return state(client)


def P5_every_kind_of_state_is_its_clients_own(server):
    """Of two clients on one server the first has what it would have on a server of its own, and the second has nothing of it."""
    with Proxy(server, TRUST + database(server, pool_size=1), database=False, http=True) as proxy:
        neighbour = connect(proxy)
        clean = state(neighbour)
        for number, (fate, *statements) in enumerate(KINDS):
            with psycopg.connect(host=server.directory, port=server.port, user="postgres", dbname="postgres", autocommit=True) as alone:
                expected = state_after(alone, statements, 2 * number)
            assert fate == PINS or (expected == clean) == (fate == ENDS), statements
            client = connect(proxy)
            assert state_after(client, statements, 2 * number + 1) == expected, statements
            with concurrent.futures.ThreadPoolExecutor() as elsewhere:
                found = elsewhere.submit(state, neighbour)
                if fate == PINS:
                    wait_until(lambda: waiting(proxy) == 1, f"the neighbour to wait for the only server after {statements}")
                    assert not found.done()
                else:
                    assert found.result() == clean, statements
                assert state(client) == expected, statements
                client.close()
                assert found.result() == clean, statements


def P5_a_setting_that_only_a_role_may_make_follows_with_the_role(server):
    server.sql("CREATE ROLE strong SUPERUSER; CREATE ROLE weak LOGIN; GRANT strong TO weak")
    with pooled(server, pool_size=1) as proxy:
        options = {"host": "127.0.0.1", "port": proxy.port, "user": "weak", "dbname": "postgres", "autocommit": True}
        with psycopg.connect(**options) as client, psycopg.connect(**options) as neighbour:
            client.execute("SET ROLE strong")
            client.execute("SET log_statement = 'all'")
            for role, sql in (("strong", "SELECT 1"), ("weak", "SET ROLE NONE")):
                client.execute(sql)
                assert (setting(neighbour, "log_statement"), value(neighbour, "SELECT current_user")) == ("none", "weak")
                assert (setting(client, "log_statement"), value(client, "SELECT current_user")) == ("all", role)
    server.sql("DROP ROLE strong; DROP ROLE weak")


def P5_what_cannot_follow_keeps_its_server_until_discard_all(server):
    pins = ["CREATE TEMP TABLE pin (x int)", "SELECT pg_advisory_lock(17)", "DECLARE pin CURSOR WITH HOLD FOR SELECT 1",
            "LOAD 'plpgsql'", "SELECT set_config('my.' || 'own', 'x', false)"]
    with pooled(server, pool_size=2) as proxy:
        neighbour = connect(proxy)
        for sql in pins:
            client = connect(proxy)
            client.execute(sql)
            mine = value(client, "SELECT pg_backend_pid()")
            for _ in range(3):
                assert value(neighbour, "SELECT pg_backend_pid()") != mine, sql
                assert value(client, "SELECT pg_backend_pid()") == mine, sql
            client.execute("DISCARD ALL")
            client.close()
        client = connect(proxy)
        client.execute("CREATE TEMP TABLE pin (x int)")
        client.close()  # without a word
        assert value(neighbour, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
        for _ in range(4):
            assert value(connect(proxy), "SELECT to_regclass('pin')") is None


def P4_prepared_statements_by_sql_and_by_protocol_are_each_clients_own(server):
    with pooled(server, pool_size=1) as proxy:
        first, second = connect(proxy), connect(proxy)
        first.execute("PREPARE one (int) AS SELECT $1 + 1")
        second.execute("PREPARE one (int) AS SELECT $1 + 2")
        assert value(first, "EXECUTE one(1)") == 2
        assert value(second, "EXECUTE one(1)") == 3
        first.execute("DEALLOCATE one")
        assert value(second, "EXECUTE one(1)") == 3
        try:
            first.execute("EXECUTE one(1)")
            raise AssertionError("a statement that is gone was executed")
        except psycopg.errors.InvalidSqlStatementName:
            pass
        for number in range(10):
            assert value(first, "SELECT %s::int + 10", (number,), prepare=True) == number + 10
            assert value(second, "SELECT %s::int + 20", (number,), prepare=True) == number + 20
        second.execute("DEALLOCATE ALL")
        assert value(first, "SELECT %s::int + 10", (1,), prepare=True) == 11


def P4_a_table_that_changes_is_told_once_to_each_client_that_had_prepared_a_statement_on_it(server):
    """Who would read other rows than were described to it has to be told, also when somebody else was told first."""
    server.create_database("healing", "CREATE TABLE t AS SELECT 1 AS a")
    run = bind(b"", b"s") + execute(b"") + SYNC
    with pooled(server, pool_size=1) as proxy:
        clients = [proxy.log_in(database="healing") for _ in range(2)]
        for client in clients:
            client.send(parse(b"s", "SELECT * FROM t") + run)
            client.read_until(b"Z")
        clients[1].ask("ALTER TABLE t ALTER a TYPE text")
        for client in clients:
            client.send(run)
            assert error_of(client.read_until(b"Z"))["C"] == "0A000"
            client.send(run)
            assert [kind for kind, _ in client.read_until(b"Z")] == [b"2", b"D", b"C", b"Z"]
        third = proxy.log_in(database="healing")
        third.send(parse(b"s", "SELECT * FROM t") + run)
        assert [kind for kind, _ in third.read_until(b"Z")] == [b"1", b"2", b"D", b"C", b"Z"]


def P4_a_server_keeps_a_bounded_number_of_statements(server):
    with pooled(server, pool_size=1) as proxy:
        client = connect(proxy)
        client.prepared_max = None
        for number in range(700):
            assert value(client, f"SELECT {number}", prepare=True) == number
        assert 0 < value(client, "SELECT count(*) FROM pg_prepared_statements") <= 500
        for number in range(700):
            assert value(client, f"SELECT {number}", prepare=True) == number


def P3_a_large_message_that_is_refused_takes_nothing_with_it(server):
    with pooled(server, pool_size=1) as proxy:
        holder, client = proxy.log_in(), proxy.log_in()
        big = b"x" * 3_000_000
        bind = message(b"B", b"\0\0\0\0\0\1" + len(big).to_bytes(4, "big") + big + b"\0\0")
        pipeline = message(b"P", b"\0SELECT length($1::text)\0\0\0") + bind + message(b"E", b"\0\0\0\0\0") + SYNC
        holder.ask("BEGIN")
        proxy.change_config(TRUST + database(server, pool_size=1, queue_timeout="300ms"))
        client.send(pipeline)
        kinds = [kind for kind, _ in client.read_until(b"Z")]
        assert kinds == [b"E", b"Z"], kinds
        holder.ask("COMMIT")
        proxy.change_config(TRUST + database(server, pool_size=1))
        assert client.value("SELECT 'still here'") == "still here"
        client.send(pipeline)
        assert [body for kind, body in client.read_until(b"Z") if kind == b"D"] == [b"\0\1\0\0\0\x073000000"]
        assert holder.value("SELECT 1") == "1"


def P4_what_follows_a_query_whose_preparation_fails_is_answered(server):
    server.create_database("preparing", "CREATE TABLE t AS SELECT 1 AS a")
    with pooled(server, pool_size=2) as proxy:
        first, second = proxy.log_in(database="preparing"), proxy.log_in(database="preparing")
        first.ask("PREPARE p AS SELECT a FROM t")
        here = first.value("SELECT pg_backend_pid()")
        second.ask("BEGIN")
        if second.value("SELECT pg_backend_pid()") != here:  # take the one that knows p
            third = proxy.log_in(database="preparing")
            third.ask("BEGIN")
            assert third.value("SELECT pg_backend_pid()") == here
            second.ask("DROP TABLE t")
            second.ask("COMMIT")
        else:
            second.ask("DROP TABLE t")
            second.ask("COMMIT")
            third = proxy.log_in(database="preparing")
            third.ask("BEGIN")
        first.send(query("EXECUTE p") + query("SELECT 2") + query("SELECT 3"))
        kinds = [[kind for kind, _ in first.read_until(b"Z")] for _ in range(3)]
        assert kinds == [[b"E", b"Z"], [b"T", b"D", b"C", b"Z"], [b"T", b"D", b"C", b"Z"]], kinds


# --- names in pipelines -------------------------------------------------------------------------------------------

ONE, TWO = parse(b"s", "SELECT 1"), parse(b"t", "SELECT 2")
RUN, FAIL = bind(b"", b"s") + execute(b""), execute(b"nothing")
CLOSE = message(b"C", b"Ss\0")

PIPELINES = [
    FAIL + ONE + SYNC + RUN + SYNC,  # what was skipped is not there for what comes behind
    ONE + FAIL + SYNC + RUN + SYNC + CLOSE + SYNC,
    ONE + CLOSE + FAIL + SYNC + RUN + SYNC,
    FAIL + ONE + CLOSE + SYNC + RUN + SYNC + ONE + RUN + CLOSE + SYNC,
    ONE + SYNC + FAIL + CLOSE + SYNC + ONE + SYNC + RUN + CLOSE + SYNC,
    ONE + SYNC + CLOSE + SYNC + ONE + SYNC + RUN + SYNC + CLOSE + SYNC,
    parse(b"s", "SELECT 1; SELECT 2") + SYNC + RUN + SYNC,
    ONE + SYNC + TWO + SYNC + RUN + bind(b"", b"t") + execute(b"") + SYNC + CLOSE + message(b"C", b"St\0") + SYNC,
    ONE + bind(b"", b"s", [b"7"]) + SYNC + CLOSE + SYNC,  # errors speak of the client's own names
    query("PREPARE s AS SELECT 1; SELECT 1/0") + query("EXECUTE s") + RUN + SYNC + query("DEALLOCATE s"),
    query("SELECT 1/0; PREPARE s AS SELECT 1") + query("EXECUTE s") + ONE + RUN + SYNC + query("DEALLOCATE s"),
    query("PREPARE s AS SELECT 1; PREPARE s AS SELECT 2") + query("EXECUTE s(1)") + query("DEALLOCATE s; DEALLOCATE s"),
    query("EXECUTE s; PREPARE s AS SELECT 1") + query("EXECUTE s"),
    query("BEGIN") + FAIL + ONE + SYNC + RUN + SYNC + query("ROLLBACK") + RUN + SYNC,
    # what fails in a pipeline takes its Queries along up to the Sync, also where the name was in use
    ONE + SYNC + parse(b"s", "SELEC") + query("PREPARE p AS SELECT 1") + query("SELECT 2") + SYNC + query("EXECUTE p") + CLOSE + SYNC,
    ONE + SYNC + ONE + query("PREPARE p AS SELECT 1") + query("SELECT 2") + SYNC + query("EXECUTE p") + CLOSE + SYNC,
    query("COPY t FROM STDIN") + message(b"d", b"1\n") + message(b"c") + ONE + SYNC + RUN + CLOSE + SYNC,
]


def replies(client, pipeline, number):
    """All that comes, up to the row that says that no more does."""
    client.send(pipeline + SYNC + query(f"SELECT 'end {number}'"))
    found = []
    while not found or found[-1][0] != b"D" or f"end {number}".encode() not in found[-1][1]:
        found.append(client.read())
    client.read_until(b"Z")
    return [[fields(body).get(name) for name in "SCMP"] if kind == b"E" else (kind, body) for kind, body in found if kind != b"S"]


def P4_pipelines_and_their_names_are_answered_as_by_postgresql_itself(server):
    server.create_database("pipelines", "CREATE TABLE t (i int)")
    with pooled(server, pool_size=1) as proxy:
        with Wire(socket.socket(socket.AF_UNIX)) as alone:
            alone.socket.connect(f"{server.directory}/.s.PGSQL.{server.port}")
            alone.send(startup(user="postgres", database="pipelines"))
            alone.read_until(b"Z")
            clients = [proxy.log_in(database="pipelines") for _ in range(2)]
            for number, pipeline in enumerate(PIPELINES):
                expected = replies(alone, pipeline, number)
                for client in clients:
                    assert replies(client, pipeline, number) == expected, (number, pipeline)


def P5_a_function_called_by_its_number_keeps_its_server_unless_it_is_of_large_objects(server):
    def call(function, *arguments):
        values = b"".join(struct.pack("!i", len(value)) + value for value in arguments)
        return message(b"F", struct.pack("!Ihh", function, 0, len(arguments)) + values + struct.pack("!h", 0))

    with pooled(server, pool_size=1) as proxy, proxy.log_in() as client, proxy.log_in() as neighbour:
        for pins, said in ((False, call(957, b"-1")), (True, call(2880, b"4711"))):  # lo_creat, pg_advisory_lock
            client.send(said)
            assert [kind for kind, _ in client.read_until(b"Z")] == [b"V", b"Z"]
            proxy.change_config(TRUST + database(server, pool_size=1, queue_timeout="100ms" if pins else "30s"))
            assert [kind for kind, _ in neighbour.ask("SELECT 1")] == ([b"E", b"Z"] if pins else [b"T", b"D", b"C", b"Z"])
            proxy.change_config(TRUST + database(server, pool_size=1))
            client.ask("DISCARD ALL")
            assert neighbour.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()") == "0"
