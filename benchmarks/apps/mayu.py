"""mayu, whose results are kept where they are asked for. It has no way to send many at once."""

from collections.abc import Sequence

from mayu import App

from benchmarks import tasks
from benchmarks.apps import RESULT_TTL, Call, redis_url, results_kept, stamped
from benchmarks.work import WORK

app = App(redis_url(), result_ttl=RESULT_TTL if results_kept() else None, default_queue="bench")
registered = {
    function.__name__: app.task(function)
    for function in (tasks.nothing, tasks.wait, tasks.compute, *WORK)
}


def send_each(task: str, calls: Sequence[Call]) -> list[int]:
    return stamped(registered[task].delay, calls)
