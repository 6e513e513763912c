"""Slow sides and big messages (P2): everything arrives, nothing is stored that can flow."""

import hashlib
import os
import socket
import struct
import threading

from proxy import Proxy, wait_until
from wire import READY, SYNC, Closed, Upstream, fields, message, query, welcome

MB = 1 << 20
# What a connection may hold while it waits: some reads' worth, far from the size of what flows.
SLACK_KB = 8 * 1024


def rows(count):
    return f"SELECT repeat('x', 1000) FROM generate_series(1, {count})"


def wait_until_blocked(sent):
    """Waits until a counter has stopped: nothing moves any more. The only thing to see of a pipe that is full is that it stays full."""
    seen = [None, 0]

    def stopped():
        seen[1] = seen[1] + 1 if seen[0] == sent() else 0
        seen[0] = sent()
        return seen[1] >= 50

    wait_until(stopped, "the flow to stop")


class Pump(threading.Thread):
    """Sends until it is done, on a thread, and counts."""

    def __init__(self, wire, chunks):
        super().__init__(daemon=True)
        self.wire, self.chunks, self.sent, self.done = wire, chunks, 0, False
        self.start()

    def run(self):
        try:
            for chunk in self.chunks:
                view = memoryview(chunk)
                while view:
                    count = self.wire.socket.send(view)
                    self.sent += count
                    view = view[count:]
            self.done = True
        except OSError:
            pass


def shell_a_client_that_does_not_read_makes_the_server_wait(server):
    with Proxy(server) as proxy, proxy.connect(receive_buffer=4096) as client:
        client.log_in()
        before = proxy.memory_kb()
        client.send(query(rows(100_000)))
        blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite'"
        wait_until(lambda: server.sql(blocked) == [["1"]], "the server to wait for the client")
        wait_until_blocked(proxy.memory_kb)
        assert server.sql(blocked) == [["1"]]
        assert proxy.memory_kb() - before < SLACK_KB
        with proxy.log_in() as other:
            assert other.value("SELECT 1") == "1"
        received = client.read_until(b"Z")
        assert sum(kind == b"D" for kind, _ in received) == 100_000
        assert all(len(body) == 1006 for kind, body in received if kind == b"D")


def shell_a_server_that_does_not_read_makes_the_client_wait(server):
    go_on = threading.Event()
    received = hashlib.sha256()
    data = [message(b"d", os.urandom(60_000)) for _ in range(20)] * 30

    def behave(wire):
        welcome(wire)
        wire.read()
        wire.send(message(b"G", b"\0\0\0"))
        go_on.wait()
        while True:
            kind, body = wire.read()
            if kind == b"c":
                break
            received.update(message(kind, body))
        wire.send(message(b"C", b"COPY 600\0") + READY)
        wire.read_to_end()

    with Upstream(behave, receive_buffer=4096) as upstream, Proxy(upstream.port) as proxy, proxy.log_in() as client:
        client.send(query("COPY t FROM STDIN"))
        assert client.read()[0] == b"G"
        before = proxy.memory_kb()
        pump = Pump(client, data)
        wait_until_blocked(lambda: pump.sent)
        assert not pump.done
        assert proxy.memory_kb() - before < SLACK_KB
        go_on.set()
        wait_until(lambda: pump.done, "all of it to be sent")
        client.send(message(b"c"))
        client.read_until(b"Z")
        assert received.digest() == hashlib.sha256(b"".join(data)).digest()


def shell_a_client_that_floods_without_reading_is_not_read_either(server):
    """Its requests are answered by pgatomic itself, so nobody else slows it down."""
    with Proxy(server) as proxy, proxy.connect(receive_buffer=4096) as client:
        client.log_in()
        before = proxy.memory_kb()
        batch = query("SHOW pgatomic.request") * 1000
        pump = Pump(client, [batch] * 4000)
        wait_until_blocked(lambda: pump.sent)
        assert not pump.done and proxy.memory_kb() - before < SLACK_KB, (pump.sent, proxy.memory_kb() - before)
        with proxy.log_in() as other:
            assert other.value("SELECT 1") == "1"


def shell_a_large_query_arrives_whole(server):
    with Proxy(server) as proxy, proxy.log_in() as client:
        before = proxy.memory_kb()
        text = "SELECT length('" + "x" * (32 * MB) + "')"
        client.send(query(text))
        assert dict(client.read_until(b"Z"))[b"D"].endswith(str(32 * MB).encode())
        wait_until(lambda: proxy.memory_kb() - before < SLACK_KB, "the memory to be given back")
        assert client.value("SELECT 1") == "1"


