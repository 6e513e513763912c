"""A request's transaction in one database: Django's `atomic()`, of which pgatomic runs the outermost level.

To the view it is an `atomic()` block in every respect, for it is one: `select_for_update()` works, `set_rollback()` works, `on_commit`
callbacks wait for the end and are forgotten with what is rolled back, `atomic(durable=True)` is refused. Only what the block sends to
the database is not what Django would send:

    Django                      here
    BEGIN (by the driver)       the mark with the request's label, ahead of the first cursor
    SAVEPOINT, outermost        BEGIN: what it means in a request, and in this one, is for pgatomic's config to say
    RELEASE SAVEPOINT           COMMIT
    ROLLBACK TO SAVEPOINT       ROLLBACK AND CHAIN
    COMMIT, ROLLBACK            the outcome

Since a route may say `autocommit` (or `join`, or `refuse`), nothing is sent that would be wrong on a connection without a transaction.

The block is lazy, unlike Django's. A database that the view does not use is not even connected to; so whether there is a pgatomic is
known when the connection is. Without one Django takes over at that point: the driver sends its BEGIN ahead of the first statement, and
from there on the block is as Django has it.

        entered ──── first cursor, pgatomic ────► marked ──── outcome ─────────┐
           │  └───── first cursor, PostgreSQL ──► begun by the driver ─ COMMIT ┤
           └──────── no cursor ────────────────────────────────────────────────┴──► left

Django has no hook for any of this that would also see COPY and the driver's other calls, so for the time of the block some methods of
the connection object are replaced on the object itself. They are put back when it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any

from django.db import DatabaseError, InterfaceError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from . import proxy

# What Django notes about transactions in a connection object.
NOTES = ("autocommit", "in_atomic_block", "atomic_blocks", "savepoint_ids", "needs_rollback", "commit_on_exit", "run_on_commit")


class RequestBlock(transaction.Atomic):
    """The transaction of a request in the database `using`. `label` names the request to pgatomic.

    Entered within another transaction, as in a TestCase, it is one of Django's savepoints and nothing else.
    """

    def __init__(self, using: str, label: str) -> None:
        super().__init__(using=using, savepoint=True, durable=False)
        self.label = label
        self.is_nested = False
        self.is_begun = False
        self.is_proxied = False
        self.outermost: str | None = None  # the savepoint for which BEGIN was sent
        self.originals: dict[str, Callable[..., Any]] = {}

    # --- the block -----------------------------------------------------------------------------------------------------------

    def __enter__(self) -> None:
        self.connection: BaseDatabaseWrapper = connections[self.using or "default"]
        self.is_nested = self.connection.in_atomic_block
        if self.is_nested:
            super().__enter__()
            return
        self.settings = self.connection.settings_dict
        # Some read there whether a view's failure is theirs to roll back, like Django REST framework's exception handler.
        self.connection.settings_dict = {**self.settings, "ATOMIC_REQUESTS": True}
        self._pretend()
        for name, method in self._methods().items():
            self.originals[name] = getattr(self.connection, name)
            setattr(self.connection, name, method)

    def _pretend(self) -> None:
        """What Django notes when it has entered the outermost block, but for asking the database for it."""
        self.connection.commit_on_exit = True
        self.connection.needs_rollback = False
        self.connection.autocommit = False
        self.connection.in_atomic_block = True
        self.connection.atomic_blocks.append(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.is_nested:
            super().__exit__(kind, error, trace)
            return
        try:
            self._put_back("connect", "close_if_health_check_failed", "create_cursor")
            self.connection.settings_dict = self.settings
            if self.is_begun:
                super().__exit__(kind, error, trace)
            else:
                self._leave_unused(kind is None)
        finally:
            self._put_back_all()

    def _leave_unused(self, in_good_order: bool) -> None:
        """The end of a block without a statement: as Django's, but that nobody has to be told."""
        connection = self.connection
        connection.atomic_blocks.pop()
        connection.in_atomic_block = False
        connection.autocommit = True
        if connection.closed_in_transaction:
            connection.connection = None
        is_good, connection.needs_rollback = in_good_order and not connection.needs_rollback, False
        self._put_back_all()
        if is_good:
            connection.run_and_clear_commit_hooks()
        else:
            connection.run_on_commit = []

    # --- replacing methods ---------------------------------------------------------------------------------------------------

    def _methods(self) -> dict[str, Callable[..., Any]]:
        return {
            "connect": self._connect,
            "close_if_health_check_failed": self._close_if_health_check_failed,
            "create_cursor": self._create_cursor,
            "_savepoint": self._savepoint,
            "_savepoint_rollback": self._savepoint_rollback,
            "_savepoint_commit": self._savepoint_commit,
            "_commit": self._commit,
            "_rollback": self._rollback,
            "_close": self._close,
        }

    def _put_back(self, *names: str) -> None:
        for name in names:
            delattr(self.connection, name)
            del self.originals[name]

    def _put_back_all(self) -> None:
        """The request is over, though the block may not be: `on_commit` callbacks are still to come, with transactions of their own."""
        self._put_back(*self.originals)

    # --- from the first cursor on --------------------------------------------------------------------------------------------

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """Lets Django see the connection as it is in truth, outside of any transaction."""
        kept = {name: getattr(self.connection, name) for name in NOTES}
        self.connection.autocommit = True
        self.connection.in_atomic_block = False
        try:
            yield
        finally:
            for name, value in kept.items():
                setattr(self.connection, name, value)

    def _connect(self) -> None:
        with self._aside():
            self.originals["connect"]()

    def _close_if_health_check_failed(self) -> None:
        """A connection that has gone stale between two requests is no loss as long as nothing was sent."""
        if self.is_begun:
            return
        with self._aside():
            self.originals["close_if_health_check_failed"]()

    def _create_cursor(self, name: str | None = None) -> Any:
        if not self.is_begun:
            self._begin()
        return self.originals["create_cursor"](name)

    def _begin(self) -> None:
        self.is_begun = True
        self.is_proxied = proxy.is_proxied(self.connection)
        if self.is_proxied:
            proxy.begin_request(self.connection, self.label)
        else:
            with self._aside():
                self.connection.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)

    # --- what pgatomic is told instead ---------------------------------------------------------------------------------------

    def _execute(self, sql: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(sql)

    def _savepoint(self, sid: str) -> None:
        self.connection.cursor().close()  # the request begins, if it has not: who is it that gets the savepoint?
        if self.is_proxied and self.outermost is None:
            self._execute("BEGIN")
            self.outermost = sid
        else:
            self.originals["_savepoint"](sid)

    def _savepoint_rollback(self, sid: str) -> None:
        if sid == self.outermost:
            self._execute("ROLLBACK AND CHAIN")  # a savepoint is still there after ROLLBACK TO
        else:
            self.originals["_savepoint_rollback"](sid)

    def _savepoint_commit(self, sid: str) -> None:
        """The COMMIT of a failed transaction succeeds, as a rollback. RELEASE is an error there, which is what Django expects."""
        if sid == self.outermost and not proxy.is_failed(self.connection):
            self._execute("COMMIT")
            self.outermost = None
        else:
            self.originals["_savepoint_commit"](sid)

    def _commit(self) -> None:
        if self.is_proxied:
            if self.outermost is not None and not proxy.is_failed(self.connection):
                self._execute("COMMIT")  # of transaction.savepoint(), which nobody has to release
            proxy.end_request(self.connection, "commit")
        else:
            self.originals["_commit"]()
        self._put_back_all()

    def _rollback(self) -> None:
        rollback = partial(proxy.end_request, self.connection, "rollback") if self.is_proxied else self.originals["_rollback"]
        try:
            rollback()
        finally:
            self._put_back_all()

    def _close(self) -> None:
        """Closing may mean giving it back to psycopg's pool, to which it looks idle: the request must not go with it."""
        if self.is_proxied:
            with suppress(DatabaseError, InterfaceError):
                proxy.end_request(self.connection, "rollback")
        self.originals["_close"]()
