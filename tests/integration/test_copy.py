"""COPY, which is passed on without a look at its data: also where pgatomic has something of its own to say to the server."""

import struct

from proxy import Proxy
from test_pool import pooled
from wire import SYNC, TERMINATE, fields, message, query

ROUTE = 'route "all" { mode = atomic  end = commit  on_error = rollback_statement }\n'


def R9_what_undoes_a_failed_copy_waits_for_the_end_of_a_message_that_is_under_way(server):
    server.sql("DROP TABLE IF EXISTS copied_late; CREATE TABLE copied_late (id int)")
    with Proxy(server, ROUTE) as proxy, proxy.log_in() as client:
        client.ask("INSERT INTO copied_late VALUES (1)")
        client.send(query("COPY copied_late FROM STDIN"))
        client.read_until(b"G")
        late = message(b"d", b"2\n" * 1000)
        client.send(message(b"d", b"no number\n") + late[:700])
        kind, body = client.read()
        assert kind == b"E" and fields(body)["C"] == "22P02", (kind, body)
        client.send(late[700:] + message(b"c"))
        assert client.read_until(b"Z")[-1][1] == b"I"
        assert client.value("SELECT count(*) FROM copied_late") == "1"
        client.send(TERMINATE)
        client.read_to_end()
        proxy.wait_for_log(msg="request_committed")
    assert server.sql("SELECT count(*) FROM copied_late") == [["1"]]


POOLED = 'auth { method = trust }\ndatabase "*" { upstream = "host=%s port=%d"  pool = transaction  pool_size = 1 }\n'


def kinds_of_proxy(server, options=""):
    """One with a server for each client, and one with a single server for all."""
    return (Proxy(server, options), Proxy(server, options + POOLED % (server.directory, server.port), database=False))


def lines_of_all_lengths():
    return [b"%d\t%s\n" % (i, b"z" * (i % 400 if i % 1000 else 100_000)) for i in range(12_000)]


def send_in_pieces(client, data, size):
    for start in range(0, len(data), size):
        client.send(data[start : start + size])


def copy_in(client, table, data, size):
    client.send(query(f"COPY {table} FROM STDIN"))
    client.read_until(b"G")
    send_in_pieces(client, data, size)
    return client.read_until(b"Z")


def P2_data_of_a_copy_arrive_whole_wherever_their_messages_were_cut(server):
    lines = lines_of_all_lengths()
    messages = b"".join(message(b"d", line) for line in lines) + message(b"c")
    for proxy in kinds_of_proxy(server):
        with proxy, proxy.log_in() as client:
            client.ask("DROP TABLE IF EXISTS copied_whole; CREATE TABLE copied_whole (n int, t text)")
            for size in (1009, 65_536, len(messages)):
                client.ask("TRUNCATE copied_whole")
                assert (b"C", b"COPY 12000\0") in copy_in(client, "copied_whole", messages, size)
                client.send(query("COPY (SELECT * FROM copied_whole ORDER BY n) TO STDOUT"))
                assert [body for kind, body in client.read_until(b"Z") if kind == b"d"] == lines
            client.send(query("SELECT t FROM copied_whole ORDER BY n"))
            rows = [body[6:] for kind, body in client.read_until(b"Z") if kind == b"D"]
            assert rows == [line.split(b"\t")[1][:-1] for line in lines]


def P4_what_is_sent_behind_a_copy_that_has_failed_reaches_nobody(server):
    late = message(b"d", b"2\n" * 20_000)
    for proxy in kinds_of_proxy(server):
        with proxy, proxy.log_in() as client, proxy.log_in() as neighbour:
            client.ask("DROP TABLE IF EXISTS copied_failed; CREATE TABLE copied_failed (n int)")
            client.send(query("COPY copied_failed FROM STDIN"))
            client.read_until(b"G")
            client.send(message(b"d", b"1\n") * 1000 + message(b"d", b"no number\n") + late[:700])
            assert [fields(body)["C"] for kind, body in client.read_until(b"E") if kind == b"E"] == ["22P02"]
            client.send(late[700:] + late * 10 + late[:9])
            client.send(late[9:] + message(b"c") + query("SELECT 'mine'"))
            assert (b"D", b"\0\1\0\0\0\4mine") in client.read_until(b"Z") + client.read_until(b"Z")
            assert neighbour.value("SELECT count(*) FROM copied_failed") == "0"


def P3_what_is_sent_into_a_copy_that_has_failed_is_answered_to_no_neighbour(server):
    """Whether the COPY reads it, or has failed before and it is run, is not to be known when it is sent."""
    begin, bad = query("COPY copied_over FROM STDIN"), message(b"d", b"no number\n")
    slow = query("SELECT 'mine' FROM pg_sleep(0.1)")
    extended = message(b"P", b"\0COPY copied_over FROM STDIN\0\0\0") + message(b"B", b"\0" * 8) + message(b"E", b"\0" * 5)
    function = message(b"F", struct.pack("!Ihhi", 957, 0, 1, 2) + b"-1" + struct.pack("!h", 0))  # lo_creat: another one would pin
    behind = (slow, query("DISCARD ALL"), SYNC, SYNC + message(b"c") + SYNC, function, message(b"H") + slow)
    server.sql("DROP TABLE IF EXISTS copied_over; CREATE TABLE copied_over (n int)")
    options = POOLED % (server.directory, server.port)
    for first in (begin, extended):
        for rest in behind:
            for waits in (True, False):
                with Proxy(server, options, database=False) as proxy, proxy.log_in() as client, proxy.log_in() as neighbour:
                    client.send(first if waits else first + bad + rest)
                    if waits:
                        client.read_until(b"G")
                        client.send(bad + rest)
                    client.read_until(b"E")
                    if first == extended:
                        client.send(SYNC)
                    client.read_until(b"Z")
                    for number in range(4):
                        assert neighbour.value(f"SELECT 'neighbours {number}'") == f"neighbours {number}", (first, rest, waits)


def P8_who_goes_inside_a_message_of_a_copy_that_has_failed_takes_no_neighbour_along(server):
    """What would be left of the message is as long as Terminate, longer, and shorter."""
    with pooled(server, pool_size=1) as proxy:
        for size in (5, 6, 8):
            client, neighbour = proxy.log_in(), proxy.log_in()
            client.send(query("COPY nothing FROM STDIN") + message(b"d", b"data\n")[:size])
            client.read_until(b"Z")
            client.reset()
            assert neighbour.value("SELECT 1") == "1"
            neighbour.close()


def P2_a_message_of_a_copy_that_is_over_the_limit_ends_the_client(server):
    for proxy in kinds_of_proxy(server, "limits { message = 2MB }\n"):
        with proxy, proxy.log_in() as client:
            client.ask("DROP TABLE IF EXISTS copied_limited; CREATE TABLE copied_limited (t text)")
            client.send(query("COPY copied_limited FROM STDIN"))
            client.read_until(b"G")
            client.send(message(b"d", b"x\n") * 1000 + message(b"d", b"x" * (2 << 20))[:1000])
            assert client.fatal()["C"] == "08P01"
            assert proxy.log_in().value("SELECT count(*) FROM copied_limited") == "0"
