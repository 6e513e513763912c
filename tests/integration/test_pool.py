"""Pools: transactions and sessions of many clients on few servers."""

import signal
import socket
import threading

from proxy import Proxy, free_port, wait_until
from wire import (AUTHENTICATED, READY, SYNC, TERMINATE, Client, Upstream, Wire, cancel_request, fields, message, query,
                  read_startup, startup)

TRUST = "auth { method = trust }\n"


def database(upstream, **options):
    if not isinstance(upstream, str):
        upstream = f"host={upstream.directory} port={upstream.port}"
    size = {} if options.get("pool") == "dedicated" else {"pool_size": 4}
    words = {"pool": "transaction", **size, **options}
    return f'database "*" {{ upstream = "{upstream}"  ' + "  ".join(f"{name} = {value}" for name, value in words.items()) + " }\n"


def pooled(upstream, workers=1, **options):
    return Proxy(upstream, TRUST + database(upstream, **options), workers=workers, database=False)


def backends(server, name="postgres"):
    """The process ids of the servers behind the proxy: whoever is there but for the asker."""
    return [int(row[0]) for row in server.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' "
                                              f"AND datname = '{name}' AND pid <> pg_backend_pid()")]


def error_of(messages):
    return next(fields(body) for kind, body in messages if kind == b"E")


def in_threads(count, work):
    """Runs work(number) on so many threads; the first error is raised here."""
    errors = []

    def run(number):
        try:
            work(number)
        except BaseException as error:  # pylint: disable=broad-except
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


# --- transactions ---------------------------------------------------------------------------------------------


def P3_a_server_is_held_for_a_transaction_and_for_nothing_else(server):
    with pooled(server, pool_size=1) as proxy:
        first, second = proxy.log_in(), proxy.log_in()
        assert first.value("SELECT pg_backend_pid()") == second.value("SELECT pg_backend_pid()")
        first.ask("BEGIN")
        second.send(query("SELECT 'second'"))
        assert first.value("SELECT 'first'") == "first"
        first.ask("COMMIT")
        assert [kind for kind, _ in second.read_until(b"Z")] == [b"T", b"D", b"C", b"Z"]


def P11_many_clients_share_few_servers_over_all_workers_and_none_sees_anothers_reply(server):
    server.create_database("pool_many", "CREATE TABLE t (id int, who text)")
    most = []
    with pooled(server, workers=2) as proxy:
        stop = threading.Event()

        def count_servers():
            while not stop.is_set():
                most.append(len(backends(server, "pool_many")))

        watcher = threading.Thread(target=count_servers)
        watcher.start()

        def work(number):
            client = proxy.log_in(database="pool_many")
            for i in range(30):
                assert client.value(f"SELECT 'client {number} turn {i}'") == f"client {number} turn {i}"
                client.ask("BEGIN")
                client.ask(f"INSERT INTO t VALUES ({i}, 'client {number}')")
                client.ask("COMMIT" if i % 2 else "ROLLBACK")
                client.send(message(b"P", b"s\0SELECT $1::text\0\0\0") +
                            message(b"B", b"\0s\0\0\0\0\1" + len(str(number)).to_bytes(4, "big") + str(number).encode() + b"\0\0") +
                            message(b"E", b"\0\0\0\0\0") + message(b"C", b"Ss\0") + SYNC)
                rows = [body[6:].decode() for kind, body in client.read_until(b"Z") if kind == b"D"]
                assert rows == [str(number)], rows
            client.send(TERMINATE)

        try:
            in_threads(40, work)
        finally:
            stop.set()
            watcher.join()
    assert 1 <= max(most) <= 4, max(most)
    assert server.sql("SELECT count(*), count(DISTINCT who) FROM t", database="pool_many") == [["600", "40"]]


def P11_an_idle_server_moves_to_the_worker_that_waits_for_one(server):
    with pooled(server, workers=2, pool_size=1) as proxy:
        clients = [proxy.log_in() for _ in range(4)]
        pids = {client.value("SELECT pg_backend_pid()") for client in clients * 3}
        assert len(pids) == 1, pids


