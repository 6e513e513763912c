"""psycopg2: its default mode, in which BEGIN goes ahead of the first statement, its autocommit mode, COPY, named cursors, notifies,
cancel, its pool."""

import io
import select
import threading

import psycopg2
from psycopg2 import extensions
from psycopg2.pool import ThreadedConnectionPool
from report import LARGE_TEXT, Report, column, md5, portions, rows


def describe(error):
    d = error.diag
    return {"sqlstate": error.pgcode, "severity": d.severity, "message": d.message_primary, "detail": d.message_detail,
            "hint": d.message_hint, "position": d.statement_position, "constraint": d.constraint_name}


def status(connection):
    return {extensions.TRANSACTION_STATUS_IDLE: "I", extensions.TRANSACTION_STATUS_INTRANS: "T",
            extensions.TRANSACTION_STATUS_INERROR: "E"}.get(connection.info.transaction_status, "?")


report = Report(psycopg2.Error, describe, status)


def connect(autocommit=False, **options):
    connection = psycopg2.connect("", **options)
    connection.autocommit = autocommit
    return connection


def query(connection, sql, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return rows(cursor.fetchall())


def change(connection, sql, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return cursor.rowcount if cursor.rowcount >= 0 else None


def insert(connection, number):
    return change(connection, "INSERT INTO item (id) VALUES (%s)", number)


def left(connection, hundred):
    return column(query(connection, "SELECT id FROM item WHERE id / 100 = %s ORDER BY id", hundred))


def left_after_commit(connection, hundred):
    found = left(connection, hundred)
    connection.commit()
    return found


def values():
    c = connect()
    report.step("literals", lambda: query(c, "SELECT 42, 'Grüße', NULL, true"), c)
    report.step("parameters", lambda: query(c, "SELECT %s::int + 1, %s::text || '!', encode(%s::bytea, 'hex')", 7, "é", b"\x00\xff\x10"), c)
    report.step("arrays and numerics",
                lambda: [[ints, str(number)] for ints, number in query(c, "SELECT ARRAY[1, 2, 3], 1.50::numeric")], c)
    report.step("no rows", lambda: query(c, "SELECT 1 WHERE false"), c)
    found = column(query(c, "SELECT generate_series(1, 10000)"))
    report.step("many rows", lambda: [len(found), sum(found)], c)
    c.commit()
    c.close()


def transaction():
    c = connect()
    report.step("insert 201", lambda: insert(c, 201), c)
    report.step("commit", c.commit, c)
    report.step("insert 202", lambda: insert(c, 202), c)
    report.step("rollback", c.rollback, c)
    report.step("left", lambda: left_after_commit(c, 2), c)
    c.close()


def nested():
    """psycopg2 has no nested blocks; programs write savepoints by hand."""

    def inner(c, name, number, fails):
        change(c, f"SAVEPOINT {name}")
        insert(c, number)
        change(c, f"ROLLBACK TO SAVEPOINT {name}" if fails else f"RELEASE SAVEPOINT {name}")

    def inner_fails(c):
        with c:
            insert(c, 301)
            inner(c, "s", 302, fails=True)
            inner(c, "s", 303, fails=False)
        return left_after_commit(c, 3)

    def outer_fails(c):
        insert(c, 304)
        inner(c, "s", 305, fails=False)
        c.rollback()
        return left_after_commit(c, 3)

    def five_deep(c):
        with c:
            for depth in range(1, 6):
                change(c, f"SAVEPOINT level_{depth}")
                insert(c, 305 + depth)
            change(c, "RELEASE level_4")
            change(c, "ROLLBACK TO level_3")
            change(c, "RELEASE level_1")
        return left_after_commit(c, 3)

    def duplicate(c):
        insert(c, 311)
        try:
            inner(c, "s", 311, fails=False)
        finally:
            change(c, "ROLLBACK TO s")
            insert(c, 312)
            c.commit()

    c = connect()
    report.step("inner fails, outer commits", lambda: inner_fails(c), c)
    report.step("inner commits, outer fails", lambda: outer_fails(c), c)
    report.step("the third of five fails", lambda: five_deep(c), c)
    report.step("a duplicate in the inner block", lambda: duplicate(c), c)
    report.step("left", lambda: left_after_commit(c, 3), c)
    c.close()


def errors():
    def commit_of_failed():
        c.commit()  # psycopg2 does not notice that the server answers ROLLBACK
        return None

    c = connect()
    report.step("division by zero", lambda: query(c, "SELECT 1 / %s", 0), c)
    report.step("after it", lambda: query(c, "SELECT 1"), c)
    report.step("rollback", c.rollback, c)
    report.step("insert 401", lambda: insert(c, 401), c)
    change(c, "SAVEPOINT before")
    report.step("duplicate", lambda: insert(c, 401), c)
    report.step("rollback to savepoint", lambda: change(c, "ROLLBACK TO before"), c)
    report.step("insert 402", lambda: insert(c, 402), c)
    change(c, "SAVEPOINT before")
    report.step("syntax", lambda: query(c, "SELECT 1 FRM item"), c)
    report.step("rollback to savepoint again", lambda: change(c, "ROLLBACK TO before"), c)
    report.step("no such table", lambda: query(c, "SELECT * FROM missing"), c)
    report.step("rollback to savepoint at last", lambda: change(c, "ROLLBACK TO before"), c)
    report.step("commit", c.commit, c)
    report.step("insert 403", lambda: insert(c, 403), c)
    report.step("division by zero again", lambda: query(c, "SELECT 1 / 0"), c)
    report.step("commit of a failed transaction", commit_of_failed, c)
    report.step("left", lambda: left_after_commit(c, 4), c)
    c.close()


def bare_error():
    c = connect(autocommit=True)
    report.step("insert 501", lambda: insert(c, 501), c)
    report.step("division by zero", lambda: query(c, "SELECT 1 / %s", 0), c)
    report.step("next", lambda: query(c, "SELECT 1"), c)
    report.step("rollback", lambda: change(c, "ROLLBACK"), c)
    report.step("insert 502", lambda: insert(c, 502), c)
    report.step("left", lambda: left(c, 5), c)
    c.close()


def deferred():
    c = connect()
    report.step("insert 601", lambda: change(c, "INSERT INTO item (id, owner) VALUES (601, 99)"), c)
    report.step("commit", c.commit, c)
    c.close()


def copy():
    def copy_in(c, text):
        with c.cursor() as cursor:
            cursor.copy_expert("COPY bulk (id, body) FROM STDIN", io.StringIO(text))
            return cursor.rowcount

    def copy_out(c):
        with c.cursor() as cursor:
            out = io.StringIO()
            cursor.copy_expert("COPY bulk (id, body) TO STDOUT", out)
        ids = [int(line.split("\t")[0]) for line in out.getvalue().splitlines()]
        return [len(ids), sum(ids)]

    c = connect(autocommit=True)
    report.step("in", lambda: copy_in(c, "".join(f"{i}\trow {i}\n" for i in range(1000))), c)
    report.step("out", lambda: copy_out(c), c)
    c.autocommit = False
    report.step("bad data", lambda: copy_in(c, "5000\tgood\nnot a number\tbad\n"), c)
    report.step("rollback", c.rollback, c)
    report.step("left", lambda: query(c, "SELECT count(*) FROM bulk"), c)
    c.close()


def large():
    def there_and_back(c):
        [[text]] = query(c, "SELECT %s::text", LARGE_TEXT)
        return [len(text), md5(text)]

    def stored(c):
        change(c, "INSERT INTO bulk (id, body) VALUES (800000, %s)", LARGE_TEXT)
        return query(c, "SELECT length(body), md5(body) FROM bulk WHERE id = 800000")

    c = connect()
    report.step("there and back", lambda: there_and_back(c), c)
    report.step("stored", lambda: stored(c), c)
    c.commit()
    c.close()


def cancel_when_asleep(c):
    watch = connect(autocommit=True)
    while not query(watch, "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"):
        change(watch, "SELECT pg_stat_clear_snapshot()")
    watch.close()
    c.cancel()


def cancel():
    c = connect()
    canceller = threading.Thread(target=cancel_when_asleep, args=(c,))
    canceller.start()
    report.step("sleep", lambda: query(c, "SELECT pg_sleep(60)"), c)
    canceller.join()
    report.step("rollback", c.rollback, c)
    report.step("usable", lambda: query(c, "SELECT 1"), c)
    c.close()


def cursor():
    def in_portions(c):
        with c.cursor("portions") as named:
            named.execute("SELECT generate_series(1, 1000)")
            seen = []
            while found := named.fetchmany(100):
                seen.append((len(found), sum(column(found))))
        c.commit()
        return portions(seen)

    c = connect()
    report.step("portions", lambda: in_portions(c), c)
    c.close()


def listen():
    def heard():
        return [[n.channel, n.payload] for n in c.notifies]

    def wait_and_tell():
        while not c.notifies:
            if select.select([c], [], [], 30) == ([], [], []):
                break
            c.poll()
        return heard()

    c = connect(autocommit=True)
    speaker = connect(autocommit=True)
    report.step("listen", lambda: change(c, "LISTEN news"), c)
    change(speaker, "NOTIFY news, 'hello'")
    change(c, "SHOW timezone")  # opens no request, in which nothing could be heard
    report.step("heard at once", heard, c)
    speaker.close()
    report.step("heard after the end", wait_and_tell, c)
    report.step("unlisten", lambda: change(c, "UNLISTEN news"), c)
    report.step("heard at last", heard, c)
    c.close()


def tasks():
    def notify(c, payload):
        return query(c, "SELECT pg_notify(%s, %s)", "tasks", payload)

    c = connect(autocommit=True)
    report.step("NOTIFY", lambda: change(c, "NOTIFY tasks, 'notify'"), c)
    report.step("pg_notify", lambda: notify(c, "function"), c)
    c.autocommit = False
    report.step("committed", lambda: notify(c, "committed"), c)
    c.commit()
    report.step("rolled back", lambda: notify(c, "rolled back"), c)
    c.rollback()
    change(c, "SAVEPOINT s")
    report.step("undone by a savepoint", lambda: notify(c, "undone"), c)
    change(c, "ROLLBACK TO s")
    report.step("kept by it", lambda: notify(c, "kept"), c)
    c.commit()
    report.step("bad channel", lambda: query(c, "SELECT pg_notify(%s, %s)", "", "x"), c)
    report.step("rollback", c.rollback, c)
    report.step("NOTIFY without payload", lambda: change(c, "NOTIFY tasks"), c)
    c.commit()
    c.close()


def pool():
    """In the default mode: the BEGIN ahead of a mark is an empty transaction and does not stand in its way."""

    def begin_request(c, label):
        change(c, "SET pgatomic.request = %s", label)

    def end_request(c):
        c.commit()
        change(c, "SET pgatomic.outcome = 'commit'")
        c.commit()

    def marked(p, label, number):
        c = p.getconn()
        begin_request(c, label)
        done = insert(c, number)
        end_request(c)
        p.putconn(c)
        return done

    def left_open(p):
        c = p.getconn()
        begin_request(c, "/pool/open")
        done = insert(c, 1202)
        p.putconn(c)
        return done

    def next_use(p):
        c = p.getconn()
        begin_request(c, "/pool/next")
        found = left(c, 12)
        end_request(c)
        p.putconn(c)
        return found

    def forgotten(p):
        c = p.getconn()
        begin_request(c, "/pool/forgotten")
        done = insert(c, 1204)
        c.commit()
        p.putconn(c)
        return done

    p = ThreadedConnectionPool(1, 1, "")
    report.step("first use", lambda: marked(p, "/pool/first", 1201))
    report.step("left open", lambda: left_open(p))
    report.step("next use", lambda: next_use(p))
    report.step("marked", lambda: marked(p, "/pool/marked", 1203))
    report.step("marked, no outcome", lambda: forgotten(p))
    report.step("next mark", lambda: marked(p, "/pool/last", 1205))
    p.closeall()


def marks():
    def blocks(c):
        with c:
            insert(c, 1507)
            change(c, "SAVEPOINT s")
            insert(c, 1508)
            change(c, "ROLLBACK TO s")
            insert(c, 1509)
        return column(query(c, "SELECT id FROM item WHERE id BETWEEN 1507 AND 1509 ORDER BY id"))

    c = connect(autocommit=True)
    report.step("request", lambda: change(c, "SET pgatomic.request = '/shop/checkout'"), c)
    report.step("insert 1501", lambda: insert(c, 1501), c)
    report.step("insert 1502", lambda: insert(c, 1502), c)
    report.step("show", lambda: query(c, "SHOW pgatomic.request"), c)
    report.step("outcome commit", lambda: change(c, "SET pgatomic.outcome = 'commit'"), c)
    report.step("request to roll back", lambda: change(c, "SET pgatomic.request = '/shop/rollback'"), c)
    report.step("insert 1503", lambda: insert(c, 1503), c)
    report.step("outcome rollback", lambda: change(c, "SET pgatomic.outcome = 'rollback'"), c)
    report.step("request by set_config", lambda: query(c, "SELECT set_config('pgatomic.request', %s, false)", "/shop/basket"), c)
    report.step("insert 1504", lambda: insert(c, 1504), c)
    report.step("outcome by set_config", lambda: query(c, "SELECT set_config(%s, %s, %s)", "pgatomic.outcome", "commit", False), c)
    report.step("request that fails", lambda: change(c, "SET pgatomic.request = '/shop/fails'"), c)
    report.step("insert 1505", lambda: insert(c, 1505), c)
    report.step("division by zero", lambda: query(c, "SELECT 1 / 0"), c)
    report.step("insert 1506", lambda: insert(c, 1506), c)
    report.step("outcome of the failed", lambda: change(c, "SET pgatomic.outcome = 'commit'"), c)
    report.step("request with blocks", lambda: change(c, "SET pgatomic.request = '/shop/blocks'"), c)
    c.autocommit = False
    report.step("blocks", lambda: blocks(c), c)
    c.commit()
    c.autocommit = True
    report.step("outcome of the blocks", lambda: change(c, "SET pgatomic.outcome = 'commit'"), c)
    report.step("request with a deferred failure", lambda: change(c, "SET pgatomic.request = '/shop/deferred'"), c)
    report.step("insert 1510", lambda: change(c, "INSERT INTO item (id, owner) VALUES (1510, 99)"), c)
    report.step("outcome of the deferred failure", lambda: change(c, "SET pgatomic.outcome = 'commit'"), c)
    report.step("request without outcome", lambda: change(c, "SET pgatomic.request = '/shop/forgotten'"), c)
    report.step("insert 1511", lambda: insert(c, 1511), c)
    report.step("next request", lambda: change(c, "SET pgatomic.request = '/shop/next'"), c)
    report.step("insert 1512", lambda: insert(c, 1512), c)
    report.step("outcome of the next", lambda: change(c, "SET pgatomic.outcome = 'commit'"), c)
    report.step("last request", lambda: change(c, "SET pgatomic.request = '/shop/last'"), c)
    report.step("insert 1513", lambda: insert(c, 1513), c)
    c.close()


def large_object():
    """libpq reaches large objects by function calls of the protocol."""

    def written_and_read():
        made = c.lobject(0, "wb")
        made.write(b"pgatomic" * 375000)
        c.commit()
        text = c.lobject(made.oid, "r").read()
        return [len(text), md5(text)]

    c = connect()
    report.step("written and read", written_and_read, c)
    report.step("rollback", c.rollback, c)
    report.step("usable", lambda: query(c, "SELECT 1"), c)
    c.close()


def forgetful():
    c = connect(autocommit=True, application_name="forgetful")
    report.step("insert 1601", lambda: insert(c, 1601), c)
    c.close()


def strings():
    def script(c, sql):
        change(c, sql)

    c = connect(autocommit=True)
    report.step("good", lambda: script(c, "INSERT INTO item (id) VALUES (1701); INSERT INTO item (id) VALUES (1702)"), c)
    report.step("bad", lambda: script(c, "INSERT INTO item (id) VALUES (1703); SELECT 1 / 0; INSERT INTO item (id) VALUES (1704)"), c)
    report.step("next", lambda: query(c, "SELECT 1"), c)
    report.step("rollback", lambda: change(c, "ROLLBACK"), c)
    report.step("transactions inside", lambda: script(c, "BEGIN; INSERT INTO item (id) VALUES (1705); COMMIT; "
                                                         "BEGIN; INSERT INTO item (id) VALUES (1706); ROLLBACK"), c)
    report.step("left", lambda: left(c, 17), c)
    c.close()


for scenario in (values, transaction, nested, errors, bare_error, deferred, copy, large, cancel, cursor, listen, tasks, pool, marks, large_object, forgetful,
                 strings):
    report.scenario(scenario.__name__)
    scenario()
