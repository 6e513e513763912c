"""Commits in doubt (E9), and rows of the outbox in the transaction that they belong to (E8): what the client was told, what was released and
what the tables say have to agree, wherever the connection to PostgreSQL breaks."""

from postgres import Postgres
from proxy import Proxy, wait_until
from relay import Relay
from test_outbox import Outbox
from wire import SYNC, Closed, fields, message, query

BLOCKS = """
database "shop" {{ upstream = "{upstream} dbname={database}"  control = "{conninfo} user=postgres dbname={database}" {pool} }}
outbox "shop" {{ upstream = "{conninfo} user=postgres dbname={database}"  lease = {lease}  poll = 100ms }}
sink "story" {{ type = log }}
channel "wire"    {{ sink = {{"story"}} }}
channel "memory"  {{ sink = {{"story"}}  forward = off }}
channel "durable" {{ sink = {{"story"}}  forward = off  delivery = outbox }}
channel "also"    {{ sink = {{"story"}}  delivery = outbox }}
route "web" {{ match = "/*"  mode = atomic }}
"""

# `seen` keeps what the outbox was told and then delivered.
SCHEMA = """
CREATE TABLE work (payload text);
CREATE TABLE seen (id uuid, payload text);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN INSERT INTO public.seen VALUES (new.id, new.payload); RETURN NULL; END $$;
CREATE TRIGGER see AFTER INSERT ON pgatomic.outbox FOR EACH ROW EXECUTE FUNCTION see();
"""


class Shop(Outbox):
    def __init__(self, server, pool=""):
        super().__init__(server, "doubt_test")
        self.pool = pool

    def __enter__(self):
        super().__enter__()
        self.sql(SCHEMA)
        return self

    def proxy_behind(self, relay=None, more="", workers=1, lease="30s"):
        upstream = f"host=127.0.0.1 port={relay.port} sslmode=disable" if relay else self.conninfo
        blocks = BLOCKS.format(upstream=upstream, conninfo=self.conninfo, database=self.name, lease=lease, pool=self.pool) + more
        if self.pool:
            blocks += "auth { method = trust }\n"
        return Proxy(self.conninfo, blocks, workers=workers, database=False)

    def values(self, table):
        return [row[0] for row in self.sql(f"SELECT payload FROM {table}")]


def log_in(proxy):
    """When the database's identity is known, for otherwise nothing can be said of a commit."""
    return proxy.log_in(database="shop")


def extended(*texts):
    return b"".join(message(b"P", b"\0" + text.encode() + b"\0\0\0") + message(b"B", b"\0\0\0\0\0\0\0\0") +
                    message(b"E", b"\0\0\0\0\0") for text in texts) + SYNC


def told(client):
    """What the client is told of its commit."""
    try:
        reply = client.read_until(b"Z")
    except Closed:
        return "nothing"
    for kind, body in reply:
        if kind == b"E":
            return fields(body)["C"]
    return "committed"


def told_to_the_end(client):
    """The same, and what stands behind it when that is all there is."""
    codes, committed = [], False
    for kind, body in client.read_to_end():
        if kind == b"E":
            error = fields(body)
            codes.append(error["C"])
            committed |= error.get("D") == "The transaction was committed."
        committed |= kind == b"Z" and not codes
    if committed:
        return "committed"
    return next((code for code in codes if code in ("40000", "08007")), codes[0] if codes else "nothing")


def fate(proxy, payload):
    """Of an event, when it is settled: released, or why it was discarded; "" when it was never held."""
    for line in proxy.log_where(payload=payload):
        if line["msg"] == "event_released":
            return "released"
        if line["msg"] == "event_discarded":
            return line["reason"]
    return ""


def agree(shop, proxy, payload, verdict):
    """The client's verdict, the log and the table are of one opinion."""
    stored = payload in shop.values("work")
    settled = wait_until(lambda: fate(proxy, payload) or (not proxy.log_where(msg="event_held", payload=payload) and "none"),
                         f"event {payload} to be settled")
    if verdict == "committed":
        assert stored and settled == "released", (payload, verdict, stored, settled)
    elif verdict == "40000":
        assert not stored and settled in ("server_lost", "none"), (payload, verdict, stored, settled)
    else:
        assert verdict in ("08006", "08007", "57P01") and settled in ("server_lost", "none"), (payload, verdict, stored, settled)
        assert verdict == "08007" or not stored, (payload, verdict, stored, settled)


def known(shop, proxy):
    """The control connection has told which cluster it is."""
    asked = "SELECT 1 FROM pg_stat_activity WHERE query ~ 'pg_control_system' AND state = 'idle' AND pid <> pg_backend_pid()"
    wait_until(lambda: shop.sql(asked), "the proxy to ask which cluster it is")
    with proxy.log_in(database="shop") as client:
        client.ask("SELECT 1")


