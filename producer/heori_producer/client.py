"""Sends jobs: validate, encode, enqueue."""

import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, ParamSpec, Self, TypeVar, get_args, overload

from heori_common import names, tasks
from heori_common.duration import Duration, check_wait, seconds
from heori_common.protocol.commands import Commands, Cursor, WhenFull
from heori_common.protocol.job import NewJob
from heori_common.protocol.keys import Keys, tenant_queue
from heori_common.protocol.payload import Call, PayloadTooLarge
from heori_common.public import public
from heori_common.redis.errors import RedisRefused
from heori_common.settings import PRODUCER, Settings
from heori_common.tasks import Task
from heori_common.values.arguments import Sent
from heori_producer.backpressure import Backpressure, QueueFull
from heori_producer.handle import Handle
from heori_producer.recall import Recall
from heori_producer.results import Results
from heori_producer.shared import share

P = ParamSpec("P")
R = TypeVar("R")

# Jobs per call when there are many: Redis does nothing else meanwhile.
CHUNK_JOBS = 500
CHUNK_BYTES = 1_000_000  # of them, about; no server can be told to take less in one piece
FIELDS_BYTES = 300  # of each, beside its payload


# What is kept of the task's keywords for the producer itself, unless the task has a parameter of
# that name.
OPTIONS = frozenset(
    {"queue", "tenant", "delay", "at", "at_front", "key", "when_full", "full_timeout"}
)


