"""taskiq on Redis streams, which acknowledge, with results. It has no way to send many at once."""

import asyncio
import time
from collections.abc import Sequence

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from benchmarks import tasks
from benchmarks.apps import RESULT_TTL, Call, redis_url
from benchmarks.work import WORK, WORK_ASYNC

broker = RedisStreamBroker(redis_url(), queue_name="bench").with_result_backend(
    RedisAsyncResultBackend(redis_url(), result_ex_time=RESULT_TTL)
)
registered = {
    function.__name__: broker.task(function)
    for function in (tasks.nothing_async, tasks.wait_async, tasks.compute, *WORK, *WORK_ASYNC)
}
runner = asyncio.Runner()


def send_each(task: str, calls: Sequence[Call]) -> list[int]:
    return runner.run(_send_each(task, calls))


async def _send_each(task: str, calls: Sequence[Call]) -> list[int]:
    # Makes the stream's group if it is not there: what is sent before that would not be read.
    await broker.startup()
    stamps = []
    for call in calls:
        stamps.append(time.time_ns())
        await registered[task].kiq(*call)
    return stamps
