#!/usr/bin/env python3
"""make bench-notify: what NOTIFY costs a transaction, and what it costs through pgatomic.

    BEGIN; INSERT …; NOTIFY …; COMMIT      beside the same without NOTIFY, each on a connection of its own

PostgreSQL takes one lock for the whole cluster when a transaction commits that has notified, and holds it until the commit is on
disk: such commits queue behind each other. With `forward = off` and a sink of type postgres they do not notify; pgatomic does, after
them, many at once on one connection.

One interleaved run: every round visits every cell, and in it every system, each time in another order. What is reported is the median
over the rounds; the ratio is the median of the ratios within a round. A listener counts what arrives: a run in which a single
notification is missing ends the benchmark.
"""

import argparse
import collections
import re
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time

import harness
from proxies import PgAtomic

CHANNEL = "bench"
PAYLOAD_BYTES = 10
INSERT = "INSERT INTO bench_notify (n) VALUES (:n);\n"
NOTIFY = f"NOTIFY {CHANNEL}, ':n';\n"
SCRIPTS = {
    "plain": f"\\set n random(1000000000, 1999999999)\nBEGIN;\n{INSERT}COMMIT;\n",
    "notify": f"\\set n random(1000000000, 1999999999)\nBEGIN;\n{INSERT}{NOTIFY}COMMIT;\n",
}
BLOCKS = """
channel "{channel}" {{ sink = {{"listeners"}}  forward = off }}
sink "listeners" {{ type = postgres  upstream = "host=127.0.0.1 port={port} user=postgres dbname=postgres" }}
"""

Sample = collections.namedtuple("Sample", "tps late_ms")


class Listener:
    """Counts notifications, all of which are equally long, by their bytes: looking at each would cost more than sending it."""

    SIZE = 1 + 4 + 4 + len(CHANNEL) + 1 + PAYLOAD_BYTES + 1

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        body = struct.pack("!i", 196608) + b"user\0postgres\0database\0postgres\0\0"
        self.socket.sendall(struct.pack("!i", len(body) + 4) + body)
        self.read_until(b"Z\0\0\0\5I")
        text = f"LISTEN {CHANNEL}".encode() + b"\0"
        self.socket.sendall(b"Q" + struct.pack("!i", len(text) + 4) + text)
        self.read_until(b"LISTEN\0Z\0\0\0\5I")
        self.bytes, self.last = 0, time.monotonic()
        threading.Thread(target=self.count, daemon=True).start()

    def read_until(self, end):
        seen = b""
        while not seen.endswith(end):
            seen += self.socket.recv(65536)

    def count(self):
        while data := self.socket.recv(1 << 20):
            self.bytes += len(data)
            self.last = time.monotonic()

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)

    def wait_for(self, count):
        """Until so many more have come, since the last time; no more may come."""
        expected = count * self.SIZE
        try:
            harness.wait_until(lambda: self.bytes >= expected, f"{count} notifications")
        except AssertionError:
            sys.exit(f"{self.bytes // self.SIZE} of {count} notifications were delivered")
        if self.bytes != expected:
            sys.exit(f"{self.bytes / self.SIZE} notifications were delivered for {count} transactions")
        self.bytes = 0


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        self.samples = collections.defaultdict(list)  # (fsync, clients), system, script → a Sample a round
        self.scripts = {}
        harness.WORK.mkdir(parents=True, exist_ok=True)
        for name, text in SCRIPTS.items():
            self.scripts[name] = harness.WORK / f"notify-{name}.sql"
            self.scripts[name].write_text(text)

    def run(self):
        for fsync in self.arguments.fsync:
            self.postgres = harness.Postgres(max_connections=300, fsync=fsync)
            self.postgres.sql("DROP TABLE IF EXISTS bench_notify; CREATE TABLE bench_notify (n int)")
            proxy = PgAtomic(self.postgres, "pgatomic-notify", options=BLOCKS.format(channel=CHANNEL, port=self.postgres.port)).start()
            self.listener = Listener(self.postgres.port)
            for number in range(self.arguments.rounds):
                self.run_round(fsync, number, {"direct": self.postgres.port, "pgatomic": proxy.port})
            self.listener.close()
            proxy.stop()
            self.postgres.stop()

    def run_round(self, fsync, number, ports):
        turns = [(system, script) for system in ports for script in self.scripts]
        for clients in self.arguments.clients:
            first = number % len(turns)
            for system, script in turns[first:] + turns[:first]:
                if sys.stderr.isatty():
                    print(f"\r\033[Kfsync {fsync}, round {number + 1}, {clients} clients, {system}, {script}", end="", file=sys.stderr, flush=True)
                sample = self.measure(ports[system], script, clients)
                self.samples[(fsync, clients), system, script].append(sample)

    def measure(self, port, script, clients):
        """A vacuum of what came before must not fall into the run."""
        self.postgres.sql("TRUNCATE bench_notify")
        self.postgres.sql("CHECKPOINT")
        command = [harness.newest_client_program("pgbench"), "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-n", "-M", "simple",
                   "-f", str(self.scripts[script]), "-c", str(clients), "-j", "1", "-T", str(self.arguments.seconds), "postgres"]
        done = subprocess.run(command, capture_output=True, text=True)
        ended = time.monotonic()
        if done.returncode != 0 or "number of failed transactions: 0 " not in done.stdout:
            sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        count = int(re.search(r"transactions actually processed: (\d+)", done.stdout)[1])
        tps = float(re.search(r"tps = ([\d.]+)", done.stdout)[1])
        if script == "notify":
            self.listener.wait_for(count)
        return Sample(tps, max(0, self.listener.last - ended) * 1e3)

    # What is printed ------------------------------------------------------------------------------------------------------

    def median(self, cell, system, script, field="tps"):
        return statistics.median(getattr(sample, field) for sample in self.samples[cell, system, script])

    def ratio(self, cell, system, script, to_system, to_script):
        ours, theirs = self.samples[cell, system, script], self.samples[cell, to_system, to_script]
        return statistics.median(a.tps / b.tps for a, b in zip(ours, theirs))

    def report(self):
        print("\n| fsync, clients | direct | direct, NOTIFY | pgatomic | pgatomic, NOTIFY | of its own without NOTIFY | of direct NOTIFY |"
              " last one later by |\n|---|--:|--:|--:|--:|--:|--:|--:|")
        for fsync in self.arguments.fsync:
            for clients in self.arguments.clients:
                cell = fsync, clients
                figures = [f"{self.median(cell, system, script):,.0f}" for system in ("direct", "pgatomic") for script in SCRIPTS]
                own = self.ratio(cell, "pgatomic", "notify", "pgatomic", "plain")
                direct = self.ratio(cell, "pgatomic", "notify", "direct", "notify")
                late = self.median(cell, "pgatomic", "notify", "late_ms")
                print(f"| {fsync}, {clients} | {' | '.join(figures)} | {own:.2f} | {direct:.2f} | {late:.0f} ms |")


def main():
    parser = argparse.ArgumentParser(description="commits with NOTIFY: direct, and through pgatomic with forward = off")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each pgbench run (default 3)")
    parser.add_argument("--clients", nargs="+", type=int, default=(1, 8, 32))
    parser.add_argument("--fsync", nargs="+", choices=("on", "off"), default=("on", "off"))
    bench = Bench(parser.parse_args())
    bench.run()
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    print(f"Transactions per second, medians of {bench.arguments.rounds} interleaved rounds of {bench.arguments.seconds} s. "
          "Every notification was delivered.")
    bench.report()


if __name__ == "__main__":
    main()
