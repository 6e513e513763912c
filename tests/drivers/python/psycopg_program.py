"""psycopg 3, sync: parameters, transaction() blocks, COPY, cursors, prepared statements, pipeline mode, notifies, cancel, psycopg_pool."""

import threading

import psycopg
from psycopg_pool import ConnectionPool
from report import LARGE_TEXT, Report, column, md5, portions, rows


def describe(error):
    d = error.diag
    return {"sqlstate": error.sqlstate, "severity": d.severity, "message": d.message_primary, "detail": d.message_detail,
            "hint": d.message_hint, "position": d.statement_position, "constraint": d.constraint_name, "routine": d.source_function}


def status(connection):
    return {"IDLE": "I", "INTRANS": "T", "INERROR": "E"}.get(connection.info.transaction_status.name, "?")


report = Report(psycopg.Error, describe, status)


def connect(**options):
    """In psycopg's autocommit mode; its other mode, in which it sends BEGIN by itself, is played by the programs' `pool`."""
    return psycopg.connect(autocommit=True, **options)


def query(connection, sql, *parameters):
    return rows(connection.execute(sql, parameters or None).fetchall())


def change(connection, sql, *parameters):
    """Rows affected; None for statements that affect none."""
    done = connection.execute(sql, parameters or None)
    return done.rowcount if done.rowcount >= 0 else None


def insert(connection, number):
    return change(connection, "INSERT INTO item (id) VALUES (%s)", number)


def left(connection, hundred):
    return column(query(connection, "SELECT id FROM item WHERE id / 100 = %s ORDER BY id", hundred))


def values():
    with connect() as c:
        report.step("literals", lambda: query(c, "SELECT 42, 'Grüße', NULL, true"), c)
        report.step("parameters", lambda: query(c, "SELECT %s::int + 1, %s::text || '!', encode(%s::bytea, 'hex')",
                                                7, "é", b"\x00\xff\x10"), c)
        report.step("arrays and numerics", lambda: [[ints, str(number)] for ints, number in
                                                    query(c, "SELECT ARRAY[1, 2, 3], 1.50::numeric")], c)
        report.step("no rows", lambda: query(c, "SELECT 1 WHERE false"), c)
        found = column(query(c, "SELECT generate_series(1, 10000)"))
        report.step("many rows", lambda: [len(found), sum(found)], c)


def transaction():
    with connect() as c:
        c.execute("BEGIN")
        report.step("insert 201", lambda: insert(c, 201), c)
        report.step("commit", lambda: change(c, "COMMIT"), c)
        c.execute("BEGIN")
        report.step("insert 202", lambda: insert(c, 202), c)
        report.step("rollback", lambda: change(c, "ROLLBACK"), c)
        report.step("left", lambda: left(c, 2), c)


def nested():
    class Refused(Exception):
        pass

    def descend(c, depth):
        """Five blocks in each other; the third fails after the two in it have ended well."""
        with c.transaction():
            insert(c, 305 + depth)
            if depth < 5:
                try:
                    descend(c, depth + 1)
                except Refused:
                    pass
            if depth == 3:
                raise Refused

    def inner_fails(c):
        with c.transaction():
            insert(c, 301)
            with c.transaction():
                insert(c, 302)
                raise psycopg.Rollback
            with c.transaction():
                insert(c, 303)
        return left(c, 3)

    def outer_fails(c):
        with c.transaction() as outer:
            insert(c, 304)
            with c.transaction():
                insert(c, 305)
            raise psycopg.Rollback(outer)
        return left(c, 3)

    def five_deep(c):
        descend(c, 1)
        return left(c, 3)

    def duplicate(c):
        failure = None
        with c.transaction():
            insert(c, 311)
            try:
                with c.transaction():
                    insert(c, 311)
            except psycopg.errors.UniqueViolation as e:
                failure = e
            insert(c, 312)
        raise failure

    with connect() as c:
        report.step("inner fails, outer commits", lambda: inner_fails(c), c)
        report.step("inner commits, outer fails", lambda: outer_fails(c), c)
        report.step("the third of five fails", lambda: five_deep(c), c)
        report.step("a duplicate in the inner block", lambda: duplicate(c), c)
        report.step("left", lambda: left(c, 3), c)


