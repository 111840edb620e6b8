"""Locks under fire: cancelled, their replies lost, their holders and waiters killed and paused.

What must be so whatever happens: nothing is orphaned, so that every lock can be had at once when
all is over, or when the lease of the dead is; a section that ended well had not lost the lock to
another; and writes that were guarded by the fence stand in the order of the fences.
"""

import asyncio
import contextlib
import itertools
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import psutil
import redis as redis_py

from heori import Mutex
from heori_common.embedded import EmbeddedValkey
from heori_common.locks import session
from heori_common.protocol.keys import Keys
from heori_common.protocol.scripts import script
from tests.chaos.fleet import Report
from tests.rigs.lock_rig import Program
from tests.rigs.proxy import proxy
from tests.rigs.waiting import until

KEYS = Keys()
LEASE = 1.0  # seconds
PAST_LEASE = 2 * LEASE
NAMES = ("a", "b", "c")
PROGRAMS = 4
# How a strike is chosen, by weight.
STRIKES = {
    "one SIGKILL": 3,
    "one SIGSTOP": 3,
    "one SIGSTOP past its lease": 2,
    "connections told": 3,  # those on which grants are told
    "connections asking": 2,
    "scripts forgotten": 2,
    "server killed": 1,  # and started again; it has an append-only file
}


@dataclass
class Locks:
    """What was counted.

    `sections` ended well; `troubles` ended with an error that says why; `broken` had lost the lock
    to another though they ended well; `late_writes` were guarded, and came after a later one's.
    """

    cancelled: int = 0
    cut: int = 0
    waiters: int = 0
    gave_up: int = 0
    orphans: int = 0
    overtaken: int = 0
    sections: int = 0
    troubles: int = 0
    broken: int = 0
    late_writes: int = 0
    left: list[str] = field(default_factory=list)
    strikes: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def problems(self) -> list[str]:
        """What is not as it must be."""
        found = {
            f"{self.orphans} locks were orphaned": self.orphans,
            f"{self.overtaken} waiters were overtaken": self.overtaken,
            f"{self.broken} sections were not told of their loss": self.broken,
            f"{self.late_writes} guarded writes came too late": self.late_writes,
            f"keys are left: {', '.join(self.left)}": self.left,
        }
        return [f"locks: {problem}" for problem, there in found.items() if there]


def locks(tries: int, seconds: float, chance: random.Random, report: Report) -> Locks:
    """All of it.

    Args:
        tries: cancellations, and as many lost replies.
        seconds: for which processes are struck.
    """
    began = time.monotonic()
    result = Locks()
    with EmbeddedValkey({"appendonly": "yes", "appendfsync": "always"}) as server:
        cancels(server.url, tries, chance, result, report)
        lost_replies(server.url, tries, chance, result, report)
        crowd(server.url, 1000, result)
        storm(server, seconds, chance, result, report)
    result.seconds = time.monotonic() - began
    return result


def cancels(url: str, count: int, chance: random.Random, result: Locks, report: Report) -> None:
    """Cancel coroutines while they wait for a lock, get it, hold it or release it."""

    async def use(lock: Mutex) -> None:
        async with lock:
            await asyncio.sleep(chance.random() * 0.002)

    async def main() -> None:
        ours = [Mutex(name, url) for name in NAMES]
        while result.cancelled < count:
            tasks = [asyncio.create_task(use(chance.choice(ours))) for _ in range(8)]
            for task in tasks:
                await asyncio.sleep(chance.random() * 0.002)
                result.cancelled += task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for lock in ours:  # before any lease is over
                if not await lock.acquire_async(timeout=20):
                    result.orphans += 1
                    return
                await lock.release_async()
            report(result.cancelled, count)

    with _closing():
        asyncio.run(main())


def lost_replies(
    url: str, count: int, chance: random.Random, result: Locks, report: Report
) -> None:
    """Cut the connection on which the reply to an acquisition or a release is on its way."""
    digests = [script(name).digest.encode() for name in ("lock_acquire", "lock_release")]
    with proxy(int(url.rpartition(":")[2].partition("/")[0])) as between:
        through = f"redis://127.0.0.1:{between.port}/0"
        ours = [Mutex(f"lossy{number}", through) for number in range(20)]

        def is_free(lock: Mutex) -> bool:
            direct = Mutex(lock.name, url)
            free = direct.acquire(timeout=0)
            if free:
                direct.release()
            return free

        async def use(lock: Mutex) -> None:
            async with lock:
                await asyncio.sleep(0)

        async def use_all() -> None:
            await asyncio.gather(*map(use, ours))

        with _closing():
            ours[0].acquire()
            ours[0].release()
            while between.lost < count:
                lost = between.lost
                between.lose = chance.choice(digests)
                if lost % 20:
                    lock = chance.choice(ours)
                    with lock:
                        pass
                    result.orphans += not is_free(lock)
                else:  # one connection carries them all
                    asyncio.run(use_all())
                    result.orphans += sum(not is_free(lock) for lock in ours)
                report(between.lost, count)
        result.cut += between.lost


