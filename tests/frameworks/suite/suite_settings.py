"""Settings of Django's tests."""

SECRET_KEY = "of the tests"
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
TASKS = {"default": {"BACKEND": "heori.django.HeoriBackend", "QUEUES": []}}
