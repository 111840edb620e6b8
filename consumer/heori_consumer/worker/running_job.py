"""A job while it runs: what its task can ask about it, and what its slot needs to run it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgpack

from heori_common import resolution, tasks
from heori_common.current_job import AwaitedJobs, CurrentJob
from heori_common.protocol.job import (
    Claim,
    LockName,
    MalformedJob,
    Retries,
    parse_locks,
    parse_retries,
    parse_time,
)
from heori_common.protocol.payload import Serializer, decode_call
from heori_common.protocol.records import UNSUPPORTED_FIELDS, JobFields
from heori_consumer.between.options import Policy
from heori_consumer.worker.lending import Lending

# The label of jobs whose task is not known: a payload may name anything, and a label that
# follows it would never stop growing.
UNKNOWN = "(unknown)"


class RunningJob(CurrentJob):
    """One delivery of a job, from being taken by a slot to its outcome.

    Attributes:
        claim: what it was claimed as.
        number: by which supervisor and worker call it.
        slot: which runs it.
        queue_time: seconds from being enqueued to being claimed.
        definition: the task that it calls.
        function: calls the task with its arguments.
        serializer: how its result is to be written.
        retries: what remains of them, if it has any.
        missing: the locks that its task declares and that it was sent without.
        has_waited: whether it ever waited for other jobs.
    """

    __slots__ = (
        "_lending",
        "claim",
        "definition",
        "function",
        "has_waited",
        "missing",
        "number",
        "queue_time",
        "retries",
        "serializer",
        "slot",
    )

    definition: tasks.Task[..., Any]
    function: Callable[[], Any]
    serializer: Serializer

    def __init__(
        self,
        slot: int,
        number: int,
        claim: Claim,
        report: Callable[[int, float, str], None],
        server: str,
        lending: Lending,
    ) -> None:
        super().__init__(
            claim.job_id,
            UNKNOWN,
            claim.queue,
            claim.deliveries,
            claim.timeout,
            partial(report, number),
            server,
        )
        self.claim = claim
        self.slot = slot
        self.number = number
        self.queue_time = 0.0
        self.retries: Retries | None = None
        self.missing: Sequence[LockName] = ()
        self.has_waited = False
        self._lending = lending

    def wait_begins(self, awaited: AwaitedJobs) -> object:
        """See `CurrentJob`."""
        self.has_waited = True
        return self._lending.begin(self.slot, self.number, awaited)

    def wait_ends(self, wait: object) -> None:
        """See `CurrentJob`."""
        self._lending.end(wait)

    def asks_about(self, queue: str) -> None:
        """See `CurrentJob`."""
        self.has_waited = True
        self._lending.ask(self.number, queue)

    def prepare(self, claim: Claim, policy: Policy) -> None:
        """Read what it is to do.

        Raises:
            MalformedJob: a field has no meaning, or asks for what is not supported.
            BadPayload, UnknownTask, InvalidArguments: its call is none that may be run here.
            BaseException: whatever a payload raises; reading it runs others' code.
        """
        if claim.problem:
            raise MalformedJob(claim.problem)
        fields = JobFields._make(msgpack.unpackb(claim.fields, raw=True))
        if any(fields[-len(UNSUPPORTED_FIELDS) :]):
            asked = [name for name in UNSUPPORTED_FIELDS if getattr(fields, name)]
            raise MalformedJob(f"it asks for {', '.join(asked)}, which Heori does not support yet")
        enqueued = parse_time("enqueued_at", fields.enqueued_at)
        if enqueued:
            self.queue_time = max(0.0, claim.claimed_at - enqueued.timestamp())
        self.retries = parse_retries(fields.retries_left or None, fields.retry_intervals or None)
        locks = parse_locks(fields.heori_locks) if fields.heori_locks else ()
        call = decode_call(fields.data or b"", policy.accept, policy.max_payload)
        self.serializer = call.serializer
        self.definition = task = resolution.resolve(call.function, policy.allow)
        self.task = task.name
        if locks:
            named = ((lock.kind, lock.name) for lock in locks)
            self.locks = dict(zip(named, (fence for _, fence in claim.locks), strict=True))
        if self.retries is None and task.retry is not None:
            self.retries = Retries(task.retry.max, task.retry.delays())
        args, kwargs = task.receive(
            call.args, call.kwargs, fields.heori_types or None, from_json=call.serializer == "json"
        )
        if task.needs and not locks:
            self.missing = task.locks_of(args, kwargs)
        self.function = partial(task.function, *args, **kwargs)
