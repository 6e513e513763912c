"""Prepared statements of clients to whom the same text means something else (P4)."""

import struct

import psycopg
from psycopg.rows import tuple_row

from test_differential import bind, execute, parse
from test_pool import pooled
from wire import SYNC, Client, fields

MIDNIGHT = "SELECT count(*) FROM (VALUES ('2024-01-01 00:00+00'::timestamptz)) v (at) WHERE at >= '2024-01-01 00:00'"


def connect(proxy, **options):
    return psycopg.connect(host="127.0.0.1", port=proxy.port, user="postgres", dbname="postgres", autocommit=True,
                           prepare_threshold=0, row_factory=tuple_row, **options)


def value(client, sql, parameters=None):
    return client.execute(sql, parameters).fetchone()[0]


def run(name, *values):
    return bind(b"", name, values) + execute(b"") + SYNC


def first_column(row):
    return row[6:6 + struct.unpack_from("!i", row, 2)[0]].decode()


def answers(client, data):
    """The first column of each row, or the SQLSTATE."""
    client.send(data)
    return [fields(body)["C"] if kind == b"E" else first_column(body) for kind, body in client.read_until(b"Z") if kind in b"DE"]


def P4_literals_are_read_under_the_settings_of_the_client_that_prepares_them(server):
    rows = [("timezone", "America/New_York", "UTC", MIDNIGHT),
            ("datestyle", "ISO, DMY", "ISO, MDY", "SELECT '01/02/2024'::date"),
            ("intervalstyle", "postgres", "sql_standard", "SELECT extract(epoch FROM '-1 2:00:00'::interval)"),
            ("array_nulls", "on", "off", "SELECT array_to_string('{NULL}'::text[], ',', 'none')")]
    with pooled(server, pool_size=1) as proxy:
        for name, mine, others, sql in rows:
            a, b, c = (connect(proxy, options=f"-c {name}={setting.replace(' ', '')}") for setting in (mine, others, mine))
            first, second = value(a, sql), value(b, sql)
            assert first != second, name
            assert [value(client, sql) for client in (a, b, c, a)] == [first, second, first, first], name
            for client in (a, b, c):
                client.close()


def P4_equal_clients_go_on_sharing(server):
    with pooled(server, pool_size=1) as proxy:
        clients = [connect(proxy, options="-c timezone=Japan") for _ in range(3)]
        for client in clients:
            assert value(client, MIDNIGHT) == 1
        prepared = value(clients[0], "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%00:00+00%'")
        assert prepared == 2  # this one, too


def P4_a_schema_per_tenant_has_statements_of_its_own(server):
    server.sql("CREATE SCHEMA t1; CREATE TYPE t1.state AS ENUM ('new'); CREATE TABLE t1.orders (s t1.state, what int);"
               "CREATE SCHEMA t2; CREATE TYPE t2.state AS ENUM ('new'); CREATE TABLE t2.orders (s t2.state, what text)")
    insert = parse(b"i", "INSERT INTO orders (s) VALUES ($1) RETURNING s")
    with pooled(server, pool_size=1) as proxy:
        tenants = [Client(proxy.port), Client(proxy.port)]
        for number, client in enumerate(tenants):
            client.log_in()
            client.ask(f"SET search_path = t{number + 1}")
            assert answers(client, insert + run(b"i", b"new")) == ["new"]
            answers(client, parse(b"s", "SELECT * FROM orders") + SYNC)
        for _ in range(2):
            for client in tenants:
                assert answers(client, run(b"i", b"new")) == ["new"]
                assert set(answers(client, run(b"s"))) == {"new"}
        for client in tenants:
            client.close()


def P4_what_a_transaction_has_set_for_itself_is_not_what_others_share(server):
    with pooled(server, pool_size=1) as proxy:
        a, b = connect(proxy, options="-c timezone=UTC"), connect(proxy, options="-c timezone=UTC")
        for sql in ("SET LOCAL timezone = 'America/New_York'", "SET timezone = 'America/New_York'",
                    "SELECT set_config('timezone', 'America/New_York', true)"):
            a.execute("DEALLOCATE ALL")
            with a.transaction():
                a.execute(sql, prepare=False)
                assert value(a, MIDNIGHT) == 0, sql
            assert value(b, MIDNIGHT) == 1, sql
            a.execute("SET timezone = 'UTC'")


def P4_now_in_a_literal_is_the_moment_of_whoever_prepares_it(server):
    sql = "SELECT 'now'::timestamptz > %s::timestamptz"
    for options in ({}, {"prepare_unnamed": "on"}):
        with pooled(server, pool_size=1, **options) as proxy:
            a, b = connect(proxy), connect(proxy)
            value(a, sql, ("2020-01-01",))
            before = value(a, "SELECT clock_timestamp()::text")
            assert value(b, sql, (before,)) is True


