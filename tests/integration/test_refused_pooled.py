"""Statements for which no server is to be had: because all are taken, because their client has cancelled, because the upstream refuses, or because
the pool is paused. Whatever a client says afterwards, half a request is never kept (R3, R9, P3)."""

import asyncio
import contextlib
import threading

import asyncpg
import psycopg
from proxy import Proxy, wait_until
from test_pause import PausedPools
from wire import cancel_request, fields, query

ROUTES = """
route "marked" { match = "/*"  mode = atomic }
route "web" { application = "web"  mode = atomic  end = commit }
"""
REFUSED, FAILED = "53300", "25P02"


def shop(server, name):
    server.create_database(name, "CREATE TABLE t (id int)")
    return name


def kept(server, name):
    return [int(row[0]) for row in server.sql("SELECT id FROM t ORDER BY id", database=name)]


def pool(server, queue_timeout="30s", mode="transaction", blocks=ROUTES):
    return Proxy(server, f'auth {{ method = trust }}\ndatabase "*" {{ pool = {mode}  pool_size = 1  queue_timeout = {queue_timeout}  '
                         f'upstream = "host={server.directory} port={server.port}" }}\n{blocks}', database=False)


@contextlib.contextmanager
def taken(proxy, name):
    """The one server is somebody else's, and who wants it is refused at once unless the test says how long it waits."""
    with proxy.log_in(database=name) as holder:
        holder.ask("BEGIN")
        holder.ask("SELECT 1")
        before = proxy.blocks
        proxy.change_config(before.replace("queue_timeout = 30s", "queue_timeout = 100ms"))
        yield holder
        proxy.change_config(before)
        holder.ask("COMMIT")


class Simple:
    """What each statement is answered, in the simple protocol: its tag, or its SQLSTATE; and the status behind it."""

    def __init__(self, proxy, name, **parameters):
        self.client = proxy.log_in(database=name, **parameters)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()

    def run(self, text):
        said = self.client.ask(text)
        self.status = said[-1][1].decode()
        errors = [fields(body)["C"] for kind, body in said if kind == b"E"]
        return errors[0] if errors else [body[:-1].decode() for kind, body in said if kind == b"C"][-1]


class Driver:
    """The same with psycopg, which prepares, binds and executes."""

    STATUS = {psycopg.pq.TransactionStatus.IDLE: "I", psycopg.pq.TransactionStatus.INTRANS: "T",
              psycopg.pq.TransactionStatus.INERROR: "E"}

    def __init__(self, proxy, name, **parameters):
        self.connection = psycopg.connect(host="127.0.0.1", port=proxy.port, user="postgres", dbname=name, autocommit=True,
                                          **parameters)
        self.connection.prepare_threshold = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    @property
    def status(self):
        return self.STATUS[self.connection.info.transaction_status]

    def run(self, text):
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(text, prepare=True)
                return cursor.statusmessage
        except psycopg.Error as error:
            return error.sqlstate


PROTOCOLS = (Simple, Driver)
COMMIT = "SET pgatomic.outcome = 'commit'"


def commit_fails_and_the_next_request_does_not(client, begin, commit):
    assert client.run("INSERT INTO t VALUES (2)") == FAILED
    assert client.run("SAVEPOINT s") == FAILED
    assert client.run(commit) == FAILED and client.status == "I"
    if begin is not None:
        client.run(begin)
    assert client.run("INSERT INTO t VALUES (3)") == "INSERT 0 1"
    assert client.run(commit) in ("SET", "SELECT 1")


def P3_a_marked_request_whose_first_statement_gets_no_server_keeps_nothing(server):
    name = shop(server, "refused_marked")
    marks = [("SET pgatomic.request = '/x'", COMMIT),
             ("SELECT set_config('pgatomic.request', '/x', false)", "SELECT set_config('pgatomic.outcome', 'commit', false)")]
    want = []
    with pool(server) as proxy:
        for protocol in PROTOCOLS:
            for begin, commit in marks:
                with protocol(proxy, name) as client:
                    client.run(begin)
                    with taken(proxy, name):
                        assert client.run("INSERT INTO t VALUES (1)") == REFUSED and client.status == "E"
                    commit_fails_and_the_next_request_does_not(client, begin, commit)
                    want.append(3)
                assert kept(server, name) == want
        assert len(proxy.log_where(msg="request_rolled_back", route="marked", reason="error")) == len(want)


