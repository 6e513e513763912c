"""asyncpg: everything is prepared and binary; nested transaction() blocks, COPY, cursors, listeners, cancelled tasks, its pool with its
reset on release."""

import asyncio
import io

import asyncpg
from report import LARGE_TEXT, Report, column, md5, portions, rows


def describe(error):
    return {"sqlstate": error.sqlstate, "severity": error.severity, "message": error.message, "detail": error.detail,
            "hint": error.hint, "position": error.position, "constraint": getattr(error, "constraint_name", None)}


def status(connection):
    """asyncpg tells only whether it is in a transaction."""
    return "in" if connection.is_in_transaction() else "I"


report = Report(asyncpg.PostgresError, describe, status)


async def connect(**options):
    return await asyncpg.connect(**options)


async def query(c, sql, *parameters):
    return rows(await c.fetch(sql, *parameters))


async def change(c, sql, *parameters):
    """Rows affected, from the end of the command tag."""
    tag = await c.execute(sql, *parameters)
    last = tag.split()[-1]
    return int(last) if last.isdigit() else None


async def insert(c, number):
    return await change(c, "INSERT INTO item (id) VALUES ($1)", number)


async def left(c, hundred):
    return column(await query(c, "SELECT id FROM item WHERE id / 100 = $1 ORDER BY id", hundred))


async def values():
    async def arrays():
        return [[ints, str(number)] for ints, number in await query(c, "SELECT ARRAY[1, 2, 3], 1.50::numeric")]

    async def many():
        found = column(await query(c, "SELECT generate_series(1, 10000)"))
        return [len(found), sum(found)]

    c = await connect()
    await report.step_async("literals", lambda: query(c, "SELECT 42, 'Grüße', NULL, true"), c)
    await report.step_async("parameters", lambda: query(c, "SELECT $1::int + 1, $2::text || '!', encode($3::bytea, 'hex')",
                                                        7, "é", b"\x00\xff\x10"), c)
    await report.step_async("arrays and numerics", arrays, c)
    await report.step_async("no rows", lambda: query(c, "SELECT 1 WHERE false"), c)
    await report.step_async("many rows", many, c)
    await c.close()


async def transaction():
    c = await connect()
    block = c.transaction()
    await block.start()
    await report.step_async("insert 201", lambda: insert(c, 201), c)
    await report.step_async("commit", block.commit, c)
    block = c.transaction()
    await block.start()
    await report.step_async("insert 202", lambda: insert(c, 202), c)
    await report.step_async("rollback", block.rollback, c)
    await report.step_async("left", lambda: left(c, 2), c)
    await c.close()


async def nested():
    class Refused(Exception):
        pass

    async def block(c, *numbers, fails=False):
        try:
            async with c.transaction():
                for number in numbers:
                    await insert(c, number)
                if fails:
                    raise Refused
        except Refused:
            pass

    async def descend(c, depth):
        async with c.transaction():
            await insert(c, 305 + depth)
            if depth < 5:
                try:
                    await descend(c, depth + 1)
                except Refused:
                    pass
            if depth == 3:
                raise Refused

    async def inner_fails(c):
        async with c.transaction():
            await insert(c, 301)
            await block(c, 302, fails=True)
            await block(c, 303)
        return await left(c, 3)

    async def outer_fails(c):
        try:
            async with c.transaction():
                await insert(c, 304)
                await block(c, 305)
                raise Refused
        except Refused:
            return await left(c, 3)

    async def five_deep(c):
        await descend(c, 1)
        return await left(c, 3)

    async def duplicate(c):
        failure = None
        async with c.transaction():
            await insert(c, 311)
            try:
                await block(c, 311)
            except asyncpg.UniqueViolationError as e:
                failure = e
            await insert(c, 312)
        raise failure

    c = await connect()
    await report.step_async("inner fails, outer commits", lambda: inner_fails(c), c)
    await report.step_async("inner commits, outer fails", lambda: outer_fails(c), c)
    await report.step_async("the third of five fails", lambda: five_deep(c), c)
    await report.step_async("a duplicate in the inner block", lambda: duplicate(c), c)
    await report.step_async("left", lambda: left(c, 3), c)
    await c.close()


