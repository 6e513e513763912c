"""What is said to pgatomic, and how it is recognised.

A connection of Django's is meant everywhere, but the words go over the driver's connection beneath it: the marks are no queries of the
application, so they do not show in `connection.queries` nor in `assertNumQueries`.
"""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

IN_ERROR = 3  # PQTRANS_INERROR of libpq, which psycopg 2 and 3 hand on


def is_proxied(connection: BaseDatabaseWrapper) -> bool:
    """Whether this connection, which is open, goes through pgatomic."""
    return connection.vendor == "postgresql" and connection.connection.info.parameter_status("pgatomic_version") is not None


def is_failed(connection: BaseDatabaseWrapper) -> bool:
    """Whether a statement has failed, so that PostgreSQL takes no other until a rollback."""
    return int(connection.connection.info.transaction_status) == IN_ERROR


def begin_request(connection: BaseDatabaseWrapper, label: str) -> None:
    _tell(connection, "request", label)


def end_request(connection: BaseDatabaseWrapper, outcome: str) -> None:
    """Ends it with `commit` or `rollback`. The COMMIT's error is raised, as one of django.db's."""
    _tell(connection, "outcome", outcome)


def _tell(connection: BaseDatabaseWrapper, name: str, value: str) -> None:
    with connection.wrap_database_errors, connection.connection.cursor() as cursor:
        cursor.execute("SELECT set_config(%s, %s, false)", [f"pgatomic.{name}", value])
