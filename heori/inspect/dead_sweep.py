"""Goes through any number of dead letters by steps, each of which any process may take.

Between two steps there is nothing but a cursor: a position in the failed registry of a queue, which
stays right whatever comes and goes meanwhile. A sweep that changes what it finds passes over what
has failed since it began, so a letter that is replayed and fails again is not replayed twice.
"""

import json
import math
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from heori.inspect.dead_choice import Choice
from heori.inspect.dead_letters import Action, DeadLetters, Entry
from heori_common.protocol.dead_letter import DeadLetter

STEP_LETTERS = 500  # that a step looks at, at most: some 10 ms of Redis
STEP_S = 0.1  # seconds after which a step ends, about
LONGEST_CURSOR = 4096  # characters


@dataclass(frozen=True, slots=True)
class Position:
    """Where a sweep stands.

    Attributes:
        began: epoch seconds, by the server's clock.
        of: how many letters there were then.
        searched: how many of them have been looked at.
        queue: of the entry that was looked at last; empty at the beginning, as are the next two.
        score: of that entry.
        id: of that entry.
        rest: how many letters of that queue may still have been there when the sweep came to it.
    """

    began: float
    of: int
    searched: int
    queue: str
    score: str
    id: str
    rest: int

    @property
    def cursor(self) -> str:
        """The same as a text that means nothing to whoever carries it."""
        return urlsafe_b64encode(json.dumps([*asdict(self).values()]).encode()).decode()

    @classmethod
    def of_cursor(cls, cursor: str) -> "Position":
        """The inverse.

        Raises:
            ValueError: it is no cursor.
        """
        try:
            if len(cursor) > LONGEST_CURSOR:
                raise ValueError
            position = cls(*json.loads(urlsafe_b64decode(cursor.encode())))
            kinds = [type(value) for value in asdict(position).values()]
            if kinds != [float, int, int, str, str, str, int] or not math.isfinite(position.began):
                raise ValueError
            if position.score and math.isnan(float(position.score)):
                raise ValueError
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError("it is no cursor that an answer gave") from error
        return position


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some letters of one queue that were looked at together.

    Attributes:
        searched: how many.
        found: those of them that are meant.
    """

    queue: str
    searched: int
    found: Sequence[DeadLetter]


class Sweep:
    """A look at all dead letters that are meant, queue by queue in the order of their names.

    Attributes:
        letters: among which it looks.
        began: epoch seconds, by the server's clock.
        of: how many letters there were then.
        searched: how many of them have been looked at.
        position: where to go on; None when all have been looked at.
    """

    def __init__(
        self,
        letters: DeadLetters,
        choice: Choice,
        fields: Sequence[str] = (),
        *,
        result: bool = False,
        newest_first: bool = False,
        changes: bool = False,
        position: Position | None = None,
    ) -> None:
        """Begin, or go on.

        Args:
            fields: what to read of each letter, besides what the choice needs.
            result: whether to read how each failed, even if the choice does not need it.
            newest_first: of each queue, else the oldest first.
            changes: whether something is done with what is found.
            position: where to go on; None to begin.
        """
        self.letters = letters
        start = position or Position(letters.now, sum(letters.counts.values()), 0, "", "", "", 0)
        self.began, self.of, self.searched = start.began, start.of, start.searched
        self.position: Position | None = start
        self._choice = choice
        self._fields = sorted({*choice.fields, *fields})
        self._result = result or choice.needs_result
        self._newest_first = newest_first
        self._changes = changes

    def step(
        self,
        *,
        most: float = STEP_LETTERS,
        seconds: float = STEP_S,
        limit: float = math.inf,
    ) -> Iterator[Stretch]:
        """Go on for a while.

        Args:
            most: letters to look at.
            limit: letters to find.
        """
        if self.position is None:
            return
        budget = _Budget(most, time.monotonic() + seconds, limit)
        for queue, count in self.letters.counts.items():
            if queue < self.position.queue:
                continue
            if queue > self.position.queue:
                self.position = replace(self.position, queue=queue, score="", id="", rest=count)
            with self.letters.apart(queue):
                yield from self._of_queue(self.position, budget)
            if budget.is_spent():
                return
        self.position = None

    def whole(self) -> Iterator[Stretch]:
        """Go on to the end."""
        return self.step(most=math.inf, seconds=math.inf)

    def leave(self) -> None:
        """Leave out the rest of the queue that the latest stretch is of."""
        assert self.position is not None
        self.position = replace(self.position, rest=0)

    def _of_queue(self, position: Position, budget: "_Budget") -> Iterator[Stretch]:
        while position.rest > 0 and not budget.is_spent():
            after = Entry(position.queue, position.id, position.score) if position.score else None
            page = self.letters.page(position.queue, after, newest_first=self._newest_first)
            if not page:
                return
            found, old = [], 0
            for entry, letter in self.letters.read(page, self._fields, result=self._result):
                after = entry
                if not self._is_new(letter):
                    old += 1
                    if not self._has_expired(entry) and self._choice.fits(
                        letter, self.letters.call
                    ):
                        found.append(letter)
                if budget.is_spent_by(1, len(found)):
                    break
            assert after is not None
            position = replace(
                position,
                searched=position.searched + old,
                score=after.score,
                id=after.id,
                rest=position.rest - old,
            )
            budget.limit -= len(found)
            self.position, self.searched = position, position.searched
            yield Stretch(position.queue, old, found)
            position = self.position  # which `leave` may have changed

    def _is_new(self, letter: DeadLetter) -> bool:
        """Whether it has failed since the sweep began, and may have been found before that."""
        ended = letter.ended_at if self._changes else None
        return ended is not None and ended.timestamp() > self.began

    def _has_expired(self, entry: Entry) -> bool:
        return 0 <= entry.expires <= self.letters.now


@dataclass(slots=True)
class _Budget:
    """What a step may still look at and find, and the time by `time.monotonic` when it ends."""

    letters: float
    ends: float
    limit: float

    def is_spent(self) -> bool:
        return self.letters <= 0 or self.limit <= 0 or time.monotonic() >= self.ends

    def is_spent_by(self, looked: int, found: int) -> bool:
        """The same after so many more letters, of which those are found so far."""
        self.letters -= looked
        return found >= self.limit or self.is_spent()


def act(
    sweep: Sweep,
    stretches: Iterator[Stretch],
    action: Action,
    fates: "Counter[str]",
    *,
    dry_run: bool,
) -> Iterator[int]:
    """Act on all that a sweep finds; yields how many letters each stretch of it has looked at.

    Args:
        fates: counts them as they go, so that it also tells how far an interrupted one came.
    """
    for stretch in stretches:
        if ids := [letter.id for letter in stretch.found]:
            told: list[str] | None = None
            with sweep.letters.apart(stretch.queue):
                told = action(stretch.queue, ids, dry_run=dry_run)
            if told is None:
                sweep.leave()
            fates.update(told or ())
        yield stretch.searched
