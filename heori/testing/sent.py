"""What a program sends while a test looks: noted, and run here and now if the test wants that."""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, ParamSpec, Unpack

from heori.testing.flows import run_flow
from heori.testing.inline import (
    NOTHING,
    AsyncInlineFlowHandle,
    AsyncInlineHandle,
    InlineHandle,
    InlineJob,
    registered,
    run,
)
from heori_common import tasks
from heori_common.calls import Flow, PartialCall
from heori_common.duration import seconds
from heori_common.protocol.commands import Cursor
from heori_common.protocol.job import NewJob
from heori_common.protocol.payload import decode_call
from heori_common.sendable import Sendable
from heori_common.tasks import InvalidArguments, Task
from heori_producer.async_flow_handle import AsyncFlowHandle
from heori_producer.async_handle import AsyncHandle
from heori_producer.async_sender import AsyncSender
from heori_producer.flow_handle import FlowHandle
from heori_producer.handle import Handle
from heori_producer.options import AllOptions, Options
from heori_producer.planning import Plan
from heori_producer.sender import Sender

P = ParamSpec("P")
AnySender = Sender | AsyncSender
AnyHandle = Handle[Any] | AsyncHandle[Any]

MOST_SHOWN = 20  # jobs, in a message


@dataclass(frozen=True, slots=True)
class RecordedJob:
    """A job that was sent.

    Attributes:
        task: its task's name.
        arguments: as the task receives them, by the names of its parameters, with its defaults. A
            step of a flow has its first one only if it has run here.
        queue: the RQ queue that it went to.
        options: that it was sent with.
        handle: what the program that sent it got.
    """

    task: str
    arguments: Mapping[str, Any]
    queue: str
    options: Options
    handle: AnyHandle

    def __str__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.task}({shown}) to {self.queue}"


