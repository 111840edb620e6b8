"""Locks: alone, contended, and when whoever holds or waits for them dies."""

import contextlib
import importlib.util
import json
import select
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import redis

from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.locks_worker import NAME, SHARED, Contended, Order
from benchmarks.rig import PATIENCE, Refused, Rig
from heori_common.embedded import EmbeddedValkey
from heori_common.protocol.keys import Keys

HEORI, BARE = "heori", "floor"
# Their modules, by the name of the library.
PEERS = {"redis-py": "redis", "python-redis-lock": "redis_lock", "pottery": "pottery"}
PROCESSES, THREADS = 4, 4
FEW = 2  # processes, to show that it works; each takes long to start
SECTION = 0.001  # seconds
MANY = 1_000  # locks that are held at once
KEYS = Keys()
LOCK = KEYS.lock("mutex", NAME)


def pair_case(library: str) -> str:
    """The name of the case of a lock that nobody else wants."""
    return f"{library}: alone"


def section_case(library: str) -> str:
    """Of one that all want, for a millisecond each."""
    return f"{library}: 1 ms inside"


def empty_case(library: str) -> str:
    """Of one that all want, and give back at once."""
    return f"{library}: nothing inside"


DEAD_WAITER, DEAD_HOLDER = f"{HEORI}: dead waiter", f"{HEORI}: dead holder"
RENEWAL = f"{HEORI}: {MANY:,} held"


def _cases(quick: bool) -> list[Case]:
    pairs, seconds, times = (200, 0.3, 1) if quick else (5_000, 4.0, 10)
    processes = FEW if quick else PROCESSES
    ours = [HEORI, *PEERS]
    pair = partial(_pairs, pairs)
    cases = [_case(pair_case, library, pair) for library in (BARE, *ours)]
    for name, pause in ((section_case, SECTION), (empty_case, 0.0)):
        cases += [
            _case(name, library, partial(_contend, processes, seconds, pause)) for library in ours
        ]
    return [
        *cases,
        Case(DEAD_WAITER, lambda: _dead_waiter(times)),
        Case(DEAD_HOLDER, lambda: _dead_holder(1 if quick else 3)),
        Case(RENEWAL, _renewal),
    ]


def _case(name: Callable[[str], str], library: str, measure: Callable[[str], Figures]) -> Case:
    module = PEERS.get(library)
    missing = None
    if module is not None and importlib.util.find_spec(module) is None:
        missing = f"{library} is not installed (make bench installs it)"
    return Case(name(library), lambda: measure(library), missing)


class Arena:
    """A server of its own and processes that use locks on it, as a context manager."""

    def __init__(self) -> None:
        self._server = EmbeddedValkey()
        self.workers: list[Worker] = []

    def __enter__(self) -> Self:
        self._server.start()
        self.client: Any = redis.Redis.from_url(self._server.url)
        if Rig.server_cores is not None:
            server = psutil.Process(self.client.info("server")["process_id"])
            server.cpu_affinity(Rig.server_cores)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self.workers:
            worker.kill()
        self.client.close()
        self._server.__exit__(kind, error, trace)

    def start(self, library: str) -> "Worker":
        """One more process."""
        worker = Worker(library, self._server.url)
        self.workers.append(worker)
        return worker

    def reads(self) -> int:
        """How often the server has read from a socket: once for each command of a lock's."""
        return int(self.client.info("stats")["total_reads_processed"])

    def until(self, condition: Callable[[], object]) -> None:
        """Wait, looking every 2 ms.

        Raises:
            Refused: in vain.
        """
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise Refused(f"it was not done in {PATIENCE:.0f} s")
            time.sleep(0.002)

    def queue(self, worker: "Worker", place: int) -> None:
        """Have one wait for the lock as the so many-th."""
        worker.tell(Order("acquire"))
        self.until(lambda: self.client.zcard(KEYS.waiters(LOCK)) == place)


