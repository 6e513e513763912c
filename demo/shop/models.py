from django.db import models


class User(models.Model):
    email = models.EmailField(unique=True)


class Profile(models.Model):
    user = models.OneToOneField(User, models.CASCADE)
