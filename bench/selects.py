"""pgbench's select-only transactions through several systems.

Every round visits every cell (a protocol, a number of clients) and, in it, every system, each time in another order, so that a noisy
minute hurts all of them alike. What is reported is the median over the rounds; ratios are medians of the ratios within a round.

CPU time is that of a run without that of its logins, which a run of one transaction per client measures. Throughput and CPU time
depend on what else the machine does. Two figures hardly do: the user instructions per transaction
(cachegrind, a long run minus a short one, so that start-up and logins cancel out) and the system calls per transaction (perf's
raw_syscalls tracepoint, also a long run minus a short one, in each round).
"""

import collections
import math
import os
import re
import statistics
import subprocess
import sys

import harness
from tables import Finding, beside, table

# What can be measured, in the order in which it is printed: title, digits, and how large the ratio to the reference may be.
Figure = collections.namedtuple("Figure", "title digits at_most")
FIGURES = {
    "instructions": Figure("User instructions per transaction", 0, 0.8),
    "system_calls": Figure("System calls per transaction", 2, 1.0),
    "cpu_us": Figure("Proxy CPU µs per transaction (user and system)", 1, None),
    "postgres_us": Figure("PostgreSQL's CPU µs per transaction", 1, None),
    "tps": Figure("Transactions per second", 0, None),
    "memory_kb": Figure("Peak resident memory, kB", 0, None),
    "latency_us": Figure("Added latency, 1 client, µs: p50 / p99", 0, None),
}
ALWAYS = ("instructions", "system_calls", "cpu_us", "tps")

Sample = collections.namedtuple("Sample", [name for name in FIGURES if name != "instructions"])


class Cell(collections.namedtuple("Cell", "mode clients options", defaults=((),))):
    def __str__(self):
        return f"{self.mode}, {self.clients}"


class Run(collections.namedtuple("Run", "rounds seconds counted instructions system_calls")):
    """How long to look, and at what."""


def pgbench(port, cell, *length, log=None, environment=None):
    command = [harness.newest_client_program("pgbench"), "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-n", "-S",
               "-M", cell.mode, "-c", str(cell.clients), "-j", "1", *cell.options, *map(str, length)]
    if log:
        command += ["--log", f"--log-prefix={log}"]
    done = subprocess.run([*command, "postgres"], capture_output=True, text=True, env={**os.environ, **(environment or {})})
    if done.returncode != 0 or "number of failed transactions: 0 " not in done.stdout or "tps = " not in done.stdout:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return (int(re.search(r"transactions actually processed: (\d+)", done.stdout)[1]),
            float(re.search(r"tps = (\S+)", done.stdout)[1]))


def latencies(prefix):
    """Sorted latencies in µs from pgbench's log of single transactions, which is then removed."""
    values = []
    for path in harness.WORK.glob(f"{prefix}.*"):
        with open(path) as lines:
            values += [int(line.split()[2]) for line in lines]
        path.unlink()
    return sorted(values)


