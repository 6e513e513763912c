#!/usr/bin/env python3
"""make bench: what pgatomic costs, beside PgBouncer, HAProxy, and no proxy at all.

Every part is one comparison and can be run alone:

    session        selects, a server for each client, beside PgBouncer in session mode
    transaction    selects of many clients over 20 servers, beside PgBouncer in transaction mode
    unnamed        prepare_unnamed: what it spares PostgreSQL when clients never prepare
    tls            selects of clients that speak TLS
    idle           memory of 5,000 clients that do nothing
    bulk           COPY and large results, beside HAProxy in TCP mode
    connect        a connection for each transaction, with and without a password

selects.py, idle.py and bulk.py say how each is measured. Systems take turns, figures are medians over the rounds. The last table holds
pgatomic's figures against those beside it, and against what is wanted.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import harness
from bulk import Bulk
from certificates import Certificates
from idle import Idle
from proxies import HaProxy, PgAtomic, PgBouncer
from selects import ALWAYS, Cell, Run, Selects
from tables import findings_table

MODES = ("simple", "extended", "prepared")
SERVERS = 20
POOL = f"pool = transaction  pool_size = {SERVERS}"
TRUST = "auth { method = trust }"
PASSWORD = "not a secret"

# User instructions per transaction that the newest PgBouncer needs in transaction mode, where Debian's is too old to be asked.
KNOWN = {"prepared": 6200}


def cells(modes, clients, *options):
    return [Cell(mode, count, options) for mode in modes for count in clients]


def pooled(postgres, name="pgatomic", *, options=TRUST, database="", **others):
    return PgAtomic(postgres, name, database=f"{POOL} {database}", options=options, **others)


def session(postgres, quick):
    proxies = (PgBouncer(postgres), PgAtomic(postgres), PgAtomic(postgres, "pgatomic atomic", "mode = atomic  end = commit"))
    yield Selects("Session", postgres, proxies, cells(MODES, (8,) if quick else (1, 8, 64)),
                  figures=(*ALWAYS, "memory_kb", "latency_us"))


def transaction(postgres, quick):
    proxies = (PgBouncer(postgres, "transaction", SERVERS), pooled(postgres), pooled(postgres, "pgatomic, 2 workers", workers=2))
    yield Selects("Transaction", postgres, proxies, cells(MODES, (64,) if quick else (64, 500)), known=KNOWN,
                  figures=(*ALWAYS, "memory_kb"))


def unnamed(postgres, quick):
    proxies = (PgBouncer(postgres, "transaction", SERVERS), pooled(postgres, "pgatomic, unnamed"),
               pooled(postgres, database="prepare_unnamed = on"))
    yield Selects("Statements without a name", postgres, proxies, cells(("extended",), (8,) if quick else (8, 64)), reference="direct",
                  figures=("postgres_us", *ALWAYS), at_most={"postgres_us": 0.6})


def connect(postgres, quick):
    once = cells(("simple",), (8,), "-C")
    yield Selects("A connection for each transaction, trust", postgres,
                  (PgBouncer(postgres, "transaction", SERVERS), pooled(postgres)), once, at_most={"instructions": 1.0})
    users = harness.write_file("users.conf", f'user "postgres" {{ password = "{PASSWORD}" }}\n')
    listed = harness.write_file("users.txt", f'"postgres" "{PASSWORD}"\n')
    yield Selects("A connection for each transaction, SCRAM", postgres,
                  (PgBouncer(postgres, "transaction", SERVERS, f"auth_type = scram-sha-256\nauth_file = {listed}"),
                   pooled(postgres, options=f'auth {{ method = scram-sha-256  users = "{users}" }}')),
                  once, environment={"PGPASSWORD": PASSWORD}, at_most={"instructions": 1.0})


def tls(postgres, quick):
    made = Certificates(tempfile.mkdtemp(dir=harness.WORK))
    os.chmod(made.directory, 0o755)  # pgbouncer is somebody else
    theirs = f"auth_type = any\nclient_tls_sslmode = require\nclient_tls_key_file = {made.key}\nclient_tls_cert_file = {made.certificate}"
    ours = f'{TRUST}\nclient_tls {{ mode = require  certificate = "{made.certificate}"  key = "{made.key}" }}'
    yield Selects("TLS", postgres, (PgBouncer(postgres, "transaction", SERVERS, theirs), pooled(postgres, options=ours)),
                  cells(("simple",), (8,) if quick else (8, 64)), environment={"PGSSLMODE": "require"}, at_most={"instructions": 1.0})


def idle(postgres, quick):
    yield Idle("Idle", (PgBouncer(postgres, "transaction", SERVERS), pooled(postgres)), 5000)


def bulk(postgres, quick):
    proxies = (HaProxy(postgres), PgBouncer(postgres, "transaction", SERVERS), PgAtomic(postgres, "pgatomic, dedicated"), pooled(postgres))
    yield Bulk("Bulk", postgres, proxies, 0.2 if quick else 1)


PARTS = {part.__name__: part for part in (session, transaction, unnamed, tls, idle, bulk, connect)}


def say(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def start_postgres():
    postgres = harness.Postgres(max_connections=300)
    if "pgbench_accounts" not in "".join(postgres.sql("SELECT tablename FROM pg_tables")):
        subprocess.run([harness.newest_client_program("pgbench"), "-h", "127.0.0.1", "-p", str(postgres.port), "-U", "postgres",
                        "-q", "-i", "postgres"], check=True, capture_output=True)
    return postgres


def read_arguments():
    parser = argparse.ArgumentParser(description="pgatomic beside PgBouncer, HAProxy and no proxy; bench/bench.py says more")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="a first impression: one short round, fewer numbers of clients")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of each pgbench run (default 2)")
    parser.add_argument("--counted", type=int, help="transactions of a run whose instructions or system calls are counted (default 10000)")
    parser.add_argument("--no-instructions", dest="instructions", action="store_false")
    parser.add_argument("--no-system-calls", dest="system_calls", action="store_false")
    arguments = parser.parse_args()
    for name in arguments.parts:
        if name not in PARTS:
            parser.error(f"no such part: {name}")
    return arguments


def main():
    arguments = read_arguments()
    usual = Run(1, 1, 2000, True, True) if arguments.quick else Run(5, 2, 10000, True, True)
    run = Run(arguments.rounds or usual.rounds, arguments.seconds or usual.seconds, arguments.counted or usual.counted,
              arguments.instructions, arguments.system_calls)
    harness.raise_descriptor_limit(4000)
    postgres = start_postgres()
    comparisons = [c for name in arguments.parts or PARTS for c in PARTS[name](postgres, arguments.quick)]
    print(f"In parentheses: the ratio to PgBouncer, or to what else stands first. Medians of {run.rounds} interleaved rounds.")
    for comparison in comparisons:
        comparison.run(run, say)
        say("")
        comparison.report()
    findings_table([finding for comparison in comparisons for finding in comparison.findings()])
    (harness.WORK / "bench.json").write_text(json.dumps([row for comparison in comparisons for row in comparison.rows()], indent=1))


if __name__ == "__main__":
    main()
