"""LISTEN in transaction pooling (P6): clients share servers, and each hears what it has asked for."""

import re
import socket
import struct
import threading

from proxy import Proxy, free_port, wait_until
from relay import Relay
from wire import SECONDS, SYNC, Client, Upstream, Wire, fields, message, query, welcome

POOL = """
auth {{ method = trust }}
database "postgres" {{ upstream = "{upstream}"  {control}  pool = transaction  pool_size = {size} }}
"""


def pooled(server, size=2, control=None, workers=1, more=""):
    """A proxy over a pool, with a listener unless `control` is empty."""
    conninfo = f"host={server.directory} port={server.port}"
    control = conninfo if control is None else control
    control = f'control = "{control} user=postgres dbname=postgres"' if control else ""
    return Proxy(conninfo, POOL.format(upstream=conninfo, control=control, size=size) + more, workers=workers, database=False)


def notification(body):
    pid, (channel, payload) = struct.unpack("!i", body[:4])[0], body[4:-1].split(b"\0")
    return pid, channel.decode(), payload.decode()


def heard(client):
    """The next notification."""
    while True:
        kind, body = client.read()
        if kind == b"A":
            return notification(body)
        assert kind != b"E", fields(body)


def payloads_in(reply):
    return [notification(body)[2] for kind, body in reply if kind == b"A"]


def done(reply):
    """The tags of a reply without an error."""
    for kind, body in reply:
        assert kind != b"E", fields(body)
    return [body[:-1].decode() for kind, body in reply if kind == b"C"]



def says(proxy, words):
    """A line of the log has these words."""
    return any(words in str(value) for line in proxy.log_lines() for value in line.values())


def P6_clients_of_one_server_hear_each_their_own_channels(server):
    with pooled(server, size=1) as proxy, proxy.log_in() as a, proxy.log_in() as b, proxy.log_in() as c:
        assert done(a.ask("LISTEN news")) == ["LISTEN"]
        assert done(b.ask('LISTEN "News"')) == ["LISTEN"]
        done(c.ask("NOTIFY news, '1'; NOTIFY \"News\", '2'"))
        assert heard(a)[1:] == ("news", "1")
        assert heard(b)[1:] == ("News", "2")


def P6_a_notification_bears_the_pid_of_the_server_that_sent_it(server):
    with pooled(server, size=1) as proxy, proxy.log_in() as a:
        done(a.ask("LISTEN news"))
        pid = int(a.value("SELECT pg_backend_pid()"))
        done(a.ask("NOTIFY news, 'x'"))
        assert heard(a) == (pid, "news", "x")


def P6_what_is_notified_once_LISTEN_is_answered_is_heard(server):
    with pooled(server) as proxy, proxy.log_in() as a:
        for i in range(10):
            done(a.ask(f"LISTEN c{i}"))
            server.sql(f"NOTIFY c{i}, '{i}'")
            assert heard(a)[1:] == (f"c{i}", str(i))


def P6_LISTEN_inside_a_transaction_takes_effect_at_COMMIT(server):
    with pooled(server) as proxy, proxy.log_in() as a:
        done(a.ask("BEGIN"))
        done(a.ask("LISTEN kept"))
        assert done(a.ask("COMMIT")) == ["COMMIT"]
        server.sql("NOTIFY kept, 'x'")
        assert heard(a)[1:] == ("kept", "x")


def P6_a_LISTEN_that_is_rolled_back_is_not_heard(server):
    with pooled(server) as proxy, proxy.log_in() as a:
        done(a.ask("LISTEN kept"))
        done(a.ask("BEGIN; LISTEN undone"))
        done(a.ask("ROLLBACK"))
        done(a.ask("BEGIN; SAVEPOINT s; LISTEN undone; ROLLBACK TO s; COMMIT"))
        done(a.ask("SELECT 1"))
        server.sql("NOTIFY undone, 'x'; NOTIFY kept, 'y'")
        assert heard(a)[1:] == ("kept", "y")


