"""Cancel requests for clients that share servers: the key is the client's, and nobody else is ever hit (P7, P3)."""

import threading

import psycopg
from postgres import Postgres
from proxy import Proxy, wait_until
from test_pool_turns import wait_until_waiting
from test_takeover import SLEEP, error_of, has_ended, is_running, successor
from wire import AUTHENTICATED, READY, Client, Upstream, cancel_request, fields, message, query, read_startup


def pool(server, size, mode="transaction"):
    upstream = f"host={server.directory} port={server.port}"
    return f'auth {{ method = trust }}\ndatabase "*" {{ pool = {mode}  pool_size = {size}  upstream = "{upstream}" }}\n'


def cancel(port, client):
    with Client(port) as canceller:
        canceller.send(cancel_request(client.process_id, client.secret))
        assert canceller.is_closed()


def P7_a_pooled_client_is_cancelled_by_a_key_of_its_own(server):
    with Proxy(server, pool(server, 3), workers=3, database=False) as proxy:
        clients = [proxy.log_in() for _ in range(3)]
        assert len({client.process_id for client in clients}) == 3
        assert str(clients[0].process_id) != clients[0].value("SELECT pg_backend_pid()")
        for number, client in enumerate(clients):
            client.send(query(f"{SLEEP} -- {number}"))
            wait_until(lambda n=number: is_running(server, f"{SLEEP} -- {n}"), "the query to run")
        for number in (1, 2, 0):
            cancel(proxy.port, clients[number])
            assert error_of(clients[number].read_until(b"Z")) == "57014"
            assert clients[number].value("SELECT 1") == "1"
        for client in clients:
            client.close()


def P7_a_client_that_waits_for_a_server_is_cancelled_while_it_waits(server):
    with Proxy(server, pool(server, 1), database=False) as proxy, proxy.log_in() as busy, proxy.log_in() as waiting:
        busy.ask("BEGIN")
        busy.ask("SELECT 1")
        waiting.send(query("SELECT 2"))
        cancelled = threading.Event()

        def until_answered():
            while not cancelled.is_set():
                cancel(proxy.port, waiting)

        thread = threading.Thread(target=until_answered, daemon=True)
        thread.start()
        error = error_of(waiting.read_until(b"Z"))
        cancelled.set()
        thread.join()
        assert error == "57014"
        busy.ask("COMMIT")
        assert waiting.value("SELECT 3") == "3" and busy.value("SELECT 4") == "4"


def P7_a_client_that_runs_nothing_is_not_cancelled_later(server):
    with Proxy(server, pool(server, 1), database=False) as proxy, proxy.log_in() as client, proxy.log_in() as other:
        for _ in range(20):
            cancel(proxy.port, client)
            assert other.value("SELECT 1") == "1"
            assert client.value("SELECT 1") == "1"


def P7_a_server_changes_hands_only_when_the_cancel_connection_has_closed(server):
    """The upstream, by hand, takes its time over a cancel request; what it hears meanwhile, and after, is what counts."""
    del server
    heard, finish_query, finish_cancel = [], threading.Event(), threading.Event()

    def behave(wire):
        packet = read_startup(wire)
        if packet[4:8] == cancel_request(0, b"")[4:8]:
            heard.append("cancel")
            assert finish_cancel.wait(30)
            heard.append("cancelled")
            return
        wire.send(AUTHENTICATED + message(b"S", b"client_encoding\0UTF8\0") + message(b"K", b"\0\0\0\1abcd") + READY)
        while True:
            kind, body = wire.read()
            heard.append(body[:-1].decode())
            if kind == b"X":
                return
            if b"first" in body:
                assert finish_query.wait(30)
            wire.send(message(b"C", b"SELECT 1\0") + READY)

    with Upstream(behave) as upstream:
        blocks = f'auth {{ method = trust }}\ndatabase "*" {{ pool = transaction  pool_size = 1  upstream = "host=127.0.0.1 port={upstream.port} sslmode=disable" }}\n'
        with Proxy(0, blocks, database=False, http=True) as proxy, proxy.log_in() as one, proxy.log_in() as other:
            one.send(query("SELECT 'first'"))
            wait_until(lambda: "SELECT 'first'" in heard, "the query to arrive")
            with proxy.connect() as canceller:
                canceller.send(cancel_request(one.process_id, one.secret))
                wait_until(lambda: "cancel" in heard, "the cancel request to arrive")
                finish_query.set()
                one.read_until(b"Z")
                other.send(query("SELECT 'second'"))
                wait_until_waiting(proxy, 1)
                finish_cancel.set()
                other.read_until(b"Z")
                assert canceller.is_closed()
        assert heard.index("cancelled") < heard.index("SELECT 'second'"), heard


