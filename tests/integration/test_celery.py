"""Tasks for stock Celery workers: what was committed runs, with what it was called, when and where it should."""

import base64
import datetime
import json
import sys
import threading

import rabbitmq
from celery_worker import OLDEST, Worker
from events import notify, wait_until_delivered
from proxy import Proxy
from redis_server import Redis
from test_outbox import Outbox
from waiting import wait_until
from wire import Closed

SINK = """\
sink "tasks" {{ type = celery  url = "{url}"  timeout = 5s  {options}
                retry {{ first = 50ms  max = 200ms  attempts = 1000 }} }}
channel "*" {{ sink = {{"tasks"}}  forward = off }}
limits {{ event = 4MB }}
"""


def config(url, options=""):
    return SINK.format(url=url, options=options)


def call(*args, **options):
    return json.dumps({"task": "record", "args": args, **options})


def moment(text):
    return datetime.datetime.fromisoformat(text).timestamp()


def runs_what_was_committed(server, python):
    with Redis() as redis, Worker(redis.url(), redis, python=python) as worker, Proxy(server, config(redis.url())) as proxy, \
            proxy.log_in() as client:
        for n in range(0, 50, 5):
            client.ask("BEGIN; " + "; ".join(f"NOTIFY celery, '{call(i)}'" for i in range(n, n + 5)) + "; COMMIT")
            client.ask(f"BEGIN; NOTIFY celery, '{call('never')}'; ROLLBACK")
        calls = worker.take(50)
        assert [one["args"] for one in calls] == [[n] for n in range(50)]
        released = [line["id"] for line in proxy.log_where(msg="event_released")]
        assert [one["id"] for one in calls] == released
        assert all(one["root"] == one["id"] and one["origin"].startswith("pgatomic@") for one in calls)
        assert all(one["queue"] == "celery" and one["kwargs"] == {} and one["eta"] is None for one in calls)


def E5_a_stock_worker_runs_what_was_committed_in_that_order(server):
    runs_what_was_committed(server, sys.executable)


def E5_a_worker_of_celery_5_4_does_so_too(server):
    runs_what_was_committed(server, OLDEST)


def E5_arguments_reach_the_worker_to_the_letter(server):
    """And are shown in its log as Python would."""
    values = ['[]', '[7, "seven", null, true, false]', '[123456789012345678901234567890, -0, 0.1, 1.10, 1e16, 1e15, 1e-5, -2.5E-10, 5e-324]',
              '["it\'s", "\\"", "both \' and \\"", "\\\\ \\n\\r\\t\\u0000\\u007f\\u00a0\\u00ad\\u2028", "Grüße 😀 \\ud83d\\ude00"]',
              '[[[[]]], {"a": {"b": [1, {"c": null}]}}, {}]', '["\\ud800"]', '[{"a": 1.0, "b": 100000.0, "c": 123456789.123456789}]']
    with Redis() as redis, Worker(redis.url(), redis) as worker, Proxy(server, config(redis.url())) as proxy, proxy.log_in() as client:
        for args in values:
            notify(client, "celery", '{"task": "record", "args": %s, "kwargs": {"same": %s}}' % (args, args))
        for args, one in zip(values, worker.take(len(values))):
            assert one["args"] == json.loads(args) and one["kwargs"] == {"same": json.loads(args)}, args
            assert one["shown"] == one["repr"], args
        big = "x" * 1_000_000
        notify(client, "celery", '{"task": "record", "args": ["%s"], "kwargs": {"a": 1, "a": 2}}' % big)
        (one,) = worker.take(1)
        assert one["args"] == [big] and one["kwargs"] == {"a": 2}
        assert one["shown"][0].endswith("...") and len(one["shown"][0]) == 1024


def E5_a_task_runs_when_and_where_its_options_say(server):
    with Redis() as redis, Proxy(server, config(redis.url(), 'queue = "fast"')) as proxy, proxy.log_in() as client, \
            Worker(redis.url(), redis, "-Q", "fast,mail") as worker:
        past, future = "2020-01-01T00:00:00Z", "2090-01-01 00:00:00+00"
        notify(client, "c", call("expired", expires=past), call("late", countdown=1.5, expires=3600), call("now", id="my own id"),
               call("eta", eta=past, expires=future), call("mail", queue="mail"))
        calls = {one["args"][0]: one for one in worker.take(4)}
        assert set(calls) == {"late", "now", "eta", "mail"}
        assert calls["now"]["id"] == "my own id"
        assert calls["now"]["queue"] == "fast" and calls["mail"]["queue"] == "mail"
        assert moment(calls["eta"]["eta"]) == moment("2020-01-01T00:00:00+00:00")
        assert moment(calls["eta"]["expires"]) == moment("2090-01-01T00:00:00+00:00")
        held = {json.loads(line["payload"])["args"][0]: moment(line["ts"].replace("Z", "+00:00")) for line in proxy.log_where(msg="event_held")}
        assert abs(moment(calls["late"]["eta"]) - held["late"] - 1.5) < 0.001
        assert abs(moment(calls["late"]["expires"]) - held["late"] - 3600) < 0.001
        assert calls["late"]["at"] >= moment(calls["late"]["eta"])
        assert "expired" not in json.dumps(redis.list("done"))


