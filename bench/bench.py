#!/usr/bin/env python3
"""make bench: what a select costs through pgatomic, beside PgBouncer and no proxy at all.

One interleaved run: every round visits every cell (protocol × clients) and, in it, every system, each time in another order,
so that a noisy minute hurts all of them alike. What is reported is the median over the rounds; ratios are medians of the ratios
within a round.

CPU time is that of a run without that of its logins, which a run of one transaction per client measures. Throughput and CPU time
depend on what else the machine does. Two figures hardly do: the user instructions per transaction
(cachegrind, a long run minus a short one, so that start-up and logins cancel out) and the system calls per transaction (perf's
raw_syscalls tracepoint, also a long run minus a short one, in each round).
"""

import argparse
import collections
import json
import re
import statistics
import subprocess
import sys

import harness

MODES = ("simple", "extended", "prepared")
CLIENTS = (1, 8, 64)
REFERENCE = "pgbouncer"

Sample = collections.namedtuple("Sample", "tps cpu_us memory_kb system_calls latency_us")


def pgbench(port, mode, clients, *length, log=None):
    command = [harness.newest_client_program("pgbench"), "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-n", "-S", "-M", mode,
               "-c", str(clients), "-j", "1", *map(str, length)]
    if log:
        command += ["--log", f"--log-prefix={log}"]
    done = subprocess.run([*command, "postgres"], capture_output=True, text=True)
    if done.returncode != 0 or "number of failed transactions: 0 " not in done.stdout:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return (int(re.search(r"transactions actually processed: (\d+)", done.stdout)[1]),
            float(re.search(r"tps = ([\d.]+)", done.stdout)[1]))


