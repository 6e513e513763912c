"""The package's settings. None of them has to be set."""

from __future__ import annotations

from collections.abc import Iterable

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections


def databases() -> list[str]:
    """PGATOMIC_DATABASES: the databases in which requests are atomic.

    Unless it is set, all in which Django is left to manage transactions: with AUTOCOMMIT switched off, the application has said that it does
    that by hand.
    """
    chosen: Iterable[str] | None = getattr(settings, "PGATOMIC_DATABASES", None)
    if chosen is None:
        return [alias for alias in connections if _has_autocommit(alias)]
    wrong = [alias for alias in chosen if alias not in connections.settings or not _has_autocommit(alias)]
    if wrong or isinstance(chosen, str):
        raise ImproperlyConfigured(f"PGATOMIC_DATABASES: {wrong or chosen!r}: not aliases of DATABASES with AUTOCOMMIT")
    return list(chosen)


def _has_autocommit(alias: str) -> bool:
    return bool(connections.settings[alias]["AUTOCOMMIT"])


def celery_database() -> str:
    """PGATOMIC_CELERY_DATABASE: the database whose COMMIT Celery's tasks wait for."""
    return str(getattr(settings, "PGATOMIC_CELERY_DATABASE", "default"))


def celery_channel() -> str:
    """PGATOMIC_CELERY_CHANNEL: the notification channel to which pgatomic's config gives a sink of type `celery`."""
    return str(getattr(settings, "PGATOMIC_CELERY_CHANNEL", "celery"))