def P6_UNLISTEN_takes_effect_with_its_transaction(server):
    with pooled(server) as proxy, proxy.log_in() as a:
        done(a.ask("LISTEN one; LISTEN two; LISTEN three"))
        done(a.ask("BEGIN; UNLISTEN one; ROLLBACK"))
        done(a.ask("BEGIN"))
        done(a.ask("UNLISTEN two"))
        done(a.ask("COMMIT"))
        done(a.ask("SELECT 1"))
        server.sql("NOTIFY two, 'x'; NOTIFY one, 'y'; NOTIFY three, 'z'")
        assert [heard(a)[1:] for _ in range(2)] == [("one", "y"), ("three", "z")]
        done(a.ask("UNLISTEN *"))
        done(a.ask("LISTEN last"))
        server.sql("NOTIFY one, 'x'; NOTIFY three, 'x'; NOTIFY last, 'y'")
        assert heard(a)[1:] == ("last", "y")


def P6_DISCARD_ALL_ends_all_listening(server):
    with pooled(server) as proxy, proxy.log_in() as a:
        done(a.ask("LISTEN one"))
        done(a.ask("DISCARD ALL"))
        done(a.ask("LISTEN two"))
        server.sql("NOTIFY one, 'x'; NOTIFY two, 'y'")
        assert heard(a)[1:] == ("two", "y")


def P6_nothing_is_heard_inside_a_transaction(server):
    with pooled(server) as proxy, proxy.log_in() as a, proxy.log_in() as b:
        done(a.ask("LISTEN news"))
        done(b.ask("LISTEN news"))
        done(a.ask("BEGIN"))
        done(a.ask("SELECT 1"))
        server.sql("NOTIFY news, 'x'")
        heard(b)  # so it has come
        assert payloads_in(a.ask("SELECT 2")) == []
        reply = a.ask("COMMIT")
        assert payloads_in(reply) == [], "it comes behind ReadyForQuery"
        assert heard(a)[1:] == ("news", "x")


def R16_LISTEN_in_a_request_takes_effect_at_its_COMMIT(server):
    with pooled(server, more='route "web" { match = "/*"  mode = atomic }') as proxy, proxy.log_in() as a:
        done(a.ask("LISTEN kept"))
        for outcome in ("rollback", "commit"):
            done(a.ask(f"SET pgatomic.request = '/{outcome}'"))
            done(a.ask("SELECT 1"))
            done(a.ask(f"LISTEN {outcome}"))
            done(a.ask("SET work_mem = '1MB'"))
            done(a.ask("UNLISTEN kept" if outcome == "rollback" else "SELECT 2"))
            done(a.ask(f"SET pgatomic.outcome = '{outcome}'"))
        done(a.ask("SELECT 3"))
        server.sql("NOTIFY rollback, 'x'; NOTIFY kept, 'y'; NOTIFY commit, 'z'")
        assert [heard(a)[1:] for _ in range(2)] == [("kept", "y"), ("commit", "z")]


def P6_LISTEN_in_the_extended_protocol(server):
    def run(client, text, name=b""):
        client.send(message(b"P", name + b"\0" + text.encode() + b"\0\0\0") + message(b"B", b"\0" + name + b"\0\0\0\0\0\0\0") +
                    message(b"E", b"\0\0\0\0\0") + SYNC)
        return done(client.read_until(b"Z"))

    with pooled(server) as proxy, proxy.log_in() as a:
        assert run(a, "LISTEN one") == ["LISTEN"]
        assert run(a, "LISTEN two", b"named") == ["LISTEN"]
        server.sql("NOTIFY one, 'x'; NOTIFY two, 'y'")
        assert [heard(a)[1:] for _ in range(2)] == [("one", "x"), ("two", "y")]


def P6_what_is_sent_behind_a_LISTEN_keeps_its_place(server):
    with pooled(server) as proxy, proxy.log_in() as a:
        a.send(query("SELECT 1") + query("LISTEN news") + query("SELECT 2, 3"))
        assert [done(a.read_until(b"Z")) for _ in range(3)] == [["SELECT 1"], ["LISTEN"], ["SELECT 1"]]


