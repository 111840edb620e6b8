"""How soon jobs run again when what ran them is killed, and that none is lost."""

import os
import signal
import time

from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.rig import Rig
from benchmarks.sender import Order
from benchmarks.systems import heori

JOBS = 4  # one in each slot
SYSTEM = heori("threads", 1, JOBS)
WAIT = 2.0  # seconds that a job takes
WORKER, CONSUMER = "SIGKILL to a worker process", "SIGKILL to a whole consumer"


def _cases(quick: bool) -> list[Case]:
    lease = 2.0 if quick else 6.0
    return [
        Case(WORKER, kill_worker, SYSTEM.missing()),
        Case(CONSUMER, lambda: kill_consumer(lease), SYSTEM.missing()),
    ]


def kill_worker() -> Figures:
    """Kill the process in which all jobs run."""
    with Rig(SYSTEM) as rig:
        rig.consume()
        rig.warm_up()
        base = _begin(rig, WAIT)
        killed = time.time_ns()
        os.kill(rig.records()[0].pid, signal.SIGKILL)
        return _aftermath(rig, killed, base, 0.0)


def kill_consumer(lease: float) -> Figures:
    """Kill the supervisor in the middle of its jobs, while another one is idle."""
    with Rig(SYSTEM, environment={"HEORI_LEASE": str(lease)}) as rig:
        first = rig.consume()
        rig.warm_up()
        base = _begin(rig, lease + WAIT)  # still under way when the other consumer is there
        rig.consume()
        rig.until(lambda: rig.said().count('"consuming"') == 2)
        killed = time.time_ns()
        first.kill()
        first.wait()
        return _aftermath(rig, killed, base, lease)


def _begin(rig: Rig, seconds: float) -> int:
    base = rig.finished()
    rig.send(Order("bulk", "wait", JOBS, rest=(seconds,)))
    rig.until(lambda: rig.begun() == JOBS)
    return base


def _aftermath(rig: Rig, killed: int, base: int, lease: float) -> Figures:
    """Wait for the second run of each job, and for its end."""
    rig.until(lambda: rig.begun() >= 2 * JOBS, patience=lease + 30)
    again = [record.at for record in rig.records() if record.at > killed]
    rig.until(lambda: rig.finished() - base >= JOBS, patience=lease + 30)
    rig.verify(JOBS)
    return {
        "seconds": (max(again) - killed) / 1e9,
        "lease": lease,
        "lost": JOBS - (rig.finished() - base),
    }


REDELIVERY = Kind(
    "redelivery",
    f"Seconds from the kill until the last of {JOBS} running jobs runs again",
    (
        Column("seconds", "seconds", ".2f"),
        Column("lease", "of them lease", ".0f"),
        Column("lost", "lost"),
    ),
    _cases,
    seconds=15,
)
