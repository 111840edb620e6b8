"""Reads everything every two seconds, once for all who look, and not at all while nobody does."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from heori.http.backend import Backend
from heori.inspect.alerts import Alert, alerts
from heori.inspect.overview import Overview, Reading, compare, take_reading
from heori.inspect.reader import RedisReader
from heori_common import logs
from heori_common.redis.errors import RedisRefused, RedisUnavailable

EVERY_S = 2.0
# Rates are of this many readings, so that they do not jump: ten seconds.
READINGS = 6
KEPT_POINTS = 300  # for the charts: ten minutes
# Seconds after the last look for which it goes on reading.
IDLE_S = 30.0
# The slowest consumers answer within seconds; a page shows what there was before.
MOST_AGE_S = 15.0

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Point:
    """A moment in the charts; rates are of the ten seconds before it.

    What consumers tell is None while one of them is silent that has answered within the ten seconds
    before: what the others tell would look like a fall.
    """

    at: float  # epoch seconds, by this machine's clock
    sent: float | None  # jobs a second that came, as what is there and what was done tell
    done: float | None  # jobs a second
    failed: float | None  # of these
    waiting: int
    running: int | None
    slots: int | None
    gil: float | None  # the mean share of their time that workers have lost

    def record(self) -> dict[str, float | None]:
        """For the page."""
        names = ("at", "sent", "done", "failed", "waiting", "running", "slots", "gil")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read last.

    Attributes:
        number: of the reading; each has a higher one.
        overview: None until there is one.
        trouble: why there is none, or no new one; empty when all is well.
    """

    number: int = 0
    overview: Overview | None = None
    alerts: tuple[Alert, ...] = ()
    points: tuple[Point, ...] = ()
    trouble: str = ""


class Monitor:
    """Looks in a thread of its own, which ends with the process."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._readings: deque[Reading] = deque(maxlen=READINGS)
        self._points: deque[Point] = deque(maxlen=KEPT_POINTS)
        self._seen = Seen()
        self._looked = float("-inf")
        self._wanted = threading.Event()
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None
        self._listeners: set[Callable[[], None]] = set()

    def look(self, wait: float) -> Seen:
        """What was read last; the first who looks waits for it, so many seconds at most."""
        self._want()
        with self._news:
            self._news.wait_for(lambda: self._seen.number > 0, wait)
        return self._seen

    async def next(self, after: int) -> Seen:
        """The first reading that is newer than one; waits for it."""
        loop, come = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            loop.call_soon_threadsafe(come.set)

        with self._news:
            self._listeners.add(tell)
        try:
            while self._seen.number <= after:
                self._want()
                come.clear()
                if self._seen.number <= after:
                    await come.wait()
            return self._seen
        finally:
            with self._news:
                self._listeners.discard(tell)

    def _want(self) -> None:
        self._looked = time.monotonic()
        self._wanted.set()
        with self._news:
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="monitor", daemon=True)
                self._thread.start()

    def _watch(self) -> None:
        while True:
            self._wanted.wait()
            if time.monotonic() - self._looked > IDLE_S:
                self._wanted.clear()
                self._readings.clear()  # the next rates are of what comes then
                continue
            began = time.monotonic()
            try:
                seen = self._read()
            except (RedisUnavailable, RedisRefused) as error:
                seen = self._in_trouble(f"{error}")
            except Exception:  # a page must not stand still for ever for one bad reading
                log.exception("cannot read what the page shows")
                seen = self._in_trouble("the reading has failed; the log says why")
            with self._news:
                self._seen = seen
                self._news.notify_all()
                for tell in self._listeners:
                    tell()
            time.sleep(max(0.1, EVERY_S - (time.monotonic() - began)))

    def _in_trouble(self, why: str) -> Seen:
        last = self._seen
        return Seen(last.number + 1, last.overview, last.alerts, last.points, why)

    def _read(self) -> Seen:
        reader = self._backend.reader()
        last = self._readings[-1] if self._readings else None
        if last is not None and time.monotonic() - last.at > MOST_AGE_S:
            self._readings.clear()
        now = take_reading(reader, last)
        self._readings.append(now)
        overview = compare(self._readings[0], now)
        self._points.append(_point(overview, self._readings))
        found = alerts(overview, self._memory_share(reader))
        return Seen(self._seen.number + 1, overview, tuple(found), tuple(self._points))

    def _memory_share(self, reader: RedisReader) -> float | None:
        """How much of the memory that Redis may take is taken; None if it has no bound."""
        try:
            return _share(reader.client.execute(self._backend.commands.info("memory")))
        except RedisRefused as error:
            if error.code != "NOPERM":
                raise
            return None  # a hosted Redis may tell nobody


def _point(overview: Overview, readings: Sequence[Reading]) -> Point:
    before, now = readings[0], readings[-1]
    at = datetime.now(UTC).timestamp()
    waiting = sum(row.waiting or 0 for row in overview.queues)
    have_answered = {name for reading in readings for name in reading.answers.samples}
    if (have_answered & now.records.keys()) - now.answers.samples.keys():
        return Point(at, None, None, None, waiting, None, None, None)
    done = sum(row.jobs_per_second for row in overview.tasks)
    there = sum((row.waiting or 0) + (row.running or 0) for row in overview.queues)
    was = sum((of.waiting or 0) + (of.running or 0) for of in before.queues.values())
    losses = [row.gil_loss for row in overview.workers if row.gil_loss is not None]
    return Point(
        at,
        max(0.0, done + (there - was) / max(overview.seconds, 1.0)),
        done,
        sum(row.failed_per_second for row in overview.tasks),
        waiting,
        sum(row.running for row in overview.consumers),
        sum(row.slots for row in overview.consumers),
        sum(losses) / len(losses) if losses else None,
    )


def _share(memory: dict[str, str]) -> float | None:
    most = memory.get("maxmemory", "0")
    used = memory.get("used_memory", "0")
    if not (most.isdecimal() and used.isdecimal()) or not int(most):
        return None
    return int(used) / int(most)
