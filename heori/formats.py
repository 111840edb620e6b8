"""How numbers, sizes, lengths of time and moments are written for people: everywhere the same."""

from collections.abc import Sequence
from datetime import UTC, datetime

NO_GIL = "no GIL"


def count(number: float) -> str:
    """A number of things, and whole things a second: 12,345."""
    return f"{number:,.0f}"


def count_or_unknown(number: float | None) -> str:
    """As `count`; a question mark for what could not be read."""
    return "?" if number is None else count(number)


def counted(number: int, one: str, many: str = "") -> str:
    """A number with what it counts: 1 job, 12,345 jobs.

    Args:
        many: the plural, where it is not `one` and an s.
    """
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def share(part: float) -> str:
    """A part of one, as a percentage: 25%."""
    return f"{part:.0%}"


def gil_loss(part: float | None, unknown: str, *, enabled: bool | None) -> str:
    """What the GIL costs a worker, as a part of its throughput.

    Args:
        enabled: whether it has one that is on; None where it does not tell.
    """
    if enabled is False:
        return NO_GIL
    return unknown if part is None else share(part)


def times(factor: float) -> str:
    """How many times as much: 1.8."""
    return f"{factor:.1f}"


def cores(number: float) -> str:
    """CPU seconds a second: 1.25."""
    return f"{number:.2f}"


def pool(size: Sequence[int]) -> str:
    """The size of a pool, processes × threads of each × coroutines of each: 4 × 2 × 100."""
    return " × ".join(map(str, size))


def size(number: float) -> str:
    """Bytes, in decimal units: 512 B, 1.5 kB, 40.1 MB, 2.5 GB."""
    if number < 1e3:
        return f"{number:.0f} B"
    for unit, bytes_of_unit in (("kB", 1e3), ("MB", 1e6)):
        if number < 999.95 * bytes_of_unit:  # more would be rounded up to 1,000.0
            return f"{number / bytes_of_unit:.1f} {unit}"
    return f"{number / 1e9:,.1f} GB"


def duration(seconds: float) -> str:
    """A length of time, in its largest units: 250 µs, 3.1 ms, 12.0 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 0.0009995:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.99995:
        return f"{seconds * 1e3:.1f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def age(seconds: float) -> str:
    """How long ago something was, or when it will be: 3 s ago, 2 h 5 min ago, in 10 min 0 s."""
    length = round(abs(seconds))
    told = f"{length} s" if length < 60 else duration(length)
    return f"in {told}" if seconds < 0 and length else f"{told} ago"


def moment(at: datetime | float) -> str:
    """A point in time, by UTC: 2030-01-31 10:00:00Z.

    Args:
        at: an aware datetime, or epoch seconds.
    """
    when = at if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
