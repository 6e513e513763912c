"""The programs: how each is run, which scenarios it plays, and what its driver has no words for."""

import os

from scenarios import SCENARIOS, Step

BUILD = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "build", "drivers"))
PYTHON = os.path.join(BUILD, "python", "bin", "python3")

# What one driver plays is enough.
EVERYTHING = tuple(name for name in SCENARIOS if name not in ("pgbench", "crowd"))


class Program:
    """`only` or `without` name the scenarios that it plays, `lacks` (scenario, step) pairs that its driver has no words for, `gives`
    what the driver makes of a step's result, where the driver itself makes the difference: (scenario, step) to a Step."""

    def __init__(self, *command, only=EVERYTHING, without=(), lacks=(), gives=None):
        self.command = command
        self.scenarios = [name for name in SCENARIOS if name in only and name not in without]
        self.lacks = set(lacks)
        self.gives = gives or {}

    def steps(self):
        """(scenario, step) in the order in which the program prints them."""
        for scenario in self.scenarios:
            for step in SCENARIOS[scenario].steps:
                if (scenario, step.name) not in self.lacks:
                    yield scenario, self.gives.get((scenario, step.name), step)


ENVIRONMENT = {"NODE_PATH": os.path.join(BUILD, "node", "node_modules")}

PROGRAMS = {
    "psql": Program("python3", "psql/program.py", without=("pool", "pipeline", "burst"), lacks=[("cancel", "rollback"), ("cancel", "usable")]),
    "pgbench": Program("python3", "pgbench/program.py", only=("pgbench",)),
    "psycopg2": Program(PYTHON, "python/psycopg2_program.py", without=("pipeline", "burst", "prepared")),
    "psycopg": Program(PYTHON, "python/psycopg_program.py", without=("burst",)),
    "psycopg-async": Program(PYTHON, "python/psycopg_async_program.py",
                             only=("nested", "copy", "large", "cancel", "listen", "pool", "pipeline")),
    "asyncpg": Program(PYTHON, "python/asyncpg_program.py", only=(*EVERYTHING, "crowd"), without=("burst",), gives={
        ("cancel", "sleep"): Step("sleep", "!25P02"),  # the statement after the one whose task was cancelled
    }),
    "node-pg": Program("node", "node/pg.js", without=("pipeline",)),
    "postgres.js": Program("node", "node/postgres.js", without=("pipeline",), lacks=[
        ("listen", "heard at once"), ("copy", "bad data"), ("copy", "rollback"),
    ]),
    "pgx": Program(os.path.join(BUILD, "pgx"), only=(*EVERYTHING, "crowd"), without=("cursor", "burst")),
    "pgjdbc": Program("java", "-XX:+UseSerialGC", "-cp", os.path.join(BUILD, "java", "classes") + ":" + os.path.join(BUILD, "java", "lib", "*"),
                      "drivers.Main", without=("burst",)),
    "tokio-postgres": Program(os.path.join(BUILD, "rust", "debug", "tokio-postgres-program"), without=("pipeline",)),
}
