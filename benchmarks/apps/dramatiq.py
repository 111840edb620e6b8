"""dramatiq. Its groups send one by one; it has no way to send many at once."""

from collections.abc import Sequence

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends.redis import RedisBackend

from benchmarks import tasks
from benchmarks.apps import Call, redis_url, results_kept, stamped
from benchmarks.work import WORK

broker = RedisBroker(url=redis_url())
options = {}
if results_kept():
    broker.add_middleware(Results(backend=RedisBackend(url=redis_url())))
    options["store_results"] = True
dramatiq.set_broker(broker)
registered = {
    function.__name__: dramatiq.actor(function, queue_name="bench", **options)
    for function in (tasks.nothing, tasks.wait, tasks.compute, *WORK)
}


def send_each(task: str, calls: Sequence[Call]) -> list[int]:
    return stamped(registered[task].send, calls)