class Selects:
    """One comparison: `proxies` under `cells`, held against the proxy or system of the name `reference`.

    `known` has instructions per transaction that the reference is known to need, by mode, where it cannot be measured. `direct` is how many
    clients may go to PostgreSQL itself. `environment` is pgbench's, towards the proxies."""

    def __init__(self, title, postgres, proxies, cells, *, reference="pgbouncer", subject="pgatomic", figures=ALWAYS, known=None,
                 direct=100, environment=None, at_most=None):
        self.title = title
        self.postgres = postgres
        self.proxies = proxies
        self.cells = cells
        self.reference = reference
        self.subject = subject
        self.figures = figures
        self.known = known or {}
        self.direct = direct
        self.environment = environment
        self.at_most = at_most or {}
        self.samples = collections.defaultdict(list)  # (cell, system) → a Sample a round
        self.instructions = {}  # (cell, system) → user instructions per transaction

    def run(self, run, say):
        for proxy in self.proxies:
            proxy.start()
        for number in range(run.rounds):
            for cell in self.cells:
                systems = [proxy for proxy in (None, *self.proxies) if self.can(proxy, cell)]
                turn = number % len(systems)
                for proxy in systems[turn:] + systems[:turn]:
                    say(f"{self.title}, round {number + 1} of {run.rounds}: {cell}, {name_of(proxy)}")
                    self.samples[cell, name_of(proxy)].append(self.measure(proxy, cell, run))
        for proxy in self.proxies:
            proxy.stop()
        if run.instructions and "instructions" in self.figures:
            self.count_all_instructions(run, say)

    def can(self, proxy, cell):
        return cell.clients <= self.direct if proxy is None else cell.mode != "prepared" or proxy.prepares

    def measure(self, proxy, cell, run):
        log = harness.WORK / "latency" if "latency_us" in self.figures and cell.clients == 1 else None
        pid = proxy.process.pid if proxy else None
        if proxy:
            harness.forget_peak_memory(pid)
        start, began = self.cpu_seconds(pid), harness.now()
        logins_done, _ = self.pgbench(proxy, cell, "-t", 1)
        middle = self.cpu_seconds(pid)
        seconds = math.ceil(run.seconds + 2 * (harness.now() - began))  # pgbench's clock runs while its clients log in
        done, tps = self.pgbench(proxy, cell, "-T", seconds, log=log)
        end = self.cpu_seconds(pid)
        own, postgres = (((c - b) - (b - a)) / (done - logins_done) * 1e6 for a, b, c in zip(start, middle, end))
        calls = self.count_system_calls(proxy, cell, run) if proxy and run.system_calls else None
        memory = harness.peak_memory_kb(pid) if proxy else None
        return Sample(calls, own if proxy else None, postgres, tps, memory, latencies(log.name) if log else None)

    def cpu_seconds(self, pid):
        return (harness.cpu_seconds(pid) if pid else 0.0, self.postgres.cpu_seconds())

    def pgbench(self, proxy, cell, *length, log=None):
        if proxy is None:
            return pgbench(self.postgres.port, cell, *length, log=log)
        return pgbench(proxy.port, cell, *length, log=log, environment=self.environment)

    def count_system_calls(self, proxy, cell, run):
        def count(each):
            calls = harness.SystemCalls(proxy.process.pid)
            done, _ = self.pgbench(proxy, cell, "-t", each)
            return done, calls.count()

        return self.long_minus_short(cell, run, count)

    def count_all_instructions(self, run, say):
        for cell in self.cells:
            for proxy in self.proxies:
                if proxy.workers == 1 and self.can(proxy, cell):
                    say(f"{self.title}, instructions: {cell}, {proxy.name}")
                    self.instructions[cell, proxy.name] = self.count_instructions(proxy, cell, run)

    def count_instructions(self, proxy, cell, run):
        def count(each):
            done = []
            total = harness.user_instructions(proxy, lambda p: done.append(self.pgbench(p, cell, "-t", each)[0]))
            return done[0], total

        return self.long_minus_short(cell, run, count)

    def long_minus_short(self, cell, run, count):
        """What a transaction costs, of what `count` counts in a run of so many transactions per client. Of those that log in first, which may
        take a thousand times as long, a tenth is enough."""
        counted = run.counted // 10 if "-C" in cell.options else run.counted
        short_done, short = count(max(1, counted // 20 // cell.clients))
        long_done, long = count(max(4, counted // cell.clients))
        return (long - short) / (long_done - short_done)

    # What is printed ------------------------------------------------------------------------------------------------------

    def median(self, cell, system, field):
        if field == "instructions":
            return self.instructions.get((cell, system))
        values = [getattr(sample, field) for sample in self.samples[cell, system]]
        return None if None in values or not values else statistics.median(values)

    def ratio(self, cell, system, field):
        """To the reference, of rounds that ran minutes apart from each other but seconds from the reference."""
        if field == "instructions":
            ours, theirs = self.instructions.get((cell, system)), self.known_or_counted(cell)
            return ours / theirs if ours and theirs else None
        ours = [getattr(sample, field) for sample in self.samples[cell, system]]
        theirs = [getattr(sample, field) for sample in self.samples[cell, self.reference]]
        if not ours or not theirs or None in ours or None in theirs:
            return None
        return statistics.median(a / b for a, b in zip(ours, theirs))

    def known_or_counted(self, cell):
        return self.instructions.get((cell, self.reference)) or self.known.get(cell.mode)

    def report(self):
        print(f"\n### {self.title}")
        names = ["direct", *(proxy.name for proxy in self.proxies)]
        for field in self.figures:
            columns = [name for name in names if any(self.text(cell, name, field) != "-" for cell in self.cells)]
            if columns:
                rows = [(cell, [self.text(cell, name, field) for name in columns]) for cell in self.cells]
                table(FIGURES[field].title, "protocol, clients", columns, [row for row in rows if set(row[1]) != {"-"}])

    def text(self, cell, name, field):
        if field == "latency_us":
            return self.added_latency(cell, name)
        ratio = None if name == self.reference else self.ratio(cell, name, field)
        return beside(self.median(cell, name, field), ratio, FIGURES[field].digits)

    def added_latency(self, cell, name):
        def percentile(system, share):
            return statistics.median(s.latency_us[int(len(s.latency_us) * share)] for s in self.samples[cell, system])

        if cell.clients != 1 or name == "direct":
            return "-"
        return " / ".join(f"{percentile(name, share) - percentile('direct', share):.0f}" for share in (0.5, 0.99))

    def findings(self):
        for field in self.figures:
            at_most = self.at_most.get(field, FIGURES[field].at_most)
            for cell in self.cells if at_most else ():
                ours, ratio = self.median(cell, self.subject, field), self.ratio(cell, self.subject, field)
                if ours and ratio:
                    against = self.reference if self.median(cell, self.reference, field) else f"the newest {self.reference}, known"
                    yield Finding(f"{self.title}: {FIGURES[field].title.lower()}, {cell}", ours, ours / ratio, against, at_most)

    def rows(self):
        """All medians, for programs."""
        for cell in self.cells:
            for name in ("direct", *(proxy.name for proxy in self.proxies)):
                figures = {field: self.median(cell, name, field) for field in self.figures if field != "latency_us"}
                yield {"part": self.title, "mode": cell.mode, "clients": cell.clients, "system": name, **figures}


def name_of(proxy):
    return proxy.name if proxy else "direct"