def P3_what_a_client_set_is_its_own(server):
    with pooled(server, pool_size=1) as proxy:
        first, second = proxy.log_in(), proxy.log_in(application_name="other", options="-c work_mem=5MB")
        first.ask("SET work_mem = '7MB'")
        for _ in range(3):
            assert second.value("SHOW work_mem") == "5MB"
            assert second.value("SHOW application_name") == "other"
            assert first.value("SHOW work_mem") == "7MB"
        assert second.parameters["application_name"] == "other", second.parameters
        assert "pgatomic_version" in second.parameters


def P3_with_pool_session_a_server_is_kept_until_its_client_goes_and_is_clean_then(server):
    with pooled(server, pool="session", pool_size=1) as proxy:
        first = proxy.log_in()
        first.ask("CREATE TEMP TABLE mine (a int)")
        pid = first.value("SELECT pg_backend_pid()")
        second = proxy.log_in()
        second.send(query("SELECT pg_backend_pid(), to_regclass('mine')"))
        assert first.value("SELECT count(*) FROM mine") == "0"
        first.send(TERMINATE)
        row = next(body for kind, body in second.read_until(b"Z") if kind == b"D")
        assert pid.encode() in row and row.endswith(b"\xff\xff\xff\xff"), row


def P3_server_reset_always_forgets_what_nobody_can_see(server):
    with pooled(server, pool_size=1, server_reset="always") as proxy:
        first, second = proxy.log_in(), proxy.log_in()
        first.ask("DO $$ BEGIN PERFORM set_config('my.secret', 'mine', false); END $$")
        assert second.value("SELECT current_setting('my.secret', true)") in (None, ""), "leaked"


# --- login -----------------------------------------------------------------------------------------------------


def P3_a_wrong_startup_setting_is_fatal_in_the_servers_words(server):
    with pooled(server) as proxy:
        with proxy.connect() as client:
            client.send(startup(user="postgres", database="postgres", work_mem="a lot"))
            error = client.fatal()
        assert error["C"] == "22023" and "work_mem" in error["M"], error
        assert proxy.log_in().value("SELECT 1") == "1"


def P3_a_client_that_connects_for_each_request_needs_no_server_to_get_in(server):
    with pooled(server, pool_size=1) as proxy:
        proxy.log_in().send(TERMINATE)
        holder = proxy.log_in()
        holder.ask("BEGIN")
        assert proxy.log_in().parameters["server_encoding"] == "UTF8"


def P3_what_one_worker_has_told_a_client_the_others_need_not_learn_from_a_server(server):
    with pooled(server, pool_size=1, workers=3) as proxy:
        holder = proxy.log_in()
        holder.ask("BEGIN")
        clients = [proxy.log_in() for _ in range(6)]
        assert {client.parameters["server_encoding"] for client in clients} == {"UTF8"}


def P1_protocol_3_2_is_spoken_and_newer_minors_are_negotiated_once(server):
    with pooled(server) as proxy:
        client = proxy.connect()
        client.send(startup(version=3 << 16 | 9999, user="postgres", database="postgres", **{"_pq_.test": "x"}))
        said = client.read_until(b"Z")
        negotiated = [body for kind, body in said if kind == b"v"]
        assert negotiated == [(3 << 16 | 2).to_bytes(4, "big") + b"\0\0\0\1_pq_.test\0"], negotiated
        key = next(body for kind, body in said if kind == b"K")
        assert len(key) == 4 + 32
        assert len(proxy.log_in().secret) == 4


def P3_replication_through_a_pool_is_refused_in_words(server):
    with pooled(server) as proxy:
        with proxy.connect() as client:
            client.send(startup(user="postgres", database="postgres", replication="database"))
            assert client.fatal()["C"] == "0A000"


def P1_what_follows_the_startup_packet_early_waits_for_a_pooled_session(server):
    with pooled(server) as proxy:
        for _ in range(2):  # the second time it is greeted at once
            client = proxy.connect()
            client.send(startup(user="postgres", database="postgres") + query("SELECT 'early'"))
            client.read_until(b"Z")
            assert [body[6:] for kind, body in client.read_until(b"Z") if kind == b"D"] == [b"early"]


