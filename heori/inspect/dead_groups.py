"""Dead letters counted by task and error: how many of each kind there are, and since when."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from heori.inspect.dead_choice import UNREADABLE, Choice, alike
from heori.inspect.dead_letters import DeadLetters
from heori.inspect.dead_sweep import Position, Stretch, Sweep
from heori_common.printable import printable
from heori_common.protocol.dead_letter import CALL_FIELDS, DeadLetter
from heori_common.protocol.payload import BadPayload

BARS = 24  # counts over time of a group
EXAMPLES = 3  # ids of a group
MOST_GROUPS = 1000  # that are told apart; letters of further kinds are counted together


@dataclass(slots=True)
class DeadGroup:
    """Dead letters of one task and one error.

    Attributes:
        task: UNREADABLE for calls that cannot be read.
        error: with # for each number and id.
        oldest: failure, in epoch seconds; None when nothing tells.
        newest: the same of the latest.
        examples: some ids, as they were found.
        bars: how many failed in each of BARS equal parts of a length of time, the latest at last.
    """

    task: str
    error: str
    count: int = 0
    oldest: float | None = None
    newest: float | None = None
    examples: list[str] = field(default_factory=list)
    bars: list[int] = field(default_factory=lambda: [0] * BARS)

    def add(self, other: "DeadGroup") -> None:
        """Count more of the same kind."""
        times = [at for at in (self.oldest, other.oldest) if at is not None]
        self.oldest = min(times, default=None)
        times = [at for at in (self.newest, other.newest) if at is not None]
        self.newest = max(times, default=None)
        self.count += other.count
        self.examples += other.examples[: EXAMPLES - len(self.examples)]
        self.bars = [one + more for one, more in zip(self.bars, other.bars, strict=True)]

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "task": self.task,
            "error": self.error,
            "count": self.count,
            "oldest": _written(self.oldest),
            "newest": _written(self.newest),
            "examples": [printable(each) for each in self.examples],
            "counts": self.bars,
        }


class DeadGroups:
    """The groups of some dead letters.

    Attributes:
        others: how many letters are of further kinds than MOST_GROUPS.
    """

    def __init__(self) -> None:
        self.others = 0
        self._groups: dict[tuple[str, str], DeadGroup] = {}

    def add(self, groups: Iterable[DeadGroup]) -> None:
        """Count more letters."""
        for group in groups:
            kind = (group.task, group.error)
            if kind not in self._groups and len(self._groups) >= MOST_GROUPS:
                self.others += group.count
            else:
                self._groups.setdefault(kind, DeadGroup(*kind)).add(group)

    @property
    def largest_first(self) -> list[DeadGroup]:
        """All of them; of those of one size the latest first."""
        return sorted(
            self._groups.values(), key=lambda group: (group.count, group.newest or 0), reverse=True
        )


def grouping(letters: DeadLetters, choice: Choice, position: Position | None = None) -> Sweep:
    """A sweep, the newest first, that `count` may follow."""
    return Sweep(letters, choice, CALL_FIELDS, result=True, newest_first=True, position=position)


def count(
    sweep: Sweep, stretches: Iterable[Stretch], groups: DeadGroups, over: float
) -> Iterator[int]:
    """Count all that a sweep finds; yields how many letters each stretch of it has looked at.

    Args:
        over: seconds before the sweep began that the bars are about.
    """
    for stretch in stretches:
        groups.add(_group(letter, sweep, over) for letter in stretch.found)
        yield stretch.searched


def _group(letter: DeadLetter, sweep: Sweep, over: float) -> DeadGroup:
    """The group of one letter."""
    try:
        task = printable(sweep.letters.call(letter).function)
    except BadPayload:
        task = UNREADABLE
    failed = letter.failed_at.timestamp() if letter.failed_at else None
    bars = [0] * BARS
    if failed is not None and 0 <= (before := sweep.began - failed) < over:
        bars[BARS - 1 - int(before / over * BARS)] = 1
    return DeadGroup(task, alike(letter.reason), 1, failed, failed, [letter.id], bars)


def _written(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()
