"""Jobs that wait for others, sent with stock rq, while whole consumers are killed; none is lost.

Of every ten parents one fails, and one is not kept. One more has so many children that a mark is
left of them.
"""

import random
import time
from dataclasses import dataclass
from typing import Any

from rq import Queue
from rq.job import Dependency
from rq.serializers import JSONSerializer

from tests.chaos.fleet import QUEUE, Fleet, Report
from tests.chaos.kills import LEASE, PAST_LEASE, consumer_name
from tests.rigs.consumers import Consumer

RUN, FAIL = "tests.chaos.tasks.run", "tests.chaos.tasks.run_and_fail"
CONSUMERS = 3
MANY = 600  # children of one parent
STANDSTILL_S = 30.0  # without any run, though all consumers live: what has not run then is lost


@dataclass
class Dependents:
    """What was counted in one run.

    Attributes:
        pairs: of a parent and its child.
        lost: children that have never run.
        twice: runs more than jobs: of what consumers held when they were killed.
        marks: jobs that have ended and whose children are not looked at.
        deferred: entries that are left of jobs that wait.
    """

    model: str
    pairs: int
    kills: int = 0
    lost: int = 0
    twice: int = 0
    marks: int = 0
    deferred: int = 0
    leases: int = 0
    seconds: float = 0.0

    def problems(self) -> list[str]:
        """What is not as it must be."""
        found = {
            f"{self.lost} children are lost": self.lost,
            f"the children of {self.marks} jobs are not settled": self.marks,
            f"{self.deferred} jobs are listed as waiting": self.deferred,
            f"{self.leases} leases are left over": self.leases,
        }
        return [f"{self.model}: {problem}" for problem, there in found.items() if there]

    def row(self) -> dict[str, str]:
        """What a table shows of it."""
        return {
            "model": self.model,
            "pairs": f"{self.pairs:,}",
            "consumers killed": str(self.kills),
            "lost": str(self.lost),
            "runs more than jobs": str(self.twice),
            "seconds": f"{self.seconds:.0f}",
        }


def dependents(
    model: str,
    pairs: int,
    chance: random.Random,
    report: Report,
    *,
    every: float = 0.2,
    pace: float = 0.03,
) -> Dependents:
    """Run pairs of jobs on consumers of which one is killed all the time.

    Args:
        every: seconds between two kills, if anybody else is at work.
        pace: seconds that one job takes.
    """
    with Fleet(model, HEORI_LEASE=str(LEASE), HEORI_MAX_DELIVERIES="10000") as fleet:
        began = time.monotonic()
        wanted = _send(fleet, pairs, pace)
        consumers = [fleet.start() for _ in range(CONSUMERS)]
        kills = seen = 0
        next_kill = moved = time.monotonic()
        while True:
            now = time.monotonic()
            runs = fleet.runs()
            if len(runs) > seen:
                seen, moved = len(runs), now
            report(min(seen, wanted), wanted)
            if seen >= wanted or now - moved > STANDSTILL_S:
                break
            # Near a standstill nobody is killed: what would still come is to come.
            if now >= next_kill and now - moved < STANDSTILL_S / 3:
                next_kill = now + every
                kills += _kill(fleet, consumers, chance)
            time.sleep(0.02)
        deadline = time.monotonic() + 10 * PAST_LEASE
        while (fleet.leases() or _marks(fleet)) and time.monotonic() < deadline:
            time.sleep(0.1)
        runs = fleet.runs()
        return Dependents(
            model,
            pairs=pairs,
            kills=kills,
            lost=wanted - len(runs),
            twice=runs.total() - len(runs),
            marks=_marks(fleet),
            deferred=fleet.count(fleet.keys.deferred(QUEUE)),
            leases=fleet.leases(),
            seconds=time.monotonic() - began,
        )


def _send(fleet: Fleet, pairs: int, pace: float) -> int:
    """Send them; returns how many jobs they are."""
    stock = Queue(QUEUE, connection=fleet.redis, serializer=JSONSerializer)
    path = str(fleet.path)

    def send(number: int, task: str = RUN, **options: Any) -> Any:
        return stock.enqueue(task, path, number, pace, **options)

    # Numbers of which tasks.leave_program leaves nothing behind.
    numbers = (n for n in iter(range(1, 50 * pairs + 50 * MANY)) if n % 50)
    for pair in range(pairs):
        failing, unkept = pair % 10 == 3, pair % 10 == 7
        parent = send(next(numbers), FAIL if failing else RUN, result_ttl=0 if unkept else 3600)
        send(next(numbers), depends_on=Dependency([parent], allow_failure=failing))
    parent = send(next(numbers), result_ttl=0)
    for _ in range(MANY):
        send(next(numbers), depends_on=parent)
    return 2 * pairs + 1 + MANY


def _kill(fleet: Fleet, consumers: list[Consumer], chance: random.Random) -> bool:
    """Kill one that is at work, if another is; returns whether there was one."""
    up = [each for each in consumers if consumer_name(each) is not None]
    if len(up) < 2:
        return False
    victim = chance.choice(up)
    victim.process.kill()
    victim.process.wait()
    consumers.remove(victim)
    consumers.append(fleet.start())
    return True


def _marks(fleet: Fleet) -> int:
    return fleet.count(fleet.keys.ended())