def greet(wire):
    read_startup(wire)
    wire.send(AUTHENTICATED + message(b"S", b"client_encoding\0UTF8\0") + READY)
    wire.read_to_end()


def upstream_at(port):
    return Upstream(greet, port=port)


def P8_an_upstream_that_is_down_is_told_to_who_logs_in_and_is_found_again(server):
    port = free_port()
    with pooled(f"host=127.0.0.1 port={port} sslmode=disable", connect_timeout="1s") as proxy:
        for _ in range(3):
            with proxy.connect() as client:
                client.send(startup(user="postgres", database="postgres"))
                error = client.fatal()
            assert error["C"] == "08006" and str(port) in error["M"], error

        def is_back():
            with proxy.connect() as again:
                again.send(startup(user="postgres", database="postgres"))
                return again.read()[0] == b"R"

        with upstream_at(port):
            wait_until(is_back, "the proxy to find the upstream again")


def P8_a_login_error_of_the_upstream_reaches_all_who_wait_with_its_sqlstate(server):
    def behave(wire):
        read_startup(wire)
        wire.send(message(b"E", b"SFATAL\0VFATAL\0C53300\0Msorry, too many clients already\0\0"))

    with Upstream(behave) as upstream, pooled(f"host=127.0.0.1 port={upstream.port} sslmode=disable") as proxy:
        def work(_):
            with proxy.connect() as client:
                client.send(startup(user="postgres", database="postgres"))
                error = client.fatal()
            assert (error["C"], error["M"]) == ("53300", "sorry, too many clients already"), error

        in_threads(8, work)
        assert len(upstream.connections) < 8, "one connection for each who waited"


def P11_a_server_that_cannot_be_connected_leaves_nobody_waiting_on_another_worker(server):
    """The only server that there may be is one worker's to connect, and fails while others wait: else they would until queue_timeout is over."""
    all_wait = threading.Event()

    def behave(wire):
        read_startup(wire)
        all_wait.wait(30)
        wire.send(message(b"E", b"SFATAL\0VFATAL\0C53300\0Msorry, too many clients already\0\0"))

    def work(proxy):
        with proxy.connect() as client:
            client.send(startup(user="postgres", database="postgres"))
            error = client.fatal()
        assert error["M"] == "sorry, too many clients already", error

    with Upstream(behave) as upstream:
        for_one = {"pool_size": 1, "queue_timeout": "20s"}
        with pooled(f"host=127.0.0.1 port={upstream.port} sslmode=disable", workers=2, **for_one) as proxy:
            waiting = threading.Thread(target=lambda: (proxy.wait_for_log(count=4, msg="client state", detail="login"), all_wait.set()))
            waiting.start()
            in_threads(4, lambda _: work(proxy))
            waiting.join()


# --- waiting ------------------------------------------------------------------------------------------------------


def P3_who_waits_too_long_is_refused_and_stays_connected(server):
    with pooled(server, pool_size=1) as proxy:
        holder, waiter = proxy.log_in(), proxy.log_in()
        holder.ask("BEGIN")
        proxy.change_config(TRUST + database(server, pool_size=1, queue_timeout="200ms"))
        said = waiter.ask("SELECT 1")
        error = error_of(said)
        assert error["C"] == "53300" and error["V"] == "ERROR" and "queue_timeout" in error["M"], error
        assert said[-1] == (b"Z", b"I")
        waiter.send(message(b"P", b"\0SELECT 1\0\0\0") + message(b"B", b"\0\0\0\0\0\0\0\0") + message(b"E", b"\0\0\0\0\0") + SYNC)
        said = waiter.read_until(b"Z")
        assert [kind for kind, _ in said] == [b"E", b"Z"], said
        holder.ask("COMMIT")
        proxy.change_config(TRUST + database(server, pool_size=1))
        assert waiter.value("SELECT 'again'") == "again"


