"""Notifications that are not seen on the wire, picked up by pgatomic's own LISTEN (E1, capture = listen)."""

from postgres import Postgres
from proxy import Proxy, wait_until
from test_upstream_pooled import standby_of

BLOCKS = r"""
database "*" {{ upstream = "{conninfo}"  control = "{conninfo} user=postgres dbname=postgres" }}
sink "story" {{ type = log }}
channel "heard" {{ sink = {{"story"}}  capture = listen }}
channel "Odd \"One" {{ sink = {{"story"}}  capture = listen }}
channel "wire" {{ sink = {{"story"}} }}
{more}
"""


def capturing(server, more=""):
    conninfo = f"host={server.directory} port={server.port}"
    return Proxy(conninfo, BLOCKS.format(conninfo=conninfo, more=more), database=False)


def delivered(*proxies):
    return [(line["channel"], line["payload"]) for proxy in proxies for line in proxy.log_where(msg="event_delivered")]


def wait_until_listening(proxy, count=2):
    proxy.wait_for_log(count=count, msg="listening for notifications")


def E1_notifications_of_triggers_and_other_programs_reach_the_sinks(server):
    with capturing(server) as proxy, proxy.log_in() as client:
        wait_until_listening(proxy)
        client.ask("DO $$ BEGIN PERFORM pg_notify('heard', 'from a ' || 'block'); END $$")
        server.sql("NOTIFY heard, 'from elsewhere'")
        server.sql("NOTIFY \"Odd \"\"One\"; NOTIFY unheard, 'x'")
        proxy.wait_for_log(count=3, msg="event_delivered")
        assert delivered(proxy) == [("heard", "from a block"), ("heard", "from elsewhere"), ('Odd "One', "")]
        line = proxy.log_where(msg="event_delivered")[0]
        assert line["database"] == "*" and not line.get("label") and not line.get("client"), line


def E1_a_standby_is_listened_to_once_it_is_promoted(_):
    with Postgres() as primary, standby_of(primary) as standby, capturing(standby) as proxy:
        proxy.wait_for_log(msg="cannot listen for notifications")
        standby.sql("SELECT pg_promote()")
        wait_until_listening(proxy)
        standby.sql("NOTIFY heard, 'x'")
        proxy.wait_for_log(msg="event_delivered", payload="x")


def E1_a_named_block_hears_its_own_database_whichever_its_control_names(server):
    server.create_database("captured")
    conninfo = f"host={server.directory} port={server.port}"
    blocks = """
        database "captured" {{ upstream = "{conninfo}"  control = "{conninfo} user=postgres dbname=postgres" }}
        sink "story" {{ type = log }}
        channel "heard" {{ sink = {{"story"}}  capture = listen }}
    """
    with Proxy(conninfo, blocks.format(conninfo=conninfo), database=False) as proxy:
        wait_until_listening(proxy, count=1)
        server.sql("NOTIFY heard, 'of another'")
        server.sql("NOTIFY heard, 'of its own'", database="captured")
        proxy.wait_for_log(msg="event_delivered", payload="of its own")
        assert delivered(proxy) == [("heard", "of its own")]


def E1_nothing_is_delivered_twice_and_nothing_that_was_rolled_back(server):
    with capturing(server) as proxy, proxy.log_in() as client:
        wait_until_listening(proxy)
        for end in ("ROLLBACK", "COMMIT"):
            client.ask("BEGIN")
            client.ask(f"NOTIFY heard, '{end}'")
            client.ask(f"NOTIFY wire, '{end}'")
            client.ask(end)
        client.ask("NOTIFY heard, 'last'")
        proxy.wait_for_log(msg="event_delivered", payload="last")
        assert sorted(delivered(proxy)) == [("heard", "COMMIT"), ("heard", "last"), ("wire", "COMMIT")]


def E1_of_two_processes_one_listens_and_the_other_takes_over(server):
    with capturing(server) as one:
        wait_until_listening(one)
        with capturing(server) as two:
            server.sql("NOTIFY heard, 'first'")
            one.wait_for_log(msg="event_delivered", payload="first")
            one.process.kill()
            one.process.wait()
            one.process = None
            wait_until_listening(two)
            server.sql("NOTIFY heard, 'second'")
            two.wait_for_log(msg="event_delivered")
            assert delivered(two) == [("heard", "second")]


def E1_listening_goes_on_after_the_server_was_lost_and_the_gap_is_told(server):
    with Postgres() as own, capturing(own) as proxy:
        wait_until_listening(proxy)
        own.stop()
        proxy.wait_for_log(msg="no connection to PostgreSQL", role="capture")
        own.start()
        wait_until_listening(proxy, count=4)
        assert proxy.log_where(msg="notifications may have been missed")
        own.sql("NOTIFY heard, 'again'")
        proxy.wait_for_log(msg="event_delivered", payload="again")


def E1_a_reload_listens_to_what_is_new_and_keeps_what_is_old(server):
    with capturing(server) as proxy:
        wait_until_listening(proxy)
        blocks = proxy.blocks
        proxy.reload(blocks + "# the same\n")
        proxy.wait_for_log(msg="config reloaded")
        server.sql("NOTIFY heard, 'kept'")
        proxy.wait_for_log(msg="event_delivered", payload="kept")
        assert len(proxy.log_where(msg="listening for notifications")) == 2
        proxy.reload(blocks + 'channel "new" { sink = {"story"}  capture = listen }\n')
        proxy.wait_for_log(msg="listening for notifications", channel="new")
        server.sql("NOTIFY new, 'new'")
        proxy.wait_for_log(msg="event_delivered", payload="new")
        proxy.reload(blocks.replace("capture = listen", ""))
        proxy.wait_for_log(count=3, msg="config reloaded")
        wait_until(lambda: server.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [["0"]], "the listener to be gone")
