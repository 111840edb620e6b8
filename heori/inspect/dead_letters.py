"""Dead letters of any number: read, replayed and purged by pages.

Each page is changed in one step on the server, so an interruption leaves everything consistent.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from heori_common.protocol.commands import Commands
from heori_common.protocol.dead_letter import (
    CALL_FIELDS,
    DELIVERY_FIELDS,
    FAILED_AT_FIELDS,
    DeadLetter,
)
from heori_common.protocol.keys import Keys
from heori_common.protocol.payload import BadPayload, Call
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisRefused
from heori_common.settings import Settings

PAGE = 500  # ids per call: Redis does nothing else for some milliseconds
OUT = ("replayed", "purged", "absent")  # fates of what its registry has no longer


class Entry(NamedTuple):
    """One id in the failed registry of a queue."""

    queue: str
    id: str
    expires: float  # epoch seconds; infinite or -1 for never


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of the dead letters are meant; by default all."""

    task: str | None = None
    failed_before: float | None = None  # epoch seconds

    @property
    def fields(self) -> tuple[str, ...]:
        """What to read of a job to see whether it is meant."""
        return (CALL_FIELDS if self.task is not None else ()) + (
            FAILED_AT_FIELDS if self.failed_before is not None else ()
        )


class Action(Protocol):
    """Does something with letters of one queue; returns the fate of each."""

    def __call__(self, queue: str, ids: Sequence[str], *, dry_run: bool) -> list[str]: ...


# Entered for each sweep with how many letters there are; what it gives is called with how many
# more were seen.
Progress = Callable[[int], AbstractContextManager[Callable[[int], None]]]


class DeadLetters:
    """The dead letters of some queues. A queue whose keys are broken is left out, and is a problem.

    Attributes:
        address: of the server.
        problems: what went wrong, for people to read.
    """

    def __init__(
        self,
        client: RedisClient,
        settings: Settings,
        queues: Sequence[str] | None,
        progress: Progress,
    ) -> None:
        """See how many there are.

        Args:
            queues: their names; None for all that ever had a job.
            progress: shows how far a sweep is.
        """
        self.address = client.address
        self.problems: list[str] = []
        self._redis = client
        self._settings = settings
        self._progress = progress
        self._commands = Commands(Keys(settings.key_prefix))
        self._now = client.execute(self._commands.time())
        self._counts: dict[str, int] = {}
        for queue in queues or client.execute(self._commands.queues()):
            with self._apart(queue):
                client.execute(self._commands.expire_dead(queue, self._now))
                self._counts[queue] = client.execute(self._commands.count_dead(queue))

    # Looking

    def choice(self, task: str | None, age: float | None) -> Choice:
        """Those of a task, and those that failed so many seconds ago or earlier."""
        return Choice(task, None if age is None else self._now - age)

    def call(self, letter: DeadLetter) -> Call:
        """What a letter was to call, as far as the settings let it be decoded.

        Raises:
            BadPayload: it cannot be decoded, or must not be.
        """
        return letter.call(self._settings.accept, self._settings.max_payload)

    def fits(self, letter: DeadLetter, choice: Choice) -> bool:
        """Whether a letter is among those chosen; what cannot be read is not."""
        if choice.failed_before is not None:
            failed = letter.failed_at
            if failed is None or failed.timestamp() > choice.failed_before:
                return False
        if choice.task is None:
            return True
        try:
            return self.call(letter).function == choice.task
        except BadPayload:
            return False

    def read(
        self, entries: Sequence[Entry], fields: Sequence[str] = ()
    ) -> Iterator[tuple[Entry, DeadLetter]]:
        """Read letters, in the order of the entries.

        Args:
            fields: the fields of their jobs to read; by default all.
        """
        while entries:
            records = self._redis.execute(
                self._commands.read_jobs(
                    [entry.id for entry in entries], fields, most_value=self._settings.max_payload
                )
            )
            for entry, record in zip(entries, records, strict=False):
                yield entry, DeadLetter(entry.id, entry.queue, entry.expires, record)
            entries = entries[len(records) :]

    def find(self, ids: Sequence[str]) -> Iterator[list[Entry]]:
        """Look these ids up; those of one queue come together."""
        for first in range(0, len(ids), PAGE):
            missing = ids[first : first + PAGE]
            for queue in self._counts:
                if not missing:
                    break
                scores = self._redis.execute(self._commands.find_dead(queue, missing))
                found = [
                    Entry(queue, job_id, score)
                    for job_id, score in zip(missing, scores, strict=True)
                    if score is not None
                ]
                if found:
                    yield found
                there = {entry.id for entry in found}
                missing = [job_id for job_id in missing if job_id not in there]

    def sweep(self, visit: Callable[[list[Entry]], int]) -> None:
        """Go through all of them by pages, the earliest failure first.

        Args:
            visit: called with each page; returns how many of it have left their registry.
        """
        with self._progress(sum(self._counts.values())) as advance:
            for queue, count in self._counts.items():
                # No more than there were: a replayed job may fail again and come back.
                first, left = 0, count
                with self._apart(queue):
                    while left > 0 and (page := self._page(queue, first, min(PAGE, left))):
                        first += len(page) - visit(page)
                        left -= len(page)
                        advance(len(page))

    # Changing

    def replay(self, queue: str, ids: Sequence[str], *, dry_run: bool) -> list[str]:
        """An `Action`: back to the end of the queue."""
        command = self._commands.replay(queue, ids, forget=DELIVERY_FIELDS, dry_run=dry_run)
        return self._redis.execute(command)

    def purge(self, queue: str, ids: Sequence[str], *, dry_run: bool) -> list[str]:
        """An `Action`: delete."""
        return self._redis.execute(self._commands.purge(queue, ids, dry_run=dry_run))

    def each(self, choice: Choice, action: Action, fates: "Counter[str]", *, dry_run: bool) -> None:
        """Act on all that are chosen.

        Args:
            fates: counts them as they go, so that it also tells how far an interrupted one came.
        """

        def visit(page: list[Entry]) -> int:
            ids = self._chosen(page, choice)
            told = action(page[0].queue, ids, dry_run=dry_run) if ids else []
            fates.update(told)
            return sum(fate in (("absent",) if dry_run else OUT) for fate in told)

        self.sweep(visit)

    def each_of(self, ids: Sequence[str], action: Action, *, dry_run: bool) -> dict[str, str]:
        """Act on those of these ids, which must differ; returns the fate of each."""
        fates = dict.fromkeys(ids, "absent")
        for found in self.find(ids):
            queue, of_queue = found[0].queue, [entry.id for entry in found]
            with self._apart(queue):
                told = action(queue, of_queue, dry_run=dry_run)
                fates.update(zip(of_queue, told, strict=True))
        return fates

    def _chosen(self, page: list[Entry], choice: Choice) -> list[str]:
        if not choice.fields:
            return [entry.id for entry in page]
        letters = self.read(page, choice.fields)
        return [entry.id for entry, letter in letters if self.fits(letter, choice)]

    def _page(self, queue: str, first: int, count: int) -> list[Entry]:
        found = self._redis.execute(self._commands.dead(queue, first, count))
        return [Entry(queue, *each) for each in found]

    @contextmanager
    def _apart(self, queue: str) -> Iterator[None]:
        """When Redis refuses something for one queue, the others are worked on all the same."""
        try:
            yield
        except RedisRefused as error:
            self.problems.append(f"queue {queue}: {error.said}")
