"""Prepared statements of a client that comes to another server with its next unit: what runs is what it prepared last (P4)."""

import asyncio
from contextlib import contextmanager

import asyncpg

from proxy import Proxy, wait_until
from test_differential import bind, describe, execute, parse
from test_pool import error_of, pooled
from wire import SYNC, TERMINATE, fields, message, query

FLUSH = message(b"H")


class Steered:
    """A client on a pool of two servers. Two others keep them, and let go the one on which its next unit shall run."""

    def __init__(self, proxy):
        self.client = proxy.log_in()
        self.keepers = [proxy.log_in() for _ in range(2)]
        for keeper in self.keepers:  # they use named statements alone: a Query would destroy the unnamed one on their server
            keeper.send(parse(b"keep", "BEGIN") + parse(b"let_go", "COMMIT") + SYNC)
            keeper.read_until(b"Z")
            self.run(keeper, b"keep")

    @staticmethod
    def run(client, name):
        client.send(bind(b"", name) + execute(b"") + SYNC)
        client.read_until(b"Z")

    @contextmanager
    def free(self, number):
        """Whoever says something meanwhile gets that server."""
        self.run(self.keepers[number], b"let_go")
        yield
        self.run(self.keepers[number], b"keep")

    def at(self, number, unit):
        """What is answered there: the columns of rows, the tags of statements, the SQLSTATEs of errors."""
        with self.free(number):
            self.client.send(unit)
            replies = self.client.read_until(b"Z")
        shown = {b"D": lambda body: body[6:].decode(), b"C": lambda body: body[:-1].decode(), b"E": lambda body: fields(body)["C"]}
        return [shown[kind](body) for kind, body in replies if kind in shown]


def run(name):
    return bind(b"", name) + execute(b"") + SYNC


def P4_the_unnamed_statement_is_the_last_one_that_was_parsed_whatever_other_servers_have(server):
    with pooled(server, pool_size=2) as proxy:
        steered = Steered(proxy)
        assert steered.at(0, parse(b"", "SELECT 'first'") + SYNC) == []
        assert steered.at(0, run(b"")) == ["first", "SELECT 1"]
        assert steered.at(1, parse(b"", "SELECT 'second'") + SYNC) == []
        assert steered.at(0, run(b"")) == ["second", "SELECT 1"]
        assert steered.at(1, run(b"")) == ["second", "SELECT 1"]
        assert steered.at(1, parse(b"", "SELEC") + SYNC) == ["42601"]
        assert steered.at(0, run(b"")) == ["26000"]


def P4_a_statement_that_executes_another_one_finds_it_on_whatever_server(server):
    """Drivers prepare of their own accord what they are told, an EXECUTE too."""
    with pooled(server, pool_size=2) as proxy:
        steered = Steered(proxy)
        assert steered.at(0, query("PREPARE p AS SELECT 'by sql'")) == ["PREPARE"]
        assert steered.at(0, parse(b"s", "EXECUTE p") + SYNC) == []
        assert steered.at(1, run(b"s")) == ["by sql", "SELECT 1"]
        assert steered.at(1, parse(b"q", "SELECT 'by protocol'") + SYNC) == []
        assert steered.at(1, parse(b"", "EXECUTE q") + SYNC) == []
        assert steered.at(0, run(b"")) == ["by protocol", "SELECT 1"]


def P4_what_was_prepared_by_sql_is_prepared_once_on_each_server(server):
    when = query("SELECT max(prepare_time) FROM pg_prepared_statements WHERE statement LIKE 'PREPARE%'")
    with pooled(server, pool_size=2) as proxy:
        steered = Steered(proxy)
        assert steered.at(0, query("PREPARE p AS SELECT 'once'")) == ["PREPARE"]
        assert steered.at(1, query("EXECUTE p")) == ["once", "SELECT 1"]
        first = steered.at(1, when)
        assert steered.at(1, query("EXECUTE p")) == ["once", "SELECT 1"]
        assert steered.at(1, when) == first


def P4_what_stands_behind_deallocate_all_in_one_string_is_prepared(server):
    with pooled(server, pool_size=1) as proxy:
        first, second = proxy.log_in(), proxy.log_in()
        for number in (1, 2):
            first.ask(f"DEALLOCATE ALL; PREPARE a AS SELECT {number}")
            assert first.value("EXECUTE a") == str(number)
            second.ask(f"PREPARE x{number} AS SELECT {number}")
            assert second.value(f"EXECUTE x{number}") == str(number)
        first.ask("PREPARE b AS SELECT 77; DEALLOCATE ALL; PREPARE b AS SELECT 88")
        second.ask("PREPARE y AS SELECT 77")
        assert [first.value("EXECUTE b"), second.value("EXECUTE y")] == ["88", "77"]
        assert error_of(first.ask("DEALLOCATE ALL; EXECUTE b"))["C"] == "26000"
        assert second.value("EXECUTE y") == "77"


