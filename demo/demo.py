#!/usr/bin/env python3
"""The story that pgatomic is for, with nothing made up: Django behind gunicorn and uvicorn, PostgreSQL, Celery workers on Redis and on RabbitMQ.

    make demo       prints what becomes of the same sign-ups without pgatomic and with it

200 people sign up, 20 at a time. A sign-up creates the user, asks the worker for a welcome mail, is busy for a moment, and creates the profile;
every tenth raises an exception instead of that. The worker looks for the user and the profile. Each line of the table is one way to
run that shop. Then 1,000 asyncio tasks add one to the same counter, and each asks the worker for something.

Exit status 0: without pgatomic it went wrong, as it must, and with pgatomic nothing did. All servers are private ones that are gone afterwards.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
import http.client
import os
import re
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))

from ports import free_port  # noqa: E402
from postgres import PASSWORD, USER, Postgres  # noqa: E402
from rabbitmq import RabbitMQ  # noqa: E402
from redis_server import Redis  # noqa: E402
from waiting import wait_until  # noqa: E402

AT_ONCE = 20
FAILING = 10  # every tenth
COUNTER_TASKS, COUNTER_CLIENTS = 1000, 50
PGATOMIC = os.environ.get("PGATOMIC", os.path.join(ROOT, "build", "pgatomic"))
GUNICORN = ["-m", "gunicorn", "--workers", "2", "--threads", str(AT_ONCE // 2), "--bind", "127.0.0.1:{port}", "shop.wsgi"]
UVICORN = ["-m", "uvicorn", "--log-level", "warning", "--port", "{port}", "shop.asgi:application"]


class Demo:
    """The servers that all ways share, and what the shop needs to know of them."""

    def __init__(self, options, stack):
        self.options, self.stack = options, stack
        self.directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="pgatomic-demo-"))
        self.redis = stack.enter_context(Redis())
        self.server = stack.enter_context(Postgres(settings={"max_connections": "100"}))
        self.server.create_database("shop")
        self.environment = {
            **os.environ, **self.server.environment(database="shop"), "SHOP_PAUSE": str(options.pause), "SHOP_REDIS": self.redis.url(1),
            "PYTHONPATH": os.pathsep.join([HERE, os.path.join(ROOT, "clients", "django", "src")]), "SHOP_BROKER": self.redis.url(),
        }
        subprocess.run([sys.executable, "-m", "django", "migrate", "--run-syncdb", "--verbosity", "0", "--settings", "shop.settings"],
                       env=self.environment, check=True)
        self.server.sql("CREATE TABLE counter (value int); INSERT INTO counter VALUES (0); ALTER TABLE counter OWNER TO app", "shop")

    @contextmanager
    def running(self, name, command, ready, **environment):
        """A process whose output is kept in a file; `ready` is asked until it says so, and given what was said so far."""
        path = os.path.join(self.directory, name + ".log")
        with open(path, "wb") as log:
            process = subprocess.Popen(command, env={**self.environment, **environment}, cwd=HERE, stdout=log, stderr=log)

        def said():
            with open(path, errors="replace") as file:
                return file.read()

        def is_ready():
            assert process.poll() is None, f"{name} has ended:\n{said()}"
            return ready(said())

        try:
            wait_until(is_ready, f"{name} to be ready", seconds=90)
            yield said
        finally:
            process.terminate()
            process.wait(timeout=60)

    def worker(self, broker):
        return self.running("worker", [sys.executable, "-m", "celery", "-A", "shop", "worker", "--pool", "threads", "--concurrency", "8",
                                       "--loglevel", "INFO"], lambda said: " ready." in said, SHOP_BROKER=broker)

    @contextmanager
    def pgatomic(self, broker):
        port, login = free_port(), f"host=127.0.0.1 port={self.server.port} dbname=shop user={USER} password={PASSWORD}"
        subprocess.run([PGATOMIC, "outbox", "install", login], stdout=subprocess.DEVNULL, check=True)
        with self.running("pgatomic", [PGATOMIC, "run", "-c", os.path.join(HERE, "pgatomic.conf")], lambda said: answers(port),
                          DEMO_PORT=str(port), DEMO_UPSTREAM=str(self.server.port), DEMO_OWN_LOGIN=login, DEMO_BROKER=broker,
                          DEMO_LOG=os.path.join(self.directory, "pgatomic.json")):
            yield port

    def count(self, name):
        return int(self.redis.do("GET", name, database=1) or 0)

    def forget(self):
        self.server.sql("TRUNCATE shop_user, shop_profile", "shop")
        self.redis.do("FLUSHDB", database=1)


def answers(port):
    try:
        http.client.HTTPConnection("127.0.0.1", port, timeout=5).connect()
    except OSError:
        return False
    return True


# --- sign-ups ------------------------------------------------------------------------------------------------------------------


def sign_up(port, kind, number):
    """The status of the answer."""
    view = "sign-up-and-fail" if number % FAILING == 0 else "sign-up"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", f"/{kind}/{view}/{number}/")
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


def sign_ups(demo, kind, broker, with_pgatomic, **environment):
    """What became of them, as {"half": users without a profile, "strangers": mails to people who were not there, "welcomed", "errors"}."""
    with ExitStack() as stack:
        if with_pgatomic:
            environment.update(SHOP_PGATOMIC="1", PGPORT=str(stack.enter_context(demo.pgatomic(broker))))
            environment["SHOP_BROKER"] = "amqp://nobody@127.0.0.1:1/"  # the shop itself has no business with it
        else:
            environment["SHOP_BROKER"] = broker
        port = free_port()
        command = [sys.executable, *(word.format(port=port) for word in (GUNICORN if kind == "sync" else UVICORN))]
        stack.enter_context(demo.running(f"{kind} shop", command, lambda said: answers(port), **environment))
        with ThreadPoolExecutor(AT_ONCE) as clients:
            statuses = list(clients.map(lambda number: sign_up(port, kind, number), range(demo.options.requests)))
        want = statuses.count(200) if with_pgatomic else demo.options.requests
        wait_until(lambda: demo.count("welcomed") + demo.count("strangers") >= want, f"{want} mails", seconds=60)
    [[half]] = demo.server.sql("SELECT count(*) FROM shop_user WHERE id NOT IN (SELECT user_id FROM shop_profile)", "shop")
    found = {"half": int(half), "strangers": demo.count("strangers"), "welcomed": demo.count("welcomed"), "errors": statuses.count(500)}
    demo.forget()
    return found


def is_won(found, requests):
    return found == {"half": 0, "strangers": 0, "welcomed": requests - requests // FAILING, "errors": requests // FAILING}


# --- the counter ---------------------------------------------------------------------------------------------------------------


class Peak(threading.Thread):
    """The most connections that PostgreSQL had, looked at all the time."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.peak, self.is_over = server, 0, threading.Event()

    def run(self):
        while not self.is_over.wait(0.2):
            self.peak = max(self.peak, connections(self.server))


