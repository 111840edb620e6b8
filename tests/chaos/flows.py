"""Flows while whole consumers are killed and the server restarts: chains, and groups with a fan-in.

Each job checks what it gets. A fan-in may run twice only when a consumer was killed that held it.
"""

import random
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import redis

from heori import FlowHandle, chain, group
from tests.chaos.dependents import CONSUMERS, STANDSTILL_S
from tests.chaos.fleet import QUEUE, Fleet, Report
from tests.chaos.kills import LEASE, consumer_name
from tests.chaos.tasks import add_up, run, step
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until

STEPS, MEMBERS = 5, 20
RESTART_EVERY = 10  # kills, after each of which the server is restarted, too


@dataclass
class Flows:
    """What was counted in one run.

    Attributes:
        jobs: that were sent.
        lost: those that have never run.
        twice: runs more than jobs: of what consumers held when they were killed.
        fan_in_twice: fan-ins that have run more than once though nobody who held them was killed.
        wrong: flows whose end is not what it must be.
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
    """Run so many chains and so many groups, while one consumer after the other is killed."""
    settings = {"HEORI_LEASE": str(LEASE), "HEORI_MAX_DELIVERIES": "10000"}
    with Fleet(model, persistent=True, **settings) as fleet:
        began = time.monotonic()
        sent, fan_ins = _send(fleet, pairs, pace)
        wanted = sum(len(flow) for flow in sent)
        consumers = [fleet.start() for _ in range(CONSUMERS)]
        struck: set[str] = set()
        kills = restarts = seen = 0
        next_kill = moved = time.monotonic()
        while seen < wanted and time.monotonic() - moved < STANDSTILL_S:
            now, runs = time.monotonic(), len(fleet.runs())
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
        wrong = sum(_is_wrong(flow, number % 2 == 0) for number, flow in enumerate(sent))
        time.sleep(LEASE)
        runs_of = fleet.runs()
        again = {job_id for job_id, number in fan_ins.items() if runs_of[number] > 1}
        return Flows(
            model,
            wanted,
            kills,
            restarts,
            lost=wanted - len(runs_of),
            twice=runs_of.total() - len(runs_of),
            fan_in_twice=len(again - struck),
            wrong=wrong,
            deferred=fleet.count(fleet.keys.deferred(QUEUE)),
            marks=fleet.count(fleet.keys.ended()),
            seconds=time.monotonic() - began,
        )


def _send(fleet: Fleet, pairs: int, pace: float) -> tuple[list[FlowHandle[int]], dict[str, int]]:
    """A chain and a group, in turn; returns them, and the numbers of the fan-ins by their ids."""
    path = str(fleet.path)
    numbers = (n for n in iter(range(1, 10**9)) if n % 50)  # see leave_program
    sent: list[FlowHandle[int]] = []
    fan_ins: dict[str, int] = {}
    for _ in range(pairs):
        steps: list[Any] = [step.s(path, next(numbers), pace) for _ in range(STEPS - 1)]
        line: Any = chain(step.s(0, path, next(numbers), pace), *steps)
        sent.append(fleet.producer.submit_flow(line))
        members = [run.s(path, next(numbers), pace) for _ in range(MEMBERS)]
        last = next(numbers)
        fan = group(members, then=add_up.s(path, last, MEMBERS))
        sent.append(fleet.producer.submit_flow(fan))
        fan_ins[sent[-1].handles[-1].id] = last
    return sent, fan_ins


def _has_loaded(fleet: Fleet) -> bool:
    try:
        return bool(fleet.redis.ping())
    except redis.ConnectionError:
        return False


def _is_wrong(flow: FlowHandle[int], is_chain: bool) -> bool:
    try:
        result = flow.result(STANDSTILL_S)
    except (TimeoutError, RuntimeError):
        return True
    return result != (STEPS if is_chain else MEMBERS)


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
