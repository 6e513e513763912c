#!/usr/bin/env python3
"""Runs each driver's program again and again and compares what it prints: directly on PostgreSQL, through an autocommit route of pgatomic,
through an atomic route, and through one with `on_error = rollback_statement`, which is called lenient here. And over servers that it
shares with a client that changes settings and prepares statements all the while: pool = transaction, and pool = session.

- directly: every step gives what scenarios.py says of plain PostgreSQL;
- autocommit: the output is the same, to the byte, and so is what is left in the tables;
- atomic, lenient: the same, but for the steps, rows, events and requests of which scenarios.py says otherwise;
- over shared servers: as without, and the other client finds what it left.

The programs know nothing of this. Each finds its database in PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE; the database's name
chooses the route.

    tests/drivers/run.py [--version VERSION[=DRIVER,…]]… [--direct] [--pool POOL]… [DRIVER…]

VERSION is 16, 17 or 18, or `default`: the distribution's. Output is kept under build/drivers/out/.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))

from pgatomic import Pgatomic  # noqa: E402
from postgres import ROOT, Postgres  # noqa: E402
from pooled import PooledPgatomic, meddled_with  # noqa: E402
from programs import PROGRAMS  # noqa: E402
from scenarios import ANY, SAME, SCENARIOS  # noqa: E402

ROUTES = """\
route "meddler"   { application = "*meddler*"  mode = autocommit }
route "forgetful" { application = "forgetful"  database = "*_atomic"  mode = atomic  end = rollback }
route "careless"  { application = "forgetful"  database = "*_lenient"  mode = atomic  end = rollback  on_error = rollback_statement }
route "atomic"    { database = "*_atomic"  mode = atomic  end = commit }
route "lenient"   { database = "*_lenient"  mode = atomic  end = commit  on_error = rollback_statement }
channel "tasks"   { forward = off  sink = {"log"} }
channel "crowd"   { forward = off  sink = {"log"} }
sink "log"        { type = log }
"""
ATOMIC = ("atomic", "lenient")
# By mode of the pool: routes, and how many servers. A session keeps its own, and so does a request that the application has left without
# an outcome: there must be one for each connection that a program has at once, and one more.
POOLED = {"transaction": (("autocommit", 2), ("atomic", 12)), "session": (("autocommit", 12),)}
PROGRAM_SECONDS = 150


def database_of(name, route, pool="dedicated"):
    """A database of its own for each run; routes go by its end."""
    parts = (name, route) if pool == "dedicated" else (name, pool, route)
    return "_".join(parts).replace("-", "_").replace(".", "_")


class Run:
    """One program, once, over one route: its lines and what it left behind. `proxy` is None for none; a PooledPgatomic has other clients, too."""

    def __init__(self, name, route, server, proxy, output, pool="dedicated"):
        self.name, self.route = name, route
        self.pool = pool
        self.way = route if pool == "dedicated" else f"{route} over {pool}"
        self.database = database_of(name, route, pool)
        self.program = PROGRAMS[name]
        with open(os.path.join(HERE, "schema.sql"), encoding="utf-8") as schema:
            server.create_database(self.database, schema.read())
        port = server.port if route == "direct" else proxy.port
        environment = {**os.environ, **self.program.environment, **server.environment(port, self.database)}
        self.path = os.path.join(output, f"{name}.{self.way.replace(' ', '-')}.jsonl")
        with contextlib.nullcontext([]) if pool == "dedicated" else meddled_with(environment) as self.others_missed:
            self._play(environment)
        with open(self.path, encoding="utf-8") as out:
            self.text = out.read()
        self.steps = [json.loads(line) for line in self.text.splitlines()]
        self.events, self.requests, self.unsettled, self.failed_commits, self.died = [], {}, [], [], None
        if route != "direct":
            self.unsettled = proxy.wait_until_settled(self.database)
            if not proxy.is_alive():
                self.died = proxy.errors()[-4000:] or "without a word"
                proxy.stop()
                proxy.start()
            self.events = proxy.events(self.database)
            self.requests = proxy.requests(self.database)
            self.failed_commits = proxy.log_where(database=self.database, msg="commit_failed", level="error")
        self.kept = [int(row[0]) for row in server.sql("SELECT id FROM item ORDER BY id", self.database)]

    def _play(self, environment):
        with open(self.path, "w", encoding="utf-8") as out:
            try:
                done = subprocess.run(self.program.command, env=environment, cwd=HERE, stdout=out, stderr=subprocess.PIPE,
                                      timeout=PROGRAM_SECONDS, check=False)
                self.status, self.stderr = done.returncode, done.stderr.decode(errors="replace")
            except subprocess.TimeoutExpired as late:
                self.status, self.stderr = f"none after {PROGRAM_SECONDS} s", (late.stderr or b"").decode(errors="replace")

    def kept_of(self, ids):
        return [i for i in self.kept if i // 100 in {i // 100 for i in ids}]


def key(line):
    return f"{line['scenario']}: {line['step']}"


def agrees(line, expected):
    if expected is ANY:
        return True
    if isinstance(expected, str) and expected.startswith("!"):
        return line.get("error", {}).get("sqlstate") == expected[1:]
    return "error" not in line and line.get("got") == expected


def shows(line):
    rest = {name: value for name, value in line.items() if name not in ("scenario", "step")}
    return json.dumps(rest, ensure_ascii=False)


def check_shape(run):
    """The program ran to its end and played every step of its scenarios, in order."""
    if run.status != 0:
        yield f"exit status {run.status}: {run.stderr.strip()[-2000:]}"
    want = [f"{scenario}: {step.name}" for scenario, step in run.program.steps()]
    have = [key(line) for line in run.steps]
    if want != have:
        missing, strange = [s for s in want if s not in have], [s for s in have if s not in want]
        yield f"steps missing: {missing[:5]}, not expected: {strange[:5]}" if missing or strange else "steps out of order"


def check_plain(run):
    """What plain PostgreSQL gives."""
    by_key = {key(line): line for line in run.steps}
    for scenario, step in run.program.steps():
        line = by_key.get(f"{scenario}: {step.name}")
        if line and not agrees(line, step.plain):
            yield f"{key(line)}: expected {step.plain}, got {shows(line)}"


def check_same(direct, run):
    """The same, to the byte, as directly."""
    if run.text != direct.text:
        lines, late = {key(line): line for line in direct.steps}, late_in_pool(run)
        for line in run.steps:
            if line != lines.get(key(line)) and key(line) not in late:
                yield f"{key(line)}: directly {shows(lines.get(key(line), {}))}, here {shows(line)}"


def late_in_pool(run):
    """The steps of which transaction pooling does not say when they show what they show."""
    return {f"{scenario}: {step.name}" for scenario, step in run.program.steps() if step.late and run.pool == "transaction"}


def status_agrees(line, wanted):
    shown = line.get("status")
    return shown is None or shown == wanted or (shown == "in" and wanted in "TE")


def check_atomic(direct, run):
    """As directly, except where the rules say otherwise."""
    directly = {key(line): line for line in direct.steps}
    by_key = {key(line): line for line in run.steps}
    for scenario, step in run.program.steps():
        line, other = by_key.get(f"{scenario}: {step.name}"), directly.get(f"{scenario}: {step.name}")
        if line is None or other is None:
            continue
        expected, status = step.by_route[run.route], step.status_by_route[run.route]
        if expected is not SAME:
            if not agrees(line, expected):
                yield f"{key(line)}: expected {expected}, got {shows(line)}"
        elif {**line, "status": None} != {**other, "status": None}:
            yield f"{key(line)}: directly {shows(other)}, here {shows(line)}"
        status = other.get("status") if status is SAME else status
        if not status_agrees(line, status):
            yield f"{key(line)}: transaction status {line['status']}, expected {status}"


def check_kept(run):
    """The rows that a look from outside finds."""
    for scenario in run.program.scenarios:
        rules = SCENARIOS[scenario]
        want = run.program.leaves.get(scenario, rules.kept_by_route.get(run.route, rules.kept))
        have = run.kept_of(rules.kept)
        if want != have:
            yield f"{scenario}: rows left {have}, expected {want} ({rules.why})"


def of_route(fate, route):
    return fate[route] if isinstance(fate, dict) else fate


def check_log(run):
    """What the log tells of events and of marked requests."""
    if run.died:
        yield f"pgatomic died: {run.died}"
    if run.unsettled:
        yield f"requests that never ended, by label: {run.unsettled}"
    for scenario in run.program.scenarios:
        rules = SCENARIOS[scenario]
        for channel in {event[0] for event in rules.events}:
            want = [[name, payload, of_route(fate, run.route)] for name, payload, fate in rules.events if name == channel]
            have = [event for event in run.events if event[0] == channel]
            if scenario == "crowd":  # in whatever order they came
                have.sort(key=lambda event: event[1])
            if want != have:
                yield f"{scenario}: events {have}, expected {want}"
        if run.route not in ATOMIC:
            continue
        if rules.commit_fails and not run.failed_commits:
            yield f"{scenario}: no word of the COMMIT that failed with nobody left to tell"
        for label in {request[0] for request in rules.requests}:
            want = [of_route(fate, run.route) for name, fate in rules.requests if name == label]
            have = run.requests.get(label, [])
            if want != have:
                yield f"{scenario}: request {label} ended {have}, expected {want}"


def differences(run, *checks):
    """What the checks find. What a program that broke off left behind says nothing."""
    found = list(check_shape(run))
    if not found:
        found = [text for check in checks for text in check(run)]
    return [(run.way, text) for text in found + run.others_missed]


def check_route(direct, run):
    """What one run through pgatomic shows of it."""
    def beside_direct(there):
        return check_same(direct, there) if there.route == "autocommit" else check_atomic(direct, there)

    return differences(run, check_kept, check_log, beside_direct)


def check_dedicated(direct, server, output):
    """Each client with a server of its own, all routes of one pgatomic."""
    with Pgatomic(server, ROUTES) as proxy:
        for route in ("autocommit", *ATOMIC):
            yield from check_route(direct, Run(direct.name, route, server, proxy, output))
        shutil.copy(proxy.log, os.path.join(output, f"{direct.name}.log"))


def check_pooled(direct, server, output, pool):
    """Servers that are shared with another client."""
    for route, size in POOLED[pool]:
        size = max(size, direct.program.servers)
        with PooledPgatomic(server, database_of(direct.name, route, pool), ROUTES, pool, size) as proxy:
            yield from check_route(direct, Run(direct.name, route, server, proxy, output, pool))
            shutil.copy(proxy.log, os.path.join(output, f"{direct.name}.{pool}.{route}.log"))


def check_driver(name, server, output, pools):
    """All differences of one driver, as text, and the number of its steps."""
    direct = Run(name, "direct", server, None, output)
    found = differences(direct, check_plain, check_kept)
    for pool in pools:
        found += check_pooled(direct, server, output, pool) if pool in POOLED else check_dedicated(direct, server, output)
    return found, len(direct.steps)


def runs_of(pools):
    """How often each program is run."""
    return 1 + sum(len(POOLED[pool]) if pool in POOLED else 1 + len(ATOMIC) for pool in pools)


def run_all(names, version, pools):
    """Runs these drivers against one version of PostgreSQL. Returns how many passed, and how many did not."""
    output = os.path.join(ROOT, "build", "drivers", "out", version)
    os.makedirs(output, exist_ok=True)
    failed = 0
    with Postgres(version=None if version == "default" else version) as server, ThreadPoolExecutor(max_workers=2) as threads:
        shown = server.sql("SHOW server_version")[0][0]
        results = threads.map(lambda name: check_driver(name, server, output, pools), names)
        for name, (found, steps) in zip(names, results):
            failed += len({way for way, _ in found})
            print(f"{'FAIL' if found else 'ok  '} {name}: {steps} steps on PostgreSQL {shown}", flush=True)
            for way, text in found:
                print(f"       {way}: {text}", flush=True)
    return runs_of(pools) * len(names) - failed, failed


def main():
    parser = argparse.ArgumentParser(description="drivers through pgatomic")
    parser.add_argument("--version", action="append", default=[], help="of PostgreSQL: 16, 17, 18 or default, and its drivers")
    parser.add_argument("--direct", action="store_true", help="only directly, without pgatomic")
    parser.add_argument("--pool", action="append", choices=("dedicated", *POOLED), help="only these")
    parser.add_argument("drivers", nargs="*", help=", ".join(PROGRAMS))
    arguments = parser.parse_args()
    pools = () if arguments.direct else arguments.pool or ("dedicated", *POOLED)
    passed = failed = 0
    for version in arguments.version or ["default"]:
        version, _, names = version.partition("=")
        names = names.split(",") if names else list(PROGRAMS)
        unknown = set(names + arguments.drivers) - set(PROGRAMS)
        if unknown:
            parser.error(f"no such driver: {', '.join(sorted(unknown))}")
        names = [name for name in names if not arguments.drivers or name in arguments.drivers]
        if names:
            counts = run_all(names, version, pools)
            passed, failed = passed + counts[0], failed + counts[1]
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
