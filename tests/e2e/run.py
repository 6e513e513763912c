#!/usr/bin/env python3
"""The stories, end to end: pgatomic as users run it, an application with psycopg, a worker that LISTENs.

    build/drivers/python/bin/python3 tests/e2e/run.py [WORD…]     those whose names contain one of the words
"""

import json
import os
import subprocess
import sys
import time
import traceback

import psycopg

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))

from pgatomic import Pgatomic  # noqa: E402
from postgres import PASSWORD, USER, Postgres  # noqa: E402
from waiting import wait_until  # noqa: E402

TRIES = 200
ATOMIC = 'route "signup" { match = "/signup"  mode = atomic  end = rollback }\n'
AUTOCOMMIT = 'route "signup" { match = "/signup"  mode = autocommit }\n'
ITEM = "CREATE TABLE item (id int PRIMARY KEY)"


def connect(port, database):
    return psycopg.connect(host="127.0.0.1", port=port, user=USER, password=PASSWORD, dbname=database, autocommit=True)


def mark(db, name, value):
    db.execute("SELECT set_config(%s, %s, false)", [f"pgatomic.{name}", value])


def ids(server, database):
    """What everybody else sees."""
    return [int(row[0]) for row in server.sql("SELECT id FROM item ORDER BY id", database)]


def insert(db, number):
    db.execute("INSERT INTO item VALUES (%s)", [number])


# --- the race --------------------------------------------------------------------------------------


def race(server, database, port=None):
    server.create_database(database)
    environment = {**os.environ, **server.environment(port, database), "WORKER_PGPORT": str(server.port)}
    done = subprocess.run([sys.executable, os.path.join(HERE, "race.py"), str(TRIES)], env=environment, stdout=subprocess.PIPE,
                          timeout=120, check=True)
    return json.loads(done.stdout)


def check_lost(told):
    """The tenth that fails is half done each time, and mail goes out before there is anybody to welcome."""
    assert told["halves"] == TRIES // 10, told
    assert told["strangers"] > TRIES // 10, told
    assert told["welcomed"] + told["strangers"] == TRIES, told


def the_race_is_lost_on_plain_postgresql(server):
    check_lost(race(server, "race_direct"))


def R11_the_race_is_lost_in_an_autocommit_route(server):
    with Pgatomic(server, AUTOCOMMIT) as proxy:
        check_lost(race(server, "race_autocommit", proxy.port))


