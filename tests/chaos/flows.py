"""Flows while whole consumers are killed and the server restarts.

Chains, some of which fail and are handled, and groups with a fan-in. Each job checks what it gets.
A fan-in, or what handles failures, may run twice only when a consumer was killed that held it.
"""

import random
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import redis

from heori import FlowHandle, Handle, chain, group
from tests.chaos.dependents import CONSUMERS, STANDSTILL_S
from tests.chaos.fleet import QUEUE, Fleet, Report
from tests.chaos.kills import LEASE, consumer_name
from tests.chaos.tasks import add_up, handle, run, run_and_fail, step
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until

STEPS, MEMBERS = 5, 20
RESTART_EVERY = 10  # kills, after each of which the server is restarted, too


@dataclass
class Flows:
    """What was counted in one run.

    Attributes:
        jobs: that were sent and are to run.
        lost: those that have never run.
        twice: runs more than jobs: of what consumers held when they were killed.
        fan_in_twice: fan-ins, and jobs that handle failures, that have run more than once though
            nobody who held them was killed.
        wrong: flows whose end is not what it must be, and jobs that have run without need.
        deferred, marks: what is left of jobs that wait.
    """

    model: str
    jobs: int
    kills: int
    restarts: int
    lost: int
    twice: int
    fan_in_twice: int
    wrong: int
    deferred: int
    marks: int
    seconds: float

    def problems(self) -> list[str]:
        """What is not as it must be."""
        found = {
            f"{self.lost} jobs are lost": self.lost,
            f"{self.fan_in_twice} fan-ins ran twice": self.fan_in_twice,
            f"{self.wrong} flows did not end as they must": self.wrong,
            f"{self.deferred} jobs are listed as waiting": self.deferred,
            f"{self.marks} jobs that have ended are not settled": self.marks,
        }
        return [f"{self.model}: {problem}" for problem, there in found.items() if there]

    def row(self) -> dict[str, str]:
        """What a table shows of it."""
        return {
            "model": self.model,
            "jobs": f"{self.jobs:,}",
            "consumers killed": str(self.kills),
            "server restarted": str(self.restarts),
            "lost": str(self.lost),
            "runs more than jobs": str(self.twice),
            "fan-in twice": str(self.fan_in_twice),
            "seconds": f"{self.seconds:.0f}",
        }


def flows(
    model: str,
    pairs: int,
    chance: random.Random,
    report: Report,
    *,
    every: float = 0.5,
    pace: float = 0.02,
) -> Flows:
    """Run so many flows of each kind, while one consumer after the other is killed."""
    settings = {"HEORI_LEASE": str(LEASE), "HEORI_MAX_DELIVERIES": "10000"}
    with Fleet(model, persistent=True, **settings) as fleet:
        began = time.monotonic()
        sent = Sent(fleet, pairs, pace)
        wanted = len(sent.wanted)
        consumers = [fleet.start() for _ in range(CONSUMERS)]
        struck: set[str] = set()
        kills = restarts = seen = 0
        next_kill = moved = time.monotonic()
        while seen < wanted and time.monotonic() - moved < STANDSTILL_S:
            now, runs = time.monotonic(), len(fleet.runs().keys() & sent.wanted)
            moved = now if runs > seen else moved
            seen = runs
            report(seen, wanted)
            if now >= next_kill and now - moved < STANDSTILL_S / 3:
                next_kill = now + every
                if _kill(fleet, consumers, chance, struck):
                    kills += 1
                    if kills % RESTART_EVERY == 0:
                        fleet.server.stop()
                        fleet.server.start()
                        until(partial(_has_loaded, fleet))
                        restarts += 1
            time.sleep(0.02)
        wrong = sum(_is_wrong(end, value) for end, value in sent.ends)
        time.sleep(LEASE)
        runs_of = fleet.runs()
        again = {job_id for job_id, number in sent.once.items() if runs_of[number] > 1}
        return Flows(
            model,
            wanted,
            kills,
            restarts,
            lost=len(sent.wanted - runs_of.keys()),
            twice=runs_of.total() - len(runs_of),
            fan_in_twice=len(again - struck),
            wrong=wrong + len(runs_of.keys() - sent.wanted),
            deferred=fleet.count(fleet.keys.deferred(QUEUE)),
            marks=fleet.count(fleet.keys.ended()),
            seconds=time.monotonic() - began,
        )


@dataclass
class Sent:
    """The flows of one run.

    Attributes:
        wanted: the numbers of jobs that are to run.
        once: of fan-ins and what handles failures, by their ids.
        ends: what ends each flow, and its result.
    """

    fleet: Fleet
    each: int
    pace: float
    wanted: set[int] = field(default_factory=set)
    once: dict[str, int] = field(default_factory=dict)
    ends: list[tuple[Handle[int] | FlowHandle[int], int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Send so many of each kind in turn."""
        self._numbers = (n for n in iter(range(1, 10**9)) if n % 50)  # see leave_program
        self._path = str(self.fleet.path)
        for _ in range(self.each):
            self._send_chain()
            self._send_failing_chain()
            self._send_group()

    def _next(self) -> int:
        number = next(self._numbers)
        self.wanted.add(number)
        return number

    def _step(self, number: int) -> Any:
        return step.s(self._path, number, self.pace)

    def _send_chain(self) -> None:
        first = step.s(0, self._path, self._next(), self.pace)
        steps = [self._step(self._next()) for _ in range(STEPS - 1)]
        line: Any = chain(first, *steps, on_failure=handle.s(self._path, next(self._numbers)))
        self.ends.append((self.fleet.producer.submit_flow(line), STEPS))

    def _send_failing_chain(self) -> None:
        first = step.s(0, self._path, self._next(), self.pace)
        fails = run_and_fail.s(self._path, self._next(), self.pace)
        last = self._next()
        handler = handle.s(self._path, last)
        line: Any = chain(first, fails, self._step(next(self._numbers)), on_failure=handler)
        end = self.fleet.producer.submit_flow(line).handles[-1]
        self.ends.append((end, 1))
        self.once[end.id] = last

    def _send_group(self) -> None:
        members = [run.s(self._path, self._next(), self.pace) for _ in range(MEMBERS)]
        last = self._next()
        flow = self.fleet.producer.submit_flow(
            group(members, then=add_up.s(self._path, last, MEMBERS))
        )
        self.ends.append((flow, MEMBERS))
        self.once[flow.handles[-1].id] = last


def _has_loaded(fleet: Fleet) -> bool:
    try:
        return bool(fleet.redis.ping())
    except redis.ConnectionError:
        return False


def _is_wrong(end: Handle[int] | FlowHandle[int], value: int) -> bool:
    try:
        return end.result(STANDSTILL_S) != value
    except (TimeoutError, RuntimeError):
        return True


def _kill(fleet: Fleet, consumers: list[Consumer], chance: random.Random, struck: set[str]) -> bool:
    """Kill one that is at work, if another is, and note what it held."""
    up = [(each, name) for each in consumers if (name := consumer_name(each)) is not None]
    if len(up) < 2:
        return False
    victim, name = chance.choice(up)
    victim.process.kill()
    victim.process.wait()
    struck |= fleet.held_by(name)
    consumers.remove(victim)
    consumers.append(fleet.start())
    return True
