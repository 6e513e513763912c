"""What a client costs that is connected and does nothing, after one transaction.

Resident memory of the proxy with all of them, minus that with none but with its servers open, which a run of pgbench leaves behind."""

import statistics
import sys

import harness
from selects import Cell, pgbench
from tables import Finding, table
from wire_client import WireClient


class Idle:
    def __init__(self, title, proxies, clients, reference="pgbouncer", subject="pgatomic"):
        self.title = title
        self.proxies = proxies
        self.clients = clients
        self.reference = reference
        self.subject = subject
        self.bytes = {proxy.name: [] for proxy in proxies}  # → per client, of each round

    def run(self, run, say):
        harness.raise_descriptor_limit(2 * self.clients + 1000)
        for number in range(run.rounds):
            for proxy in self.proxies:
                say(f"{self.title}, round {number + 1} of {run.rounds}: {proxy.name}")
                self.bytes[proxy.name].append(self.measure(proxy))

    def measure(self, proxy):
        """Of a process that has just been started: memory that was free but resident would be taken for nothing."""
        proxy.start()
        pgbench(proxy.port, Cell("simple", 20), "-t", 20)
        before = harness.memory_kb(proxy.process.pid)
        clients = [WireClient(proxy.port) for _ in range(self.clients)]
        for client in clients:
            client.query("SELECT 1")
        after = harness.memory_kb(proxy.process.pid)
        if proxy.process.poll() is not None:
            sys.exit(f"{proxy.name} has ended")
        for client in clients:
            client.terminate()
        proxy.stop()
        return (after - before) * 1024 / self.clients

    def report(self):
        print(f"\n### {self.title}")
        names = list(self.bytes)
        table("Resident memory, bytes per client", "clients", names,
              [(f"{self.clients:,}", [f"{statistics.median(self.bytes[name]):,.0f}" for name in names])])

    def findings(self):
        ours, theirs = (statistics.median(self.bytes[name]) for name in (self.subject, self.reference))
        yield Finding(f"{self.title}: bytes of memory per client of {self.clients:,}", ours, theirs, self.reference, 1.0)

    def rows(self):
        for name, values in self.bytes.items():
            yield {"part": self.title, "clients": self.clients, "system": name, "bytes_per_client": statistics.median(values)}
