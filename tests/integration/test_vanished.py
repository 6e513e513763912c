"""A server's machine is gone without a word: nothing that is sent to it is acknowledged, and nobody says that the connection has ended."""

from proxy import Proxy
from relay import Relay, swallow
from test_pool import database, pooled
from wire import Upstream, query, read_startup, startup

LOST = "the connection to the upstream was lost: Connection timed out"
QUICK = "tcp_user_timeout=500 connect_timeout=3"
PROBED = "keepalives_idle=1 keepalives_interval=1 keepalives_count=1"


def upstream_of(*relays, options):
    return (f"host={','.join(['127.0.0.1'] * len(relays))} port={','.join(str(relay.port) for relay in relays)} "
            f"sslmode=disable {options}")


def fatal_of(client):
    with client:
        error = client.fatal()
    return error["C"], error["M"]


def P8_a_statement_whose_server_is_gone_is_told_after_tcp_user_timeout_and_the_next_host_goes_on(server):
    for pool in ("transaction", "session"):
        with Relay(server) as first, Relay(server) as second:
            with pooled(upstream_of(first, second, options=QUICK), pool=pool, pool_size=2) as proxy:
                client = proxy.log_in()
                assert client.value("SELECT 1") == "1"
                first.vanish()
                client.send(query("SELECT 2"))
                assert fatal_of(client) == ("08006", LOST)
                assert not second.sockets
                assert proxy.log_in().value("SELECT 3") == "3"
                assert second.sockets


def P8_with_a_server_of_its_own_a_client_is_told_after_tcp_user_timeout(server):
    for auth in ("passthrough", "trust"):
        with Relay(server) as first, Relay(server) as second:
            with Proxy(upstream_of(first, second, options=QUICK), f"auth {{ method = {auth} }}\n") as proxy:
                client = proxy.log_in()
                first.vanish()
                client.send(query("SELECT 1"))
                assert fatal_of(client) == ("08006", LOST)
                assert proxy.log_in().value("SELECT 2") == "2"


def P8_a_server_that_is_gone_in_the_middle_of_a_login_is_found_out_by_keepalives(_):
    def behave(wire):
        read_startup(wire)
        swallow(wire.socket)
        wire.take(1)

    for auth, pool in (("passthrough", "dedicated"), ("trust", "dedicated"), ("trust", "transaction")):
        with Upstream(behave) as upstream:
            blocks = f"auth {{ method = {auth} }}\n" + database(upstream_of(upstream, options=PROBED), pool=pool)
            with Proxy(upstream.port, blocks, database=False) as proxy:
                client = proxy.connect()
                client.send(startup(user="postgres", database="postgres"))
                code, words = fatal_of(client)
                assert code == "08006" and words.endswith(f"port {upstream.port} failed: {LOST}"), words


def P8_an_idle_server_that_is_gone_is_found_out_by_keepalives_and_given_to_nobody(server):
    with Relay(server) as first, Relay(server) as second:
        with pooled(upstream_of(first, second, options=f"{PROBED} {QUICK}"), pool_size=1) as proxy:
            before = proxy.descriptors()
            with proxy.log_in() as client:
                assert client.value("SELECT 1") == "1"
            first.vanish()
            proxy.wait_until_idle(before)
            with proxy.log_in() as client:
                assert client.value("SELECT 2") == "2"
