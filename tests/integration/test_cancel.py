"""Cancel requests (P7), and what happens when one side is suddenly gone (P8)."""

import os
import struct

from proxy import Proxy, wait_until
from wire import (READY, TERMINATE, Client, Closed, Upstream, cancel_request, fields, message, query, read_startup, startup, welcome)

SLEEP = "SELECT pg_sleep(600)"


def is_running(server, text, count=1):
    rows = server.sql(f"SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = '{text}'")
    return int(rows[0][0]) == count


def wait_until_running(server, text):
    wait_until(lambda: is_running(server, text), f"{text} to run")


def cancel(proxy, process_id, secret):
    """As libpq does: returns when the connection has closed."""
    with proxy.connect() as canceller:
        canceller.send(cancel_request(process_id, secret))
        assert canceller.is_closed()


def P7_a_cancel_request_reaches_the_query_of_its_key(server):
    with Proxy(server, workers=3) as proxy:
        clients = [proxy.log_in() for _ in range(6)]
        for number, client in enumerate(clients):
            client.send(query(f"{SLEEP} -- {number}"))
            wait_until_running(server, f"{SLEEP} -- {number}")
        for number in (4, 0, 5, 1, 3, 2):
            client = clients[number]
            cancel(proxy, client.process_id, client.secret)
            error = next(fields(body) for kind, body in client.read_until(b"Z") if kind == b"E")
            assert error["C"] == "57014", error
            assert client.value("SELECT 1") == "1"
            client.close()


def P7_a_cancel_request_with_a_wrong_key_does_nothing(server):
    with Proxy(server) as proxy, proxy.log_in() as client, proxy.log_in() as gone:
        gone.send(TERMINATE)
        assert gone.is_closed()
        client.send(query(SLEEP))
        wait_until_running(server, SLEEP)
        wrong = bytes([client.secret[0] ^ 1]) + client.secret[1:]
        for process_id, secret in ((client.process_id, wrong), (client.process_id + 1, client.secret), (client.process_id, b"\0" * 256),
                                   (gone.process_id, gone.secret)):
            cancel(proxy, process_id, secret)
        proxy.wait_for_log(4, msg="cancel request with an unknown key")
        assert is_running(server, SLEEP)
        cancel(proxy, client.process_id, client.secret)
        client.read_until(b"Z")


def P7_a_long_key_is_carried_whole_to_the_server_that_gave_it(server):
    secret = bytes(range(256))
    heard = []

    def behave(wire):
        packet = read_startup(wire)
        if packet[4:8] == struct.pack("!i", 1234 << 16 | 5678):
            heard.append(packet)
            return
        wire.send(message(b"R", struct.pack("!i", 0)) + message(b"K", struct.pack("!I", 77) + secret) + READY)
        wire.read_to_end()

    with Upstream(behave) as upstream, Proxy(upstream.port) as proxy, proxy.log_in() as client:
        assert (client.process_id, client.secret) == (77, secret)
        cancel(proxy, 77, secret)
        assert heard == [cancel_request(77, secret)]


def P7_a_cancel_request_while_clients_are_limited_still_works(server):
    with Proxy(server, "limits { clients = 1 }\n") as proxy, proxy.log_in() as client:
        client.send(query(SLEEP))
        wait_until_running(server, SLEEP)
        cancel(proxy, client.process_id, client.secret)
        client.read_until(b"Z")


def P7_a_malformed_cancel_request_is_closed(server):
    with Proxy(server) as proxy:
        for secret in (b"", b"abc", b"\0" * 257):
            with proxy.connect() as client:
                client.send(cancel_request(1, secret))
                try:
                    client.read_to_end()
                except Closed:
                    pass
        proxy.check_alive()


def P8_the_query_of_a_client_that_is_gone_is_cancelled(server):
    with Proxy(server) as proxy:
        before = proxy.descriptors()
        for leave in (Client.close, Client.reset):
            client = proxy.log_in()
            client.send(query(SLEEP))
            wait_until_running(server, SLEEP)
            leave(client)
            wait_until(lambda: is_running(server, SLEEP, 0), "the query to be cancelled")
            proxy.wait_until_idle(before)


def P8_what_was_sent_before_terminate_still_finishes(server):
    server.sql("CREATE TABLE finished (n int)")
    insert = "INSERT INTO finished SELECT n FROM pg_sleep(0.2), generate_series(1, 3) n"
    with Proxy(server) as proxy:
        with proxy.log_in() as client:
            client.send(query(insert) + query(insert) + TERMINATE)
        wait_until(lambda: server.sql("SELECT count(*) FROM finished") == [["6"]], "both statements to be committed")
    server.sql("DROP TABLE finished")


def P8_a_server_that_is_terminated_says_so_itself(server):
    with Proxy(server) as proxy, proxy.log_in() as client, proxy.log_in() as other:
        process_id = client.value("SELECT pg_backend_pid()")
        server.sql(f"SELECT pg_terminate_backend({process_id})")
        assert client.fatal()["C"] == "57P01"
        assert other.value("SELECT 1") == "1"


