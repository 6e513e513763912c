"""psycopg_pool."""

from psycopg_pool import ConnectionPool
from threads import play
from work import CLIENTS

with ConnectionPool("", min_size=CLIENTS, max_size=CLIENTS, kwargs={"autocommit": True}, timeout=60) as connections:
    connections.wait(60)
    play(connections.connection)