# --- every byte -------------------------------------------------------------------------------------


def cut_everywhere(server, begin, end, limits, direction, unknown_allowed=0, pool=""):
    """Runs a transaction for each limit, and cuts the connection so many bytes behind the beginning of its end."""
    verdicts = {}
    with Shop(server, pool) as shop, Relay(server) as relay, shop.proxy_behind(relay) as proxy:
        known(shop, proxy)
        for limit in limits:
            payload = f"{direction}-{limit}"
            relay.cut()
            with log_in(proxy) as client:
                for text in begin or ["SELECT 'the pool has connected'"]:
                    client.ask(text.format(payload=payload))
                relay.cut(**{direction: limit})
                client.send(end(payload))
                verdict = told_to_the_end(client)
            relay.cut()
            agree(shop, proxy, payload, verdict)
            verdicts.setdefault(verdict, []).append(limit)
        assert len(verdicts.get("08007", [])) <= unknown_allowed, verdicts
        assert set(shop.values("seen")) <= set(shop.values("work")), verdicts
    return verdicts


WRITE = "INSERT INTO work VALUES ('{payload}')"


def E9_a_commit_cut_at_every_byte_of_its_reply(server):
    verdicts = cut_everywhere(server, ["BEGIN", WRITE, "NOTIFY wire, '{payload}'"], lambda _: query("COMMIT"), range(18), "to_client")
    assert list(verdicts) == ["committed"], verdicts


def E9_a_commit_cut_at_every_byte_of_itself(server):
    verdicts = cut_everywhere(server, ["BEGIN", WRITE, "NOTIFY wire, '{payload}'"], lambda _: query("COMMIT"), range(1, 12), "to_server")
    assert list(verdicts) == ["40000"], verdicts


def E9_an_outcome_with_durable_events_cut_at_every_byte_of_its_reply(server):
    begin = ["SET pgatomic.request = '/x'", WRITE, "NOTIFY durable, '{payload}'"]
    end = lambda _: extended("SET pgatomic.outcome = 'commit'")  # noqa: E731
    verdicts = cut_everywhere(server, begin, end, range(0, 110, 3), "to_client")
    assert list(verdicts) == ["committed"], verdicts


def E9_a_statement_that_is_its_own_transaction_cut_at_every_byte_of_its_reply(server):
    end = lambda payload: query(f"{WRITE}; NOTIFY also, '{payload}'".format(payload=payload))  # noqa: E731
    verdicts = cut_everywhere(server, [], end, [*range(0, 100, 9), 8192, 8240, 8260], "to_client")
    assert list(verdicts) == ["committed"], verdicts


def E9_a_pipeline_cut_in_its_reply(server):
    """What the server would have said of the INSERT nobody can make up, so the end is told with what became of the transaction. A server
    that cannot send the transaction's number does not commit it, and of that nothing is left by which it could be known."""
    end = lambda payload: extended(WRITE.format(payload=payload), f"NOTIFY durable, '{payload}'")  # noqa: E731
    verdicts = cut_everywhere(server, [], end, [0, *range(90, 120, 5)], "to_client", unknown_allowed=2)
    assert "committed" in verdicts, verdicts


# --- still committing --------------------------------------------------------------------------------

