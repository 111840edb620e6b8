"""An entry: what is sent again and again, and when. As it is declared, and as it travels.

Workers import the tasks, and so know the entries; a supervisor knows none of them. So an entry
travels whole: the job that each tick is to send is made by the worker, and whoever leads adds an
id and the time.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any, Literal, NamedTuple, get_args

import msgpack

from heori_common.duration import Duration
from heori_common.errors import short
from heori_common.names import check_name
from heori_common.periodic.timing import Crontab, Interval, Timing, read_timing, write_timing

CatchUp = Literal["once", "all", "none"]
MOST_CAUGHT_UP = 1000  # ticks of one entry after an outage
# A tick that is so late was missed. Another consumer leads within seconds when the first dies.
MISSED_AFTER_MS = 60_000
_SLUG_CHARS = 60


class Rules(NamedTuple):
    """What becomes of the ticks of an entry.

    Attributes:
        catch_up: which of those that were missed are sent: the latest ("once"), "all" or "none".
        overlap: whether a tick is sent while the job of the one before waits or runs.
    """

    catch_up: CatchUp = "once"
    overlap: bool = True

    @classmethod
    def of(cls, catch_up: object, overlap: object) -> "Rules":
        """Check what somebody has written.

        Raises:
            ValueError, TypeError: it makes no sense.
        """
        if catch_up not in get_args(CatchUp):
            raise ValueError(f"catch_up={short(catch_up)}: once, all or none is needed")
        if not isinstance(overlap, bool):
            raise TypeError(f"overlap={short(overlap)}: True or False is needed")
        return cls(catch_up, overlap)  # type: ignore[arg-type]


def declare(
    every: Duration | None,
    cron: str | None,
    timezone: str = "UTC",
    catch_up: CatchUp = "once",
    overlap: bool = True,  # noqa: FBT001, FBT002 - the names are those of `task`
) -> tuple[Timing, Rules] | None:
    """When a call is to be made again and again, as somebody has written it; None if it is not.

    Raises:
        ValueError, TypeError: it makes no sense.
    """
    rules = Rules.of(catch_up, overlap)
    if every is not None and cron is not None:
        raise ValueError("either every or cron says when it runs")
    if timezone != "UTC" and cron is None:
        raise ValueError("timezone is that of cron; give that, too")
    if every is not None:
        return Interval.of(every), rules
    if cron is not None:
        return Crontab.of(cron, timezone), rules
    if rules != Rules():
        raise ValueError("catch_up and overlap are of every or cron; give one of them, too")
    return None


class ScheduleEntry(NamedTuple):
    """One entry, as consumers publish it.

    Attributes:
        name: by which people and Redis know it; no two have the same.
        task: the name of the function that is called.
        queue: where its jobs go.
        fields: of the hash of each of its jobs, name and value in turns.
    """

    name: str
    timing: Timing
    rules: Rules
    task: str
    queue: str
    fields: Sequence[Any]

    def pack(self) -> bytes:
        """As it travels."""
        timing, rules = write_timing(self.timing), tuple(self.rules)
        packed: bytes = msgpack.packb(
            [self.name, timing, rules, self.task, self.queue, list(self.fields)],
            unicode_errors="surrogateescape",
        )
        return packed

    @classmethod
    def unpack(cls, packed: bytes) -> "ScheduleEntry":
        """The inverse of `pack`.

        Raises:
            ValueError: it makes no sense here; a newer version may have published it.
        """
        try:
            name, timing, rules, *rest = msgpack.unpackb(packed, unicode_errors="surrogateescape")
            return cls(name, read_timing(*timing), Rules.of(*rules), *rest)
        except (TypeError, msgpack.UnpackException) as error:
            raise ValueError(f"an entry makes no sense: {error}") from error

    @property
    def timing_text(self) -> str:
        """By which Redis knows that its times have changed."""
        return str(self.timing)

    def job_id(self, tick_ms: int) -> str:
        """The id of the job of one tick: it follows from the name and the time."""
        return f"{self._stem()}-{_stamp(tick_ms)}"

    def id_by_hand(self, token: str) -> str:
        """The id of a job that a person has asked for."""
        return f"{self._stem()}-run-{token}"

    def due(self, last_ms: int, now_ms: int) -> "Due":
        """Which ticks are to be sent now.

        Args:
            last_ms: the last tick that was dealt with.
            now_ms: the server's time.
        """
        ticks = _latest(self.timing, last_ms, now_ms)
        match self.rules.catch_up:
            case "all":
                sent = ticks[-MOST_CAUGHT_UP:]
            case "once":
                sent = ticks[-1:]
            case "none":
                sent = [tick for tick in ticks[-1:] if now_ms - tick <= MISSED_AFTER_MS]
        return Due(sent, len(ticks) - len(sent), ticks[-1] if ticks else last_ms)

    def next_after(self, ms: int) -> int:
        """The next tick after a moment."""
        return next(self.timing.after(ms))

    def _stem(self) -> str:
        # Of rq's alphabet for ids; the digest tells names apart that only differ in the rest.
        slug = re.sub(r"[^A-Za-z0-9_-]", "_", self.name)[-_SLUG_CHARS:]
        return f"{slug}-{_digest(self.name.encode('utf-8', 'surrogateescape'))[:8]}"


class Due(NamedTuple):
    """The ticks to send, how many are not, and the last tick that is dealt with thereby."""

    ticks: list[int]
    missed: int
    up_to: int


def check_entry_name(name: object) -> str:
    """A name that a person has given.

    Raises:
        ValueError, TypeError: it is none.
    """
    return check_name("entry", name)


def version_of(modules: Sequence[str], entries: Sequence[bytes]) -> str:
    """The version of an application's entries: whose they are, and what they say."""
    application = _digest("\n".join(sorted(modules)).encode("utf-8", "surrogateescape"))
    return f"{application}.{_digest(b''.join(sorted(entries)))}"


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _latest(timing: Timing, last_ms: int, now_ms: int) -> list[int]:
    """The ticks since the last one; of very many the latest, without going through all."""
    span = 1000
    while True:
        start = max(last_ms, now_ms - span)
        ticks = list(_until(timing.after(start), now_ms))
        if start == last_ms or len(ticks) > MOST_CAUGHT_UP:
            return ticks[-MOST_CAUGHT_UP - 1 :]
        span *= 4


def _until(ticks: Iterator[int], now_ms: int) -> Iterator[int]:
    return takewhile(lambda tick: tick <= now_ms, ticks)


def _stamp(ms: int) -> str:
    moment = datetime.fromtimestamp(ms // 1000, UTC)
    rest = f"{ms % 1000:03}" if ms % 1000 else ""
    return f"{moment:%Y%m%dT%H%M%S}{rest}Z"