def crowd(url: str, count: int, result: Locks) -> None:
    """Let many wait of whom a third give up; the others are served in the order they came in."""
    served: list[int] = []

    async def wait(number: int) -> None:
        lock = Mutex("crowd", url)
        # Every sixth gives up by itself, every other sixth is cancelled.
        if await lock.acquire_async(timeout=0.5 if number % 6 == 0 else None):
            served.append(number)
            await lock.release_async()

    async def main() -> None:
        first = Mutex("crowd", url)
        await first.acquire_async()
        tasks = [asyncio.create_task(wait(number)) for number in range(count)]
        while len((await first.statistics_async()).waiters) < count - len(tasks[::6]):
            pass
        for task in tasks[3::6]:
            task.cancel()
        await asyncio.wait(tasks[::6] + tasks[3::6])
        result.waiters += len((await first.statistics_async()).waiters)
        await first.release_async()
        await asyncio.wait(tasks)

    with _closing():
        asyncio.run(main())
        patient = [number for number in range(count) if number % 3]
        result.gave_up += count - len(patient)
        result.orphans += len(set(patient) - set(served))
        result.overtaken += sum(later < earlier for earlier, later in itertools.pairwise(served))


def storm(
    server: EmbeddedValkey, seconds: float, chance: random.Random, result: Locks, report: Report
) -> None:
    """Let programs contend for locks while they, their connections and the server are struck."""
    with redis_py.Redis.from_url(server.url, socket_timeout=None) as redis, _closing():
        with _Storm(server, redis, seconds, chance) as struck:
            while (left := struck.left) > 0:
                report(round(seconds - left), round(seconds))
                time.sleep(chance.uniform(0.05, 0.4))
                struck.strike()
            struck.end(result)
        for name in NAMES:  # the leases of the dead may be running still
            lock = Mutex(name, server.url)
            if lock.acquire(timeout=60):
                lock.release()
            else:
                result.orphans += 1
            check(redis, name, result)
        ours = {key for name in NAMES for key in (f"log:{name}", f"guarded:{name}")}
        stay = {KEYS.fence(), *map(KEYS.fenced, NAMES), *ours}
        result.left = sorted({key.decode() for key in redis.keys("*")} - stay)


class _Storm:
    """Programs that contend, and what is done to them."""

    def __init__(
        self, server: EmbeddedValkey, redis: Any, seconds: float, chance: random.Random
    ) -> None:
        self._server = server
        self._redis = redis
        self._end = time.monotonic() + seconds
        self._chance = chance
        self._programs: list[Program] = []
        self._asleep: list[tuple[float, psutil.Process]] = []
        self._strikes: Counter[str] = Counter()

    def __enter__(self) -> Self:
        for _ in range(PROGRAMS):
            self._start()
        return self

    def __exit__(self, *_: object) -> None:
        for program in self._programs:
            program.close()

    @property
    def left(self) -> float:
        """Seconds for which it goes on."""
        return self._end - time.monotonic()

    def strike(self) -> None:
        """Do something to somebody; wake those whose pause is over."""
        for sleeper in [each for each in self._asleep if each[0] <= time.monotonic()]:
            self._asleep.remove(sleeper)
            sleeper[1].resume()
        [kind] = self._chance.choices([*STRIKES], [*STRIKES.values()])
        self._strikes[kind] += 1
        match kind.split():
            case ["one", signal_name, *past]:
                self._strike_one(signal_name, past_lease=bool(past))
            case ["connections", which]:
                kind = {"told": "pubsub", "asking": "normal"}[which]
                self._redis.client_kill_filter(_type=kind, skipme=True)
            case ["scripts", _]:
                self._redis.script_flush()
            case ["server", _]:
                psutil.Process(self._redis.info("server")["process_id"]).kill()
                self._server.stop()
                self._server.start()
                until(lambda: not self._redis.info("persistence")["loading"])

    def end(self, result: Locks) -> None:
        """Wake everyone, and count what they say."""
        for _, process in self._asleep:
            process.resume()
        for program in self._programs:
            entered, troubles = program.hear("strove")
            result.sections += int(entered)
            result.troubles += int(troubles)
        result.strikes = dict(self._strikes)

    def _start(self) -> None:
        program = Program(self._server.url, "unused", LEASE)
        self._programs.append(program)
        program.hear("ready")
        program.tell("strive", max(0.5, self.left), *NAMES)

    def _strike_one(self, signal_name: str, *, past_lease: bool) -> None:
        sleepers = {process.pid for _, process in self._asleep}
        awake = [program for program in self._programs if program.pid not in sleepers]
        if not awake:
            return
        program = self._chance.choice(awake)
        if signal_name == "SIGKILL":
            self._programs.remove(program)
            program.close()
            self._start()
        else:
            process = psutil.Process(program.pid)
            process.suspend()
            pause = PAST_LEASE if past_lease else LEASE / 4
            self._asleep.append((time.monotonic() + pause, process))


def check(redis: Any, name: str, result: Locks) -> None:
    """Read the log of a lock: + begins a section, - ends it, and = says that it ended well.

    Of two that were in it at once, the one with the lower fence had lost the lock and must not have
    ended well: it may have been stopped on its way in, and have come while the other was inside.
    """
    entries = [(entry[:1], int(entry[1:])) for entry in redis.lrange(f"log:{name}", 0, -1)]
    well = {fence for mark, fence in entries if mark == b"="}
    inside: set[int] = set()
    broken: set[int] = set()
    for mark, fence in entries:
        if mark == b"+":
            broken |= {min(other, fence) for other in inside - {fence}}
            inside.add(fence)
        elif mark == b"-":
            inside.discard(fence)
    result.broken += len(broken & well)
    guarded = [int(fence) for fence in redis.lrange(f"guarded:{name}", 0, -1)]
    result.late_writes += sum(later < earlier for earlier, later in itertools.pairwise(guarded))


@contextlib.contextmanager
def _closing() -> Iterator[None]:
    """End this process' connections when it is over."""
    try:
        yield
    finally:
        session.close()
