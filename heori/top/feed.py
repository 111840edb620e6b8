"""Takes one reading after the other, in a thread of its own, so that nobody waits for Redis."""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from heori.inspect.overview import Reading, compare, take_reading
from heori.inspect.reader import RedisReader
from heori.inspect.schedule import EntryView, read_entries
from heori.top.jobs import ClaimedJob, read_claimed
from heori.top.table import View
from heori.top.tables import make_view
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisRefused


class Snapshot(NamedTuple):
    """Everything at one moment.

    Attributes:
        entries: of the schedule; None when this user may not read it.
    """

    reading: Reading
    jobs: list[ClaimedJob]
    entries: list[EntryView] | None

    def since(self, before: "Snapshot", address: str) -> View:
        """What there is now, and what happened since another moment."""
        overview = compare(before.reading, self.reading)
        return make_view(overview, address, self.jobs, self.entries)


def take_snapshot(reader: RedisReader, before: Snapshot | None = None) -> Snapshot:
    """Read everything.

    Args:
        reader: a new one, as it notes what could not be read this time.

    Raises:
        RedisUnavailable, RedisRefused: as `RedisReader`.
    """
    reading = take_reading(reader, before.reading if before else None)
    busy = [name for name, of in reading.queues.items() if of.running]
    entries = None
    try:
        entries = read_entries(reader)
    except RedisRefused as refusal:  # it takes a script, and users who only look may call none
        if refusal.code != "NOPERM":
            raise
    return Snapshot(reading, read_claimed(reader, busy, reading.records), entries)


class Feed:
    """Reads, tells, and waits, until it is stopped.

    Args:
        every: seconds between two readings.
        first: to compare the next with.
        tell: is called with each view, or with the error that came in its place, by the thread.
    """

    def __init__(
        self,
        client: RedisClient,
        keys: Keys,
        every: float,
        first: Snapshot,
        tell: Callable[[View | Exception], None],
    ) -> None:
        self._client = client
        self._keys = keys
        self._every = every
        self._before = first
        self._tell = tell
        self._awake = threading.Event()
        self._stopped = False

    def start(self) -> None:
        """Begin. The program may end meanwhile: who asks for that must not wait for Redis."""
        threading.Thread(target=self._run, name="readings", daemon=True).start()

    def hurry(self) -> None:
        """Read again now, as something was changed."""
        self._awake.set()

    def stop(self) -> None:
        """Read no more."""
        self._stopped = True
        self._awake.set()

    def _run(self) -> None:
        self._wait(self._before.reading.at)
        while not self._stopped:
            began = time.monotonic()
            try:
                now = take_snapshot(RedisReader(self._client, self._keys), self._before)
                self._tell(now.since(self._before, self._client.address))
                self._before = now
            # Whoever is told knows which of them ends all, and which is over some time.
            except Exception as error:
                self._tell(error)
            self._wait(began)

    def _wait(self, since: float) -> None:
        """As the last reading may have taken long itself."""
        self._awake.wait(max(0.0, since + self._every - time.monotonic()))
        self._awake.clear()
