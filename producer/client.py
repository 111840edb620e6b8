"""Sends jobs: validate, encode, enqueue."""

import uuid
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any, ParamSpec, Self, TypeVar, overload

from common import tasks
from common.broker import Broker
from common.duration import Duration, seconds
from common.protocol.commands import Commands
from common.protocol.job import NewJob
from common.protocol.keys import Keys
from common.protocol.payload import Call
from common.settings import Settings
from common.tasks import Task
from producer.handle import Handle

P = ParamSpec("P")
R = TypeVar("R")

# Jobs per call when there are many: Redis does nothing else meanwhile.
CHUNK = 500


class PayloadTooLarge(ValueError):
    """The encoded call is larger than consumers accept."""


class Producer:
    """Sends jobs to Redis. Safe to share between threads.

    Args:
        url: of the Redis server; by default HEORI_REDIS_URL.
        settings: by default read from the environment.
    """

    def __init__(self, url: str | None = None, *, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self._commands = Commands(Keys(self._settings.key_prefix))
        self._broker = Broker(url or self._settings.redis_url)

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
        self, task: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Handle[R]: ...
    @overload
    def submit(self, task: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Handle[R]: ...
    def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Handle[Any]:
        """Send one job: with the arguments of the task, and perhaps one of `delay` and `at`.

        A task with a parameter of its own that is called `delay` or `at` gets it; for such a
        task, `submit_call` takes the time apart from the arguments.

        Args:
            delay: how long to wait before the job may run: seconds, a timedelta, or a text such
                as "5min". It is counted by the server's clock.
            at: when it may run, as an aware datetime; at once when that is past.

        Raises:
            UnknownTask: the function is no task.
            InvalidArguments: the arguments do not fit it; nothing is sent.
            BadPayload, PayloadTooLarge: they have no JSON form, or too large a one.
            ValueError: the time makes no sense; nothing is sent.
            BrokerUnavailable: Redis cannot be reached.
        """
        found = tasks.find(task)
        ours = ({"delay", "at"} & kwargs.keys()) - found.keywords if kwargs else set()
        times = {name: kwargs.pop(name) for name in ours}
        return self.submit_call(found, args, kwargs, **times)

    def submit_call(
        self,
        task: Task[..., R],
        args: Iterable[Any] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        delay: Duration | None = None,
        at: datetime | None = None,
    ) -> Handle[R]:
        """Send one job of a task found by name, with the arguments of `submit` as values."""
        when = _when(delay, at)
        [handle] = self._send(task, [self._encode(task, tuple(args), kwargs or {})], when)
        return handle

    @overload
    def submit_many(
        self,
        task: Callable[..., Awaitable[R]],
        calls: Iterable[Any],
        *,
        delay: Duration | None = None,
        at: datetime | None = None,
    ) -> list[Handle[R]]: ...
    @overload
    def submit_many(
        self,
        task: Callable[..., R],
        calls: Iterable[Any],
        *,
        delay: Duration | None = None,
        at: datetime | None = None,
    ) -> list[Handle[R]]: ...
    def submit_many(
        self,
        task: Callable[..., Any],
        calls: Iterable[Any],
        *,
        delay: Duration | None = None,
        at: datetime | None = None,
    ) -> list[Handle[Any]]:
        """Send many jobs of one task, hundreds in one round trip.

        All of them are validated before the first is sent.

        Args:
            calls: for each job a tuple of its positional arguments, a dict of its keyword
                arguments, or else its only argument.
            delay, at: as in `submit`, for all of them.

        Raises:
            As `submit`; the message tells which of the calls it is about.
        """
        found = tasks.find(task)
        when = _when(delay, at)
        jobs = []
        for number, call in enumerate(calls):
            args = call if isinstance(call, tuple) else () if isinstance(call, dict) else (call,)
            try:
                jobs.append(self._encode(found, args, call if isinstance(call, dict) else {}))
            except (TypeError, ValueError) as error:
                error.add_note(f"in call {number} of submit_many; none was sent")
                raise
        return self._send(found, jobs, when)

    def close(self) -> None:
        """Close the connections."""
        self._broker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _encode(
        self, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> NewJob:
        args, kwargs = task.arguments_to_send(args, kwargs)
        call = Call(task.name, args, kwargs)
        delays = task.retry.delays() if task.retry else ()
        locks = task.locks_of(args, kwargs) if task.needs else ()
        job = NewJob.create(str(uuid.uuid4()), call, task.timeout, delays, locks)
        if job.size > self._settings.max_payload:
            raise PayloadTooLarge(
                f"the arguments of {task.name} take {job.size} bytes, over the limit of "
                f"{self._settings.max_payload} (HEORI_MAX_PAYLOAD); store them and send where"
            )
        return job

    def _send(
        self, task: Task[..., R], jobs: list[NewJob], when: dict[str, float]
    ) -> list[Handle[R]]:
        for first in range(0, len(jobs), CHUNK):
            chunk = jobs[first : first + CHUNK]
            self._broker.execute(self._commands.enqueue(task.queue, chunk, **when))
        return [Handle(job.id, task, self._broker, self._commands) for job in jobs]


def _when(delay: Duration | None, at: Any) -> dict[str, float]:
    """The time as the command wants it."""
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