def P8_a_server_that_vanishes_is_08006(server):
    with Upstream(lambda wire: (welcome(wire), wire.read(), wire.reset())) as upstream, Proxy(upstream.port) as proxy:
        with proxy.log_in() as client:
            client.send(query("SELECT 1"))
            error = client.fatal()
            assert error["C"] == "08006" and "closed the connection unexpectedly" in error["M"], error


def P8_no_words_are_put_into_the_middle_of_a_message(server):
    """The server goes while it sends a row: the client has to see a cut row, not one with an error in it."""
    row = message(b"D", struct.pack("!hi", 1, 100_000) + b"x" * 100_000)

    def behave(wire):
        welcome(wire)
        wire.read()
        wire.send(row[:50_000])
        wire.close()

    with Upstream(behave) as upstream, Proxy(upstream.port) as proxy, proxy.log_in() as client:
        client.send(query("SELECT 1"))
        try:
            client.read_to_end()
            raise AssertionError("the row was not cut")
        except Closed as closed:
            raise_unless(row.startswith(closed.args[0]), closed)
        except AssertionError as cut:
            raise_unless("closed inside a message" in str(cut), cut)


def raise_unless(condition, error):
    if not condition:
        raise error


def P8_a_client_that_goes_inside_a_message_takes_its_server_with_it(server):
    """What it sent before still counts; nothing of ours may follow the half message."""
    heard = []

    def behave(wire):
        welcome(wire)
        try:
            while True:
                heard.append(wire.read())
        except Closed as closed:
            heard.append(closed.args[0])

    with Upstream(behave) as upstream, Proxy(upstream.port) as proxy:
        proxy.wait_for_log(msg="started")
        before = proxy.descriptors()
        client = proxy.log_in()
        half = message(b"d", b"x" * 100_000)[:40_000]
        client.send(query("COPY t FROM STDIN"))
        wait_until(lambda: len(heard) == 1, "the query to arrive")
        client.send(half)
        client.close()
        wait_until(lambda: isinstance(heard[-1], bytes), "the server to see the end")
        assert half[5:].startswith(heard[-1]) and len(heard) == 2, heard[1:]
        proxy.wait_until_idle(before)


def shell_no_descriptor_is_left_behind(server):
    with Proxy(server, workers=2) as proxy:
        proxy.log_in().close()
        before = proxy.descriptors()
        for end in (lambda c: c.send(TERMINATE), Client.close, Client.reset, lambda c: c.send(b"\0" * 20)):
            for _ in range(20):
                client = proxy.log_in()
                end(client)
                client.close()
        proxy.wait_until_idle(before)
        wait_until(lambda: int(server.sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")[0][0]) == 1,
                   "the server to be alone")


def shell_replication_connections_are_passed_through(server):
    with Proxy(server) as proxy, proxy.log_in(replication="database") as client:
        assert client.value("IDENTIFY_SYSTEM")
        client.send(query("SHOW pgatomic.request"))
        assert b"E" in [kind for kind, _ in client.read_until(b"Z")]
        client.send(TERMINATE)
        assert client.is_closed()


def shell_a_walsender_streams_both_ways(server):
    with open(os.path.join(server.data, "pg_hba.conf"), "a") as hba:
        hba.write("local replication all trust\n")
    server.sql("SELECT pg_reload_conf()")
    with Proxy(server) as proxy, proxy.log_in(replication="true") as client:
        start = server.sql("SELECT pg_current_wal_flush_lsn()")[0][0]
        server.sql("CREATE TABLE streamed AS SELECT repeat('x', 100) FROM generate_series(1, 10000); DROP TABLE streamed")
        client.send(query(f"START_REPLICATION {start}"))
        assert client.read()[0] == b"W"
        received = 0
        while received < 1_000_000:
            kind, body = client.read()
            assert kind == b"d", (kind, body[:100])
            received += len(body)
        client.send(message(b"c"))
        client.read_until(b"Z")


def takes_a_client(proxy):
    try:
        with Client(proxy.port) as client:
            return client.log_in().value("SELECT 2") == "2"
    except (Closed, ConnectionError):
        return False


def shell_a_descriptor_limit_refuses_some_and_harms_none(server):
    """More clients than descriptors: those that are there go on, and when some go, others come."""
    with Proxy(server) as proxy:
        base = proxy.descriptors()
        os.system(f"prlimit --pid {proxy.process.pid} --nofile={base + 8}:{base + 8}")
        with proxy.log_in() as stays:
            crowd = [Client(proxy.port) for _ in range(20)]
            proxy.wait_for_log(msg="cannot take connections", error="Too many open files")
            assert stays.value("SELECT 1") == "1"
            for client in crowd:
                client.send(startup(user="postgres"))
                client.close()
            wait_until(lambda: takes_a_client(proxy), "descriptors to be free again")
            assert stays.value("SELECT 3") == "3"
