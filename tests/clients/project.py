"""The Django project of these tests, all of it: settings, tables, views.

DATABASES has `default` and `second`, both through pgatomic, `direct`, another one without it, and `outside`, which looks at what `default` has
committed. Where the tests want it otherwise they say so with TEST_…, before Django is set up.
"""

import asyncio
import io
import json
import os
import sys

if "TEST_PSYCOPG2" in os.environ:
    sys.modules["psycopg"] = None  # Django takes the other one then

import django
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, connection, connections, models, transaction
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.urls import path, re_path


def database(name, port):
    if "TEST_SQLITE" in os.environ:
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.join(os.environ["TEST_SQLITE"], name)}
    return {
        "ENGINE": "django.db.backends.postgresql", "NAME": name, "HOST": "127.0.0.1", "PORT": port,
        "USER": os.environ["PGUSER"], "PASSWORD": os.environ["PGPASSWORD"],
        "CONN_MAX_AGE": int(os.environ.get("TEST_CONN_MAX_AGE", "0")), "CONN_HEALTH_CHECKS": "TEST_HEALTH_CHECKS" in os.environ,
        "OPTIONS": json.loads(os.environ.get("TEST_OPTIONS", "{}")),
        "ATOMIC_REQUESTS": "TEST_ATOMIC_REQUESTS" in os.environ and name == os.environ["TEST_DATABASE"],
    }


settings.configure(
    SECRET_KEY="of a test", DEBUG=False, ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, USE_TZ=True, TIME_ZONE="UTC",
    MIDDLEWARE=json.loads(os.environ.get("TEST_MIDDLEWARE", '["pgatomic_django.middleware.AtomicRequestsMiddleware"]')),
    INSTALLED_APPS=[], REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "DEFAULT_PERMISSION_CLASSES": [], "UNAUTHENTICATED_USER": None,
                                       "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"]},
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    LOGGING={"version": 1, "handlers": {"file": {"class": "logging.FileHandler", "filename": os.environ["TEST_LOG"]}},
             "loggers": {"django.request": {"handlers": ["file"], "propagate": False}}},
    PGATOMIC_DATABASES=["default", "second", "direct"], DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    DATABASES={
        "default": database(os.environ["TEST_DATABASE"], os.environ["TEST_PORT"]),
        "second": database(os.environ["TEST_DATABASE"] + "_second", os.environ["TEST_PORT"]),
        "direct": database(os.environ["TEST_DATABASE"] + "_direct", os.environ["TEST_DIRECT_PORT"]),
        "outside": database(os.environ["TEST_DATABASE"], os.environ["TEST_DIRECT_PORT"]),
    },
)
django.setup()

from rest_framework.decorators import api_view  # noqa: E402  reads the settings
from rest_framework.exceptions import ValidationError  # noqa: E402


class Item(models.Model):
    id = models.IntegerField(primary_key=True)
    note = models.TextField(default="")

    class Meta:
        app_label = "project"
        db_table = "item"
        managed = False


class Refused(Exception):
    pass


CALLED = []  # what on_commit has called


def add(number, using="default"):
    Item.objects.using(using).create(id=number)


def refuse(using="default", **options):
    """A block that does something, and fails."""
    try:
        with transaction.atomic(using=using, **options):
            yield
            raise Refused
    except Refused:
        pass


# --- views: each gets a number for its first row, in the URL ------------------------------------------------------------------------


def plain(request, number):
    add(number)
    add(number + 1)
    return HttpResponse("done")


def raises(request, number):
    add(number)
    raise Refused


def not_found(request, number):
    add(number)
    raise Http404


def denied(request, number):
    add(number)
    raise PermissionDenied


def returns_nothing(request, number):
    add(number)


def says_500(request, number):
    add(number)
    return HttpResponse("a page of the application's own", status=500)


def rolls_back(request, number):
    add(number)
    transaction.set_rollback(True)
    return HttpResponse("done")


def idle(request, number):
    return HttpResponse("done")


def idle_but_for_on_commit(request, number):
    transaction.on_commit(lambda: CALLED.append(number))
    return HttpResponse("done")


@transaction.non_atomic_requests
def non_atomic(request, number):
    add(number)
    assert not connection.in_atomic_block
    raise Refused


@transaction.non_atomic_requests(using="second")
def non_atomic_in_second(request, number):
    add(number)
    add(number, "second")
    raise Refused


def nested(request, number):
    """Blocks in blocks: 0, 2, 4 and 6 are kept."""
    add(number)
    for _ in refuse():
        add(number + 1)
    with transaction.atomic():
        add(number + 2)
        for _ in refuse():
            add(number + 3)
            with transaction.atomic():
                add(number + 5)
        add(number + 4)
    with transaction.atomic():
        add(number + 6)
    return HttpResponse("done")


def begins_with_a_block(request, number):
    for _ in refuse():
        add(number)
    with transaction.atomic():
        add(number + 1)
    return HttpResponse("done")


def duplicate(request, number):
    """A statement fails in a block, and the view goes on."""
    add(number)
    try:
        with transaction.atomic():
            add(number)
    except DatabaseError:
        add(number + 1)
    return HttpResponse("done")