def P7_a_cancel_request_ends_the_wait_for_a_server(server):
    with pooled(server, pool_size=1) as proxy:
        holder = proxy.log_in()
        holder.ask("BEGIN")
        waiter = proxy.log_in()
        waiter.send(query("SELECT 1"))
        with proxy.connect() as other:
            other.send(cancel_request(waiter.process_id, waiter.secret))
            assert other.is_closed()
        assert error_of(waiter.read_until(b"Z"))["C"] == "57014"
        holder.ask("COMMIT")
        assert waiter.value("SELECT 'again'") == "again"


def P7_a_cancel_request_hits_the_query_of_its_client_and_no_other(server):
    with pooled(server, pool_size=2) as proxy:
        first, second = proxy.log_in(), proxy.log_in()
        first.send(query("SELECT pg_sleep(60)"))
        wait_until(lambda: server.sql("SELECT 1 FROM pg_stat_activity WHERE query LIKE '%sleep(60)' AND state = 'active'"), "the query")
        for client in (second, first):
            with proxy.connect() as other:
                other.send(cancel_request(client.process_id, client.secret))
                assert other.is_closed()
        assert error_of(first.read_until(b"Z"))["C"] == "57014"
        assert second.value("SELECT 'unhurt'") == "unhurt" and first.value("SELECT 'alive'") == "alive"


def P8_a_client_that_goes_while_it_waits_leaves_the_queue(server):
    with pooled(server, pool_size=1) as proxy:
        holder = proxy.log_in()
        holder.ask("BEGIN")
        for leave in (Client.close, Client.reset):
            waiter = proxy.log_in()
            waiter.send(query("SELECT 1"))
            leave(waiter)
        holder.ask("COMMIT")
        assert proxy.log_in().value("SELECT 'next'") == "next"


def P8_what_was_sent_before_terminate_still_finishes_behind_a_wait(server):
    server.create_database("pool_terminate", "CREATE TABLE t (a int)")
    with pooled(server, pool_size=1) as proxy:
        holder = proxy.log_in(database="pool_terminate")
        holder.ask("BEGIN")
        waiter = proxy.log_in(database="pool_terminate")
        waiter.send(query("INSERT INTO t VALUES (1)") + TERMINATE)
        holder.ask("COMMIT")
        wait_until(lambda: server.sql("SELECT count(*) FROM t", database="pool_terminate") == [["1"]], "the insert")


# --- losses ---------------------------------------------------------------------------------------------------------


def P8_a_client_killed_inside_a_transaction_leaves_nothing_behind(server):
    server.create_database("pool_killed", "CREATE TABLE t (a int)")
    with pooled(server, pool_size=1) as proxy:
        for leave in (Client.close, Client.reset):
            client = proxy.log_in(database="pool_killed")
            client.ask("BEGIN")
            client.ask("INSERT INTO t VALUES (1)")
            client.ask("SET LOCAL work_mem = '9MB'")
            pid = client.value("SELECT pg_backend_pid()")
            leave(client)
            with proxy.log_in(database="pool_killed") as other:
                assert other.value("SELECT count(*) FROM t") == "0"
                assert other.value("SHOW work_mem") != "9MB"
                assert other.value("SELECT pg_backend_pid()") == pid, "the server was not reused"


def P8_a_client_that_goes_inside_a_row_leaves_its_server_to_the_next(server):
    with pooled(server, pool_size=1) as proxy:
        for leave in (Client.close, Client.reset):
            client = proxy.log_in()
            pid = client.value("SELECT pg_backend_pid()")
            client.send(query("SELECT repeat('x', 50000000)"))
            stuck = f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'ClientWrite'"
            wait_until(lambda text=stuck: server.sql(text), "the row to be more than anybody takes")
            leave(client)
            with proxy.log_in() as other:
                assert other.value("SELECT pg_backend_pid()") == pid, "the server was not reused"