def connections(server):
    return int(server.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'")[0][0])


def counter(demo, with_pgatomic, broker):
    """What it counted, how many tasks ran, the most connections, and those left behind."""
    demo.server.sql("UPDATE counter SET value = 0", "shop")
    before, peak = connections(demo.server), Peak(demo.server)
    with ExitStack() as stack:
        environment = dict(demo.environment)
        if with_pgatomic:
            environment["PGPORT"] = str(stack.enter_context(demo.pgatomic(broker)))
        peak.start()
        subprocess.run([sys.executable, os.path.join(HERE, "counter.py"), str(COUNTER_TASKS), str(COUNTER_CLIENTS)], env=environment, check=True)
        if with_pgatomic:
            wait_until(lambda: ran(demo) >= COUNTER_TASKS, "all tasks to run", seconds=60)
        peak.is_over.set()
        peak.join()
    wait_until(lambda: connections(demo.server) <= before, "no connection to be left behind")
    [[value]] = demo.server.sql("SELECT value FROM counter", "shop")
    found = {"value": int(value), "ran": ran(demo), "peak": peak.peak}
    demo.forget()
    return found


def ran(demo):
    return demo.redis.do("SCARD", "counted", database=1)


# --- telling -------------------------------------------------------------------------------------------------------------------

WAYS = (
    ("Django, sync views", "sync", "redis", False, {}),
    ("  with ATOMIC_REQUESTS", "sync", "redis", False, {"SHOP_ATOMIC_REQUESTS": "1"}),
    ("Django, async views", "async", "redis", False, {}),
    ("pgatomic, sync views", "sync", "redis", True, {}),
    ("pgatomic, async views", "async", "redis", True, {}),
    ("pgatomic, sync, RabbitMQ", "sync", "rabbitmq", True, {}),
    ("pgatomic, async, RabbitMQ", "async", "rabbitmq", True, {}),
)


class Teller:
    """Prints, in colour on a terminal, and keeps count."""

    def __init__(self):
        self.passed = self.failed = 0

    def line(self, text, is_good, is_as_told):
        self.passed += is_as_told
        self.failed += not is_as_told
        colour = ("\033[32m" if is_good else "\033[31m") if sys.stdout.isatty() else ""
        print(f"{colour}{text}{'' if is_as_told else '   <- this is not as it should be'}" + ("\033[0m" if colour else ""), flush=True)


def tell_sign_ups(demo, teller, brokers):
    requests = demo.options.requests
    print(f"\n{requests} sign-ups, {AT_ONCE} at a time, every tenth fails at its end: {requests - requests // FAILING} users to welcome\n\n"
          f"{'':26}  users without  mails to people  people\n{'':26}  a profile      who do not exist welcomed", flush=True)
    for broker, url in brokers.items():
        with demo.worker(url) as said:
            for name, kind, _, with_pgatomic, environment in (way for way in WAYS if way[2] == broker):
                heard = len(said())
                found = sign_ups(demo, kind, url, with_pgatomic, **environment)
                is_good = is_won(found, requests)
                teller.line(f"{name:26}  {found['half']:13}  {found['strangers']:15}  {found['welcomed']:8}  {last_error(said()[heard:])}",
                            is_good, is_good == with_pgatomic)


def last_error(said):
    found = re.findall(r"\w*DoesNotExist: .*", said)
    return f" {found[-1]}" if found else ""


def tell_counter(demo, teller, brokers):
    print(f"\n{COUNTER_TASKS} asyncio tasks over {COUNTER_CLIENTS} connections, each SELECT … FOR UPDATE, UPDATE, and a task for the worker\n\n"
          f"{'':26}  counted        tasks that ran   most connections", flush=True)
    with demo.worker(brokers["redis"]):
        for name, with_pgatomic in (("PostgreSQL alone", False), ("pgatomic", True)):
            found = counter(demo, with_pgatomic, brokers["redis"])
            is_good = found["value"] == found["ran"] == COUNTER_TASKS and 0 < found["peak"] < 100
            teller.line(f"{name:26}  {found['value']:13}  {found['ran']:15}  {found['peak']:8}", is_good, is_good == with_pgatomic)


def main():
    parser = argparse.ArgumentParser(description="the story of pgatomic, with Django and Celery")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--pause", type=float, default=0.3, help="how long a sign-up is busy, in seconds")
    parser.add_argument("--brokers", nargs="*", default=["redis", "rabbitmq"], choices=["redis", "rabbitmq"])
    options = parser.parse_args()
    teller, began = Teller(), time.monotonic()
    with ExitStack() as stack:
        demo = Demo(options, stack)
        brokers = {"redis": demo.redis.url()}
        if "rabbitmq" in options.brokers:
            rabbitmq = RabbitMQ()
            stack.callback(rabbitmq.remove)
            rabbitmq.start()
            brokers["rabbitmq"] = rabbitmq.url()
        tell_sign_ups(demo, teller, brokers)
        tell_counter(demo, teller, brokers)
    print(f"\nin {time.monotonic() - began:.0f} s\n{teller.passed} passed, {teller.failed} failed")
    return teller.failed > 0


if __name__ == "__main__":
    sys.exit(main())
