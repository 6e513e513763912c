"""The middleware: what is a request, how it ends, and what a view sees of it."""

import asyncio

import django

# What a view answers, and which of its rows are there afterwards.
ENDS = (
    ("a_view_that_returns_is_committed", "plain", 200, [0, 1]),
    ("a_view_that_raises_is_rolled_back", "raises", 500, []),
    ("a_view_that_raises_Http404_is_rolled_back", "not_found", 404, []),
    ("a_view_that_raises_PermissionDenied_is_rolled_back", "denied", 403, []),
    ("a_view_that_returns_no_response_is_rolled_back", "returns_nothing", 500, []),
    ("a_response_is_committed_whatever_its_status", "says_500", 500, [0]),
    ("an_exception_that_Django_REST_framework_answers_is_rolled_back", "rest_framework_answers", 400, []),
    ("set_rollback_rolls_back", "rolls_back", 200, []),
    ("E4_each_block_is_kept_or_undone_by_itself", "nested", 200, [0, 2, 4, 6]),
    ("R7_a_block_may_come_first", "begins_with_a_block", 200, [1]),
    ("R9_a_failure_in_a_block_is_the_blocks", "duplicate", 200, [0, 1]),
    ("R9_a_failure_hidden_in_a_block_is_an_error_at_its_end", "failure_hidden_in_a_block", 200, [0, 2]),
    ("a_block_without_a_savepoint_takes_the_request_with_it", "unsaved_block_fails", 200, []),
    ("R8_a_savepoint_by_hand_is_rolled_back_as_often_as_one_likes", "savepoints", 200, [2, 3]),
    ("R3_a_COMMIT_that_fails_is_a_500", "deferred_constraint", 500, []),
    ("what_on_commit_calls_has_transactions_of_its_own", "callback_with_blocks", 200, [0, 2]),
    ("select_for_update_is_allowed", "locks", 200, [0]),
    ("a_durable_block_is_refused_as_in_any_block", "durable", 500, []),
    ("COPY_is_part_of_the_request", "copies", 500, []),
    ("a_connection_that_the_view_closes_is_rolled_back", "closes", 200, []),
    ("the_template_is_part_of_the_request", "template_fails", 500, []),
    ("non_atomic_requests_is_respected", "non_atomic", 500, [0]),
    ("an_async_view_is_committed", "async_plain", 200, [0, 1]),
    ("an_async_view_that_raises_is_rolled_back", "async_raises", 500, []),
    ("what_an_async_view_does_all_at_once_is_one_request", "async_gathers", 200, [0, 1, 2, 3, 4]),
)


def of_end(name, view, status, kept, handler):
    def test(case):
        case.check(view, status, kept, getattr(case, handler))
    test.__name__ = f"{name}{'_under_ASGI' if handler == 'get_async' else ''}"
    return test


ENDS_WSGI = [of_end(*end, "get") for end in ENDS]
ENDS_ASGI = [of_end(*end, "get_async") for end in ENDS]


# --- what holds with pgatomic and without ----------------------------------------------------------------------------------------


def on_commit_waits_for_the_request_and_is_forgotten_with_its_block(case):
    number = case.next_number()
    assert case.get("callbacks", number)[0] == 200
    assert case.project.CALLED == [(10, True), (13, True)], case.project.CALLED


def on_commit_is_forgotten_with_its_request(case):
    for query, status in (("then=raise", 500), ("then=rollback", 200)):
        number = case.next_number()
        assert case.get("callbacks", number, query)[0] == status
        assert case.project.CALLED == [], case.project.CALLED


def on_commit_is_called_though_the_view_asked_nothing_of_the_database(case):
    number = case.next_number()
    assert case.get("idle_but_for_on_commit", number)[0] == 200
    assert case.project.CALLED == [number], case.project.CALLED


def on_commit_has_transactions_in_a_request_without_a_query_too(case):
    number = case.next_number()
    assert case.get("callback_with_blocks", number, "only=that")[0] == 200
    assert case.rows(number) == [2]


def a_view_without_a_query_does_not_even_connect(case):
    from django.db import connections
    from django.db.backends.signals import connection_created
    connections.close_all()
    opened = []
    connection_created.connect(lambda connection, **_: opened.append(connection.alias), weak=False, dispatch_uid="test")
    try:
        for get in (case.get, case.get_async):
            assert get("idle", case.next_number()) == (200, "done")
            assert opened == [], opened
    finally:
        connection_created.disconnect(dispatch_uid="test")


