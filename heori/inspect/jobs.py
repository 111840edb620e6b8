"""The jobs of a Redis by state: paged, filtered, searched, and found by id.

Jobs move while somebody looks. A page goes on after the last job of the page before, wherever that
stands by now; so what stays where it is, is seen once.
"""

import binascii
import json
import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from heori.inspect.calls import CallReader
from heori.inspect.job_rows import JobRow, of_queue, row_of
from heori.inspect.reader import RedisReader
from heori_common.protocol.commands import Listed, Record, Register
from heori_common.protocol.dead_letter import DeadLetter
from heori_common.protocol.keys import TENANT, Keys, whole_queue
from heori_common.protocol.meta import shown_meta
from heori_common.settings import Settings

MOST_ROWS = 200  # of one page
LOOKED_AT = 800  # jobs of which one request with a filter looks for those that fit
AT_ONCE = 250  # jobs in one call
MOST_CALLS = 12  # of a megabyte at most
SEARCHED_BYTES = 16_384  # of one value; a longer one is not searched
ANCHORED = 100_000  # places of a list in which a job is looked for again: 2 ms

_REGISTERS: dict[str, Callable[[Keys, str], Register]] = {
    "started": lambda keys, queue: Register(keys.wip(queue)),
    "queued": lambda keys, queue: Register(keys.queue(queue), is_list=True),
    "scheduled": lambda keys, queue: Register(keys.scheduled(queue)),
    "deferred": lambda keys, queue: Register(keys.deferred(queue)),
    "rate_limited": lambda keys, limit: Register(keys.limit_waiting(limit)),
    "failed": lambda keys, queue: Register(keys.failed(queue), newest_first=True),
    "canceled": lambda keys, queue: Register(keys.canceled(queue), newest_first=True),
    "finished": lambda keys, queue: Register(keys.finished(queue), newest_first=True),
}
# What may be asked for. Those that were stopped are among the failed ones, as rq has it.
STATES = (*_REGISTERS, "stopped")
_ORDER = tuple(_REGISTERS)


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs are wanted.

    Attributes:
        queue: with all of its tenants, or one of these, such as orders@@acme; None for all queues.
        state: one of STATES; None for all, in their order.
        task: its name, written module.function.
        text: stands in the id, call, arguments, meta or error, whether it is upper case or lower.
    """

    queue: str | None = None
    state: str | None = None
    task: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some of the jobs.

    Attributes:
        searched: at how many jobs this page and those before it have looked, of all `of`.
        cursor: for the next page; None when there is none.
        now: the server's time, in epoch seconds.
    """

    jobs: tuple[JobRow, ...]
    searched: int
    of: int
    cursor: str | None
    now: float

    def record(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "jobs": [job.record() for job in self.jobs],
            "searched": self.searched,
            "of": self.of,
            "cursor": self.cursor,
        }


class _Source(NamedTuple):
    state: str
    name: str  # of a queue, or of a rate limit

    @property
    def place(self) -> tuple[int, str]:
        return _ORDER.index(self.state), self.name


class CursorRefused(ValueError):
    """A cursor that no answer has told."""


class _After(NamedTuple):
    """After which entry the next page begins."""

    source: _Source
    place: int  # that the entry had
    member: str
    score: float

    def __str__(self) -> str:
        told = json.dumps([*self.source, self.place, self.member, self.score])
        return urlsafe_b64encode(told.encode()).decode().rstrip("=")

    @classmethod
    def read(cls, text: str) -> "_After":
        """The inverse.

        Raises:
            CursorRefused: it is none.
        """
        try:
            told = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            state, name, place, member, score = told
            kinds = [type(each) for each in told]
            if kinds != [str, str, int, str, float] or state not in _REGISTERS or place < 0:
                raise ValueError
            if math.isnan(score):
                raise ValueError
        except (ValueError, TypeError, binascii.Error, RecursionError):
            raise CursorRefused("it is no cursor that an answer has told") from None
        return cls(_Source(state, name), place, member, score)


class _ListedJob(NamedTuple):
    source: _Source
    place: int
    listed: Listed

    @property
    def job_id(self) -> str:
        member = self.listed.member
        return member.rpartition(":")[0] if self.source.state == "started" else member


def count_jobs(reader: RedisReader, queue: str | None = None) -> dict[str, int]:
    """How many jobs are in each state, of a queue with its tenants, or of all.

    Where jobs of many queues share a register, all of these are counted.

    Raises:
        RedisUnavailable, RedisRefused: as `RedisReader`.
    """
    counts = dict.fromkeys(_REGISTERS, 0)
    for source, size in _sources(reader, JobFilter(queue)).items():
        counts[source.state] += size
    return counts