def errors():
    with connect() as c:
        c.execute("BEGIN")
        report.step("division by zero", lambda: query(c, "SELECT 1 / %s", 0), c)
        report.step("after it", lambda: query(c, "SELECT 1"), c)
        report.step("rollback", lambda: change(c, "ROLLBACK"), c)
        c.execute("BEGIN")
        report.step("insert 401", lambda: insert(c, 401), c)
        c.execute("SAVEPOINT before")
        report.step("duplicate", lambda: insert(c, 401), c)
        report.step("rollback to savepoint", lambda: change(c, "ROLLBACK TO before"), c)
        report.step("insert 402", lambda: insert(c, 402), c)
        c.execute("SAVEPOINT before")
        report.step("syntax", lambda: query(c, "SELECT 1 FRM item"), c)
        report.step("rollback to savepoint again", lambda: change(c, "ROLLBACK TO before"), c)
        report.step("no such table", lambda: query(c, "SELECT * FROM missing"), c)
        report.step("rollback to savepoint at last", lambda: change(c, "ROLLBACK TO before"), c)
        report.step("commit", lambda: change(c, "COMMIT"), c)
        c.execute("BEGIN")
        report.step("insert 403", lambda: insert(c, 403), c)
        report.step("division by zero again", lambda: query(c, "SELECT 1 / 0"), c)
        report.step("commit of a failed transaction", lambda: c.execute("COMMIT").statusmessage, c)
        report.step("left", lambda: left(c, 4), c)


def bare_error():
    with connect() as c:
        report.step("insert 501", lambda: insert(c, 501), c)
        report.step("division by zero", lambda: query(c, "SELECT 1 / %s", 0), c)
        report.step("next", lambda: query(c, "SELECT 1"), c)
        report.step("rollback", lambda: change(c, "ROLLBACK"), c)
        report.step("insert 502", lambda: insert(c, 502), c)
        report.step("left", lambda: left(c, 5), c)


def deferred():
    with connect() as c:
        c.execute("BEGIN")
        report.step("insert 601", lambda: change(c, "INSERT INTO item (id, owner) VALUES (601, 99)"), c)
        report.step("commit", lambda: change(c, "COMMIT"), c)


def copy():
    def copy_in(c, lines):
        with c.cursor() as cursor:
            with cursor.copy("COPY bulk (id, body) FROM STDIN") as stream:
                for line in lines:
                    stream.write_row(line)
            return cursor.rowcount

    def copy_out(c):
        with c.cursor() as cursor, cursor.copy("COPY bulk (id, body) TO STDOUT") as stream:
            ids = [int(row[0]) for row in stream.rows()]
        return [len(ids), sum(ids)]

    with connect() as c:
        report.step("in", lambda: copy_in(c, [(i, f"row {i}") for i in range(1000)]), c)
        report.step("out", lambda: copy_out(c), c)
        c.execute("BEGIN")
        report.step("bad data", lambda: copy_in(c, [(5000, "good"), ("not a number", "bad")]), c)
        report.step("rollback", lambda: change(c, "ROLLBACK"), c)
        report.step("left", lambda: query(c, "SELECT count(*) FROM bulk"), c)


def large():
    def there_and_back(c):
        [[text]] = query(c, "SELECT %s::text", LARGE_TEXT)
        return [len(text), md5(text)]

    def stored(c):
        change(c, "INSERT INTO bulk (id, body) VALUES (800000, %s)", LARGE_TEXT)
        return query(c, "SELECT length(body), md5(body) FROM bulk WHERE id = 800000")

    with connect() as c:
        report.step("there and back", lambda: there_and_back(c), c)
        report.step("stored", lambda: stored(c), c)


def cancel_when_asleep(c):
    """As soon as another connection sees `c` sleep. What pg_stat_activity shows stands still within a transaction, and so in a request."""
    with connect() as watch:
        while not query(watch, "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"):
            watch.execute("SELECT pg_stat_clear_snapshot()")
    c.cancel_safe()


def cancel():
    with connect() as c:
        c.execute("BEGIN")
        canceller = threading.Thread(target=cancel_when_asleep, args=(c,))
        canceller.start()
        report.step("sleep", lambda: query(c, "SELECT pg_sleep(60)"), c)
        canceller.join()
        report.step("rollback", lambda: change(c, "ROLLBACK"), c)
        report.step("usable", lambda: query(c, "SELECT 1"), c)


def cursor():
    def in_portions(c):
        with c.transaction(), c.cursor("portions") as named:
            named.execute("SELECT generate_series(1, 1000)")
            seen = []
            while found := named.fetchmany(100):
                seen.append((len(found), sum(column(found))))
        return portions(seen)

    with connect() as c:
        report.step("portions", lambda: in_portions(c), c)


