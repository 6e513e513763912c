#!/usr/bin/env python3
"""Runs the integration tests: every function of test_*.py here whose name begins with a rule (P1_…, P8_…) or with `shell_`.

    tests/integration/run.py [WORD…]     those whose names contain one of the words, and none that stands behind a minus

A test gets a PostgreSQL that all of them share, and starts what else it needs. PGATOMIC names another binary to test.
"""

import glob
import importlib
import os
import re
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "lib"))

from postgres import Postgres  # noqa: E402

TEST = re.compile(r"^([PRE]\d+|shell)_")


def is_wanted(name, words):
    wanted = [word for word in words if not word.startswith("-")]
    unwanted = [word[1:] for word in words if word.startswith("-")]
    return (not wanted or any(word in name for word in wanted)) and not any(word in name for word in unwanted)


def tests(words):
    for path in sorted(glob.glob(os.path.join(HERE, "test_*.py"))):
        module = importlib.import_module(os.path.basename(path)[:-3])
        for name, test in list(vars(module).items()):
            if TEST.match(name) and callable(test) and is_wanted(name, words):
                yield name, test


def main(words):
    passed, failed = 0, 0
    with Postgres() as server:
        for name, test in tests(words):
            began = time.monotonic()
            try:
                test(server)
                passed += 1
                print(f"ok      {name} ({time.monotonic() - began:.1f} s)", flush=True)
            except Exception:  # pylint: disable=broad-except
                failed += 1
                print(f"FAILED  {name}\n{traceback.format_exc()}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return failed > 0 or passed == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
