"""The durable outbox (E8): rows of pgatomic.outbox come out at the sinks, whoever wrote them and whoever dies."""

import os
import signal
from collections import Counter

from postgres import Postgres
from proxy import Proxy, wait_until
from receiver import Receiver

BLOCKS = """
database "shop" {{ upstream = "{conninfo} dbname={database}" }}
outbox "shop" {{ upstream = "{conninfo} user=postgres dbname={database}"  lease = {lease}  poll = {poll}  batch = {batch} }}
sink "story" {{ type = log }}
channel "jobs*" {{ sink = {{"story"}}  delivery = outbox }}
{more}
"""


class Outbox:
    """A database with an outbox of its own, and what one does with it."""

    def __init__(self, server, name="outbox_test", encoding="UTF8"):
        self.server = server
        self.name = name
        self.encoding = encoding

    def __enter__(self):
        self.server.sql(f'DROP DATABASE IF EXISTS {self.name} WITH (FORCE)')
        self.server.sql(f"CREATE DATABASE {self.name} ENCODING '{self.encoding}' TEMPLATE template0")
        status, said = self.command("install")
        assert status == 0, said
        return self

    def __exit__(self, *_):
        if self.server.process is not None:
            self.server.sql(f'DROP DATABASE {self.name} WITH (FORCE)')

    @property
    def conninfo(self):
        return f"host={self.server.directory} port={self.server.port}"

    def sql(self, text):
        return self.server.sql(text, database=self.name)

    def proxy(self, more="", lease="30s", poll="100ms", batch=500, workers=1):
        blocks = BLOCKS.format(conninfo=self.conninfo, database=self.name, lease=lease, poll=poll, batch=batch, more=more)
        return Proxy(self.conninfo, blocks, workers=workers, database=False)

    def command(self, verb, *arguments, user="postgres"):
        """`pgatomic outbox`: its exit status and what it said."""
        proxy = Proxy(self.conninfo)
        try:
            return proxy.run("outbox", verb, f"{self.conninfo} dbname={self.name} user={user}", *arguments)
        finally:
            proxy.remove()

    def insert(self, count, channel="jobs", payload="'n' || n"):
        self.sql(f"INSERT INTO pgatomic.outbox (id, channel, payload, position)"
                 f" SELECT gen_random_uuid(), '{channel}', {payload}, n FROM generate_series(1, {count}) AS n")

    def count(self, table="outbox"):
        return int(self.sql(f"SELECT count(*) FROM pgatomic.{table}")[0][0])

    def wait_until_empty(self):
        wait_until(lambda: self.count() == 0, "the outbox to be empty")


def to_postgres(target):
    """Events on the channel `notes` go to the listeners of another server, and are tried for ever."""
    return f"""
        sink "listeners" {{ type = postgres  upstream = "host={target.directory} port={target.port} user=postgres dbname=postgres"
                            timeout = 5s  retry {{ first = 50ms  max = 100ms  attempts = 100000 }} }}
        channel "notes" {{ sink = {{"listeners"}}  delivery = outbox }}"""


def delivered(*proxies):
    return [line["payload"] for proxy in proxies for line in proxy.log_where(msg="event_delivered")]


# --- delivery ---------------------------------------------------------------------------------------


def E8_rows_of_triggers_and_other_programs_are_delivered_and_deleted(server):
    with Outbox(server) as outbox, outbox.proxy() as proxy:
        outbox.sql("""
            CREATE TABLE orders (n int);
            CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO pgatomic.outbox (id, channel, payload) VALUES (gen_random_uuid(), 'jobs', 'order ' || new.n); RETURN new;
            END $$;
            CREATE TRIGGER tell AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION tell();
            INSERT INTO orders SELECT generate_series(1, 20)""")
        proxy.wait_for_log(count=20, msg="event_delivered")
        outbox.wait_until_empty()
        assert delivered(proxy) == [f"order {n}" for n in range(1, 21)]
        assert outbox.count("dead_letter") == 0


