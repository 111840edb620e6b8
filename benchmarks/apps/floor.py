"""The floor: what Heori's scripts and redis-py cost with nothing of Heori around them.

As a program it only claims and acknowledges, with no pipe, worker or task. As a sender it sends
the words of Heori's enqueue, prepared before, with a bare client.
"""

import time
import uuid
from collections.abc import Sequence
from functools import partial

import redis

from benchmarks.apps import Call, heori_tasks, redis_url, stamped
from heori_common import resolution
from heori_common.protocol import payload
from heori_common.protocol.commands import Commands
from heori_common.protocol.job import FINISHED, NewJob, Outcome
from heori_common.redis.client import RedisClient

__all__ = ["heori_tasks", "send_bulk", "send_each"]

COMMANDS = Commands()
BATCH = 64
IDLE = 0.001  # seconds between two looks at an empty queue


def send_each(task: str, calls: Sequence[Call]) -> list[int]:
    enqueues = [COMMANDS.enqueue("bench", [_job(task, call)]) for call in calls]
    with redis.Redis.from_url(redis_url(), protocol=3) as client:
        for enqueue in enqueues[:1]:
            assert enqueue.in_full is not None
            client.script_load(str(enqueue.in_full[1]))
        words = [enqueue.words for enqueue in enqueues]
        return stamped(partial(client.execute_command), words)  # type: ignore[arg-type]


def send_bulk(task: str, calls: Sequence[Call]) -> None:
    with RedisClient(redis_url()) as redis_client:
        redis_client.execute(COMMANDS.enqueue("bench", [_job(task, call) for call in calls]))


def _job(task: str, call: Call) -> NewJob:
    found = resolution.resolve_typed(f"benchmarks.tasks.{task}", ())
    words = payload.Call(found.name, call, {})
    return NewJob.create(str(uuid.uuid4()), words, found.timeout)


def main() -> None:
    with RedisClient(redis_url()) as redis_client:
        while True:
            claimed = redis_client.execute(
                COMMANDS.claim(
                    ["bench"],
                    BATCH,
                    lease=30,
                    consumer="floor",
                    token=uuid.uuid4().hex,
                    max_payload=10**6,
                )
            )
            if claimed.empty:
                time.sleep(IDLE)
                continue
            ended = [(claim, Outcome(FINISHED, b"MQ==")) for claim in claimed.claims]
            redis_client.execute(COMMANDS.ack(ended, consumer="floor"))


if __name__ == "__main__":
    main()
