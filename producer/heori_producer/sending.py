"""What is to be sent for calls of tasks, and what the replies mean; `steps` does the calling."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from hashlib import sha256
from itertools import groupby
from typing import Any, NamedTuple

from heori_common.calls import PartialCall, TaskCall
from heori_common.duration import moment, seconds
from heori_common.errors import short
from heori_common.new_job import LATER, make_job, new_job_id, new_job_ids
from heori_common.protocol.commands import Command, Commands, Cursor, Enqueued, RareSend
from heori_common.protocol.job import NewJob
from heori_common.protocol.payload import PayloadTooLarge, decode_call
from heori_common.published import NamedTask
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_common.sendable import Sendable
from heori_common.settings import Settings
from heori_common.tasks import InvalidArguments, Task, find
from heori_common.values.arguments import Sent
from heori_producer.backpressure import QueueFull, wait_for_room
from heori_producer.by_name import NamedTasks
from heori_producer.hooks import SendingHooks
from heori_producer.options import Options
from heori_producer.planning import Plan
from heori_producer.recall import CANCELED_AT_ONCE
from heori_producer.steps import Steps

# Jobs per call when there are many: Redis does nothing else meanwhile.
CHUNK_JOBS = 500
CHUNK_BYTES = 1_000_000  # of them, about; no server can be told to take less in one piece
FIELDS_BYTES = 300  # of each, beside its payload


class Accepted(NamedTuple):
    """Jobs that are in Redis.

    Attributes:
        queue: the RQ queue that they were sent to.
        ids: theirs; of one that was sent with the same key before, that job's.
    """

    queue: str
    ids: list[str]


class Sending:
    """Jobs of one producer. Safe to share between threads.

    Attributes:
        named: the tasks that it knows by their names.
    """

    def __init__(self, settings: Settings, commands: Commands) -> None:
        self._settings = settings
        self._commands = commands
        self.named = NamedTasks(commands)
        self._hooks = SendingHooks(settings.middleware)
        self._limits = dict(settings.queue_limits)  # that are still to be written

    def check(
        self,
        task: Sendable[Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        from_json: bool = False,
    ) -> Sent:
        """Arguments that can be sent, as `encode` takes them."""
        return task.to_send(args, kwargs, from_json=from_json, strict=self._settings.strict)

    def encode(
        self,
        task: Sendable[Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        from_json: bool = False,
    ) -> NewJob:
        """A job that can be sent.

        Args:
            from_json: the arguments were read from JSON, and are validated by its rules.

        Raises:
            InvalidArguments: they do not fit the task, or have no JSON form.
            PayloadTooLarge: they are too large.
        """
        settings = self._settings
        sent = task.to_send(args, kwargs, from_json=from_json, strict=settings.strict)
        return make_job(task, new_job_id(), sent, settings.max_payload)

    def encode_many(self, task: Sendable[Any], calls: Iterable[Any]) -> Iterator[NewJob]:
        """The jobs of `submit_many`, one by one.

        Raises:
            As `encode`; the message tells which of the calls it is about.
        """
        if not isinstance(calls, Iterable):
            raise TypeError(f"submit_many takes a list of calls or the like; not {short(calls)}")
        strict, limit = self._settings.strict, self._settings.max_payload
        ids = new_job_ids()
        for number, call in enumerate(calls):
            args = call if isinstance(call, tuple) else () if isinstance(call, dict) else (call,)
            kwargs = call if isinstance(call, dict) else {}
            try:
                sent = task.to_send(args, kwargs, from_json=False, strict=strict)
                yield make_job(task, next(ids), sent, limit)
            except (TypeError, ValueError) as error:
                error.add_note(f"in call {number} of submit_many; none was sent")
                raise

    def encode_call(self, call: TaskCall[Any] | PartialCall[Any], job_id: str) -> NewJob:
        """The job of a call that is not sent yet.

        Raises:
            UnknownTask, InvalidArguments: it cannot be sent.
        """
        task = call.task
        if isinstance(task, Task):
            task = find(task.function)
        if isinstance(call, PartialCall) and isinstance(task, Task):
            sent = task.to_send_after(call.args, call.kwargs, strict=self._settings.strict)
            return make_job(task, job_id, sent, self._settings.max_payload, first=(LATER,))
        sent = self.check(task, call.args, dict(call.kwargs))
        return make_job(task, job_id, sent, self._settings.max_payload)

    def encode_named(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Steps[tuple[NamedTask, NewJob]]:
        """As `encode`, for a task that is known by its name.

        Raises:
            UnknownTask: no consumer has it, or it cannot be sent by its name.
        """
        task = yield from self.named.find(name)
        try:
            return task, self.encode(task, args, kwargs)
        except InvalidArguments:
            # They may fit what consumers have by now.
            latest = yield from self.named.read(name)
            if latest is task:
                raise
            return latest, self.encode(latest, args, kwargs)

    def send(
        self,
        task: Sendable[Any],
        jobs: list[NewJob],
        options: Options,
        cursor: Cursor | None = None,
        meanwhile: Callable[[], object] | None = None,
    ) -> Steps[Accepted]:
        """The steps that send encoded jobs of a task, hundreds in each.

        Args:
            cursor: of `Commands.enqueue`.
            meanwhile: what the sender of many has to do, called while the server is at the last.

        Raises:
            QueueFull: the queue is at its limit; `taken` is how many of the jobs were let in.
            PayloadTooLarge: the server takes no such piece.
        """
        queue = options.queue_for(task.queue)
        if len(jobs) == 1 and cursor is None and options.is_plain and self._hooks.are_none:
            return self._send_plain(task.name, queue, jobs, options)
        when = options.when()
        if options.key is not None and options.debounce is None:
            when["key"] = (
                self._commands.keys.idempotency(task.name, options.key, options.tenant or ""),
                self._settings.key_ttl,
            )
        if rare := _rare(task, jobs, options):
            when["rare"] = rare
        if options.after:
            jobs = [_after(job, options.after_ids) for job in jobs]
        return self._send(task.name, queue, jobs, options, when, cursor, meanwhile)

    def send_flow(self, plan: Plan, options: Options) -> Steps[None]:
        """Send the jobs of a flow, as `send` does.

        What handles failures does not expire: it is to run when the others do. When it cannot send
        all of them, it cancels those that wait for others.
        """
        sent: list[tuple[str, str]] = []
        try:
            for batch in plan.batches():
                when = options.when()
                its_options = options.but(expires=None) if batch.is_handler else options
                if rare := _rare(batch.task, batch.jobs, its_options):
                    when["rare"] = rare
                sent += [(batch.queue, job.id) for job in batch.jobs]
                yield from self._send(batch.task.name, batch.queue, batch.jobs, options, when)
        except BaseException:
            for queue, its in groupby(sent, key=lambda each: each[0]):
                ids = [job_id for _, job_id in its]
                for first in range(0, len(ids), CANCELED_AT_ONCE):
                    with contextlib.suppress(RedisUnavailable, RedisRefused):
                        yield self._commands.cancel(queue, ids[first : first + CANCELED_AT_ONCE])
            raise

    def _send_plain(
        self, task: str, queue: str, jobs: list[NewJob], options: Options
    ) -> Steps[Accepted]:
        """As `_send`, for one job by itself, around which there is nothing to do: so are most."""
        if self._limits:
            yield from self._write_limits()
        when: dict[str, Any] = {"when_full": options.when_full or self._settings.when_full}
        command = self._commands.enqueue(queue, jobs, **when)
        told = yield from self._let_in(task, queue, jobs, command, options, None, when)
        return Accepted(queue, [told.same or jobs[0].id])

    def _write_limits(self) -> Steps[None]:
        """Once, before the first job: they hold for all producers."""
        yield [
            command
            for bounded, limit in self._limits.items()
            for command in self._commands.set_limit(bounded, limit)
        ]
        self._limits = {}

    def _let_in(
        self,
        task: str,
        queue: str,
        jobs: list[NewJob],
        command: Command[Enqueued],
        options: Options,
        at: Cursor | None,
        when: dict[str, Any],
    ) -> Steps[Enqueued]:
        """Send some jobs by this command, and wait until the queue has let all of them in."""
        try:
            told: Enqueued = yield command
            if told.taken < len(jobs):
                patience = options.full_timeout
                if patience is None:
                    patience = self._settings.full_timeout
                told = yield from wait_for_room(
                    self._commands, queue, jobs, told, patience, at, when
                )
        except RedisRefused as error:
            if not error.is_size:
                raise
            largest = max(len(job.data) for job in jobs)
            raise PayloadTooLarge(
                f"the arguments of {task} take {largest} bytes, compressed, which is more than "
                "this server takes in one piece (its proto-max-bulk-len); store them and send where"
            ) from error
        return told

    def _send(
        self,
        task: str,
        queue: str,
        jobs: list[NewJob],
        options: Options,
        when: dict[str, Any],
        cursor: Cursor | None = None,
        meanwhile: Callable[[], object] | None = None,
    ) -> Steps[Accepted]:
        if self._limits:
            yield from self._write_limits()
        when["when_full"] = options.when_full or self._settings.when_full
        build = self._commands.enqueue
        ids: list[str] = []
        ahead: _Ahead | None = None
        parts = chunks(jobs)
        last = len(parts) - 1
        for number, chunk in enumerate(parts):
            at = cursor and cursor.moved(len(ids))
            try:
                with self._hooks.around(task, queue, chunk, options.meta) as leaving:
                    command = None if ahead is None else ahead.take(leaving)
                    command = command or build(queue, leaving, cursor=at, **when)
                    if number < last and leaving is chunk:  # else the next is still to be changed
                        then = at and at.moved(len(chunk))
                        following = partial(build, queue, cursor=then, **when)
                        ahead = _Ahead(parts[number + 1], following)
                        command = command._replace(meanwhile=ahead.build)
                    elif number == last:
                        command = command._replace(meanwhile=meanwhile)
                    told = yield from self._let_in(task, queue, leaving, command, options, at, when)
            except QueueFull as error:
                error.taken += len(ids)
                raise
            ids += [told.same or job.id for job in chunk]
        return Accepted(queue, ids)


class _Ahead:
    """The command that sends a chunk, built while the server is at the one before.

    It is not sent before that one was answered: at a queue's limit jobs go in in order.

    Args:
        build: builds the command of some jobs.
    """

    def __init__(
        self, jobs: list[NewJob], build: Callable[[list[NewJob]], Command[Enqueued]]
    ) -> None:
        self._jobs = jobs
        self._build = build
        self._built: Command[Enqueued] | None = None

    def build(self) -> None:
        """Build it."""
        with contextlib.suppress(TypeError, ValueError):  # raised when they are to be sent
            self._built = self._build(self._jobs)

    def take(self, jobs: list[NewJob]) -> Command[Enqueued] | None:
        """The command, if it was built and these are its jobs."""
        return self._built if self._jobs is jobs else None


def _after(job: NewJob, others: Sequence[str]) -> NewJob:
    edges = {"gets": "none", "holds": False, "after": list(others), "into": []}
    return job._replace(options={**(job.options or {}), "flow": "none"}, edges=edges)


def _rare(task: Sendable[Any], jobs: list[NewJob], options: Options) -> RareSend:
    """What few jobs ask for, as `Commands.enqueue` wants it."""
    rare: RareSend = {}
    if isinstance(options.expires, datetime):
        rare["expires_at_s"] = moment("expires", options.expires)
    elif options.expires is not None:
        rare["expires_s"] = seconds(options.expires)
    if options.unique:
        [job] = jobs
        rare["call"] = _digest(["unique", task.name, options.tenant, *_arguments(task, job)])
    elif options.debounce is not None:
        rare["call"] = _digest(["debounce", task.name, options.tenant, options.key])
        rare["latest"] = True
    return rare


def _digest(call: list[Any]) -> str:
    """A call as `Keys.same_calls` knows it."""
    return sha256(json.dumps(call, sort_keys=True).encode()).hexdigest()


def _arguments(task: Sendable[Any], job: NewJob) -> list[Any]:
    """The arguments of a job by their names, however they were given, and their types."""
    call = decode_call(job.data, ("json",), sys.maxsize)
    types = (job.types or b"").decode("latin-1")
    if task.signature is None:
        return [call.args, call.kwargs, types]
    return [task.signature.bind(*call.args, **call.kwargs).arguments, types]


def chunks(jobs: list[NewJob]) -> list[list[NewJob]]:
    """Jobs by hundreds, and fewer when they are large."""
    if len(jobs) == 1:
        return [jobs]
    parts = []
    first = size = 0
    for number, job in enumerate(jobs):
        weight = FIELDS_BYTES + len(job.data)
        if number - first == CHUNK_JOBS or (size and size + weight > CHUNK_BYTES):
            parts.append(jobs[first:number])
            first, size = number, 0
        size += weight
    if first < len(jobs):
        parts.append(jobs[first:])
    return parts
