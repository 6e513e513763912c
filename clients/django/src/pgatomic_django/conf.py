"""The package's settings. None of them has to be set."""

from __future__ import annotations

from collections.abc import Iterable

from django.conf import settings
from django.db import connections


def databases() -> Iterable[str]:
    """PGATOMIC_DATABASES: the databases in which requests are atomic.

    Unless it is set, all that are PostgreSQL's and in which Django leaves transactions to itself: with AUTOCOMMIT switched off, the
    application has said that it does all of that by hand.
    """
    chosen: Iterable[str] | None = getattr(settings, "PGATOMIC_DATABASES", None)
    if chosen is not None:
        return chosen
    return [alias for alias in connections if connections[alias].vendor == "postgresql" and connections.settings[alias]["AUTOCOMMIT"]]


def celery_database() -> str:
    """PGATOMIC_CELERY_DATABASE: the database whose COMMIT Celery's tasks wait for."""
    return str(getattr(settings, "PGATOMIC_CELERY_DATABASE", "default"))


def celery_channel() -> str:
    """PGATOMIC_CELERY_CHANNEL: the notification channel to which pgatomic's config gives a sink of type `celery`."""
    return str(getattr(settings, "PGATOMIC_CELERY_CHANNEL", "celery"))
