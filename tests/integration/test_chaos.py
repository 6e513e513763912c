"""Everything at once: clients that come, ask, flood, cancel and vanish in the middle, on several workers, while the config is reloaded."""

import random
import struct
import threading

from proxy import Proxy, wait_until
from wire import SSL_REQUEST, SYNC, TERMINATE, Closed, cancel_request, message, query, startup

CLIENTS, ROUNDS = 12, 40
ROUTES = 'route "marked" { match = "/m*"  mode = atomic  end = commit }\nchannel "off" { forward = off  sink = {"log"} }\n' \
         'sink "log" { type = log }\n'
SCRIPTS = (
    query("SELECT generate_series(1, 3000)"),
    query("SELECT repeat('x', 300000)"),
    query("BEGIN") + query("NOTIFY off, 'a'") + query("SELECT 1/0") + query("ROLLBACK"),
    query("SET pgatomic.request = '/m'") + query("NOTIFY off, 'b'") + query("SET pgatomic.outcome = 'commit'"),
    query("SELECT pg_sleep(0.02)") * 3,
    message(b"P", b"\0SELECT $1::text\0\0\0") + message(b"B", b"\0\0" + struct.pack("!hhi", 0, 1, 100_000) + b"y" * 100_000 + b"\0\0") +
    message(b"E", b"\0\0\0\0\0") + SYNC,
    query("COPY (SELECT repeat('z', 1000) FROM generate_series(1, 500)) TO STDOUT"),
    query("SHOW pgatomic.request") * 50,
)


class Chaos(threading.Thread):
    """One client after the other; each of its rounds is a conversation that may end anywhere."""

    def __init__(self, proxy, seed):
        super().__init__(daemon=True)
        self.proxy, self.random, self.error = proxy, random.Random(seed), None
        self.start()

    def run(self):
        try:
            for _ in range(ROUNDS):
                try:
                    self.converse()
                except (Closed, ConnectionError):
                    pass
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def converse(self):
        client = self.proxy.connect()
        if self.random.random() < 0.1:
            client.send(self.random.choice([SSL_REQUEST, startup(user="postgres"), b"\0\0", b"GET /"])[: self.random.randrange(1, 20)])
        else:
            client.log_in()
            while self.random.random() < 0.7 and self.asks(client, self.random.choice(SCRIPTS)):
                pass
        self.leave(client)

    def asks(self, client, script):
        """False: the client had better leave, for it has not read its replies, or has not said all it began to say."""
        cut = self.random.random() < 0.1
        client.send(script[: self.random.randrange(len(script))] if cut else script)
        if self.random.random() < 0.2:
            with self.proxy.connect() as canceller:
                canceller.send(cancel_request(client.process_id, client.secret))
        if cut or self.random.random() < 0.2:
            return False
        for _ in range(script.count(b"Q\0") + script.count(SYNC)):
            client.read_until(b"Z")
        return True

    def leave(self, client):
        how = self.random.randrange(4)
        if how == 0:
            client.send(TERMINATE)
        elif how == 1:
            client.send(bytes(self.random.getrandbits(8) for _ in range(30)))
        if how == 2:
            client.reset()
        else:
            client.close()


def shell_chaos_leaves_nothing_behind_and_harms_no_bystander(server):
    with Proxy(server, ROUTES, workers=3) as proxy:
        before = proxy.descriptors()
        with proxy.log_in() as bystander:
            threads = [Chaos(proxy, seed) for seed in range(CLIENTS)]
            asked = 0
            while any(thread.is_alive() for thread in threads):
                asked += 1
                assert bystander.value(f"SELECT {asked}") == str(asked)
                if asked % 50 == 0:
                    proxy.reload(ROUTES)
            errors = [thread.error for thread in threads if thread.error]
            assert not errors, errors
        proxy.wait_until_idle(before)
        wait_until(lambda: int(server.sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")[0][0]) == 1,
                   "the server to be alone")
        held, ended = proxy.log_where(msg="event_held"), proxy.log_where(msg="event_released") + proxy.log_where(msg="event_discarded")
        assert sorted(line["id"] for line in held) == sorted(line["id"] for line in ended)
