"""A shop in Django and Celery, as small as it can be and still get wrong what all of them get wrong.

Its settings come from the environment, so that the same shop runs with pgatomic and without: SHOP_PGATOMIC switches on the lines that make the
difference, in settings.py and here.
"""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

if "SHOP_PGATOMIC" in os.environ:
    celery = Celery("shop", task_cls="pgatomic_django.celery:Task")
else:
    celery = Celery("shop")
celery.config_from_object("django.conf:settings", namespace="CELERY")
celery.autodiscover_tasks(["shop"])
