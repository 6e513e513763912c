"""The settings in which a project is tested, and which tests are for each."""

import importlib.metadata
import json

import django

import celery_tests
import middleware_tests
from harness import AUTOCOMMIT

TABLES = """
    CREATE TABLE item (id int PRIMARY KEY, note text NOT NULL DEFAULT '');
    CREATE TABLE child (id int PRIMARY KEY, item_id int NOT NULL REFERENCES item DEFERRABLE INITIALLY DEFERRED);
"""


VERSIONS = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("Django", "celery", "psycopg", "psycopg2-binary"))

ALL = middleware_tests.EVERYWHERE + middleware_tests.ENDS_WSGI

OURS = "pgatomic_django.middleware.AtomicRequestsMiddleware"


def with_options(**options):
    return {"OPTIONS": json.dumps(options)}


def with_middleware(*names):
    return {"MIDDLEWARE": json.dumps(names)}


SETTINGS = {
    "proxied": {"tests": ALL + middleware_tests.ENDS_ASGI + middleware_tests.PROXIED},
    "direct": {"direct": True, "tests": ALL + middleware_tests.ENDS_ASGI},
    "autocommit": {"routes": AUTOCOMMIT, "tests": middleware_tests.AUTOCOMMIT},
    "sqlite": {"sqlite": True, "tests": middleware_tests.ENDS_ANY},
    "persistent": {"environment": {"CONN_MAX_AGE": "600", "HEALTH_CHECKS": "1"},
                   "tests": ALL + middleware_tests.PROXIED + middleware_tests.PERSISTENT},
    "pool": {"environment": with_options(pool={"min_size": 1, "max_size": 4}),
             "tests": ALL + middleware_tests.ENDS_ASGI + middleware_tests.PROXIED},
    "binding": {"environment": with_options(server_side_binding=True), "tests": ALL + middleware_tests.PROXIED},
    "psycopg2": {"environment": {"PSYCOPG2": "1"}, "tests": ALL + middleware_tests.ENDS_ASGI + middleware_tests.PROXIED},
    "atomic_requests": {"environment": {"ATOMIC_REQUESTS": "1"},
                        "tests": middleware_tests.EVERYWHERE_SYNC + middleware_tests.ENDS_SYNC},
    "above": {"environment": with_middleware(OURS, "project.Swallows"), "tests": middleware_tests.SWALLOWED_LATER},
    "below": {"environment": with_middleware("project.Swallows", OURS), "tests": middleware_tests.SWALLOWED},
    "celery": {"broker": "redis", "tests": celery_tests.EVERYWHERE + celery_tests.PROXIED},
    "celery_psycopg2": {"broker": "redis", "environment": {"PSYCOPG2": "1"}, "tests": celery_tests.EVERYWHERE + celery_tests.PROXIED},
    "celery_binding": {"broker": "redis", "environment": with_options(server_side_binding=True),
                       "tests": celery_tests.EVERYWHERE + celery_tests.PROXIED},
    "celery_direct": {"broker": "redis", "direct": True, "tests": celery_tests.EVERYWHERE},
    "celery_rabbitmq": {"broker": "rabbitmq", "tests": celery_tests.EVERYWHERE + celery_tests.PROXIED},
    "late": {"environment": with_middleware(OURS, "project.FailsLate"), "tests": middleware_tests.FAILED_LATE},
}


# What one run of all tests can afford; the others are the same tests in other words.
USUAL = ("proxied", "direct", "sqlite", "autocommit", "persistent", "above", "below", "late", "celery")


def chosen(every):
    """The usual settings, or all that the installed versions know."""
    for name in SETTINGS if every else USUAL:
        if name == "pool" and django.VERSION < (5, 1):
            continue
        yield name
