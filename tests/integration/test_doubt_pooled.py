"""Commits in doubt over a pool (E9, P8): what the tests of dedicated servers show, and what happens when clients and servers of a pool die under
load. Whoever dies, events and rows agree, nobody else is harmed, and the pool keeps its limit."""

import random
import threading

from proxy import wait_until
from relay import Relay
from test_doubt import WRITE, Shop, cut_everywhere, extended, known
from wire import Closed, fields, query


def pools(size):
    return [f"pool = {mode}  pool_size = {size}" for mode in ("transaction", "session")]


# The relay counts what all connections say, so none may be made beside the one that is to be cut.
ALONE = pools(1)


def E9_a_commit_over_a_pool_cut_at_every_byte(server):
    begin = ["BEGIN", WRITE, "NOTIFY wire, '{payload}'"]
    for pool in ALONE:
        verdicts = cut_everywhere(server, begin, lambda _: query("COMMIT"), range(0, 18, 3), "to_client", pool=pool)
        assert list(verdicts) == ["committed"], verdicts
        verdicts = cut_everywhere(server, begin, lambda _: query("COMMIT"), range(1, 12, 3), "to_server", pool=pool)
        assert list(verdicts) == ["40000"], verdicts


def E9_an_outcome_with_durable_events_over_a_pool_cut_in_its_reply(server):
    begin = ["SET pgatomic.request = '/x'", WRITE, "NOTIFY durable, '{payload}'"]
    end = lambda _: extended("SET pgatomic.outcome = 'commit'")  # noqa: E731
    for pool in ALONE:
        verdicts = cut_everywhere(server, begin, end, range(0, 100, 9), "to_client", pool=pool)
        assert list(verdicts) == ["committed"], verdicts


def E9_a_statement_that_is_its_own_transaction_over_a_pool_cut_in_its_reply(server):
    end = lambda payload: query(f"{WRITE}; NOTIFY also, '{payload}'".format(payload=payload))  # noqa: E731
    for pool in ALONE:
        verdicts = cut_everywhere(server, [], end, [0, 50, 99, 8192, 8240], "to_client", pool=pool)
        assert list(verdicts) == ["committed"], verdicts


# --- under load ------------------------------------------------------------------------------------------------

POOL_SIZE = 3
CLIENTS, DEATHS = 8, 60
CHANNELS = ("wire", "memory", "durable", "also")
SERVERS = ("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = ''"
           " AND pid <> pg_backend_pid()")
# What a client may be told when its own server has died, and never otherwise.
OF_A_DEATH = {"57P01", "08006", "40000", "08007"}


class Load(threading.Thread):
    """A client that commits and rolls back, and goes without a word now and then, wherever it is."""

    def __init__(self, who, proxy, is_over):
        super().__init__(daemon=True)
        self.who, self.proxy, self.is_over = who, proxy, is_over
        self.random = random.Random(who)
        self.count, self.committed, self.rolled_back, self.codes, self.errors = 0, set(), set(), [], []
        self.start()

    def run(self):
        try:
            while not self.is_over():
                with self.proxy.connect() as client:
                    try:
                        self.converse(client)
                    except Closed:
                        pass
        except Exception as error:  # pylint: disable=broad-except
            self.errors.append(error)

    def converse(self, client):
        client.log_in(database="shop")
        while not self.is_over():
            self.count += 1
            payload = f"{self.who}-{self.count}"
            texts, commits = self.transaction(payload)
            leaves_at = self.random.randrange(len(texts)) if self.random.random() < 0.1 else None
            last = self.say(client, texts, leaves_at)
            if last is None:
                return
            codes = [fields(body)["C"] for kind, body in last if kind == b"E"]
            self.codes += codes
            if codes:
                return
            (self.committed if commits else self.rolled_back).add(payload)

    def say(self, client, texts, leaves_at):
        """The replies to all of it; None when the client has gone."""
        replies = []
        for number, text in enumerate(texts):
            client.send(self.random.choice([query, extended])(text) if ";" not in text else query(text))
            if number == leaves_at:
                client.reset()
                return None
            while not replies or replies[-1][0] != b"Z":
                replies.append(client.read())
                if replies[-1][0] == b"E" and fields(replies[-1][1])["V"] == "FATAL":
                    return replies
            if any(kind == b"E" for kind, _ in replies):
                return replies
            replies.append((b"", b""))
        return replies

    def transaction(self, payload):
        work = [WRITE.format(payload=payload), f"NOTIFY {self.random.choice(CHANNELS)}, '{payload}'"]
        commits = self.random.random() < 0.7
        kind = self.random.random()
        if kind < 0.4:
            return ["BEGIN", *work, "COMMIT" if commits else "ROLLBACK"], commits
        if kind < 0.8:
            return ["SET pgatomic.request = '/x'", *work, f"SET pgatomic.outcome = '{'commit' if commits else 'rollback'}'"], commits
        return ["; ".join(work)], True


def kill_one(chance, shop, relay):
    if chance.random() < 0.5:
        shop.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = ''"
                 " AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1")
    else:
        relay.break_one(chance)


def fates(proxy):
    """What became of each payload: the words of its last line."""
    found = {}
    for line in proxy.log_lines():
        if line["msg"] in ("event_held", "event_released", "event_discarded"):
            found[line["payload"]] = line["msg"]
    return found


def check_agreement(shop, proxy, load):
    wait_until(lambda: "event_held" not in fates(proxy).values(), "all events to be settled")
    work, found = set(shop.values("work")), fates(proxy)
    unknown = {line.get("payload") for line in proxy.log_where(msg="event_discarded")} if proxy.log_where(msg="commit_unknown") else set()
    released = {payload for payload, fate in found.items() if fate == "event_released"}
    assert released <= work, sorted(released - work)
    assert work - released <= unknown, sorted(work - released)
    assert set(shop.values("seen")) <= work
    for client in load:
        assert client.committed <= work, "the client was told of a commit that was none"
        assert not client.rolled_back & work, "the client was told of a rollback that was none"
        assert set(client.codes) <= OF_A_DEATH, client.codes


def E9_clients_and_servers_of_a_pool_die_at_random_and_events_agree_with_rows(server):
    for pool in pools(POOL_SIZE):
        chance, over = random.Random(1), threading.Event()
        with Shop(server, pool) as shop, Relay(server) as relay, shop.proxy_behind(relay, workers=2) as proxy:
            known(shop, proxy)
            load = [Load(who, proxy, over.is_set) for who in range(CLIENTS)]
            for death in range(DEATHS):
                goal = sum(client.count for client in load) + chance.randrange(10)
                wait_until(lambda: sum(client.count for client in load) >= goal or any(client.errors for client in load),  # pylint: disable=cell-var-from-loop
                           f"death {death}", seconds=60)
                kill_one(chance, shop, relay)
            over.set()
            for client in load:
                client.join(30)
                assert not client.errors and not client.is_alive(), client.errors
            check_agreement(shop, proxy, load)
            wait_until(lambda: shop.sql(SERVERS) <= [[str(POOL_SIZE)]], "the pool to be within its limit")  # pylint: disable=cell-var-from-loop
