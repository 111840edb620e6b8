"""A consumer of the model auto changes its size at random, under load; jobs are counted.

Plain and async jobs of mixed length run meanwhile. Some are stopped while they run, some canceled
while they wait, and worker processes are killed. In the end a consumer is drained in the midst of
its work, and another one does what is left.
"""

import contextlib
import random
import signal
import time
from dataclasses import dataclass, field
from typing import Any

import psutil
from rq.command import send_stop_job_command
from rq.exceptions import InvalidJobOperation

from heori import Handle
from heori_consumer.auto.size import Size
from tests.chaos import tasks
from tests.chaos.fleet import Fleet, Report, rounds
from tests.rigs.waiting import until

PROGRAM = "tests.rigs.resized"
MOST = Size(4, 16, 32)
ONE = Size(1, 1, 1)
EVERY = 0.2  # seconds between two sizes
PACE = 0.005  # seconds that a job takes at least
BATCH = 50  # jobs of one kind that are sent one after the other
# Of each batch, so many are canceled while they wait, and so many would run for ever unless they
# were stopped.
CANCELED, ENDLESS = 4, 1
LONGEST = 8  # times PACE that a job takes at most
# Files of the supervisor, and threads of the worker, that there may be more in the end.
FEW = 4


@dataclass
class Resizes:
    """What was counted.

    Attributes:
        in_flight: jobs that killed workers had, and those that a drain did not wait for: they may
            have run twice.
        left: files of the supervisor, and threads of its worker, more than at the same size before
            the first job.
    """

    sent: int
    lost: int = 0
    twice: int = 0
    in_flight: int = 0
    failed: int = 0
    stopped: int = 0
    canceled: int = 0
    run_though_canceled: int = 0
    resizes: int = 0
    kills: int = 0
    leases: int = 0
    left: dict[str, int] = field(default_factory=dict)
    processes_left: int = 0
    bad_exits: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def problems(self) -> list[str]:
        """What is not as it must be."""
        found = {
            f"{self.lost} jobs are lost": self.lost,
            f"{self.twice} ran twice, and only {self.in_flight} were in flight": (
                self.twice > self.in_flight
            ),
            f"{self.failed} jobs failed": self.failed,
            f"{self.run_though_canceled} canceled jobs ran": self.run_though_canceled,
            f"{self.leases} leases are left over": self.leases,
            f"{self.left} are left": any(more > FEW for more in self.left.values()),
            f"{self.processes_left} processes are left": self.processes_left,
            f"SIGTERM ended consumers with {self.bad_exits}": self.bad_exits,
        }
        return [problem for problem, there in found.items() if there]

    def row(self) -> dict[str, str]:
        """What a table shows of it."""
        return {
            "sizes": f"{self.resizes:,}",
            "killed workers": f"{self.kills:,}",
            "sent": f"{self.sent:,}",
            "lost": str(self.lost),
            "twice": str(self.twice),
            "in flight": str(self.in_flight),
            "stopped": f"{self.stopped:,}",
            "canceled": f"{self.canceled:,}",
            "processes left": str(self.processes_left),
            "more than before": ", ".join(f"{n:+} {what}" for what, n in self.left.items()),
            "seconds": f"{self.seconds:.0f}",
        }


