"""Dead letters of any number: read, replayed and purged by pages.

Each page is changed in one step on the server, so an interruption leaves everything consistent.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from heori.inspect.reader import RedisReader
from heori_common.protocol.dead_letter import (
    CALL_FIELDS,
    DELIVERY_FIELDS,
    FAILED_AT_FIELDS,
    DeadLetter,
)
from heori_common.protocol.keys import Keys
from heori_common.protocol.meta import has_meta
from heori_common.protocol.payload import BadPayload, Call
from heori_common.protocol.unpickling import Pickles
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
    meta: Mapping[str, str] = field(default_factory=dict)  # values as people write them

    @property
    def fields(self) -> tuple[str, ...]:
        """What to read of a job to see whether it is meant."""
        of_call = CALL_FIELDS if self.task is not None else ()
        of_time = FAILED_AT_FIELDS if self.failed_before is not None else ()
        return (*of_call, *of_time, *(("meta",) if self.meta else ()))


class Action(Protocol):
    """Does something with letters of one queue; returns the fate of each."""

    def __call__(self, queue: str, ids: Sequence[str], *, dry_run: bool) -> list[str]: ...


# Entered for each sweep with how many letters there are; what it gives is called with how many
# more were seen.
Progress = Callable[[int], AbstractContextManager[Callable[[int], None]]]


class DeadLetters:
    """The dead letters of some queues. A queue whose keys are broken is left out, and is noted.

    Attributes:
        address: of the server.
        reader: notes what could not be read.
        problems: what else went wrong, for people to read.
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
        self.reader = RedisReader(client, Keys(settings.key_prefix))
        self.problems: list[str] = []
        self._redis = client
        self._settings = settings
        self._progress = progress
        self._commands = self.reader.commands
        self.now = client.execute(self._commands.time())
        names = list(queues or self.reader.read(self._commands.queues()) or [])
        self._expire(names)
        counts = self.reader.read_many([self._commands.count_dead(queue) for queue in names])
        self._counts = {
            queue: count for queue, count in zip(names, counts, strict=True) if count is not None
        }

    # Looking

    def choice(
        self,
        task: str | None,
        age: float | None,
        meta: Mapping[str, str] | None = None,
    ) -> Choice:
        """Those of a task, that failed so many seconds ago or earlier, with all this in meta."""
        return Choice(task, None if age is None else self.now - age, meta or {})

    def call(self, letter: DeadLetter) -> Call:
        """What a letter was to call, as far as the settings let it be decoded.

        A pickle that is read restricted runs nothing, so it needs no other permission.

        Raises:
            BadPayload: it cannot be decoded, or must not be.
        """
        settings = self._settings
        restricted = settings.pickle == "restricted"
        pickles = Pickles(settings.allow, restricted=restricted)
        accept = ("json", "pickle") if restricted else settings.accept
        return letter.call(accept, settings.max_payload, pickles)

    def fits(self, letter: DeadLetter, choice: Choice) -> bool:
        """Whether a letter is among those chosen; what cannot be read is not."""
        if choice.failed_before is not None:
            failed = letter.failed_at
            if failed is None or failed.timestamp() > choice.failed_before:
                return False
        if choice.meta and not has_meta(letter.meta, choice.meta):
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
                scores = self.reader.read(self._commands.find_dead(queue, missing)) or []
                found = [
                    Entry(queue, job_id, score)
                    for job_id, score in zip(missing, scores, strict=False)
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
            fates.update(dict.fromkeys(of_queue, "unreadable"))
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

    def _expire(self, queues: Sequence[str]) -> None:
        """Drop what has expired; where Redis takes no writes for now, it is shown once more."""
        commands = [self._commands.expire_dead(queue, self.now) for queue in queues]
        for first in range(0, len(commands), PAGE):
            replies = self._redis.ask_many(commands[first : first + PAGE])
            if any(isinstance(reply, RedisRefused) and reply.is_passing for reply in replies):
                return

    @contextmanager
    def _apart(self, queue: str) -> Iterator[None]:
        """When Redis refuses something for one queue, the others are worked on all the same."""
        try:
            yield
        except RedisRefused as error:
            if error.is_general:
                raise
            # A script does not say which of its keys it is; reading them does.
            commands = self._commands
            self.reader.read(commands.queues())
            self.reader.read(commands.depth(queue))
            self.reader.read(commands.count_dead(queue))
            if not self.reader.unreadable:
                self.reader.note_refusal(commands.keys.failed(queue), error)
