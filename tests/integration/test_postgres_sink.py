"""The sink `postgres`: NOTIFY for PostgreSQL's own listeners, after the commit and apart from it (E7)."""

from postgres import Postgres
from proxy import Proxy

BLOCKS = """
sink "listeners" {{ type = postgres  upstream = "host={directory} port={port} user=postgres dbname={database}"
                    timeout = 5s  retry {{ first = 50ms  max = 200ms  attempts = 1000 }} }}
channel "elsewhere" {{ forward = on }}
channel "*" {{ sink = {{"listeners"}}  forward = off  {channel} }}
"""


def sink_to(server, database="postgres", channel=""):
    return BLOCKS.format(directory=server.directory, port=server.port, database=database, channel=channel)


def notifications(listener, count):
    """The next so many, as (channel, payload)."""
    found = []
    while len(found) < count:
        kind, body = listener.read()
        if kind == b"A":
            channel, payload, _ = body[4:].split(b"\0")
            found.append((channel.decode(), payload.decode()))
    return found


def transactions(server):
    return int(server.sql("SELECT pg_current_xact_id()")[0][0])


def E7_listeners_hear_of_a_commit_after_it_and_never_of_a_rollback(server):
    with Proxy(server, sink_to(server)) as proxy, proxy.log_in() as listener, proxy.log_in() as client:
        listener.ask("LISTEN work")
        for end, payload in (("ROLLBACK", "undone"), ("COMMIT", "done")):
            client.ask("BEGIN")
            client.ask(f"NOTIFY work, '{payload}'")
            client.ask(f"SELECT pg_notify('work', 'too ' || '{payload}')" if end == "ROLLBACK" else "SELECT pg_notify('work', 'as well')")
            client.ask(end)
        assert notifications(listener, 2) == [("work", "done"), ("work", "as well")]


def E7_many_events_share_a_transaction_and_keep_their_order(server):
    with Proxy(server, sink_to(server)) as proxy, proxy.log_in() as listener, proxy.log_in() as client:
        listener.ask("LISTEN a")
        listener.ask("LISTEN b")
        before = transactions(server)
        client.ask("BEGIN")
        for n in range(400):
            client.ask(f"NOTIFY {'ab'[n % 2]}, '{n}'")
        client.ask("COMMIT")
        assert notifications(listener, 400) == [("ab"[n % 2], str(n)) for n in range(400)]
        assert transactions(server) - before <= 3, "400 notifications are not 400 transactions"


def E11_equal_events_are_not_folded(server):
    with Proxy(server, sink_to(server)) as proxy, proxy.log_in() as listener, proxy.log_in() as client:
        listener.ask("LISTEN work")
        client.ask("BEGIN")
        for payload in ("same", "same", "other", "same", ""):
            client.ask(f"NOTIFY work, '{payload}'")
        client.ask("COMMIT")
        assert [payload for _, payload in notifications(listener, 5)] == ["same", "same", "other", "same", ""]


def E12_what_postgresql_cannot_take_is_dead_at_once_and_its_neighbours_arrive(server):
    with Proxy(server, sink_to(server)) as proxy, proxy.log_in() as listener, proxy.log_in() as client:
        listener.ask("LISTEN work")
        client.ask("BEGIN")
        client.ask("NOTIFY work, 'before'")
        client.ask(f"NOTIFY work, '{'x' * 8000}'")
        client.ask(f"NOTIFY work, '{'x' * 7999}'")
        client.ask("NOTIFY work, 'after'")
        client.ask("COMMIT")
        assert [payload[:9] for _, payload in notifications(listener, 3)] == ["before", "x" * 9, "after"]
        dead = proxy.wait_for_log(msg="event_dead")
        assert [line["reason"] for line in dead] == ["its payload has 8000 bytes, and PostgreSQL's NOTIFY takes 7999"]
        assert dead[0]["attempt"] == 1 and not proxy.log_where(msg="event_retry")


def E12_what_the_database_cannot_encode_is_dead_alone(server):
    server.sql("CREATE DATABASE latin ENCODING LATIN1 TEMPLATE template0 LOCALE 'C'")
    with Proxy(server, sink_to(server, "latin")) as proxy, \
            proxy.log_in(database="latin", client_encoding="UTF8") as listener, proxy.log_in() as client:
        listener.ask("LISTEN work")
        client.ask("BEGIN")
        for payload in ("before", "snowman \u2603", "caf\u00e9", "after"):
            client.ask(f"NOTIFY work, '{payload}'")
        client.ask("COMMIT")
        assert [payload for _, payload in notifications(listener, 3)] == ["before", "caf\u00e9", "after"]
        dead = proxy.wait_for_log(msg="event_dead")
        assert len(dead) == 1 and dead[0]["payload"] == "snowman \u2603" and "encoding" in dead[0]["reason"]
    server.sql("DROP DATABASE latin WITH (FORCE)")


def E12_listeners_of_a_server_that_was_down_hear_all_that_was_committed_meanwhile(server):
    with Postgres() as other, Proxy(server, sink_to(other)) as proxy, proxy.log_in() as client:
        client.ask("NOTIFY work, 'up'")
        proxy.wait_for_log(msg="event_delivered", payload="up")
        other.stop()
        for n in range(50):
            client.ask(f"NOTIFY work, '{n}'")
        proxy.wait_for_log(msg="event_retry")
        other.start()
        with Proxy(other) as way, way.log_in() as listener:
            listener.ask("LISTEN work")
            client.ask("NOTIFY work, 'last'")
            heard = notifications(listener, 1)
            while heard[-1] != ("work", "last"):
                heard += notifications(listener, 1)
        proxy.wait_for_log(count=52, msg="event_delivered")
        assert [line["payload"] for line in proxy.log_where(msg="event_delivered")] == ["up", *map(str, range(50)), "last"]
