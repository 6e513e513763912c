"""The middleware that makes requests atomic.

A request is what happens from the moment at which Django knows its view until this middleware has the response: the view, the rendering of
its template, and the middleware further down in MIDDLEWARE on the way back. As the last one in the list it covers what
ATOMIC_REQUESTS covers, and the template.

It ends in a commit if a response came out of that, of whatever status. It is rolled back if the view or something else raised an exception, even one
that became a response then, and if `transaction.set_rollback(True)` was called. A COMMIT that fails is raised here and becomes
a 500. The body of a streaming response is produced later, outside of the request.

Under ASGI Django gives each request a thread of its own for all that is synchronous, the database connections among them.
`process_view` and the end run there, wherever the view itself runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from contextvars import ContextVar
import re
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.core.signals import got_request_exception
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import ResolverMatch

from . import conf
from .block import RequestBlock

GetResponse = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class RolledBack(Exception):
    """Tells the blocks of a request to roll back. Never seen outside."""


class Scope:
    """One request, from middleware to middleware: its transactions, and what waits for their end."""

    def __init__(self) -> None:
        self.blocks = ExitStack()
        self.is_failed = False
        self.is_over = False
        self.deferred: list[Callable[[], object]] = []

    def begin(self, label: str, databases: list[str]) -> None:
        for alias in databases:
            self.blocks.enter_context(RequestBlock(alias, label))

    def defer(self, call: Callable[[], object]) -> None:
        """Keeps a call that needs the database until the end, just before the commit. For code on an event loop, which may not use it."""
        self.deferred.append(call)

    def end(self) -> None:
        """Commits, or rolls back. Raises what the COMMIT raises; the other databases are rolled back then."""
        self.is_over = True
        with suppress(RolledBack), self.blocks:
            if self.is_failed:
                raise RolledBack
            for call in self.deferred:
                call()

    def abandon(self) -> None:
        """Rolls back, because there is no response to come."""
        self.is_failed = True
        self.end()


current: ContextVar[Scope | None] = ContextVar("pgatomic_request", default=None)


def label_of(match: ResolverMatch) -> str:
    """The route as written in the URL configuration, like "/orders/<int:pk>/". Of a regular expression the anchors are left out."""
    return "/" + re.sub(r"(?<![\[\\])\^|\$$|\\Z$", "", match.route)


class AtomicRequestsMiddleware:
    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response: Callable[[HttpRequest], Any] = get_response
        self.databases = conf.databases()
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        return self._respond_async(request) if self.is_async else self._respond(request)

    def _respond(self, request: HttpRequest) -> HttpResponseBase:
        scope = _open(request)
        token = current.set(scope)
        try:
            response: HttpResponseBase = self.get_response(request)
        except BaseException:
            scope.abandon()
            raise
        finally:
            current.reset(token)
        scope.end()
        return response

    async def _respond_async(self, request: HttpRequest) -> HttpResponseBase:
        scope = _open(request)
        token = current.set(scope)
        try:
            response: HttpResponseBase = await self.get_response(request)
        except BaseException:  # most of all CancelledError: the client has gone
            await sync_to_async(scope.abandon, thread_sensitive=True)()
            raise
        finally:
            current.reset(token)
        await sync_to_async(scope.end, thread_sensitive=True)()
        return response

    def process_view(self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any) -> None:
        without = getattr(view, "_non_atomic_requests", ())
        assert request.resolver_match is not None
        scope_of(request).begin(label_of(request.resolver_match), [alias for alias in self.databases if alias not in without])

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        scope_of(request).is_failed = True


def _open(request: HttpRequest) -> Scope:
    scope = Scope()
    request.pgatomic = scope  # type: ignore[attr-defined]
    return scope


def scope_of(request: HttpRequest) -> Scope:
    scope: Scope = request.pgatomic  # type: ignore[attr-defined]
    return scope


def _note_failure(sender: object, request: HttpRequest | None = None, **_: Any) -> None:
    """An exception that process_exception does not see: of a middleware further down."""
    scope: Scope | None = getattr(request, "pgatomic", None)
    if scope is not None:
        scope.is_failed = True


got_request_exception.connect(_note_failure, dispatch_uid="pgatomic_django")