def E8_what_waits_at_the_start_is_delivered_in_order_thousands_of_rows(server):
    with Outbox(server) as outbox:
        outbox.insert(5000)
        with outbox.proxy(poll="1h") as proxy:
            proxy.wait_for_log(count=5000, msg="event_delivered")
            outbox.wait_until_empty()
            assert delivered(proxy) == [f"n{n}" for n in range(1, 5001)]


def E8_a_transaction_that_commits_late_is_not_passed_over(server):
    """Its rows are older than all that was delivered meanwhile; no cursor may have gone past them."""
    insert = "INSERT INTO pgatomic.outbox (id, channel, payload) VALUES (gen_random_uuid(), 'jobs', '{}')"
    with Outbox(server) as outbox, outbox.proxy() as proxy, proxy.log_in(database="shop") as late:
        late.ask("BEGIN")
        late.ask(insert.format("late"))
        for n in range(3):
            outbox.sql(insert.format(n))
            proxy.wait_for_log(count=n + 1, msg="event_delivered")
        late.ask("COMMIT")
        proxy.wait_for_log(count=4, msg="event_delivered")
        assert delivered(proxy) == ["0", "1", "2", "late"]


def E8_a_long_transaction_elsewhere_stops_nothing(server):
    """It has even locked some of the rows; those, and only those, wait for it."""
    with Outbox(server) as outbox:
        outbox.insert(10)
        with Proxy(outbox.conninfo) as way, way.log_in(database=outbox.name) as client:
            client.ask("BEGIN ISOLATION LEVEL REPEATABLE READ")
            client.ask("SELECT FROM pgatomic.outbox WHERE position <= 5 FOR UPDATE")
            with outbox.proxy() as proxy:
                outbox.insert(300, channel="jobs.other")
                proxy.wait_for_log(count=305, msg="event_delivered")
                wait_until(lambda: outbox.count() == 5, "all but the locked rows to be gone")
                client.ask("COMMIT")
                outbox.wait_until_empty()
                proxy.wait_for_log(count=310, msg="event_delivered")
                assert [payload for payload in delivered(proxy)[-5:]] == [f"n{n}" for n in range(1, 6)]


def E8_a_row_that_is_locked_while_it_is_in_hand_goes_when_it_can_and_only_once(server):
    with Postgres() as target, Outbox(server) as outbox:
        target.stop()
        with outbox.proxy(to_postgres(target)) as proxy, proxy.log_in(database="shop") as client:
            outbox.insert(20, channel="notes")
            proxy.wait_for_log(msg="event_retry")
            client.ask("BEGIN")
            client.ask("SELECT FROM pgatomic.outbox WHERE position = 7 FOR UPDATE")
            target.start()
            proxy.wait_for_log(count=20, msg="event_delivered")
            wait_until(lambda: outbox.sql("SELECT position FROM pgatomic.outbox") == [["7"]], "all but the locked row to be gone")
            client.ask("COMMIT")
            outbox.wait_until_empty()
            assert delivered(proxy) == [f"n{n}" for n in range(1, 21)]


def E8_events_of_sessions_are_rows_until_they_are_delivered(server):
    with Outbox(server) as outbox, outbox.proxy() as proxy, proxy.log_in(database="shop") as client:
        client.ask("BEGIN")
        client.ask("NOTIFY jobs, 'kept'")
        client.ask("COMMIT")
        client.ask("BEGIN")
        client.ask("NOTIFY jobs, 'undone'")
        client.ask("ROLLBACK")
        client.ask("NOTIFY jobs, 'alone'")
        proxy.wait_for_log(count=2, msg="event_delivered")
        outbox.wait_until_empty()
        assert delivered(proxy) == ["kept", "alone"]


