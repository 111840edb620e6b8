"""What a consumer of the model auto says of its size: what others would do, its moves, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from heori_common.errors import cut
from heori_common.printable import printable

MOST_MOVES = 20  # the latest
MOST_ESTIMATES = 6  # one more and one less of each
LONGEST_REASON = 400  # characters
NAMES = {"processes": "process", "slots": "thread", "coroutines": "coroutine"}


@dataclass(frozen=True, slots=True)
class AutoMove:
    """From one size to another.

    Attributes:
        ago: seconds since then.
        before, size: processes, threads of each, and coroutines of each.
        cause: the kind of its reason.
        outcome: kept, undone or overtaken; empty while that is not known.
        gain: how many times the throughput is since then; None where nobody can tell.
    """

    ago: float
    before: tuple[int, ...]
    size: tuple[int, ...]
    cause: str
    reason: str
    outcome: str
    gain: float | None
    came_of: str


@dataclass(frozen=True, slots=True)
class AutoView:
    """Its size.

    Attributes:
        size: that it wants: processes, threads of each, and coroutines of each.
        estimates: how many times the throughput would be with one more or one less, in words.
        held_up: by which lock or rate all jobs are, in words; empty if by none.
        apart: which tasks are kept from each other's way, in words; empty if none are.
        moves: the latest, the last one first.
    """

    size: tuple[int, ...]
    estimates: dict[str, float]
    held_up: str
    apart: str
    moves: tuple[AutoMove, ...]

    @property
    def what_if(self) -> str:
        """The estimates, in a line."""
        return ", ".join(f"{change} {gain - 1:+.0%}" for change, gain in self.estimates.items())


def read_auto(said: Mapping[str, Any] | None) -> AutoView | None:
    """As it is told at /slots; None for a consumer of another model.

    Raises:
        NONSENSE: it makes no sense.
    """
    if said is None:
        return None
    estimates = [(_change(name), _ratio(of)) for name, of in said["estimates"].items()]
    moves = [_move(each) for each in said["moves"][-MOST_MOVES:]]
    lock, apart = (  # which older ones do not tell
        printable(cut(said.get(name, ""), LONGEST_REASON)) for name in ("held_up", "apart")
    )
    return AutoView(
        _size(said["wanted"]), dict(estimates[:MOST_ESTIMATES]), lock, apart, tuple(moves[::-1])
    )


def _move(said: Mapping[str, Any]) -> AutoMove:
    return AutoMove(
        _ratio(said["ago"]),
        _size(said["before"]),
        _size(said["size"]),
        printable(cut(said["cause"])),
        printable(cut(said["reason"], LONGEST_REASON)),
        printable(cut(said["outcome"] or "")),
        None if said["gain"] is None else _ratio(said["gain"]),
        printable(cut(said["came_of"])),
    )


def _change(name: str) -> str:
    """Of "slots+1": one thread more."""
    of, step = name[:-2], name[-2:]
    return f"one {NAMES[of]} {'more' if step == '+1' else 'less'}"


def _size(said: Mapping[str, Any]) -> tuple[int, ...]:
    size = tuple(int(said[name]) for name in NAMES)
    if not all(0 < number < 1_000_000 for number in size):
        raise ValueError("that is no size")
    return size


def _ratio(said: Any) -> float:
    number = float(said)
    if not 0 <= number < 1e12:
        raise ValueError("that is no number of times")
    return number