def P4_nobody_meets_another_clients_statement_by_the_name_that_it_has_on_the_server(server):
    with pooled(server, pool_size=1) as proxy:
        owner, other = proxy.log_in(), proxy.log_in()
        owner.ask("PREPARE mine AS SELECT 'of the owner'")
        name = other.value("SELECT name FROM pg_prepared_statements WHERE statement LIKE 'PREPARE%owner%'")
        for sql in (f"EXECUTE {name}", f"DEALLOCATE {name}", f"EXPLAIN EXECUTE {name}", f"SELECT 1; EXECUTE {name}"):
            error = error_of(other.ask(sql))
            assert (error["C"], error["M"]) == ("26000", f'prepared statement "{name}" does not exist'), error
        assert owner.value("EXECUTE mine") == "of the owner"
        other.ask(f"CREATE FUNCTION take_away() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DEALLOCATE {name}'; END $$")
        other.ask("SELECT take_away(); DROP FUNCTION take_away()")  # what a function does nobody sees
        assert error_of(owner.ask("EXECUTE mine"))["C"] == "26000"
        assert owner.value("EXECUTE mine") == "of the owner"


def P4_an_argument_that_is_not_supported_tells_nobody_else_that_columns_have_changed(server):
    server.create_database("prepared_unsupported", "CREATE FUNCTION f(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
                           "$$ BEGIN IF n < 0 THEN RAISE feature_not_supported; END IF; RETURN n; END $$")
    with pooled(server, pool_size=1) as proxy:
        careful, careless = (proxy.log_in(database="prepared_unsupported") for _ in range(2))
        for client in (careful, careless):
            client.send(parse(b"s", "SELECT f($1)") + SYNC)
            client.read_until(b"Z")
        careless.send(bind(b"", b"s", [b"-1"]) + execute(b"") + SYNC)  # folds f(-1) as it plans
        assert error_of(careless.read_until(b"Z"))["C"] == "0A000"
        careful.send(bind(b"", b"s", [b"1"]) + execute(b"") + SYNC)
        assert [kind for kind, _ in careful.read_until(b"Z")] == [b"2", b"D", b"C", b"Z"]


def P4_an_unnamed_statement_for_which_there_is_no_room_stays_unnamed(server):
    """With prepare_unnamed, too: it is not the client that has asked for it to be kept."""
    def run_unnamed(client, text):
        client.send(parse(b"", text) + SYNC + bind(b"", b"") + execute(b"") + SYNC)
        return [kind for kind, _ in client.read_until(b"Z") + client.read_until(b"Z")]

    with pooled(server, pool_size=1, prepare_unnamed="on") as proxy:
        client, other = proxy.log_in(), proxy.log_in()
        for i in range(10):
            assert run_unnamed(client, "SELECT length('" + "x" * (17 << 20) + "')" if i == 5 else "SELECT 1") == [b"1", b"Z", b"2", b"D", b"C", b"Z"]
            assert other.value("SELECT 2") == "2"
        client.send(b"".join(parse(b"s%d" % i, "SELECT 3") for i in range(9999)) + SYNC)
        client.read_until(b"Z")
        for name, kinds in ((b"last", [b"1", b"Z"]), (b"more", [b"E", b"Z"])):
            for text in ("SELECT 4", "SELECT 5", "SELECT 4"):
                assert run_unnamed(client, text) == [b"1", b"Z", b"2", b"D", b"C", b"Z"], text
                assert other.value("SELECT 2") == "2"
            run_unnamed(client, "SELECT length('" + "x" * (17 << 20) + "')")
            client.send(parse(name, "SELECT 6") + SYNC)
            assert [kind for kind, _ in client.read_until(b"Z")] == kinds


