"""Pools whose config, or whose upstream, changes under their clients."""

import hashlib
import os
import struct
import threading

from proxy import Proxy, wait_until
from test_http import metrics, value
from test_login import PASSWORD, QUERY, USERS, LoginProxy, Roles
from test_pool import TRUST, backends, database, pooled
from wire import Upstream, message, startup, welcome


def answer(wire, value):
    """What a server says to a Query that asks for one value."""
    row = struct.pack("!hi", 1, len(value)) + value
    column = b"value\0" + struct.pack("!ihihih", 0, 0, 25, -1, -1, 0)
    wire.send(message(b"T", struct.pack("!h", 1) + column) + message(b"D", row) + message(b"C", b"SELECT 1\0") + message(b"Z", b"I"))


def P3_a_lower_limit_holds_for_the_servers_that_are_there(server):
    with pooled(server, workers=2, pool_size=4) as proxy:
        clients = [proxy.log_in() for _ in range(4)]
        for client in clients:
            client.ask("BEGIN")
        assert len(backends(server)) == 4
        for client in clients[1:]:
            client.ask("COMMIT")
        proxy.change_config(TRUST + database(server, pool_size=2))
        assert clients[0].value("SELECT 'still here'") == "still here"
        clients[0].ask("COMMIT")
        wait_until(lambda: len(backends(server)) == 2, "the pool to shrink")
        for client in clients:
            assert client.value("SELECT 'served'") == "served"


def P3_a_server_of_another_upstream_is_not_waited_for(server):
    """It has taken the connection and says nothing."""
    silence = threading.Event()
    with Upstream(lambda _: silence.wait()) as upstream:
        with pooled(f"host=127.0.0.1 port={upstream.port} sslmode=disable") as proxy, proxy.connect() as client:
            client.send(startup(user="postgres", database="postgres"))
            wait_until(lambda: upstream.connections, "the proxy to connect")
            proxy.change_config(TRUST + database(server))
            kinds = [kind for kind, _ in client.read_until(b"Z")]
            assert b"E" not in kinds, kinds
            assert client.value("SELECT 'here'") == "here"
        silence.set()


def md5_answer(user, password, salt):
    inner = hashlib.md5((password + user).encode()).hexdigest().encode()
    return message(b"p", b"md5" + hashlib.md5(inner + salt).hexdigest().encode() + b"\0")


def P3_who_logs_in_while_the_config_is_reloaded_gets_the_new_upstream(server):
    def blocks(proxy, upstream):
        users = os.path.join(proxy.directory, "users.conf")
        with open(users, "w") as file:
            file.write('user "postgres" { password = "pencil" }\n')
        return f'auth {{ method = md5  users = "{users}" }}\n' + database(upstream)

    with Upstream(lambda wire: welcome(wire) and wire.read_to_end()) as old:
        proxy = Proxy(server, database=False)
        proxy.blocks = blocks(proxy, f"host=127.0.0.1 port={old.port} sslmode=disable")
        with proxy, proxy.connect() as client:
            client.send(startup(user="postgres", database="postgres"))
            _, asked = client.read()
            proxy.change_config(blocks(proxy, server))
            client.send(md5_answer("postgres", "pencil", asked[4:8]))
            client.read_until(b"Z")
            assert client.value("SELECT 'new'") == "new"
            assert not old.connections