def latencies(prefix):
    """Sorted latencies in µs from pgbench's log of single transactions, which is then removed."""
    values = []
    for path in harness.WORK.glob(f"{prefix}.*"):
        with open(path) as lines:
            values += [int(line.split()[2]) for line in lines]
        path.unlink()
    return sorted(values)


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        self.cells = [(mode, clients) for mode in arguments.modes for clients in arguments.clients]
        self.postgres = harness.Postgres(max_connections=300)
        if "pgbench_accounts" not in "".join(self.postgres.sql("SELECT tablename FROM pg_tables")):
            subprocess.run([harness.newest_client_program("pgbench"), "-h", "127.0.0.1", "-p", str(self.postgres.port), "-U", "postgres",
                            "-q", "-i", "postgres"], check=True, capture_output=True)
        self.proxies = [make(self.postgres) for name, make in PROXIES.items() if name in arguments.systems]
        self.samples = collections.defaultdict(list)  # (cell, system) → a Sample a round
        self.instructions = {}  # (cell, system) → user instructions per transaction

    def run(self):
        for proxy in self.proxies:
            proxy.start()
        for number in range(self.arguments.rounds):
            self.run_round(number)
        for proxy in self.proxies:
            proxy.stop()
        if self.arguments.instructions:
            for cell in self.cells:
                for proxy in self.proxies:
                    self.say(f"instructions of {proxy.name}, {cell_name(cell)}")
                    self.instructions[cell, proxy.name] = self.count_instructions(proxy, cell)
        self.say("")

    def say(self, text):
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    def run_round(self, number):
        systems = [None, *self.proxies]
        for cell in self.cells:
            turn = number % len(systems)
            for proxy in systems[turn:] + systems[:turn]:
                name = proxy.name if proxy else "direct"
                self.say(f"round {number + 1} of {self.arguments.rounds}: {cell_name(cell)}, {name}")
                self.samples[cell, name].append(self.measure(proxy, cell))

    def measure(self, proxy, cell):
        port = proxy.port if proxy else self.postgres.port
        log = "latency" if cell[1] == 1 else None
        length = ("-T", self.arguments.seconds)
        if proxy is None:
            _, tps = pgbench(port, *cell, *length, log=log and harness.WORK / log)
            return Sample(tps, None, None, None, latencies(log) if log else None)
        pid = proxy.process.pid
        harness.forget_peak_memory(pid)
        start = harness.cpu_seconds(pid)
        logins_done, _ = pgbench(port, *cell, "-t", 1)
        middle = harness.cpu_seconds(pid)
        done, tps = pgbench(port, *cell, *length, log=log and harness.WORK / log)
        logins, run = middle - start, harness.cpu_seconds(pid) - middle
        memory = harness.peak_memory_kb(pid)
        calls = self.count_system_calls(proxy, cell) if self.arguments.system_calls else None
        return Sample(tps, (run - logins) / (done - logins_done) * 1e6, memory, calls, latencies(log) if log else None)

    def count_system_calls(self, proxy, cell):
        def count(each):
            calls = harness.SystemCalls(proxy.process.pid)
            done, _ = pgbench(proxy.port, *cell, "-t", each)
            return done, calls.count()

        return self.long_minus_short(cell, count)

    def count_instructions(self, proxy, cell):
        def count(each):
            done = []
            total = harness.user_instructions(proxy, lambda p: done.append(pgbench(p.port, *cell, "-t", each)[0]))
            return done[0], total

        return self.long_minus_short(cell, count)

    def long_minus_short(self, cell, count):
        """What a transaction costs, of what `count` counts in a run of so many transactions per client."""
        clients = cell[1]
        short_done, short = count(max(1, 500 // clients))
        long_done, long = count(self.arguments.counted // clients)
        return (long - short) / (long_done - short_done)

    # What is printed ------------------------------------------------------------------------------------------------------

    def median(self, cell, system, field):
        values = [getattr(sample, field) for sample in self.samples[cell, system]]
        return None if None in values or not values else statistics.median(values)

    def ratio(self, cell, system, field):
        """Against the reference, of medians of rounds that ran minutes apart from each other but seconds from the reference."""
        ours = [getattr(sample, field) for sample in self.samples[cell, system]]
        theirs = [getattr(sample, field) for sample in self.samples[cell, REFERENCE]]
        if not ours or not theirs or None in ours or None in theirs:
            return None
        return statistics.median(a / b for a, b in zip(ours, theirs))

    def report(self):
        names = [proxy.name for proxy in self.proxies]
        table = Table("protocol, clients", *names)
        if self.instructions:
            table.print("User instructions per transaction", self.cells, self.instructions_beside)
        if self.samples and self.arguments.system_calls:
            table.print("System calls per transaction", self.cells, self.sampled("system_calls", 2))
        if self.samples:
            table.print("Proxy CPU µs per transaction (user and system)", self.cells, self.sampled("cpu_us", 1))
            Table("protocol, clients", "direct", *names).print("Transactions per second", self.cells, self.sampled("tps", 0))
            table.print("Peak resident memory, kB", self.cells, self.sampled("memory_kb", 0))
            alone = [cell for cell in self.cells if cell[1] == 1]
            if alone:
                table.print("Added latency, 1 client, µs: p50 / p99", alone, self.added_latency)

    def sampled(self, field, digits):
        return lambda cell, name: beside(self.median(cell, name, field), self.ratio(cell, name, field), digits, name)

    def instructions_beside(self, cell, name):
        reference = self.instructions.get((cell, REFERENCE))
        count = self.instructions[cell, name]
        return beside(count, count / reference if reference else None, 0, name)

    def added_latency(self, cell, name):
        def percentile(system, share):
            return statistics.median(s.latency_us[int(len(s.latency_us) * share)] for s in self.samples[cell, system])

        return " / ".join(f"{percentile(name, share) - percentile('direct', share):.0f}" for share in (0.5, 0.99))

    def save(self):
        rows = [{"mode": cell[0], "clients": cell[1], "system": name,
                 "tps": self.median(cell, name, "tps"), "cpu_us": self.median(cell, name, "cpu_us"),
                 "memory_kb": self.median(cell, name, "memory_kb"), "system_calls": self.median(cell, name, "system_calls"),
                 "instructions": self.instructions.get((cell, name))}
                for cell in self.cells for name in ("direct", *(p.name for p in self.proxies))]
        (harness.WORK / "bench.json").write_text(json.dumps(rows, indent=1))


def beside(value, ratio, digits, name):
    """A figure and, behind it, its ratio to the reference."""
    if value is None:
        return "-"
    text = f"{value:,.{digits}f}"
    return text if ratio is None or name == REFERENCE else f"{text} ({ratio:.2f})"


class Table:
    """Markdown, a row a cell."""

    def __init__(self, first, *columns):
        self.first = first
        self.columns = columns

    def print(self, title, cells, value):
        print(f"\n**{title}**\n\n| {self.first} | {' | '.join(self.columns)} |")
        print("|---" + "|--:" * len(self.columns) + "|")
        for cell in cells:
            print(f"| {cell_name(cell)} | " + " | ".join(value(cell, name) for name in self.columns) + " |")


def cell_name(cell):
    return f"{cell[0]}, {cell[1]}"


PROXIES = {
    "pgbouncer": harness.PgBouncer,
    "pgatomic": lambda postgres: harness.PgAtomic(postgres, "pgatomic", "mode = autocommit"),
    "pgatomic atomic": lambda postgres: harness.PgAtomic(postgres, "pgatomic atomic", "mode = atomic  end = commit"),
}


def main():
    parser = argparse.ArgumentParser(description="pgbench select-only: direct, through pgbouncer, through pgatomic")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each pgbench run (default 2)")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--clients", nargs="+", type=int, default=CLIENTS)
    parser.add_argument("--systems", nargs="+", choices=PROXIES, default=list(PROXIES))
    parser.add_argument("--counted", type=int, default=10000, help="transactions of a long counted run (default 10000)")
    parser.add_argument("--no-instructions", dest="instructions", action="store_false")
    parser.add_argument("--no-system-calls", dest="system_calls", action="store_false")
    bench = Bench(parser.parse_args())
    bench.run()
    print("In parentheses: the ratio to pgbouncer. "
          f"Medians of {bench.arguments.rounds} interleaved rounds of {bench.arguments.seconds} s.")
    bench.report()
    bench.save()


if __name__ == "__main__":
    main()
