"""CPU time per gigabyte of what is large: COPY both ways, and results of many rows or of wide ones.

One client, which reads into a large buffer and looks at nothing, so that the proxy is what is measured. PostgreSQL makes the rows up and
throws those away that it gets. System calls are counted in a run of their own, for who counts them makes each of them dearer; and ahead of
what is measured goes a little of the same, so that nothing is done for the first time in it."""

import collections
import statistics

import harness
from tables import Finding, beside, table
from wire_client import WireClient, message

GB = 1e9
WARM, COUNTED = 0.01 * GB, 0.05 * GB  # the most that is sent to warm up, and while system calls are counted

Transfer = collections.namedtuple("Transfer", "name run")  # run(client, bytes) → bytes that crossed the proxy
Sample = collections.namedtuple("Sample", "cpu mb_per_s calls")


def rows_of(width, size):
    """A select of so many bytes in rows so wide. The table keeps PostgreSQL from having to store what it makes up."""
    return f"SELECT repeat('x', {width}) FROM bench_thousand, generate_series(1, {max(1, int(size) // width // 1000)})"


def select(width):
    return Transfer(f"SELECT, rows of {width:,} bytes", lambda client, size: client.query_in_bulk(rows_of(width, size)))


def copy_out(width):
    return Transfer(f"COPY out, rows of {width:,} bytes",
                    lambda client, size: client.query_in_bulk(f"COPY ({rows_of(width, size)}) TO STDOUT"))


def copy_in(width, per_message):
    """`per_message` rows in one CopyData, as drivers that collect them do it."""
    def run(client, size):
        data = message(b"d", (b"x" * (width - 1) + b"\n") * per_message)
        block = data * max(1, (1 << 16) // len(data))
        times = max(1, int(size) // len(block))
        client.copy_in("COPY bench_sink FROM STDIN WHERE false", block, times)
        return len(block) * times

    return Transfer(f"COPY in, messages of {width * per_message:,} bytes", run)


TRANSFERS = (select(100), select(10_000), copy_out(100), copy_in(100, 1), copy_in(100, 80))


def count_calls(proxy, client, transfer, size):
    """The system calls of the proxy, per GB."""
    calls = harness.SystemCalls(proxy.process.pid)
    crossed = transfer.run(client, size)
    return calls.count() / crossed * GB


class Bulk:
    def __init__(self, title, postgres, proxies, gigabytes, reference="haproxy", subject="pgatomic"):
        self.title = title
        self.proxies = proxies
        self.gigabytes = gigabytes
        self.reference = reference
        self.subject = subject
        self.samples = collections.defaultdict(list)  # (transfer's name, system) → a Sample a round
        postgres.sql("DROP TABLE IF EXISTS bench_thousand, bench_sink; CREATE TABLE bench_sink (t text); "
                     "CREATE TABLE bench_thousand AS SELECT generate_series(1, 1000); ANALYZE bench_thousand")

    def run(self, run, say):
        for proxy in self.proxies:
            proxy.start()
        for number in range(run.rounds):
            for transfer in TRANSFERS:
                turn = number % len(self.proxies)
                for proxy in self.proxies[turn:] + self.proxies[:turn]:
                    say(f"{self.title}, round {number + 1} of {run.rounds}: {transfer.name}, {proxy.name}")
                    self.samples[transfer.name, proxy.name].append(self.measure(proxy, transfer, run))
        for proxy in self.proxies:
            proxy.stop()

    def measure(self, proxy, transfer, run):
        client = WireClient(proxy.port)
        size = self.gigabytes * GB
        transfer.run(client, min(size, WARM))
        start, began = harness.cpu_seconds(proxy.process.pid), harness.now()
        crossed = transfer.run(client, size)
        cpu, took = harness.cpu_seconds(proxy.process.pid) - start, harness.now() - began
        calls = count_calls(proxy, client, transfer, min(size, COUNTED)) if run.system_calls else None
        client.terminate()
        return Sample(cpu / crossed * GB, crossed / took / 1e6, calls)

    def median(self, transfer, name, field):
        values = [getattr(sample, field) for sample in self.samples[transfer.name, name]]
        return None if None in values else statistics.median(values)

    def ratio(self, transfer, name, field):
        pairs = zip(self.samples[transfer.name, name], self.samples[transfer.name, self.reference])
        values = [(getattr(ours, field), getattr(theirs, field)) for ours, theirs in pairs]
        known = [ours / theirs for ours, theirs in values if ours is not None and theirs]
        return statistics.median(known) if known else None

    def report(self):
        print(f"\n### {self.title}")
        names = [proxy.name for proxy in self.proxies]

        def text(transfer, name, field, digits):
            ratio = None if name == self.reference else self.ratio(transfer, name, field)
            return beside(self.median(transfer, name, field), ratio, digits)

        for field, title, digits in (("cpu", "CPU seconds per GB (user and system)", 3), ("calls", "System calls per GB", 0),
                                     ("mb_per_s", "MB per second", 0)):
            table(title, "", names, [(t.name, [text(t, name, field, digits) for name in names]) for t in TRANSFERS])

    def findings(self):
        for transfer in TRANSFERS:
            ours, ratio = self.median(transfer, self.subject, "cpu"), self.ratio(transfer, self.subject, "cpu")
            if not ratio:
                continue  # nothing was measured on one of the sides
            yield Finding(f"{self.title}: CPU seconds per GB, {transfer.name}", ours, ours / ratio, self.reference, 1.0)

    def rows(self):
        for transfer in TRANSFERS:
            for proxy in self.proxies:
                yield {"part": self.title, "transfer": transfer.name, "system": proxy.name,
                       "cpu_s_per_gb": self.median(transfer, proxy.name, "cpu"),
                       "mb_per_s": self.median(transfer, proxy.name, "mb_per_s")}