def E13_what_waits_for_a_sink_that_is_down_waits_in_the_table(server):
    """A few are in hand, with leases to be renewed; the others cost nothing but their rows. Each is delivered once."""
    with Postgres() as target, Outbox(server) as outbox:
        target.stop()
        with outbox.proxy(to_postgres(target), batch=10) as proxy, proxy.log_in(database="shop") as client:
            for first in range(0, 600, 60):
                client.ask("BEGIN")
                for n in range(first, first + 60):
                    client.ask(f"NOTIFY notes, '{n}'")
                client.ask("COMMIT")
            wait_until(lambda: outbox.sql("SELECT count(*) FILTER (WHERE leased_until > now()) BETWEEN 10 AND 90, count(*)"
                                          " FROM pgatomic.outbox") == [["t", "600"]], "most rows to be let go")
            target.start()
            outbox.wait_until_empty()
            proxy.wait_for_log(count=600, msg="event_delivered")
            client.ask("NOTIFY notes, 'after'")
            proxy.wait_for_log(msg="event_delivered", payload="after")
            assert sorted(delivered(proxy)) == sorted([*map(str, range(600)), "after"])
            outbox.wait_until_empty()
            assert not proxy.log_where(msg="events were no longer in the outbox")


def E8_an_outbox_that_leaves_the_config_ends_with_what_it_owes(server):
    """And with what a session brings that began before."""
    with Postgres() as target, Outbox(server) as outbox:
        target.stop()
        with outbox.proxy(to_postgres(target)) as proxy, proxy.log_in(database="shop") as client:
            blocks = proxy.blocks
            without = "\n".join(line for line in blocks.splitlines() if not line.startswith("outbox")).replace("delivery = outbox", "")
            relays = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pgatomic.outbox%' AND pid <> pg_backend_pid()"
            client.ask("BEGIN")
            client.ask("NOTIFY notes, 'old'")
            outbox.insert(5, channel="notes")
            proxy.wait_for_log(msg="event_retry")
            proxy.reload(without)
            proxy.wait_for_log(msg="config reloaded")
            target.start()
            proxy.wait_for_log(count=5, msg="event_delivered")
            outbox.wait_until_empty()
            wait_until(lambda: outbox.sql(relays) == [["0"]], "the relay to go")
            client.ask("COMMIT")
            proxy.wait_for_log(msg="event_delivered", payload="old")
            outbox.wait_until_empty()
            outbox.insert(1, channel="notes", payload="'nobody asks for this'")
            proxy.reload(blocks)
            proxy.wait_for_log(msg="event_delivered", payload="nobody asks for this")
            assert len(delivered(proxy)) == 7


# --- several processes -------------------------------------------------------------------------------


def E13_a_sink_that_is_down_does_not_make_another_of_its_channel_repeat_itself(server):
    """What is more than the one may hold is read again and again until it is back; the other has had it."""
    with Receiver() as up, Receiver() as down, Outbox(server) as outbox:
        down.stop()
        both = f"""
            limits {{ held = 64kB }}
            sink "up" {{ type = webhook  url = "{up.url}" }}
            sink "down" {{ type = webhook  url = "{down.url}"  retry {{ first = 50ms  max = 100ms  attempts = 100000 }} }}
            channel "notes" {{ sink = {{"up", "down"}}  forward = off  delivery = outbox }}"""
        with outbox.proxy(both) as proxy, proxy.log_in(database="shop") as client:
            sent = [f"{n} {'x' * 1000}" for n in range(200)]
            for number, payload in enumerate(sent, 1):
                client.ask(f"NOTIFY notes, '{payload}'")
                if number % 20 == 0:
                    up.wait_until_seen(number)  # or it would be behind, too
            newest = f"SELECT xmin FROM pgatomic.outbox WHERE payload = '{sent[-1]}'"
            versions = set()
            wait_until(lambda: versions.add(str(outbox.sql(newest))) or len(versions) > 6, "a row to be claimed again and again")
            down.start()
            outbox.wait_until_empty()
            for receiver in up, down:
                posts = Counter(post.body.decode() for post in receiver.taken)
                assert sorted(posts) == sorted(sent) and max(posts.values()) <= 2, posts.most_common(3)