class Busy(threading.Thread):
    """Short queries, one after the other; counts those that were cancelled."""

    def __init__(self, client, stop):
        super().__init__(daemon=True)
        self.client, self.stop = client, stop
        self.done = self.cancelled = 0
        self.errors = []

    def run(self):
        while not self.stop.is_set():
            errors = [fields(body)["C"] for kind, body in self.client.ask("SELECT pg_sleep(0.003)") if kind == b"E"]
            self.done += 1
            self.cancelled += errors == ["57014"]
            if errors not in ([], ["57014"]):
                self.errors.append(errors)


def P7_a_cancel_request_never_hits_another_client_of_the_server(server):
    """Many cancel requests for one client, some of which come when its query is about to end and another client's begins."""
    stop = threading.Event()
    with Proxy(server, pool(server, 2), workers=2, database=False) as proxy:
        clients = [Busy(proxy.log_in(), stop) for _ in range(5)]
        for client in clients:
            client.start()
        victim, others = clients[0], clients[1:]
        try:
            sent = 0
            while (victim.cancelled < 100 or sent < 1500) and not any(c.errors or c.cancelled for c in others) and sent < 20_000:
                cancel(proxy.port, victim.client)
                sent += 1
        finally:
            stop.set()
            for client in clients:
                client.join()
                client.client.close()
        assert not any(client.errors for client in clients), [client.errors for client in clients]
        assert victim.cancelled >= 100, (victim.cancelled, victim.done, sent)
        assert not any(client.cancelled for client in others), [client.cancelled for client in others]
        assert all(client.done > 0 for client in others)


def P1_libpq_speaks_3_2_to_postgresql_18_and_cancels(_):
    """Keys are longer there: a client with a server of its own gets that server's, one of a pool gets one of pgatomic's."""
    assert psycopg.pq.version() >= 180000
    with Postgres(version=18) as server:
        for mode in ("dedicated", "session", "transaction"):
            size = "" if mode == "dedicated" else "pool_size = 2"
            block = f'database "*" {{ pool = {mode}  {size}  upstream = "host={server.directory} port={server.port}" }}\n'
            with Proxy(server, "auth { method = trust }\n" + block, database=False) as proxy:
                for minor in (0, 2):
                    spoken = {"min_protocol_version": f"3.{minor}", "max_protocol_version": f"3.{minor}"}
                    with psycopg.connect(host="127.0.0.1", port=proxy.port, user="postgres", dbname="postgres", autocommit=True,
                                         **spoken) as client:
                        assert client.pgconn.full_protocol_version == 30000 + minor
                        thread = threading.Thread(target=cancel_when_running, args=(server, client))
                        thread.start()
                        assert is_cancelled(client), (mode, minor)
                        thread.join()
                        assert client.execute("SELECT 1").fetchone() == (1,)
                    with proxy.log_in(version=3 << 16 | minor) as client:
                        assert len(client.secret) == (32 if minor else 4), (mode, minor)


def cancel_when_running(server, client):
    wait_until(lambda: is_running(server, SLEEP), "the query to run")
    client.cancel_safe(timeout=30)


def is_cancelled(client):
    try:
        client.execute(SLEEP)
    except psycopg.errors.QueryCanceled:
        return True
    return False


def P12_a_takeover_of_a_pool_keeps_transactions_and_their_cancel_keys(server):
    blocks = pool(server, 2)
    with Proxy(server, blocks, workers=2, database=False) as old, old.log_in() as inside, old.log_in() as running:
        inside.ask("BEGIN")
        inside.ask("CREATE TEMP TABLE kept (n int) ON COMMIT DROP")
        running.send(query(SLEEP))
        wait_until(lambda: is_running(server, SLEEP), "the query to run")
        with successor(old, server, blocks, workers=2, database=False) as new:
            cancel(new.port, running)
            assert error_of(running.read_until(b"Z")) == "57014"
            assert inside.value("INSERT INTO kept VALUES (1) RETURNING n") == "1"
            assert old.is_alive()
            inside.ask("COMMIT")
            assert inside.fatal()["C"] == "57P01"
            assert has_ended(old)
            with new.log_in() as newcomer:
                assert newcomer.value("SELECT 1") == "1"