def divide_by_zero():
    """A failure that Django does not take note of, as it does of one in save()."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")
    except DatabaseError:
        pass


def failure_hidden_in_a_block(request, number):
    """A statement fails in a block that goes on: the block must not end as if it had done its work."""
    add(number)
    try:
        with transaction.atomic():
            add(number + 1)
            divide_by_zero()
    except DatabaseError:
        add(number + 2)
    return HttpResponse("done")


def failure_hidden(request, number):
    """A statement fails, the view takes no notice and believes that all is well."""
    add(number)
    divide_by_zero()
    return HttpResponse("done")


def unsaved_block_fails(request, number):
    add(number)
    for _ in refuse(savepoint=False):
        add(number + 1)
    return HttpResponse("done")


def savepoints(request, number):
    """Savepoints by hand: one that is rolled back twice, one that nobody releases."""
    first = transaction.savepoint()
    add(number)
    transaction.savepoint_rollback(first)
    add(number + 1)
    transaction.savepoint_rollback(first)
    add(number + 2)
    transaction.savepoint_commit(first)
    transaction.savepoint()
    add(number + 3)
    return HttpResponse("done")


def deferred_constraint(request, number):
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO child VALUES (%s, -1)", [number])
    return HttpResponse("done")


def callbacks(request, number):
    """10 and 13 outlive their blocks, in the order of registration; how many rows others see by then is noted too."""
    def call(which):
        transaction.on_commit(lambda: CALLED.append((which, Item.objects.using("outside").filter(id=number).exists())))
    add(number)
    call(10)
    for _ in refuse():
        add(number + 1)
        call(11)
        with transaction.atomic():
            call(12)
    with transaction.atomic():
        call(13)
    if request.GET.get("then") == "raise":
        raise Refused
    if request.GET.get("then") == "rollback":
        transaction.set_rollback(True)
    return HttpResponse("done")


def callback_with_blocks(request, number):
    """What is called after the COMMIT has transactions of its own, one of which fails."""
    def after():
        for _ in refuse():
            add(number + 1)
        with transaction.atomic():
            add(number + 2)
            for _ in refuse():
                add(number + 3)
    transaction.on_commit(after)
    if request.GET.get("only") is None:
        add(number)
    return HttpResponse("done")


def locks(request, number):
    add(number)
    Item.objects.select_for_update().get(id=number)
    assert connection.in_atomic_block
    return HttpResponse("done")


def durable(request, number):
    with transaction.atomic(durable=True):
        add(number)
    return HttpResponse("done")


def copies(request, number):
    """COPY is the first thing that it does with the database, and no statement of Django's."""
    with connection.cursor() as cursor:
        if hasattr(cursor, "copy_expert"):
            cursor.copy_expert("COPY item (id) FROM STDIN", io.StringIO(f"{number}\n{number + 1}\n"))
        else:
            with cursor.copy("COPY item (id) FROM STDIN") as copy:
                copy.write(f"{number}\n{number + 1}\n")
    raise Refused


def closes(request, number):
    add(number)
    connection.close()
    return HttpResponse("done")


def two_databases(request, number):
    add(number)
    add(number, "second")
    add(number, "direct")
    if request.GET.get("then") == "raise":
        raise Refused
    if request.GET.get("then") == "fail in second":
        with connections["second"].cursor() as cursor:
            cursor.execute("INSERT INTO child VALUES (%s, -1)", [number])
    return HttpResponse("done")


def streams(request, number):
    add(number)

    def body():
        yield "row:"
        yield str(Item.objects.using("outside").filter(id=number).count())
        add(number + 1)

    return StreamingHttpResponse(body())


def iterates(request, number):
    """A cursor on the server, in the request's transaction."""
    add(number)
    add(number + 1)
    found = [item.id for item in Item.objects.filter(id__gte=number, id__lte=number + 1).order_by("id").iterator(chunk_size=1)]
    return HttpResponse(json.dumps(found))


def template_fails(request, number):
    add(number)

    def fail():
        raise Refused

    return TemplateResponse(request, engines["django"].from_string("{{ fail }}"), {"fail": fail})


@api_view(["GET"])
def rest_framework_answers(request, number):
    add(number)
    raise ValidationError("which the framework makes an answer of")


def counts(request, number):
    with connection.execute_wrapper(lambda execute, *rest: CALLED.append("statement") or execute(*rest)):
        add(number)
    return HttpResponse("done")


# --- the same, async ----------------------------------------------------------------------------------------------------------------


async def async_plain(request, number):
    await Item.objects.acreate(id=number)
    await asyncio.sleep(0)
    await Item.objects.acreate(id=number + 1)
    return HttpResponse("done")


async def async_raises(request, number):
    await Item.objects.acreate(id=number)
    raise Refused


async def async_gathers(request, number):
    await asyncio.gather(*(Item.objects.acreate(id=number + i) for i in range(5)))
    return HttpResponse("done")


async def async_waits_for_ever(request, number):
    await Item.objects.acreate(id=number)
    CALLED.append("waiting")
    await asyncio.Event().wait()


VIEWS = (plain, raises, not_found, denied, returns_nothing, says_500, rolls_back, idle, idle_but_for_on_commit, non_atomic, non_atomic_in_second, nested,
         begins_with_a_block, duplicate, failure_hidden_in_a_block, failure_hidden, unsaved_block_fails, savepoints, deferred_constraint,
         callbacks, callback_with_blocks, locks, durable, copies, closes, two_databases, streams, iterates, template_fails, counts, async_plain, async_raises,
         async_gathers, async_waits_for_ever)
if "BROKER" in os.environ:
    import project_tasks  # which needs Django to be set up

    VIEWS += project_tasks.VIEWS
urlpatterns = [path(f"{view.__name__}/<int:number>/", view) for view in VIEWS]
urlpatterns += [path("rest_framework_answers/<int:number>/", rest_framework_answers)]  # whose view has another name
urlpatterns += [re_path(r"^by-expression/(?P<number>[^/]\d*)/$", lambda request, number: plain(request, int(number)))]


class Swallows:
    """Middleware that makes a page of any exception."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        return self.get_response(request)

    def process_exception(self, request, exception):
        return HttpResponse("a page", status=200)


class FailsLate:
    """Middleware that fails on the way back."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        self.get_response(request)
        raise Refused