def E8_two_processes_share_an_outbox_and_deliver_each_row_once(server):
    with Outbox(server) as outbox, outbox.proxy(batch=50) as one, outbox.proxy(batch=50) as two:
        for _ in range(10):
            outbox.insert(300)
        outbox.wait_until_empty()
        wait_until(lambda: len(delivered(one, two)) >= 3000, "both logs to be written")
        assert len(one.log_where(msg="event_delivered")) + len(two.log_where(msg="event_delivered")) == 3000
        ids = [line["id"] for proxy in (one, two) for line in proxy.log_where(msg="event_delivered")]
        assert len(set(ids)) == 3000


def E8_rows_of_a_process_that_was_killed_are_taken_over_when_their_lease_has_run_out(server):
    """It has them in hand, for its sink is down; the other one's sink is not. Nothing is lost, and nothing comes before the lease ends."""
    with Outbox(server) as outbox:
        nowhere = 'sink "story2" { type = postgres  upstream = "host=127.0.0.1 port=1" }\nchannel "notes" { sink = {"story2"} }'
        with outbox.proxy(nowhere, lease="6s") as doomed:
            outbox.insert(100, channel="notes")
            wait_until(lambda: outbox.sql("SELECT count(*) FROM pgatomic.outbox WHERE leased_until > clock_timestamp()") == [["100"]],
                       "all rows to be in hand")
            with outbox.proxy('channel "notes" { sink = {"story"} }', lease="6s") as heir:
                # Longer than a lease: while the first one lives, it renews them.
                wait_until(lambda: outbox.sql("SELECT min(leased_until) > now() + interval '3.6 s' AND"
                                              " clock_timestamp() > min(created_at) + interval '8 s' FROM pgatomic.outbox") == [["t"]],
                           "the leases to be renewed")
                assert not delivered(heir)
                doomed.process.kill()
                doomed.process.wait()
                heir.wait_for_log(count=100, msg="event_delivered")
                outbox.wait_until_empty()
                assert sorted(delivered(heir)) == sorted(f"n{n}" for n in range(1, 101))
            doomed.process = None


def E8_a_process_that_ends_in_order_leaves_no_leases_behind(server):
    nowhere = 'sink "story2" { type = postgres  upstream = "host=127.0.0.1 port=1" }\nchannel "notes" { sink = {"story2"} }\n'
    with Outbox(server) as outbox:
        for how in (signal.SIGTERM, signal.SIGINT):
            with outbox.proxy(nowhere + "drain_timeout = 200ms\n", lease="1h") as proxy:
                outbox.insert(10, channel="notes")
                wait_until(lambda: outbox.sql("SELECT count(*) FROM pgatomic.outbox WHERE leased_until <= now()") == [["0"]], "the claim")
                assert proxy.stop(how) == 0
            assert outbox.sql("SELECT count(*) FROM pgatomic.outbox WHERE leased_until > now()") == [["0"]]


# --- PostgreSQL goes away ----------------------------------------------------------------------------


def E8_an_outbox_whose_database_was_down_goes_on_and_repeats_nothing(server):
    """The sink has them while their rows cannot be deleted: the same process does not deliver them again."""
    with Postgres() as own, Postgres() as target, Outbox(own) as outbox:
        with outbox.proxy(to_postgres(target), lease="1s") as proxy:
            target.stop()
            outbox.insert(200, channel="notes")
            proxy.wait_for_log(msg="event_retry")
            own.stop()
            target.start()
            proxy.wait_for_log(count=200, msg="event_delivered")
            proxy.wait_for_log(msg="no connection to PostgreSQL", role="outbox")
            own.start()
            outbox.wait_until_empty()
            outbox.insert(1, channel="notes", payload="'after'")
            proxy.wait_for_log(msg="event_delivered", payload="after")
            assert len(delivered(proxy)) == 201
            assert proxy.log_where(msg="connected to PostgreSQL again", role="outbox")


