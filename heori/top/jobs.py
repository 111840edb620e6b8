"""The jobs that consumers have claimed: those that run, and those that wait in them for a slot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from heori.inspect.consumers import ask_workers
from heori.inspect.queues import ConsumerRecord
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
    """One of them; empty or None is what is not known.

    Attributes:
        slot: the worker and its slot that run it; empty while it waits for one, and when its
            consumer does not say.
        gil_loss: of that worker: the share of its throughput that the GIL costs.
        states: of that worker: what share of their time its threads that have a job are in each.
    """

    id: str
    queue: str
    call: str
    consumer: str
    seconds: float | None  # since it was claimed
    timeout: str  # in seconds; -1 for none
    progress: float | None  # from 0 to 1
    progress_text: str
    slot: str = ""
    gil_loss: float | None = None
    states: Mapping[str, float] = field(default_factory=dict)


class _Fields(NamedTuple):
    call: str
    consumer: str
    since: datetime | None
    timeout: str
    progress: float | None
    progress_text: str


def read_claimed(
    reader: RedisReader, queues: Sequence[str], records: Mapping[str, ConsumerRecord]
) -> list[ClaimedJob]:
    """Of each of these queues the jobs whose leases end first, MOST_JOBS in all.

    Args:
        records: of the consumers, which are asked where they run.

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
    busy = {of.consumer for of in fields if of is not None and of.consumer in records}
    places = _places({name: records[name] for name in busy})
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
            *places.get((of.consumer, job_id), ()),
        )
        for (queue, job_id), of in zip(found, fields, strict=True)
        if of is not None
    ]


def _places(
    records: Mapping[str, ConsumerRecord],
) -> dict[tuple[str, str], tuple[str, float | None, Mapping[str, float]]]:
    """By consumer and job: in which slot it runs, and how that worker is."""
    return {
        (name, job.job): (
            f"{worker.worker}/{job.slot}{' lent' if job.lent else ''}",
            worker.gil_loss,
            worker.states,
        )
        for name, workers in ask_workers(records).items()
        for worker in workers
        for job in worker.jobs
    }


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
