"""Celery, as it is configured from the start. It has no way to send many at once."""

from collections.abc import Sequence

from celery import Celery

from benchmarks import tasks
from benchmarks.apps import Call, redis_url, results_kept, stamped
from benchmarks.work import WORK

app = Celery("bench", broker=redis_url(), backend=redis_url() if results_kept() else None)
app.conf.task_default_queue = "bench"
app.conf.broker_connection_retry_on_startup = True
registered = {
    function.__name__: app.task(function, ignore_result=not results_kept())
    for function in (tasks.nothing, tasks.wait, tasks.compute, *WORK)
}


def send_each(task: str, calls: Sequence[Call]) -> list[int]:
    return stamped(registered[task].delay, calls)
