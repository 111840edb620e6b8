"""Consumers are drained while their queue is full; jobs, and their order, are compared."""

import itertools
import random
import signal
import time
from dataclasses import dataclass, field
from typing import Any

from tests.chaos import tasks
from tests.chaos.fleet import QUEUE, Fleet, Report
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until

GRACE = 30.0  # seconds; far more than a drain takes, also on a busy machine
# So many jobs wait whenever a drain begins, at least.
WAITING = 500


@dataclass
class Drains:
    """What was counted over some drains of one model."""

    model: str
    drains: int
    sent: int = 0
    finished: int = 0
    lost: int = 0
    twice: int = 0
    failed: int = 0
    held: int = 0  # jobs that the consumers held when they got the signal, begun or not
    out_of_order: int = 0  # drains after which the queue was not as if they had never been claimed
    counted: int = 0  # jobs whose delivery counts though they never began
    leases: int = 0
    processes_left: int = 0
    bad_exits: list[int] = field(default_factory=list)
    longest: float = 0.0  # seconds from the signal to the end

    def problems(self) -> list[str]:
        """What is not as it must be."""
        found = {
            f"{self.lost} jobs are lost": self.lost,
            f"{self.twice} jobs ran twice": self.twice,
            f"{self.failed} jobs failed": self.failed,
            f"{self.out_of_order} drains changed the order": self.out_of_order,
            f"{self.counted} jobs count a delivery that was none": self.counted,
            f"{self.leases} leases are left over": self.leases,
            f"{self.processes_left} processes are left": self.processes_left,
            f"they ended with {self.bad_exits}": self.bad_exits,
            f"one took {self.longest:.1f} s, over the grace": self.longest > GRACE,
        }
        return [f"{self.model}: {problem}" for problem, there in found.items() if there]


def drains(
    model: str, number: int, chance: random.Random, report: Report, *, pace: float = 0.01
) -> Drains:
    """Drain one consumer after the other, each in the midst of its work.

    Args:
        number: of drains.
        pace: seconds that one job takes.
    """
    result = Drains(model, number)
    with Fleet(model, HEORI_GRACE=str(GRACE)) as fleet:
        sent: list[str] = []  # ids, in the order in which they are to run
        coming = fleet.start()
        for turn in range(number):
            report(turn, number)
            _send(fleet, sent, pace)
            consumer = coming.ready()
            done = fleet.finished() + chance.randrange(1, 100)
            until(lambda done=done: fleet.finished() >= done)  # type: ignore[misc]
            _drain(consumer, result)
            _compare(fleet, sent, result)
            coming = fleet.start()
        coming.ready()
        until(lambda: fleet.finished() + fleet.failed() == len(sent))
        _drain(coming, result)
        report(number, number)
        runs = fleet.runs()
        result.sent, result.finished = len(sent), fleet.finished()
        result.lost = len(sent) - min(len(runs), result.finished)
        result.twice = runs.total() - len(runs)
        result.failed, result.leases = fleet.failed(), fleet.leases()
        result.processes_left = fleet.left()
    return result


def _send(fleet: Fleet, sent: list[str], pace: float) -> None:
    """Have enough jobs waiting, plain and async ones in turns."""
    for kind in itertools.cycle([tasks.run, tasks.run_later]):
        if fleet.redis.llen(fleet.keys.queue(QUEUE)) >= WAITING:
            return
        task: Any = kind
        calls = [(str(fleet.path), len(sent) + number, pace) for number in range(50)]
        sent += [handle.id for handle in fleet.producer.submit_many(task, calls)]


def _drain(consumer: Consumer, result: Drains) -> None:
    start = time.monotonic()
    code = consumer.stop(signal.SIGTERM, timeout=3 * GRACE)
    result.longest = max(result.longest, time.monotonic() - start)
    if code != 0:
        result.bad_exits.append(code)
    result.held += sum(line["held"] for line in consumer.log if line["event"] == "draining")


def _compare(fleet: Fleet, sent: list[str], result: Drains) -> None:
    """Whether exactly what was not run waits, in the order in which it was sent."""
    done = {job_id.decode() for job_id in fleet.redis.zrange(fleet.keys.finished(QUEUE), 0, -1)}
    waiting = [job_id.decode() for job_id in fleet.redis.lrange(fleet.keys.queue(QUEUE), 0, -1)]
    result.out_of_order += waiting != [job_id for job_id in sent if job_id not in done]
    pipeline = fleet.redis.pipeline(transaction=False)
    for job_id in waiting:
        pipeline.hget(fleet.keys.job(job_id), "heori_deliveries")
    result.counted += sum(int(deliveries or 0) for deliveries in pipeline.execute())
