"""The project's Celery app and tasks, and the views that call them. What tasks were called with they put into a list of a private Redis."""

import asyncio
import datetime
import json
import os
import uuid

from asgiref.sync import sync_to_async
from celery import Celery, chain, chord, group
from django.db import transaction
from django.http import HttpResponse
from project import Item, Refused, add, refuse
import redis

app = Celery("project", broker=os.environ["BROKER"], task_cls="pgatomic_django.celery:Task")
app.conf.update(json.loads(os.environ["SETTINGS"]))
done = redis.Redis(unix_socket_path=os.environ["RESULTS"])


@app.task(name="record", bind=True)
def record(self, *args, **kwargs):
    request = self.request
    done.rpush("done", json.dumps({
        "id": request.id, "args": args, "kwargs": kwargs, "headers": request.headers or {}, "queue": request.delivery_info["routing_key"],
        "eta": request.eta, "expires": request.expires, "priority": request.delivery_info["priority"], "root": request.root_id,
        "group": request.group, "retries": request.retries, "shadow": request.shadow}, default=str))
    return args[0] if args else None


@app.task(name="look_up")
def look_up(number):
    """The worker of the story."""
    return Item.objects.filter(id=number).exists()


@app.task(name="again", bind=True)
def again(self, number):
    """Retried in a transaction, which the retry's exception rolls back."""
    with transaction.atomic():
        if self.request.retries < 2:
            add(number)
            raise self.retry(countdown=0)
    record.delay("retried", self.request.retries)


@app.task(name="replaced", bind=True)
def replaced(self, number):
    with transaction.atomic():
        add(number)
        raise self.replace(record.s("replacement"))


@app.task(name="within")
def within(number):
    """A task that calls tasks in transactions of its own."""
    for _ in refuse():
        record.delay("never")
    with transaction.atomic():
        record.delay("kept")
    record.delay("outside")


# --- views --------------------------------------------------------------------------------------------------------------------------


def queues(request, number):
    add(number)
    result = look_up.delay(number)
    return HttpResponse(result.id)


def queues_and_raises(request, number):
    add(number)
    record.delay("never")
    raise Refused


def queues_and_rolls_back(request, number):
    record.delay("never")
    transaction.set_rollback(True)
    return HttpResponse("done")


def queues_in_blocks(request, number):
    record.delay("first")
    for _ in refuse():
        record.delay("never")
    with transaction.atomic():
        record.delay("second")
    record.delay_on_commit("third")
    record.apply_async_on_commit(["fourth"])
    return HttpResponse("done")


def queues_with_options(request, number):
    """Everything that Celery can say about a task."""
    now = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    record.apply_async(["plain", 2**70, uuid.UUID(int=7), now, "it's \\ \"quoted\" 😀"], {"a": None})
    record.apply_async(["countdown"], countdown=0.1, expires=3600)
    record.apply_async(["eta"], eta=now, task_id=f"my-own-id-{number}", shadow="shadow")
    record.apply_async(["headers"], headers={"tenant": "seven"}, priority=0, compression="gzip")
    record.apply_async(["link"], link=record.s("linked"))
    chain(record.si("chain 1"), record.s("chain 2")).delay()
    group(record.si("group 1"), record.si("group 2")).delay()
    chord([record.si("chord 1"), record.si("chord 2")])(record.s("chord end"))
    return HttpResponse("done")


def queues_non_atomic(request, number):
    with transaction.atomic():
        add(number)
        result = look_up.delay(number)
        for _ in refuse():
            record.delay("never")
    for _ in refuse():
        record.delay("never")
    return HttpResponse(result.id)


queues_non_atomic = transaction.non_atomic_requests(queues_non_atomic)


async def async_queues(request, number):
    await Item.objects.acreate(id=number)
    first = look_up.delay(number)
    second = await look_up.adelay(number)
    third = await sync_to_async(look_up.delay)(number)
    await asyncio.sleep(0.05)  # time for a worker to come too early, which it must not take
    return HttpResponse(" ".join([first.id, second.id, third.id]))


async def async_queues_and_raises(request, number):
    await Item.objects.acreate(id=number)
    record.delay("never")
    await record.adelay("never")
    raise Refused


VIEWS = (queues, queues_and_raises, queues_and_rolls_back, queues_in_blocks, queues_with_options, queues_non_atomic, async_queues,
         async_queues_and_raises)
