"""Durable events when everything dies (E8, E9): what the table says was committed has arrived, and nothing else."""

import random
import threading

from proxy import wait_until
from receiver import Receiver
from test_outbox import Outbox
from wire import Closed

BLOCKS = """
sink "hook" {{ type = webhook  url = "{url}"  retry {{ first = 50ms  max = 500ms  attempts = 100000 }} }}
channel "quiet" {{ sink = {{"hook"}}  delivery = outbox  forward = off }}
channel "loud" {{ sink = {{"hook"}}  delivery = outbox }}
"""
DEATHS = 6


class Shopper(threading.Thread):
    """Commits and rolls back until told to stop; what it was told of each, it remembers."""

    def __init__(self, proxy, number):
        super().__init__(daemon=True)
        self.proxy, self.random, self.number = proxy, random.Random(number), number
        self.is_over, self.told, self.count = threading.Event(), {}, 0
        self.start()

    def run(self):
        while not self.is_over.is_set():
            try:
                with self.proxy.log_in(database="shop") as client:
                    while not self.is_over.is_set():
                        self.shop(client)
            except (OSError, Closed):
                self.is_over.wait(0.02)

    def statements(self, name):
        for n in range(self.random.randint(1, 3)):
            channel = self.random.choice(["quiet", "loud"])
            yield from (f"INSERT INTO bought VALUES ('{name}.{n}')", f"NOTIFY {channel}, '{name}.{n}'")
        yield from ("SAVEPOINT s", f"NOTIFY quiet, '{name}.undone'", "ROLLBACK TO s")

    def shop(self, client):
        self.count += 1
        name, end = f"{self.number}-{self.count}", self.random.choice(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"])
        statements = ["BEGIN", *self.statements(name), end]
        if self.random.random() < 0.3:
            answers = client.ask("; ".join(statements))
        else:
            answers = [answer for statement in statements for answer in client.ask(statement)]
        self.told[name] = (b"C", b"COMMIT\0") in answers


def E8_pgatomic_and_the_backends_die_at_random_and_every_committed_event_arrives(server):
    chance = random.Random(1)
    with Receiver() as receiver, Outbox(server) as outbox:
        outbox.sql("CREATE TABLE bought (what text)")
        with outbox.proxy(BLOCKS.format(url=receiver.url), lease="2s", poll="200ms") as proxy:
            shoppers = [Shopper(proxy, number) for number in range(3)]
            for death in range(DEATHS):
                goal = sum(len(shopper.told) for shopper in shoppers) + chance.randint(20, 80)
                wait_until(lambda: sum(len(shopper.told) for shopper in shoppers) >= goal, "some shopping")  # pylint: disable=cell-var-from-loop
                if death % 2 == 0:
                    proxy.process.kill()
                    proxy.process.wait()
                    proxy.start()
                else:
                    outbox.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                               " AND pid <> pg_backend_pid()")
            for shopper in shoppers:
                shopper.is_over.set()
                shopper.join()
            outbox.wait_until_empty()
            bought = {what for what, in outbox.sql("SELECT what FROM bought")}
            assert {post.body.decode() for post in receiver.taken} == bought
            committed = {what.split(".")[0] for what in bought}
            assert outbox.count("dead_letter") == 0
            for shopper in shoppers:
                assert [name for name, kept in shopper.told.items() if kept != (name in committed)] == []