async def errors():
    c = await connect()
    await c.execute("BEGIN")
    await report.step_async("division by zero", lambda: query(c, "SELECT 1 / $1::int", 0), c)
    await report.step_async("after it", lambda: query(c, "SELECT 1"), c)
    await report.step_async("rollback", lambda: change(c, "ROLLBACK"), c)
    await c.execute("BEGIN")
    await report.step_async("insert 401", lambda: insert(c, 401), c)
    await c.execute("SAVEPOINT before")
    await report.step_async("duplicate", lambda: insert(c, 401), c)
    await report.step_async("rollback to savepoint", lambda: change(c, "ROLLBACK TO before"), c)
    await report.step_async("insert 402", lambda: insert(c, 402), c)
    await c.execute("SAVEPOINT before")
    await report.step_async("syntax", lambda: query(c, "SELECT 1 FRM item"), c)
    await report.step_async("rollback to savepoint again", lambda: change(c, "ROLLBACK TO before"), c)
    await report.step_async("no such table", lambda: query(c, "SELECT * FROM missing"), c)
    await report.step_async("rollback to savepoint at last", lambda: change(c, "ROLLBACK TO before"), c)
    await report.step_async("commit", lambda: change(c, "COMMIT"), c)
    await c.execute("BEGIN")
    await report.step_async("insert 403", lambda: insert(c, 403), c)
    await report.step_async("division by zero again", lambda: query(c, "SELECT 1 / 0"), c)
    await report.step_async("commit of a failed transaction", lambda: c.execute("COMMIT"), c)
    await report.step_async("left", lambda: left(c, 4), c)
    await c.close()


async def bare_error():
    c = await connect()
    await report.step_async("insert 501", lambda: insert(c, 501), c)
    await report.step_async("division by zero", lambda: query(c, "SELECT 1 / $1::int", 0), c)
    await report.step_async("next", lambda: query(c, "SELECT 1"), c)
    await report.step_async("rollback", lambda: change(c, "ROLLBACK"), c)
    await report.step_async("insert 502", lambda: insert(c, 502), c)
    await report.step_async("left", lambda: left(c, 5), c)
    await c.close()


async def deferred():
    c = await connect()
    block = c.transaction()
    await block.start()
    await report.step_async("insert 601", lambda: change(c, "INSERT INTO item (id, owner) VALUES (601, 99)"), c)
    await report.step_async("commit", block.commit, c)
    await c.close()


async def copy():
    async def copy_in(text):
        tag = await c.copy_to_table("bulk", columns=["id", "body"], source=io.BytesIO(text.encode()))
        return int(tag.split()[-1])

    async def copy_out():
        out = io.BytesIO()
        await c.copy_from_table("bulk", columns=["id", "body"], output=out)
        ids = [int(line.split(b"\t")[0]) for line in out.getvalue().splitlines()]
        return [len(ids), sum(ids)]

    c = await connect()
    await report.step_async("in", lambda: copy_in("".join(f"{i}\trow {i}\n" for i in range(1000))), c)
    await report.step_async("out", copy_out, c)
    await c.execute("BEGIN")
    await report.step_async("bad data", lambda: copy_in("5000\tgood\nnot a number\tbad\n"), c)
    await report.step_async("rollback", lambda: change(c, "ROLLBACK"), c)
    await report.step_async("left", lambda: query(c, "SELECT count(*) FROM bulk"), c)
    await c.close()


async def large():
    async def there_and_back():
        text = await c.fetchval("SELECT $1::text", LARGE_TEXT)
        return [len(text), md5(text)]

    async def stored():
        await change(c, "INSERT INTO bulk (id, body) VALUES (800000, $1)", LARGE_TEXT)
        return await query(c, "SELECT length(body), md5(body) FROM bulk WHERE id = 800000")

    c = await connect()
    await report.step_async("there and back", there_and_back, c)
    await report.step_async("stored", stored, c)
    await c.close()


