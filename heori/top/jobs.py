"""The jobs that consumers have claimed: those that run, and those that wait in them for a slot."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from heori.inspect.reader import RedisReader
from heori_common.errors import cut
from heori_common.protocol.commands import Command
from heori_common.protocol.job import MalformedJob, parse_time

MOST_JOBS = 200  # that are read each time; the others are counted
LONGEST_CALL = 200  # characters
_FIELDS = (
    "description",
    "worker_name",
    "started_at",
    "timeout",
    "heori_progress",
    "heori_progress_text",
)


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """One of them; empty or None is what is not known."""

    id: str
    queue: str
    call: str
    consumer: str
    seconds: float | None  # since it was claimed
    timeout: str  # in seconds; -1 for none
    progress: float | None  # from 0 to 1
    progress_text: str


class _Fields(NamedTuple):
    call: str
    consumer: str
    since: datetime | None
    timeout: str
    progress: float | None
    progress_text: str


def read_claimed(reader: RedisReader, queues: Sequence[str]) -> list[ClaimedJob]:
    """Of each of these queues the jobs whose leases end first, MOST_JOBS in all.

    Raises:
        RedisUnavailable, RedisRefused: as `RedisReader`.
    """
    keys = reader.commands.keys
    listed = reader.read_many([_claimed(keys.wip(queue)) for queue in queues])
    found = [
        (queue, job_id)
        for queue, ids in zip(queues, listed, strict=True)
        for job_id in dict.fromkeys(ids or ())
    ][:MOST_JOBS]
    if not found:
        return []
    now = reader.client.execute(reader.commands.time())
    fields = reader.read_many([_fields(keys.job(job_id)) for _, job_id in found])
    return [
        ClaimedJob(
            job_id,
            queue,
            of.call,
            of.consumer,
            None if of.since is None else max(0.0, now - of.since.timestamp()),
            of.timeout,
            of.progress,
            of.progress_text,
        )
        for (queue, job_id), of in zip(found, fields, strict=True)
        if of is not None
    ]


def _claimed(key: str) -> Command[list[str]]:
    def parse(reply: Sequence[bytes]) -> list[str]:
        return [_text(member).rpartition(":")[0] for member in reply]

    return Command(("ZRANGE", key, 0, MOST_JOBS - 1), parse)


def _fields(key: str) -> Command[_Fields]:
    def parse(reply: Sequence[bytes | None]) -> _Fields:
        call, consumer, started, timeout, progress, progress_text = reply
        try:
            since = parse_time("started_at", started)
        except MalformedJob:  # anybody may have written it
            since = None
        try:
            done = None if progress is None else float(progress)
        except ValueError:
            done = None
        return _Fields(
            cut(_text(call or b""), LONGEST_CALL),
            _text(consumer or b""),
            since,
            _text(timeout or b""),
            done,
            cut(_text(progress_text or b""), LONGEST_CALL),
        )

    return Command(("HMGET", key, *_FIELDS), parse)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