def P6_a_client_that_goes_takes_its_channels_along(server):
    with pooled(server) as proxy:
        with proxy.log_in() as a:
            done(a.ask("LISTEN gone"))
            a.send(message(b"X"))
        with proxy.log_in() as b:
            done(b.ask("LISTEN kept"))
            server.sql("NOTIFY gone, 'x'; NOTIFY kept, 'y'")
            assert heard(b)[1:] == ("kept", "y")


def P6_a_servers_LISTEN_is_not_left_to_its_next_client(server):
    with pooled(server, size=1) as proxy, proxy.log_in() as a, proxy.log_in() as b:
        done(a.ask("LISTEN news"))
        wait_until(lambda: b.value("SELECT count(*) FROM pg_listening_channels()") == "0", "the server to be free of it")
        server.sql("NOTIFY news, 'x'")
        heard(a)
        assert payloads_in(b.ask("SELECT 1")) == []


def P6_without_control_LISTEN_keeps_the_server(server):
    with pooled(server, size=2, control="") as proxy, proxy.log_in() as a, proxy.log_in() as b:
        done(a.ask("LISTEN news"))
        done(b.ask("NOTIFY news, 'x'"))
        assert heard(a)[1:] == ("news", "x")
        wait_until(lambda: says(proxy, "keeps its server"), "the log to say so")


def P6_a_control_that_a_reload_takes_away_leaves_LISTEN_on_the_server(server):
    with pooled(server) as proxy, proxy.log_in() as a, proxy.log_in() as b:
        for client in (a, b):
            done(client.ask("SELECT 1"))
        without = re.sub(r'control = "[^"]*"', "", proxy.blocks)
        assert without != proxy.blocks
        proxy.reload(without)
        proxy.wait_for_log(msg="config reloaded")
        assert done(a.ask("LISTEN news")) == ["LISTEN"]
        assert not proxy.log_where(msg="no connection to PostgreSQL"), "nobody was dialled in its place"
        wait_until(lambda: says(proxy, "keeps its server"), "the log to say so")
        done(b.ask("NOTIFY news, 'x'"))
        assert heard(a)[1:] == ("news", "x")


def P6_in_another_encoding_than_utf_8_LISTEN_keeps_the_server(server):
    """What the listener hears is UTF-8; the server itself tells a client in the client's own."""
    with pooled(server) as proxy, proxy.log_in(client_encoding="LATIN1") as a, proxy.log_in() as b:
        done(a.ask("LISTEN news"))
        wait_until(lambda: says(proxy, "keeps its server"), "the log to say so")
        done(b.ask("NOTIFY news, '\u00fc'"))
        kind, body = a.read()
        assert kind == b"A" and body[4:] == b"news\0\xfc\0", (kind, body)


def P6_with_a_control_that_cannot_be_reached_LISTEN_keeps_the_server(server):
    with pooled(server, size=2, control=f"host=127.0.0.1 port={free_port()}") as proxy, proxy.log_in() as a, proxy.log_in() as b:
        done(a.ask("LISTEN news"))
        done(b.ask("NOTIFY news, 'x'"))
        assert heard(a)[1:] == ("news", "x")


def listener_by_hand(behind):
    """A server for `control`: does what it is asked, and `behind(statement)` says what it sends in one go with the answer."""
    def behave(wire):
        welcome(wire)
        statement = ""
        while True:
            kind, body = wire.read()
            if kind == b"P":
                statement = body.split(b"\0")[1].decode()
            if kind == b"S":
                wire.send(b"".join(message(*part) for part in ((b"1",), (b"2",), (b"n",), (b"C", b"LISTEN\0"), (b"Z", b"I"))) +
                          behind(statement))
    return Upstream(behave)


def heard_by_hand(channel, payload=b"x"):
    return message(b"A", struct.pack("!i", 7) + channel + b"\0" + payload + b"\0")


def P6_what_comes_in_one_go_with_another_channels_LISTEN_is_heard(server):
    def behind(statement):
        return heard_by_hand(b"one") if statement == 'LISTEN "two"' else b""

    with listener_by_hand(behind) as listener, pooled(server, control=f"host=127.0.0.1 port={listener.port} sslmode=disable") as proxy:
        with proxy.log_in() as a, proxy.log_in() as b:
            done(a.ask("LISTEN one"))
            done(b.ask("LISTEN two"))
            assert heard(a) == (7, "one", "x")