def R2_E3_the_race_is_never_lost_in_an_atomic_route(server):
    with Pgatomic(server, ATOMIC) as proxy:
        told = race(server, "race_atomic", proxy.port)
        assert told == {"tries": TRIES, "welcomed": TRIES - TRIES // 10, "strangers": 0, "halves": 0}, told
        assert proxy.wait_until_settled("race_atomic") == []
        fates = [fate for _, _, fate in proxy.events("race_atomic")]
        assert fates.count("released") == TRIES - TRIES // 10, fates
        assert fates.count("discarded: outcome") == TRIES // 10, fates


# --- reload ----------------------------------------------------------------------------------------


def wait_for_mode(server, proxy, database, atomic):
    """Until new requests run under the new rules."""
    proxy.wait_for_log(msg="config reloaded")

    def is_so():
        with connect(proxy.port, database) as db:
            mark(db, "request", "/signup")
            insert(db, 0)
            hidden = 0 not in ids(server, database)
            mark(db, "outcome", "rollback")
        server.sql("DELETE FROM item WHERE id = 0", database)
        return hidden == atomic

    wait_until(is_so, f"new requests to be {'atomic' if atomic else 'autocommit'}")


def R2_a_reload_is_for_new_requests_and_a_running_one_ends_as_it_began(server):
    server.create_database("toggled", ITEM)
    with Pgatomic(server, ATOMIC) as proxy, connect(proxy.port, "toggled") as db:
        mark(db, "request", "/signup")
        insert(db, 1)
        proxy.reload(AUTOCOMMIT)
        wait_for_mode(server, proxy, "toggled", atomic=False)
        insert(db, 2)
        assert ids(server, "toggled") == []
        mark(db, "outcome", "rollback")
        assert ids(server, "toggled") == []

        mark(db, "request", "/signup")  # the same connection, by the rules of now
        insert(db, 3)
        assert ids(server, "toggled") == [3]
        mark(db, "outcome", "rollback")
        assert ids(server, "toggled") == [3]

        proxy.reload(ATOMIC)
        wait_for_mode(server, proxy, "toggled", atomic=True)
        mark(db, "request", "/signup")
        insert(db, 4)
        assert ids(server, "toggled") == [3]
        mark(db, "outcome", "commit")
        assert ids(server, "toggled") == [3, 4]


def a_file_that_does_not_check_is_refused_whole_and_the_old_one_stays(server):
    server.create_database("refused", ITEM)
    with Pgatomic(server, ATOMIC) as proxy, connect(proxy.port, "refused") as db:
        proxy.reload(AUTOCOMMIT + 'route "late" { mode = sometimes }\n')
        [line] = proxy.wait_for_log(msg="config refused")
        assert line["level"] == "error" and "sometimes" in line["error"] and proxy.config in line["error"], line
        mark(db, "request", "/signup")
        insert(db, 1)
        mark(db, "outcome", "rollback")
        assert ids(server, "refused") == []


# --- what the log tells ----------------------------------------------------------------------------


def told_events(proxy, *options):
    """The lines of `pgatomic events`."""
    done = subprocess.run([proxy.binary, "events", *options, proxy.log], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()


def only(lines, *words):
    """The one line that has these words."""
    found = [line for line in lines if all(word in line for word in words)]
    assert len(found) == 1, (words, lines)
    return found[0]


def heard(listener):
    """What has reached a listener, once something that was sent after it has."""
    payloads = []
    for notice in listener.notifies(timeout=30):
        if notice.payload == "the end":
            return payloads
        payloads.append(notice.payload)
    raise AssertionError("the end was not heard")


def E3_E4_a_request_is_rolled_back_as_a_whole_and_its_events_are_discarded_and_the_log_tells_it(server):
    server.create_database("told", ITEM)
    with Pgatomic(server, ATOMIC) as proxy, connect(proxy.port, "told") as db, connect(server.port, "told") as listener:
        listener.execute("LISTEN mail")

        mark(db, "request", "/signup")
        insert(db, 1)
        db.execute("NOTIFY mail, 'for one'")
        held = only(told_events(proxy, "--state", "held"), "mail", "for one")
        assert "released" not in held and "discarded" not in held, held
        with db.transaction():
            db.execute("NOTIFY mail, 'by mistake'")
            raise psycopg.Rollback
        mark(db, "outcome", "commit")

        mark(db, "request", "/signup")
        insert(db, 2)
        db.execute("NOTIFY mail, 'for two'")
        try:
            db.execute("SELECT 1 / 0")
        except psycopg.errors.DivisionByZero:
            mark(db, "outcome", "rollback")

        with connect(server.port, "told") as plain:
            plain.execute("NOTIFY mail, 'the end'")
        assert heard(listener) == ["for one"]
        assert ids(server, "told") == [1]

        lines = told_events(proxy)
        assert len(lines) == 3, lines
        assert "released" in only(lines, "for one")
        assert "discarded" in only(lines, "by mistake")
        assert "discarded" in only(lines, "for two")
        assert only(told_events(proxy, "--channel", "mail", "--state", "released"), "for one")
        [request] = {line["request"] for line in proxy.log_where(msg="event_held") if line["payload"] == "for two"}
        assert only(told_events(proxy, "--request", request), "for two")


TESTS = (
    the_race_is_lost_on_plain_postgresql,
    R11_the_race_is_lost_in_an_autocommit_route,
    R2_E3_the_race_is_never_lost_in_an_atomic_route,
    R2_a_reload_is_for_new_requests_and_a_running_one_ends_as_it_began,
    a_file_that_does_not_check_is_refused_whole_and_the_old_one_stays,
    E3_E4_a_request_is_rolled_back_as_a_whole_and_its_events_are_discarded_and_the_log_tells_it,
)


def main(words):
    passed = failed = 0
    with Postgres() as server:
        for test in TESTS:
            if words and not any(word in test.__name__ for word in words):
                continue
            began = time.monotonic()
            try:
                test(server)
                passed += 1
                print(f"ok      {test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
            except Exception:  # whatever it is, the other tests go on
                failed += 1
                print(f"FAILED  {test.__name__}\n{traceback.format_exc()}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return failed > 0 or passed == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
