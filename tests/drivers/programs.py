"""The programs: how each is run, which scenarios it plays, and what its driver has no words for."""

import os

from scenarios import SCENARIOS, Step

BUILD = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "build", "drivers"))
PYTHON = os.path.join(BUILD, "python", "bin", "python3")

# What all play, but for what their drivers cannot.
EVERYTHING = tuple(name for name in SCENARIOS if name not in ("pgbench", "crowd", "isolation", "large_object"))


class Program:
    """`only` or `without` name the scenarios that it plays, `lacks` (scenario, step) pairs that its driver has no words for, `gives`
    what the driver makes of a step's result, where the driver itself makes the difference: (scenario, step) to a Step, and scenario to the rows
    that it `leaves`. `options` are the driver's own, for a program that takes them. It can do with so many `servers`:
    a program with one thread for all that waits until a connection is served needs one for each of them that is in a transaction."""

    def __init__(self, *command, only=EVERYTHING, without=(), lacks=(), gives=None, leaves=None, options="", servers=2):
        self.command = command
        self.environment = {"NODE_PATH": os.path.join(BUILD, "node", "node_modules"), "DRIVER_OPTIONS": options}
        self.scenarios = [name for name in SCENARIOS if name in only and name not in without]
        self.lacks = set(lacks)
        self.gives = gives or {}
        self.leaves = leaves or {}
        self.servers = servers

    def steps(self):
        """(scenario, step) in the order in which the program prints them."""
        for scenario in self.scenarios:
            for step in SCENARIOS[scenario].steps:
                if (scenario, step.name) not in self.lacks:
                    yield scenario, self.gives.get((scenario, step.name), step)


JAVA = ("java", "-XX:+UseSerialGC", "-cp", os.path.join(BUILD, "java", "classes") + ":" + os.path.join(BUILD, "java", "lib", "*"), "drivers.Main")
PGX = os.path.join(BUILD, "pgx")

PROGRAMS = {
    "psql": Program("python3", "psql/program.py", without=("pool", "pipeline", "burst"), lacks=[("cancel", "rollback"), ("cancel", "usable")]),
    "pgbench": Program("python3", "pgbench/program.py", only=("pgbench",), servers=4),
    "psycopg2": Program(PYTHON, "python/psycopg2_program.py", only=(*EVERYTHING, "large_object"), without=("pipeline", "burst", "prepared"),
                        lacks=[("large_object", "no such object")]),  # which it tells without an SQLSTATE
    "psycopg": Program(PYTHON, "python/psycopg_program.py", only=(*EVERYTHING, "isolation"), without=("burst",)),
    "psycopg-async": Program(PYTHON, "python/psycopg_async_program.py",
                             only=("nested", "copy", "large", "cancel", "listen", "pool", "pipeline")),
    "asyncpg": Program(PYTHON, "python/asyncpg_program.py", only=(*EVERYTHING, "crowd", "isolation"), without=("burst",), gives={
        ("cancel", "sleep"): Step("sleep", "!25P02"),  # the statement after the one whose task was cancelled
    }),
    "sqlalchemy": Program(PYTHON, "python/sqlalchemy_program.py", only=("transaction", "nested", "tasks", "pool", "forgetful")),
    "node-pg": Program("node", "node/pg.js", without=("pipeline",)),
    "postgres.js": Program("node", "node/postgres.js", without=("pipeline",), lacks=[
        ("listen", "heard at once"), ("copy", "bad data"), ("copy", "rollback"),
    ]),
    "pgx": Program(PGX, only=(*EVERYTHING, "crowd", "isolation"), without=("cursor", "burst")),
    "pgx-exec": Program(PGX, only=(*EVERYTHING, "crowd", "isolation"), without=("cursor", "burst"), options="default_query_exec_mode=exec"),
    "pgx-describe": Program(PGX, only=(*EVERYTHING, "crowd", "isolation"), without=("cursor", "burst"), options="default_query_exec_mode=cache_describe"),
    "pgx-simple": Program(PGX, only=(*EVERYTHING, "crowd", "isolation"), without=("cursor", "burst"), options="default_query_exec_mode=simple_protocol"),
    "pgjdbc": Program(*JAVA, only=(*EVERYTHING, "large_object"), without=("burst",)),
    "pgjdbc-simple": Program(*JAVA, only=(*EVERYTHING, "large_object"), without=("burst", "pipeline"), options="preferQueryMode=simple"),
    "pgjdbc-autosave": Program(*JAVA, only=(*EVERYTHING, "large_object"), without=("burst",), options="autosave=always&prepareThreshold=1", gives={
        ("errors", "after it"): Step("after it", [[1]]),  # the driver rolls back to a savepoint of its own
        ("errors", "left"): Step("left", [401, 402, 403]),
    }, leaves={"errors": [401, 402, 403]}),
    "tokio-postgres": Program(os.path.join(BUILD, "rust", "debug", "tokio-postgres-program"), without=("pipeline",)),
}
