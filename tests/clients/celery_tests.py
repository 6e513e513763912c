"""The task class: what is called in a transaction runs after its COMMIT, or never.

That something never runs is seen by what runs after it: a marker, sent last.
"""

from celery import Celery
from celery.signals import after_task_publish, before_task_publish


def drain(case):
    """What `record` was called with so far, up to a marker that is sent now, by the way that others have taken."""
    from django.db import transaction
    case.marker += 1
    with transaction.atomic():
        case.tasks.record.apply_async([f"marker {case.marker}"])
    calls = []
    while not calls or calls[-1]["args"] != [f"marker {case.marker}"]:
        calls += case.worker.take(1)
    return calls[:-1]


def firsts(calls):
    return [call["args"][0] for call in calls]


def result(case, task_id):
    return case.tasks.app.AsyncResult(task_id).get(timeout=60)


def E3_a_task_that_a_view_calls_runs_after_its_commit_and_its_result_can_be_waited_for(case):
    for get in (case.get, case.get_async):
        number = case.next_number()
        status, task_id = get("queues", number)
        assert status == 200 and result(case, task_id) is True


def E3_so_do_those_of_an_async_view_however_they_are_called(case):
    for get in (case.get, case.get_async):
        number = case.next_number()
        status, ids = get("async_queues", number)
        assert status == 200 and [result(case, task_id) for task_id in ids.split()] == [True, True, True]


def E3_so_do_those_of_a_block_in_a_view_that_is_not_atomic(case):
    number = case.next_number()
    status, task_id = case.get("queues_non_atomic", number)
    assert status == 200 and result(case, task_id) is True
    assert drain(case) == []


def E4_what_is_rolled_back_has_called_nobody(case):
    for view, status, get in (("queues_and_raises", 500, case.get), ("queues_and_rolls_back", 200, case.get),
                              ("async_queues_and_raises", 500, case.get_async), ("async_queues_and_raises", 500, case.get)):
        assert get(view, case.next_number())[0] == status
    assert drain(case) == []


def E4_blocks_that_are_rolled_back_take_their_tasks_with_them(case):
    assert case.get("queues_in_blocks", case.next_number())[0] == 200
    assert sorted(firsts(drain(case))) == ["first", "fourth", "second", "third"]


def E5_every_option_of_celerys_travels(case):
    number = case.next_number()
    assert case.get("queues_with_options", number)[0] == 200
    want = {"plain", "countdown", "eta", "headers", "link", "linked", "chain 1", "chain 2", "group 1", "group 2", "chord 1", "chord 2", "chord end"}
    calls = {}
    while set(calls) != want:
        [call] = case.worker.take(1)
        calls["plain" if call["kwargs"] else call["args"][-1]] = call  # a result comes ahead of a callback's own arguments
    assert calls["plain"]["args"][1:] == [2**70, "00000000-0000-0000-0000-000000000007", "2020-01-01 00:00:00+00:00", "it's \\ \"quoted\" 😀"]
    assert calls["plain"]["kwargs"] == {"a": None} and calls["plain"]["root"] == calls["plain"]["id"]
    assert calls["countdown"]["eta"] and calls["countdown"]["expires"]
    assert calls["eta"]["id"] == f"my-own-id-{number}" and calls["eta"]["shadow"] == "shadow"
    assert calls["headers"]["headers"]["tenant"] == "seven"
    assert calls["linked"]["args"] == ["link", "linked"] and calls["linked"]["root"] == calls["link"]["id"]
    assert calls["chain 2"]["args"] == ["chain 1", "chain 2"]
    assert calls["group 1"]["group"] == calls["group 2"]["group"] is not None
    assert calls["chord end"]["args"] == [["chord 1", "chord 2"], "chord end"]


def E3_code_without_a_request_has_blocks_too(case):
    from django.db import transaction
    record = case.tasks.record
    with transaction.atomic():
        assert record.delay("committed").id
    for _ in case.project.refuse():
        record.delay("never")
    record.delay("outside")
    assert sorted(firsts(drain(case))) == ["committed", "outside"]


