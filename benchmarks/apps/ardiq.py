"""ardiq, which keeps results by itself; its functions are coroutines or plain ones."""

import asyncio
import os
import time
from collections.abc import Sequence

from ardiq import Ardiq

from benchmarks import tasks
from benchmarks.apps import SLOTS, Call, redis_url
from benchmarks.work import WORK, WORK_ASYNC

app = Ardiq(redis_url(), "bench", concurrency=int(os.environ[SLOTS]))
registered = {
    function.__name__: app.task()(function)
    for function in (
        *(tasks.nothing, tasks.nothing_async, tasks.wait, tasks.wait_async, tasks.compute),
        *(*WORK, *WORK_ASYNC),
    )
}
runner = asyncio.Runner()


def send_each(task: str, calls: Sequence[Call]) -> list[int]:
    return runner.run(_send_each(task, calls))


async def _send_each(task: str, calls: Sequence[Call]) -> list[int]:
    stamps = []
    for call in calls:
        stamps.append(time.time_ns())
        await registered[task].enqueue(*call)
    return stamps


def send_bulk(task: str, calls: Sequence[Call]) -> None:
    prepare = registered[task].prepare
    runner.run(app.enqueue_many([prepare(*call) for call in calls]))
