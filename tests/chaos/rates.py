"""A rate over eight consumers, of which one is killed half way: how well it is kept."""

import time
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate

from tests.chaos.fleet import Fleet, Report, ready
from tests.chaos.kills import LEASE
from tests.chaos.tasks import AT_ONCE, EACH_SECOND, run_at_rate
from tests.rigs.waiting import until

CONSUMERS = 8
TOLERATED = 0.01  # of the rate
STANDSTILL_S = 30.0


@dataclass
class Rates:
    """What was measured.

    Attributes:
        kept: jobs that began in a time, by those that might have.
        beyond: by how many jobs the window with most was over what it may have, by the server's
            clock when they were claimed, and by that of this machine when they began.
        overtaken: jobs that were claimed after one that was sent after them.
    """

    model: str
    jobs: int
    seconds: float = 0.0
    kept: float = 0.0
    beyond_claimed: float = 0.0
    beyond_begun: float = 0.0
    overtaken: int = 0
    lost: int = 0
    twice: int = 0
    left: int = 0  # keys of the rate

    def problems(self) -> list[str]:
        """What is not as it must be."""
        found = {
            f"the rate was kept to {self.kept:.2%}": abs(self.kept - 1) > TOLERATED,
            f"{self.beyond_claimed:.2f} jobs too many in a window": self.beyond_claimed > 0.001,
            f"{self.lost} jobs are lost": self.lost,
            f"{self.left} keys are left over": self.left,
        }
        return [f"{self.model}: {problem}" for problem, there in found.items() if there]

    def row(self) -> dict[str, str]:
        """What a table shows of it."""
        return {
            "model": self.model,
            "jobs": f"{self.jobs:,}",
            "kept": f"{self.kept:.2%}",
            "worst window,\nclaimed": f"{self.beyond_claimed:+.2f} jobs",
            "worst window,\nbegun": f"{self.beyond_begun:+.2f} jobs",
            "overtaken": str(self.overtaken),
            "lost": str(self.lost),
            "twice": str(self.twice),
            "seconds": f"{self.seconds:.1f}",
        }


def rates(model: str, seconds: int, report: Report) -> Rates:
    """Run as many jobs as a rate lets begin in so many seconds."""
    jobs = AT_ONCE + EACH_SECOND * seconds
    result = Rates(model, jobs)
    with Fleet(model, HEORI_LEASE=str(LEASE)) as fleet:
        consumers = [fleet.start() for _ in range(CONSUMERS)]
        ready(consumers)
        calls = [(str(fleet.path), number) for number in range(jobs)]
        handles = fleet.producer.submit_many(run_at_rate, calls)
        last, since = -1, time.monotonic()
        while fleet.finished() < jobs and time.monotonic() - since < STANDSTILL_S:
            if (finished := fleet.finished()) != last:
                last, since = finished, time.monotonic()
                report(finished, jobs)
            if finished > jobs // 2 and consumers:
                consumers.pop().process.kill()
                consumers.clear()
            time.sleep(0.05)
        result.lost = jobs - fleet.finished()
        until(lambda: not fleet.redis.exists(fleet.keys.rates("default")), timeout=5)
        result.left = sum(
            1 for key in fleet.redis.scan_iter("rq:heori:rate*") if fleet.redis.ttl(key) == -1
        )
        began = [line.split() for line in fleet.path.read_bytes().splitlines()]
        pipeline = fleet.redis.pipeline(transaction=False)
        for handle in handles:
            pipeline.hget(fleet.keys.job(handle.id), "started_at")
        claimed = [
            datetime.fromisoformat(started.decode()).timestamp() for started in pipeline.execute()
        ]
    order = [int(number) for number, _ in began]
    times = sorted(int(moment) / 1e9 for _, moment in began)
    result.twice = len(order) - len(set(order))
    latest = accumulate(claimed, max)
    result.overtaken = sum(now < last for now, last in zip(claimed, latest, strict=True))
    result.beyond_claimed, result.beyond_begun = beyond(sorted(claimed)), beyond(times)
    result.seconds = times[-1] - times[0]
    result.kept = (len(times) - AT_ONCE) / result.seconds / EACH_SECOND
    return result


def beyond(times: list[float]) -> float:
    """By how many jobs the window with most is over the rate and its burst."""
    ahead = [number - EACH_SECOND * (moment - times[0]) for number, moment in enumerate(times)]
    least = accumulate(ahead, min)
    return max(now - before for now, before in zip(ahead, least, strict=True)) + 1 - AT_ONCE