def E8_the_relay_finds_its_server_among_several_by_name_and_password(server):
    """And the log never has the password, whether it is right or wrong."""
    hosts = f"host=127.0.0.1,localhost,{server.directory} port=1,{server.port},1"
    with Outbox(server) as outbox:
        outbox.sql("GRANT ALL ON ALL TABLES IN SCHEMA pgatomic TO app")
        for password in ("app-secret", "app-wrong-secret"):
            proxy = outbox.proxy()
            proxy.blocks = proxy.blocks.replace(f"{outbox.conninfo} user=postgres", f"{hosts} user=app password={password}")
            with proxy:
                if password == "app-secret":
                    outbox.insert(3)
                    proxy.wait_for_log(count=3, msg="event_delivered")
                else:
                    lost = proxy.wait_for_log(msg="no connection to PostgreSQL")[0]
                    assert "password authentication failed" in lost["error"], lost
                with open(proxy.log, encoding="utf-8") as log:
                    assert password not in log.read() + proxy.errors()


def E8_a_relay_whose_server_is_silent_tries_again(server):
    """Neither the connection nor an answer is waited for without end, and other sinks and clients feel nothing of it."""
    with Postgres() as own, Outbox(own) as outbox, outbox.proxy(lease="2s") as proxy, proxy.log_in(database="shop") as client:
        outbox.insert(1)
        proxy.wait_for_log(msg="event_delivered")
        backend = own.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'pgatomic'")[0][0]
        os.kill(int(backend), signal.SIGSTOP)
        try:
            proxy.wait_for_log(msg="no connection to PostgreSQL", error="the server did not answer in time")
        finally:
            os.kill(int(backend), signal.SIGCONT)
        assert client.value("SELECT 'well'") == "well"
        outbox.insert(1)
        proxy.wait_for_log(count=2, msg="event_delivered")


def E8_an_outbox_that_is_not_installed_is_said_once_and_used_when_it_is(server):
    with Outbox(server) as outbox:
        outbox.sql("DROP SCHEMA pgatomic CASCADE")
        with outbox.proxy() as proxy:
            line = proxy.wait_for_log(outbox="shop", level="error")[0]
            assert line["sqlstate"] == "42P01" and "pgatomic outbox install" in line["msg"]
            assert outbox.command("install")[0] == 0
            outbox.insert(1)
            proxy.wait_for_log(msg="event_delivered")
            assert len(proxy.log_where(outbox="shop", level="error")) == 1


# --- death ---------------------------------------------------------------------------------------------


def E12_an_event_that_cannot_be_delivered_is_a_dead_letter_until_somebody_revives_it(server):
    nowhere = """sink "story2" {{ type = postgres  upstream = "host=127.0.0.1 port={port}{more}"
                                  retry {{ first = 10ms  max = 10ms  attempts = 3 }} }}\nchannel "notes" {{ sink = {{"story2"}} }}"""
    with Outbox(server) as outbox:
        with outbox.proxy(nowhere.format(port=1, more="")) as proxy:
            outbox.insert(2, channel="notes")
            proxy.wait_for_log(count=2, msg="event_dead")
            outbox.wait_until_empty()
            assert outbox.sql("SELECT payload, attempts FROM pgatomic.dead_letter ORDER BY position") == [["n1", "3"], ["n2", "3"]]
            status, said = outbox.command("list", "--dead")
            assert status == 0 and "Connection refused" in said and said.count("dead since") == 2 and "2 events" in said
        with outbox.proxy('channel "notes" { sink = {"story"} }') as proxy:
            first = outbox.sql("SELECT id FROM pgatomic.dead_letter WHERE payload = 'n1'")[0][0]
            assert outbox.command("retry", first) == (0, "1 event will be tried again\n")
            proxy.wait_for_log(msg="event_delivered", payload="n1")
            assert outbox.command("retry", "--all") == (0, "1 event will be tried again\n")
            proxy.wait_for_log(msg="event_delivered", payload="n2")
            outbox.wait_until_empty()
            assert outbox.count("dead_letter") == 0