def E5_urgent_tasks_overtake_the_others(server):
    """On Redis 0 is the most urgent. They wait before the worker is there, so that there is something to overtake."""
    with Redis() as redis, Proxy(server, config(redis.url())) as proxy, proxy.log_in() as client:
        priorities = [9, 6, 3, 0, 8, 4, 200, 1]
        notify(client, "c", *(call(priority, priority=priority) for priority in priorities))
        wait_until_delivered(proxy, len(priorities))
        with Worker(redis.url(), redis) as worker:
            ran = [(one["args"][0], one["priority"]) for one in worker.take(len(priorities))]
        assert ran == [(0, 0), (1, 1), (3, 3), (4, 4), (6, 6), (8, 8), (9, 9), (200, 9)]


def E12_what_no_worker_could_take_is_dead_at_once_and_holds_nothing_back(server):
    bad = {"not json": "is not JSON", "[]": "not a JSON object", "{}": 'no "task"', '{"task": 7}': '"task" must be a string',
           '{"task": "record", "args": {}}': '"args" must be an array', '{"task": "record", "kwargs": 1}': '"kwargs" must be an object',
           '{"task": "record", "countdown": "soon"}': '"countdown" must be a number', '{"task": "record", "eta": "soon"}': '"eta" is no time',
           '{"task": "record", "coutdown": 5}': "coutdown", '{"task": "a", "task": "b"}': "twice", "[" * 100_000: "not a JSON object",
           '{"task": "record", "args": ' + "[" * 1000 + "]" * 1000 + "}": "256 levels", "": "is not JSON"}
    with Redis() as redis, Worker(redis.url(), redis) as worker, Proxy(server, config(redis.url())) as proxy, proxy.log_in() as client:
        for payload in bad:
            notify(client, "c", payload, call(payload[:10]))
        assert [one["args"] for one in worker.take(len(bad))] == [[payload[:10]] for payload in bad]
        dead = proxy.wait_for_log(count=len(bad), msg="event_dead")
        assert [line["payload"] for line in dead] == list(bad)
        for line in dead:
            assert bad[line["payload"]] in line["reason"] and line["attempt"] == 1, line
        assert not proxy.log_where(msg="event_retry")


def E5_a_message_that_celery_made_itself_passes_as_it_is(server):
    with Redis() as redis, Worker(redis.url(), redis) as worker, Proxy(server, config(redis.url())) as proxy, proxy.log_in() as client:
        from celery import Celery  # of the environment that the test target makes
        app = Celery(broker=f"redis+socket://{redis.path}")
        result = app.send_task("record", [1, 2.5], {"a": "ü"}, queue="aside", countdown=0.1, task_id="made by Celery")
        app.close()
        raw = redis.do("RPOP", "aside")
        bare = json.loads(raw)
        bare["properties"] = {"body_encoding": "base64"}
        bare["headers"]["id"] = "bare"
        notify(client, "c", raw.replace('"routing_key": "aside"', '"routing_key": "celery"'), json.dumps(bare))
        calls = {one["id"]: one for one in worker.take(2)}
        assert set(calls) == {result.id, "bare"}
        for one in calls.values():
            assert one["args"] == [1, 2.5] and one["kwargs"] == {"a": "ü"} and one["eta"], one
            assert one["shown"] == ["[1, 2.5]", "{'a': 'ü'}"] and one["queue"] == "celery"


def E12_tasks_survive_a_broker_that_is_down_with_the_same_id_and_time(server):
    with Redis() as redis, Proxy(server, config(redis.url())) as proxy, proxy.log_in() as client:
        redis.kill()
        notify(client, "c", call(1, countdown=0.2), call(2))
        wait_until(lambda: len(proxy.log_where(msg="event_retry")) >= 4, "some tries")
        redis.start()
        wait_until_delivered(proxy, 2)
        messages = [json.loads(text) for text in reversed(redis.list("celery"))]
        assert [message["headers"]["id"] for message in messages] == [line["id"] for line in proxy.log_where(msg="event_released")]
        assert len({message["properties"]["delivery_tag"] for message in messages}) == 2
        held = moment(proxy.log_where(msg="event_held")[0]["ts"].replace("Z", "+00:00"))
        assert abs(moment(messages[0]["headers"]["eta"]) - held - 0.2) < 0.001
        with Worker(redis.url(), redis) as worker:
            assert {one["args"][0] for one in worker.take(2)} == {1, 2}


