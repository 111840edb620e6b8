"""Its settings."""

import os

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "only for this example")
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("SHOP_DATABASE", "shop.sqlite3"),
    }
}
INSTALLED_APPS = ["heori.django", "shop"]
TASKS = {
    "default": {
        "BACKEND": "heori.django.HeoriBackend",
        "QUEUES": ["default", "mail"],
        "OPTIONS": {"redis_url": os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")},
    }
}
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