def P6_a_client_may_go_while_its_LISTEN_waits(server):
    with Upstream(lambda wire: wire.take(1 << 20)) as silent, pooled(server, control=f"host=127.0.0.1 port={silent.port}") as proxy:
        with proxy.log_in() as a, proxy.log_in() as b:
            done(a.ask("SELECT 1"))
            done(b.ask("SELECT 1"))
            a.send(query("LISTEN news") + query("SELECT 1"))
            b.send(query("LISTEN news") + message(b"X"))
            wait_until(lambda: len(silent.connections) > 0, "the listener to connect")
        with proxy.log_in() as c:
            assert done(c.ask("SELECT 1")) == ["SELECT 1"]


def P6_the_listener_comes_back_and_says_that_something_may_be_missing(server):
    with Relay(server) as relay, pooled(server, control=f"host=127.0.0.1 port={relay.port}") as proxy:
        with proxy.log_in() as a, proxy.log_in() as b:
            done(a.ask("LISTEN news"))
            done(b.ask("SELECT 1"))
            relay.break_all()
            kind, body = a.read()
            assert kind == b"N" and fields(body)["C"] == "01000", (kind, body)
            server.sql("NOTIFY news, 'x'")
            assert heard(a)[1:] == ("news", "x")
            assert [kind for kind, _ in b.ask("SELECT 1")] == [b"T", b"D", b"C", b"Z"], "it has not listened"


def P6_a_LISTEN_that_meets_the_loss_of_the_listener_waits_for_the_next(server):
    """It does not take a server of the pool for as long as its client is there."""
    lost = []

    def control(wire):
        welcome(wire)
        while True:
            said = b"".join(body for _, body in wire.read_until(b"S"))
            if b"LISTEN" in said and b"second" in said and len(lost) < 2:
                lost.append(said)
                return
            wire.send(message(b"1") + message(b"2") + message(b"n") + message(b"C", b"LISTEN\0") + message(b"Z", b"I"))

    options = "sslmode=disable gssencmode=disable"
    with Upstream(control) as there, pooled(server, size=1, control=f"host=127.0.0.1 port={there.port} {options}") as proxy:
        with proxy.log_in() as a, proxy.log_in() as b, proxy.log_in() as c:
            done(a.ask("LISTEN first"))
            lost.append(b"")
            done(b.ask("LISTEN second"))
            assert len(lost) == 2 and not says(proxy, "keeps its server")
            done(c.ask("SELECT 1"))


def P6_what_comes_right_behind_the_answer_to_another_LISTEN_is_heard_at_once(server):
    heard_there = message(b"A", struct.pack("!i", 1) + b"news\0x\0")

    def control(wire):
        welcome(wire)
        while True:
            said = b"".join(body for _, body in wire.read_until(b"S"))
            wire.send(message(b"1") + message(b"2") + message(b"n") + message(b"C", b"LISTEN\0") +
                      message(b"Z", b"I") + (heard_there if b"other" in said else b""))

    options = "sslmode=disable gssencmode=disable"
    with Upstream(control) as there, pooled(server, control=f"host=127.0.0.1 port={there.port} {options}") as proxy:
        with proxy.log_in() as a, proxy.log_in() as b:
            done(a.ask("LISTEN news"))
            done(b.ask("LISTEN other"))
            assert heard(a) == (1, "news", "x")


def P6_a_reload_that_changes_control_takes_those_who_listen_along(server):
    with Relay(server) as relay, pooled(server, control=f"host=127.0.0.1 port={relay.port}") as proxy:
        with proxy.log_in() as a, proxy.log_in() as b:
            for client in (a, b):
                done(client.ask("LISTEN news"))
            before = proxy.blocks
            proxy.change_config(before.replace("pool_size = 2", "pool_size = 3"))
            done(b.ask("NOTIFY news, 'still there'"))
            for client in (a, b):
                assert heard(client)[1:] == ("news", "still there"), "and no word of a gap"
            proxy.change_config(before.replace(f"host=127.0.0.1 port={relay.port}", f"host={server.directory} port={server.port}"))
            for client in (a, b):
                kind, body = client.read()
                assert kind == b"N" and fields(body)["C"] == "01000", (kind, body)
            relay.break_all()
            done(b.ask("NOTIFY news, 'from there'"))
            for client in (a, b):
                assert heard(client)[1:] == ("news", "from there")
            wait_until(lambda: listeners(server) == {"postgres": 1}, "the connection of before to be gone")


