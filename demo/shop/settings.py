import os

SECRET_KEY = "of a demo"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = ["shop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MIDDLEWARE = []
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"], "HOST": os.environ["PGHOST"],
        "PORT": os.environ["PGPORT"], "USER": os.environ["PGUSER"], "PASSWORD": os.environ["PGPASSWORD"],
        "ATOMIC_REQUESTS": "SHOP_ATOMIC_REQUESTS" in os.environ,
    }
}
CELERY_BROKER_URL = os.environ["SHOP_BROKER"]
CELERY_TASK_IGNORE_RESULT = True
PAUSE = float(os.environ["SHOP_PAUSE"])
REDIS = os.environ["SHOP_REDIS"]

if "SHOP_PGATOMIC" in os.environ:
    MIDDLEWARE.append("pgatomic_django.middleware.AtomicRequestsMiddleware")
