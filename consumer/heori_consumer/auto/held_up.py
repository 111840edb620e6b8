"""Whether one lock, or a rate, is what all jobs wait for: more slots would wait, too."""

from collections.abc import Sequence
from typing import NamedTuple

from heori_consumer.auto.demand import Observation, count

# Of the jobs at work, that stand in line for one lock. A mutex that is in use nearly all of the
# time has at least one of two in its line, and of many nearly all.
IN_LINE = 0.3


class HeldUp(NamedTuple):
    """By what, and how much.

    Attributes:
        lock: its kind and name.
        task: of most of those in its line; empty where none is known.
        share: of the jobs at work, that are in it.
        rate: jobs a second that it lets through.
    """

    lock: str
    task: str
    share: float
    rate: float

    def __str__(self) -> str:
        """For people."""
        of = f" ({self.task})" if self.task else ""
        return f"{self.share:.0%} of the jobs stand in line for {self.lock}{of}"


class HeldByRate(NamedTuple):
    """Jobs that may not begin yet, and that would have all slots at work."""

    queue: str
    rate: str
    waiting: int

    def __str__(self) -> str:
        """For people."""
        are = "job waits" if self.waiting == 1 else "jobs wait"
        return f"{self.waiting:,} {are} in {self.queue} for the rate {self.rate}"


def held_up(seen: Sequence[Observation]) -> HeldUp | None:
    """What holds all up that was at work then; None if nothing does."""
    at_work = sum(each.threads + each.coroutines * each.seconds for each in seen)
    lines: dict[str, dict[str, float]] = {}  # by lock, and in it by task
    for each in seen:
        for (lock, task), seconds in each.in_line.items():
            line = lines.setdefault(lock, {})
            line[task] = line.get(task, 0.0) + seconds
    lock = max(lines, key=lambda name: sum(lines[name].values()), default="")
    line = lines.get(lock, {})
    share = sum(line.values()) / at_work if at_work else 0.0
    if share < IN_LINE:
        return None
    rate = count(seen)[0] / sum(each.seconds for each in seen)
    task = max(line, key=lambda name: (name != "", line[name]))
    return HeldUp(lock, task, min(1.0, share), rate)
