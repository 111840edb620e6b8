"""The forms of a job: sent (NewJob), delivered (Claim), outcome (Outcome); and looked at (Job).

Between the last two it runs: `heori_common.current_job.CurrentJob`. Here too: RQ's job hash.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import msgpack

from heori_common.duration import LONGEST_S, seconds
from heori_common.errors import HeoriError, short
from heori_common.protocol.payload import Call, decode_failure, encode_call
from heori_common.public import public

T = TypeVar("T")

# What may come of a job: its end, counted by task; "retry" is a failure that is to run again.
FINISHED, FAILED, STOPPED, RETRY = STATUSES = ("finished", "failed", "stopped", "retry")
# What else may come of a delivery: the job was not begun or not finished here, and is given back;
# its worker died with it, which counts against max_deliveries; or the code here does not have what
# it needs, and it waits for a consumer whose code does.
RETURNED, CRASHED, UNKNOWN_HERE = "returned", "crashed", "unknown here"
# Or the configuration of this consumer does not let it run, and it is given back; its end was
# written where it ran, by RQ's own code; or it has returned RQ's Retry.
REFUSED, SETTLED, RETRIED = "refused", "settled", "retried"
# Or its worker was killed because a person asked for that: it fails, unless it has retries left.
KILLED = "killed"
# The phase of a job whose stock worker has died: its callbacks are still to be run, and no more.
ABANDONED = "abandoned"

# How much suspicion makes a suspect of a job: it gets a process of its own the next time. It grows
# by one each time that the job runs in a worker which has to be killed for others.
SUSPECT = 2

DEFAULT_TIMEOUT = 180  # seconds; rq.queue.Queue.DEFAULT_TIMEOUT
SMALL_BYTES = 4096  # a payload that may as well be kept
LONGEST_DESCRIPTION_CHARS = 4096


class LockName(NamedTuple):
    """A lock that a job needs to run."""

    kind: str  # mutex or semaphore
    name: str
    limit: int | None = None  # the permits of a semaphore


@public
class MalformedJob(HeoriError, ValueError):
    """A field of a job's hash that has no meaning."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job's hash, read. Times are aware datetimes of the server's clock.

    What makes no sense is None, and `problems` says why.
    """

    id: str
    queue: str
    status: str
    description: str
    timeout: int | None
    data: bytes
    created_at: datetime | None
    enqueued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    consumer: str
    deliveries: int | None  # of all its tries
    # Starts that were no deliveries of their own: it was given back uncounted.
    restarts: int | None
    unknown: str = ""  # why it waits for a consumer with other code, if it had to
    unknown_since: datetime | None = None
    reason: str = ""  # why it was cancelled, if anybody has said
    meta: bytes = b""  # as it stands
    problems: tuple[str, ...] = ()

    @classmethod
    def from_hash(cls, job_id: str, fields: Mapping[bytes, bytes]) -> "Job":
        """Read what HGETALL returned."""
        problems: list[str] = []

        def text(name: str) -> str:
            return fields.get(name.encode(), b"").decode("utf-8", "backslashreplace")

        def read(parse: Callable[[str, bytes | None], T], name: str) -> T | None:
            try:
                return parse(name, fields.get(name.encode()))
            except MalformedJob as error:
                problems.append(str(error))
                return None

        last, earlier = read(_counted, "heori_deliveries"), read(_counted, "heori_earlier")
        return cls(
            id=job_id,
            queue=text("origin"),
            status=text("status") or "created",
            description=text("description"),
            timeout=read(lambda _, value: parse_timeout(value), "timeout"),
            data=fields.get(b"data", b""),
            created_at=read(parse_time, "created_at"),
            enqueued_at=read(parse_time, "enqueued_at"),
            started_at=read(parse_time, "started_at"),
            ended_at=read(parse_time, "ended_at"),
            consumer=text("worker_name"),
            deliveries=None if last is None or earlier is None else last + earlier,
            unknown=decode_failure(fields.get(b"heori_unknown", b"")).rstrip(),
            unknown_since=read(_moment, "heori_unknown_since"),
            restarts=read(_counted, "heori_restarts"),
            reason=text("heori_reason") if text("status") == "canceled" else "",
            meta=fields.get(b"meta", b""),
            problems=tuple(problems),
        )


class NewJob(NamedTuple):
    """A job that is about to be sent; the enqueue script adds the server's time."""

    id: str
    call: Call  # as people are shown it
    data: bytes
    timeout: int  # seconds, -1 for none
    retry_delays: tuple[float, ...]  # seconds before each retry
    locks: Sequence[LockName] = ()  # what it needs to run
    result_ttl: int | None = None  # seconds, -1 for ever; None for what its consumer has
    types: bytes | None = None  # of its arguments, where JSON does not say all
    options: Mapping[str, Any] | None = None  # what few jobs ask for, by name
    meta: bytes | None = None  # what travels with it, see `heori_common.protocol.meta`
    edges: Mapping[str, Any] | None = None  # who waits for whom, as send_flow.lua wants it

    @classmethod
    def create(
        cls,
        job_id: str,
        call: Call,
        timeout: int,
        retry_delays: Sequence[float] = (),
        locks: Sequence[LockName] = (),
        result_ttl: int | None = None,
        limit: int | None = None,
        shown: Call | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> "NewJob":
        """Encode a call.

        Args:
            limit: of `encode_call`.
            shown: what to describe in its place.

        Raises:
            BadPayload, PayloadTooLarge: as `encode_call`.
        """
        data = encode_call(call, limit)
        return cls(
            job_id,
            shown or call,
            data,
            timeout,
            tuple(retry_delays),
            locks,
            result_ttl,
            call.types,
            options,
        )

    def fields(self) -> list[str | bytes | int]:
        """What of its hash the enqueue script does not know, value after field."""
        fields: list[str | bytes | int] = [
            "data", self.data,
            "description", describe(self.call),
            "timeout", self.timeout,
        ]  # fmt: skip
        if self.retry_delays:
            # Whole seconds are written as RQ writes them; it reads fractions, too.
            intervals = [int(s) if s.is_integer() else round(s, 3) for s in self.retry_delays]
            fields += ["retries_left", len(intervals), "retry_intervals", json.dumps(intervals)]
        if self.locks:
            fields += ["heori_locks", encode_locks(self.locks)]
        if self.result_ttl is not None:
            fields += ["result_ttl", self.result_ttl]
        if self.types is not None:
            fields += ["heori_types", self.types]
        if self.options:
            fields += ["heori_options", encode_options(self.options)]
        if self.meta is not None:
            fields += ["meta", self.meta]
        return fields


class Claim(NamedTuple):
    """One delivery of a job to this consumer: the raw job and the lease it runs under.

    A named tuple, as are all that are made once a job: a frozen dataclass takes three times as
    long to make.
    """

    job_id: str
    queue: str
    execution: str
    deliveries: int
    claimed_at: float  # epoch seconds, server time
    problem: str | None  # why it cannot run as it stands
    timeout: int  # seconds, -1 for none
    result_ttl: bytes | None  # as in the hash, like the next
    failure_ttl: bytes | None
    fields: bytes  # JobFields as msgpack, for the worker; empty when there is a problem
    # The keys of its locks and their fences, in the order in which it declares them.
    locks: Sequence[tuple[str, int]] = ()
    waited: float = 0.0  # seconds, for its locks
    suspicion: int = 0  # see SUSPECT
    special: bool = False  # see ClaimReply, as the next
    rate_limit_key: bytes | None = None
    rest: bytes = b""
    # STOPPED or ABANDONED if it has ended so elsewhere, and its callback is to be run; else empty.
    phase: str = ""

    @property
    def is_suspect(self) -> bool:
        """Whether it may be what its worker died of, and so is to run alone."""
        return self.deliveries > 1 or self.suspicion >= SUSPECT

    def delivered(self) -> "Claim":
        """The same without a large payload, for whoever has passed it on."""
        # What has callbacks may have to be passed on again.
        is_spent = len(self.fields) > SMALL_BYTES and not self.rest
        return self._replace(fields=b"") if is_spent else self

    def wants_to_know_of_stop(self) -> bool:
        """Whether it carries a callback for its being stopped, which has not run."""
        if not self.rest or self.phase:
            return False
        rest: list[bytes] = msgpack.unpackb(self.rest, raw=True)
        return bool(dict(zip(rest[::2], rest[1::2], strict=True)).get(b"stopped_callback_name"))


def abandoned_words() -> str:
    """What stands in the place of the traceback of such a job, in rq's words."""
    return f"Moved to FailedJobRegistry, due to AbandonedJobError, at {datetime.now(UTC)}"


class RetryLater(NamedTuple):
    """That a job is to be run again, though it has failed."""

    delay: float  # seconds from its end
    left: int  # how many more times after that


class ReturnedRetry(NamedTuple):
    """What a job has returned to be run again, as ``rq.job.Retry`` says it."""

    max: int  # how often, in all
    intervals: Sequence[float]  # seconds, the last for all further ones
    at_front: bool  # of its queue
    # Before RQ 2.8, the failure that it ends with after that; later RQ has a result for it.
    failure: bytes | None = None


class Outcome(NamedTuple):
    """What came of one delivery: made where the job ran, or by its supervisor in its place."""

    # One of STATUSES, or RETURNED, CRASHED, KILLED, UNKNOWN_HERE, REFUSED, SETTLED or RETRIED.
    status: str
    # The encoded result or traceback; of CRASHED, KILLED, UNKNOWN_HERE the failure should it be the
    # last delivery.
    body: bytes | None = None
    task: str = ""
    run_time: float = 0.0  # seconds
    cpu_time: float = 0.0  # seconds
    queue_time: float = 0.0  # seconds from being enqueued to being claimed
    retry: RetryLater | None = None
    beside_loop: bool = False  # a plain function that ran in a thread beside an event loop
    # Fields for the job's hash: of CRASHED to write them, of RETURNED to add to them.
    evidence: Mapping[str, str | int] | None = None
    error: bytes | None = None  # what it has raised, as `heori_common.raised` writes it
    types: bytes | None = None  # of a result, where JSON does not say all
    again: ReturnedRetry | None = None  # of RETRIED
    called: str = ""  # the function as its job calls it, where webhooks are to tell of it
    settled_as: str = ""  # of SETTLED, one of STATUSES
    gil_time: float = 0.0  # seconds in which its thread was seen to wait for the GIL


Settled = tuple[Claim, Outcome]


def is_restart(outcome: Outcome) -> bool:
    """Whether it is what `begun_and_returned` makes."""
    return outcome.status == RETURNED and outcome.evidence is not None


def begun_and_returned(suspicion: int = 0) -> Outcome:
    """The outcome of a job that was begun and is given back; it is no delivery, but it is a start.

    Args:
        suspicion: by how much to suspect it more.
    """
    added = {"heori_restarts": 1}
    return Outcome(
        RETURNED, evidence=added | {"heori_suspicion": suspicion} if suspicion else added
    )


class Retries(NamedTuple):
    """What remains of a job's retries, as RQ keeps it."""

    left: int
    intervals: tuple[float, ...]  # seconds


def parse_retries(retries_left: bytes | None, retry_intervals: bytes | None) -> Retries | None:
    """The fields of those names; None when the job has no retries.

    Raises:
        MalformedJob: one of them has no meaning.
    """
    if not retries_left:
        return None
    left = _integer("retries_left", retries_left, 0)
    if left < 0:
        raise MalformedJob(f"its retries_left {left} is below zero")
    try:
        listed = json.loads(retry_intervals or b"[]")
        if not isinstance(listed, list) or any(isinstance(each, str) for each in listed):
            raise ValueError
        return Retries(left, tuple(map(seconds, listed)))
    except (ValueError, RecursionError) as error:
        shown = (retry_intervals or b"")[:40]
        raise MalformedJob(f"its retry_intervals {shown!r} are no list of seconds") from error


def encode_locks(locks: Sequence[LockName]) -> str:
    """The ``heori_locks`` field: JSON, which Lua reads, too; 0 permits say that it is a mutex."""
    listed = [[lock.kind, lock.name, lock.limit or 0] for lock in locks]
    return json.dumps(listed, ensure_ascii=False, separators=(",", ":"))


def parse_locks(field: bytes) -> list[LockName]:
    """The inverse of `encode_locks`.

    Raises:
        MalformedJob: it has no meaning.
    """
    try:
        return [LockName(kind, name, limit or None) for kind, name, limit in json.loads(field)]
    except (ValueError, TypeError, RecursionError) as error:
        raise MalformedJob(f"its heori_locks {field[:40]!r} have no meaning") from error


def encode_options(options: Mapping[str, Any]) -> bytes:
    """The ``heori_options`` field: a msgpack map, which Lua reads, too."""
    packed: bytes = msgpack.packb(options, use_bin_type=False)  # the format that cmsgpack knows
    return packed


def parse_options(field: bytes | None) -> dict[str, Any]:
    """The inverse of `encode_options`; empty when there is none.

    Raises:
        MalformedJob: it has no meaning.
    """
    if not field:
        return {}
    try:
        options = msgpack.unpackb(field, unicode_errors="surrogateescape")
    except (ValueError, msgpack.UnpackException, RecursionError):
        options = None
    if not isinstance(options, dict):
        raise MalformedJob("its heori_options have no meaning")
    return options


def next_delay(retries: Retries) -> float:
    """Seconds to wait before the next retry; only when there is one left.

    As ``rq.job.Job.get_retry_interval`` counts: the intervals belong to the last retries, and
    when there are more retries than intervals, those before take the first one, too.
    """
    if not retries.intervals:
        return 0.0
    return retries.intervals[max(len(retries.intervals) - retries.left, 0)]


def describe(call: Call) -> str:
    """The call as RQ's tools show it: ``rq.utils.get_call_string`` with its 75 characters.

    Of a call with very many arguments, the first ones.
    """
    most = LONGEST_DESCRIPTION_CHARS
    parts = [_describe_value(value) for value in call.args[:most]]
    if call.kwargs:
        parts += sorted([f"{name}={_describe_value(call.kwargs[name])}" for name in call.kwargs])
    text = f"{call.function}({', '.join(parts)})"
    return text if len(text) <= most else f"{text[:most]}..."


def _describe_value(value: Any) -> str:
    if type(value) in (str, bytes) and len(value) > LONGEST_DESCRIPTION_CHARS:
        value = value[:LONGEST_DESCRIPTION_CHARS]  # enough to see which quotes it takes, as a rule
    try:
        text = repr(value)
    except Exception:  # of a class of the sender's, or of a number with thousands of digits
        text = short(value)
    return text[:75] + "..." if len(text) > 75 else text


def parse_time(name: str, value: bytes | None) -> datetime | None:
    """An ISO-8601 time of a job's hash; empty means never."""
    if not value:
        return None
    try:
        parsed = datetime.fromisoformat(value.decode())
        if parsed.tzinfo is None:
            raise ValueError
    except ValueError as error:
        raise MalformedJob(f"its {name} {value[:40]!r} is no time") from error
    return parsed


def _moment(name: str, value: bytes | None) -> datetime | None:
    """A time in epoch seconds."""
    try:
        return datetime.fromtimestamp(float(value), UTC) if value else None
    except (ValueError, OverflowError, OSError) as error:
        raise MalformedJob(f"its {name} {(value or b'')[:40]!r} is no time") from error


def parse_timeout(value: bytes | None) -> int:
    """Seconds, -1 for none; RQ's default when there is none.

    Raises:
        MalformedJob: it has no meaning.
    """
    timeout = _integer("timeout", value, DEFAULT_TIMEOUT)
    if timeout < -1:
        raise MalformedJob(f"its timeout {timeout} is below zero, and not -1 for none")
    return timeout


def _counted(name: str, value: bytes | None) -> int:
    return _integer(name, value, 0)


def _integer(name: str, value: bytes | None, default: int) -> int:
    if not value:
        return default
    try:
        number = int(value)
    except ValueError as error:
        raise MalformedJob(f"its {name} {value[:40]!r} is no whole number") from error
    if abs(number) > LONGEST_S:  # more makes no sense of anything, and breaks who reckons with it
        raise MalformedJob(f"its {name} {value[:40]!r} is too large")
    return number
