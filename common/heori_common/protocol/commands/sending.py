"""What producers and whoever holds a handle send: new jobs, and questions about one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple, TypedDict

from heori_common.protocol.commands.builder import (
    FAILURE_TTL_S,
    RESULT_TTL_S,
    Builders,
    Command,
    Template,
    text,
    unpack,
)
from heori_common.protocol.job import Job, MalformedJob, NewJob
from heori_common.protocol.keys import Keys, whole_queue
from heori_common.protocol.payload import encode_failure
from heori_common.protocol.scripts import pack_argument
from heori_common.public import public

WhenFull = Literal["block", "reject", "drop_oldest"]

ASKED = b"asked"  # the kind of what is told to a consumer: somebody asks whether jobs have begun
# A producer that waits for room and does not look for so long loses its place.
PLACE_LEASE_S = 3.0
MOST_TEMPLATES = 256
_BLANK = "\0"
KEPT_DROPPED = 1000  # of each queue's dropped jobs, the latest, as dead letters
_DROPPED = encode_failure(
    "dropped to make room: its queue was at its limit when newer jobs were sent with "
    "when_full=drop_oldest, and it had waited longest\n"
)
_DROPS = {"failure_ttl_s": FAILURE_TTL_S, "kept": KEPT_DROPPED, "body": _DROPPED}


@dataclass(frozen=True, slots=True)
class Result:
    """One entry of a job's result stream."""

    id: str  # of the entry, for `wait_for_result`
    type: int  # rq.results.Result.Type; 0 for what is none, as anybody may write anything
    return_value: bytes | None
    exc_string: bytes | None
    error: bytes | None = None  # as `heori_common.raised` writes it
    types: bytes | None = None  # what JSON does not say of the value


@public
class Progress(NamedTuple):
    """How far a running job says that it is."""

    fraction: float  # from 0 to 1
    text: str


class JobState(NamedTuple):
    """How a job is."""

    status: str | None  # None when it is gone
    reason: str = ""  # why it was cancelled, if anybody has said

    @property
    def is_expired(self) -> bool:
        """Whether it was cancelled as it was not to begin any more; see expire_job.lua."""
        return self.status == "canceled" and self.reason.startswith("expired:")


class Begun(NamedTuple):
    """What is known of a claimed job."""

    status: str | None  # None when the job is gone
    begun: bool | None  # whether a slot has begun it; None while nobody has said


class Enqueued(NamedTuple):
    """What became of jobs that were to be enqueued.

    Attributes:
        taken: how many of them, from the first on, are in Redis; the others were not let in.
        new: how many of those were not there before.
        same: the id of the job that was sent in its place before, if one was.
        depth: how many jobs wait in the queue; like the rest, when not all were taken.
        limit: how many may; 0 for no limit.
        ahead: the ticket of the producer that is to be let in before this one, if there is one.
        rate: jobs a second that leave the queue; 0 when none do, or it is not known.
    """

    taken: int
    new: int
    same: str | None = None
    depth: int = 0
    limit: int = 0
    ahead: str | None = None
    rate: float = 0.0


_ONE_NEW = Enqueued(1, 1)


class Cursor(NamedTuple):
    """Where a job is in a long row.

    Attributes:
        key: of `Keys.import_of`.
        position: its number, from 0.
        ttl: seconds for which it stays known how far the row is.
    """

    key: str
    position: int
    ttl: int

    def moved(self, jobs: int) -> "Cursor":
        """So many jobs further."""
        return self._replace(position=self.position + jobs)


class RareSend(TypedDict, total=False):
    """What few jobs ask for when they are sent, as enqueue.lua reads it."""

    expires_s: float  # from now: they are not to begin later
    expires_at_s: float  # likewise, in epoch seconds
    call: str  # of the one job: it is not sent while the same waits or runs
    latest: bool  # but while that is scheduled, it becomes the one that is sent


