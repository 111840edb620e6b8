"""Dead letters: read, looked up, replayed and purged.

`dead_choice` says which of them are meant, `dead_sweep` goes through any number of them by steps,
and `dead_groups` counts them by task and error.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import NamedTuple, Protocol

from heori.inspect.reader import RedisReader
from heori_common.protocol.dead_letter import DELIVERY_FIELDS, DeadLetter
from heori_common.protocol.keys import TENANT, Keys
from heori_common.protocol.payload import Call
from heori_common.protocol.unpickling import Pickles
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisRefused
from heori_common.settings import Settings

PAGE = 250  # letters in a call: Redis does nothing else for a few milliseconds


class Entry(NamedTuple):
    """One id in the failed registry of a queue."""

    queue: str
    id: str
    score: str  # epoch seconds at which it expires, as Redis writes it; inf or -1 for never

    @property
    def expires(self) -> float:
        """The same as a number."""
        return float(self.score)

    @classmethod
    def of(cls, letter: DeadLetter) -> "Entry":
        """That of a letter."""
        return cls(letter.queue, letter.id, repr(letter.expires))


class Action(Protocol):
    """Does something with letters of one queue; returns the fate of each."""

    def __call__(self, queue: str, ids: Sequence[str], *, dry_run: bool) -> list[str]: ...


class DeadLetters:
    """The dead letters of some queues. A queue whose keys are broken is left out, and is noted.

    Attributes:
        address: of the server.
        reader: notes what could not be read.
        problems: what else went wrong, for people to read.
        now: the server's time when this was made, in epoch seconds.
    """

    def __init__(
        self, client: RedisClient, settings: Settings, queues: Sequence[str] | None = None
    ) -> None:
        """Read the server's time.

        Args:
            queues: their names, each of which stands for its tenants', too; None for all that ever
                had a job.
        """
        self.address = client.address
        self.reader = RedisReader(client, Keys(settings.key_prefix))
        self.problems: list[str] = []
        self._redis = client
        self._settings = settings
        self._commands = self.reader.commands
        self.now = client.execute(self._commands.time())
        known = self.reader.read(self._commands.queues()) or []
        if queues:
            stems = tuple(f"{queue}{TENANT}" for queue in queues)
            known = [*queues, *(name for name in known if name.startswith(stems))]
        self._names = sorted(set(known))

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many there are, by the queue, in the order of their names."""
        counts = self.reader.read_many([self._commands.count_dead(name) for name in self._names])
        return {
            queue: count
            for queue, count in zip(self._names, counts, strict=True)
            if count is not None
        }

    # Looking

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

    def page(self, queue: str, after: Entry | None, *, newest_first: bool) -> list[Entry]:
        """What comes after an entry, which may have left its registry; None to begin."""
        score, job_id = (after.score, after.id) if after else ("", "")
        found = self._redis.execute(
            self._commands.read_dead(queue, score, job_id, PAGE, newest_first=newest_first)
        )
        return [Entry(queue, *each) for each in found]

    def read(
        self, entries: Sequence[Entry], fields: Sequence[str] = (), *, result: bool = True
    ) -> Iterator[tuple[Entry, DeadLetter]]:
        """Read letters, in the order of the entries.

        Args:
            fields: the fields of their jobs to read; by default all.
            result: whether to read how they failed, too.
        """
        while entries:
            records = self._redis.execute(
                self._commands.read_jobs(
                    [entry.id for entry in entries],
                    fields,
                    result=result,
                    most_value=self._settings.max_payload,
                )
            )
            for entry, record in zip(entries, records, strict=False):
                yield entry, DeadLetter(entry.id, entry.queue, entry.expires, record)
            entries = entries[len(records) :]

    def find(self, ids: Sequence[str]) -> Iterator[list[Entry]]:
        """Look these ids up; those of one queue come together."""
        for first in range(0, len(ids), PAGE):
            missing = ids[first : first + PAGE]
            asked = [self._commands.find_dead(queue, missing) for queue in self.counts]
            told = self.reader.read_many(asked)
            there: set[str] = set()
            for queue, scores in zip(self.counts, told, strict=True):
                found = [
                    Entry(queue, job_id, repr(score))
                    for job_id, score in zip(missing, scores or (), strict=False)
                    if score is not None and job_id not in there
                ]
                there.update(entry.id for entry in found)
                if found:
                    yield found

    # Changing

    def expire(self) -> None:
        """Drop what has expired; where Redis takes no writes for now, it stays a while longer."""
        commands = [self._commands.expire_dead(queue, self.now) for queue in self._names]
        for first in range(0, len(commands), PAGE):
            replies = self._redis.ask_many(commands[first : first + PAGE])
            if any(isinstance(reply, RedisRefused) and reply.is_passing for reply in replies):
                return

    def replay(self, queue: str, ids: Sequence[str], *, dry_run: bool) -> list[str]:
        """An `Action`: back to the end of the queue."""
        command = self._commands.replay(queue, ids, forget=DELIVERY_FIELDS, dry_run=dry_run)
        return self._redis.execute(command)

    def purge(self, queue: str, ids: Sequence[str], *, dry_run: bool) -> list[str]:
        """An `Action`: delete."""
        return self._redis.execute(self._commands.purge(queue, ids, dry_run=dry_run))

    def each_of(self, ids: Sequence[str], action: Action, *, dry_run: bool) -> dict[str, str]:
        """Act on those of these ids, which must differ; returns the fate of each."""
        fates = dict.fromkeys(ids, "absent")
        for found in self.find(ids):
            queue, of_queue = found[0].queue, [entry.id for entry in found]
            fates.update(dict.fromkeys(of_queue, "unreadable"))
            with self.apart(queue):
                told = action(queue, of_queue, dry_run=dry_run)
                fates.update(zip(of_queue, told, strict=True))
        return fates

    @contextmanager
    def apart(self, queue: str) -> Iterator[None]:
        """When Redis refuses something for one queue, note it; the others are worked on."""
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
