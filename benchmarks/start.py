"""How soon a consumer that is started has done its first job, and what that costs."""

import statistics
import time
from collections.abc import Sequence

from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.rig import Rig
from benchmarks.sender import Order
from benchmarks.systems import (
    RQ_FORK,
    RQ_SIMPLE,
    System,
    ardiq,
    celery,
    dramatiq,
    heori,
    huey,
    mayu,
    taskiq,
)

STARTS = 3  # of which the median is taken
PAUSE = 0.001  # seconds between two looks


def _starts(quick: bool) -> list[Case]:
    systems: Sequence[System] = [
        heori("threads", 1, 1),
        heori("processes", 2, 1),
        heori("hybrid", 2, 4),
        heori("asyncio", 1, 50),
        RQ_SIMPLE,
        RQ_FORK,
        ardiq(1),
        ardiq(2),
        mayu(1),
        mayu(2),
        huey("thread", 1),
        huey("process", 2),
        dramatiq(2, 8),
        taskiq(2),
        celery("prefork", 2),
    ]
    starts = 1 if quick else STARTS
    return [Case.of(system, lambda system: start(system, starts)) for system in systems]


def start(system: System, starts: int) -> Figures:
    """Start a consumer again and again, each time on a server of its own that holds one job."""
    taken = [_once(system) for _ in range(starts)]
    return {name: statistics.median(each[name] for each in taken) for name in taken[0]}


def _once(system: System) -> Figures:
    with Rig(system) as rig:
        rig.send(Order("each", system.task("nothing"), 1))
        base = rig.finished()
        began = time.perf_counter()
        rig.consume()
        rig.until(lambda: rig.done(1, base), pause=PAUSE)
        seconds = time.perf_counter() - began
        main, others, _ = rig.cpu()
        rig.verify(1)
        return {"seconds": seconds, "cpu": main + others}


START = Kind(
    "start",
    "From the command that starts a consumer to the end of its first job, which waits by then: "
    "seconds, and of those of CPU of all its processes",
    (Column("seconds", "seconds", ".2f"), Column("cpu", "CPU", ".2f")),
    _starts,
    seconds=5,
)
