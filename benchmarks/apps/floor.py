"""The floor: what Heori's scripts and redis-py cost with nothing of Heori around them.

As a program it only claims and acknowledges, with no pipe, worker or task: in two threads, so that
one reads a reply while the server works for the other. As a sender it sends the words of Heori's
enqueue, prepared before, with a bare client.
"""

import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import redis

from benchmarks.apps import Call, heori_tasks, redis_url, stamped
from heori_common import resolution
from heori_common.protocol import payload
from heori_common.protocol.commands import Command, Commands
from heori_common.protocol.job import FINISHED, NewJob, Outcome, Settled
from heori_common.redis.client import RedisClient

__all__ = ["heori_tasks", "send_bulk", "send_each"]

COMMANDS = Commands()
BATCH = 128  # as Heori claims, and acknowledges
LOOPS = 3
IDLE = 0.001  # seconds between two looks at an empty queue


def send_each(task: str, calls: Sequence[Call]) -> list[int]:
    commands = enqueues(task, calls)
    with redis.Redis.from_url(redis_url(), protocol=3) as client:
        for enqueue in commands[:1]:
            assert enqueue.in_full is not None
            client.script_load(str(enqueue.in_full[1]))
        words = [enqueue.words for enqueue in commands]
        return stamped(partial(client.execute_command), words)


def enqueues(task: str, calls: Sequence[Call]) -> list[Command[Any]]:
    """One for each call."""
    return [COMMANDS.enqueue("bench", [_job(task, call)]) for call in calls]


def send_bulk(task: str, calls: Sequence[Call]) -> None:
    with RedisClient(redis_url()) as redis_client:
        redis_client.execute(COMMANDS.enqueue("bench", [_job(task, call) for call in calls]))


def _job(task: str, call: Call) -> NewJob:
    found = resolution.resolve_typed(f"benchmarks.tasks.{task}", ())
    words = payload.Call(found.name, call, {})
    return NewJob.create(str(uuid.uuid4()), words, found.timeout)


def main() -> None:
    with ThreadPoolExecutor(LOOPS) as loops:
        for number in range(LOOPS):
            loops.submit(claim_and_acknowledge, f"floor-{number}")


def claim_and_acknowledge(name: str) -> None:
    """One round trip a batch: the acknowledgement of the last one and the next claim together."""
    ended: list[Settled] = []
    with RedisClient(redis_url()) as redis_client:
        while True:
            commands: list[Command[Any]] = [
                COMMANDS.claim(
                    ["bench"],
                    BATCH,
                    lease=30,
                    consumer=name,
                    token=uuid.uuid4().hex,
                    max_payload=10**6,
                )
            ]
            if ended:
                commands.insert(0, COMMANDS.ack(ended, consumer=name))
            claimed = redis_client.execute_many(commands)[-1]
            ended = [(claim, Outcome(FINISHED, b"MQ==")) for claim in claimed.claims]
            if claimed.empty:
                time.sleep(IDLE)


if __name__ == "__main__":
    main()
