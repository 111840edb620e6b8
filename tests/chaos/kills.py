"""Random worker processes and whole consumers are killed, paused and stopped; jobs are counted."""

import contextlib
import heapq
import itertools
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psutil

from tests.chaos import tasks
from tests.chaos.fleet import SLOTS, Fleet, Report, rounds
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import is_alive, until

LEASE = 1.0  # seconds; the shortest there is, so that dead consumers' jobs are soon back
PAST_LEASE = 3 * LEASE  # seconds: the lease, RQ's whole seconds and the reaper's interval
SHORT = 0.2  # a pause that costs no lease, seconds
LEAST_SECONDS = 30.0  # that all jobs take
EVERY, LOOK_EVERY = 0.5, 0.02  # seconds between two strikes, and two looks
# What a consumer of the model auto says when it changes its size.
MOVES = ("auto changes the size", "auto takes back its last move")
# How a strike is chosen, by weight.
STRIKES = {
    "worker SIGKILL": 4,
    "worker SIGSTOP": 2,
    "worker SIGTERM": 1,
    "consumer SIGKILL": 2,
    "consumer SIGTERM": 2,
    "consumer SIGSTOP": 1,
    "consumer SIGSTOP past the lease": 1,
}


@dataclass
class Kills:
    """What was counted in one run.

    `in_flight` is how many jobs were held when something was done to their holder, and so may
    have run twice:

    - worker: with the workers that died, as their consumers' logs tell it;
    - consumer: leased to consumers that got SIGKILL, as Redis knows it right after;
    - pause: leased to consumers that were paused past their lease, as Redis knows it when the
      pause begins; and leases that were lost without such a pause, as logs tell it.

    All three count what had not begun, too, and a job that is held in two of these ways counts
    in both: it is an upper bound, and no job that was not held is in it.
    """

    model: str
    sent: int
    run: int = 0
    lost: int = 0
    twice: int = 0
    in_flight: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    leases: int = 0
    zombies: int = 0
    processes_left: int = 0
    bad_exits: list[int] = field(default_factory=list)
    strikes: dict[str, int] = field(default_factory=dict)
    moves: int = 0  # by which consumers of the model auto have changed their size
    seconds: float = 0.0

    def problems(self) -> list[str]:
        """What is not as it must be."""
        most = sum(self.in_flight.values())
        found = {
            f"{self.lost} jobs are lost": self.lost,
            f"{self.twice} runs more than jobs, and only {most} were in flight": self.twice > most,
            f"{self.failed} jobs failed": self.failed,
            f"{self.leases} leases are left over": self.leases,
            f"{self.zombies} processes were not buried": self.zombies,
            f"{self.processes_left} processes are left": self.processes_left,
            f"SIGTERM ended consumers with {self.bad_exits}": self.bad_exits,
        }
        return [f"{self.model}: {problem}" for problem, there in found.items() if there]


def kills(
    model: str, jobs: int, chance: random.Random, report: Report, *, pace: float | None = None
) -> Kills:
    """Run jobs, each for `pace` seconds, on two consumers that are struck all the time.

    Args:
        pace: by default so long that there is time for many strikes, however many slots there are.

    Raises:
        TimeoutError: the jobs were not done in time.
    """
    if pace is None:
        pace = LEAST_SECONDS * 2 * SLOTS[model] / jobs
    # A job is held by many that are killed for no fault of its own.
    with Fleet(model, HEORI_LEASE=str(LEASE), HEORI_MAX_DELIVERIES="10000") as fleet:
        storm = _Storm(fleet, chance)
        start = time.monotonic()
        calls = [(str(fleet.path), number, pace) for number in range(jobs)]
        # Of both kinds in turns, a batch of each: they run side by side all the time.
        for first in range(0, jobs, 50):
            task: Any = tasks.run if first % 100 else tasks.run_later
            fleet.producer.submit_many(task, calls[first : first + 50])
        next_strike = start + EVERY
        for now in rounds(lambda: fleet.finished() + fleet.failed(), jobs, LOOK_EVERY, report):
            storm.look_after(now)
            if now >= next_strike:
                next_strike = now + (EVERY if storm.strike(now) else EVERY / 5)
        storm.calm()
        seconds = time.monotonic() - start
        zombies = fleet.zombies()
        storm.end()
        runs = fleet.runs()
        whole = set(runs) & set(range(jobs))
        return Kills(
            model,
            sent=jobs,
            run=len(whole),
            lost=jobs - min(len(whole), fleet.finished()),
            twice=runs.total() - len(runs),
            in_flight=storm.in_flight(),
            failed=fleet.failed(),
            leases=fleet.leases(),
            zombies=zombies,
            processes_left=fleet.left(),
            bad_exits=storm.bad_exits,
            strikes=dict(storm.strikes),
            moves=sum(
                line["event"] in MOVES for consumer in fleet.consumers for line in consumer.log
            ),
            seconds=seconds,
        )


