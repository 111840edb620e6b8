"""One step of a look at dead letters, or of a change of many: what one answer has room for.

Whoever asks goes on with the cursor of the answer until there is none. Nothing is kept in between.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from heori.inspect.dead_choice import Choice
from heori.inspect.dead_groups import DeadGroups, count, grouping
from heori.inspect.dead_letters import DeadLetters
from heori.inspect.dead_record import SUMMARY_FIELDS, plain, summary
from heori.inspect.dead_sweep import Position, Sweep, act

MOST_LISTED = 200  # letters in one answer
MOST_CHANGED = 250  # letters in one step

Deed = Literal["replay", "purge"]
DONE: dict[Deed, str] = {"replay": "replayed", "purge": "purged"}  # the fate of those


@dataclass(frozen=True, slots=True)
class DeadStep:
    """How far a step came.

    Attributes:
        searched: letters that have been looked at, in all steps so far.
        of: letters that there were when the first step began.
        cursor: for the next step; None when it was the last.
        unreadable: what could not be read or changed, for people.
    """

    searched: int
    of: int
    cursor: str | None
    unreadable: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """As JSON."""
        told = {"searched": self.searched, "of": self.of, "cursor": self.cursor}
        return told | ({"unreadable": [*plain(self.unreadable)]} if self.unreadable else {})


@dataclass(frozen=True, slots=True)
class ListedLetters:
    """Letters, the newest of each queue first, queue by queue in the order of their names."""

    letters: list[dict[str, Any]]
    step: DeadStep

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {"letters": plain(self.letters), **self.step.record()}


@dataclass(frozen=True, slots=True)
class CountedGroups:
    """The groups of the letters of this step; `DeadGroups.add` puts those of several together.

    Attributes:
        over: seconds that the counts of a group are about, up to when the first step began.
    """

    groups: DeadGroups
    over: float
    step: DeadStep

    def record(self) -> dict[str, Any]:
        """As JSON."""
        groups = [group.record() for group in self.groups.largest_first]
        return {"groups": groups, "over": self.over, **self.step.record()}


@dataclass(frozen=True, slots=True)
class ChangedLetters:
    """What became of the letters of this step.

    Attributes:
        done: how many were replayed or purged, or would be.
        left: of how many that is not so, by the reason; of some another was faster: absent.
    """

    done: int
    left: dict[str, int]
    dry_run: bool
    step: DeadStep

    def record(self) -> dict[str, Any]:
        """As JSON."""
        told = {"done": self.done, "left": self.left, "dry_run": self.dry_run}
        return {**told, **self.step.record()}


def list_letters(
    letters: DeadLetters, choice: Choice, position: Position | None, limit: int
) -> ListedLetters:
    """Find up to so many letters."""
    sweep = Sweep(
        letters, choice, SUMMARY_FIELDS, result=True, newest_first=True, position=position
    )
    found = [
        summary(letter, letters) for stretch in sweep.step(limit=limit) for letter in stretch.found
    ]
    return ListedLetters(found, _step(sweep))


def count_groups(
    letters: DeadLetters, choice: Choice, position: Position | None, over: float
) -> CountedGroups:
    """Count letters by task and error."""
    groups, sweep = DeadGroups(), grouping(letters, choice, position)
    for _ in count(sweep, sweep.step(), groups, over):
        pass
    return CountedGroups(groups, over, _step(sweep))


def change(
    letters: DeadLetters,
    choice: Choice,
    position: Position | None,
    deed: Deed,
    *,
    dry_run: bool,
) -> ChangedLetters:
    """Replay or purge letters, or only count those that would be."""
    action = letters.replay if deed == "replay" else letters.purge
    fates: Counter[str] = Counter()
    sweep = Sweep(letters, choice, changes=True, position=position)
    stretches = sweep.step(limit=MOST_CHANGED)
    for _ in act(sweep, stretches, action, fates, dry_run=dry_run):
        pass
    done = fates.pop(DONE[deed], 0)
    return ChangedLetters(done, dict(fates), dry_run, _step(sweep))


def _step(sweep: Sweep) -> DeadStep:
    at, problems = sweep.position, tuple(sweep.letters.reader.problems())
    return DeadStep(sweep.searched, sweep.of, at.cursor if at else None, problems)
