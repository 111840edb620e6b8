"""One job as people and scripts are shown it."""

import contextlib
import json
import math
from base64 import b64decode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import Any

from heori.inspect.calls import CallReader
from heori.inspect.consumers import JobInSlot, WorkerView, read_slot
from heori.inspect.job_rows import iso, ran, read_hash, waited, waits_for
from heori.inspect.job_tries import Try, read_tries
from heori.inspect.reader import WRONG_TYPE, RedisReader
from heori_common.errors import short
from heori_common.protocol.commands import Record
from heori_common.protocol.dead_letter import DeadLetter
from heori_common.protocol.job import (
    Job,
    MalformedJob,
    parse_locks,
    parse_options,
    parse_retries,
)
from heori_common.protocol.keys import TENANT
from heori_common.protocol.meta import shown_meta
from heori_common.protocol.payload import BadPayload, decode_failure, decode_result
from heori_common.protocol.unpickling import Pickles
from heori_common.settings import Settings

_VALUES_ONLY = Pickles(())  # of plain values; to read one runs nothing
MOST_SHOWN = 1_000_000  # bytes of arguments
MOST_TIES = 20  # jobs before and after it that are named
# By status: what may be done to a job, see actions.py.
ACTIONS = {
    "started": ("stop",),
    "queued": ("cancel", "delete"),
    "scheduled": ("run", "cancel", "delete"),
    "deferred": ("cancel", "delete"),
    "rate_limited": ("cancel", "delete"),
    "failed": ("retry", "delete"),
    "stopped": ("retry", "delete"),
    "canceled": ("retry", "delete"),
    "finished": ("delete",),
}


_OVER = ("finished", "failed", "stopped")


@dataclass(frozen=True, slots=True)
class DeclaredLock:
    """A lock that a job needs to run.

    Attributes:
        state: holds, waits or needed, which is when it is about to be claimed.
        before: how many wait before it.
    """

    kind: str
    name: str
    state: str
    before: int | None


@dataclass(frozen=True, slots=True)
class Ties:
    """The jobs before it or after it in a flow, or by RQ's depends_on.

    Attributes:
        count: of all.
        jobs: the status of some, by their ids; "gone" of those of which nothing is left.
    """

    count: int
    jobs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Now:
    """What the consumer of a job that runs says of it now."""

    worker: WorkerView
    job: JobInSlot

    def record(self) -> dict[str, Any]:
        """For scripts."""
        said = self.job.record()
        of_slot = {name: said[name] for name in ("slot", "seconds", "thread", "lent", "in_line")}
        worker = self.worker
        return {"worker": worker.worker, "pid": worker.pid, "gil_loss": worker.gil_loss, **of_slot}


@dataclass(frozen=True, slots=True)
class JobDetails:
    """Everything that is known of a job. Times are ISO 8601 by the server's clock.

    What is not known, or does not concern this job, is None or empty.

    Attributes:
        args, kwargs: as JSON has them; what it has not is written as Python does.
        unread: why they cannot be shown.
        waited, ran: seconds, until it began or ended, or now.
        cpu, gil: seconds of CPU time that it took, and for which it was seen to wait for the GIL;
            of the latest run, or until now.
        now: where it runs, and what it does there.
        tries: the latest first; ends before it was replayed or repeated.
        retries_left: further tries that it has, should it fail.
        waits_on: jobs for whose ends it waits, or has waited by RQ's depends_on.
        came_after: jobs of its flow that have ended before it.
        then: jobs that wait for its end.
        outcome: its result, or error, by that name.
        actions: what its state allows: cancel, stop, run, retry, delete.
    """

    id: str
    status: str
    queue: str
    tenant: str
    task: str
    call: str
    timeout: int | None
    created_at: str
    enqueued_at: str
    started_at: str
    ended_at: str
    consumer: str
    deliveries: int | None
    restarts: int | None
    args: list[Any] | None
    kwargs: dict[str, Any] | None
    unread: str
    due_at: str
    waited: float | None
    ran: float | None
    cpu: float | None
    gil: float | None
    now: Now | None
    waits_for: str
    waits_since: str
    reason: str
    meta: dict[str, Any]
    progress: float | None
    progress_text: str
    retries_left: int | None
    tries: tuple[Try, ...]
    locks: tuple[DeclaredLock, ...]
    waits_on: Ties | None
    came_after: Ties | None
    then: Ties | None
    outcome: dict[str, Any]
    actions: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """For scripts. What does not concern this job is left out."""
        told: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "outcome":
                told |= value
            elif each.name in _ALWAYS or value not in (None, "", (), {}):
                told[each.name] = _plain(value)
        return told


