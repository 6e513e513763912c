"""asyncpg's pool, which resets whatever comes in; a task for each client, and a listener that hears them all."""

import asyncio
import io

import asyncpg
from work import CLIENTS, INSERT, SUM, TURNS, Tally, Wrong, check, rows_before

INSERT = INSERT.format("$1", "$2", "$3")
SUM = SUM.format("$1")


class Refused(Exception):
    pass


async def insert(c, client, turn):
    await c.execute(INSERT, client, turn, client + 1)


async def notify(c, client, turn):
    await insert(c, client, turn)
    await c.fetchval("SELECT pg_notify('work', $1)", str(client))


async def rollback(c, client, turn):
    try:
        async with c.transaction():
            await insert(c, client, turn)
            check(await c.fetchval(SUM, client), rows_before(turn) + 1, "rows within the transaction")
            raise Refused
    except Refused:
        pass


async def local(c, client, turn):
    async with c.transaction():
        await c.execute(f"SET LOCAL work.who = '{client}.{turn}'")
        await insert(c, client, turn)
        check(await c.fetchval("SELECT current_setting('work.who')"), f"{client}.{turn}", "SET LOCAL")


async def settings(c, client, turn):
    check(await c.fetchval("SELECT coalesce(current_setting('work.who', true), '')"), "", "a setting after the pool's reset")
    await c.execute(f"SET work.who = '{client}.{turn}'")
    await c.execute(f"SET search_path = client_{client}, public")
    check(await c.fetchval(SUM, client), rows_before(turn), "rows")
    check(await c.fetchval("SELECT current_setting('work.who')"), f"{client}.{turn}", "SET")
    check(await c.fetchval("SHOW search_path"), f"client_{client}, public", "search_path")


async def cursor(c, client, _turn):
    seen = []
    async with c.transaction():
        portions = await c.cursor("SELECT $1 * 1000 + generate_series(1, 50)", client)
        while rows := await portions.fetch(10):
            seen += [row[0] for row in rows]
            check(await c.fetchval("SELECT $1::int", client), client, "between two portions")
    check(seen, list(range(client * 1000 + 1, client * 1000 + 51)), "rows of the cursor")


async def copy(c, client, turn):
    await c.copy_to_table("ledger", columns=["client", "turn", "amount"], source=io.BytesIO(f"{client}\t{turn}\t{client + 1}\n".encode()))


async def error(c, client, turn):
    try:
        await c.fetchval("SELECT 1 / $1::int", 0)
    except asyncpg.DivisionByZeroError:
        await insert(c, client, turn)
        return
    raise Wrong("1 / 0 gave no error")


async def total(c, client, turn):
    count = rows_before(turn)
    check(tuple(await c.fetchrow(SUM, client)), (count, count * (client + 1)), "rows and sum")


KINDS = (notify, rollback, local, settings, cursor, copy, error, total)


async def client_of(pool, client, tally):
    for turn in range(TURNS):
        try:
            async with pool.acquire(timeout=60) as c:
                await KINDS[turn % len(KINDS)](c, client, turn)
        except Exception as failure:  # pylint: disable=broad-except
            tally.failed(client, turn, failure)
        tally.turns += 1


async def main():
    tally, heard, all_heard = Tally(), [], asyncio.Event()
    wanted = CLIENTS * len(range(0, TURNS, 8))

    def on_notify(_connection, _pid, _channel, payload):
        heard.append(int(payload))
        if len(heard) == wanted:
            all_heard.set()

    async with asyncpg.create_pool(min_size=CLIENTS, max_size=CLIENTS) as pool:
        listener = await asyncpg.connect()
        await listener.add_listener("work", on_notify)
        await asyncio.gather(*(client_of(pool, client, tally) for client in range(CLIENTS)))
        await asyncio.wait_for(all_heard.wait(), 60)
        await listener.close()
    tally.heard = sorted(heard) == sorted(list(range(CLIENTS)) * len(range(0, TURNS, 8)))
    tally.show()


asyncio.run(main())
