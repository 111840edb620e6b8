"""RQ itself: its command, and its way to put jobs on a queue."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from rq import Queue
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer


def rq(redis_url: str, *words: str) -> str:
    """Run the stock command."""
    done = subprocess.run(
        [sys.executable, "-m", "rq.cli", *words, "--url", redis_url],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def enqueue(redis: Any, task: str, *calls: Sequence[Any], queue: str = "default") -> list[RqJob]:
    """Put jobs on any queue, as rq does."""
    stock = Queue(queue, connection=redis, serializer=JSONSerializer)
    data = [
        stock.prepare_data(f"tests.tasks.sample_tasks.{task}", args=tuple(args)) for args in calls
    ]
    return list(stock.enqueue_many(data))
