"""A stock Celery worker for a test, of the newest version or of the oldest that we promise to serve. What its tasks were called with ends
up in a list of a private Redis.

    with Worker(redis.url(), results=redis) as worker:
        … deliver tasks named `record` to the queue `celery` …
        worker.take(3)        # what the first three were called with
"""

import json
import os
import subprocess
import sys
import tempfile

from waiting import wait_until

TASKS = """\
import json, os, time
from celery import Celery
import kombu, redis

app = Celery("shop", broker=os.environ["BROKER"])
app.conf.update(json.loads(os.environ["SETTINGS"]))
queues = json.loads(os.environ["QUEUES"])
if queues:
    app.conf.task_queues = [kombu.Queue(queue["name"], queue_arguments=queue["arguments"]) for queue in queues]
done = redis.Redis(unix_socket_path=os.environ["RESULTS"])

@app.task(name="record", bind=True)
def record(self, *args, **kwargs):
    request = self.request
    done.rpush("done", json.dumps({
        "id": request.id, "args": args, "kwargs": kwargs, "at": time.time(), "eta": request.eta, "expires": request.expires,
        "root": request.root_id, "origin": request.origin, "queue": request.delivery_info["routing_key"],
        "priority": request.delivery_info["priority"], "shown": [request.argsrepr, request.kwargsrepr],
        "repr": [repr(list(args)), repr(kwargs)]}))
"""
OLDEST = os.path.join(os.path.dirname(os.path.dirname(sys.executable)), "oldest-celery", "bin", "python3")
SETTINGS = {"worker_prefetch_multiplier": 1, "broker_connection_retry_on_startup": True, "worker_hijack_root_logger": True,
            "result_backend": None, "timezone": "UTC"}


class Worker:
    def __init__(self, broker, results, *arguments, queues=None, tasks=TASKS, python=sys.executable, **settings):
        """`results`: a Redis that the tasks write to, and that this class reads from. `queues`: those to take from, with their arguments.
        `tasks`: another module than the one above. `python`: whose Celery."""
        self.broker, self.results, self.arguments, self.tasks = broker, results, arguments, tasks
        self.settings, self.queues = {**SETTINGS, **settings}, queues
        self.python, self.taken = python, 0

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="pgatomic-celery-")
        with open(os.path.join(self.directory.name, "tasks.py"), "w") as file:
            file.write(self.tasks)
        self.log = os.path.join(self.directory.name, "log")
        environment = {**os.environ, "BROKER": self.broker, "RESULTS": self.results.path, "SETTINGS": json.dumps(self.settings),
                       "QUEUES": json.dumps(self.queues)}
        command = [self.python, "-m", "celery", "-A", "tasks", "worker", "--pool", "solo", "--loglevel", "INFO", "--without-gossip",
                   "--without-mingle", "--without-heartbeat", *self.arguments]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, cwd=self.directory.name, env=environment, stdout=log, stderr=log)
        wait_until(self._is_ready, "the worker to be ready; its log: " + self.log, seconds=60)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.directory.cleanup()

    def said(self):
        with open(self.log, errors="replace") as log:
            return log.read()

    def _is_ready(self):
        assert self.process.poll() is None, "the worker has ended:\n" + self.said()
        return " ready." in self.said()

    def take(self, count):
        """The next `count` calls, in the order in which they ran."""
        want = self.taken + count
        try:
            wait_until(lambda: self.results.do("LLEN", "done") >= want, f"{want} tasks to have run", seconds=60)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said()}") from None
        calls = [json.loads(text) for text in self.results.list("done")[self.taken : want]]
        self.taken = want
        return calls