async def cancel():
    """asyncpg sends a CancelRequest when the task that waits is cancelled, and waits for it to be answered."""
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    c, watch = await connect(), await connect()

    async def interrupted():
        task = asyncio.create_task(query(c, "SELECT pg_sleep(60)"))
        while not await query(watch, sleeping):
            await watch.execute("SELECT pg_stat_clear_snapshot()")
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            await query(c, "SELECT 1")  # 25P02: the statement was cancelled, and the transaction failed with it

    await c.execute("BEGIN")
    await report.step_async("sleep", interrupted, c)
    await report.step_async("rollback", lambda: change(c, "ROLLBACK"), c)
    await report.step_async("usable", lambda: query(c, "SELECT 1"), c)
    await watch.close()
    await c.close()


async def cursor():
    async def in_portions():
        seen = []
        async with c.transaction():
            rows_ahead = await c.cursor("SELECT generate_series(1, 1000)")
            while found := await rows_ahead.fetch(100):
                seen.append((len(found), sum(column(found))))
        return portions(seen)

    c = await connect()
    await report.step_async("portions", in_portions, c)
    await c.close()


async def listen():
    heard, something = [], asyncio.Event()

    def on_notify(_connection, _pid, channel, payload):
        heard.append([channel, payload])
        something.set()

    async def so_far():
        return heard

    async def wait_and_tell():
        await asyncio.wait_for(something.wait(), 30)
        return heard

    async def callbacks_have_run(c):
        """Listeners are called from the event loop, after the query that brought the notification has returned. SHOW opens no request,
        in which nothing could be heard."""
        await c.execute("SHOW timezone")
        await asyncio.sleep(0)

    c, speaker = await connect(), await connect()
    await report.step_async("listen", lambda: c.add_listener("news", on_notify), c)
    await speaker.execute("NOTIFY news, 'hello'")
    await callbacks_have_run(c)
    await report.step_async("heard at once", so_far, c)
    await speaker.close()
    await report.step_async("heard after the end", wait_and_tell, c)
    await report.step_async("unlisten", lambda: c.remove_listener("news", on_notify), c)
    await report.step_async("heard at last", so_far, c)
    await c.close()


async def tasks():
    class Refused(Exception):
        pass

    async def notify(payload):
        [[void]] = await query(c, "SELECT pg_notify($1, $2)", "tasks", payload)
        return [["" if void is None else void]]  # asyncpg's word for it is None

    async def refuse(step, payload):
        try:
            async with c.transaction():
                await report.step_async(step, lambda: notify(payload), c)
                raise Refused
        except Refused:
            pass

    c = await connect()
    await report.step_async("NOTIFY", lambda: change(c, "NOTIFY tasks, 'notify'"), c)
    await report.step_async("pg_notify", lambda: notify("function"), c)
    async with c.transaction():
        await report.step_async("committed", lambda: notify("committed"), c)
    await refuse("rolled back", "rolled back")
    async with c.transaction():
        await refuse("undone by a savepoint", "undone")
        await report.step_async("kept by it", lambda: notify("kept"), c)
    await c.execute("BEGIN")
    await report.step_async("bad channel", lambda: query(c, "SELECT pg_notify($1, $2)", "", "x"), c)
    await report.step_async("rollback", lambda: change(c, "ROLLBACK"), c)
    await report.step_async("NOTIFY without payload", lambda: change(c, "NOTIFY tasks"), c)
    await c.close()


