"""Of several hosts of an upstream the next one's turn comes when one is there and cannot be logged into (P9): for pools and for clients that
have a server of their own."""

import contextlib
import threading

import psycopg
from postgres import PASSWORD, USER
from proxy import Proxy, wait_until
from test_login import QUERY, USERS, LoginProxy
from test_pool import TRUST, database, in_threads
from wire import AUTHENTICATED, READY, Upstream, message, read_startup, startup

STARTING_UP = message(b"E", b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0")
SCRAM_WANTED = message(b"R", b"\0\0\0\x0aSCRAM-SHA-256\0\0")
SETTING = message(b"S", b"client_encoding\0LATIN1\0")


def says(*messages, then=lambda wire: wire.read_to_end()):
    """What a server does once it has got the startup packet."""

    def behave(wire):
        read_startup(wire)
        for one in messages:
            wire.send(one)
        then(wire)

    return behave


def goes(_):
    """It closes the connection."""


def proxy_of(upstream, pool, method="trust", **options):
    """`upstream` is logged into as a user who has to show a password, when pgatomic knows the client itself."""
    if method == "trust":
        upstream += f" user={USER} password={PASSWORD}" if pool != "dedicated" else ""
    blocks = TRUST if method == "trust" else ""
    return Proxy("", blocks + database(upstream, pool=pool, **options), database=False)


def log_in_at_once(stack, proxies):
    """A client of each: a host that says nothing takes each of them connect_timeout."""
    clients = [stack.enter_context(proxy.connect()) for proxy in proxies]
    in_threads(len(clients), lambda number: clients[number].log_in())
    return clients


def refused(proxy):
    with proxy.connect() as client:
        client.send(startup(user="postgres", database="postgres"))
        error = client.fatal()
    return error["C"], error["M"]


def P9_a_host_that_takes_connections_and_says_nothing_is_passed_over(server):
    """Hung, or a balancer without anybody behind it. TCP knows nothing of it."""
    ways = [("transaction", "trust"), ("session", "trust"), ("dedicated", "trust"), ("dedicated", "passthrough")]
    with Upstream(says()) as silent, contextlib.ExitStack() as stack:
        upstream = f"host=127.0.0.1,{server.directory} port={silent.port},{server.port} sslmode=disable"
        proxies = [stack.enter_context(proxy_of(upstream, pool, method)) for pool, method in ways]
        for way, proxy, client in zip(ways, proxies, log_in_at_once(stack, proxies)):
            assert client.value("SHOW port") == str(server.port), way
            passed = proxy.log_where(msg="a host of the upstream is passed over")
            assert len(passed) == 1 and "timeout expired" in passed[0]["detail"], passed
        assert len(silent.connections) == len(ways)


def P9_a_host_that_falls_silent_or_is_lost_in_the_middle_of_a_login_is_passed_over(server):
    """What it has said of settings is forgotten with it."""
    there = f"host=127.0.0.1,{server.directory} port=%d,{server.port} sslmode=disable"
    early = [says(SCRAM_WANTED), says(SCRAM_WANTED, then=goes), says(then=goes)]
    late = [says(AUTHENTICATED, SETTING), says(AUTHENTICATED, SETTING, then=goes)]
    ways = [("transaction", behave) for behave in early + late] + [("dedicated", early[2])]
    with contextlib.ExitStack() as stack:
        firsts = [stack.enter_context(Upstream(behave)) for _, behave in ways]
        proxies = [stack.enter_context(proxy_of(there % first.port, pool)) for first, (pool, _) in zip(firsts, ways)]
        for client in log_in_at_once(stack, proxies):
            assert client.value("SHOW port") == str(server.port)
            assert client.parameters["client_encoding"] == "UTF8"
        assert [len(first.connections) for first in firsts] == [1] * len(ways)


def P9_a_login_that_pgatomic_makes_for_a_dedicated_client_goes_on_at_the_next_host(server):
    """Nothing of that exchange is the client's business."""
    for first_says in ([SCRAM_WANTED], [STARTING_UP]):
        with Upstream(says(*first_says)) as first:
            upstream = f"host=127.0.0.1,127.0.0.1 port={first.port},{server.port} sslmode=disable"
            users = {USER: PASSWORD}
            with LoginProxy(server, f"method = scram-sha-256  {USERS}", users, pool="dedicated", upstream=upstream) as proxy:
                with proxy.psycopg(USER, PASSWORD) as client:
                    assert client.execute("SHOW port").fetchone()[0] == str(server.port)
                assert len(first.connections) == 1


def P9_when_no_host_can_be_logged_into_the_client_is_told_of_each(_):
    with Upstream(says()) as silent, Upstream(says(then=goes)) as lost, Upstream(says(STARTING_UP)) as starting:
        ports = [upstream.port for upstream in (silent, lost, starting)]
        upstream = f"host=127.0.0.1,127.0.0.1,127.0.0.1 port={','.join(map(str, ports))} sslmode=disable"

        def look(number):
            with proxy_of(upstream, ("transaction", "dedicated")[number]) as proxy:
                code, words = refused(proxy)
            lines = words.splitlines()
            assert code == "08006" and len(lines) == 3 and all(str(port) in line for port, line in zip(ports, lines)), words
            assert "timeout expired during the login" in lines[0] and "closed the connection unexpectedly" in lines[1], words
            assert "the database system is starting up" in lines[2], words

        in_threads(2, look)


def P9_a_host_that_is_alone_gets_more_time_than_connect_timeout(_):
    """There is nobody to go on to."""
    welcome = (AUTHENTICATED, SETTING, READY)

    def slow(wire):
        read_startup(wire)
        threading.Event().wait(1.5)
        for one in welcome:
            wire.send(one)
        wire.read_to_end()

    with Upstream(slow) as upstream:
        for pool in ("transaction", "dedicated"):
            there = f"host=127.0.0.1 port={upstream.port} sslmode=disable"
            with proxy_of(there, pool, connect_timeout="500ms") as proxy, proxy.log_in() as client:
                assert client.parameters["client_encoding"] == "LATIN1"
        assert len(upstream.connections) == 2, "and nobody asked it again"


def P9_a_host_that_is_alone_is_named_with_what_is_wrong(_):
    for behave, code, what in ((says(STARTING_UP, then=goes), "57P03", "the database system is starting up"),
                               (says(then=goes), "08006", "closed the connection unexpectedly")):
        with Upstream(behave) as upstream:
            for pool in ("transaction", "dedicated"):
                with proxy_of(f"host=127.0.0.1 port={upstream.port} sslmode=disable", pool) as proxy:
                    found, words = refused(proxy)
                    assert found == code and what in words, (pool, found, words)


def P9_a_client_that_leaves_while_a_host_is_silent_leaves_nothing_behind(server):
    with Upstream(says()) as silent:
        upstream = f"host=127.0.0.1,{server.directory} port={silent.port},{server.port} sslmode=disable"
        with proxy_of(upstream, "dedicated", connect_timeout="30s") as proxy:
            before = proxy.descriptors()
            with proxy.connect() as client:
                client.send(startup(user="postgres", database="postgres"))
                wait_until(lambda: len(silent.connections) == 1, "the first host to be asked")
            proxy.wait_until_idle(before)


def P9_pgatomics_own_connections_begin_behind_a_host_that_is_silent(server):
    """An auth query, as an example of what `control`, `outbox` and `sink` blocks do: the attempt fails, the next one is made elsewhere."""
    with Upstream(lambda wire: wire.take(1 << 20)) as silent:
        control = f"host=127.0.0.1,{server.directory} port={silent.port},{server.port} user=postgres dbname=postgres"
        with LoginProxy(server, f'method = scram-sha-256  query = "{QUERY}"', control=control) as proxy:
            def comes_in():
                try:
                    return proxy.who(USER, PASSWORD) == USER
                except psycopg.OperationalError:
                    return False

            assert not comes_in()
            assert silent.connections
            wait_until(comes_in, "the query to be asked elsewhere")