def listen():
    with connect() as c:
        heard = []
        c.add_notify_handler(lambda n: heard.append([n.channel, n.payload]))

        def wait_and_tell():
            if not heard:
                for _ in c.notifies(timeout=30, stop_after=1):
                    pass
            return heard

        speaker = connect()
        report.step("listen", lambda: change(c, "LISTEN news"), c)
        speaker.execute("NOTIFY news, 'hello'")
        c.execute("SHOW timezone")  # opens no request, in which nothing could be heard
        report.step("heard at once", lambda: heard, c)
        speaker.close()
        report.step("heard after the end", wait_and_tell, c)
        report.step("unlisten", lambda: change(c, "UNLISTEN news"), c)
        report.step("heard at last", lambda: heard, c)


def tasks():
    def notify(c, payload):
        return query(c, "SELECT pg_notify(%s, %s)", "tasks", payload)

    with connect() as c:
        report.step("NOTIFY", lambda: change(c, "NOTIFY tasks, 'notify'"), c)
        report.step("pg_notify", lambda: notify(c, "function"), c)
        with c.transaction():
            report.step("committed", lambda: notify(c, "committed"), c)
        with c.transaction():
            report.step("rolled back", lambda: notify(c, "rolled back"), c)
            raise psycopg.Rollback
        with c.transaction():
            with c.transaction():
                report.step("undone by a savepoint", lambda: notify(c, "undone"), c)
                raise psycopg.Rollback
            report.step("kept by it", lambda: notify(c, "kept"), c)
        c.execute("BEGIN")
        report.step("bad channel", lambda: query(c, "SELECT pg_notify(%s, %s)", "", "x"), c)
        report.step("rollback", lambda: change(c, "ROLLBACK"), c)
        report.step("NOTIFY without payload", lambda: change(c, "NOTIFY tasks"), c)


def begin_request(c, label):
    query(c, "SELECT set_config('pgatomic.request', %s, false)", label)


def end_request(c, outcome="commit"):
    query(c, "SELECT set_config('pgatomic.outcome', %s, false)", outcome)


def pool():
    """The pool's connections are in psycopg's default mode: BEGIN goes ahead of the first statement, the mark included."""

    def insert_in_request(c, label, number):
        begin_request(c, label)
        done = insert(c, number)
        c.commit()
        return done

    def marked(p, label, number):
        with p.connection() as c:
            done = insert_in_request(c, label, number)
            end_request(c)
            return done

    def left_open(p):
        c = p.getconn()
        begin_request(c, "/pool/open")
        done = insert(c, 1202)
        p.putconn(c)
        return done

    def next_use(p):
        with p.connection() as c:
            begin_request(c, "/pool/next")
            found = left(c, 12)
            c.commit()
            end_request(c)
            return found

    def forgotten(p):
        with p.connection() as c:
            return insert_in_request(c, "/pool/forgotten", 1204)

    with ConnectionPool(min_size=1, max_size=1) as p:
        p.wait()
        report.step("first use", lambda: marked(p, "/pool/first", 1201))
        report.step("left open", lambda: left_open(p))
        report.step("next use", lambda: next_use(p))
        report.step("marked", lambda: marked(p, "/pool/marked", 1203))
        report.step("marked, no outcome", lambda: forgotten(p))
        report.step("next mark", lambda: marked(p, "/pool/last", 1205))


def prepared():
    with connect() as c:
        def run(number):
            return c.execute("SELECT 100 / %s::int", (number,), prepare=True).fetchall()[0][0]

        def often():
            found = [c.execute("SELECT %s::int", (i,), prepare=True).fetchall()[0][0] for i in range(1, 101)]
            return [len(found), sum(found)]

        report.step("often", often, c)
        c.execute("BEGIN")
        run(10)
        report.step("fails", lambda: run(0), c)
        report.step("rollback", lambda: change(c, "ROLLBACK"), c)
        report.step("again", lambda: [[run(20)]], c)


