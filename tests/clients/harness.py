"""A Django project in one setting, and what a test of it uses: requests through Django's own WSGI and ASGI handlers, the tables as others
see them, pgatomic's log.

Django is set up once per process, so each setting has a process of its own (run.py); project.py is imported when the setting is in the
environment.
"""

import asyncio
from contextlib import ExitStack
import json
import os
import sys
from types import SimpleNamespace

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from celery_worker import Worker  # noqa: E402
from pgatomic import Pgatomic  # noqa: E402
from rabbitmq import RabbitMQ  # noqa: E402
from redis_server import Redis  # noqa: E402
from waiting import wait_until  # noqa: E402

ATOMIC = 'route "all" { match = "/*"  mode = atomic }\n'
AUTOCOMMIT = 'route "all" { mode = autocommit }\n'
CELERY = 'channel "celery" {{ sink = {{"tasks"}}  forward = off }}\nsink "tasks" {{ type = celery  url = "{url}" }}\n'
TASKS = """\
import sys
sys.path[:0] = {path}
import project
from project_tasks import app
"""


class Case:
    """`setting` is {"routes", "direct", …}: the config of pgatomic, or none at all, and what project.py reads from the environment."""

    def __init__(self, name, setting):
        self.database = f"clients_{name}"
        self.is_proxied = not setting.get("direct")
        self.direct_port = int(os.environ["PGPORT"])
        self.broker = setting.get("broker")
        self.resources = ExitStack()
        self.proxy = Pgatomic(SimpleNamespace(port=self.direct_port), setting.get("routes", ATOMIC))
        self.number = 0
        self.logged = 0
        self.environment = {f"TEST_{key}": value for key, value in setting.get("environment", {}).items()}
        if setting.get("sqlite"):
            self.is_proxied = False
            self.environment["TEST_SQLITE"] = self.proxy.directory

    def __enter__(self):
        if self.broker:
            self.start_broker()
        self.resources.enter_context(self.proxy)
        os.environ.update(self.environment, TEST_DATABASE=self.database, TEST_DIRECT_PORT=str(self.direct_port),
                          TEST_LOG=os.path.join(self.proxy.directory, "django.log"),
                          TEST_PORT=str(self.proxy.port if self.is_proxied else self.direct_port))
        import project
        from django.core.asgi import get_asgi_application
        from django.core.wsgi import get_wsgi_application
        self.project = project
        if "TEST_SQLITE" in os.environ:
            self.create_in_sqlite()
        self.wsgi, self.asgi = get_wsgi_application(), get_asgi_application()
        if self.broker:
            self.start_worker()
        return self

    def __exit__(self, *_):
        self.resources.close()

    def create_in_sqlite(self):
        from django.db import connections
        for using in ("default", "second", "direct"):
            with connections[using].schema_editor() as editor:
                editor.create_model(self.project.Item)

    # --- Celery ----------------------------------------------------------------------------------------------------------------

    def start_broker(self):
        self.redis = self.resources.enter_context(Redis())
        url, options = self.redis.url(), {}
        if self.broker == "rabbitmq":
            options = {"confirm_publish": True}  # else what is published behind it by others may arrive ahead of it
            broker = RabbitMQ()
            self.resources.callback(broker.remove)
            broker.start()
            url = broker.url()
        self.settings = {"result_backend": self.redis.url(1), "timezone": "UTC", "broker_connection_retry_on_startup": True,
                         "broker_transport_options": options}
        os.environ.update(BROKER=url, RESULTS=self.redis.path, SETTINGS=json.dumps(self.settings))
        self.proxy.blocks += CELERY.format(url=url)

    def start_worker(self):
        """A stock worker that runs the project's tasks, by pgatomic or not as the project itself."""
        import project_tasks
        self.tasks, self.marker = project_tasks, 0
        self.worker = self.resources.enter_context(Worker(os.environ["BROKER"], self.redis, tasks=TASKS.format(path=sys.path), **self.settings))

    # --- requests --------------------------------------------------------------------------------------------------------------

    def log(self):
        """What Django has logged of failures since the last test, for people."""
        with open(os.environ["TEST_LOG"]) as log:
            log.seek(self.logged)
            text, self.logged = log.read(), log.tell()
        return text

    def next_number(self):
        """A view's first row. It has a hundred for itself."""
        self.number += 100
        self.project.CALLED.clear()
        return self.number

    def get(self, view, number, query=""):
        """Status and body, as a WSGI server would have them."""
        from django.test import RequestFactory
        said = {}
        response = self.wsgi({**RequestFactory().get(f"/{view}/{number}/").environ, "QUERY_STRING": query},
                             lambda status, headers: said.update(status=int(status[:3])))
        try:
            body = b"".join(response).decode()
        finally:
            response.close()
        return said["status"], body

    def get_async(self, view, number, query=""):
        """The same from an ASGI server."""
        return asyncio.run(self.answer(view, number, query))

    async def ask(self, view, number, query=""):
        from asgiref.testing import ApplicationCommunicator
        asked = ApplicationCommunicator(self.asgi, {
            "type": "http", "method": "GET", "path": f"/{view}/{number}/", "query_string": query.encode(), "headers": []})
        await asked.send_input({"type": "http.request", "body": b"", "more_body": False})
        return asked

    async def answer(self, view, number, query=""):
        asked = await self.ask(view, number, query)
        start = await asked.receive_output(timeout=60)
        body, more = b"", True
        while more:
            part = await asked.receive_output(timeout=60)
            body, more = body + part.get("body", b""), part.get("more_body", False)
        await asked.wait(timeout=60)
        return start["status"], body.decode()

    # --- what became of them ---------------------------------------------------------------------------------------------------

    def rows(self, number, using="outside"):
        """The view's rows that are committed, counted from its first."""
        from django.db import connections
        with connections[using].cursor() as cursor:
            cursor.execute("SELECT id - %s FROM item WHERE id >= %s AND id < %s ORDER BY id", [number, number, number + 100])
            found = [row[0] for row in cursor.fetchall()]
        connections[using].close()
        return found

    def check(self, view, status, kept, get=None):
        number = self.next_number()
        answered = (get or self.get)(view, number)[0]
        assert answered == status, (answered, status)
        assert self.rows(number) == kept, (self.rows(number), kept)

    def requests(self, view):
        """How a view's requests ended, once they have: `committed`, or the reason of the rollback."""
        open_requests = self.proxy.wait_until_settled(self.database)
        assert open_requests == [], open_requests
        return self.proxy.requests(self.database).get(f"/{view}/<int:number>/", [])

    def events(self):
        """Channel, payload and fate of what was notified."""
        open_requests = self.proxy.wait_until_settled(self.database)
        assert open_requests == [], open_requests
        return [(channel, json.loads(payload), fate) for channel, payload, fate in self.proxy.events(self.database)]

    def wait(self, condition, what):
        return wait_until(condition, what)
