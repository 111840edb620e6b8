"""A job while it runs: what its task can ask about it, and what its slot needs to run it."""

from collections.abc import Callable, Mapping, Sequence
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
    RetryLater,
    next_delay,
    parse_locks,
    parse_options,
    parse_retries,
    parse_time,
)
from heori_common.protocol.meta import decode_meta, encode_meta
from heori_common.protocol.payload import Call, Serializer, decode_call
from heori_common.protocol.records import JobFields
from heori_common.rq.calling import Stranger
from heori_consumer.between.options import Policy
from heori_consumer.worker.lending import Lending

# The label of jobs whose task is not known: a payload may name anything, and a label that
# follows it would never stop growing.
UNKNOWN = "(unknown)"
_NOBODY = Stranger(UNKNOWN, print)


class RunningJob(CurrentJob):
    """One delivery of a job, from being taken by a slot to its outcome.

    Attributes:
        arguments: what its function is called with, once that is known.
        claim: what it was claimed as.
        number: by which supervisor and worker call it.
        slot: which runs it.
        definition: the task that it calls, or the stranger; a nobody until that is known.
        function: calls the task with its arguments.
        serializer: how its result is to be written.
        retries: what remains of them, if it has any.
        missing: the locks that its task declares and that it was sent without.
        has_waited: whether it ever waited for other jobs.
        called: the name of its function as the job has it, if more than that is to be done.
    """

    __slots__ = (
        "_lending",
        "_meta_field",
        "_policy",
        "_save",
        "arguments",
        "called",
        "claim",
        "definition",
        "function",
        "has_waited",
        "missing",
        "number",
        "retries",
        "serializer",
        "slot",
    )

    definition: tasks.Task[..., Any] | Stranger
    function: Callable[[], Any]
    serializer: Serializer

    def __init__(
        self,
        slot: int,
        number: int,
        claim: Claim,
        report: Callable[[int, float, str], None],
        save: Callable[[int, bytes], None],
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
        self.serializer = "json"  # of one whose call cannot be read
        self.definition = _NOBODY
        self.slot = slot
        self.number = number
        self.lock_time = claim.waited
        self.retries: Retries | None = None
        self.missing: Sequence[LockName] = ()
        self.has_waited = False
        self.called = ""
        self._lending = lending
        self._meta_field: bytes | None = None
        self._policy: Policy | None = None
        self._save = save
        self.arguments: tuple[Sequence[Any], Mapping[str, Any]] = ((), {})

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
        self.consumer = policy.consumer
        if claim.problem:
            raise MalformedJob(claim.problem)
        fields = JobFields(*msgpack.unpackb(claim.fields, raw=True))
        enqueued = parse_time("enqueued_at", fields.enqueued_at)
        if enqueued:
            self.queue_time = max(0.0, claim.claimed_at - enqueued.timestamp())
        self.retries = parse_retries(fields.retries_left or None, fields.retry_intervals or None)
        self._meta_field, self._policy = fields.meta, policy
        locks = parse_locks(fields.heori_locks) if fields.heori_locks else ()
        call = decode_call(
            fields.data or b"",
            policy.accept,
            policy.max_payload,
            policy.pickles,
            policy.own_serializer,
        )
        self.serializer = call.serializer
        if claim.rest:
            self.called = call.function
            self._prepare_callbacks(fields, policy)
        types, allow = fields.heori_types or None, policy.allow
        is_typed = isinstance(fields.heori_types, bytes)  # with no types, too: see Producer.encode
        definition: tasks.Task[..., Any] | Stranger
        if call.instance:  # rq asks for no more: an empty one is passed over
            definition = resolution.resolve_method(call.instance, call.function, allow)
        elif is_typed:
            definition = resolution.resolve_typed(call.function, allow)
        else:
            definition = resolution.resolve(call.function, allow)
        self.definition, self.task = definition, definition.name
        if isinstance(definition, Stranger):
            self.arguments = call.args, call.kwargs
            self.function = definition.called_with(call.args, call.kwargs)
        else:
            options = fields.heori_options
            flow = parse_options(options).get("flow", "none") if options else "none"
            self._prepare_task(definition, call, types, locks, flow)
        if self.retries is not None:
            self.attempt = max(1, self._retries_in_all(self.retries) - self.retries.left + 1)

    def retry_after(self, error: BaseException) -> RetryLater | None:
        """Whether and when it is to run again, having failed so."""
        retries, task = self.retries, self.definition
        if retries is None or retries.left < 1:
            return None
        if issubclass(type(error), tasks.InvalidResult) or not task.retries(error):
            return None
        delay = next_delay(retries)
        delay = task.retry.with_jitter(delay) if task.retry else delay
        return RetryLater(delay, retries.left - 1)

    def _retries_in_all(self, retries: Retries) -> int:
        """Of what rq has sent with fewer intervals than retries, fewer: its record does not say."""
        of_task = self.definition.retry.max if self.definition.retry else 0
        return max(len(retries.intervals), of_task)

    def _read_meta(self) -> dict[str, Any]:
        policy = self._policy
        if policy is None:  # nothing of it could be read
            return {}
        return decode_meta(self._meta_field, self.serializer, policy.pickles, policy.own_serializer)

    def _write_meta(self, meta: dict[str, Any]) -> None:
        own = None if self._policy is None else self._policy.own_serializer
        self._save(self.number, encode_meta(meta, self.serializer, own))

    def _prepare_callbacks(self, fields: JobFields, policy: Policy) -> None:
        """See that they may be called, before anything is; each is looked for when it is due."""
        for name in (
            fields.success_callback_name,
            fields.failure_callback_name,
            fields.stopped_callback_name,
        ):
            if name:
                resolution.check_allowed(name.decode("utf-8", "backslashreplace"), policy.allow)

    def _prepare_task(
        self,
        task: tasks.Task[..., Any],
        call: Call,
        types: bytes | None,
        locks: Sequence[LockName],
        flow: str,
    ) -> None:
        if locks:
            named = ((lock.kind, lock.name) for lock in locks)
            self.locks = dict(zip(named, (fence for _, fence in self.claim.locks), strict=True))
        if self.retries is None and task.retry is not None:
            self.retries = Retries(task.retry.max, task.retry.delays())
        if flow in {"none", "failed"}:
            args, kwargs = task.receive(
                call.args, call.kwargs, types, from_json=call.serializer == "json"
            )
        else:
            from heori_consumer.worker.inputs import read_inputs  # noqa: PLC0415 - few need it

            first = read_inputs(self.id, flow, self.server)
            args, kwargs = task.receive_after(first, call.args, call.kwargs, types)
        if task.needs and not locks:
            self.missing = task.locks_of(args, kwargs)
        self.arguments = args, kwargs
        self.function = partial(task.function, *args, **kwargs)