# A commit that hangs for as long as somebody holds the advisory lock 1.
SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON work DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow();
"""
COMMITTING = "SELECT pid FROM pg_stat_activity WHERE query ~ 'COMMIT$' AND wait_event = 'advisory' AND datname = 'doubt_test'"


def E9_a_backend_that_is_still_committing_is_waited_for(server):
    for channel in ("wire", "also"):
        with Shop(server) as shop, Relay(server) as relay, shop.proxy_behind(relay) as proxy, shop.proxy_behind() as beside:
            known(shop, proxy)
            shop.sql(SLOW)
            with beside.log_in(database="shop") as lock, log_in(proxy) as client:
                lock.ask("SELECT pg_advisory_lock(1)")
                for text in ("BEGIN", "INSERT INTO work VALUES ('slow')", f"NOTIFY {channel}, 'slow'"):
                    client.ask(text)
                client.send(query("COMMIT"))
                wait_until(lambda: shop.sql(COMMITTING), "the COMMIT to hang")
                relay.break_all()
                wait_until(lambda: shop.sql("SELECT 1 FROM pg_stat_activity WHERE query ~ 'pg_xact_status'"), "the proxy to ask")
                assert fate(proxy, "slow") == ""
                lock.ask("SELECT pg_advisory_unlock(1)")
                assert told_to_the_end(client) == "committed"
                agree(shop, proxy, "slow", "committed")


def E9_a_backend_that_is_terminated_at_its_commit(server):
    with Shop(server) as shop, shop.proxy_behind() as proxy:
        known(shop, proxy)
        shop.sql(SLOW)
        with log_in(proxy) as lock, log_in(proxy) as client:
            lock.ask("SELECT pg_advisory_lock(1)")
            for text in ("BEGIN", "INSERT INTO work VALUES ('slow')", "NOTIFY wire, 'slow'"):
                client.ask(text)
            client.send(query("COMMIT"))
            pid = wait_until(lambda: shop.sql(COMMITTING), "the COMMIT to hang")[0][0]
            shop.sql(f"SELECT pg_terminate_backend({pid})")
            assert told_to_the_end(client) == "40000"
            agree(shop, proxy, "slow", "40000")
            assert [line["xid"] > 0 for line in proxy.log_where(msg="event_discarded")] == [True]


def E9_a_commit_that_waits_for_a_standby_is_waited_for(server):
    """The server has committed already, and tells nobody before its standby has confirmed it."""
    with Postgres(settings={"synchronous_commit": "on"}) as own, Shop(own) as shop, Relay(own) as relay, \
            shop.proxy_behind(relay) as proxy:
        known(shop, proxy)
        own.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        own.sql("SELECT pg_reload_conf()")
        wait_until(lambda: own.sql("SHOW synchronous_standby_names") == [["nobody"]], "the setting")
        with log_in(proxy) as client:
            for text in ("BEGIN", "INSERT INTO work VALUES ('slow')", "NOTIFY wire, 'slow'"):
                client.ask(text)
            client.send(query("COMMIT"))
            wait_until(lambda: own.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"), "the COMMIT to wait")
            relay.break_all()
            wait_until(lambda: own.sql("SELECT 1 FROM pg_stat_activity WHERE query ~ 'pg_xact_status'"), "the proxy to ask")
            own.sql("ALTER SYSTEM RESET synchronous_standby_names")
            own.sql("SELECT pg_reload_conf()")
            assert told_to_the_end(client) == "committed"
            agree(shop, proxy, "slow", "committed")


def E9_a_server_that_crashes_at_a_commit_is_asked_when_it_is_back(server):
    with Postgres(settings={"fsync": "on"}) as own, Shop(own) as shop, shop.proxy_behind() as proxy:
        known(shop, proxy)
        shop.sql(SLOW)
        with log_in(proxy) as lock, log_in(proxy) as client:
            lock.ask("SELECT pg_advisory_lock(1)")
            for text in ("BEGIN", "INSERT INTO work VALUES ('slow')", "NOTIFY wire, 'slow'"):
                client.ask(text)
            client.send(query("COMMIT"))
            wait_until(lambda: shop.sql(COMMITTING), "the COMMIT to hang")
            own.process.send_signal(3)  # immediate shutdown: as after a crash
            own.process.wait()
            own.start()
            assert told_to_the_end(client) == "40000"
            agree(shop, proxy, "slow", "40000")


def E9_without_anybody_to_ask_the_client_is_told_that_nothing_is_known(server):
    with Shop(server) as shop, Relay(server) as relay:
        blocks = BLOCKS.format(upstream=f"host=127.0.0.1 port={relay.port} sslmode=disable", conninfo=shop.conninfo, database=shop.name, lease="30s", pool="")
        blocks = blocks.replace(f'  control = "{shop.conninfo} user=postgres dbname={shop.name}"', "")
        assert "control" not in blocks
        with Proxy(shop.conninfo, blocks, database=False) as proxy, log_in(proxy) as client:
            for text in ("BEGIN", "INSERT INTO work VALUES ('a')", "NOTIFY wire, 'a'"):
                client.ask(text)
            relay.cut(to_client=0)
            client.send(query("COMMIT"))
            assert told_to_the_end(client) == "08007"
            proxy.wait_for_log(msg="commit_unknown")
            proxy.wait_for_log(msg="event_discarded", reason="server_lost", payload="a")


# --- rows (E8) ----------------------------------------------------------------------------------------

ENDINGS = (
    ["NOTIFY durable, '{n}'"],
    ["SELECT pg_notify('also', '{n}')"],
    ["BEGIN", "NOTIFY durable, '{n}'", "COMMIT"],
    ["BEGIN", "NOTIFY also, '{n}'", "ROLLBACK"],
    ["BEGIN", "SAVEPOINT s", "NOTIFY also, '{n}'", "ROLLBACK TO s", "COMMIT"],
    ["BEGIN", "NOTIFY durable, '{n}'", "SELECT 1/0", "COMMIT"],
    ["BEGIN; NOTIFY durable, '{n}'; COMMIT"],
    ["NOTIFY also, '{n}'; SELECT 1/0"],
    ["SELECT 1; NOTIFY durable, '{n}'; SELECT 2"],
    ["SET pgatomic.request = '/a'", "NOTIFY durable, '{n}'", "SET pgatomic.outcome = 'commit'"],
    ["SET pgatomic.request = '/a'", "NOTIFY also, '{n}'", "SET pgatomic.outcome = 'rollback'"],
    ["SET pgatomic.request = '/a'", "BEGIN", "NOTIFY also, '{n}'", "COMMIT", "SET pgatomic.outcome = 'commit'"],
    ["SET pgatomic.request = '/a'", "BEGIN", "NOTIFY also, '{n}'", "ROLLBACK", "SET pgatomic.outcome = 'commit'"],
    ["BEGIN READ ONLY", "NOTIFY durable, '{n}'", "COMMIT"],
    ["SET search_path = nowhere", "NOTIFY durable, '{n} é ''\\\\ 漢'"],
    ["SET client_encoding = LATIN1", "BEGIN", "SELECT pg_notify('durable', '{n} ' || chr(50)), 1", "NOTIFY durable, '{n}'", "COMMIT"],
)


def E8_rows_are_there_for_exactly_what_was_committed(server):
    with Shop(server) as shop, shop.proxy_behind() as proxy:
        for n, texts in enumerate(ENDINGS):
            for send in (query, extended):
                with log_in(proxy) as client:
                    for text in texts:
                        if send is extended and ";" in text:
                            continue
                        client.send(send(text.format(n=f"{n}-{send.__name__}")))
                        client.read_until(b"Z")
        shop.wait_until_empty()
        held = {line["id"]: line["payload"] for line in proxy.log_where(msg="event_held")}
        released = {line["id"] for line in proxy.log_where(msg="event_released")}
        discarded = {line["id"] for line in proxy.log_where(msg="event_discarded")}
        rows = {row[0] for row in shop.sql("SELECT id FROM seen")}
        assert rows == released and released and discarded, (rows - released, released - rows)
        assert released | discarded == set(held) and not released & discarded
        wait_until(lambda: len(proxy.log_where(msg="event_delivered")) >= len(released), "all to be delivered")
        for payload, in shop.sql("SELECT payload FROM seen"):
            assert payload in held.values(), payload


def E8_a_commit_whose_rows_cannot_be_written_fails_with_that_error(server):
    with Shop(server) as shop, shop.proxy_behind() as proxy, log_in(proxy) as client:
        for breaks, mends, code in (
            ("ALTER TABLE pgatomic.outbox RENAME TO elsewhere", "ALTER TABLE pgatomic.elsewhere RENAME TO outbox", "42P01"),
            ("CREATE ROLE poor; GRANT CREATE ON SCHEMA public TO poor; GRANT INSERT ON work TO poor;"
             " REVOKE ALL ON pgatomic.outbox FROM PUBLIC; REVOKE INSERT (id, channel, payload, route, label, request, position,"
             " leased_until) ON pgatomic.outbox FROM PUBLIC", "GRANT INSERT ON pgatomic.outbox TO PUBLIC", "42501"),
            ("ALTER TABLE pgatomic.outbox ADD CONSTRAINT never CHECK (payload <> 'x')",
             "ALTER TABLE pgatomic.outbox DROP CONSTRAINT never", "23514"),
        ):
            shop.sql(breaks)
            if code == "42501":
                client.ask("SET ROLE poor")
            for texts in (["BEGIN", "INSERT INTO work VALUES ('x')", "NOTIFY durable, 'x'", "COMMIT"],
                          ["INSERT INTO work VALUES ('x'); NOTIFY durable, 'x'"],
                          ["SET pgatomic.request = '/x'", "INSERT INTO work VALUES ('x')", "NOTIFY also, 'x'",
                           "SET pgatomic.outcome = 'commit'"]):
                for send in (query, extended):
                    if send is extended and ";" in texts[0]:
                        continue
                    for text in texts[:-1]:
                        client.ask(text)
                    client.send(send(texts[-1]))
                    assert told(client) == code, (texts, send.__name__)
                    assert client.ask("SELECT 1")[-1] == (b"Z", b"I")
            client.ask("RESET ROLE")
            shop.sql(mends)
        shop.sql("DROP OWNED BY poor; DROP ROLE poor")
        assert shop.values("work") == [] and shop.values("seen") == []
        assert not proxy.log_where(msg="event_released")
        assert client.ask("NOTIFY durable, 'fine'")[-1] == (b"Z", b"I")
        proxy.wait_for_log(msg="event_delivered", payload="fine")
