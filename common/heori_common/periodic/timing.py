"""When the ticks of an entry are, in whole milliseconds since 1970.

They follow from the entry and the calendar alone, so every consumer of any version finds the same
ones, whenever it was started.

Where a day lacks an hour or has one twice, we go by what people mean:

- An entry that names its hours, such as ``30 2 * * *``, runs once for each of its times. A time
  that the clock leaves out is made up for at the moment of the change. One that comes twice counts
  the first time.
- An entry of every hour, such as ``*/10 * * * *``, goes by what passes: the hour that is left out
  has no ticks, and one that comes twice has its ticks twice.

croniter reads the text and finds the times of a calendar without changes of the clock. What it does
with a time zone differs between its versions, so the zone is applied here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from heori_common.duration import Duration, seconds
from heori_common.errors import short

SHORTEST_MS = 1000  # from tick to tick
# No clock was put back by more in the last decades; so far back ticks may be that come again.
MOST_REPEATED = timedelta(hours=3)
# Of Jenkins' crontabs; croniter draws lots for R, each time that it reads the text.
_DRAWN = re.compile(r"(?<![A-Za-z])[HR](?![A-Za-z])", re.IGNORECASE)
_FIELDS = 5


@dataclass(frozen=True, slots=True)
class Interval:
    """A tick at each multiple of a length of time, counted from 1970 in UTC."""

    ms: int

    @classmethod
    def of(cls, every: Duration) -> "Interval":
        """Read a length of time.

        Raises:
            ValueError: it is none, or shorter than a second.
        """
        length = round(seconds(every) * 1000)
        if length < SHORTEST_MS:
            raise ValueError(f"every={short(every)}: a second or more is needed")
        return cls(length)

    def __str__(self) -> str:
        amount = next(
            (f"{self.ms // size}{unit}" for unit, size in _UNITS if self.ms % size == 0),
            f"{self.ms / 1000:g}s",
        )
        return f"every {amount}"

    def after(self, ms: int) -> Iterator[int]:
        """The ticks after a moment, without end."""
        tick = ms // self.ms * self.ms
        while True:
            tick += self.ms
            yield tick


_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000))


@dataclass(frozen=True, slots=True)
class Crontab:
    """A tick at each time that a crontab's five fields name, as a time zone's clocks show it."""

    text: str
    timezone: str

    @classmethod
    def of(cls, text: str, timezone: str) -> "Crontab":
        """Read a line of a crontab and the name of a time zone.

        Raises:
            ValueError: one of them makes no sense, or no such time ever comes.
            TypeError: the line is no text.
        """
        if not isinstance(text, str):
            raise TypeError(f"cron={short(text)}: a text is needed, such as '0 3 * * 1-5'")
        _zone(timezone)
        made = cls(" ".join(text.split()), timezone)
        try:
            next(made.after(0))
        except ValueError as error:
            raise ValueError(f"cron={short(text)}: {error}") from None
        return made

    def __str__(self) -> str:
        return f"{self.text} {self.timezone}"

    def after(self, ms: int) -> Iterator[int]:
        """The ticks after a moment, without end."""
        zone = _zone(self.timezone)
        around = MOST_REPEATED.total_seconds()
        earlier, start, later = (
            datetime.fromtimestamp(ms / 1000 + seconds, zone) for seconds in (-around, 0, around)
        )
        wall = start.replace(tzinfo=None, fold=0)
        if not earlier.utcoffset() == start.utcoffset() == later.utcoffset():
            wall -= MOST_REPEATED  # what has been there may come again
        goes_by_hour = self._is_of_every_hour()
        last, waiting = ms, list[int]()
        for each in self._walls(wall):
            first, second = (_moment(each.replace(fold=fold), zone) for fold in (0, 1))
            exists = datetime.fromtimestamp(first / 1000, zone).replace(tzinfo=None, fold=0) == each
            # All that come before this one are known now.
            for tick in sorted(tick for tick in waiting if tick < first):
                waiting.remove(tick)
                last = max(last, tick)
                yield tick
            if exists:
                ticks = {first, second} if goes_by_hour else {first}
            else:
                ticks = set() if goes_by_hour else {_change(second, first, zone)}
            waiting += [tick for tick in ticks if tick > last and tick not in waiting]

    def _walls(self, after: datetime) -> Iterator[datetime]:
        """The times that are named, as a clock shows that is never put forward or back.

        Raises:
            ValueError: the text makes no sense, or no such time comes.
        """
        # Only who has such entries loads it.
        from croniter import croniter  # noqa: PLC0415

        if not self.text.startswith("@") and len(self.text.split()) != _FIELDS:
            raise ValueError("five fields are needed: minute, hour, day, month, day of the week")
        if _DRAWN.search(self.text):
            raise ValueError("H and R are drawn by lot, and so differ from consumer to consumer")
        times = croniter(self.text, after)
        while True:
            yield times.get_next(datetime)

    def _is_of_every_hour(self) -> bool:
        fields = self.text.split()
        return self.text == "@hourly" or (len(fields) == _FIELDS and fields[1].startswith("*"))


Timing = Interval | Crontab


def read_timing(*words: str | int) -> Timing:
    """The inverse of `write_timing`.

    Raises:
        ValueError: it makes no sense here; other versions may know more.
    """
    match words:
        case "every", int(ms) if ms >= SHORTEST_MS:
            return Interval(ms)
        case "cron", str(text), str(timezone):
            return Crontab.of(text, timezone)
    raise ValueError(f"{short(words)} is no timing that is known here")


def write_timing(timing: Timing) -> tuple[str | int, ...]:
    """As it travels."""
    if isinstance(timing, Interval):
        return ("every", timing.ms)
    return ("cron", timing.text, timing.timezone)


@cache
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, TypeError, OSError):  # of a folder of the database
        raise ValueError(
            f"timezone={short(name)}: no time zone of that name is known here; a name such as "
            "Europe/Berlin is needed, and on a system without them the package tzdata"
        ) from None


def _moment(wall: datetime, zone: ZoneInfo) -> int:
    return round(wall.replace(tzinfo=zone).timestamp() * 1000)


def _change(before: int, after: int, zone: ZoneInfo) -> int:
    """When the offset changes between two moments, to the second."""

    def offset(second: int) -> timedelta | None:
        return datetime.fromtimestamp(second, UTC).astimezone(zone).utcoffset()

    low, high = before // 1000, after // 1000
    old = offset(low)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if offset(middle) == old else (low, middle)
    return high * 1000
