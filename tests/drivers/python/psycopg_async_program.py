"""psycopg 3, async: the scenarios in which asyncio makes a difference to what is on the wire and when."""

import asyncio

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool
from report import LARGE_TEXT, Report, column, md5, rows


def describe(error):
    d = error.diag
    return {"sqlstate": error.sqlstate, "message": d.message_primary, "detail": d.message_detail}


def status(connection):
    return {"IDLE": "I", "INTRANS": "T", "INERROR": "E"}.get(connection.info.transaction_status.name, "?")


report = Report(psycopg.Error, describe, status)


async def connect(**options):
    return await AsyncConnection.connect(autocommit=True, **options)


async def query(connection, sql, *parameters):
    cursor = await connection.execute(sql, parameters or None)
    return rows(await cursor.fetchall())


async def change(connection, sql, *parameters):
    done = await connection.execute(sql, parameters or None)
    return done.rowcount if done.rowcount >= 0 else None


async def insert(connection, number):
    return await change(connection, "INSERT INTO item (id) VALUES (%s)", number)


async def left(connection, hundred):
    return column(await query(connection, "SELECT id FROM item WHERE id / 100 = %s ORDER BY id", hundred))


async def nested():
    class Refused(Exception):
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
            async with c.transaction():
                await insert(c, 302)
                raise psycopg.Rollback
            async with c.transaction():
                await insert(c, 303)
        return await left(c, 3)

    async def outer_fails(c):
        async with c.transaction() as outer:
            await insert(c, 304)
            async with c.transaction():
                await insert(c, 305)
            raise psycopg.Rollback(outer)
        return await left(c, 3)

    async def five_deep(c):
        await descend(c, 1)
        return await left(c, 3)

    async def duplicate(c):
        failure = None
        async with c.transaction():
            await insert(c, 311)
            try:
                async with c.transaction():
                    await insert(c, 311)
            except psycopg.errors.UniqueViolation as e:
                failure = e
            await insert(c, 312)
        raise failure

    async with await connect() as c:
        await report.step_async("inner fails, outer commits", lambda: inner_fails(c), c)
        await report.step_async("inner commits, outer fails", lambda: outer_fails(c), c)
        await report.step_async("the third of five fails", lambda: five_deep(c), c)
        await report.step_async("a duplicate in the inner block", lambda: duplicate(c), c)
        await report.step_async("left", lambda: left(c, 3), c)


async def copy():
    async def copy_in(c, lines):
        async with c.cursor() as cursor:
            async with cursor.copy("COPY bulk (id, body) FROM STDIN") as stream:
                for line in lines:
                    await stream.write_row(line)
            return cursor.rowcount

    async def copy_out(c):
        async with c.cursor() as cursor, cursor.copy("COPY bulk (id, body) TO STDOUT") as stream:
            ids = [int(row[0]) async for row in stream.rows()]
        return [len(ids), sum(ids)]

    async with await connect() as c:
        await report.step_async("in", lambda: copy_in(c, [(i, f"row {i}") for i in range(1000)]), c)
        await report.step_async("out", lambda: copy_out(c), c)
        await c.execute("BEGIN")
        await report.step_async("bad data", lambda: copy_in(c, [(5000, "good"), ("not a number", "bad")]), c)
        await report.step_async("rollback", lambda: change(c, "ROLLBACK"), c)
        await report.step_async("left", lambda: query(c, "SELECT count(*) FROM bulk"), c)


async def large():
    async def there_and_back(c):
        [[text]] = await query(c, "SELECT %s::text", LARGE_TEXT)
        return [len(text), md5(text)]

    async def stored(c):
        await change(c, "INSERT INTO bulk (id, body) VALUES (800000, %s)", LARGE_TEXT)
        return await query(c, "SELECT length(body), md5(body) FROM bulk WHERE id = 800000")

    async with await connect() as c:
        await report.step_async("there and back", lambda: there_and_back(c), c)
        await report.step_async("stored", lambda: stored(c), c)


