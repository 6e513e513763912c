"""Two clients on one server: whatever state one of them makes, the other never meets it, and its own follows it (P4, P5)."""

import psycopg

from test_pool import pooled
from wire import SYNC, message, query


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


def P4_a_table_that_changes_does_not_break_its_prepared_statements_for_long(server):
    server.create_database("healing", "CREATE TABLE t AS SELECT 1 AS a")
    with pooled(server, pool_size=1) as proxy:
        def log_in():
            return psycopg.connect(host="127.0.0.1", port=proxy.port, user="postgres", dbname="healing", autocommit=True)

        first, second = log_in(), log_in()
        for client in (first, second, first, second):
            client.execute("SELECT * FROM t", prepare=True)
        second.execute("ALTER TABLE t ADD b int")
        failures = 0
        for client in (first, second, first, second):
            try:
                client.execute("SELECT * FROM t", prepare=True)
            except psycopg.errors.FeatureNotSupported:
                failures += 1
        assert failures <= 1
        assert len(first.execute("SELECT * FROM t", prepare=True).fetchone()) == 2


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
    with pooled(server, pool_size=1, queue_timeout="300ms") as proxy:
        holder, client = proxy.log_in(), proxy.log_in()
        big = b"x" * 3_000_000
        bind = message(b"B", b"\0\0\0\0\0\1" + len(big).to_bytes(4, "big") + big + b"\0\0")
        pipeline = message(b"P", b"\0SELECT length($1::text)\0\0\0") + bind + message(b"E", b"\0\0\0\0\0") + SYNC
        holder.ask("BEGIN")
        client.send(pipeline)
        kinds = [kind for kind, _ in client.read_until(b"Z")]
        assert kinds == [b"E", b"Z"], kinds
        holder.ask("COMMIT")
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