def E12_tries_are_counted_in_the_row_and_go_on_with_the_next_process(server):
    nowhere = """sink "story2" {{ type = postgres  upstream = "host=127.0.0.1 port=1"
                                  retry {{ first = {first}  max = {first}  attempts = 4 }} }}\nchannel "notes" {{ sink = {{"story2"}} }}"""
    with Outbox(server) as outbox:
        with outbox.proxy(nowhere.format(first="1h")) as proxy:
            outbox.insert(1, channel="notes")
            wait_until(lambda: outbox.sql("SELECT attempts, last_error LIKE '%refused%' FROM pgatomic.outbox") == [["1", "t"]], "a try")
            assert len(proxy.wait_for_log(msg="event_retry")) == 1
        with outbox.proxy(nowhere.format(first="10ms")) as proxy:
            assert proxy.wait_for_log(msg="event_dead")[0]["attempt"] == 4
            assert [line["attempt"] for line in proxy.log_where(msg="event_retry")] == [2, 3]


def E12_rows_that_no_sink_is_for_and_rows_too_large_are_dead_at_once(server):
    with Outbox(server) as outbox, outbox.proxy("limits { event = 1MB }") as proxy:
        outbox.insert(1, channel="unheard-of")
        outbox.insert(1, payload="repeat('x', 1048577)")
        outbox.insert(1, payload="repeat('x', 1048576)")
        outbox.sql("INSERT INTO pgatomic.outbox (id, channel, payload, route, label) SELECT gen_random_uuid(), repeat('jobs', 1000000), 'x',"
                   " repeat('r', 1000000), repeat('l', 1000000)")
        proxy.wait_for_log(msg="event_delivered", payload="x" * 1048576)
        dead = proxy.wait_for_log(count=3, msg="event_dead")
        assert {line["reason"] for line in dead} == {"no channel block of the config names a sink for it",
                                                     "its payload is larger than limits.event", "its channel has too long a name"}
        wait_until(lambda: outbox.count("dead_letter") == 3, "the dead letters")
        outbox.wait_until_empty()


def E12_a_row_that_is_no_text_is_dead_and_stops_no_other(server):
    """PostgreSQL cannot convert it to UTF-8, and anybody may insert it."""
    for encoding, bad in ("SQL_ASCII", "x'ff'"), ("WIN1252", "x'81'"):
        with Outbox(server, encoding=encoding) as outbox:
            as_bytes = f"convert_from(decode('{bad[2:-1]}', 'hex'), '{encoding}')"
            outbox.insert(1, payload=as_bytes)
            outbox.insert(1, channel=f"jobs' || {as_bytes} || '")
            outbox.insert(3)
            with outbox.proxy() as proxy:
                proxy.wait_for_log(count=3, msg="event_delivered")
                dead = proxy.wait_for_log(count=2, msg="event_dead")
                assert {line["reason"] for line in dead} == {"it is not valid text in the encoding of its database"}
                outbox.wait_until_empty()
            status, said = outbox.command("list", "--dead")
            assert status == 0 and said.count("dead since") == 2 and said.count(rf"\x{bad[2:-1]}") == 2, said


def E8_rows_of_a_database_that_is_not_in_utf8_arrive_as_text(server):
    for encoding in "LATIN1", "EUC_JP", "SQL_ASCII":
        text = "naïve" if encoding == "LATIN1" else "日本"
        with Outbox(server, encoding=encoding) as outbox, outbox.proxy() as proxy:
            outbox.sql(f"SET client_encoding = 'UTF8'; INSERT INTO pgatomic.outbox (id, channel, payload, label)"
                       f" VALUES (gen_random_uuid(), 'jobs', '{text}', '{text}')")
            event, = proxy.wait_for_log(msg="event_delivered")
            assert event["payload"] == event["label"] == text
            outbox.wait_until_empty()