def shell_a_large_parameter_streams(server):
    size = 64 * MB
    value = b"x" * size
    with Proxy(server) as proxy, proxy.log_in() as client:
        before = proxy.memory_kb()
        peak = [0]
        bind = message(b"B", b"\0\0" + struct.pack("!hhi", 0, 1, size) + value + struct.pack("!h", 0))
        pump = Pump(client, [message(b"P", b"\0SELECT md5($1::text)\0\0\0"), bind, message(b"E", b"\0\0\0\0\0") + SYNC])
        while pump.is_alive():
            peak[0] = max(peak[0], proxy.memory_kb())
        assert pump.done and peak[0] - before < SLACK_KB, peak[0] - before
        assert dict(client.read_until(b"Z"))[b"D"].endswith(hashlib.md5(value).hexdigest().encode())


def shell_a_large_row_streams(server):
    with Proxy(server) as proxy, proxy.log_in() as client:
        before = proxy.memory_kb()
        client.send(query(f"SELECT repeat('x', {64 * MB}), 'end'"))
        peak, received = 0, {}
        while b"Z" not in received:
            kind, body = client.read()
            received[kind] = body
            peak = max(peak, proxy.memory_kb())
        assert len(received[b"D"]) > 64 * MB and received[b"D"].endswith(b"end")
        assert peak - before < SLACK_KB, peak - before


def P2_a_message_over_its_limit_is_refused_from_its_length_alone(server):
    with Proxy(server, "limits { message = 1MB }\n") as proxy:
        with proxy.log_in() as client:
            assert client.value("SELECT length('" + "x" * (MB - 100) + "')") == str(MB - 100)
            client.send(b"Q" + struct.pack("!i", MB + 1))
            assert client.fatal()["C"] == "08P01"
        with proxy.log_in() as client:
            client.send(b"d" + struct.pack("!i", MB + 1) + b"x" * 100)
            assert client.fatal()["C"] == "08P01"
        with proxy.log_in() as client:
            assert client.value(f"SELECT length(repeat('x', {4 * MB}))") == str(4 * MB)
            assert len(client.value(f"SELECT repeat('x', {4 * MB})")) == 4 * MB


def P2_a_message_that_no_client_sends_ends_only_that_client(server):
    for data in (b"Z\0\0\0\5I", b"Q\0\0\0\3", b"Q\xff\xff\xff\xff", b"S\0\1\0\1", b"\0", b"R", b"p\0\0\0\5x", b"Q\0\0\0\4", b"P\0\0\0\4"):
        with Proxy(server) as proxy, proxy.log_in() as bystander:
            before = len(proxy.log_where(level="warn"))
            with proxy.log_in() as client:
                client.send(query("SELECT 1"))
                client.read_until(b"Z")
                client.send(data)
                assert client.fatal()["C"] == "08P01", data
            wait_until(lambda p=proxy, n=before: len(p.log_where(level="warn")) > n, "a word about it in the log")
            assert bystander.value("SELECT 1") == "1"


def P2_a_server_that_leaves_the_protocol_ends_only_its_client(server):
    for said in (b"Q\0\0\0\4", b"D\0\0\0\3", b"Z\xff\xff\xff\xff", b"\0\0\0\0\0", b"S\0\0\0\4", b"Z\0\0\0\4", b"C\0\0\0\4", b"E\0\0\0\5x"):
        with Upstream(lambda wire, said=said: (welcome(wire), wire.read(), wire.send(said), wire.read_to_end())) as upstream:
            with Proxy(upstream.port) as proxy, proxy.log_in() as bystander:
                with proxy.log_in() as client:
                    client.send(query("SELECT 1"))
                    client.socket.shutdown(socket.SHUT_WR)
                    try:
                        client.read_to_end()
                    except Closed:
                        pass
                bystander.close()
                proxy.check_alive()


def shell_messages_cut_at_every_byte_arrive_the_same(server):
    """The upstream sends its replies, and the client its requests, one byte at a time."""
    script = (query("SELECT 1, 'two' UNION ALL SELECT 3, 'four'") + message(b"P", b"s\0SELECT $1::int\0\0\0") +
              message(b"B", b"\0s\0" + struct.pack("!hhi", 0, 1, 1) + b"7\0\0") + message(b"E", b"\0\0\0\0\0") + SYNC +
              query("SELECT 1/0"))
    with Proxy(server) as proxy:
        with proxy.log_in() as client:
            client.send(script)
            whole = [client.read_until(b"Z") for _ in range(3)]
        with Proxy(proxy.port) as second, second.log_in() as client:
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in script:
                client.send(bytes([byte]))
            assert [client.read_until(b"Z") for _ in range(3)] == whole
        for cut in range(1, len(script), 7):
            with proxy.log_in() as client:
                client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.send(script[:cut])
                client.send(script[cut:])
                assert [client.read_until(b"Z") for _ in range(3)] == whole, cut