def P3_an_unmarked_request_whose_first_statement_gets_no_server_keeps_nothing(server):
    name = shop(server, "refused_unmarked")
    with pool(server) as proxy:
        for protocol in PROTOCOLS:
            with protocol(proxy, name, application_name="web") as client:
                with taken(proxy, name):
                    assert client.run("INSERT INTO t VALUES (1)") == REFUSED and client.status == "E"
                    assert client.run("INSERT INTO t VALUES (1)") == FAILED
                assert client.run("INSERT INTO t VALUES (2)") == FAILED
            assert kept(server, name) == []
        with Driver(proxy, name, application_name="web") as client:
            with taken(proxy, name):
                assert client.run("INSERT INTO t VALUES (1)") == REFUSED
            assert client.run("INSERT INTO t VALUES (2)") == FAILED
            assert client.run("ROLLBACK") == "ROLLBACK" and client.status == "I"
            assert client.run("INSERT INTO t VALUES (3)") == "INSERT 0 1"
        wait_until(lambda: kept(server, name) == [3], "the request to end with its connection")


def P3_a_request_opened_by_a_comment_keeps_nothing_when_it_gets_no_server(server):
    name = shop(server, "refused_comment")
    with pool(server) as proxy:
        for protocol in PROTOCOLS:
            with protocol(proxy, name) as client:
                with taken(proxy, name):
                    assert client.run("INSERT INTO t VALUES (1) /*route='%2Fx'*/") == REFUSED and client.status == "E"
                assert client.run("INSERT INTO t VALUES (2)") == FAILED
                assert client.run("ROLLBACK") == "ROLLBACK" and client.status == "I"
            assert kept(server, name) == []


def P3_a_client_transaction_behaves_as_on_postgresql_when_it_gets_no_server(server):
    name = shop(server, "refused_begin")
    with pool(server) as proxy:
        for protocol in PROTOCOLS:
            with protocol(proxy, name) as client:  # which knows that it is in none
                with taken(proxy, name):
                    assert client.run("BEGIN") == REFUSED and client.status == "I"
                assert client.run("BEGIN") == "BEGIN" and client.status == "T"
                assert client.run("ROLLBACK") == "ROLLBACK"
            with protocol(proxy, name, application_name="web") as client:
                assert client.run("BEGIN") == "BEGIN" and client.status == "T"
                with taken(proxy, name):
                    assert client.run("INSERT INTO t VALUES (1)") == REFUSED and client.status == "E"
                assert client.run("INSERT INTO t VALUES (2)") == FAILED
                assert client.run("COMMIT") == "ROLLBACK" and client.status == "I"
            assert kept(server, name) == []


def cancel_while_it_waits(proxy, client):
    """Its statement is on its way to the queue: it is cancelled again until it has got there. The SQLSTATE that it is answered with."""
    answered = threading.Event()

    def until_answered():
        while not answered.is_set():
            with proxy.connect() as canceller:
                canceller.send(cancel_request(client.process_id, client.secret))
                canceller.is_closed()

    thread = threading.Thread(target=until_answered, daemon=True)
    thread.start()
    said = client.read_until(b"Z")
    answered.set()
    thread.join()
    return [fields(body)["C"] for kind, body in said if kind == b"E"] + [said[-1][1].decode()]


def P7_a_request_cancelled_while_its_first_statement_waits_keeps_nothing(server):
    name = shop(server, "refused_cancel")
    with pool(server, queue_timeout="1min") as proxy, Simple(proxy, name) as client:
        client.run("SET pgatomic.request = '/x'")
        with taken(proxy, name):
            client.client.send(query("INSERT INTO t VALUES (1)"))
            assert cancel_while_it_waits(proxy, client.client) == ["57014", "E"]
        commit_fails_and_the_next_request_does_not(client, "SET pgatomic.request = '/y'", COMMIT)
    assert kept(server, name) == [3]


def P12_a_request_cancelled_during_a_pause_keeps_nothing(server):
    name = shop(server, "refused_pause")
    with PausedPools(server) as proxy:
        proxy.change_config(proxy.blocks + ROUTES)
        with Simple(proxy, name) as client:
            client.run("SET pgatomic.request = '/x'")
            assert proxy.do("PAUSE") == "PAUSE"
            client.client.send(query("INSERT INTO t VALUES (1)"))
            assert cancel_while_it_waits(proxy, client.client) == ["57014", "E"]
            assert proxy.do("RESUME") == "RESUME"
            commit_fails_and_the_next_request_does_not(client, "SET pgatomic.request = '/y'", COMMIT)
    assert kept(server, name) == [3]