_ALWAYS = (
    "id",
    "status",
    "queue",
    "call",
    "timeout",
    "consumer",
    "deliveries",
    "restarts",
    "actions",
)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [asdict(each) if isinstance(each, Try | DeclaredLock) else each for each in value]
    if isinstance(value, Now):
        return value.record()
    return asdict(value) if isinstance(value, Ties) else value


def read(
    reader: RedisReader, settings: Settings, job_id: str, within: float = 0.0
) -> JobDetails | None:
    """What there is to know of a job, with its result or error.

    None when there is no such job; or when its key holds something else, which the reader notes.

    Args:
        settings: say which arguments may be decoded.
        within: seconds that the consumer of a job that runs has to say what it does now; with 0 it
            is not asked.

    Raises:
        RedisUnavailable, RedisRefused: as `RedisReader`.
    """
    commands = reader.commands
    [record] = reader.client.execute(commands.read_jobs([job_id], most_value=MOST_SHOWN))
    if record.kind != "hash":
        if record.kind != "none":
            reader.note(commands.keys.job(job_id), WRONG_TYPE)
        return None
    raw = DeadLetter(job_id, "", 0.0, record)
    job = read_hash(raw)
    if job.problems:
        reader.note(commands.keys.job(job_id), "; ".join(job.problems))
    return _details(reader, CallReader(settings, MOST_SHOWN), raw, job, within)


def _details(
    reader: RedisReader, calls: CallReader, raw: DeadLetter, job: Job, within: float
) -> JobDetails:
    commands, now = reader.commands, reader.client.execute(reader.commands.time())
    due = reader.read(commands.due(job.queue, job.id)) if job.status == "scheduled" else None
    parked = job.status == "deferred" and reader.read(commands.is_parked(job.queue, job.id))
    args, kwargs, unread = _arguments(calls, raw)
    waits_on, came_after, then = _ties(reader, raw, job)
    progress = reader.read(commands.progress_of(job.id))
    tries = read_tries(reader, job.id)
    ended = tries[0] if tries and job.status in _OVER else None
    in_slot = _now(reader, job, within)
    return JobDetails(
        id=job.id,
        status=job.status,
        queue=job.queue,
        tenant=job.queue.partition(TENANT)[2],
        task=calls.task(raw),
        call=job.description,
        timeout=job.timeout,
        created_at=iso(job.created_at),
        enqueued_at=iso(job.enqueued_at),
        started_at=iso(job.started_at),
        ended_at=iso(job.ended_at),
        consumer=job.consumer,
        deliveries=job.deliveries,
        restarts=job.restarts,
        args=args,
        kwargs=kwargs,
        unread=unread,
        due_at=iso(due),
        waited=waited(job, now),
        ran=ran(job, now),
        cpu=in_slot.job.cpu if in_slot else ended.cpu if ended else None,
        gil=in_slot.job.gil if in_slot else ended.gil if ended else None,
        now=in_slot,
        waits_for=waits_for(raw, job, parked=bool(parked)),
        waits_since=iso(job.unknown_since) if job.unknown else "",
        reason=job.reason,
        meta=shown_meta(job.meta),
        progress=progress.fraction if progress else None,
        progress_text=progress.text if progress else "",
        retries_left=_retries_left(raw),
        tries=tries,
        locks=_locks(reader, raw, job),
        waits_on=waits_on,
        came_after=came_after,
        then=then,
        outcome=_outcome(reader, job.id, raw.record),
        actions=ACTIONS.get(job.status, ("delete",)),
    )


def _now(reader: RedisReader, job: Job, within: float) -> Now | None:
    if job.status != "started" or not job.consumer or not within:
        return None
    found = read_slot(reader, job.consumer, job.id, within)
    return Now(*found) if found else None


def _arguments(
    calls: CallReader, raw: DeadLetter
) -> tuple[list[Any] | None, dict[str, Any] | None, str]:
    try:
        call = calls.call(raw)
        args, kwargs = json.loads(json.dumps([list(call.args), dict(call.kwargs)], default=repr))
    except BadPayload as error:
        return None, None, str(error)
    except (TypeError, ValueError, RecursionError) as error:
        return None, None, f"its arguments cannot be shown: {error}"
    return args, kwargs, ""


