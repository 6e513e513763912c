#!/usr/bin/env python3
"""make bench-atomic: what a whole request costs over a slow link, in round trips and in milliseconds.

    direct          client ────────── slow link ─ PostgreSQL     BEGIN, the statements, COMMIT
    marked          client ─ pgatomic ─ slow link ─ PostgreSQL   SET pgatomic.request, the statements, SET pgatomic.outcome
    direct, anew    as direct, each request on a new connection
    unmarked        as marked, but the new connection is the request: the statements, then Terminate

pgatomic runs beside the application, so the slow link is the one between it and PostgreSQL. The link is bench/relay.c, which counts
the round trips that its near side waits for. A request is timed from its first message to its last reply; logins are not counted. An
unmarked request's COMMIT follows Terminate: it crosses the link when nobody waits for it any more. A new backend takes longer over its
first statements than an old one, so that requests on new connections are compared with each other.

Every request inserts its statements' rows with their transaction id, so the tables also prove that it was one transaction.
"""

import argparse
import atexit
import mmap
import statistics
import struct
import subprocess
import sys
import time

import harness
from ports import free_port
from proxies import PgAtomic, wait_for_port
from wire_client import WireClient


class Relay:
    """A running bench/relay.c."""

    def __init__(self, name, upstream_port, delay_us):
        self.port = free_port()
        path = harness.WORK / f"{name}.counters"
        self.process = subprocess.Popen([harness.ROOT / "build/bench/relay", str(self.port), str(upstream_port), str(delay_us), path])
        atexit.register(self.process.kill)
        wait_for_port(self.port, self.process)
        with open(path, "rb") as file:
            self.counters = mmap.mmap(file.fileno(), 16, prot=mmap.PROT_READ)

    def round_trips(self):
        return struct.unpack_from("Q", self.counters, 0)[0]

    def wait_until_unused(self):
        """All that was sent has arrived, and all connections are closed."""
        harness.wait_until(lambda: struct.unpack_from("Q", self.counters, 8)[0] == 0, "the connections over the slow link to close")


class System:
    """One way to run a request. What is sent in `request` is timed, what comes before it is not."""

    def __init__(self, name, port, relay, first=None, last=None, anew=False, against=None):
        self.name = name
        self.port = port
        self.relay = relay
        self.first = first  # sent ahead of the statements
        self.last = last  # and behind them
        self.anew = anew  # each request has a connection of its own
        self.against = against or self
        self.connection = WireClient(port)
        self.samples = {}  # statements → [(milliseconds, round trips)]

    def prepare(self):
        """A connection of its own, after all that the last one sent has arrived: its COMMIT does not count for this request."""
        if self.anew:
            self.connection.terminate()
            self.relay.wait_until_unused()
            self.connection = WireClient(self.port)

    def request(self, statements):
        if self.first:
            self.connection.query(self.first)
        for _ in range(statements):
            self.connection.query(f"INSERT INTO bench_requests (system) VALUES ('{self.name}, {statements}')")
        if self.last:
            self.connection.query(self.last)

    def measure(self, statements):
        self.prepare()
        trips, began = self.relay.round_trips(), time.perf_counter()
        self.request(statements)
        sample = (time.perf_counter() - began) * 1e3, self.relay.round_trips() - trips
        self.samples.setdefault(statements, []).append(sample)

    def median_ms(self, statements):
        return statistics.median(ms for ms, _ in self.samples[statements])


def main():
    parser = argparse.ArgumentParser(description="requests of 1, 3 and 10 statements over a slow link")
    parser.add_argument("--delay", type=float, default=0.5, help="ms, each way (default 0.5: a round trip takes 1 ms)")
    parser.add_argument("--requests", type=int, default=300, help="of each kind (default 300)")
    parser.add_argument("--statements", type=int, nargs="+", default=(1, 3, 10))
    arguments = parser.parse_args()

    postgres = harness.Postgres(max_connections=300)
    postgres.sql("DROP TABLE IF EXISTS bench_requests; CREATE TABLE bench_requests "
                 "(system text, transaction xid8 NOT NULL DEFAULT pg_current_xact_id())")
    delay_us = int(arguments.delay * 1000)
    names = ("direct", "marked", "direct, anew", "unmarked")
    relays = {name: Relay(name, postgres.port, delay_us) for name in names}
    proxies = {name: PgAtomic(postgres, name, "mode = atomic  end = commit", upstream_port=relays[name].port).start()
               for name in ("marked", "unmarked")}
    direct = System("direct", relays["direct"].port, relays["direct"], "BEGIN", "COMMIT")
    marked = System("marked", proxies["marked"].port, relays["marked"], "SET pgatomic.request = '/bench'",
                    "SET pgatomic.outcome = 'commit'", against=direct)
    anew = System("direct, anew", relays["direct, anew"].port, relays["direct, anew"], "BEGIN", "COMMIT", anew=True)
    unmarked = System("unmarked", proxies["unmarked"].port, relays["unmarked"], anew=True, against=anew)
    systems = (direct, marked, anew, unmarked)

    for _ in range(arguments.requests):
        for statements in arguments.statements:
            for system in systems:
                system.measure(statements)
    unmarked.prepare()  # ends the last request
    report(arguments, systems)
    check_transactions(arguments, postgres, systems)


def report(arguments, systems):
    print(f"Requests over a link that holds bytes back for {arguments.delay} ms each way. {arguments.requests} requests of each kind, interleaved.\n")
    print("| statements | system | round trips | p50 ms | p99 ms | p50, ratio |\n|--:|---|--:|--:|--:|--:|")
    for statements in arguments.statements:
        for system in systems:
            times = sorted(ms for ms, _ in system.samples[statements])
            trips = {trips for _, trips in system.samples[statements]}
            ratio = f"{system.median_ms(statements) / system.against.median_ms(statements):.2f} of {system.against.name}"
            print(f"| {statements} | {system.name} | {' or '.join(map(str, sorted(trips)))} | {system.median_ms(statements):.2f} | "
                  f"{times[int(len(times) * 0.99)]:.2f} | {ratio if system.against != system else ''} |")


def check_transactions(arguments, postgres, systems):
    """Every request must have been one transaction, and kept."""
    wanted = [f"{system.name}, {n}|{n * arguments.requests}|{arguments.requests}" for system in systems for n in arguments.statements]
    found = postgres.sql("SELECT system, count(*), count(DISTINCT transaction::text) FROM bench_requests GROUP BY system")
    if sorted(found) != sorted(wanted):
        sys.exit("requests that were not one transaction each:\n" + "\n".join(found))
    print("\nEach request was one committed transaction, by the transaction ids of the rows it left.")


if __name__ == "__main__":
    main()