def pipeline():
    """The statements of a block leave together; the Sync at its end makes them one implicit transaction."""

    def together(c, *statements):
        cursors = []
        with c.pipeline():
            for sql, *parameters in statements:
                cursors.append(c.execute(sql, parameters))
        return [cursor.rowcount for cursor in cursors]

    insertion = "INSERT INTO item (id) VALUES (%s)"
    with connect() as c:
        report.step("good", lambda: together(c, (insertion, 1401), (insertion, 1402)), c)
        report.step("bad", lambda: together(c, (insertion, 1403), ("SELECT 1 / %s::int", 0), (insertion, 1404)), c)
        report.step("next", lambda: query(c, "SELECT 1"), c)
        report.step("rollback", lambda: change(c, "ROLLBACK"), c)
        report.step("insert 1405", lambda: insert(c, 1405), c)
        report.step("left", lambda: left(c, 14), c)


def marks():
    def blocks(c):
        with c.transaction():
            insert(c, 1507)
            with c.transaction():
                insert(c, 1508)
                raise psycopg.Rollback
            insert(c, 1509)
        return column(query(c, "SELECT id FROM item WHERE id BETWEEN 1507 AND 1509 ORDER BY id"))

    with connect() as c:
        report.step("request", lambda: change(c, "SET pgatomic.request = '/shop/checkout'"), c)
        report.step("insert 1501", lambda: insert(c, 1501), c)
        report.step("insert 1502", lambda: insert(c, 1502), c)
        report.step("show", lambda: query(c, "SHOW pgatomic.request"), c)
        report.step("outcome commit", lambda: change(c, "SET pgatomic.outcome = 'commit'"), c)
        report.step("request to roll back", lambda: change(c, "SET pgatomic.request = '/shop/rollback'"), c)
        report.step("insert 1503", lambda: insert(c, 1503), c)
        report.step("outcome rollback", lambda: change(c, "SET pgatomic.outcome = 'rollback'"), c)
        report.step("request by set_config",
                    lambda: query(c, "SELECT set_config('pgatomic.request', %s, false)", "/shop/basket"), c)
        report.step("insert 1504", lambda: insert(c, 1504), c)
        report.step("outcome by set_config", lambda: query(c, "SELECT set_config(%s, %s, %s)", "pgatomic.outcome", "commit", False), c)
        report.step("request that fails", lambda: change(c, "SET pgatomic.request = '/shop/fails'"), c)
        report.step("insert 1505", lambda: insert(c, 1505), c)
        report.step("division by zero", lambda: query(c, "SELECT 1 / 0"), c)
        report.step("insert 1506", lambda: insert(c, 1506), c)
        report.step("outcome of the failed", lambda: change(c, "SET pgatomic.outcome = 'commit'"), c)
        report.step("request with blocks", lambda: change(c, "SET pgatomic.request = '/shop/blocks'"), c)
        report.step("blocks", lambda: blocks(c), c)
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


def isolation():
    def shown(c):
        return query(c, "SHOW transaction_isolation")

    def block(c, action):
        with c.transaction():
            return action(c)

    with connect() as c:
        c.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        report.step("serializable", lambda: block(c, shown), c)
        c.isolation_level, c.read_only = psycopg.IsolationLevel.READ_COMMITTED, True
        report.step("read only", lambda: block(c, lambda c: insert(c, 1801)), c)
        c.isolation_level, c.read_only = None, None
        report.step("afterwards", lambda: block(c, shown), c)
    with connect() as c:
        query(c, "SELECT 1")
        c.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        report.step("too late", lambda: block(c, shown))


def forgetful():
    with connect(application_name="forgetful") as c:
        report.step("insert 1601", lambda: insert(c, 1601), c)


def strings():
    def script(c, sql):
        c.execute(sql)

    with connect() as c:
        report.step("good", lambda: script(c, "INSERT INTO item (id) VALUES (1701); INSERT INTO item (id) VALUES (1702)"), c)
        report.step("bad", lambda: script(c, "INSERT INTO item (id) VALUES (1703); SELECT 1 / 0; INSERT INTO item (id) VALUES (1704)"), c)
        report.step("next", lambda: query(c, "SELECT 1"), c)
        report.step("rollback", lambda: change(c, "ROLLBACK"), c)
        report.step("transactions inside", lambda: script(c, "BEGIN; INSERT INTO item (id) VALUES (1705); COMMIT; "
                                                             "BEGIN; INSERT INTO item (id) VALUES (1706); ROLLBACK"), c)
        report.step("left", lambda: left(c, 17), c)


for scenario in (values, transaction, nested, errors, bare_error, deferred, copy, large, cancel, cursor, listen, tasks, pool, prepared,
                 pipeline, marks, isolation, forgetful, strings):
    report.scenario(scenario.__name__)
    scenario()