def P6_a_reload_that_changes_control_asks_there_for_a_LISTEN_that_waits(server):
    with Upstream(lambda wire: wire.take(1 << 20)) as silent, pooled(server, control=f"host=127.0.0.1 port={silent.port}") as proxy:
        with proxy.log_in() as a, proxy.log_in() as b:
            for client in (a, b):
                done(client.ask("SELECT 1"))
                client.send(query("LISTEN news"))
            wait_until(lambda: len(silent.connections) > 0, "the listener to connect")
            proxy.change_config(proxy.blocks.replace(f"host=127.0.0.1 port={silent.port}", f"host={server.directory} port={server.port}"))
            for client in (a, b):
                assert done(client.read_until(b"Z")) == ["LISTEN"]
            done(b.ask("NOTIFY news, 'x'"))
            for client in (a, b):
                kind, body = client.read()
                assert kind == b"A" and notification(body)[1:] == ("news", "x"), "it has missed nothing before that"
            assert not says(proxy, "keeps its server")


TWO_CONTROLS = """
auth {{ method = trust }}
database "one" {{ upstream = "{conninfo} dbname=postgres"  control = "host=127.0.0.1 port={first} sslmode=disable dbname=postgres"  pool = transaction }}
database "two" {{ upstream = "{conninfo} dbname=postgres"  control = "host=127.0.0.1 port={second} sslmode=disable dbname=postgres"  pool = transaction }}
"""


def P6_who_is_taken_along_hears_of_the_gap_when_it_is_over(server):
    """The other listener has a question under way that was asked before."""
    taken_along = threading.Event()

    def behind(statement):
        assert not statement.startswith("SELECT") or taken_along.wait(SECONDS)
        return heard_by_hand(b"news") if statement == 'LISTEN "news"' else b""

    conninfo = f"host={server.directory} port={server.port}"
    with listener_by_hand(lambda _: b"") as first, listener_by_hand(behind) as second:
        config = TWO_CONTROLS.format(conninfo=conninfo, first=first.port, second=second.port)
        with Proxy(conninfo, config, database=False) as proxy, proxy.log_in(database="one") as a, proxy.log_in(database="two") as b:
            done(a.ask("LISTEN news"))
            done(b.ask("LISTEN other"))
            proxy.change_config(config.replace(f"port={first.port}", f"port={second.port}"))
            wait_until(lambda: first.connections[0].socket.fileno() < 0, "the listener of before to be closed")
            taken_along.set()
            assert [a.read()[0] for _ in range(2)] == [b"A", b"N"]


def P6_a_client_that_does_not_read_is_ended(server):
    """It has a moment to read what it was told and why: so it wakes up as soon as that is decided."""
    with pooled(server) as proxy, proxy.connect(receive_buffer=4096) as a, proxy.log_in() as b:
        a.log_in()
        done(a.ask("LISTEN news"))
        done(b.ask("LISTEN news"))
        padding = "x" * 7000
        number, said = 0, ""
        with open(proxy.log, encoding="utf-8") as log:
            while "too many notifications" not in said:
                assert number < 6000
                done(b.ask(";".join(f"NOTIFY news, '{number + k} {padding}'" for k in range(10))))
                number, said = number + 10, said[-100:] + log.read()
        a.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        *told, (kind, body) = a.read_to_end()
        assert kind == b"E" and (fields(body)["V"], fields(body)["C"]) == ("FATAL", "53400"), (kind, body)
        assert [int(payload.split()[0]) for payload in payloads_in(told)] == list(range(len(told))), "what it was told is whole"
        assert done(b.ask("SELECT 1")) == ["SELECT 1"]