def list_jobs(
    reader: RedisReader,
    settings: Settings,
    wanted: JobFilter,
    cursor: str | None = None,
    limit: int = 50,
) -> JobPage:
    """A page of the jobs that are wanted: by state, then by queue, next or newest first.

    A job whose whole id is the text that is searched is found at once, and alone. Any other search
    looks at LOOKED_AT jobs and says so; the cursor goes on.

    Args:
        limit: jobs of the page, MOST_ROWS at most.

    Raises:
        RedisUnavailable, RedisRefused: as `RedisReader`.
        CursorRefused: the cursor is none.
    """
    return _Pager(reader, settings, wanted, min(limit, MOST_ROWS)).page(
        _After.read(cursor) if cursor else None
    )


def _sources(reader: RedisReader, wanted: JobFilter) -> dict[_Source, int]:
    """Where to look, in order, and how many jobs each lists; of those that list any."""
    commands = reader.commands
    known = reader.read(commands.queues()) or []
    queues = [queue for queue in known if _is_of(queue, wanted.queue)]
    if wanted.queue is not None and wanted.queue not in queues:
        queues.append(wanted.queue)
    names = {state: sorted(set(queues)) for state in _ORDER}
    names["scheduled"] = sorted({whole_queue(queue) for queue in queues})  # tenants share it
    state = "failed" if wanted.state == "stopped" else wanted.state
    if state in (None, "rate_limited"):
        names["rate_limited"] = reader.read(commands.limit_names()) or []
    listed = [
        _Source(each, name) for each in _ORDER if state in (None, each) for name in names[each]
    ]
    sizes = reader.read_many(
        [commands.count_listed(_register(commands.keys, source)) for source in listed]
    )
    return {source: size for source, size in zip(listed, sizes, strict=True) if size}


def _register(keys: Keys, source: _Source) -> Register:
    return _REGISTERS[source.state](keys, source.name)


def _is_of(queue: str, wanted: str | None) -> bool:
    return wanted is None or queue == wanted or queue.startswith(f"{wanted}{TENANT}")


