"""Periodic jobs of each second on four consumers; these are killed and frozen, and the server."""

import contextlib
import os
import random
import signal
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime

import redis

from tests.chaos.fleet import QUEUE, Fleet, Report, ready
from tests.chaos.kills import LEASE
from tests.chaos.schedule_tasks import ENTRIES
from tests.rigs.waiting import until

CONSUMERS = 4
STRIKE_S = 1.5  # from one to the next
RESTART_EVERY = 8  # of so many strikes one is at the server
FROZEN_S = (0.2, 2 * LEASE)
CALM_S = 120.0  # for what was missed to be made up for


@dataclass
class Schedule:
    """What was counted in one run.

    Attributes:
        ticks: those that were sent, of all entries.
        missed: those between the first and the last of their entry that never came.
        twice: those whose job was sent more than once.
        told_missed: what the entries themselves count as missed.
        again: runs more than ticks, of what consumers held when they were struck.
    """

    model: str
    ticks: int = 0
    missed: int = 0
    twice: int = 0
    told_missed: int = 0
    again: int = 0
    strikes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def problems(self) -> list[str]:
        """What is not as it must be."""
        least = ENTRIES * self.seconds / 2
        found = {
            f"{self.missed} ticks were missed": self.missed or self.told_missed,
            f"{self.twice} ticks were sent twice": self.twice,
            f"only {self.ticks} ticks were sent": self.ticks < least,
        }
        return [f"{self.model}: {problem}" for problem, there in found.items() if there]

    def row(self) -> dict[str, str]:
        """What a table shows of it."""
        return {
            "model": self.model,
            "ticks": f"{self.ticks:,}",
            "missed": str(self.missed),
            "sent twice": str(self.twice),
            "ran again": str(self.again),
            "strikes": "\n".join(f"{n} {kind}" for kind, n in sorted(self.strikes.items())),
            "seconds": f"{self.seconds:.0f}",
        }


def schedule(model: str, seconds: int, chance: random.Random, report: Report) -> Schedule:
    """Strike all the time, then wait until all is made up for."""
    result = Schedule(model)
    with Fleet(
        model, persistent=True, HEORI_LEASE=str(LEASE), HEORI_MAX_DELIVERIES="10000"
    ) as fleet:
        own = {"HEORI_TASKS": "tests.chaos.schedule_tasks", "CHAOS_TICKS": str(fleet.path)}
        consumers = [fleet.start(**own) for _ in range(CONSUMERS)]
        ready(consumers)
        until(lambda: fleet.path.stat().st_size > 0)
        began = time.monotonic()
        frozen: list[tuple[float, int]] = []  # when it goes on, and its process
        while (now := time.monotonic()) - began < seconds:
            report(int(now - began), seconds)
            number = result.strikes.total()
            if number % RESTART_EVERY == RESTART_EVERY - 1:
                result.strikes[_restart(fleet, chance)] += 1
            else:
                place = chance.randrange(CONSUMERS)
                process = consumers[place].process
                if chance.random() < 0.5:
                    process.send_signal(signal.SIGCONT)
                    process.kill()
                    process.wait()
                    consumers[place] = fleet.start(**own)
                    result.strikes["SIGKILL"] += 1
                else:
                    process.send_signal(signal.SIGSTOP)
                    frozen.append((now + chance.uniform(*FROZEN_S), process.pid))
                    result.strikes["SIGSTOP"] += 1
            time.sleep(STRIKE_S)
            frozen = _wake(frozen, time.monotonic())
        _wake(frozen, float("inf"))
        result.seconds = time.monotonic() - began
        _count(fleet, result, fleet.redis.time()[0])
    return result


def _wake(frozen: list[tuple[float, int]], now: float) -> list[tuple[float, int]]:
    """Let those go on whose time is over; returns the others."""
    for when, pid in frozen:
        if when <= now:
            with contextlib.suppress(ProcessLookupError):  # killed meanwhile
                os.kill(pid, signal.SIGCONT)
    return [each for each in frozen if each[0] > now]


def _restart(fleet: Fleet, chance: random.Random) -> str:
    """Start the server again; returns how it was ended."""
    how = chance.choice(["server killed", "server stopped"])
    if how == "server killed":
        os.kill(fleet.redis.info("server")["process_id"], signal.SIGKILL)
    fleet.server.stop()
    time.sleep(chance.uniform(0, 2))
    fleet.server.start()
    until(lambda: _answers(fleet))
    return how


def _answers(fleet: Fleet) -> bool:
    try:
        return bool(fleet.redis.ping())
    except redis.RedisError:
        return False


def _count(fleet: Fleet, result: Schedule, last: int) -> None:
    """Wait for all ticks up to a time of the server, in seconds, and count."""

    def ticks() -> dict[bytes, dict[int, set[bytes]]]:
        found: dict[bytes, dict[int, set[bytes]]] = defaultdict(lambda: defaultdict(set))
        result.again = 0
        for line in fleet.path.read_bytes().splitlines():
            entry, job_id, sent_at = line.split()
            moment = datetime.strptime(job_id.decode()[-16:], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            result.again += bool(found[entry][int(moment.timestamp())])
            found[entry][int(moment.timestamp())].add(sent_at)
        return found

    def missing() -> int:
        return sum(
            len(set(range(min(each), last + 1)) - each.keys()) for each in ticks().values()
        ) + ENTRIES * 10**6 * (len(ticks()) < ENTRIES)

    with contextlib.suppress(AssertionError):
        until(lambda: missing() == 0 and fleet.count(fleet.keys.wip(QUEUE)) == 0, timeout=CALM_S)
    result.missed = missing()
    found = ticks()
    result.ticks = sum(map(len, found.values()))
    result.twice = sum(
        len(sent - {b"gone"}) > 1 for each in found.values() for sent in each.values()
    )
    states = [fleet.redis.hgetall(key) for key in fleet.redis.keys(fleet.keys.entry("*"))]
    result.told_missed = sum(int(state.get(b"missed", 0)) for state in states)