def shell_replies_in_single_bytes_arrive_the_same(server):
    reply = (message(b"T", b"\0\1a\0" + bytes(18)) + message(b"D", struct.pack("!hi", 1, 5) + b"12345") + message(b"C", b"SELECT 1\0") +
             message(b"N", b"SNOTICE\0VNOTICE\0C00000\0Mhello\0\0") + READY)

    def behave(wire):
        welcome(wire)
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire.read()
        for byte in reply:
            wire.send(bytes([byte]))
        wire.read_to_end()

    with Upstream(behave) as upstream, Proxy(upstream.port) as proxy, proxy.log_in() as client:
        assert b"".join(message(kind, body) for kind, body in client.ask("SELECT 1")) == reply


def shell_many_clients_in_pipelines_get_each_their_own(server):
    with Proxy(server, workers=3) as proxy:
        clients = [proxy.log_in() for _ in range(40)]
        for number, client in enumerate(clients):
            client.send(b"".join(query(f"SELECT '{number}.{i}', repeat('y', {i * 37})") for i in range(60)))
        for number, client in enumerate(clients):
            for i in range(60):
                row = dict(client.read_until(b"Z"))[b"D"]
                expected = f"{number}.{i}".encode()
                assert row[6 : 6 + len(expected)] == expected
            client.close()


def shell_a_copy_goes_through_both_ways(server):
    server.sql("CREATE TABLE copied (n int, t text)")
    with Proxy(server) as proxy, proxy.log_in() as client:
        client.send(query("COPY copied FROM STDIN"))
        assert client.read()[0] == b"G"
        lines = b"".join(b"%d\t%s\n" % (i, b"z" * (i % 500)) for i in range(20_000))
        for start in range(0, len(lines), 70_001):
            client.send(message(b"d", lines[start : start + 70_001]))
        client.send(message(b"c"))
        assert (b"C", b"COPY 20000\0") in client.read_until(b"Z")
        client.send(query("COPY (SELECT * FROM copied ORDER BY n) TO STDOUT"))
        assert b"".join(body for kind, body in client.read_until(b"Z") if kind == b"d") == lines
        client.send(query("COPY copied FROM STDIN"))
        assert client.read()[0] == b"G"
        client.send(message(b"d", b"no number\tx\n") + message(b"d", b"1\tx\n") + message(b"c"))
        assert [fields(body)["C"] for kind, body in client.read_until(b"Z") if kind == b"E"] == ["22P02"]
        assert client.value("SELECT 5") == "5"
    server.sql("DROP TABLE copied")


def prepare(name, text):
    return message(b"P", f"{name}\0{text}\0".encode() + b"\0\0")


def R15_prepared_statements_without_end_are_refused_and_the_connection_lives_on(server):
    """Those that pgatomic has to know by name; ordinary ones are the server's business."""
    with Proxy(server, 'route "web" { mode = atomic  end = commit }') as proxy, proxy.log_in() as client:
        for first in range(0, 1000, 100):
            client.send(b"".join(prepare(f"n{i}", "COMMIT") for i in range(first, first + 100)) + SYNC)
            assert not [body for kind, body in client.read_until(b"Z") if kind == b"E"]
        client.send(prepare("more", "COMMIT") + SYNC)
        said = client.read_until(b"Z")
        assert [fields(body)["C"] for kind, body in said if kind == b"E"] == ["54000"] and said[-1][1] == b"I", said
        client.send(prepare("ordinary", "SELECT 1") + SYNC)
        assert [kind for kind, _ in client.read_until(b"Z")] == [b"1", b"Z"]
        client.ask("DEALLOCATE ALL")
        client.send(prepare("more", "COMMIT") + SYNC)
        assert [kind for kind, _ in client.read_until(b"Z")] == [b"1", b"Z"]
        assert client.value("SELECT 7") == "7"


POOL = """
auth {{ method = trust }}
database "postgres" {{ upstream = "host={0.directory} port={0.port}"  pool = transaction }}
"""


def P2_a_client_that_streams_behind_a_statement_that_waits_is_not_read(server):
    """DISCARD ALL holds up what comes behind it, here until another session lets go of a lock."""
    server.sql("CREATE TABLE held_up (i int)")
    with Proxy(server, POOL.format(server), database=False) as proxy, proxy.log_in() as owner, proxy.log_in() as client:
        owner.send(query("BEGIN; LOCK TABLE held_up"))
        owner.read_until(b"Z")
        client.send(query("SELECT count(*) FROM held_up") + query("DISCARD ALL"))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'held_up'::regclass"
        wait_until(lambda: server.sql(waiting) == [["1"]], "the lock to be waited for")
        before = proxy.memory_kb()
        pump = Pump(client, [query("/*" + "x" * 100_000 + "*/")] * 300)
        wait_until_blocked(lambda: pump.sent)
        assert not pump.done
        assert proxy.memory_kb() - before < SLACK_KB
        owner.send(query("ROLLBACK"))
        owner.read_until(b"Z")
        for _ in range(302):
            assert client.read_until(b"Z")[-1] == (b"Z", b"I")
        wait_until(lambda: pump.done, "all of it to be sent")