async def cancel():
    """Cancelling the task cancels the statement: psycopg sends the CancelRequest and waits for the answer."""
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"

    async with await connect() as c, await connect() as watch:
        await c.execute("BEGIN")

        async def interrupted():
            task = asyncio.create_task(query(c, "SELECT pg_sleep(60)"))
            while not await query(watch, sleeping):
                await watch.execute("SELECT pg_stat_clear_snapshot()")
            await c.cancel_safe()
            return await task

        await report.step_async("sleep", interrupted, c)
        await report.step_async("rollback", lambda: change(c, "ROLLBACK"), c)
        await report.step_async("usable", lambda: query(c, "SELECT 1"), c)


async def listen():
    async with await connect() as c:
        heard = []
        c.add_notify_handler(lambda n: heard.append([n.channel, n.payload]))

        async def so_far():
            return heard

        async def wait_and_tell():
            if not heard:
                async for _ in c.notifies(timeout=30, stop_after=1):
                    pass
            return heard

        speaker = await connect()
        await report.step_async("listen", lambda: change(c, "LISTEN news"), c)
        await speaker.execute("NOTIFY news, 'hello'")
        await c.execute("SHOW timezone")  # opens no request, in which nothing could be heard
        await report.step_async("heard at once", so_far, c)
        await speaker.close()
        await report.step_async("heard after the end", wait_and_tell, c)
        await report.step_async("unlisten", lambda: change(c, "UNLISTEN news"), c)
        await report.step_async("heard at last", so_far, c)


async def begin_request(c, label):
    await query(c, "SELECT set_config('pgatomic.request', %s, false)", label)


async def end_request(c):
    await query(c, "SELECT set_config('pgatomic.outcome', 'commit', false)")


async def pool():
    async def marked(p, label, number):
        async with p.connection() as c:
            await begin_request(c, label)
            done = await insert(c, number)
            await c.commit()
            await end_request(c)
            return done

    async def left_open(p):
        c = await p.getconn()
        await begin_request(c, "/pool/open")
        done = await insert(c, 1202)
        await p.putconn(c)
        return done

    async def next_use(p):
        async with p.connection() as c:
            await begin_request(c, "/pool/next")
            found = await left(c, 12)
            await c.commit()
            await end_request(c)
            return found

    async def forgotten(p):
        async with p.connection() as c:
            await begin_request(c, "/pool/forgotten")
            return await insert(c, 1204)

    async with AsyncConnectionPool(min_size=1, max_size=1, open=False) as p:
        await p.wait()
        await report.step_async("first use", lambda: marked(p, "/pool/first", 1201))
        await report.step_async("left open", lambda: left_open(p))
        await report.step_async("next use", lambda: next_use(p))
        await report.step_async("marked", lambda: marked(p, "/pool/marked", 1203))
        await report.step_async("marked, no outcome", lambda: forgotten(p))
        await report.step_async("next mark", lambda: marked(p, "/pool/last", 1205))


async def pipeline():
    async def together(c, *statements):
        cursors = []
        async with c.pipeline():
            for sql, *parameters in statements:
                cursors.append(await c.execute(sql, parameters))
        return [cursor.rowcount for cursor in cursors]

    insertion = "INSERT INTO item (id) VALUES (%s)"
    async with await connect() as c:
        await report.step_async("good", lambda: together(c, (insertion, 1401), (insertion, 1402)), c)
        await report.step_async("bad", lambda: together(c, (insertion, 1403), ("SELECT 1 / %s::int", 0), (insertion, 1404)), c)
        await report.step_async("next", lambda: query(c, "SELECT 1"), c)
        await report.step_async("rollback", lambda: change(c, "ROLLBACK"), c)
        await report.step_async("insert 1405", lambda: insert(c, 1405), c)
        await report.step_async("left", lambda: left(c, 14), c)


async def main():
    for scenario in (nested, copy, large, cancel, listen, pool, pipeline):
        report.scenario(scenario.__name__)
        await scenario()


asyncio.run(main())
