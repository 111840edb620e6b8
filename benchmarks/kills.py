"""What each system loses when the processes that run its jobs are killed, and how late it is.

Jobs of some seconds are under way, and others wait behind them or have been fetched already, when
the processes get SIGKILL: one of those that run jobs, or all of the consumer. Another consumer is
started then, as an init system would. Everything has its library's own settings.
"""

import contextlib
import os
import signal
import time
from collections import Counter

from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.rig import Refused, Rig, family
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

JOBS, QUICK_JOBS = 12, 4
WAIT = 3.0  # seconds that a job takes
PATIENCE = 100.0  # seconds for those that were killed to run again
LOOK_EVERY = 0.02  # seconds
TRIES = 4


def _kills(quick: bool) -> list[Case]:
    jobs, wait, patience = (QUICK_JOBS, 1.0, 60.0) if quick else (JOBS, WAIT, PATIENCE)
    several = [
        *(heori("processes", 2, 1), ardiq(2), mayu(2), dramatiq(2, 8), taskiq(2)),
        *(huey("process", 2), celery("prefork", 2, results=True), RQ_FORK),
    ]
    whole = [
        *(heori("threads", 1, 8), heori("processes", 2, 1), ardiq(2), mayu(2), dramatiq(2, 8)),
        *(taskiq(2), huey("process", 2), celery("prefork", 2, results=True), RQ_SIMPLE, RQ_FORK),
    ]
    return [
        Case(
            f"{system.name}: {what}",
            lambda system=system, all_of_it=all_of_it: kill(  # type: ignore[misc]
                system, jobs, wait, patience, all_of_it=all_of_it
            ),
            system.missing(),
        )
        for what, all_of_it, systems in (
            ("a worker", False, several),
            ("everything", True, whole),
        )
        for system in systems
    ]


def kill(system: System, jobs: int, wait: float, patience: float, *, all_of_it: bool) -> Figures:
    """Kill in the middle of jobs, start another consumer, and see what becomes of each job.

    Args:
        wait: seconds that a job takes.
        patience: seconds for those that were killed to run again.

    Raises:
        Refused: the machine stood still, so that it cannot be known which jobs were under way.
    """
    for _ in range(TRIES):
        figures = _kill(system, jobs, wait, patience, all_of_it=all_of_it)
        if figures is not None:
            return figures
    raise Refused(f"no kill came within the {wait} s that a job takes")


def _kill(
    system: System, jobs: int, wait: float, patience: float, *, all_of_it: bool
) -> Figures | None:
    """As `kill`; None if the first of the jobs had ended by then."""
    with Rig(system) as rig:
        consumer = rig.consume()
        rig.warm_up()
        rig.send(Order("bulk", system.task("wait"), jobs, rest=(wait,)))
        rig.until(lambda: rig.begun() >= system.processes)
        running = rig.records()[0].pid
        pids = [process.pid for process in family(consumer)] if all_of_it else [running]
        killed_at = time.time_ns()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        before = rig.records()
        if time.time_ns() > before[0].at + wait * 1e9:
            return None
        rig.consume()
        # Whatever had not begun by then is to run, too.
        survivors = {record.number for record in before if record.pid not in pids}
        at_risk = set(range(jobs)) - survivors
        lost = at_risk - _run_again(rig, killed_at, at_risk, patience)
        time.sleep(2 * wait)  # for those that would run again needlessly
        records = rig.records()
        runs = Counter(record.number for record in records)
        in_flight = {record.number for record in before} & at_risk
        again = {record.number: record.at for record in reversed(records) if record.at > killed_at}
        late = [again[number] - killed_at for number in in_flight & again.keys()]
        return {
            "in_flight": len(in_flight),
            "lost": len(lost),
            "twice": sum(count - 1 for count in runs.values()),
            "needless": sum(runs[number] - 1 for number in survivors),
            **({"seconds": max(late) / 1e9} if late else {}),
        }


def _run_again(rig: Rig, since: int, jobs: set[int], patience: float) -> set[int]:
    """Wait until each has run after that moment; returns those that have."""

    def run() -> set[int]:
        return {record.number for record in rig.records() if record.at > since} & jobs

    with contextlib.suppress(Refused):
        rig.until(lambda: run() == jobs, patience, LOOK_EVERY)
    return run()


KILLS = Kind(
    "redelivery by peers",
    f"SIGKILL in the middle of {JOBS} jobs of {WAIT:.0f} s, to a process that runs some or to "
    "everything, and another consumer is started: those in flight, those of all that have not run "
    f"{PATIENCE:.0f} s later, runs beyond one each, of them of jobs that were not killed, and "
    "seconds until the last that was in flight began again",
    (
        Column("in_flight", "in flight"),
        Column("lost", f"not run in {PATIENCE:.0f} s"),
        Column("twice", "run twice"),
        Column("needless", "needlessly"),
        Column("seconds", "again after s", ".1f"),
    ),
    _kills,
    seconds=150,
    turns=1,
    together=True,
)