class Worker:
    """`benchmarks.locks_worker`, from outside."""

    def __init__(self, library: str, url: str) -> None:
        self._process = subprocess.Popen(
            [Rig.checkout.python, "-m", "benchmarks.locks_worker", library, url],
            cwd=Rig.checkout.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the measuring program alone
        )

    def tell(self, order: Order) -> None:
        """Have it do something."""
        self._write(json.dumps(asdict(order)))

    def go(self) -> None:
        """Begin with what it is ready for."""
        self._write("")

    def answer(self) -> dict[str, Any]:
        """What has come of it.

        Raises:
            Refused: an error, or nothing in a long time.
        """
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], PATIENCE)[0]:
            raise Refused(f"it was not done in {PATIENCE:.0f} s")
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line or '{"error": "the process has ended"}')
        if "error" in answer:
            raise Refused(answer["error"])
        return answer

    def ask(self, order: Order) -> dict[str, Any]:
        """Have it do something and wait for it."""
        self.tell(order)
        return self.answer()

    def kill(self) -> None:
        """Wait for its end, too."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


def _pairs(count: int, library: str) -> Figures:
    with Arena() as arena:
        return arena.start(library).ask(Order("pairs", count))


def _contend(processes: int, seconds: float, pause: float, library: str) -> Figures:
    with Arena() as arena, tempfile.NamedTemporaryFile() as shared:
        shared.write(bytes(SHARED.size))
        shared.flush()
        for number in range(processes):
            arena.start(library).tell(
                Order(
                    "contend",
                    seconds=seconds,
                    threads=THREADS,
                    pause=pause,
                    number=1 + number * THREADS,
                    shared=shared.name,
                )
            )
        for worker in arena.workers:
            worker.answer()
        before = arena.reads()
        for worker in arena.workers:
            worker.go()
        seen = [Contended(**worker.answer()) for worker in arena.workers]
        reads = arena.reads() - before
        _, _, changes = SHARED.unpack(Path(shared.name).read_bytes())
    counts = [count for each in seen for count in each.counts]
    waits = [wait * 1e3 for each in seen for wait in each.waits]
    if violations := sum(each.violations for each in seen):
        raise Refused(f"two were inside at once, {violations} times")
    percentiles = statistics.quantiles(waits, n=100, method="inclusive")
    return {
        "rate": sum(counts) / seconds,
        "changes": changes / seconds,
        "unfair": max(counts) / max(1, min(counts)),
        "p50": percentiles[49],
        "p99": percentiles[98],
        "most": max(waits),
        "reads": reads / (sum(counts) + len(counts)),  # the last of each come too late
    }


def _dead_waiter(times: int) -> Figures:
    """The next in the queue is dead when the lock is released."""
    taken = []
    with Arena() as arena:
        holder, following = arena.start(HEORI), arena.start(HEORI)
        for _ in range(times):
            dead = arena.start(HEORI)
            holder.ask(Order("acquire"))
            arena.queue(dead, 1)
            arena.queue(following, 2)
            dead.kill()
            released = holder.ask(Order("release"))["at"]
            taken.append(following.answer()["at"] - released)
            following.ask(Order("release"))
    return {"late": statistics.median(taken) * 1e3}


def _dead_holder(times: int) -> Figures:
    """The time from the end of a dead holder's lease until a waiter has the lock."""
    taken = []
    with Arena() as arena:
        waiter = arena.start(HEORI)
        for _ in range(times):
            holder = arena.start(HEORI)
            holder.ask(Order("acquire", seconds=1.0))
            arena.queue(waiter, 1)
            holder.kill()
            [(_, lease_end)] = arena.client.zrange(KEYS.holders(LOCK), 0, 0, withscores=True)
            taken.append(waiter.answer()["at"] - lease_end / 1e6)
            waiter.ask(Order("release"))
    return {"late": max(taken) * 1e3}


def _renewal() -> Figures:
    """How many calls renew the leases of all locks that one process holds, once."""
    lease = 6.0
    with Arena() as arena:
        held = arena.start(HEORI).ask(Order("many", MANY, seconds=lease))["at"]
        arena.client.config_resetstat()
        time.sleep(held + lease / 2 - time.time())  # a renewal comes when a third of it is over
        stats = arena.client.info("commandstats")
        # But for those that look for what others have left behind, which alone read so.
        scripts, looked = (
            stats.get(f"cmdstat_{name}", {"calls": 0})["calls"]
            for name in ("evalsha", "zrangebyscore")
        )
        calls = scripts - looked
        pipeline = arena.client.pipeline(transaction=False)
        for number in range(MANY):
            key = KEYS.holders(KEYS.lock("mutex", f"{NAME}{number}"))
            pipeline.zrange(key, 0, 0, withscores=True)
        ends = [lease_end / 1e6 for [(_, lease_end)] in pipeline.execute()]
    if min(ends) < held + lease:
        raise Refused("not all were renewed")
    return {"calls": calls}


LOCKS = Kind(
    "locks",
    f"Acquire and release: alone; and {PROCESSES * THREADS} threads in {PROCESSES} processes that "
    "want the same lock. Waits in ms",
    (
        Column("pair", "pair, µs", ".1f"),
        Column("of_floor", "of floor", ".2f"),
        Column("rate", "per s"),
        Column("changes", "changes/s"),
        Column("unfair", "unfair", ",.2f"),
        Column("p50", "p50", ".2f"),
        Column("p99", "p99", ".2f"),
        Column("most", "longest", ".1f"),
        Column("reads", "round trips", ".2f"),
        Column("late", "ms late", ".1f"),
        Column("calls", "calls"),
    ),
    _cases,
    seconds=6,
)