class _Pager:
    """Makes one page."""

    def __init__(
        self, reader: RedisReader, settings: Settings, wanted: JobFilter, limit: int
    ) -> None:
        self._reader = reader
        self._commands = reader.commands
        self._calls = CallReader(settings)
        self._wanted = wanted
        self._text = wanted.text.casefold() if wanted.text else None
        self._limit = limit
        self._calls_left = MOST_CALLS
        self._now = reader.client.execute(reader.commands.time())

    def page(self, cursor: _After | None) -> JobPage:
        if cursor is None and self._wanted.text and (row := self._by_id(self._wanted.text)):
            return JobPage((row,), 1, 1, None, self._now)
        sizes = _sources(self._reader, self._wanted)
        order = sorted(sizes, key=lambda source: source.place)
        before, at = (
            0,
            0,
        )  # entries of the sources before; the place from which to look in `order[0]`
        if cursor is not None:
            gone = [source for source in order if source.place < cursor.source.place]
            before = sum(sizes[source] for source in gone)
            order = order[len(gone) :]
            at = self._place_after(cursor) if cursor.source in sizes else 0
        rows: list[JobRow] = []
        looked, last, is_over = 0, None, False
        for entry, record in self._read(self._entries(order, sizes, at)):
            looked, last = looked + 1, entry
            row = self._row(entry, record)
            if row is not None:
                rows.append(row)
            if len(rows) == self._limit:
                break
        else:
            is_over = looked < LOOKED_AT and self._calls_left > 0
        total = sum(sizes.values())
        if last is None or is_over:
            return JobPage(tuple(rows), total, total, None, self._now)
        searched = before + last.place + 1
        for source in order[: order.index(last.source)]:
            searched += sizes[source]
        rest = searched < total
        after = str(_After(last.source, last.place, *last.listed)) if rest else None
        return JobPage(tuple(rows), min(searched, total), total, after, self._now)

    def _by_id(self, job_id: str) -> JobRow | None:
        [record] = self._read_records([job_id])
        if record.kind != "hash":
            return None
        state = self._wanted.state
        job = DeadLetter(job_id, "", 0.0, record)
        queue, status = job.text("origin"), job.text("status")
        is_wanted = (
            _is_of(queue, self._wanted.queue)
            and state in (None, status)
            and self._wanted.task in (None, self._calls.task(job))
        )
        due = (
            self._reader.read(self._commands.due(queue, job_id)) if status == "scheduled" else None
        )
        return self._row_of(job, due.timestamp() if due else None) if is_wanted else None

    def _place_after(self, cursor: _After) -> int:
        """From where to go on in the source of the cursor."""
        register = _register(self._commands.keys, cursor.source)
        most = cursor.place + 1
        if register.is_list and most > ANCHORED:
            return most
        there = self._reader.read(self._commands.place_listed(register, cursor.member, most))
        if there is not None:
            return there + 1
        if register.is_list:
            return most
        return self._reader.read(self._commands.count_before(register, cursor.score)) or 0

    def _entries(
        self, order: Sequence[_Source], sizes: dict[_Source, int], at: int
    ) -> Iterator[list[_ListedJob]]:
        """The entries from there on, some hundreds of several sources at a time."""
        left = LOOKED_AT
        plan: list[tuple[_Source, int, int]] = []
        room = self._at_once(left)
        for source in order:
            while at < sizes[source] and left > 0:
                count = min(room, sizes[source] - at)
                plan.append((source, at, count))
                at, left, room = at + count, left - count, room - count
                if room == 0:
                    yield self._listed(plan)
                    plan, room = [], self._at_once(left)
            at = 0
        if plan:
            yield self._listed(plan)

    def _at_once(self, left: int) -> int:
        is_filtered = self._wanted.task or self._text or self._wanted.state == "stopped"
        return min(left, AT_ONCE if is_filtered else self._limit)

    def _listed(self, plan: Sequence[tuple[_Source, int, int]]) -> list[_ListedJob]:
        commands = self._commands
        found = self._reader.read_many(
            [
                commands.listed(_register(commands.keys, source), first, count)
                for source, first, count in plan
            ]
        )
        return [
            _ListedJob(source, place, listed)
            for (source, first, _), entries in zip(plan, found, strict=True)
            for place, listed in enumerate(entries or (), first)
        ]

    def _read(self, pages: Iterator[list[_ListedJob]]) -> Iterator[tuple[_ListedJob, Record]]:
        for page in pages:
            left = page
            while left:
                if self._calls_left == 0:
                    return
                self._calls_left -= 1
                records = self._read_records([entry.job_id for entry in left])
                yield from zip(left, records, strict=False)
                left = left[len(records) :]

    def _read_records(self, ids: Sequence[str]) -> list[Record]:
        command = self._commands.read_jobs(ids, most_value=SEARCHED_BYTES)
        return self._reader.client.execute(command)

    def _row(self, entry: _ListedJob, record: Record) -> JobRow | None:
        """What is shown of an entry; None for what is not wanted."""
        job = DeadLetter(entry.job_id, entry.source.name, 0.0, record)
        wanted = self._wanted
        if record.kind != "hash":
            is_wanted = wanted.task is None and wanted.state != "stopped"
            if is_wanted and (self._text is None or self._text in entry.job_id.casefold()):
                return JobRow(*of_queue(entry.job_id, entry.source.name), "", "gone", "")
            return None
        if entry.source.state in ("scheduled", "rate_limited") and not _is_of(
            job.text("origin"), wanted.queue
        ):
            return None
        if wanted.state == "stopped" and job.text("status") != "stopped":
            return None
        if wanted.task is not None and self._calls.task(job) != wanted.task:
            return None
        if self._text is not None and not self._has_text(job, self._text):
            return None
        due = entry.listed.score if entry.source.state == "scheduled" else None
        return self._row_of(job, due)

    def _has_text(self, job: DeadLetter, text: str) -> bool:
        """Whether it has this text; what is quick to read is looked at first."""
        looks: tuple[Callable[[DeadLetter], str], ...] = (
            lambda job: job.id,
            lambda job: job.text("description"),
            lambda job: json.dumps(shown_meta(job.meta), ensure_ascii=False),
            lambda job: job.traceback or "",
            self._calls.arguments,
        )
        return any(text in look(job).casefold() for look in looks)

    def _row_of(self, job: DeadLetter, due: float | None) -> JobRow:
        parked = job.text("status") == "deferred" and self._reader.read(
            self._commands.is_parked(job.text("origin"), job.id)
        )
        return row_of(job, self._calls, self._now, due=due, parked=bool(parked))
