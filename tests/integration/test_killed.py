"""pgatomic is killed at random under load, and started again: every durable event that was committed is delivered at least once, and none
that was rolled back ever is (E6, E8)."""

import random
import threading
import time

from redis_server import Redis
from test_doubt import Shop, extended
from waiting import wait_until
from wire import Client, Closed, fields, query

CLIENTS, EVENTS, KILLS = 6, 3000, 8
SINK = """
sink "store" {{ type = redis  url = "{url}"  command = rpush  key = "delivered"  retry {{ first = 50ms  max = 200ms }} }}
channel "kept"   {{ sink = {{"store"}}  forward = off  delivery = outbox }}
channel "shared" {{ sink = {{"store"}}  delivery = outbox }}
"""


class Load(threading.Thread):
    """A client that commits and rolls back, comes again when it is cut off, and remembers what it was told."""

    def __init__(self, who, port, enough):
        super().__init__(daemon=True)
        self.who, self.port, self.enough = who, port, enough
        self.random = random.Random(who)
        self.committed, self.rolled_back, self.errors = set(), set(), []
        self.count = 0
        self.start()

    def run(self):
        try:
            while not self.enough():
                try:
                    self.converse()
                except (Closed, ConnectionError):
                    pass
        except Exception as error:  # pylint: disable=broad-except
            self.errors.append(error)

    def converse(self):
        with self.connect() as client:
            client.log_in(database="shop")
            while not self.enough():
                payloads = [f"{self.who}-{self.count + n}" for n in range(self.random.randint(1, 3))]
                self.count += len(payloads)
                self.transaction(client, payloads)

    def connect(self):
        def once():
            try:
                return Client(self.port)
            except ConnectionRefusedError:
                return None
        return wait_until(once, "the proxy to listen again")

    def transaction(self, client, payloads):
        channel = self.random.choice(["kept", "shared"])
        send = self.random.choice([query, extended])
        work = [text for payload in payloads
                for text in (f"INSERT INTO work VALUES ('{payload}')", f"SELECT pg_notify('{channel}', '{payload}')")]
        kind = self.random.random()
        if kind < 0.6:
            begin, end = self.random.choice([("BEGIN", "COMMIT"), ("SET pgatomic.request = '/x'", "SET pgatomic.outcome = 'commit'")])
            texts, verdict = [begin, *work, end], self.committed
        elif kind < 0.8:
            begin, end = self.random.choice([("BEGIN", "ROLLBACK"), ("SET pgatomic.request = '/x'", "SET pgatomic.outcome = 'rollback'")])
            texts, verdict = [begin, *work, end], self.rolled_back
        elif kind < 0.9:
            texts, verdict = ["; ".join(work)], self.committed
            send = query
        else:
            texts, verdict = ["; ".join([*work, "SELECT 1/0"])], self.rolled_back
            send = query
        failed = False
        for text in texts:
            client.send(send(text))
            failed = any(kind == b"E" for kind, _ in client.read_until(b"Z"))
        assert failed == ("1/0" in texts[-1]), [fields(body) for kind, body in client.said if kind == b"E"]
        verdict.update(payloads)


def E8_kill_at_random_under_load_loses_no_durable_event_and_invents_none(server):
    chance = random.Random(1)
    with Redis() as redis, Shop(server) as shop, shop.proxy_behind(more=SINK.format(url=redis.url()), lease="3s") as proxy:
        over = threading.Event()
        load = [Load(who, proxy.port, over.is_set) for who in range(CLIENTS)]
        for kill in range(KILLS):
            goal = EVENTS * (kill + 1) // KILLS
            wait_until(lambda: sum(client.count for client in load) >= goal or any(client.errors for client in load),
                       f"{goal} events", seconds=120)
            time.sleep(chance.random() / 20)  # anywhere in what they are doing
            proxy.process.kill()
            proxy.process.wait()
            proxy.start()
        over.set()
        for client in load:
            client.join(30)
            assert not client.errors and not client.is_alive(), client.errors
        wait_until(lambda: shop.count() == 0, "the outbox to be empty", seconds=90)
        work, delivered = set(shop.values("work")), set(redis.list("delivered"))
        assert len(work) > EVENTS / 2, len(work)
        assert delivered == work, (sorted(work - delivered)[:20], sorted(delivered - work)[:20])
        for client in load:
            assert client.committed <= work, "the client was told of a commit that was none"
            assert not client.rolled_back & delivered, "a rolled back event was delivered"