async def pool():
    """On release the pool sends ROLLBACK if it must, and then a reset that ends what was marked and got no outcome."""

    async def marked(label, number, outcome="commit"):
        async with p.acquire() as c:
            await c.fetch("SELECT set_config('pgatomic.request', $1, false)", label)
            async with c.transaction():
                done = await insert(c, number)
            if outcome:
                await c.fetch("SELECT set_config('pgatomic.outcome', $1, false)", outcome)
            return done

    async def left_open():
        c = await p.acquire()
        await c.fetch("SELECT set_config('pgatomic.request', $1, false)", "/pool/open")
        await c.execute("BEGIN")
        done = await insert(c, 1202)
        await p.release(c)
        return done

    async def next_use():
        async with p.acquire() as c:
            await c.fetch("SELECT set_config('pgatomic.request', $1, false)", "/pool/next")
            found = await left(c, 12)
            await c.fetch("SELECT set_config('pgatomic.outcome', $1, false)", "commit")
            return found

    async with asyncpg.create_pool(min_size=1, max_size=1) as p:
        await report.step_async("first use", lambda: marked("/pool/first", 1201))
        await report.step_async("left open", left_open)
        await report.step_async("next use", next_use)
        await report.step_async("marked", lambda: marked("/pool/marked", 1203))
        await report.step_async("marked, no outcome", lambda: marked("/pool/forgotten", 1204, outcome=None))
        await report.step_async("next mark", lambda: marked("/pool/last", 1205))


async def prepared():
    async def often():
        found = [await identity.fetchval(i) for i in range(1, 101)]
        return [len(found), sum(found)]

    async def again():
        return [[await division.fetchval(20)]]

    c = await connect()
    identity = await c.prepare("SELECT $1::int")
    await report.step_async("often", often, c)
    await c.execute("BEGIN")
    division = await c.prepare("SELECT 100 / $1::int")
    await division.fetchval(10)
    await report.step_async("fails", lambda: division.fetchval(0), c)
    await report.step_async("rollback", lambda: change(c, "ROLLBACK"), c)
    await report.step_async("again", again, c)
    await c.close()


async def pipeline():
    """executemany() sends all its Binds and Executes ahead of one Sync."""

    async def together(*numbers_and_divisors):
        await c.executemany("INSERT INTO item (id, note) VALUES ($1, 1 / $2::int)", numbers_and_divisors)
        return [1 for _ in numbers_and_divisors]

    c = await connect()
    await report.step_async("good", lambda: together((1401, 1), (1402, 1)), c)
    await report.step_async("bad", lambda: together((1403, 1), (1406, 0), (1404, 1)), c)
    await report.step_async("next", lambda: query(c, "SELECT 1"), c)
    await report.step_async("rollback", lambda: change(c, "ROLLBACK"), c)
    await report.step_async("insert 1405", lambda: insert(c, 1405), c)
    await report.step_async("left", lambda: left(c, 14), c)
    await c.close()


async def marks():
    class Refused(Exception):
        pass

    async def blocks():
        async with c.transaction():
            await insert(c, 1507)
            try:
                async with c.transaction():
                    await insert(c, 1508)
                    raise Refused
            except Refused:
                await insert(c, 1509)
        return column(await query(c, "SELECT id FROM item WHERE id BETWEEN 1507 AND 1509 ORDER BY id"))

    async def request(step, label):
        await report.step_async(step, lambda: change(c, f"SET pgatomic.request = '{label}'"), c)

    async def outcome(step, what):
        await report.step_async(step, lambda: change(c, f"SET pgatomic.outcome = '{what}'"), c)

    async def insertion(number):
        await report.step_async(f"insert {number}", lambda: insert(c, number), c)

    c = await connect()
    await request("request", "/shop/checkout")
    await insertion(1501)
    await insertion(1502)
    await report.step_async("show", lambda: query(c, "SHOW pgatomic.request"), c)
    await outcome("outcome commit", "commit")
    await request("request to roll back", "/shop/rollback")
    await insertion(1503)
    await outcome("outcome rollback", "rollback")
    await report.step_async("request by set_config",
                            lambda: query(c, "SELECT set_config('pgatomic.request', $1, false)", "/shop/basket"), c)
    await insertion(1504)
    await report.step_async("outcome by set_config",
                            lambda: query(c, "SELECT set_config($1, $2, $3)", "pgatomic.outcome", "commit", False), c)
    await request("request that fails", "/shop/fails")
    await insertion(1505)
    await report.step_async("division by zero", lambda: query(c, "SELECT 1 / 0"), c)
    await insertion(1506)
    await outcome("outcome of the failed", "commit")
    await request("request with blocks", "/shop/blocks")
    await report.step_async("blocks", blocks, c)
    await outcome("outcome of the blocks", "commit")
    await request("request with a deferred failure", "/shop/deferred")
    await report.step_async("insert 1510", lambda: change(c, "INSERT INTO item (id, owner) VALUES (1510, 99)"), c)
    await outcome("outcome of the deferred failure", "commit")
    await request("request without outcome", "/shop/forgotten")
    await insertion(1511)
    await request("next request", "/shop/next")
    await insertion(1512)
    await outcome("outcome of the next", "commit")
    await request("last request", "/shop/last")
    await insertion(1513)
    await c.close()


