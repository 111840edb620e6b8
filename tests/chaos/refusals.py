"""Redis refuses, or breaks connections, while everything goes on; jobs, locks, errors are counted.

One run is one trouble: see `tests.chaos.troubles`. Two consumers, a service and the programs of
`tests.chaos.work` and `tests.chaos.holders` are at work before it, across it and after it.
"""

import logging
import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Self

from heori_common.locks import session
from heori_common.protocol.keys import Keys
from heori_common.protocol.payload import decode_failure
from tests.chaos.fleet import QUEUE, Fleet, Report, ready
from tests.chaos.holders import Holders
from tests.chaos.troubles import TROUBLES, Place, Trouble
from tests.chaos.work import MODULE, PATIENCE, Course, Operators, Senders
from tests.chaos.work_tasks import COMPANY, LEASE, LOST
from tests.rigs.consumers import Consumer
from tests.rigs.service_rig import serving
from tests.rigs.waiting import until

KEYS = Keys()
FIRST = "first"  # the queue of the jobs that are timed, served before the other
BRIEF = 0.5 * LEASE  # seconds of a trouble in which leases cannot be kept
# Of these nobody loses a lock: leases are renewed when a third of them is over.
KEPT = 2 / 3 * LEASE
LASTING = 1.2 * LEASE  # seconds of another
CALM = 1.0  # seconds of work before it and after it
LONG = LEASE + 1.0  # seconds of jobs that run across it
AT_WORK_AGAIN = 1.0  # second; more is for people to judge, as the machine may be slow
NEVER = 15.0  # seconds
SETTLED = 20.0  # seconds without a run; longer than a lease, and what comes of its end
COMPLAINTS = ("warning", "error", "critical")


@dataclass
class Refused:
    """What was counted in one trouble.

    Attributes:
        lasted: seconds.
        keeps, loses: of `Trouble`.
        refused, told, wrong: of `Course`.
        gone: ids of which the consumers told that no job was left.
        again: seconds from the end until the first job was done that was sent after it.
        idle: seconds that a job took for which idle consumers had to connect anew.
        company: how often one was too many in a lock, by its name.
        complaints: lines in the logs of the consumers and of this program during the trouble, from
            warnings on.
    """

    trouble: str
    lasted: float
    keeps: bool
    loses: bool
    sent: int = 0
    run: int = 0
    lost: int = 0
    gone: int = 0
    twice: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    again: float = NEVER
    idle: float = NEVER
    seen: dict[str, int] = field(default_factory=dict)
    company: dict[str, int] = field(default_factory=dict)
    locks_lost: int = 0
    orphans: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)
    wrong: dict[str, int] = field(default_factory=dict)
    complaints: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    load: float = 0.0

    def problems(self) -> list[str]:
        """What is not as it must be; what was late is for people to judge."""
        leased = self.keeps or self.lasted < LEASE
        locked = self.keeps or self.lasted < KEPT
        found: dict[str, object] = {f"left over: {self.left}": self.left}
        if not self.loses:
            found |= {
                f"{self.lost} jobs are lost": self.lost,
                f"{self.gone} jobs are said to be gone": self.gone,
                f"{self.twice} jobs ran more often than they should": self.twice and leased,
                f"jobs failed: {self.failed}": self.failed,
                f"it was not at work again in {NEVER} s": max(self.again, self.idle) >= NEVER,
                f"one was too many in {self.company}": self.company and locked,
                f"{self.locks_lost} locks were lost": self.locks_lost and locked,
                f"{self.orphans} locks were orphaned": self.orphans,
                f"there were errors: {self.wrong}": self.wrong,
            }
        return [f"{self.trouble}: {problem}" for problem, there in found.items() if there]


def refusals(
    name: str,
    model: str,
    seconds: float | None,
    chance: random.Random,
    report: Report,
    *,
    long: float = LONG,
) -> Refused:
    """Have one trouble.

    Args:
        seconds: for which it lasts; by default less than a lease where leases cannot be kept, and
            else more.
        long: seconds that those jobs take that are to run across it.
    """
    trouble = TROUBLES[name]
    lasts = seconds or (LASTING if trouble.keeps else BRIEF)
    result = Refused(name, lasts, trouble.keeps, trouble.loses)
    with _Run(trouble, model, lasts, long, chance) as run:
        for step, do in enumerate((run.begin, run.trouble, run.end, run.settle)):
            report(step, 4)
            do(result)
    report(4, 4)
    result.load = os.getloadavg()[0]
    return result


