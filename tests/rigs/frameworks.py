"""Programs as applications write them that run rq with Django or with Sentry, and Heori's classes.

    python -m tests.rigs.frameworks django|sentry URL

They need django-rq and sentry-sdk, and print what they have seen, as JSON.
"""

import importlib
import json
import logging
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import redis
from rq import Queue

from heori.rq import SimpleWorker, Worker
from tests.tasks import horse_tasks

PAGES = (
    "/django-rq/",
    "/django-rq/stats.json",
    "/django-rq/queues/0/",
    "/django-rq/queues/0/finished/",
    "/django-rq/queues/0/failed/",
    "/django-rq/workers/0/",
    "/admin/",
)


def with_django(url: str) -> dict[str, Any]:
    """`manage.py rqworker` with RQ = {"WORKER_CLASS": "heori.rq.Worker"}, and the admin's pages."""
    with TemporaryDirectory() as folder:
        _set_django_up(url, Path(folder) / "db.sqlite3")
        call = importlib.import_module("django.core.management").call_command
        users: Any = importlib.import_module("django.contrib.auth.models").User
        call("migrate", verbosity=0)
        user = users.objects.create_superuser("me", "me@example.com", "secret")
        django_rq: Any = importlib.import_module("django_rq")
        queue = django_rq.get_queue("default")
        jobs = [queue.enqueue(horse_tasks.count_users), queue.enqueue(horse_tasks.fail)]
        call("rqworker", "default", "high", "--burst", verbosity=0)
        client = importlib.import_module("django.test").Client()
        client.force_login(user)
        worker = importlib.import_module("django_rq.workers").get_worker("default")
        return {
            "class": f"{type(worker).__module__}.{type(worker).__qualname__}",
            "jobs": [[job.get_status(), job.return_value(refresh=True)] for job in jobs],
            "pages": {page: client.get(page).status_code for page in PAGES},
        }


def _set_django_up(url: str, database: Path) -> None:
    contrib, processors = "django.contrib.", "django.contrib.{0}.context_processors.{0}"
    importlib.import_module("django.conf").settings.configure(
        INSTALLED_APPS=[
            *(contrib + app for app in ("contenttypes", "auth", "admin", "sessions", "messages")),
            "django_rq",
        ],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(database)}},
        RQ_QUEUES={"default": {"URL": url}, "high": {"URL": url}},
        RQ={"WORKER_CLASS": "heori.rq.Worker"},
        SECRET_KEY="x",
        ROOT_URLCONF="tests_urls",
        ALLOWED_HOSTS=["*"],
        MIDDLEWARE=[
            contrib + "sessions.middleware.SessionMiddleware",
            contrib + "auth.middleware.AuthenticationMiddleware",
            contrib + "messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        processors.format("auth"),
                        processors.format("messages"),
                    ]
                },
            }
        ],
    )
    importlib.import_module("django").setup()
    urls: Any = importlib.import_module("django.urls")
    module: Any = ModuleType("tests_urls")
    module.urlpatterns = [
        urls.path("admin/", importlib.import_module("django.contrib.admin").site.urls),
        urls.path("django-rq/", urls.include("django_rq.urls")),
    ]
    sys.modules["tests_urls"] = module


def with_sentry(url: str) -> dict[str, Any]:
    """Both classes after `sentry_sdk.init`, whose events go to a list in Redis."""
    sentry: Any = importlib.import_module("sentry_sdk")
    transport: Any = importlib.import_module("sentry_sdk.transport").Transport

    class Recording(transport):  # type: ignore[misc]
        def capture_envelope(self, envelope: Any) -> None:
            with redis.Redis.from_url(url, socket_timeout=None) as client:
                for item in envelope.items:
                    if event := item.get_event() or item.get_transaction_event():
                        raised = (event.get("exception") or {}).get("values", [])
                        told = [item.type, event.get("transaction"), [e["type"] for e in raised]]
                        client.rpush("sentry", json.dumps(told))

    sentry.init(dsn="http://x@127.0.0.1:1/1", transport=Recording, traces_sample_rate=1.0)
    seen: dict[str, Any] = {}
    with redis.Redis.from_url(url, socket_timeout=None) as client:
        for kind in (Worker, SimpleWorker):
            queue = Queue(connection=client)
            jobs = [queue.enqueue(horse_tasks.add, 1, 2), queue.enqueue(horse_tasks.fail)]
            worker = kind([queue], connection=client)
            worker.work(burst=True)
            events: Any = client.lrange("sentry", 0, -1)
            seen[kind.__name__] = {
                "way": worker.heori_way,
                "jobs": [job.get_status() for job in jobs],
                "events": [json.loads(event) for event in events],
            }
            client.delete("sentry")
    return seen


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    what = {"django": with_django, "sentry": with_sentry}[sys.argv[1]]
    print(json.dumps(what(sys.argv[2])))
