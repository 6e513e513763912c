"""The durable outbox (E8): rows of pgatomic.outbox come out at the sinks, whoever wrote them and whoever dies."""

import signal
import subprocess

from postgres import Postgres
from proxy import Proxy, wait_until

BLOCKS = """
database "shop" {{ upstream = "{conninfo} dbname={database}" }}
outbox "shop" {{ upstream = "{conninfo} user=postgres dbname={database}"  lease = {lease}  poll = {poll}  batch = {batch} }}
sink "story" {{ type = log }}
channel "jobs*" {{ sink = {{"story"}}  delivery = outbox }}
{more}
"""


class Outbox:
    """A database with an outbox of its own, and what one does with it."""

    def __init__(self, server, name="outbox_test"):
        self.server = server
        self.name = name

    def __enter__(self):
        self.server.sql(f'DROP DATABASE IF EXISTS {self.name} WITH (FORCE)')
        self.server.sql(f'CREATE DATABASE {self.name}')
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
    with Outbox(server) as outbox, outbox.proxy() as proxy, proxy.log_in(database="shop") as client:
        proxy.process.send_signal(signal.SIGSTOP)
        outbox.insert(10)
        proxy.process.send_signal(signal.SIGCONT)
        client.ask("BEGIN ISOLATION LEVEL REPEATABLE READ")
        locked = client.value("SELECT count(*) FROM (SELECT 1 FROM pgatomic.outbox WHERE position <= 5 FOR UPDATE) AS mine")
        outbox.insert(300, channel="jobs.other")
        proxy.wait_for_log(count=300, channel="jobs.other", msg="event_delivered")
        wait_until(lambda: outbox.count() == int(locked), "all but the locked rows to be gone")
        client.ask("COMMIT")
        outbox.wait_until_empty()
        proxy.wait_for_log(count=310, msg="event_delivered")
        assert len(set(delivered(proxy))) == 300 and len(delivered(proxy)) == 310
