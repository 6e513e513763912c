"""A Celery task whose `.delay()` waits for COMMIT.

    app = Celery("shop", task_cls="pgatomic_django.celery:Task")

Called in a request or in `atomic()`, `.delay()` and `.apply_async()` write the task's message with `pg_notify()` into the transaction: pgatomic
hands it to the broker once it has seen the COMMIT, and to nobody after a rollback, to a savepoint too. The broker is not spoken to,
so it may be down. The message is the one that Celery makes, with every option, link, chord and header, and after all its signals.

    where                                               what happens
    in a transaction, through pgatomic                  pg_notify()
    in a transaction, without pgatomic                  on_commit, then sent as Celery does
    in an async view                                    one of these two, at the end of the request
    outside of any transaction                          sent as Celery does
    task_always_eager; the running task's retry() or    as Celery does: neither depends on what is
    replace()                                           committed

The result has the task's id in each case, and can be waited for. `delay_on_commit()` and `apply_async_on_commit()` are the same as the
plain calls, and so return it too.

The event `task-sent` (`task_send_sent_event`) is not sent for a task that waits, as it would be told before it is true.
`app.send_task()`, which knows no task class, goes to the broker.
"""

from __future__ import annotations

import asyncio
import base64
from functools import partial
from typing import Any
import uuid

from asgiref.sync import sync_to_async
from celery.contrib.django.task import DjangoTask
from celery.result import AsyncResult
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from kombu import Exchange, Producer
from kombu.compression import compress
from kombu.serialization import dumps
from kombu.utils.json import dumps as json_dumps

from . import conf, middleware, proxy


class Task(DjangoTask):  # type: ignore[type-arg]
    """The base class of an app's tasks: `Celery(…, task_cls="pgatomic_django.celery:Task")`, or `@app.task(base=Task)` for one."""

    abstract = True

    def apply_async(
        self, args: Any = None, kwargs: Any = None, task_id: str | None = None, producer: Any = None, *more: Any, **options: Any
    ) -> Any:
        task_id = task_id or str(uuid.uuid4())
        send = partial(super().apply_async, args, kwargs, task_id)
        if self.app.conf.task_always_eager or self._is_running(task_id):
            return send(producer, *more, **options)
        scope = middleware.current.get()
        if scope is not None and not scope.is_over and _is_on_event_loop():
            scope.defer(lambda: self._send(send, producer, *more, **options))
            return self.AsyncResult(task_id)
        return self._send(send, producer, *more, **options)

    def _is_running(self, task_id: str) -> bool:
        """Whether a message is for the next life of the task that runs here: it is about to raise an exception, and so to roll back."""
        running = self.app.current_worker_task
        return running is not None and running.request.id == task_id

    def _send(self, send: partial[Any], producer: Any, *more: Any, **options: Any) -> Any:
        connection = connections[conf.celery_database()]
        if not connection.in_atomic_block:
            return send(producer, *more, **options)
        connection.ensure_connection()
        if proxy.is_proxied(connection):
            return send(NotifyProducer(self.app, connection), *more, **options)
        transaction.on_commit(lambda: send(None, *more, **options), using=connection.alias)
        return self.AsyncResult(send.args[2])

    async def adelay(self, *args: Any, **kwargs: Any) -> Any:
        """`delay()` for async code: what is wrong with the call is raised here, not at the end of the request."""
        return await self.aapply_async(args, kwargs)

    async def aapply_async(self, *args: Any, **options: Any) -> Any:
        return await sync_to_async(self.apply_async, thread_sensitive=True)(*args, **options)

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> Any:
        return self.delay(*args, **kwargs)

    def apply_async_on_commit(self, *args: Any, **kwargs: Any) -> Any:
        return self.apply_async(*args, **kwargs)


def _is_on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class NotifyProducer(Producer):
    """What Celery takes for a connection to the broker: it publishes into the transaction of a connection to the database.

    A message has the form in which Celery keeps it in Redis, from which pgatomic makes that of another broker.
    """

    def __init__(self, app: Any, connection: BaseDatabaseWrapper) -> None:
        super().__init__(app.connection_for_write(), auto_declare=False)  # never connects
        self.database = connection

    def publish(  # type: ignore[override]
        self, body: Any, routing_key: str = "", exchange: Exchange | str = "", serializer: str | None = None,
        compression: str | None = None, headers: dict[str, Any] | None = None, priority: int | None = None,
        delivery_mode: int | str | None = None, expiration: float | None = None, reply_to: str = "", correlation_id: str = "", **_: Any
    ) -> None:
        headers = headers or {}
        if "task" not in headers:
            return  # the event of a message, not a message
        data: Any
        content_type, content_encoding, data = dumps(body, serializer=serializer)
        if compression:
            data, headers["compression"] = compress(data, compression)
        properties = {
            "correlation_id": correlation_id,
            "reply_to": reply_to,
            "delivery_mode": 1 if delivery_mode in (1, "transient") else 2,
            "delivery_info": {"exchange": exchange.name if isinstance(exchange, Exchange) else exchange, "routing_key": routing_key},
            "priority": priority or 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        }
        if expiration is not None:
            properties["expiration"] = str(int(expiration * 1000))
        self._notify({
            "headers": {"task": headers["task"], **headers},  # the name first, for those who read logs
            "properties": properties,
            "content-type": content_type,
            "content-encoding": content_encoding,
            "body": base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode(),
        })

    def _notify(self, message: dict[str, Any]) -> None:
        with self.database.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, %s)", [conf.celery_channel(), json_dumps(message)])