@public
class Producer:
    """Sends jobs to Redis. Safe to share between threads.

    Args:
        url: of the Redis server; by default HEORI_REDIS_URL.
        settings: by default read from the environment.
        when_full: what to do when a queue is at its limit; by default HEORI_WHEN_FULL. "block"
            waits for room, in turn with all other producers that wait; "reject" raises QueueFull;
            "drop_oldest" drops the job that has waited longest: it fails, and says why.
        full_timeout: seconds to wait for room at most; by default HEORI_FULL_TIMEOUT.

    Attributes:
        results: awaits the ends of jobs, for what builds on this.

    Raises:
        InvalidSetting: a setting that a producer reads does not fit.
        ValueError: the URL or an option makes no sense.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        settings: Settings | None = None,
        when_full: WhenFull | None = None,
        full_timeout: float | None = None,
    ) -> None:
        self._settings = settings or Settings()
        self._settings.check(PRODUCER)
        self._commands = Commands(Keys(self._settings.key_prefix))
        url = url or self._settings.redis_url
        self._redis, self._watcher = share(url)
        self.results = Results(self._watcher, self._commands)
        self._recall = Recall(self._redis, self._commands, self._watcher)
        self._backpressure = Backpressure(self._redis, self._commands, self._watcher)
        self._limits = dict(self._settings.queue_limits)  # that are still to be written
        self._when_full: WhenFull = when_full or self._settings.when_full
        given = check_wait("full_timeout", full_timeout)
        self._full_timeout = self._settings.full_timeout if given is None else given

    @overload
    def submit(
        self, task: Callable[..., Awaitable[R]], /, *args: Any, delay: Duration, **kwargs: Any
    ) -> Handle[R]: ...
    @overload
    def submit(
        self, task: Callable[..., R], /, *args: Any, delay: Duration, **kwargs: Any
    ) -> Handle[R]: ...
    @overload
    def submit(
        self, task: Callable[..., Awaitable[R]], /, *args: Any, at: datetime, **kwargs: Any
    ) -> Handle[R]: ...
    @overload
    def submit(
        self, task: Callable[..., R], /, *args: Any, at: datetime, **kwargs: Any
    ) -> Handle[R]: ...
    @overload
    def submit(
        self, task: Callable[..., Awaitable[R]], /, *args: Any, at_front: bool, **kwargs: Any
    ) -> Handle[R]: ...
    @overload
    def submit(
        self, task: Callable[..., R], /, *args: Any, at_front: bool, **kwargs: Any
    ) -> Handle[R]: ...
    @overload
    def submit(
        self, task: Callable[..., Awaitable[R]], /, *args: Any, key: str, **kwargs: Any
    ) -> Handle[R]: ...
    @overload
    def submit(
        self, task: Callable[..., R], /, *args: Any, key: str, **kwargs: Any
    ) -> Handle[R]: ...
    @overload
    def submit(
        self, task: Callable[..., Awaitable[R]], /, *args: Any, queue: str, **kwargs: Any
    ) -> Handle[R]: ...
    @overload
    def submit(
        self, task: Callable[..., R], /, *args: Any, queue: str, **kwargs: Any
    ) -> Handle[R]: ...
    @overload
    def submit(
        self, task: Callable[..., Awaitable[R]], /, *args: Any, tenant: str | None, **kwargs: Any
    ) -> Handle[R]: ...
    @overload
    def submit(
        self, task: Callable[..., R], /, *args: Any, tenant: str | None, **kwargs: Any
    ) -> Handle[R]: ...
    @overload
    def submit(
        self, task: Callable[..., Awaitable[R]], /, *args: Any, when_full: WhenFull, **kwargs: Any
    ) -> Handle[R]: ...
    @overload
    def submit(
        self, task: Callable[..., R], /, *args: Any, when_full: WhenFull, **kwargs: Any
    ) -> Handle[R]: ...
    @overload
    def submit(
        self,
        task: Callable[..., Awaitable[R]],
        /,
        *args: Any,
        full_timeout: float | None,
        **kwargs: Any,
    ) -> Handle[R]: ...
    @overload
    def submit(
        self, task: Callable[..., R], /, *args: Any, full_timeout: float | None, **kwargs: Any
    ) -> Handle[R]: ...
    @overload
    def submit(
        self, task: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Handle[R]: ...
    @overload
    def submit(self, task: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Handle[R]: ...
    def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Handle[Any]:
        """Send one job: with the arguments of the task, and perhaps with options.

        A task with a parameter of its own that is called like an option gets it; for such a
        task, `submit_call` takes the options apart from the arguments.

        Args:
            queue: where to send it, in place of the task's own queue.
            tenant: for whom it is, such as a customer. Tenants of a queue take turns, so that one
                who sends many jobs does not keep another's few waiting; those of a tenant wait in
                an RQ queue of their own, such as orders@acme. The limit of a queue holds for each
                of its tenants alone: one that fills it does not keep the others out.
            delay: how long to wait before the job may run: seconds, a timedelta, or a text such
                as "5min". It is counted by the server's clock.
            at: when it may run, as an aware datetime; at once when that is past.
            at_front: put it before the jobs that wait already.
            key: an idempotency key, such as "order-17": another call with the same task, tenant
                and key within HEORI_KEY_TTL sends nothing, and returns the same job.
            when_full, full_timeout: as the producer's own, for this call.

        Raises:
            UnknownTask: the function is no task.
            InvalidArguments: the arguments do not fit it; nothing is sent.
            BadPayload, PayloadTooLarge: they have no JSON form, or too large a one.
            ValueError: an option makes no sense; nothing is sent.
            QueueFull: the queue is at its limit, and was for as long as there was to wait.
            RedisUnavailable: Redis cannot be reached.
        """
        found = tasks.find(task)
        ours = (OPTIONS & kwargs.keys()) - found.keywords if kwargs else ()
        options = {name: kwargs.pop(name) for name in ours}
        return self.submit_call(found, args, kwargs, **options)

    def submit_call(
        self,
        task: Task[..., R],
        args: Iterable[Any] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        queue: str | None = None,
        tenant: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        at_front: bool = False,
        key: str | None = None,
        when_full: WhenFull | None = None,
        full_timeout: float | None = None,
        from_json: bool = False,
    ) -> Handle[R]:
        """Send one job of a task found by name, with the arguments of `submit` as values.

        Args:
            from_json: of `encode`.
        """
        options = when(delay, at)
        if at_front:
            options["at_front"] = True
        if key is not None:
            options["key"] = self.key(task, key, tenant)
        [handle] = self.send(
            task,
            [self.encode(task, tuple(args), kwargs or {}, from_json=from_json)],
            queue,
            when_full,
            full_timeout,
            tenant=tenant,
            **options,
        )
        return handle

    @overload
    def submit_many(
        self,
        task: Callable[..., Awaitable[R]],
        calls: Iterable[Any],
        *,
        queue: str | None = None,
        tenant: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        when_full: WhenFull | None = None,
        full_timeout: float | None = None,
    ) -> list[Handle[R]]: ...
    @overload
    def submit_many(
        self,
        task: Callable[..., R],
        calls: Iterable[Any],
        *,
        queue: str | None = None,
        tenant: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        when_full: WhenFull | None = None,
        full_timeout: float | None = None,
    ) -> list[Handle[R]]: ...
    def submit_many(
        self,
        task: Callable[..., Any],
        calls: Iterable[Any],
        *,
        queue: str | None = None,
        tenant: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        when_full: WhenFull | None = None,
        full_timeout: float | None = None,
    ) -> list[Handle[Any]]:
        """Send many jobs of one task, hundreds in one round trip.

        All of them are validated before the first is sent. At a queue's limit they go in as
        there is room, in turn with those of other producers, some hundreds at a time.

        Args:
            calls: for each job a tuple of its positional arguments, a dict of its keyword
                arguments, or else its only argument.
            queue, tenant, delay, at, when_full: as in `submit`, for all of them.
            full_timeout: seconds to wait at most without any of them being let in.

        Raises:
            As `submit`; the message tells which of the calls it is about, and QueueFull which
            were sent.
        """
        found = tasks.find(task)
        options = when(delay, at)
        jobs = []
        for number, call in enumerate(calls):
            args = call if isinstance(call, tuple) else () if isinstance(call, dict) else (call,)
            try:
                jobs.append(self.encode(found, args, call if isinstance(call, dict) else {}))
            except (TypeError, ValueError) as error:
                error.add_note(f"in call {number} of submit_many; none was sent")
                raise
        return self.send(found, jobs, queue, when_full, full_timeout, tenant=tenant, **options)

    def encode(
        self,
        task: Task[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        from_json: bool = False,
    ) -> NewJob:
        """A job that can be sent, with the arguments of `submit` as values.

        Args:
            from_json: they were read from JSON, and are validated by its rules.
        """
        sent = self.check(task, args, kwargs, from_json=from_json)
        delays = task.retry.delays() if task.retry else ()
        locks = task.locks_of(sent.args, sent.kwargs) if task.needs else ()
        return NewJob.create(
            str(uuid.uuid4()),
            Call(task.name, *sent.json, types=sent.types),
            task.timeout,
            delays,
            locks,
            task.result_ttl,
            self._settings.max_payload,
            Call(task.name, sent.args, sent.kwargs) if sent.types else None,
        )

    def check(
        self,
        task: Task[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        from_json: bool = False,
    ) -> Sent:
        """Arguments that can be sent, as `encode` takes them."""
        return task.to_send(args, kwargs, from_json=from_json, strict=self._settings.strict)

    def send(
        self,
        task: Task[..., R],
        jobs: list[NewJob],
        queue: str | None = None,
        when_full: WhenFull | None = None,
        full_timeout: float | None = None,
        cursor: Cursor | None = None,
        tenant: str | None = None,
        **options: Any,
    ) -> list[Handle[R]]:
        """Send encoded jobs of a task, as `submit_many` does.

        Args:
            cursor, options: of `Commands.enqueue`.
        """
        if self._limits:
            self._write_limits()
        name = task.queue if queue is None else names.check_queue(queue)
        if tenant is not None:
            name = tenant_queue(name, names.check_tenant(tenant))
        policy = _policy(when_full or self._when_full)
        given = check_wait("full_timeout", full_timeout)
        patience = self._full_timeout if given is None else given
        handles: list[Handle[R]] = []
        for chunk in _chunks(jobs):
            try:
                told = self._backpressure.send(
                    name,
                    chunk,
                    when_full=policy,
                    patience=patience,
                    cursor=cursor and cursor.moved(len(handles)),
                    **options,
                )
            except QueueFull as error:
                error.sent = handles + self._handles(task, name, chunk[: error.taken])
                raise
            except RedisRefused as error:
                if not error.is_size:
                    raise
                largest = max(len(job.data) for job in chunk)
                raise PayloadTooLarge(
                    f"the arguments of {task.name} take {largest} bytes, compressed, which is more "
                    "than this server takes in one piece (its proto-max-bulk-len); store them and "
                    "send where"
                ) from error
            handles += self._handles(task, name, chunk, told.same)
        return handles

    def key(self, task: Task[..., Any], key: str, tenant: str | None = None) -> tuple[str, int]:
        """An idempotency key as `send` wants it; tenants do not get each other's jobs by it.

        Raises:
            ValueError: it is no text, empty or too long.
        """
        if not key or not isinstance(key, str):
            raise ValueError(f"key={key!r}: a text is needed, such as 'order-17'")
        names.check_length("key", key)
        return (
            self._commands.keys.idempotency(task.name, key, tenant or ""),
            self._settings.key_ttl,
        )

    def cancel(self, queue: str, ids: Sequence[str]) -> list[str]:
        """Cancel those of the jobs that have not begun, as `Handle.cancel`; returns these.

        Raises:
            RedisUnavailable: Redis cannot be reached.
        """
        return self._recall.cancel(queue, ids)

    def close(self) -> None:
        """Close the connections, unless others use them, too.

        What is still awaited in a coroutine is awaited in vain. A producer that is only let go
        leaves nothing either, once the garbage is collected.
        """
        self.results.close()
        if not self._watcher.is_used:
            self._redis.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _handles(
        self, task: Task[..., R], queue: str, jobs: Iterable[NewJob], same: str | None = None
    ) -> list[Handle[R]]:
        return [
            Handle(
                same or job.id,
                queue,
                task,
                self._redis,
                self._commands,
                self.results,
                self._recall,
            )
            for job in jobs
        ]

    def _write_limits(self) -> None:
        """Once, before the first job: the limits that the settings name hold for all producers."""
        self._redis.execute_many(
            [
                command
                for queue, limit in self._limits.items()
                for command in self._commands.set_limit(queue, limit)
            ]
        )
        self._limits = {}


def _chunks(jobs: list[NewJob]) -> Iterator[list[NewJob]]:
    """Jobs by hundreds, and fewer when they are large."""
    first = size = 0
    for number, job in enumerate(jobs):
        weight = FIELDS_BYTES + len(job.data)
        if number - first == CHUNK_JOBS or (size and size + weight > CHUNK_BYTES):
            yield jobs[first:number]
            first, size = number, 0
        size += weight
    if first < len(jobs):
        yield jobs[first:]


_POLICIES: tuple[WhenFull, ...] = get_args(WhenFull)


def _policy(when_full: WhenFull) -> WhenFull:
    if when_full not in _POLICIES:
        raise ValueError(f"when_full={when_full!r}: one of {', '.join(_POLICIES)} is needed")
    return when_full


def when(delay: Duration | None, at: Any) -> dict[str, Any]:
    """When jobs may run, as `Producer.send` wants it; `delay` and `at` as in `submit`.

    Raises:
        ValueError: they make no sense.
    """
    if delay is not None and at is not None:
        raise ValueError("delay and at are two ways to say when; only one of them is needed")
    if delay is not None:
        return {"delay": seconds(delay)}
    if at is None:
        return {}
    if not isinstance(at, datetime) or at.utcoffset() is None:
        raise ValueError(
            f"at={at!r}: a datetime with a time zone is needed, such as datetime.now(UTC)"
        )
    return {"at": at.timestamp()}