class _Lines(logging.Handler):
    """Keeps what is logged in this process."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class _Run:
    """Everything that there is in one trouble, step by step."""

    def __init__(
        self, trouble: Trouble, model: str, seconds: float, long: float, chance: random.Random
    ) -> None:
        self._trouble = trouble
        self._model = model
        self._seconds = seconds
        self._long = long
        self._chance = chance
        self._threads: list[threading.Thread] = []
        self._ours = _Lines(logging.WARNING)

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            own = {"HEORI_LEASE": str(LEASE), "HEORI_TASKS": MODULE}
            fleet = Fleet(self._model, persistent=self._trouble.persistent, **own)
            self._fleet = exits.enter_context(fleet)
            self._place = Place(fleet.server, self._chance)
            exits.callback(self._place.redis.close)
            if self._trouble.followed:
                exits.enter_context(self._place.followed())
            url = self._place.url
            self._consumers = [self._start(url) for _ in range(2)]
            service = exits.enter_context(serving(url, HEORI_TASKS=MODULE))
            ready(self._consumers)
            keeps = self._trouble.keeps
            self._course = Course(url, fleet.directory, self._seconds, keeps=keeps)
            exits.callback(session.close)
            self._senders = Senders(self._course, service)
            exits.callback(self._senders.close)
            self._operators = Operators(self._course, self._chance)
            self._holders = Holders(self._course)
            exits.callback(self._course.finish)
            logger = logging.getLogger("heori")
            logger.addHandler(self._ours)
            exits.callback(logger.removeHandler, self._ours)
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def begin(self, result: Refused) -> None:
        """Have all at work, and long jobs begun."""
        long = self._senders.send_long(self._long)
        for part in (self._senders, self._operators, self._holders):
            for work in part.threads():
                thread = threading.Thread(target=work, daemon=True)
                thread.start()
                self._threads.append(thread)
        self._holders.ready()
        self._operators.job = self._senders.send_first(FIRST)[1]
        until(lambda: set(long) <= set(self._fleet.runs()))
        time.sleep(CALM)

    def trouble(self, result: Refused) -> None:
        """Have the trouble, and see how soon it is at work again."""
        said = [len(consumer.log) for consumer in self._consumers]
        self._ours.lines.clear()
        began = time.monotonic()
        self._course.begun.set()
        self._trouble.last(self._place, self._seconds)
        self._place.takes_writes()
        self._course.end_trouble()
        result.lasted = self._course.ended_at - began
        result.again = self._first_since(self._course.ended_at)
        lines = [
            line
            for consumer, before in zip(self._consumers, said, strict=True)
            for line in consumer.log[before:]
        ]
        theirs = [line["event"] for line in lines if line.get("level") in COMPLAINTS]
        result.complaints = dict(Counter(map(_kind, [*theirs, *self._ours.lines])))

    def end(self, result: Refused) -> None:
        """End the work, and have everyone come to an end."""
        time.sleep(CALM)
        self._course.over.set()
        deadline = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        result.left["threads"] = sum(thread.is_alive() for thread in self._threads)
        self._senders.wait()

    def settle(self, result: Refused) -> None:
        """Wait until nothing is left to be done, and count."""
        course, expected = self._course, self._course.expected
        before, changed = self._fleet.runs(), time.monotonic()
        while self._busy() and time.monotonic() < changed + SETTLED:
            time.sleep(0.05)
            if (runs := self._fleet.runs()) != before:
                before, changed = runs, time.monotonic()
        self._place.kill_all()
        result.idle = self._first_since(time.monotonic())
        runs = self._fleet.runs()
        result.sent = len(expected)
        result.run = sum(runs[number] > 0 for number in expected)
        result.lost = sum(runs[number] < times for number, times in expected.items())
        gone = (consumer.metric("heori_jobs_gone_total") for consumer in self._consumers)
        result.gone = int(sum(gone))
        result.twice = sum(runs[number] > times for number, times in expected.items())
        result.failed = dict(self._failed())
        result.orphans = course.seen.pop("orphans", 0) + self._holders.orphans()
        result.locks_lost = course.seen.pop("locks lost", 0) + len(self._noted(LOST))
        result.company = dict(Counter(self._noted(COMPANY)))
        for name in ("seen", "refused", "told", "wrong"):
            setattr(result, name, dict(getattr(course, name)))
        result.left["exit codes"] = sum(consumer.stop() != 0 for consumer in self._consumers)
        result.left["processes"] = self._fleet.left()
        result.left = {what: number for what, number in result.left.items() if number}

    def _first_since(self, began: float) -> float:
        """Seconds from then until a job is done that is sent now; NEVER at most."""
        number, _ = self._senders.send_first(FIRST)
        while number not in self._fleet.runs() and time.monotonic() < began + NEVER:
            time.sleep(0.01)
        return min(NEVER, time.monotonic() - began)

    def _busy(self) -> bool:
        """Whether something waits or runs, or has not run yet."""
        redis: Any = self._place.primary
        waits = redis.llen(KEYS.queue(QUEUE)) + redis.zcard(KEYS.scheduled(QUEUE))
        if waits + redis.zcard(KEYS.wip(QUEUE)) + redis.zcard(KEYS.deferred(QUEUE)):
            return True
        runs = self._fleet.runs()
        lost = any(runs[number] < times for number, times in self._course.expected.items())
        return lost and not self._trouble.loses

    def _noted(self, name: str) -> list[str]:
        """The lines of a file that is there if something was noted."""
        file = self._course.directory / name
        return file.read_text().splitlines() if file.exists() else []

    def _failed(self) -> Iterable[tuple[str, int]]:
        """Why jobs have failed, and how many for that reason."""
        redis: Any = self._place.primary
        reasons: Counter[str] = Counter()
        for job_id in redis.zrange(KEYS.failed(QUEUE), 0, -1):
            entries: Any = redis.xrevrange(KEYS.results(job_id.decode()), count=1)
            text = decode_failure(entries[0][1][b"exc_string"]) if entries else "?"
            reasons[text.strip().splitlines()[-1][:80]] += 1
        return reasons.items()

    def _start(self, url: str) -> Consumer:
        # Else the jobs that run across it would leave no slot to the others.
        slots = ["--processes", "6"] if self._model == "processes" else []
        return self._fleet.start(*slots, queues=[FIRST, QUEUE], HEORI_REDIS_URL=url)


def _kind(line: str) -> str:
    """A line without what differs from one to the next."""
    return re.sub(r"\d+", "#", line)[:120]
