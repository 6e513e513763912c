"""The primary is lost and its standby promoted: clients of a pool keep their connections, and go on with the server that there is."""

import signal

from postgres import Postgres
from proxy import wait_until
from test_listen_pooled import done, heard, says
from test_pool import pooled
from test_upstream_pooled import standby_of
from wire import fields, query

# What a statement may be told while no server takes writes.
MEANWHILE = {"08006", "57P03"}


def upstream_of(primary, standby, wanted):
    return (f"host={primary.directory},{standby.directory} port={primary.port},{standby.port} user=postgres dbname=postgres "
            f"target_session_attrs={wanted}")


def kill(server):
    server.process.send_signal(signal.SIGQUIT)  # immediate shutdown
    server.process.wait()


def codes(messages):
    return [fields(body)["C"] for kind, body in messages if kind == b"E"]


def wait_until_written(client, value):
    """Over the same connection, however often it takes."""
    heard = []

    def is_written():
        heard.append(codes(client.ask(f"INSERT INTO kept VALUES ({value})")))
        return heard[-1] == []

    wait_until(is_written, "a server that takes writes")
    return {code for one in heard for code in one}


def P9_idle_clients_of_a_pool_outlive_a_failover(_):
    with Postgres() as primary, standby_of(primary) as standby:
        with pooled(upstream_of(primary, standby, "read-write"), workers=2, pool_size=3) as proxy:
            clients = [proxy.log_in() for _ in range(6)]
            clients[0].ask("CREATE TABLE kept (value int)")
            for number, client in enumerate(clients):
                client.ask("SET application_name = 'writer'")
                assert codes(client.ask(f"INSERT INTO kept VALUES ({number})")) == []
            wait_until(lambda: standby.sql("SELECT to_regclass('kept')") == [["kept"]], "the standby to have the table")
            wait_until(lambda: standby.sql("SELECT count(*) FROM kept") == [["6"]], "the standby to follow")
            inside = proxy.log_in()
            inside.ask("BEGIN; INSERT INTO kept VALUES (100)")

            kill(primary)
            assert set(codes(inside.read_to_end())) <= {"57P01", "57P02", "08006"}
            assert set(codes(clients[0].ask("SELECT 1"))) <= MEANWHILE, "there is no server"
            for client in clients[1:]:
                client.send(query("INSERT INTO kept VALUES (200)"))
            standby.sql("SELECT pg_promote()")
            for client in clients[1:]:
                assert set(codes(client.read_until(b"Z"))) <= MEANWHILE
            for number, client in enumerate(clients):
                assert wait_until_written(client, 10 + number) <= MEANWHILE
                assert client.value("SHOW port") == str(standby.port)
                assert client.value("SHOW application_name") == "writer"
            rows = {int(row[0]) for row in standby.sql("SELECT value FROM kept")}
            assert rows - {200} == {*range(6), *range(10, 16)}, rows


def P6_who_listens_outlives_a_failover(_):
    """The standby takes the listener's connection before it is promoted, refuses LISTEN, and keeps the connection then."""
    with Postgres() as primary, standby_of(primary) as standby:
        upstream, control = upstream_of(primary, standby, "read-write"), upstream_of(primary, standby, "any")
        with pooled(upstream, pool_size=2, control=f'"{control}"') as proxy:
            before, behind = proxy.log_in(), proxy.log_in()
            done(before.ask("LISTEN news"))
            done(before.ask("SELECT 1"))  # the server has been asked what is listened to
            primary.sql("NOTIFY news, 'before'")
            assert heard(before)[1:] == ("news", "before")
            kill(primary)
            wait_until(lambda: says(proxy, "cannot execute LISTEN during recovery"), "the standby to be asked")
            standby.sql("SELECT pg_promote()")
            kind, body = before.read()
            assert kind == b"N" and fields(body)["C"] == "01000", (kind, body)
            wait_until(lambda: codes(behind.ask("LISTEN news")) == [], "a server")
            standby.sql("NOTIFY news, 'x'")
            assert [heard(client)[1:] for client in (before, behind)] == [("news", "x")] * 2


def P9_readers_that_prefer_a_standby_go_on_at_the_primary_and_any_takes_what_there_is(_):
    def found(client):
        return client.value("SHOW port") if not codes(client.ask("SELECT 1")) else None

    with Postgres() as primary, standby_of(primary) as standby:
        upstreams = [upstream_of(standby, primary, wanted) for wanted in ("prefer-standby", "any")]
        with pooled(upstreams[0], pool_size=2) as first, pooled(upstreams[1], pool_size=2) as second:
            clients = [first.log_in(), second.log_in()]
            assert [client.value("SHOW port") for client in clients] == [str(standby.port)] * 2
            kill(standby)
            for client in clients:
                port = wait_until(lambda: found(client), "another server")  # pylint: disable=cell-var-from-loop
                assert port == str(primary.port)