# --- the command ------------------------------------------------------------------------------------------


def E8_the_outbox_is_installed_once_and_open_to_writers_only(server):
    server.sql("DROP ROLE IF EXISTS somebody; DROP ROLE IF EXISTS relay; CREATE ROLE somebody LOGIN; CREATE ROLE relay LOGIN")
    with Outbox(server) as outbox:
        assert outbox.command("install") == (0, "the outbox is there already, version 1\n")
        as_somebody = "SET SESSION AUTHORIZATION somebody; "
        outbox.sql(as_somebody + "INSERT INTO pgatomic.outbox (id, channel, payload, route, label, request, position, leased_until)"
                   " VALUES (gen_random_uuid(), 'jobs', 'x', 'r', 'l', gen_random_uuid(), 1, clock_timestamp())")
        for denied in ("SELECT FROM pgatomic.outbox", "DELETE FROM pgatomic.outbox", "SELECT FROM pgatomic.dead_letter",
                       "INSERT INTO pgatomic.outbox (id, channel, payload, attempts) VALUES (gen_random_uuid(), 'jobs', 'x', 7)",
                       "CREATE TABLE pgatomic.mine ()"):
            try:
                outbox.sql(as_somebody + denied)
                raise RuntimeError(denied)
            except AssertionError as error:
                assert "permission denied" in str(error), error
        status, said = outbox.command("list", user="somebody")
        assert status == 1 and "permission denied" in said
        assert outbox.command("install", "--relay", "relay")[0] == 0
        status, said = outbox.command("list", user="relay")
        assert status == 0 and "1 event" in said, said


def E8_purge_removes_dead_letters_and_nothing_else(server):
    with Outbox(server) as outbox:
        outbox.insert(3)
        outbox.sql("INSERT INTO pgatomic.dead_letter (id, channel, payload, died_at) SELECT gen_random_uuid(), 'jobs', n::text,"
                   " now() - n * interval '1 day' FROM generate_series(1, 10) AS n")
        assert outbox.command("purge")[0] == 2, "which ones has to be said"
        assert outbox.command("purge", "--older-than", "soon")[0] == 2
        assert outbox.command("purge", "not-an-id")[0] == 2
        assert outbox.command("purge", "--older-than", "5d12h") == (0, "5 events removed\n")
        assert outbox.command("purge", "--channel", "other") == (0, "0 events removed\n")
        assert outbox.command("purge", "--all") == (0, "5 events removed\n")
        assert outbox.count() == 3 and outbox.count("dead_letter") == 0


def E8_what_list_shows_is_for_eyes(server):
    with Outbox(server) as outbox:
        outbox.insert(2, channel="jobs", payload=r"E'\x1b[2Jgone\nh\u00e9 ' || n")
        status, said = outbox.command("list", "--limit", "1")
        assert status == 0 and r"\x1b[2Jgone\nhé 1" in said and "1 of 2 events" in said, said
        assert len({line.index("waiting") for line in outbox.command("list")[1].splitlines() if "waiting" in line}) == 1
        assert outbox.command("list", "--channel", "nothing") == (0, "0 events\n")


def E8_a_command_that_cannot_be_done_says_so_by_its_status(server):
    with Proxy(server) as proxy:
        assert proxy.run("outbox")[0] == proxy.run("outbox", "list")[0] == proxy.run("outbox", "burn", "host=x")[0] == 2
        status, said = proxy.run("outbox", "list", "host=x password=verysecret=x 'verysecret")
        assert status == 2 and "verysecret" not in said
        assert proxy.run("outbox", "list", "host=127.0.0.1 port=1")[0] == 1
        status, said = proxy.run("outbox", "list", f"host={server.directory} port={server.port} user=postgres dbname=postgres")
        assert status == 1 and "there is no outbox in this database" in said
        assert proxy.run("outbox", "--help")[0] == 0