def P4_statements_that_name_others_mean_what_they_mean_without_a_proxy(server):
    """Drivers prepare PREPARE, EXECUTE and DEALLOCATE of their own accord, and run them when the names stand for something else."""
    units = [
        parse(b"e", "EXECUTE q") + SYNC,
        run(b"e"),
        query("PREPARE q AS SELECT 'first'"),
        run(b"e"),
        parse(b"d", "DEALLOCATE q") + parse(b"p", "PREPARE q AS SELECT 'second'") + SYNC,
        run(b"e"),  # neither has run
        run(b"p"),
        run(b"d"),
        run(b"e"),
        describe(b"S", b"p") + SYNC,
        run(b"e"),
        bind(b"", b"p") + describe(b"P", b"") + SYNC,
        run(b"e"),
        run(b"p"),
        run(b"e"),
        run(b"d"),
        run(b"d"),
        parse(b"", "PREPARE q AS SELECT * FROM nosuch") + run(b""),
        parse(b"", "PREPARE q AS SELECT 'third'") + run(b""),
        run(b"e"),
        query("BEGIN"),
        run(b"d"),
        query("SELECT 1/0"),
        run(b"p"),
        query("ROLLBACK"),
        run(b"e"),
        run(b"p") + run(b"e") + run(b"d") + run(b"e"),
        query("PREPARE a AS SELECT 1; PREPARE b AS SELECT 1; EXECUTE a; EXECUTE b; DEALLOCATE a; EXECUTE b"),
        query("DEALLOCATE b; PREPARE b AS SELECT 1; EXECUTE b; DEALLOCATE b; EXECUTE b"),
        parse(b"t", "SELECT 1") + parse(b"u", "SELECT 1") + SYNC,
        query("DEALLOCATE t; EXECUTE u; DEALLOCATE t"),
        query("BEGIN"),
        query("DEALLOCATE u; SELECT 1/0; DEALLOCATE a"),
        query("DEALLOCATE a"),
        query("PREPARE a AS SELECT 1"),
        query("ROLLBACK"),
        query("EXECUTE a"),
        query("DEALLOCATE u"),
        query("PREPARE a AS SELECT 2"),
        query("CREATE TEMP TABLE made AS EXECUTE a; SELECT count(*) FROM made; EXPLAIN EXECUTE a"),
        parse(b"", "CREATE TEMP TABLE again AS EXECUTE a") + run(b""),
        query("EXECUTE a(1)"),
        parse(b"", "EXECUTE a(nosuch)") + run(b""),
        query("EXECUTE a(nosuch)"),
    ]

    def ask(client):
        answers = []
        for unit in units:
            client.send(unit)
            for _ in range(unit.count(SYNC) or 1):
                for kind, body in client.read_until(b"Z"):
                    answers.append((kind, {key: value for key, value in fields(body).items() if key in "CMP"} if kind == b"E" else body))
        return answers

    with pooled(server, pool_size=1) as proxy, Proxy(server) as direct:
        wanted, got = ask(direct.log_in()), ask(proxy.log_in())
        for number, (want, have) in enumerate(zip(wanted, got, strict=True)):
            assert want == have, (number, want, have)


def P4_a_statement_of_a_table_that_is_gone_is_deallocated_on_whatever_server(server):
    with pooled(server, pool_size=2) as proxy:
        steered = Steered(proxy)
        assert steered.at(0, query("CREATE TABLE prepared_gone (); PREPARE p AS TABLE prepared_gone")) == ["CREATE TABLE", "PREPARE"]
        assert steered.at(0, query("DROP TABLE prepared_gone")) == ["DROP TABLE"]
        assert steered.at(1, query("PREPARE p AS SELECT 1")) == ["42P05"]
        assert steered.at(1, query("DEALLOCATE p")) == ["DEALLOCATE"]
        assert steered.at(0, query("PREPARE p AS SELECT 'now another'")) == ["PREPARE"]
        assert steered.at(1, query("EXECUTE p")) == ["now another", "SELECT 1"]


def P4_flush_brings_the_answer_to_a_parse_that_had_to_wait_for_its_name(server):
    with pooled(server, pool_size=1) as proxy:
        client = proxy.log_in()
        client.send(parse(b"s", "SELECT 1") + parse(b"t", "SELECT 2") + SYNC)
        client.read_until(b"Z")
        client.send(message(b"C", b"Ss\0") + SYNC + parse(b"s", "SELECT 2") + FLUSH)
        assert [kind for kind, _ in client.read_until(b"1")] == [b"3", b"Z", b"1"]


