#!/usr/bin/env python3
"""Runs the tests of clients/django with the Python that it is run with, and the versions of Django, Celery and psycopg installed there.

    build/clients/django52/bin/python tests/clients/run.py [--every] [WORD…]

With --every in every setting that settings.py has; with words, the tests whose names, or whose setting's, contain one of them.

Each setting of settings.py is a process of its own: this program again, with --setting NAME.
"""

import os
import subprocess
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
sys.path.insert(0, os.path.join(HERE, "..", "..", "clients", "django", "src"))

import settings  # noqa: E402
from harness import Case  # noqa: E402
from postgres import Postgres  # noqa: E402


def tests(name, words):
    for test in settings.SETTINGS[name]["tests"]:
        full = f"{name}: {test.__name__}"
        if not words or any(word in full for word in words):
            yield full, test


def run_setting(name, words):
    """The tests of a setting, here. Prints a line for each."""
    failed = 0
    with Case(name, settings.SETTINGS[name]) as case:
        for full, test in tests(name, words):
            began, _ = time.monotonic(), case.log()
            try:
                test(case)
                print(f"ok      {full} ({time.monotonic() - began:.1f} s)", flush=True)
            except Exception:  # whatever it is, the other tests go on
                failed += 1
                print(f"FAILED  {full}\n{traceback.format_exc()}{case.log()}", flush=True)
    return failed > 0


def main(every, words):
    """Every setting in its process. One that ends without a word has failed."""
    passed = failed = 0
    print(f"--- {settings.VERSIONS}", flush=True)
    with Postgres() as server:
        for name in settings.chosen(every):
            if not list(tests(name, words)):
                continue
            for suffix in ("", "_second", "_direct"):
                server.create_database(f"clients_{name}{suffix}", settings.TABLES)
            process = subprocess.Popen([sys.executable, __file__, "--setting", name, *words], env={**os.environ, **server.environment()},
                                       stdout=subprocess.PIPE, text=True)
            failures = 0
            for line in process.stdout:
                print(line, end="", flush=True)
                passed += line.startswith("ok ")
                failures += line.startswith("FAILED ")
            failed += failures or process.wait() != 0
    print(f"{passed} passed, {failed} failed")
    return failed > 0 or passed == 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--setting"]:
        sys.exit(run_setting(sys.argv[2], sys.argv[3:]))
    sys.exit(main("--every" in sys.argv, [word for word in sys.argv[1:] if word != "--every"]))