def shell_keys_may_have_a_prefix_and_redis_a_password(server):
    with Redis("--requirepass", "pass/word", password="pass/word") as redis, Redis() as results:
        url = redis.url(password="pass/word", database=3)
        options = {"broker_transport_options": {"global_keyprefix": "shop:"}}
        with Worker(url, results, **options) as worker, Proxy(server, config(url + "?global_keyprefix=shop%3A")) as proxy, \
                proxy.log_in() as client:
            notify(client, "c", call("here"))
            assert worker.take(1)[0]["args"] == ["here"]
            assert all(key.startswith("shop:") for key in redis.do("KEYS", "*", database=3))


def E5_a_stock_worker_on_amqp_runs_the_same_tasks(server):
    broker = rabbitmq.shared()
    broker.declare("celery", arguments={"x-max-priority": 9})
    with Redis() as results, Proxy(server, config(broker.url())) as proxy, proxy.log_in() as client:
        past, big = "2020-01-01T00:00:00Z", "x" * 500_000
        notify(client, "c", call(1), call("expired", expires=past), call(123456789012345678901234567890, 0.1, "Grüße", {"a": None}),
               call("late", countdown=0.5, id="my own id"), call(big), "not json", call("last"))
        wait_until_delivered(proxy, 6)
        (dead,) = proxy.wait_for_log(msg="event_dead")
        assert "is not JSON" in dead["reason"]
        queues = [{"name": "celery", "arguments": {"x-max-priority": 9}}]
        with Worker(broker.url(), results, queues=queues) as worker:
            calls = worker.take(5)
            assert [one["args"] for one in calls if one["args"] != ["late"]] == [
                [1], [123456789012345678901234567890, 0.1, "Grüße", {"a": None}], [big], ["last"]]
            (late,) = [one for one in calls if one["args"] == ["late"]]
            assert late["id"] == "my own id" and late["at"] >= moment(late["eta"])
            assert all(one["shown"] == one["repr"] for one in calls if one["args"] != [big])
            assert all(one["origin"].startswith("pgatomic@") and one["root"] == one["id"] for one in calls)


def E5_on_amqp_9_is_the_most_urgent(server):
    broker = rabbitmq.shared()
    broker.declare("celery", arguments={"x-max-priority": 9})
    with Redis() as results, Proxy(server, config(broker.url())) as proxy, proxy.log_in() as client:
        notify(client, "c", *(call(priority, priority=priority) for priority in (1, 9, 4, 0)))
        wait_until_delivered(proxy, 4)
        queues = [{"name": "celery", "arguments": {"x-max-priority": 9}}]
        with Worker(broker.url(), results, queues=queues) as worker:
            assert [one["args"] for one in worker.take(4)] == [[9], [4], [1], [0]]


def E8_durable_tasks_survive_the_death_of_pgatomic_and_of_redis(server):
    """Every committed task is on Redis at least once, always with the same id, and no task of a transaction that was rolled back ever."""
    count, kills = 1500, 6
    with Redis("--appendonly", "yes", "--appendfsync", "always") as redis, Outbox(server, "celery_test") as outbox:
        sink = SINK.format(url=redis.url(), options="").split("channel")[0]
        more = sink + 'channel "tasks" { sink = {"tasks"}  forward = off  delivery = outbox }'
        outbox.sql("CREATE TABLE done (n int PRIMARY KEY)")
        with outbox.proxy(more, lease="1s") as proxy:
            writer = Writer(proxy, count)
            for kill in range(1, kills + 1):
                wait_until(lambda: writer.at >= kill * count // (kills + 1), "the writer to get on", seconds=60)
                if kill % 3 == 0:
                    redis.kill()
                    redis.start()
                else:
                    proxy.process.kill()
                    proxy.process.wait()
                    proxy.start()
            writer.join()
            outbox.wait_until_empty()
        messages = [json.loads(text) for text in redis.list("celery")]
        ids = {(json.loads(base64.b64decode(message["body"]))[0][0], message["headers"]["id"]) for message in messages}
        committed = {int(n) for n, in outbox.sql("SELECT n FROM done")}
        assert {n for n, _ in ids} == committed
        assert len(ids) == len(committed), "a task has one id"
        assert len(committed) > count / 3


class Writer(threading.Thread):
    """Transactions with a row and a task each, every third rolled back, through a proxy that is killed now and then."""

    def __init__(self, proxy, count):
        super().__init__(daemon=True)
        self.proxy, self.count, self.at = proxy, count, 0
        self.start()

    def log_in(self):
        try:
            return self.proxy.log_in(database="shop")
        except (Closed, OSError):
            return None

    def run(self):
        client = None
        while self.at < self.count:
            client = client or wait_until(self.log_in, "pgatomic to be back")
            self.at += 1
            end = "ROLLBACK" if self.at % 3 == 0 else "COMMIT"
            try:
                client.ask(f"BEGIN; INSERT INTO done VALUES ({self.at}); NOTIFY tasks, '{call(self.at)}'; {end}")
            except (Closed, OSError):
                client = None
