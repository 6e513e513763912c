"""A client that would be in the way, if anything of it were left on the servers that it shares: it changes settings that show in results, and
prepares statements under the names that drivers choose. Each round it also looks whether anybody is in its own way. Round follows upon
round until its standard input ends; the last line that it prints is the number of rounds."""

import os
import random
import select
import sys

import psycopg

SETTINGS = {
    "DateStyle": ("SQL, DMY", "German, DMY"),
    "TimeZone": ("Asia/Tokyo", "America/Caracas"),
    "search_path": ("pg_catalog", "nowhere"),
    "application_name": ("meddler", "the meddler again"),
    "default_transaction_isolation": ("serializable", "repeatable read"),
    "default_transaction_read_only": ("on", "off"),
    "client_encoding": ("LATIN1", "UTF8"),
    "bytea_output": ("escape", "hex"),
    "extra_float_digits": ("-5", "0"),
    "statement_timeout": ("20s", "40s"),
    "pgatomic_test.who": ("the meddler", "he again"),
}
# psycopg, pgjdbc, its cursors, asyncpg, tokio-postgres, pgbench, PREPARE by hand
NAMES = [name % n for name in ("_pg3_%d", "S_%d", "C_%d", "__asyncpg_stmt_%d__", "s%d", "P0_%d", "identity%d") for n in range(6)]
MINE = "the meddler's"


def check(found, wanted, what):
    if found != wanted:
        raise AssertionError(f"{what}: {found!r}, where {wanted!r} was left")


def ask(connection, sql, *parameters):
    return connection.execute(sql, parameters).fetchone()[0]


def prepare(connection):
    for name in NAMES:
        result = connection.pgconn.prepare(name.encode(), f"SELECT $${MINE} {name}$$".encode())
        check(result.status, psycopg.pq.ExecStatus.COMMAND_OK, result.error_message)


def change(connection, settings):
    for name in random.sample(sorted(SETTINGS), 4):
        settings[name] = random.choice(SETTINGS[name])
        if random.random() < 0.5:
            ask(connection, f"SELECT set_config('{name}', %s, false)", settings[name])
        else:
            connection.execute(f"SET {name} TO {settings[name] if name == 'DateStyle' else repr(settings[name])}")


def look(connection, settings):
    for name, value in settings.items():
        check(ask(connection, "SELECT current_setting(%s)", name), value, name)
    for name in random.sample(NAMES, 5):
        result = connection.pgconn.exec_prepared(name.encode(), [])
        check(result.get_value(0, 0), f"{MINE} {name}".encode(), result.error_message or name)


def rounds_of(connection, count):
    """So many rounds on one connection, until it is time to stop."""
    settings = {}
    prepare(connection)
    for done in range(count):
        change(connection, settings)
        look(connection, settings)
        if select.select([sys.stdin], [], [], 0.02)[0]:
            return done + 1
    connection.execute("DISCARD ALL" if random.random() < 0.5 else "RESET ALL")
    return count


def main():
    done, wanted = 0, 20
    stop = False
    while not stop:
        with psycopg.connect(autocommit=True, prepare_threshold=None) as connection:
            rounds = rounds_of(connection, wanted)
        done, stop = done + rounds, bool(select.select([sys.stdin], [], [], 0)[0])
    print(done)


if __name__ == "__main__":
    os.environ["PGAPPNAME"] = "meddler"
    main()