def P8_a_client_killed_inside_a_query_has_it_cancelled(server):
    with pooled(server, pool_size=1) as proxy:
        client = proxy.log_in()
        client.send(query("BEGIN; SELECT pg_sleep(120)"))
        wait_until(lambda: server.sql("SELECT 1 FROM pg_stat_activity WHERE query LIKE '%sleep(120)' AND state = 'active'"), "the query")
        client.reset()
        assert proxy.log_in().value("SELECT 'soon'") == "soon"


def P8_a_killed_backend_hits_one_client(server):
    with pooled(server, pool_size=4) as proxy:
        clients = [proxy.log_in() for _ in range(3)]
        for client in clients:
            client.ask("BEGIN")
        pid = clients[0].value("SELECT pg_backend_pid()")
        server.sql(f"SELECT pg_terminate_backend({pid})")
        error = error_of(clients[0].read_to_end())
        clients[0].close()
        assert error["C"] == "57P01", error
        assert [client.value("SELECT 'unhurt'") for client in clients[1:]] == ["unhurt"] * 2


def next_question_s(port, peer_port=None):
    """In how many seconds the kernel will ask whether the peer of a connection is still there. None: it will not, or is about to hear."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    kind, when = next(row[5].split(":") for row in rows if row[3] == "01" and row[1].endswith(f":{port:04X}")
                      and (peer_port is None or row[2].endswith(f":{peer_port:04X}")))
    return int(when, 16) / 100 if kind == "02" else None


def P8_a_peer_whose_machine_has_died_is_asked_for_soon(server):
    with pooled(f"host=127.0.0.1 port={server.port} user=app password=app-secret sslmode=disable") as proxy, proxy.log_in() as client:
        for ports in ((proxy.port, None), (int(client.value("SELECT inet_client_port()")), server.port)):
            wait_until(lambda at=ports: next_question_s(*at) is not None, "all bytes to have arrived")
            assert next_question_s(*ports) <= 30


def P8_a_killed_idle_backend_hits_nobody(server):
    with pooled(server, pool_size=2) as proxy:
        client = proxy.log_in()
        for _ in range(3):
            pid = int(client.value("SELECT pg_backend_pid()"))
            server.sql(f"SELECT pg_terminate_backend({pid})")
            wait_until(lambda p=pid: p not in backends(server), "the backend to end")
            wait_until(lambda: proxy.log_where(msg="an idle server has said an error"), "the proxy to notice")
            assert client.value("SELECT 'unhurt'") == "unhurt"


def P8_a_large_result_reaches_a_slow_client_whole(server):
    with pooled(server, pool_size=1) as proxy:
        client = Client(proxy.port, receive_buffer=4096).log_in()
        client.send(query("SELECT repeat('x', 1000) FROM generate_series(1, 20000)"))
        rows = [body for kind, body in client.read_until(b"Z") if kind == b"D"]
        assert len(rows) == 20000 and all(len(row) == 1006 for row in rows)
        assert proxy.log_in().value("SELECT 1") == "1"


def P8_copy_goes_through_a_pool_in_both_directions(server):
    server.create_database("pool_copy", "CREATE TABLE t (a text)")
    with pooled(server, pool_size=1) as proxy:
        client, other = proxy.log_in(database="pool_copy"), proxy.log_in(database="pool_copy")
        client.send(query("COPY t FROM STDIN"))
        client.read_until(b"G")
        for _ in range(100):
            client.send(message(b"d", b"y" * 50_000 + b"\n"))
        client.send(message(b"c"))
        assert client.read_until(b"Z")[-1] == (b"Z", b"I")
        assert other.value("SELECT count(*) FROM t") == "100"
        client.send(query("COPY t TO STDOUT"))
        assert sum(len(body) for kind, body in client.read_until(b"Z") if kind == b"d") == 100 * 50_001


def P2_a_message_that_is_longer_than_its_type_may_be_is_refused_also_when_it_comes_at_once(server):
    with pooled(server, pool_size=1) as proxy:
        proxy.listen.append(f"unix:{proxy.directory}")  # all of it is there for one read
        proxy.stop()
        proxy.start()
        proxy.wait_for_log(2, msg="started")
        for data in (message(b"D", b"S" + b"x" * 70_000 + b"\0"), message(b"E", b"x" * 70_000 + b"\0" * 5)):
            with Wire(socket.socket(socket.AF_UNIX)) as client:
                client.socket.connect(f"{proxy.directory}/.s.PGSQL.6432")
                client.send(startup(user="postgres", database="postgres"))
                client.read_until(b"Z")
                proxy.process.send_signal(signal.SIGSTOP)
                client.send(data + SYNC)
                proxy.process.send_signal(signal.SIGCONT)
                assert client.fatal()["C"] == "08P01"
        assert proxy.log_in().value("SELECT 1") == "1"


# --- lifetimes -----------------------------------------------------------------------------------------------------


def P3_idle_servers_are_closed_after_a_while_down_to_min_size(server):
    """How long the last one stays is measured by the servers of a pool that keeps none."""
    server.create_database("pool_idle")
    times = {"server_idle_timeout": "300ms"}
    blocks = TRUST + database(server, min_size=1, **times) + database(server, **times).replace('"*"', '"postgres"')
    with Proxy(server, blocks, database=False) as proxy:
        clients = [proxy.log_in(database="pool_idle") for _ in range(4)]
        for client in clients:
            client.ask("BEGIN")
        assert len(backends(server, "pool_idle")) == 4
        for client in clients:
            client.ask("COMMIT")
        wait_until(lambda: len(backends(server, "pool_idle")) == 1, "all but one to go")
        (kept,) = backends(server, "pool_idle")
        other = proxy.log_in()
        for _ in range(3):
            passing = int(other.value("SELECT pg_backend_pid()"))
            wait_until(lambda pid=passing: pid not in backends(server), "a server that nothing keeps to go")
        assert backends(server, "pool_idle") == [kept]
        assert clients[0].value("SELECT pg_backend_pid()") == str(kept)


def P3_min_size_servers_are_opened_ahead(server):
    server.create_database("pool_ahead")
    with pooled(server, pool_size=4, min_size=3, server_idle_timeout="1s") as proxy:
        with proxy.log_in(database="pool_ahead") as client:
            wait_until(lambda: len(backends(server, "pool_ahead")) == 3, "the pool to open what it should keep")
            assert client.value("SELECT 1") == "1" and len(backends(server, "pool_ahead")) == 3


def P3_servers_of_old_age_are_replaced(server):
    with pooled(server, pool_size=1, server_lifetime="300ms") as proxy:
        client = proxy.log_in()
        first = client.value("SELECT pg_backend_pid()")
        wait_until(lambda: client.value("SELECT pg_backend_pid()") != first, "another server")


def P3_a_reload_changes_the_times_the_limit_and_the_upstream_of_a_running_pool(server):
    with pooled(server, pool_size=1, queue_timeout="10min") as proxy:
        first, second = proxy.log_in(), proxy.log_in()
        first.ask("BEGIN")
        proxy.change_config(TRUST + database(server, pool_size=1, queue_timeout="100ms"))
        assert error_of(second.ask("SELECT 1"))["C"] == "53300"
        proxy.change_config(TRUST + database(server, pool_size=2))
        assert second.value("SELECT 'room'") == "room"
        first.ask("COMMIT")
        before = first.value("SELECT pg_backend_pid()")
        proxy.reload(TRUST + database(f"host={server.directory} port={server.port} dbname=postgres", pool_size=2))
        wait_until(lambda: first.value("SELECT pg_backend_pid()") != before, "a server of the new upstream")


def shell_pools_leave_no_descriptor_behind(server):
    with pooled(server, workers=2, pool_size=2, server_idle_timeout="200ms") as proxy:
        proxy.wait_for_log(msg="started")
        before = proxy.descriptors()
        for end in (lambda c: c.send(TERMINATE), Client.close, Client.reset, lambda c: c.send(b"\0" * 20)):
            clients = [proxy.log_in() for _ in range(5)]
            for client in clients:
                client.ask("SELECT 1")
                end(client)
            for client in clients:
                client.close()
        proxy.wait_until_idle(before)