class _Storm:
    """What is done to the consumers of a fleet, and what they held when it was done."""

    def __init__(self, fleet: Fleet, chance: random.Random) -> None:
        self._fleet = fleet
        self._chance = chance
        self.strikes: Counter[str] = Counter()
        self.bad_exits: list[int] = []
        self._killed = 0  # jobs of consumers that were killed
        self._paused: dict[Consumer, Counter[str]] = {}  # jobs held at long pauses
        self._draining: list[Consumer] = []
        self._number = itertools.count()
        self._sleeping: list[tuple[float, int, psutil.Process]] = []
        self._consumers = [fleet.start(), fleet.start()]

    def look_after(self, now: float) -> None:
        """Wake those whose pause is over; note whose drain is."""
        while self._sleeping and self._sleeping[0][0] <= now:
            _wake(heapq.heappop(self._sleeping)[2])
        for consumer in [each for each in self._draining if each.process.poll() is not None]:
            self._draining.remove(consumer)
            self._ended(consumer)

    def strike(self, now: float) -> bool:
        """Do something to somebody; returns whether there was anybody.

        Whole consumers are struck while the other is up, or else, as each takes longer to start
        than the next strike to come, there would soon be none at work.
        """
        asleep = {process.pid for _, _, process in self._sleeping}
        up = [
            each
            for each in self._consumers
            if consumer_name(each) is not None and each.process.pid not in asleep
        ]
        if not up:
            return False
        victim = self._chance.choice(up)
        kinds = {
            kind: weight
            for kind, weight in STRIKES.items()
            if len(up) > 1 or kind.startswith("worker")
        }
        [kind] = self._chance.choices([*kinds], [*kinds.values()])
        whom, signal_name, *past = kind.split(maxsplit=2)
        if whom == "consumer":
            self._strike_consumer(victim, signal_name, now, past_lease=bool(past))
        else:
            workers = [each for each in victim.workers if each.pid not in asleep]
            if not workers:
                return False
            self._strike_worker(self._chance.choice(workers), signal_name, now)
        self.strikes[kind] += 1
        return True

    def calm(self) -> None:
        """Wake everyone, and wait until two consumers are there and hold nothing."""
        for _, _, process in self._sleeping:
            _wake(process)
        self._sleeping.clear()
        for consumer in self._consumers:
            if consumer_name(consumer) is None:
                consumer.ready()
        _wait(lambda: self._fleet.leases() == 0)

    def end(self) -> None:
        """Drain all that are left, and wait for all drains to end."""
        for consumer in self._consumers:
            self._drain(consumer)
        for consumer in self._draining:
            consumer.join()
            self._ended(consumer)

    def in_flight(self) -> dict[str, int]:
        """See `Kills`."""
        dead = lost = 0
        for consumer in self._fleet.consumers:
            paused = self._paused.get(consumer, Counter())
            for line in list(consumer.log):
                if line["event"] == "worker died":
                    dead += line["jobs"]
                elif line["event"].startswith("lease lost") and line["job"] not in paused:
                    lost += 1
        at_pauses = sum(held.total() for held in self._paused.values())
        return {"worker": dead, "consumer": self._killed, "pause": at_pauses + lost}

    def _strike_worker(self, worker: psutil.Process, signal_name: str, now: float) -> None:
        try:
            worker.send_signal(signal.Signals[signal_name])
        except psutil.NoSuchProcess:
            return  # it was alone with a job that ended just now
        if signal_name == "SIGSTOP":
            self._sleep(worker, now + self._chance.uniform(SHORT, PAST_LEASE))

    def _strike_consumer(
        self, consumer: Consumer, signal_name: str, now: float, *, past_lease: bool
    ) -> None:
        name = consumer_name(consumer)
        assert name is not None
        if signal_name == "SIGTERM":
            self._drain(consumer)
        else:
            consumer.process.send_signal(signal.Signals[signal_name])
        if signal_name == "SIGSTOP":
            process = psutil.Process(consumer.process.pid)
            _wait(lambda: process.status() == psutil.STATUS_STOPPED)
            self._sleep(process, now + (PAST_LEASE if past_lease else SHORT))
            if past_lease:
                held = self._paused.setdefault(consumer, Counter())
                held.update(self._fleet.held_by(name))
            return
        if signal_name == "SIGKILL":
            consumer.process.wait()
            # Before the join, which a stopped worker delays until the leases are others'.
            self._killed += len(self._fleet.held_by(name))
            consumer.join()
        self._consumers.remove(consumer)
        self._consumers.append(self._fleet.start())

    def _drain(self, consumer: Consumer) -> None:
        consumer.process.send_signal(signal.SIGTERM)
        self._draining.append(consumer)

    def _sleep(self, process: psutil.Process, until: float) -> None:
        heapq.heappush(self._sleeping, (until, next(self._number), process))

    def _ended(self, consumer: Consumer) -> None:
        if (code := consumer.join()) != 0:
            self.bad_exits.append(code)


def consumer_name(consumer: Consumer) -> str | None:
    """The name under which it holds leases, once it consumes."""
    for line in list(consumer.log):
        if line["event"] == "consuming":
            return str(line["consumer"])
    return None


def _wake(process: psutil.Process) -> None:
    if is_alive(process):
        process.resume()


def _wait(condition: Callable[[], object]) -> None:
    """Wait until something is so, or not for ever: the counts will tell."""
    with contextlib.suppress(AssertionError):
        until(condition)