def nothing_of_a_request_is_left_in_the_connection(case):
    from django.db import connection, transaction
    for view in ("plain", "raises", "rolls_back", "failure_hidden", "deferred_constraint", "closes"):
        case.get(view, case.next_number())
        assert not connection.in_atomic_block and connection.get_autocommit() and not connection.needs_rollback, view
        assert connection.atomic_blocks == [] and connection.savepoint_ids == [] and connection.run_on_commit == [], view
        left = {"connect", "create_cursor", "close_if_health_check_failed", "_savepoint", "_commit", "_rollback"} & set(vars(connection))
        assert not left, (view, left)
        with transaction.atomic():
            case.project.add(case.next_number())
        assert case.rows(case.number) == [0]


def the_marks_are_no_queries_of_the_application(case):
    number = case.next_number()
    case.get("counts", number)
    assert case.project.CALLED == ["statement"], case.project.CALLED


def each_database_has_a_transaction(case):
    number = case.next_number()
    assert case.get("two_databases", number)[0] == 200
    assert [case.rows(number, using) for using in ("outside", "second", "direct")] == [[0], [0], [0]]
    number = case.next_number()
    assert case.get("two_databases", number, "then=raise")[0] == 500
    assert [case.rows(number, using) for using in ("outside", "second", "direct")] == [[], [], []]


def a_commit_that_fails_rolls_back_the_databases_before_it(case):
    number = case.next_number()
    assert case.get("two_databases", number, "then=fail%20in%20second")[0] == 500
    assert [case.rows(number, using) for using in ("outside", "second")] == [[], []]


def non_atomic_requests_may_name_a_database(case):
    number = case.next_number()
    assert case.get("non_atomic_in_second", number)[0] == 500
    assert [case.rows(number, using) for using in ("outside", "second")] == [[], [0]]


def a_stream_is_produced_after_the_commit(case):
    number = case.next_number()
    assert case.get("streams", number) == (200, "row:1")
    assert case.rows(number) == [0, 1]


def a_cursor_on_the_server_sees_the_requests_rows(case):
    number = case.next_number()
    assert case.get("iterates", number) == (200, f"[{number}, {number + 1}]")


def a_request_within_a_TestCase_is_a_savepoint_of_it(case):
    from django.db import transaction
    from django.test import Client
    client = Client(raise_request_exception=False)
    number = case.next_number()
    try:
        with transaction.atomic():
            assert client.get(f"/raises/{number}/").status_code == 500
            assert client.get(f"/plain/{number + 1}/").status_code == 200
            assert [item.id - number for item in case.project.Item.objects.filter(id__gte=number).order_by("id")] == [1, 2]
            raise case.project.Refused
    except case.project.Refused:
        pass
    assert case.rows(number) == []


def a_request_whose_client_has_gone_is_rolled_back(case):
    number = case.next_number()

    async def leave():
        asked = await case.ask("async_waits_for_ever", number)
        while "waiting" not in case.project.CALLED:
            await asyncio.sleep(0.01)
        await asked.send_input({"type": "http.disconnect"})
        await asked.wait(timeout=60)

    asyncio.run(asyncio.wait_for(leave(), 20))
    assert case.rows(number) == []
    if case.is_proxied:
        assert case.requests("async_waits_for_ever") == ["outcome"]


def a_setting_that_names_no_database_is_refused(case):
    from django.core.exceptions import ImproperlyConfigured
    from django.test import override_settings
    from pgatomic_django import conf
    assert conf.databases() == ["default", "second", "direct"]
    with override_settings():
        from django.conf import settings
        del settings.PGATOMIC_DATABASES
        assert conf.databases() == ["default", "second", "direct", "outside"]
    for wrong in (["nowhere"], "default"):
        with override_settings(PGATOMIC_DATABASES=wrong):
            try:
                conf.databases()
            except ImproperlyConfigured as error:
                assert "PGATOMIC_DATABASES" in str(error)
            else:
                raise AssertionError(wrong)


# --- pgatomic sees it too --------------------------------------------------------------------------------------------------------


def R2_the_label_is_the_route_of_the_url(case):
    case.get("plain", case.next_number())
    assert "committed" in case.requests("plain")
    case.get("by-expression", case.next_number())
    case.proxy.wait_for_log(msg="request_committed", label="/by-expression/(?P<number>[^/]\\d*)/")


def R3_the_log_tells_how_requests_ended(case):
    case.get("raises", case.next_number())
    case.get("rolls_back", case.next_number())
    assert set(case.requests("raises")) == {"outcome"} and set(case.requests("rolls_back")) == {"outcome"}


