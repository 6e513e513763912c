"""The worker's side. What it has done it counts in Redis, for the demo to look at."""

from celery import shared_task
from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
import redis

from .models import User

counted = redis.Redis.from_url(settings.REDIS)


@shared_task
def welcome(user_id):
    try:
        user = User.objects.get(pk=user_id)
        assert user.profile
    except ObjectDoesNotExist:
        counted.incr("strangers")
        raise
    counted.incr("welcomed")


@shared_task
def count(number):
    counted.sadd("counted", number)
