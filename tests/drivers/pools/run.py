#!/usr/bin/env python3
"""The drivers' own pools under load: 100 clients, each with a connection of its pool, over 10 servers of pgatomic.

Each program does what work.py tells and prints what it found wrong. From outside: what is left is what was committed and nothing else,
to the row; PostgreSQL never saw more servers than the pool has, and no transaction is left open.

    tests/drivers/pools/run.py [POOL…]
"""

import json
import os
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(HERE, "..", "..", "lib")]

from pooled import PooledPgatomic  # noqa: E402
from postgres import Postgres  # noqa: E402
from programs import BUILD, JAVA, PYTHON  # noqa: E402
from work import CLIENTS, KEPT, TURNS  # noqa: E402

SERVERS = 10
SECONDS = 300
POOLS = {
    "psycopg_pool": (PYTHON, "psycopg_pool_program.py"),
    "sqlalchemy": (PYTHON, "sqlalchemy_program.py"),
    "asyncpg": (PYTHON, "asyncpg_program.py"),
    "pgxpool": (os.path.join(BUILD, "pgxpool"),),
    "pg-pool": ("node", "pg_program.js"),
    "hikaricp": (*JAVA[:-1], "drivers.Pool"),
}
ENVIRONMENT = {"NODE_PATH": os.path.join(BUILD, "node", "node_modules"), "CLIENTS": str(CLIENTS), "TURNS": str(TURNS)}


class Watch(threading.Thread):
    """Looks all the while how many servers there are of a database."""

    def __init__(self, server, database):
        super().__init__(daemon=True)
        self.server, self.over, self.most = server, threading.Event(), 0
        self.count = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND usename = 'app'"

    def run(self):
        while not self.over.wait(0.2):
            self.most = max(self.most, int(self.server.sql(self.count)[0][0]))

    def end(self):
        self.over.set()
        self.join()
        return self.most


def wanted_rows():
    """As work.py tells: by client and turn."""
    return [[str(client), str(turn), str(client + 1)] for client in range(CLIENTS) for turn in range(TURNS) if turn % 8 in KEPT]


def play(name, server, proxy, database):
    """What is wrong."""
    watch = Watch(server, database)
    watch.start()
    try:
        done = subprocess.run(POOLS[name], env={**os.environ, **ENVIRONMENT, **server.environment(proxy.port, database)}, cwd=HERE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as late:
        return [f"not done after {SECONDS} s: {(late.stderr or b'')[-1000:]!r}"]
    finally:
        most = watch.end()
    if done.returncode != 0:
        return [f"exit status {done.returncode}: {done.stderr[-2000:]}"]
    told = json.loads(done.stdout)
    wrong = told["wrong"]
    if told["turns"] != CLIENTS * TURNS:
        wrong.append(f"{told['turns']} turns instead of {CLIENTS * TURNS}")
    if told["heard"] is False:
        wrong.append("not exactly what was notified was heard")
    if not 1 <= most <= SERVERS:
        wrong.append(f"{most} servers at once, where {SERVERS} is the limit")
    if server.sql("SELECT client, turn, amount FROM ledger ORDER BY client, turn", database) != wanted_rows():
        wrong.append("the rows that are left are not those that were committed")
    open_ones = server.sql(f"SELECT query FROM pg_stat_activity WHERE datname = '{database}' AND state LIKE 'idle in%'")
    return wrong + [f"left open: {row[0]}" for row in open_ones]


def check_pool(name, server):
    database = f"pool_{name}"
    with open(os.path.join(HERE, "ledger.sql"), encoding="utf-8") as ledger:
        server.create_database(database, ledger.read())
    with PooledPgatomic(server, database, "", "transaction", SERVERS) as proxy:
        wrong = play(name, server, proxy, database)
        pinned = proxy.log_where(msg="the client keeps its server until it goes or says DISCARD ALL")
        return wrong + [f"a client was pinned: {line['detail']}" for line in pinned[:3]]


def main():
    names = sys.argv[1:] or list(POOLS)
    unknown = set(names) - set(POOLS)
    if unknown:
        sys.exit(f"no such pool: {', '.join(sorted(unknown))}; there are {', '.join(POOLS)}")
    failed = 0
    with Postgres() as server:
        for name in names:
            wrong = check_pool(name, server)
            failed += bool(wrong)
            print(f"{'FAIL' if wrong else 'ok  '} {name}: {CLIENTS} clients of {TURNS} turns over {SERVERS} servers", flush=True)
            for text in wrong:
                print(f"       {text}", flush=True)
    print(f"{len(names) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
