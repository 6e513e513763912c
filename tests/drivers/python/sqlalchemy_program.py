"""SQLAlchemy over psycopg 3: connections that begin by themselves, begin_nested(), functions with cast parameters, a pool that rolls back
whatever comes in."""

from report import Report, column, rows
from sqlalchemy import create_engine, exc, func, select, text

ENGINE = {"pool_size": 1, "max_overflow": 0}
INSERT = text("INSERT INTO item (id) VALUES (:id)")


def describe(error):
    d = error.orig.diag
    return {"sqlstate": d.sqlstate, "message": d.message_primary, "detail": d.message_detail}


def status(connection):
    info = connection.connection.dbapi_connection.info
    return {"IDLE": "I", "INTRANS": "T", "INERROR": "E"}.get(info.transaction_status.name, "?")


report = Report(exc.DBAPIError, describe, status)


class Refused(Exception):
    pass


def engine(**options):
    return create_engine("postgresql+psycopg://", connect_args=options, **ENGINE)


def insert(c, number):
    return c.execute(INSERT, {"id": number}).rowcount


def left(c, hundred):
    found = column(rows(c.execute(text("SELECT id FROM item WHERE id / 100 = :hundred ORDER BY id"), {"hundred": hundred})))
    c.rollback()
    return found


def transaction():
    with engine().connect() as c:
        report.step("insert 201", lambda: insert(c, 201), c)
        report.step("commit", c.commit, c)
        report.step("insert 202", lambda: insert(c, 202), c)
        report.step("rollback", c.rollback, c)
        report.step("left", lambda: left(c, 2), c)


def refuse(block, *bodies):
    """Runs bodies in a block, and makes it fail."""
    try:
        with block:
            for body in bodies:
                body()
            raise Refused
    except Refused:
        pass


def nested():
    def inner_fails(c):
        with c.begin():
            insert(c, 301)
            refuse(c.begin_nested(), lambda: insert(c, 302))
            with c.begin_nested():
                insert(c, 303)
        return left(c, 3)

    def outer_fails(c):
        def inner():
            with c.begin_nested():
                insert(c, 305)

        refuse(c.begin(), lambda: insert(c, 304), inner)
        return left(c, 3)

    def descend(c, depth):
        insert(c, 305 + depth)
        if depth == 2:
            refuse(c.begin_nested(), lambda: descend(c, 3))
        elif depth < 5:
            with c.begin_nested():
                descend(c, depth + 1)

    def five_deep(c):
        with c.begin():
            descend(c, 1)
        return left(c, 3)

    def duplicate(c):
        failure = None
        with c.begin():
            insert(c, 311)
            try:
                with c.begin_nested():
                    insert(c, 311)
            except exc.IntegrityError as e:
                failure = e
            insert(c, 312)
        raise failure

    with engine().connect() as c:
        report.step("inner fails, outer commits", lambda: inner_fails(c), c)
        report.step("inner commits, outer fails", lambda: outer_fails(c), c)
        report.step("the third of five fails", lambda: five_deep(c), c)
        report.step("a duplicate in the inner block", lambda: duplicate(c), c)
        report.step("left", lambda: left(c, 3), c)


def tasks():
    def notify(c, payload):
        return rows(c.execute(select(func.pg_notify("tasks", payload))))

    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as c:
        report.step("NOTIFY", lambda: c.execute(text("NOTIFY tasks, 'notify'")) and None, c)
        report.step("pg_notify", lambda: notify(c, "function"), c)
    with engine().connect() as c:
        with c.begin():
            report.step("committed", lambda: notify(c, "committed"), c)
        refuse(c.begin(), lambda: report.step("rolled back", lambda: notify(c, "rolled back"), c))
        with c.begin():
            refuse(c.begin_nested(), lambda: report.step("undone by a savepoint", lambda: notify(c, "undone"), c))
            report.step("kept by it", lambda: notify(c, "kept"), c)
        report.step("bad channel", lambda: rows(c.execute(select(func.pg_notify("", "x")))), c)
        report.step("rollback", c.rollback, c)
        report.step("NOTIFY without payload", lambda: c.execute(text("NOTIFY tasks")) and None)
        c.commit()


def pool():
    """A connection that is given back is rolled back; the request that it held is not over by that."""
    e = engine()

    def mark(c, name, value):
        c.execute(select(func.set_config(f"pgatomic.{name}", value, False)))

    def marked(label, number, ends=True):
        with e.connect() as c:
            mark(c, "request", label)
            done = insert(c, number)
            c.commit()
            if ends:
                mark(c, "outcome", "commit")
            return done

    def left_open():
        with e.connect() as c:
            mark(c, "request", "/pool/open")
            return insert(c, 1202)

    def next_use():
        with e.connect() as c:
            mark(c, "request", "/pool/next")
            found = left(c, 12)
            mark(c, "outcome", "commit")
            return found

    report.step("first use", lambda: marked("/pool/first", 1201))
    report.step("left open", left_open)
    report.step("next use", next_use)
    report.step("marked", lambda: marked("/pool/marked", 1203))
    report.step("marked, no outcome", lambda: marked("/pool/forgotten", 1204, ends=False))
    report.step("next mark", lambda: marked("/pool/last", 1205))
    e.dispose()


def forgetful():
    with engine(application_name="forgetful").connect() as c:
        report.step("insert 1601", lambda: insert(c, 1601))
        c.commit()


for scenario in (transaction, nested, tasks, pool, forgetful):
    report.scenario(scenario.__name__)
    scenario()