def R3_a_hidden_failure_is_a_500_and_not_a_silent_rollback(case):
    case.check("failure_hidden", 500, [])


def R11_a_view_that_is_not_atomic_is_not_marked(case):
    case.get("non_atomic", case.next_number())
    assert case.requests("non_atomic") == []


def R11_an_autocommit_route_leaves_each_statement_and_block_to_itself(case):
    for view, status, kept in (("plain", 200, [0, 1]), ("raises", 500, [0]), ("rolls_back", 200, [0]), ("nested", 200, [0, 2, 4, 6]),
                               ("begins_with_a_block", 200, [1]), ("duplicate", 200, [0, 1]), ("savepoints", 200, [2, 3]),
                               ("failure_hidden", 200, [0]), ("deferred_constraint", 500, []), ("async_raises", 500, [0])):
        case.check(view, status, kept)


def P8_a_connection_lost_between_requests_is_replaced_by_the_health_check(case):
    case.check("plain", 200, [0, 1])
    from django.db import connection, connections
    with connections["outside"].cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])
    case.check("idle", 200, [])
    for view, kept in (("plain", [0, 1]), ("begins_with_a_block", [1])):
        case.check(view, 200, kept)
    with connections["outside"].cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])
    number = case.next_number()
    assert case.get("callbacks", number)[0] == 200
    assert case.project.CALLED == [(10, True), (13, True)], case.project.CALLED


def an_exception_that_middleware_makes_a_page_of_is_rolled_back(case):
    case.check("raises", 200, [])
    case.check("plain", 200, [0, 1])


def middleware_below_that_answers_for_a_view_answers_for_its_work_too(case):
    """It is the first to see the exception, and this middleware never does: the reason to put this one last."""
    case.check("raises", 200, [0])


def an_exception_in_middleware_below_on_the_way_back_is_rolled_back(case):
    case.check("plain", 500, [])
    case.check("async_plain", 500, [], case.get_async)


EVERYWHERE = [
    on_commit_waits_for_the_request_and_is_forgotten_with_its_block,
    on_commit_is_forgotten_with_its_request,
    on_commit_is_called_though_the_view_asked_nothing_of_the_database,
    on_commit_has_transactions_in_a_request_without_a_query_too,
    a_view_without_a_query_does_not_even_connect,
    nothing_of_a_request_is_left_in_the_connection,
    the_marks_are_no_queries_of_the_application,
    each_database_has_a_transaction,
    a_commit_that_fails_rolls_back_the_databases_before_it,
    non_atomic_requests_may_name_a_database,
    a_stream_is_produced_after_the_commit,
    a_cursor_on_the_server_sees_the_requests_rows,
    a_request_within_a_TestCase_is_a_savepoint_of_it,
]
if django.VERSION >= (5, 0):  # the first that tells a view
    EVERYWHERE.append(a_request_whose_client_has_gone_is_rolled_back)
PROXIED = [
    R2_the_label_is_the_route_of_the_url,
    R3_the_log_tells_how_requests_ended,
    R3_a_hidden_failure_is_a_500_and_not_a_silent_rollback,
    R11_a_view_that_is_not_atomic_is_not_marked,
]

EVERYWHERE_SYNC = [test for test in EVERYWHERE if test not in (a_view_without_a_query_does_not_even_connect,
                   a_request_whose_client_has_gone_is_rolled_back)]
ENDS_SYNC = [of_end(*end, "get") for end in ENDS if not end[1].startswith("async_")]
AUTOCOMMIT = [R11_an_autocommit_route_leaves_each_statement_and_block_to_itself]
PERSISTENT = [P8_a_connection_lost_between_requests_is_replaced_by_the_health_check]
SWALLOWED = [an_exception_that_middleware_makes_a_page_of_is_rolled_back]
SWALLOWED_LATER = [middleware_below_that_answers_for_a_view_answers_for_its_work_too]
FAILED_LATE = [an_exception_in_middleware_below_on_the_way_back_is_rolled_back]
OF_POSTGRESQL = ("failure_hidden_in_a_block", "deferred_constraint", "copies")
ENDS_ANY = [of_end(*end, "get") for end in ENDS if end[1] not in OF_POSTGRESQL] + [
    on_commit_waits_for_the_request_and_is_forgotten_with_its_block, on_commit_is_forgotten_with_its_request, each_database_has_a_transaction,
    a_setting_that_names_no_database_is_refused]
