"""pgbench in its three query modes: its own TPC-B script, and one of marked requests with four clients at once."""

import json
import os
import re
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
BALANCED = """
    SELECT (SELECT count(*) FROM history), (SELECT sum(delta) FROM history) IS NOT DISTINCT FROM (SELECT nullif(sum(balance), 0) FROM account)
"""
TPCB_BALANCED = """
    SELECT (SELECT count(*) FROM pgbench_history), (SELECT sum(delta) FROM pgbench_history) = (SELECT sum(abalance) FROM pgbench_accounts)
"""


def pgbench(*arguments):
    done = subprocess.run(["pgbench", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return done.stdout


def counts(output):
    """Transactions that were done, and that failed."""
    done = re.search(r"number of transactions actually processed: (\d+)", output)[1]
    failed = re.search(r"number of failed transactions: (\d+)", output)
    return [int(done), int(failed[1]) if failed else 0]


def query(sql):
    done = subprocess.run(["psql", "-XAtq", "-c", sql], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip().split("|")


def report(step, got):
    print(json.dumps({"scenario": "pgbench", "step": step, "got": got}), flush=True)


pgbench("-i", "-I", "dtgp", "-q")
for mode in ("simple", "extended", "prepared"):
    report(f"TPC-B, {mode}", counts(pgbench("-n", "-M", mode, "-t", "100", "-b", "tpcb-like")))
report("TPC-B, balanced", query(TPCB_BALANCED))
for mode in ("simple", "extended", "prepared"):
    report(f"marked, {mode}", counts(pgbench("-n", "-M", mode, "-c", "4", "-t", "50", "-f", os.path.join(HERE, "marked.sql"))))
report("marked, balanced", query(BALANCED))
