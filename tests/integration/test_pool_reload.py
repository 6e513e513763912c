"""Pools whose config, or whose upstream, changes under their clients."""

import hashlib
import os
import signal
import struct
import threading

from proxy import Proxy, wait_until
from test_pool import TRUST, backends, database, pooled
from wire import Upstream, message, read_startup, startup, welcome


def reload(proxy, blocks):
    before = len(proxy.log_where(msg="config reloaded"))
    proxy.write_config(blocks)
    proxy.process.send_signal(signal.SIGHUP)
    proxy.wait_for_log(count=before + 1, msg="config reloaded")


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
        reload(proxy, TRUST + database(server, pool_size=2))
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
            reload(proxy, TRUST + database(server))
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
            reload(proxy, blocks(proxy, server))
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