def P4_sql_prepare_keeps_to_the_settings_of_its_client(server):
    with pooled(server, pool_size=1) as proxy:
        a, b = connect(proxy, options="-c timezone=America/New_York"), connect(proxy, options="-c timezone=UTC")
        for client in (a, b):
            client.execute(f"PREPARE p AS {MIDNIGHT}", prepare=False)
        for _ in range(2):
            assert [value(client, "EXECUTE p") for client in (a, b)] == [0, 1]


def P4_after_a_migration_a_statement_fails_once_and_is_prepared_anew(server):
    server.sql("CREATE TYPE colour AS ENUM ('red'); CREATE TABLE migrated (id int, c colour); INSERT INTO migrated VALUES (1, 'red')")
    by_colour = parse(b"c", "SELECT id FROM migrated WHERE c = $1") + run(b"c", b"red")
    by_id = parse(b"i", "SELECT c::text FROM migrated WHERE id = $1")
    with pooled(server, pool_size=1) as proxy:
        def ask_anew(data):
            client = Client(proxy.port)
            client.log_in()
            found = answers(client, data)
            client.close()
            return found
        assert ask_anew(by_colour) == ["1"] and ask_anew(by_id + run(b"i", b"1")) == ["red"]
        server.sql("ALTER TYPE colour RENAME TO old; CREATE TYPE colour AS ENUM ('red', 'blue');"
                   "ALTER TABLE migrated ALTER c TYPE colour USING c::text::colour, ALTER id TYPE bigint; DROP TYPE old;"
                   "INSERT INTO migrated VALUES (3000000000, 'blue')")
        assert ask_anew(by_colour) == ["XX000"] and ask_anew(by_colour) == ["1"]
        assert ask_anew(by_id + run(b"i", b"3000000000")) == ["22003"]
        assert ask_anew(by_id + run(b"i", b"3000000000")) == ["blue"]


WHOSE = "SELECT whose || 'x'::kind AS whose FROM goods WHERE kind = $1"
PREPARED = "SELECT count(*) || ' ' || coalesce(max(prepare_time)::text, '') FROM pg_prepared_statements WHERE statement LIKE '%FROM goods%'"


def P4_a_transaction_that_sets_the_search_path_of_its_tenant_reads_that_tenants_rows(server):
    """SET LOCAL: the names stand for the tenant's own table and type, whenever and wherever the statement was prepared, and it is not
    prepared again for each transaction."""
    for i in (1, 2):
        server.sql(f"CREATE SCHEMA local{i}; CREATE DOMAIN local{i}.kind AS text CHECK (VALUE IN ('x', 'k')); CREATE TABLE local{i}.goods"
                   f" (whose text, kind local{i}.kind); INSERT INTO local{i}.goods VALUES ('{i}', 'k')")
    for inside in (True, False):
        for size in (1, 2):
            with pooled(server, pool_size=size) as proxy:
                clients = [Client(proxy.port).log_in(options="-c search_path=local1") for _ in range(3)]

                def transact(client, tenant, *data):
                    client.ask(f"BEGIN; SET LOCAL search_path = local{tenant}")
                    found = [answers(client, each) for each in data]
                    client.ask("COMMIT")
                    return found
                for client in clients:
                    if inside:
                        transact(client, 2, parse(b"s", WHOSE) + SYNC)
                    else:
                        answers(client, parse(b"s", WHOSE) + SYNC)
                for turn in range(12):
                    tenant = 1 + (turn // 2) % 2
                    assert transact(clients[turn % 3], tenant, run(b"s", b"k")) == [[f"{tenant}x"]], (inside, size, turn)
                    if turn == 5:
                        before = clients[0].value(PREPARED)
                assert size > 1 or clients[0].value(PREPARED) == before
                assert size > 1 or before.startswith("3 " if inside else "1 "), "shared where it means the same to all"
                for client in clients:
                    client.close()


def P4_what_nobody_can_share_stays_unnamed_and_leaves_nothing_on_the_server(server):
    with pooled(server, pool_size=1, prepare_unnamed="on") as proxy, Client(proxy.port).log_in() as a:
        for name in ("public", "pg_catalog"):
            for _ in range(3):
                a.ask(f"BEGIN; SET LOCAL search_path = {name}")
                assert answers(a, parse(b"", "SELECT current_schema() || $1::text") + run(b"", b"!")) == [f"{name}!"]
                a.ask("COMMIT")
        assert a.value("SELECT count(*) FROM pg_prepared_statements") == "0"
        for _ in range(3):
            assert answers(a, parse(b"", "SELECT current_schema() || $1::text") + run(b"", b"!")) == ["public!"]
        assert a.value("SELECT count(*) FROM pg_prepared_statements") == "1"
