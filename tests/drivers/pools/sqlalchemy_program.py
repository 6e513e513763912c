"""SQLAlchemy's QueuePool, which rolls back whatever comes in."""

import contextlib

from sqlalchemy import create_engine
from threads import play
from work import CLIENTS

engine = create_engine("postgresql+psycopg://", pool_size=CLIENTS, max_overflow=0, isolation_level="AUTOCOMMIT", pool_timeout=60)


@contextlib.contextmanager
def connection():
    with engine.connect() as c:
        yield c.connection.dbapi_connection


play(connection)
engine.dispose()