class Recording:
    """All jobs that were sent, in their order.

    Attributes:
        jobs: they.
    """

    def __init__(
        self,
        jobs: list[RecordedJob] | None = None,
        wanted: Options | None = None,
        names: frozenset[str] = frozenset(),
    ) -> None:
        self.jobs: list[RecordedJob] = [] if jobs is None else jobs
        self._wanted = wanted or Options()
        self._names = names  # of the options that count

    def options(self, **options: Unpack[AllOptions]) -> "Recording":
        """The same jobs, of which only those count that were sent with these options.

        Raises:
            TypeError, ValueError: an option makes no sense.
        """
        return Recording(self.jobs, self._wanted.but(**options), self._names | options.keys())

    def to(self, task: Callable[..., Any]) -> list[RecordedJob]:
        """The jobs of one task that were sent with the options.

        Raises:
            UnknownTask: the function is no task.
        """
        name = tasks.find(task).name
        return [job for job in self.jobs if job.task == name and self._has_options(job)]

    def assert_sent(
        self, task: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> RecordedJob:
        """See that such a job was sent; returns the first.

        The arguments may be given by position or by name, as in the call that has sent it.

        Raises:
            AssertionError: none was; the message lists what was sent.
            UnknownTask, InvalidArguments: it could not be sent at all.
        """
        found = tasks.find(task)
        sent = found.to_send(args, kwargs)
        expected = _arguments(found, *sent.json, sent.types)
        for job in self.to(task):
            if job.arguments == expected:
                return job
        shown = ", ".join([*map(repr, args), *(f"{k}={v!r}" for k, v in kwargs.items())])
        raise AssertionError(f"{found.name}({shown}){self._with()} was not sent; {self._told()}")

    def assert_not_sent(self, task: Callable[..., Any]) -> None:
        """See that no job of a task was sent with the options, whatever its arguments.

        Raises:
            AssertionError: one was.
        """
        if self.to(task):
            raise AssertionError(f"{tasks.find(task).name}{self._with()} was sent; {self._told()}")

    def add(self, jobs: list[RecordedJob], place: int) -> None:
        """Note jobs, before those that they have sent themselves."""
        self.jobs[place:place] = jobs

    def _has_options(self, job: RecordedJob) -> bool:
        its = job.options
        for name in self._names:
            wanted = getattr(self._wanted, name)
            if name == "queue" and wanted is not None:
                if job.queue != its.but(queue=wanted).queue_for(wanted):
                    return False
            elif _plain(wanted) != _plain(getattr(its, name)):
                return False
        return True

    def _with(self) -> str:
        return "".join(f" with {name}={getattr(self._wanted, name)!r}" for name in self._names)

    def _told(self) -> str:
        if not self.jobs:
            return "nothing was"
        lines = [f"\n  {job} with {_told(job.options)}" for job in self.jobs[:MOST_SHOWN]]
        more = len(self.jobs) - MOST_SHOWN
        return "sent were:" + "".join(lines) + (f"\n  and {more} more" if more > 0 else "")


def _told(options: Options) -> str:
    values = {name: getattr(options, name) for name in Options.__dataclass_fields__}
    given = [f"{name}={value!r}" for name, value in values.items() if value not in (None, False)]
    return ", ".join(given) or "no options"


def _plain(value: Any) -> Any:
    """A duration may be said in several ways."""
    try:
        return seconds(value)
    except (TypeError, ValueError):
        return value


def _arguments(
    task: Task[..., Any], args: Any, kwargs: Any, types: bytes | None, first: Any = NOTHING
) -> Mapping[str, Any]:
    """What arrives, by the names of the parameters."""
    if first is NOTHING:
        received_args, received_kwargs = task.receive(args, kwargs, types)
    else:
        received_args, received_kwargs = task.receive_after(first, args, kwargs, types)
    bound = inspect.signature(task.function).bind(*received_args, **received_kwargs)
    bound.apply_defaults()
    return bound.arguments


@contextmanager
def recording() -> Iterator[Recording]:
    """Note what this program sends, in all of its threads; it goes to Redis as ever."""
    sent = Recording()
    send_jobs, submit_flow = Sender.send_jobs, Sender.submit_flow
    async_send_jobs, async_submit_flow = AsyncSender.send_jobs, AsyncSender.submit_flow

    def send(
        sender: Sender, task: Sendable[Any], jobs: list[NewJob], cursor: Cursor | None = None
    ) -> list[Handle[Any]]:
        place = len(sent.jobs)
        handles = send_jobs(sender, task, jobs, cursor)
        sent.add(_jobs(sender, task, jobs, handles), place)
        return handles

    async def async_send(
        sender: AsyncSender, task: Sendable[Any], jobs: list[NewJob], cursor: Cursor | None = None
    ) -> list[AsyncHandle[Any]]:
        place = len(sent.jobs)
        handles = await async_send_jobs(sender, task, jobs, cursor)
        sent.add(_jobs(sender, task, jobs, handles), place)
        return handles

    def send_flow(sender: Sender, flow: Flow[Any]) -> FlowHandle[Any]:
        place = len(sent.jobs)
        handle = submit_flow(sender, flow)
        sent.add(_jobs_of_flow(sender, flow, handle.handles), place)
        return handle

    async def async_send_flow(sender: AsyncSender, flow: Flow[Any]) -> AsyncFlowHandle[Any]:
        place = len(sent.jobs)
        handle = await async_submit_flow(sender, flow)
        sent.add(_jobs_of_flow(sender, flow, handle.handles), place)
        return handle

    with (
        _replaced(Sender, send_jobs=send, submit_flow=send_flow),
        _replaced(AsyncSender, send_jobs=async_send, submit_flow=async_send_flow),
    ):
        yield sent


@contextmanager
def inline() -> Iterator[Recording]:
    """Run jobs where they are sent, in the thread that sends them, without a server.

    Arguments and results are validated and written down as ever, and the job begins with what was
    read from that. What it raises its handle raises as JobFailed. It is tried again at once as
    often as its task says; a job with an idempotency key runs once. A coroutine runs in an event
    loop of its own. The jobs of a flow run in its order. Delays, timeouts, limits, rates and the
    locks that a task declares are not kept, and no middleware runs. A lock that a task takes itself
    needs a server.
    """
    runs = _Runs()

    def send_jobs(
        sender: Sender,
        task: Sendable[Any],
        jobs: list[NewJob],
        cursor: Cursor | None = None,  # noqa: ARG001 - as that of a sender
    ) -> list[Handle[Any]]:
        return [InlineHandle(each) for each in runs.jobs(sender._options, task, jobs)]

    async def async_send_jobs(
        sender: AsyncSender,
        task: Sendable[Any],
        jobs: list[NewJob],
        cursor: Cursor | None = None,  # noqa: ARG001 - as that of a sender
    ) -> list[AsyncHandle[Any]]:
        return [AsyncInlineHandle(each) for each in runs.jobs(sender._options, task, jobs)]

    def submit_flow(sender: Sender, flow: Flow[Any]) -> FlowHandle[Any]:
        plan, jobs = runs.flow(sender, flow)
        handles: dict[str, Handle[Any]] = {each.id: InlineHandle(each) for each in jobs}
        return FlowHandle(list(handles.values()), _end(plan, handles))

    async def async_submit_flow(sender: AsyncSender, flow: Flow[Any]) -> AsyncFlowHandle[Any]:
        plan, jobs = runs.flow(sender, flow)
        handles: dict[str, AsyncHandle[Any]] = {each.id: AsyncInlineHandle(each) for each in jobs}
        return AsyncInlineFlowHandle(list(handles.values()), _end(plan, handles))

    def send(sender: Sender, name: str, /, *args: Any, **kwargs: Any) -> Handle[Any]:
        task = registered(name)
        [handle] = sender.send_jobs(task, [sender.encode(task, args, kwargs, from_json=True)])
        return handle

    async def async_send(
        sender: AsyncSender, name: str, /, *args: Any, **kwargs: Any
    ) -> AsyncHandle[Any]:
        task = registered(name)
        [handle] = await sender.send_jobs(task, [sender.encode(task, args, kwargs, from_json=True)])
        return handle

    with (
        _replaced(Sender, send_jobs=send_jobs, submit_flow=submit_flow, send=send),
        _replaced(
            AsyncSender, send_jobs=async_send_jobs, submit_flow=async_submit_flow, send=async_send
        ),
        recording() as sent,
    ):
        yield sent


class _Runs:
    """All jobs that have run inline."""

    def __init__(self) -> None:
        self._ended: dict[str, InlineJob] = {}
        self._same: dict[tuple[str, str | None, str], InlineJob] = {}

    def jobs(self, options: Options, task: Sendable[Any], jobs: list[NewJob]) -> list[InlineJob]:
        """Run jobs of a task."""
        if options.key is None:
            return [self._run(task.name, job, options) for job in jobs]
        key = (task.name, options.tenant, options.key)
        if key not in self._same:
            self._same[key] = self._run(task.name, jobs[0], options)
        return [self._same[key]]

    def flow(self, sender: AnySender, flow: Flow[Any]) -> tuple[Plan, list[InlineJob]]:
        """Run the jobs of a flow."""
        sender._options.check_many()
        plan = _plan(sender, flow)
        jobs = run_flow(plan, self._ended)
        self._ended.update((each.id, each) for each in jobs)
        return plan, jobs

    def _run(self, name: str, job: NewJob, options: Options) -> InlineJob:
        task = registered(name)
        queue = options.queue_for(task.queue)
        ended = InlineJob(job.id, queue, task, run(job, task, queue))
        self._ended[job.id] = ended
        return ended


@contextmanager
def _replaced(kind: type[AnySender], **methods: Any) -> Iterator[None]:
    """Put other methods in the place of those of a class."""
    before = {name: getattr(kind, name) for name in methods}
    for name, method in methods.items():
        setattr(kind, name, method)
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(kind, name, method)


def _plan(sender: AnySender, flow: Flow[Any]) -> Plan:
    plan = Plan(flow, sender._options.queue_for, sender._options.after_ids)
    for _ in plan.encode(sender._parts.sending.encode_call):
        pass
    return plan


def _end(plan: Plan, handles: Mapping[str, Any]) -> Any:
    """The handle of the job with which a flow ends; or those of all, whose results are a list."""
    ends = [handles[each.id] for each in plan.end.jobs] or list(plan.end.sent)
    return ends if plan.end.is_list else ends[0]


def _jobs(
    sender: AnySender, task: Sendable[Any], jobs: list[NewJob], handles: Sequence[AnyHandle]
) -> list[RecordedJob]:
    options = sender._options
    queue = options.queue_for(task.queue)
    return [
        RecordedJob(task.name, _of(task.name, job), queue, options, handle)
        for job, handle in zip(jobs, handles, strict=True)
    ]


def _jobs_of_flow(
    sender: AnySender, flow: Flow[Any], handles: Sequence[AnyHandle]
) -> list[RecordedJob]:
    noted = []
    for planned, handle in zip(_plan(sender, flow).jobs, handles, strict=True):
        assert planned.job is not None, "it was encoded"
        name = planned.task.name
        first = handle.first if isinstance(handle, InlineHandle | AsyncInlineHandle) else NOTHING
        its = _of_step(planned.call) if isinstance(planned.call, PartialCall) else None
        if its is None or first is not NOTHING:
            with suppress(InvalidArguments):  # what was handed on does not fit it
                its = _of(name, planned.job, first)
        assert its is not None, "a whole call was validated"
        noted.append(RecordedJob(name, its, planned.queue, sender._options, handle))
    return noted


def _of_step(call: PartialCall[Any]) -> Mapping[str, Any]:
    """The arguments of a step but for the first, which it gets later."""
    signature = call.task.signature
    assert signature is not None, "it has a step"
    bound = signature.bind(None, *call.args, **call.kwargs)
    bound.apply_defaults()
    return dict(list(bound.arguments.items())[1:])


def _of(name: str, job: NewJob, first: Any = NOTHING) -> Mapping[str, Any]:
    call = decode_call(job.data, ("json",), sys.maxsize)
    task = tasks.registered().get(name)
    if task is None:  # it was sent by name, and its code is not here
        return {**{f"argument {n}": value for n, value in enumerate(call.args, 1)}, **call.kwargs}
    return _arguments(task, call.args, call.kwargs, job.types, first)
