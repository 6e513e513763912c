"""Time limits of routes (R12), with real clocks."""

import signal

from proxy import Proxy, wait_until
from test_http import metrics, value
from wire import AUTHENTICATED, READY, Upstream, fields, query, read_startup

SLEEP = "SELECT pg_sleep(600)"


def limits(**times):
    times = "  ".join(f"{name} = {value}" for name, value in times.items())
    return f'route "all" {{ mode = atomic  end = commit  {times} }}\n'


def errors(messages):
    return [fields(body)["C"] for kind, body in messages if kind == b"E"]


def R12_a_statement_that_takes_too_long_is_cancelled_and_the_connection_stays(server):
    with Proxy(server, limits(timeout="300ms")) as proxy, proxy.log_in() as client:
        assert errors(client.ask(SLEEP))
        proxy.wait_for_log(msg="request_rolled_back", reason="timeout")
        assert server.sql(f"SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = '{SLEEP}'") == [["0"]]
        client.ask("ROLLBACK")
        proxy.change_config(limits())
        assert client.value("SELECT 1") == "1"


def R12_a_request_that_is_left_open_is_rolled_back(server):
    server.sql("CREATE TABLE left_open (n int)")
    with Proxy(server, limits(idle_timeout="200ms")) as proxy, proxy.log_in() as client:
        client.ask("INSERT INTO left_open VALUES (1)")
        proxy.wait_for_log(msg="request_rolled_back", reason="timeout")
        wait_until(lambda: server.sql("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'") == [["0"]],
                   "the transaction to be over")
        assert errors(client.ask("SELECT 1")) == ["25P03"]
        client.ask("ROLLBACK")
        assert client.value("SELECT count(*) FROM left_open") == "0"
    server.sql("DROP TABLE left_open")


def R12_a_transaction_of_the_clients_own_that_a_limit_has_ended_is_in_the_log_and_counted(server):
    route = 'route "{0}" {{ application = "{0}"  mode = autocommit  {1} = 200ms }}\n'
    blocks = route.format("short", "timeout") + route.format("quiet", "idle_timeout")
    with Proxy(server, blocks, http=True) as proxy:
        for name, limit, other in (("short", "timeout", "idle_timeout"), ("quiet", "idle_timeout", "timeout")):
            with proxy.log_in(application_name=name) as client:
                client.ask("BEGIN")
                (line,) = proxy.wait_for_log(msg="timed_out", limit=limit)
                assert (line["level"], line["route"], line["database"], line["user"]) == ("info", name, "postgres", "postgres"), line
                assert line["client"].endswith(f":{client.socket.getsockname()[1]}"), line
                assert errors(client.ask("SELECT 1"))
                client.ask("ROLLBACK")
                found = metrics(proxy)
                assert value(found, "pgatomic_timeouts_total", route=name, limit=limit) == 1
                assert value(found, "pgatomic_timeouts_total", route=name, limit=other) == 0
        assert len(proxy.log_where(msg="timed_out")) == 2


def R12_many_short_requests_pass_under_their_limits(server):
    """Deadlines move with every statement; none of them may ring late for one that is over."""
    with Proxy(server, limits(timeout="5s", idle_timeout="5s")) as proxy, proxy.log_in() as client:
        for _ in range(60):
            assert client.value("SELECT 1 FROM pg_sleep(0.1)") == "1"
            client.ask("DISCARD ALL")
        assert not proxy.log_where(msg="request_rolled_back") and not proxy.log_where(msg="timed_out")


def R12_an_upstream_that_gave_no_key_cannot_be_cancelled_but_nothing_hangs(server):
    def behave(wire):
        read_startup(wire)
        wire.send(AUTHENTICATED + READY)
        wire.read_to_end()

    with Upstream(behave) as upstream, Proxy(upstream.port, limits(timeout="100ms")) as proxy, proxy.log_in() as client:
        client.send(query(SLEEP))
        proxy.wait_for_log(msg="request_begun")
        proxy.process.send_signal(signal.SIGINT)
        wait_until(lambda: not proxy.is_alive(), "pgatomic to end")
