"""A sign-up that takes its time, one that fails at its end, and both once more, async."""

import asyncio
import time

from django.conf import settings
from django.http import HttpResponse

from .models import Profile, User
from .tasks import welcome


class CardRefused(Exception):
    pass


def sign_up(request, number):
    user = User.objects.create(email=f"user{number}@example.com")
    welcome.delay(user.pk)
    time.sleep(settings.PAUSE)
    Profile.objects.create(user=user)
    return HttpResponse("welcome\n")


def sign_up_and_fail(request, number):
    user = User.objects.create(email=f"user{number}@example.com")
    welcome.delay(user.pk)
    time.sleep(settings.PAUSE)
    raise CardRefused


async def async_sign_up(request, number):
    user = await User.objects.acreate(email=f"user{number}@example.com")
    welcome.delay(user.pk)
    await asyncio.sleep(settings.PAUSE)
    await Profile.objects.acreate(user=user)
    return HttpResponse("welcome\n")


async def async_sign_up_and_fail(request, number):
    user = await User.objects.acreate(email=f"user{number}@example.com")
    welcome.delay(user.pk)
    await asyncio.sleep(settings.PAUSE)
    raise CardRefused
