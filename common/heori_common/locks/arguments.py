"""What a lock may be asked for. Everything else is refused before anything is sent."""

import numbers
from collections.abc import Iterable
from typing import Any

from heori_common.errors import short

# A year. The server's clock and a lease are added up in microseconds, in a double.
LONGEST_S = 365 * 24 * 3600.0
# Shorter leases are lost to a pause of the garbage collector.
SHORTEST_LEASE_S = 0.1
MOST_PERMITS = 1_000_000_000


def check_lease(lease: Any) -> float:
    """Refuse what is no lease.

    Raises:
        TypeError: it is no number.
        ValueError: it is too short or too long.
    """
    seconds = _number(lease, f"lease={short(lease)}: seconds are needed")
    if not SHORTEST_LEASE_S <= seconds <= LONGEST_S:
        raise ValueError(
            f"lease={short(lease)}: seconds are needed, {SHORTEST_LEASE_S:g} at least, and "
            f"{LONGEST_S:.0f} at most (a year)"
        )
    return seconds


def check_timeout(timeout: Any) -> float | None:
    """Refuse what is no timeout.

    Raises:
        TypeError: it is no number. Neither is True, which to `threading` means to wait for ever and
            as a number would mean one second.
        ValueError: it is negative, not finite, or too long.
    """
    if timeout is None:
        return None
    needed = f"timeout={short(timeout)}: seconds are needed, 0 not to wait, None to wait for ever"
    seconds = _number(timeout, needed)
    if not 0 <= seconds <= LONGEST_S:
        raise ValueError(f"{needed}; {LONGEST_S:.0f} (a year) are the most")
    return seconds


def check_permits(permits: Any) -> int:
    """Refuse what is no number of permits.

    Raises:
        TypeError: it is no whole number.
        ValueError: it is too small or too large.
    """
    needed = f"permits={short(permits)}: a whole number is needed, 1 at least"
    if isinstance(permits, bool) or not isinstance(permits, numbers.Real):
        raise TypeError(needed)
    number = int(permits) if isinstance(permits, numbers.Integral) else 0
    if not 1 <= number <= MOST_PERMITS:
        raise ValueError(f"{needed} and {MOST_PERMITS} at most")
    return number


def check_words(words: Iterable[Any]) -> None:
    """Refuse what cannot be the words of a command.

    Raises:
        TypeError: one is neither text, bytes nor a number.
        ValueError: no UTF-8 can be made of one, or it is too large a number.
    """
    for word in words:
        if isinstance(word, bool) or not isinstance(word, str | bytes | int | float):
            raise TypeError(f"{short(word)} is no word of a command: text, bytes or a number is")
        if isinstance(word, int) and not -(1 << 63) <= word < 1 << 64:
            raise ValueError(f"{short(word)} has more than 64 bits")
        if isinstance(word, str):
            try:
                word.encode()
            except UnicodeEncodeError:
                raise ValueError(f"{short(word)} is no UTF-8; send bytes") from None


def _number(value: Any, needed: str) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(needed)
    try:
        return float(value)
    except OverflowError:
        raise ValueError(needed) from None
