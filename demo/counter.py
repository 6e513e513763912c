"""A counter in one row, and many asyncio tasks that add one to it: each locks the row, reads it, writes it, and asks a worker to count.

    counter.py TASKS CLIENTS      TASKS at once, over CLIENTS connections; finds its database in PG…

The marks around each are plain SQL. PostgreSQL ignores them: then FOR UPDATE locks nothing for longer than its statement, and additions are lost.
"""

import asyncio
import json
import sys

from psycopg_pool import AsyncConnectionPool


async def add_one(pool, number):
    async with pool.connection() as db:
        await db.execute("SET pgatomic.request = '/counter/'")
        [value] = await (await db.execute("SELECT value FROM counter FOR UPDATE")).fetchone()
        await db.execute("UPDATE counter SET value = %s", [value + 1])
        await db.execute("SELECT pg_notify('celery', %s)", [json.dumps({"task": "shop.tasks.count", "args": [number]})])
        await db.execute("SET pgatomic.outcome = 'commit'")


async def main(tasks, clients):
    async with AsyncConnectionPool(kwargs={"autocommit": True}, min_size=0, max_size=clients, timeout=120) as pool:
        await asyncio.gather(*(add_one(pool, number) for number in range(tasks)))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