def P8_the_server_of_who_goes_while_something_waits_for_a_name_is_the_next_ones(server):
    with Proxy(server) as direct, pooled(server, pool_size=1) as proxy:
        holder, other = direct.log_in(), proxy.log_in()
        before = other.value("SELECT pg_backend_pid()")
        holder.ask("SELECT pg_advisory_lock(1)")
        wait = parse(b"", "SELECT pg_advisory_xact_lock(1)") + bind(b"", b"") + execute(b"")
        for unit in (run(b"s"), run(b"s") + query("SELECT 2"), parse(b"s", "SELECT 3") + FLUSH, parse(b"s", "SELECT 3")):
            for last in (b"", TERMINATE):
                client = proxy.log_in()
                client.send(parse(b"s", "SELECT 1") + wait + SYNC + unit + last)
                wait_until(lambda: server.sql("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"), "the wait")
                client.close()
                if last:
                    holder.ask("SELECT pg_advisory_unlock(1)")
                assert other.value("SELECT pg_backend_pid()") == before, (unit, last)
                if last:
                    holder.ask("SELECT pg_advisory_lock(1)")


def P4_after_a_migration_asyncpg_hears_of_it_once_and_never_reads_a_value_as_one_of_the_old_type(server):
    server.sql("CREATE TABLE prepared_migrated (v int)")

    async def value(statement):
        try:
            return await statement.fetchval(*[7] * len(statement.get_parameters()))
        except asyncpg.InvalidCachedStatementError:
            return "changed"

    async def migrate(proxy, steered):
        options = {"host": "127.0.0.1", "port": proxy.port, "user": "postgres", "database": "postgres"}
        sql = "SELECT v FROM prepared_migrated"
        statements, clients = [], []
        with steered.free(0):
            writer = await asyncpg.connect(**options)
            insert = await writer.prepare("INSERT INTO prepared_migrated VALUES ($1)")
            await insert.fetch(7)
            for _ in range(2):
                clients.append(await asyncpg.connect(**options))
                statements.append(await clients[-1].prepare(sql))
                assert await value(statements[-1]) == 7
        server.sql("ALTER TABLE prepared_migrated ALTER v TYPE real")
        with steered.free(1):
            for number, client in enumerate(clients):
                assert await value(statements[number]) == "changed", number
                statements[number] = await client.prepare(sql)
                assert await value(statements[number]) == 7.0, number
        with steered.free(0):
            assert [await value(statement) for statement in statements] == [7.0, 7.0]
            assert await clients[0].fetchval(sql) == 7.0  # which is prepared under a name that lasts, too
        server.sql("ALTER TABLE prepared_migrated ALTER v TYPE text")
        with steered.free(1):
            assert await value(statements[1]) == "changed"
            assert await clients[0].fetchval(sql) == "7"
        server.sql("ALTER TABLE prepared_migrated ALTER v TYPE real USING v::real")
        with steered.free(1):
            assert await value(insert) == "changed"  # its parameter would be sent as an int, and taken for a real
            assert await writer.execute("INSERT INTO prepared_migrated VALUES ($1)", 7.0) == "INSERT 0 1"
        assert server.sql("SELECT DISTINCT v FROM prepared_migrated") == [["7"]]
        for client in [*clients, writer]:
            await client.close()

    with pooled(server, pool_size=2) as proxy:
        asyncio.run(migrate(proxy, Steered(proxy)))


def P4_what_one_client_prepares_takes_so_much_memory_and_no_more(server):
    with pooled(server, pool_size=1) as proxy:
        greedy, modest = proxy.log_in(), proxy.log_in()
        large = "x" * (8 << 20)
        for number in range(8):
            greedy.send(parse(b"s%d" % number, f"SELECT '{number}{large}'") + SYNC)
            last = greedy.read_until(b"Z")
            assert (last[0][0] == b"1") == (number < 7), number
        assert (error_of(last)["C"], error_of(last)["M"]) == ("54000", 'prepared statement "s7" is one more than a client may have')
        modest.send(parse(b"s7", f"SELECT '{large}'") + SYNC)
        assert [kind for kind, _ in modest.read_until(b"Z")] == [b"1", b"Z"]
        assert greedy.ask("DEALLOCATE s0")[0][0] == b"C"
        greedy.send(parse(b"s7", f"SELECT '7{large}'") + SYNC)
        assert [kind for kind, _ in greedy.read_until(b"Z")] == [b"1", b"Z"]
        assert greedy.ask(f"PREPARE q AS SELECT '{large}'")[0][0] == b"C"  # on the server alone, which stays with the client
        assert greedy.value("SELECT count(*) FROM pg_prepared_statements WHERE name = 'q'") == "1"