def tasks_have_transactions_of_their_own(case):
    result(case, case.tasks.within.delay(case.next_number()).id)
    calls = drain(case)
    assert sorted(firsts(calls)) == ["kept", "outside"], calls


def retry_and_replace_outlive_the_rollback_that_their_exceptions_cause(case):
    number = case.next_number()
    result(case, case.tasks.again.delay(number).id)
    [call] = drain(case)
    assert call["args"] == ["retried", 2]
    assert case.rows(number) == []
    assert result(case, case.tasks.replaced.delay(number).id) == "replacement"
    assert firsts(drain(case)) == ["replacement"] and case.rows(number) == []


def celerys_signals_are_sent_once_when_the_task_is_called(case):
    from django.db import transaction
    seen = []

    def before(sender, headers, **_):
        headers["trace"] = "abc"
        seen.append(("before", sender))

    def after(sender, **_):
        seen.append(("after", sender))

    before_task_publish.connect(before)
    after_task_publish.connect(after)
    try:
        with transaction.atomic():
            case.tasks.record.delay("traced")
            told = list(seen)
    finally:
        before_task_publish.disconnect(before)
        after_task_publish.disconnect(after)
    if case.is_proxied:
        assert told == seen, (told, seen)
    assert seen == [("before", "record"), ("after", "record")], seen
    [call] = drain(case)
    assert call["headers"]["trace"] == "abc", call


def task_always_eager_is_respected(case):
    from django.db import transaction
    case.tasks.app.conf.task_always_eager = True
    try:
        with transaction.atomic():
            assert case.tasks.look_up.delay(0).get() is False
    finally:
        case.tasks.app.conf.task_always_eager = False


def E6_the_broker_is_not_spoken_to_and_the_log_tells_which_task(case):
    from django.db import transaction
    app = Celery("down", broker="redis://127.0.0.1:1", task_cls="pgatomic_django.celery:Task", set_as_current=False)

    @app.task(name="record")
    def record(*args):
        raise AssertionError("it is the worker who does this")

    with transaction.atomic():
        task_id = record.delay("over").id
    [call] = drain(case)
    assert call["id"] == task_id and call["args"] == ["over"]
    case.wait(lambda: any(payload["headers"]["id"] == task_id and fate == "released" for _, payload, fate in case.events()), "the log to tell")


def one_task_alone_may_have_the_class(case):
    from django.db import transaction
    from pgatomic_django.celery import Task
    app = Celery("stock", broker="redis://127.0.0.1:1", task_cls="celery.app.task:Task", set_as_current=False)

    @app.task(name="record", base=Task)
    def record(*args):
        raise AssertionError("it is the worker who does this")

    with transaction.atomic():
        record.delay("alone")
    [call] = drain(case)
    assert call["args"] == ["alone"]


def E13_a_payload_that_the_proxy_refuses_fails_the_request(case):
    from django.db import DatabaseError, transaction
    try:
        with transaction.atomic():
            case.tasks.record.delay("x" * 2_000_000)
    except DatabaseError as error:
        assert "event" in str(error), error
    else:
        raise AssertionError("2 MB went through")


EVERYWHERE = [
    E3_a_task_that_a_view_calls_runs_after_its_commit_and_its_result_can_be_waited_for,
    E3_so_do_those_of_an_async_view_however_they_are_called,
    E3_so_do_those_of_a_block_in_a_view_that_is_not_atomic,
    E4_what_is_rolled_back_has_called_nobody,
    E4_blocks_that_are_rolled_back_take_their_tasks_with_them,
    E5_every_option_of_celerys_travels,
    E3_code_without_a_request_has_blocks_too,
    tasks_have_transactions_of_their_own,
    retry_and_replace_outlive_the_rollback_that_their_exceptions_cause,
    celerys_signals_are_sent_once_when_the_task_is_called,
    task_always_eager_is_respected,
]
PROXIED = [
    one_task_alone_may_have_the_class,
    E6_the_broker_is_not_spoken_to_and_the_log_tells_which_task,
    E13_a_payload_that_the_proxy_refuses_fails_the_request,
]