async def crowd():
    """Forty tasks share ten connections."""
    next_number = iter(range(2000, 2200))
    served = []

    async def request(c, number):
        await c.fetch("SELECT set_config('pgatomic.request', $1, false)", "/crowd")
        await insert(c, number)
        await c.fetch("SELECT pg_notify('crowd', $1)", str(number))
        kind = ("commit", "rollback", "failure", "no outcome")[number % 4]
        try:
            if kind == "failure":
                await c.fetch("SELECT 1 / $1::int", 0)
        except asyncpg.DivisionByZeroError:
            pass
        if kind != "no outcome":
            await c.fetch("SELECT set_config('pgatomic.outcome', $1, false)", "rollback" if kind == "rollback" else "commit")

    async def client(p):
        for number in next_number:
            async with p.acquire() as c:
                try:
                    await request(c, number)
                except asyncpg.InFailedSQLTransactionError:
                    pass
                served.append(number)

    async with asyncpg.create_pool(min_size=10, max_size=10) as p:
        await asyncio.gather(*(client(p) for _ in range(40)))

    async def all_served():
        return len(set(served))

    await report.step_async("served", all_served)


async def isolation():
    async def block(action, **options):
        async with c.transaction(**options):
            return await action()

    async def shown():
        return await query(c, "SHOW transaction_isolation")

    c = await connect()
    await report.step_async("serializable", lambda: block(shown, isolation="serializable"), c)
    await report.step_async("read only", lambda: block(lambda: insert(c, 1801), isolation="read_committed", readonly=True), c)
    await report.step_async("afterwards", lambda: block(shown), c)
    await c.close()
    c = await connect()
    await c.fetch("SELECT 1")
    await report.step_async("too late", lambda: block(shown, isolation="serializable"))
    await c.close()


async def forgetful():
    c = await connect(server_settings={"application_name": "forgetful"})
    await report.step_async("insert 1601", lambda: insert(c, 1601), c)
    await c.close()


async def strings():
    async def script(sql):
        await c.execute(sql)

    c = await connect()
    await report.step_async("good", lambda: script("INSERT INTO item (id) VALUES (1701); INSERT INTO item (id) VALUES (1702)"), c)
    await report.step_async("bad", lambda: script("INSERT INTO item (id) VALUES (1703); SELECT 1 / 0; INSERT INTO item (id) VALUES (1704)"), c)
    await report.step_async("next", lambda: query(c, "SELECT 1"), c)
    await report.step_async("rollback", lambda: change(c, "ROLLBACK"), c)
    await report.step_async("transactions inside", lambda: script("BEGIN; INSERT INTO item (id) VALUES (1705); COMMIT; "
                                                                  "BEGIN; INSERT INTO item (id) VALUES (1706); ROLLBACK"), c)
    await report.step_async("left", lambda: left(c, 17), c)
    await c.close()


async def main():
    for scenario in (values, transaction, nested, errors, bare_error, deferred, copy, large, cancel, cursor, listen, tasks, pool, prepared,
                     pipeline, marks, crowd, isolation, forgetful, strings):
        report.scenario(scenario.__name__)
        await scenario()


asyncio.run(main())
