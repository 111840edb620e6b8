"""Jobs that rq's own code runs in a slot, as an application's worker class may have changed it.

Heori claims such a job, holds its lease and looks after its process. What comes of it, rq writes.
"""

import time
from collections.abc import Callable
from typing import Protocol

from heori_common.protocol.job import FAILED, SETTLED, Claim, Outcome
from heori_common.protocol.payload import encode_failure
from heori_consumer.between.slot_table import AtStop, SlotTable
from heori_consumer.worker.as_rq import close_old_connections
from heori_consumer.worker.failures import describe


class RqJob(Protocol):
    """A job that is about to be run by rq.

    Attributes:
        task: the name of what it calls.
        limit: seconds after which it has hung: rq's own alarm was to end it before; infinite for
            none.
        may_be_killed: whether its process may be killed to end it.
    """

    task: str
    limit: float
    may_be_killed: bool

    def run(self) -> str:
        """Run it, and write what came of it; returns that, one of `STATUSES`."""


class TakesJobs(Protocol):
    """Runs jobs as the work horse of some worker class does."""

    def takes(self, claim: Claim) -> bool:
        """Whether it is to run a job, and not Heori."""

    def take(self, claim: Claim) -> RqJob:
        """Get ready to run a job."""

    def tell(self, claim: Claim, outcome: Outcome) -> None:
        """Log, as rq does, what came of a job that Heori has run."""


_horse: TakesJobs | None = None
running = 0  # jobs that it runs now


def lend(horse: TakesJobs | None) -> None:
    """Have the slots of this process, and of those that are forked from it, run jobs with it."""
    global _horse
    _horse = horse


def takes(claim: Claim) -> bool:
    """Whether a job is to be run here by rq's code."""
    return _horse is not None and _horse.takes(claim)


def tell(claim: Claim, outcome: Outcome) -> None:
    """Have what came of a job told in rq's log, where that is the application's."""
    if _horse is not None:
        _horse.tell(claim, outcome)


def run(claim: Claim, slot: int, table: SlotTable, number: Callable[[str], int]) -> Outcome:
    """Run a job to its outcome, in this thread; it `takes` it.

    Args:
        number: gives the number of a task, by its name.
    """
    global running
    assert _horse is not None
    running += 1
    began, cpu_time, task = time.monotonic(), time.thread_time(), ""
    try:
        job = _horse.take(claim)
        task = job.task
        table.begin(slot, number(task), None)
        # As in rq, a job of a process that lives on does not end for a request to stop it.
        at_stop = AtStop.IS_KILLED if job.may_be_killed else AtStop.HAS_ENDED
        table.grant(slot, began + job.limit, at_stop)
        if job.may_be_killed:
            close_old_connections()
        outcome = Outcome(SETTLED, settled_as=job.run())
    except BaseException as error:  # it raises nothing that a job does, but what Redis does
        outcome = Outcome(FAILED, encode_failure(describe(error)))
    finally:
        running -= 1
    return outcome._replace(
        task=task,
        run_time=time.monotonic() - began,
        cpu_time=time.thread_time() - cpu_time,
    )
