"""huey. It has no way to send many at once."""

from collections.abc import Sequence

from huey import RedisHuey

from benchmarks import tasks
from benchmarks.apps import Call, redis_url, stamped
from benchmarks.work import WORK

app = RedisHuey("bench", url=redis_url())
registered = {
    function.__name__: app.task()(function)
    for function in (tasks.nothing, tasks.wait, tasks.compute, *WORK)
}


def send_each(task: str, calls: Sequence[Call]) -> list[int]:
    return stamped(registered[task], calls)