class SendingCommands(Builders):
    """New jobs, and questions about one."""

    def __init__(self, keys: Keys | None = None) -> None:
        super().__init__(keys)
        self._enqueue = lru_cache(MOST_TEMPLATES)(self._enqueue_template)

    def enqueue(
        self,
        queue: str,
        jobs: Sequence[NewJob],
        *,
        delay: float = 0.0,
        at: float | None = None,
        at_front: bool = False,
        key: tuple[str, int] | None = None,
        cursor: Cursor | None = None,
        rare: RareSend | None = None,
        when_full: WhenFull = "block",
        ticket: str = "",
    ) -> Command[Enqueued]:
        """Put jobs on one queue, now or when they are due, as far as its limit lets them in.

        Args:
            delay: seconds from now, by the server's clock.
            at: epoch seconds, in place of a delay.
            key: of `Keys.idempotency`, and seconds that it holds; for one job only.
            cursor: where these jobs are in a long row that may be sent again; those that are in
                already are not taken again.
            rare: what few jobs ask for.
            when_full: to block takes a place in the line for what is not let in; to drop the
                oldest lets all in.
            ticket: of the place in the line; by default the id of the first job.
        """
        if at is None and key is None and cursor is None and not (rare or ticket):
            template = self._enqueue(queue, when_full, delay, at_front=at_front)
        else:
            template = self._enqueue_template(
                queue,
                when_full,
                delay,
                at_front=at_front,
                at=at,
                key=key,
                cursor=cursor,
                rare=rare,
                ticket=ticket,
            )
        packed = pack_argument(
            [
                (job.id, job.fields(), job.edges) if job.edges else (job.id, job.fields())
                for job in jobs
            ]
        )
        return template.command(packed, partial(_enqueued, len(jobs)))

    def _enqueue_template(
        self,
        queue: str,
        when_full: WhenFull,
        delay: float,
        *,
        at_front: bool,
        at: float | None = None,
        key: tuple[str, int] | None = None,
        cursor: Cursor | None = None,
        rare: RareSend | None = None,
        ticket: str = "",
    ) -> Template[Enqueued]:
        """The command for other jobs, with _BLANK in their place."""
        whole = whole_queue(queue)
        keys = [
            self.keys.queues(),
            self.keys.queue(queue),
            self.keys.scheduled(whole),
            self.keys.bound(whole),
            self.keys.queue(whole),
            self.keys.bound(queue),
        ]
        full: tuple[Any, ...] = ("block", ticket, round(PLACE_LEASE_S * 1000))
        if when_full == "reject":
            full = ("reject",)
        elif when_full == "drop_oldest":
            full = ("drop_oldest", _DROPS)
            keys += [self.keys.failed(queue), self.keys.dropped(queue)]
        blank = self._call(
            "enqueue",
            keys,
            partial(_enqueued, 0),
            jobs=_BLANK,
            origin=queue,
            delay_s=delay,
            at_s=False if at is None else at,
            front=at_front,
            key=key or False,
            cursor=cursor or False,
            full=full,
            rare=rare or False,
            consumer="",  # none has had what is dropped
        )
        return Template(blank, pack_argument(_BLANK))

    def position(self, key: str) -> Command[int]:
        """How many jobs of a long row are in."""
        return Command(("GET", key), lambda reply: int(reply or 0))

    def forget_position(self, key: str) -> Command[int]:
        """Let a long row begin anew."""
        return Command(("DEL", key), int)

    def cancel(self, queue: str, ids: Sequence[str]) -> Command[list[int]]:
        """Cancel those of the jobs that no consumer has claimed; reads the numbers of these."""
        keys = [
            self.keys.queue(queue),
            self.keys.scheduled(whole_queue(queue)),
            self.keys.deferred(queue),
            self.keys.parked(queue),
            self.keys.canceled(queue),
        ]
        return self._call("cancel", keys, unpack, ids=ids, result_ttl_s=RESULT_TTL_S)

    def ask_consumers(self, queue: str, ids: Sequence[str], *, recalls: bool) -> Command[list[int]]:
        """Ask those who have claimed these jobs whether they have begun.

        Reads the numbers of those about which somebody was asked; `begun` has the answers.

        Args:
            recalls: whether those that have not begun are to be given back, and cancelled.
        """
        return self._call(
            "ask_consumers", [self.keys.wip(queue)], unpack, ids=ids, recalls=recalls, kind=ASKED
        )

    def begun(self, job_id: str) -> Command[Begun]:
        """Read what a consumer has answered."""

        def parse(reply: Sequence[bytes | None]) -> Begun:
            status, execution, begun = reply
            known = None if begun is None else begun != b"" and begun == execution
            return Begun(None if status is None else status.decode(errors="replace"), known)

        key = self.keys.job(job_id)
        return Command(("HMGET", key, "status", "heori_execution", "heori_begun"), parse)

    def end_recall(self, ids: Sequence[str]) -> Command[list[int]]:
        """Let jobs go on that were not given back; reads the numbers of those that were."""
        return self._call("end_recall", [], unpack, ids=ids)

    def job(self, job_id: str) -> Command[Job | None]:
        """Read a job; None when there is none of that id."""

        def parse(reply: Mapping[bytes, bytes]) -> Job | None:
            return Job.from_hash(job_id, reply) if reply else None

        return Command(("HGETALL", self.keys.job(job_id)), parse)

    def due(self, queue: str, job_id: str) -> Command[datetime | None]:
        """When a scheduled job is to run; None when it is not scheduled.

        Its reading raises MalformedJob for what is no time.
        """

        def parse(score: float | None) -> datetime | None:
            try:
                return None if score is None else datetime.fromtimestamp(score, UTC)
            except (ValueError, OverflowError, OSError) as error:
                raise MalformedJob(f"it is due at {score}, which is no time") from error

        return Command(("ZSCORE", self.keys.scheduled(whole_queue(queue)), job_id), parse)

    def status(self, job_id: str) -> Command[str | None]:
        """Read a job's status; None when there is no such job."""
        return Command(
            ("HGET", self.keys.job(job_id), "status"),
            lambda reply: None if reply is None else str(reply, "utf-8", "backslashreplace"),
        )

    def state(self, job_id: str) -> Command[JobState]:
        """Read a job's status, and why it was cancelled."""

        def parse(reply: Sequence[bytes | None]) -> JobState:
            status, reason = (
                None if each is None else str(each, "utf-8", "backslashreplace") for each in reply
            )
            return JobState(status, reason or "")

        return Command(("HMGET", self.keys.job(job_id), "status", "heori_reason"), parse)

    def progress_of(self, job_id: str) -> Command[Progress | None]:
        """Read how far a job is; None when it has not said."""

        def parse(reply: Sequence[bytes | None]) -> Progress | None:
            fraction, text = reply
            try:
                done = float(fraction or "")
            except ValueError:  # nobody but Heori writes it, but anybody could
                return None
            return Progress(done, (text or b"").decode("utf-8", "backslashreplace"))

        key = self.keys.job(job_id)
        return Command(("HMGET", key, "heori_progress", "heori_progress_text"), parse)

    def result(self, job_id: str) -> Command[Result | None]:
        """Read a job's latest result, if there is one."""

        def parse(reply: Sequence[Any]) -> Result | None:
            return _result(*reply[0]) if reply else None

        return Command(("XREVRANGE", self.keys.results(job_id), "+", "-", "COUNT", 1), parse)

    def wait_for_result(self, job_id: str, seconds: float, after: str = "0") -> Command[bool]:
        """Wait until a job has a result later than the one of that id; reads whether it has."""
        milliseconds = max(1, round(seconds * 1000))
        words = (
            "XREAD",
            "COUNT",
            1,
            "BLOCK",
            milliseconds,
            "STREAMS",
            self.keys.results(job_id),
            after,
        )
        return Command(words, bool)


def _enqueued(jobs: int, reply: int | bytes) -> Enqueued:
    """What became of so many jobs."""
    if isinstance(reply, int):
        return _ONE_NEW if jobs == reply == 1 else Enqueued(jobs, reply)
    taken, same, depth, limit, ahead, rate = unpack(reply)
    return Enqueued(
        taken,
        taken,
        text(same) if same else None,  # anybody may have written it
        depth,
        limit,
        text(ahead) if ahead else None,
        float(rate),
    )


def _result(entry_id: bytes, entry: Mapping[bytes, bytes] | Sequence[bytes]) -> Result:
    fields = (
        entry if isinstance(entry, Mapping) else dict(zip(entry[::2], entry[1::2], strict=True))
    )
    kind = fields.get(b"type", b"")
    return Result(
        entry_id.decode(),
        int(kind) if re.fullmatch(rb"\d{1,3}", kind) else 0,
        fields.get(b"return_value"),
        fields.get(b"exc_string"),
        fields.get(b"heori_error"),
        fields.get(b"heori_types"),
    )