def P6_clients_on_several_workers_hear(server):
    with pooled(server, size=4, workers=3) as proxy:
        clients = [proxy.log_in() for _ in range(12)]
        for i, client in enumerate(clients):
            done(client.ask(f"LISTEN all_of_them; LISTEN only_{i}"))
        server.sql("NOTIFY all_of_them, 'a'")
        for i in range(12):
            server.sql(f"NOTIFY only_{i}, '{i}'")
        for i, client in enumerate(clients):
            assert [heard(client)[1:] for _ in range(2)] == [("all_of_them", "a"), (f"only_{i}", str(i))]
            client.close()


# --- several databases ----------------------------------------------------------------------------------------

DATABASES = """
auth {{ method = trust }}
database "*" {{ upstream = "{conninfo}"  control = "{conninfo} user=postgres dbname=postgres"  pool = transaction }}
database "front" {{ upstream = "{conninfo} dbname=hears_two"  control = "{conninfo} user=postgres dbname=postgres"  pool = transaction }}
"""


def listeners(server):
    """How many connections of pgatomic's own listen, by database."""
    rows = server.sql("SELECT datname, count(*) FROM pg_stat_activity WHERE application_name = 'pgatomic' "
                      "AND query ~ '^((LISTEN|UNLISTEN) \"|SELECT 1$)' GROUP BY 1")
    return {name: int(count) for name, count in rows}


def P6_clients_of_two_databases_hear_each_their_own(server):
    """Whichever database `control` names, with one listener for each, over all workers."""
    server.create_database("hears_one")
    server.create_database("hears_two")
    conninfo = f"host={server.directory} port={server.port}"
    with Proxy(conninfo, DATABASES.format(conninfo=conninfo), workers=3, database=False) as proxy:
        names = ["postgres", "hears_one", "hears_two", "front"] * 3
        clients = [proxy.log_in(database=name) for name in names]
        for client in clients:
            done(client.ask("LISTEN news"))
        assert listeners(server) == {"postgres": 1, "hears_one": 1, "hears_two": 1}
        for name in ("postgres", "hears_one", "hears_two"):
            server.sql(f"NOTIFY news, 'of {name}'; NOTIFY news, 'again'", database=name)
        for name, client in zip(names, clients):
            where = "hears_two" if name == "front" else name
            assert [heard(client)[1:] for _ in range(2)] == [("news", f"of {where}"), ("news", "again")]
            client.close()


def P6_the_question_what_is_listened_to_waits_for_no_transaction_of_others(server):
    with pooled(server) as proxy, proxy.log_in() as busy, proxy.log_in() as a:
        done(busy.ask("BEGIN ISOLATION LEVEL SERIALIZABLE; CREATE TABLE IF NOT EXISTS waited (id int); INSERT INTO waited VALUES (1)"))
        done(a.ask("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE"))
        done(a.ask("LISTEN news"))
        done(a.ask("SET my.a = 1"))
        done(busy.ask("ROLLBACK; NOTIFY news, 'x'"))
        assert heard(a)[1:] == ("news", "x")