def resizes(jobs: int, chance: random.Random, report: Report) -> Resizes:
    """Run jobs on one consumer of changing size, and drain it; the next one does what is left."""
    start = time.monotonic()
    with Fleet("auto", HEORI_MAX_DELIVERIES="10000", HEORI_GRACE="2") as fleet:
        load = _Load(fleet, chance)
        first = _Changing(fleet, chance)
        before = first.use()
        load.send(jobs)
        for _ in rounds(load.over, load.sent * 3 // 4, EVERY, report):
            first.change()
            load.interfere()
        first.drain()
        second = _Changing(fleet, chance)
        for _ in rounds(load.over, load.sent, EVERY, report):
            second.change()
            load.interfere()
        second.resize(ONE)
        with contextlib.suppress(AssertionError):  # the counts will tell
            until(lambda: max(second.more_than(before).values()) <= FEW)
        counted = load.count()
        counted.left = second.more_than(before)
        second.drain()
        consumers = (first, second)
        counted.resizes = sum(each.resizes for each in consumers)
        counted.kills = sum(each.kills for each in consumers)
        counted.in_flight = sum(each.in_flight() for each in consumers)
        counted.bad_exits = [code for each in consumers for code in each.exits if code]
        counted.leases = fleet.leases()
        counted.processes_left = fleet.left()
        counted.seconds = time.monotonic() - start
        return counted


class _Load:
    """The jobs that are sent, and what is done to some of them."""

    def __init__(self, fleet: Fleet, chance: random.Random) -> None:
        self._fleet = fleet
        self._chance = chance
        self.sent = 0
        self._to_cancel: list[tuple[int, Handle[Any]]] = []
        self._canceled: set[int] = set()
        self._endless: dict[int, Handle[Any]] = {}  # that have not been stopped yet
        self._stopped = 0

    def send(self, jobs: int) -> None:
        """Send about so many jobs, a batch of each kind in turns: they run side by side."""
        while self.sent < jobs:
            is_even = self.sent // BATCH % 2 == 0
            self._submit(tasks.run if is_even else tasks.run_later, BATCH, self._seconds)
            cancel = self._submit(tasks.run if is_even else tasks.run_later, CANCELED, lambda: 0.0)
            self._to_cancel += cancel
            endless = tasks.run_for if is_even else tasks.run_for_later
            never = str(self._fleet.directory / "never")
            self._endless.update(self._submit(endless, ENDLESS, lambda: 3600.0, never))

    def _submit(
        self, task: Any, jobs: int, seconds: Any, *others: str
    ) -> list[tuple[int, Handle[Any]]]:
        numbers = range(self.sent, self.sent + jobs)
        self.sent += jobs
        calls = [(str(self._fleet.path), number, seconds(), *others) for number in numbers]
        return [*zip(numbers, self._fleet.producer.submit_many(task, calls), strict=True)]

    def _seconds(self) -> float:
        return PACE * self._chance.uniform(1, LONGEST)

    def interfere(self) -> None:
        """Cancel a job, and stop those that run for ever."""
        if self._to_cancel:
            number, handle = self._to_cancel.pop(self._chance.randrange(len(self._to_cancel)))
            if handle.cancel():
                self._canceled.add(number)
        runs = self._fleet.runs()
        for number, handle in list(self._endless.items()):
            if number in runs:
                self._stop(number, handle)

    def _stop(self, number: int, handle: Handle[Any]) -> None:
        if handle.status() == "stopped":
            del self._endless[number]
            self._stopped += 1
            return
        with contextlib.suppress(InvalidJobOperation):  # its worker was killed, and it waits
            send_stop_job_command(self._fleet.redis, handle.id)

    def done(self) -> int:
        """How many jobs have come to an end."""
        return self._fleet.finished() + self._fleet.failed() + len(self._canceled)

    def over(self) -> int:
        """As `done`, less those that run for ever and are not known to be stopped."""
        return max(0, self.done() - len(self._endless))

    def count(self) -> Resizes:
        """What became of them."""
        runs = self._fleet.runs()
        lost = self.sent - len(self._canceled) - len(runs.keys() - self._canceled)
        return Resizes(
            self.sent,
            lost=lost + self.sent - self.done(),
            twice=runs.total() - len(runs),
            failed=self._fleet.failed() - self._stopped,
            stopped=self._stopped,
            canceled=len(self._canceled),
            run_though_canceled=len(runs.keys() & self._canceled),
        )


class _Changing:
    """A consumer that is told another size all the time, and whose workers are killed."""

    def __init__(self, fleet: Fleet, chance: random.Random) -> None:
        self._fleet = fleet
        self._chance = chance
        self._consumer = fleet.start("--advise", program=PROGRAM).ready()
        self.resizes = self.kills = 0
        self.exits: list[int] = []
        self.resize(ONE)

    def resize(self, size: Size) -> None:
        """Tell it a size; it knows it then, and may be yet to have it."""
        self.resizes += 1
        self._fleet.redis.delete("sized")
        self._fleet.redis.rpush("size", f"{size.processes} {size.slots} {size.coroutines}")
        assert self._fleet.redis.blpop(["sized"], 60)

    def change(self) -> None:
        """Tell it some size; of five times, once, kill a worker."""
        most = MOST.processes, MOST.slots, MOST.coroutines
        self.resize(Size(*(self._chance.randint(1, each) for each in most)))
        if self._chance.randrange(5) == 0 and (workers := self._consumer.workers):
            with contextlib.suppress(psutil.NoSuchProcess):
                self._chance.choice(workers).kill()
                self.kills += 1

    def use(self) -> dict[str, int]:
        """What it and its only worker have open and running, once it has no other."""
        found: list[psutil.Process] = []

        def has_one() -> bool:
            found[:] = self._consumer.workers
            return len(found) == 1

        until(has_one)
        supervisor = psutil.Process(self._consumer.process.pid)
        return {"files": supervisor.num_fds(), "threads": found[0].num_threads()}

    def more_than(self, before: dict[str, int]) -> dict[str, int]:
        """What it has more than it had."""
        return {what: now - before[what] for what, now in self.use().items()}

    def drain(self) -> None:
        """Have it end in the midst of its work."""
        self.exits.append(self._consumer.stop(signal.SIGTERM))

    def in_flight(self) -> int:
        """Jobs of workers that have died, and that it did not wait for, as its log tells."""
        log = self._consumer.log
        dead: int = sum(line["jobs"] for line in log if line["event"] == "worker died")
        left: int = sum(line["held"] for line in log if line["event"].startswith("grace is over"))
        return dead + left