def _retries_left(raw: DeadLetter) -> int | None:
    field = raw.record.fields.get("retries_left")
    with suppress(MalformedJob):
        retries = parse_retries(field if isinstance(field, bytes) else None, None)
        return retries.left if retries else None
    return None


def _locks(reader: RedisReader, raw: DeadLetter, job: Job) -> tuple[DeclaredLock, ...]:
    """Those that it declares; which others its code takes is known where it runs alone."""
    field = raw.record.fields.get("heori_locks")
    if not isinstance(field, bytes):
        return ()
    commands = reader.commands
    try:
        declared = parse_locks(field)
    except MalformedJob as error:
        reader.note(commands.keys.job(job.id), error)
        return ()
    keys = [commands.keys.lock(lock.kind, lock.name) for lock in declared]
    held = reader.read_many([commands.holds_lock(key, job.id) for key in keys])
    places = reader.read_many([commands.place_in_line(key, job.id) for key in keys])
    return tuple(
        DeclaredLock(
            lock.kind,
            lock.name,
            "holds" if holds else "needed" if place is None else "waits",
            place,
        )
        for lock, holds, place in zip(declared, held, places, strict=True)
    )


def _ties(
    reader: RedisReader, raw: DeadLetter, job: Job
) -> tuple[Ties | None, Ties | None, Ties | None]:
    commands, keys = reader.commands, reader.commands.keys
    before = _ties_of(reader, keys.dependencies(job.id))
    then = _ties_of(reader, keys.dependents(job.id))
    ended = None
    options = raw.record.fields.get("heori_options")
    with suppress(MalformedJob):
        if isinstance(options, bytes) and "flow" in parse_options(options):
            names = reader.read(commands.some_inputs(job.id, MOST_TIES)) or []
            ids = [name[1:] for name in names if name[0] in "rf" and name not in _OF_INPUTS]
            ended = Ties(len(ids), _statuses(reader, ids)) if ids else None
    return before, ended, then


_OF_INPUTS = ("failed", "reason", "rest")  # the names in it that are of no job


def _ties_of(reader: RedisReader, key: str) -> Ties | None:
    commands = reader.commands
    count = reader.read(commands.count_of(key))
    if not count:
        return None
    some = reader.read(commands.some_of(key, MOST_TIES))
    return Ties(count, _statuses(reader, some or []))


def _statuses(reader: RedisReader, ids: Sequence[str]) -> dict[str, str]:
    found = reader.read_many([reader.commands.status(each) for each in ids])
    return {each: status or "gone" for each, status in zip(ids, found, strict=True)}


def _outcome(reader: RedisReader, job_id: str, record: Record) -> dict[str, Any]:
    """The latest result, or error, by that name; it may have any size."""
    returned, failure = record.result.get("return_value"), record.result.get("exc_string")
    if isinstance(returned, int) or isinstance(failure, int):
        result = reader.read(reader.commands.result(job_id))
        returned, failure = (result.return_value, result.exc_string) if result else (None, None)
    if failure is not None and not isinstance(failure, int):
        return {"error": decode_failure(failure)}
    if returned is None or isinstance(returned, int):
        return {}
    try:
        return {"result": _result(returned)}
    except BadPayload as error:
        return {"error": str(error)}


def _result(field: bytes) -> Any:
    """The value of a result, if JSON has it, too; it may be the pickle of such a value.

    Raises:
        BadPayload: it is something else.
    """
    try:
        return _loads(decode_result(field))
    except BadPayload as error:
        try:
            value = _VALUES_ONLY.loads(b64decode(field, validate=True))
        except Exception:  # no pickle, or of more than values
            raise error from None
        with contextlib.suppress(TypeError, ValueError):
            same = _loads(json.dumps(value).encode())
            if same == value:  # a tuple becomes a list
                return same
        raise BadPayload(
            f"the result is {short(value)}, which JSON has not; read it with rq"
        ) from None


def _loads(text: bytes) -> Any:
    """A JSON value that can be written as JSON again: without NaN and infinity."""
    return json.loads(text, parse_constant=lambda _: None, parse_float=_finite)


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None