def P8_an_idle_server_that_has_said_its_last_words_gets_no_client_any_more(_):
    """Its FATAL has come, and the end of its connection has not."""
    said = threading.Event()

    def behave(wire):
        first = len(upstream.connections) == 1
        welcome(wire)
        if first:
            said.wait()
            wire.send(message(b"E", b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0"))
        while wire.read()[0] == b"Q":
            answer(wire, b"first" if first else b"second")

    with Upstream(behave) as upstream, pooled(f"host=127.0.0.1 port={upstream.port} sslmode=disable") as proxy:
        client = proxy.log_in()
        said.set()
        proxy.wait_for_log(msg="an idle server has said an error")
        assert client.value("SELECT 1") == "second"


def unread(port):
    """Bytes that have come to the connections with that local or remote port and were not read."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in list(table)[1:]]
    return sum(int(row[4].split(":")[1], 16) for row in rows if f"{port:04X}" in (row[1].split(":")[1], row[2].split(":")[1]))


def P8_an_idle_server_in_the_middle_of_a_message_can_go_to_another_worker(_):
    notice = message(b"N", b"SNOTICE\0VNOTICE\0C00000\0Mwhile nobody asked\0\0")

    def behave(wire):
        welcome(wire)
        while True:
            kind, body = wire.read()
            if kind != b"Q":
                return
            wire.send(notice[9:])
            answer(wire, body[:-1])

    with Upstream(behave) as upstream:
        blocks = TRUST + database(f"host=127.0.0.1 port={upstream.port} sslmode=disable", pool_size=1)
        with Proxy(upstream.port, blocks, workers=2, database=False, http=True) as proxy:
            clients = [proxy.log_in() for _ in range(12)]  # of whom some are with either worker
            for number, client in enumerate(clients):
                wait_until(lambda: value(metrics(proxy), "pgatomic_servers", state="idle") == 1, "the server to be idle")
                upstream.connections[0].send(notice[:9])
                wait_until(lambda: unread(upstream.port) == 0, "the beginning of the notice to be read")
                assert client.value(f"SELECT {number}") == f"SELECT {number}"
            assert len(upstream.connections) == 1


def P3_a_password_that_a_reload_brings_reaches_the_pools_of_who_stays_connected(server):
    with Roles(server), LoginProxy(server, f"method = scram-sha-256  {USERS}", users={"login_scram": PASSWORD}) as proxy:
        with proxy.psycopg("login_scram") as client:
            (backend,) = client.execute("SELECT pg_backend_pid()").fetchone()
            server.sql("ALTER ROLE login_scram PASSWORD 'another'")
            proxy.users["login_scram"] = "another"
            proxy.change_config(proxy.blocks)
            server.sql(f"SELECT pg_terminate_backend({backend})")
            proxy.wait_for_log(msg="an idle server has said an error")
            assert client.execute("SELECT pg_backend_pid()").fetchone() != (backend,)
            assert "authentication failed" in proxy.refusal("login_scram")


# --- what is asked of them aside ----------------------------------------------------------------------------------


def P9_control_connections_that_a_reload_names_no_more_are_closed(server):
    """Those that look for secrets, and those that learn which cluster it is."""
    text = "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'control-%'"
    with Roles(server), LoginProxy(server, f'method = scram-sha-256  query = "{QUERY}"') as proxy:
        first = proxy.blocks
        for round in range(3):
            proxy.change_config(first.replace("dbname=postgres", f"dbname=postgres application_name=control-{round}"))
            assert proxy.who("login_scram") == "login_scram"
            wait_until(lambda: {name for (name,) in server.sql(text)} == {f"control-{round}"}, "only those of the last config to be there")
        proxy.change_config(first)
        wait_until(lambda: server.sql(text) == [], "those that nobody names to be gone")


def P9_a_reload_makes_nobody_who_is_connected_somebody_else(server):
    """Neither does it make those who come then the one whom the upstream named before, also when that is a client's name."""
    server.sql("CREATE ROLE reload_app LOGIN; CREATE ROLE reload_bob LOGIN")
    there = f"host={server.directory} port={server.port}"
    try:
        with pooled(f"{there} user=reload_app") as proxy, proxy.log_in(user="reload_bob") as before:
            assert before.value("SELECT session_user") == "reload_app"
            proxy.change_config(TRUST + database(there))
            with proxy.log_in(user="reload_bob") as after, proxy.log_in(user="reload_app") as app:
                before.ask("BEGIN")
                app.ask("BEGIN")
                assert after.value("SELECT session_user") == "reload_bob"
                assert (before.value("SELECT session_user"), app.value("SELECT session_user")) == ("reload_app", "reload_app")
            proxy.change_config(TRUST + database(f"{there} user=postgres"))
            assert before.value("SELECT session_user") == "reload_app"
            with proxy.log_in(user="reload_bob") as client:
                assert client.value("SELECT session_user") == "postgres"
    finally:
        server.sql("DROP ROLE reload_app; DROP ROLE reload_bob")