def P3_a_request_keeps_nothing_when_the_upstream_refuses(server):
    """The upstream lets nobody else in, until it does."""
    name = shop(server, "refused_upstream")
    with pool(server, queue_timeout="1min") as proxy:
        for protocol in PROTOCOLS:
            with protocol(proxy, name) as client:
                client.run("SET pgatomic.request = '/x'")
                server.sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
                server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                           f"AND datname = '{name}'")
                wait_until(lambda: not server.sql(f"SELECT 1 FROM pg_stat_activity WHERE datname = '{name}'"), "no server")
                assert client.run("INSERT INTO t VALUES (1)") not in ("INSERT 0 1", FAILED) and client.status == "E"
                server.sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
                assert client.run("INSERT INTO t VALUES (2)") == FAILED
                assert client.run(COMMIT) == FAILED and client.status == "I"
        assert kept(server, name) == []


# --- pipelines, and another driver -------------------------------------------------------------------------------


def P3_a_pipeline_that_gets_no_server_keeps_nothing_of_its_request(server):
    name = shop(server, "refused_pipeline")
    with pool(server) as proxy, Driver(proxy, name) as client:
        connection = client.connection
        with taken(proxy, name):
            try:
                with connection.pipeline():
                    connection.execute("SELECT set_config('pgatomic.request', %s, false)", ["/x"])
                    connection.execute("INSERT INTO t VALUES (%s)", [1])
                    connection.execute("INSERT INTO t VALUES (%s)", [2])
                    connection.execute("SELECT set_config('pgatomic.outcome', 'commit', false)")
                raise AssertionError("the pipeline was not refused")
            except psycopg.errors.TooManyConnections:
                pass
        assert client.run("INSERT INTO t VALUES (4)") == FAILED
        assert client.run(COMMIT) == FAILED
        assert kept(server, name) == []
        with connection.pipeline():
            connection.execute("SELECT set_config('pgatomic.request', %s, false)", ["/y"])
            connection.execute("INSERT INTO t VALUES (%s)", [5])
            connection.execute("SELECT set_config('pgatomic.outcome', 'commit', false)")
        assert kept(server, name) == [5]


def P3_asyncpg_hears_of_a_refused_request_until_its_end(server):
    name = shop(server, "refused_asyncpg")

    async def code(work):
        try:
            return await work
        except asyncpg.PostgresError as error:
            return error.sqlstate

    async def requests(proxy):
        connection = await asyncpg.connect(host="127.0.0.1", port=proxy.port, user="postgres", database=name)
        insert = "INSERT INTO t VALUES ($1)"
        for number in range(2):  # the second one finds its statement, and its BEGIN, prepared by what went before
            await connection.execute("SET pgatomic.request = '/x'")
            with taken(proxy, name):
                assert await code(connection.execute(insert, 1)) == REFUSED
            assert await code(connection.execute(insert, 2)) == FAILED
            assert await code(connection.execute(COMMIT)) == FAILED
            await connection.execute("SET pgatomic.request = '/y'")
            assert await connection.execute(insert, 3 + number) == "INSERT 0 1"
            assert await connection.execute(COMMIT) == "SET"
        await connection.close()

    with pool(server) as proxy:
        asyncio.run(requests(proxy))
    assert kept(server, name) == [3, 4]


# --- the end of a request -----------------------------------------------------------------------------------------


def P3_the_end_of_a_request_that_gets_no_server_is_its_end(server):
    """A request that has only notified has a COMMIT for its rows, which is the first that a server hears of it."""
    name = shop(server, "refused_end")
    upstream = f"host={server.directory} port={server.port} dbname={name} user=postgres"
    blocks = ROUTES + f"""
outbox "{name}" {{ upstream = "{upstream}" }}
channel "jobs" {{ sink = {{"listeners"}}  delivery = outbox  forward = off }}
sink "listeners" {{ type = log }}
"""
    with pool(server, blocks=blocks) as proxy:
        assert proxy.run("outbox", "install", upstream)[0] == 0
        for number, protocol in enumerate(PROTOCOLS):
            with protocol(proxy, name) as client:
                client.run("SET pgatomic.request = '/x'")
                client.run("NOTIFY jobs, 'one'")
                with taken(proxy, name):
                    assert client.run(COMMIT) == REFUSED and client.status == "I"
                assert client.run("INSERT INTO t VALUES (1)") == "INSERT 0 1"  # of no request
                assert client.run(COMMIT) == "25P01"
                proxy.wait_for_log(msg="event_discarded", reason="error", count=number + 1)
                proxy.wait_for_log(msg="request_rolled_back", reason="error", count=number + 1)
        assert kept(server, name) == [1, 1]
        assert not proxy.log_where(msg="event_released")