# What is listened to already; what a transaction does to it, each statement by itself.
SAVEPOINTS = [
    ((), "LISTEN a; SAVEPOINT s; UNLISTEN a; ROLLBACK TO s; COMMIT"),
    ("a", "SAVEPOINT s; UNLISTEN a; ROLLBACK TO s; COMMIT"),
    ("a", "SAVEPOINT s; UNLISTEN *; ROLLBACK TO SAVEPOINT S; COMMIT"),
    ("a", "UNLISTEN a; SAVEPOINT s; LISTEN a; ROLLBACK TO s; COMMIT"),
    ("a", "UNLISTEN *; SAVEPOINT s; LISTEN b; ROLLBACK TO s; COMMIT"),
    ("ab", "UNLISTEN a; SAVEPOINT s; UNLISTEN b; ROLLBACK TO s; COMMIT"),
    ("ab", "SAVEPOINT s; UNLISTEN a; RELEASE s; UNLISTEN b; COMMIT"),
    ("ab", "SAVEPOINT r; SAVEPOINT s; UNLISTEN a; RELEASE s; ROLLBACK TO r; UNLISTEN b; COMMIT"),
    ("ab", "SAVEPOINT s; UNLISTEN a; SAVEPOINT s; UNLISTEN b; ROLLBACK TO s; COMMIT"),
    ("ab", "SAVEPOINT s; UNLISTEN a; SAVEPOINT s; UNLISTEN b; ROLLBACK TO s; RELEASE s; ROLLBACK TO s; COMMIT"),
    ("abc", "UNLISTEN a; SAVEPOINT s; UNLISTEN b; SELECT 1/0; ROLLBACK TO s; UNLISTEN c; COMMIT"),
    ("ab", "UNLISTEN a; SAVEPOINT s; SELECT 1/0; SAVEPOINT s; UNLISTEN b; ROLLBACK TO s; COMMIT"),
    ("ab", "UNLISTEN a; SAVEPOINT s; SELECT 1/0; UNLISTEN b; COMMIT"),
    ("a", "UNLISTEN a; ROLLBACK TO nowhere; COMMIT"),
    ("ab", "UNLISTEN a; COMMIT AND CHAIN; UNLISTEN b; ROLLBACK"),
    ("ab", "UNLISTEN a; ROLLBACK AND CHAIN; UNLISTEN b; COMMIT"),
    ("ab", "UNLISTEN a; UNLISTEN b; LISTEN b; SAVEPOINT s; UNLISTEN *; LISTEN a; ROLLBACK TO s; LISTEN c; COMMIT"),
]


def bare(statement):
    return message(b"P", b"\0" + statement.encode() + b"\0\0\0") + message(b"B", b"\0\0\0\0\0\0\0\0") + message(b"E", b"\0\0\0\0\0")


def simply(statements):
    return [query(statement) for statement in statements]


def extended(statements):
    return [bare(statement) + SYNC for statement in statements]


def as_one_write(statements):
    return [b"".join(query(statement) for statement in statements)]


def in_a_string(statements):
    """Up to what fails, for that ends its string."""
    failing = [i for i, statement in enumerate(statements) if "/" in statement or "nowhere" in statement] or [len(statements)]
    return simply(["; ".join(statements[:failing[0] + 1]), *statements[failing[0] + 1:]])


def says_all(client, messages):
    """Each of the messages, until all that it asks for is answered."""
    for data in messages:
        client.send(data)
        for _ in range(data.count(SYNC) or count_messages(data)):
            client.read_until(b"Z")


def count_messages(data):
    count, at = 0, 0
    while at < len(data):
        count, at = count + 1, at + 1 + struct.unpack("!i", data[at + 1:at + 5])[0]
    return count


def channels_of(client, notifier, word):
    """What it hears, of a, b and c."""
    done(client.ask(f"LISTEN last_{word}"))
    done(notifier.ask(f"NOTIFY a; NOTIFY b; NOTIFY c; NOTIFY last_{word}"))
    names = ""
    while True:
        channel = heard(client)[1]
        if channel.startswith("last"):
            return names
        names += channel


class Direct(Client):
    """A client of PostgreSQL itself."""

    def __init__(self, server):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(f"{server.directory}/.s.PGSQL.{server.port}")
        Wire.__init__(self, sock)  # pylint: disable=super-init-not-called,non-parent-init-called


def P6_what_a_savepoint_takes_back_of_LISTEN_and_UNLISTEN_is_what_PostgreSQL_takes_back(server):
    number = 0
    with pooled(server) as proxy, Direct(server).log_in() as notifier:
        for way in (simply, extended, as_one_write, in_a_string):
            for before, text in SAVEPOINTS:
                found = []
                for client in (Direct(server), Client(proxy.port)):
                    number += 1
                    with client.log_in():
                        done(client.ask("; ".join(f"LISTEN {channel}" for channel in before) or "SELECT 1"))
                        says_all(client, way(["BEGIN"] + text.split("; ")))
                        found.append(channels_of(client, notifier, f"w{number}"))
                assert found[0] == found[1], f"{way.__name__}, {before}: {text}: {found}"
