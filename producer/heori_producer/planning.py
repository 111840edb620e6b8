"""Which jobs a flow is made of, who waits for whom, and in which order they are sent."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

from heori_common.calls import PartialCall, TaskCall
from heori_common.new_job import new_job_id
from heori_common.protocol.job import NewJob
from heori_common.sendable import Sendable
from heori_producer.flow import FlowChain, FlowGroup
from heori_producer.handle import Handle

KEPT_S = 500  # a result that another job gets, unless its task says, as RQ keeps it

H = TypeVar("H")  # a kind of handles
Encode = Callable[[TaskCall[Any] | PartialCall[Any], str], NewJob]


@dataclass(slots=True)
class Planned:
    """A job of a flow."""

    id: str
    call: TaskCall[Any] | PartialCall[Any]
    task: Sendable[Any]
    queue: str
    gets: str  # of those for which it waits: none, one, all, failed or failures, see read_flow.lua
    parents: Sequence["Planned"] = ()
    after: Sequence[str] = ()  # likewise, jobs that were sent before
    into: list[list[Any]] = field(default_factory=list)
    is_handler: bool = False  # of failures, or comes after one
    job: NewJob | None = None  # once it was encoded


class FlowEnd(NamedTuple):
    """The jobs with which a part of a flow ends."""

    jobs: Sequence[Planned]
    sent: Sequence[Handle[Any]] = ()  # or these, which were sent before
    is_list: bool = False
    has_failed: bool = False  # what comes next handles failures


class Batch(NamedTuple):
    """Jobs that are sent one after the other."""

    task: Sendable[Any]
    queue: str
    is_handler: bool  # as of `Planned`
    jobs: list[NewJob]


class Plan:
    """The jobs of one flow.

    Args:
        queue_of: the RQ queue to which jobs of a task are sent.
        after: jobs that were sent before, for whose ends the flow waits.

    Attributes:
        jobs: in the order of the flow.
        end: those with which it ends.

    Raises:
        TypeError: a step lacks its first argument, and there is nothing that it could get.
    """

    def __init__(
        self, flow: Any, queue_of: Callable[[str], str], after: Sequence[str] = ()
    ) -> None:
        self._queue_of = queue_of
        self._after = after
        self.jobs: list[Planned] = []
        self.end = self._add(flow, None)

    def encode(self, encode: Encode) -> Iterator[None]:
        """Make the jobs, one at each step.

        Args:
            encode: makes the job of a call, with an id.
        """
        for planned in self.jobs:
            planned.job = encode(planned.call, planned.id)
            yield

    def handles(self, make: Callable[[Planned], H]) -> tuple[list[H], H | Sequence[H]]:
        """Of its jobs, in the order of the flow; and of the last one, or of those at its end."""
        of = {planned.id: make(planned) for planned in self.jobs}
        ends: Any = [of[planned.id] for planned in self.end.jobs] or self.end.sent
        return list(of.values()), ends if self.end.is_list else ends[0]

    def batches(self) -> list[Batch]:
        """The jobs as they are to be sent: those that wait before those for which they wait."""
        waiting = [each for each in reversed(self.jobs) if each.parents]
        heads = sorted((each for each in self.jobs if not each.parents), key=lambda j: j.queue)
        ordered = [*waiting, *heads]
        last = {edge[0]: number for number, each in enumerate(ordered) for edge in each.into}
        for number, each in enumerate(ordered):
            for edge in each.into:
                edge[2] = last[edge[0]] == number
        return [
            Batch(*key, [self._edged(each) for each in run])
            for key, run in groupby(ordered, key=lambda j: (j.task, j.queue, j.is_handler))
        ]

    @staticmethod
    def _edged(planned: Planned) -> NewJob:
        waits = bool(planned.parents or planned.after)
        job = planned.job
        assert job is not None, "it was not encoded"
        if not (waits or planned.into):
            return job
        options = {**(job.options or {}), "flow": planned.gets} if waits else job.options
        ttl = job.result_ttl
        return job._replace(
            options=options,
            result_ttl=(ttl or KEPT_S) if planned.into else ttl,
            edges={
                "gets": planned.gets,
                "holds": bool(planned.parents),
                "after": list(planned.after),
                "into": planned.into,
            },
        )

    def _add(self, node: Any, before: FlowEnd | None) -> FlowEnd:
        if not isinstance(node, FlowChain | FlowGroup):
            return self._add_call(node, before)
        first = len(self.jobs)
        if isinstance(node, FlowChain):
            end = self._add(node.steps[0], before)
            for step in node.steps[1:]:
                end = self._add(step, end)
        else:
            end = self._add_group(node, before)
        if node.on_failure is not None:
            sent = node.members if isinstance(node, FlowGroup) and not _is_new(node) else ()
            watched = [each for each in self.jobs[first:] if not each.is_handler]
            last = len(self.jobs)
            self._add(node.on_failure, FlowEnd(watched, sent, has_failed=True))
            for each in self.jobs[last:]:
                each.is_handler = True
        return end

    def _add_group(self, node: FlowGroup, before: FlowEnd | None) -> FlowEnd:
        if not _is_new(node):
            if self._after or before is not None:
                raise TypeError("jobs that were sent already wait for nothing more")
            end = FlowEnd((), node.members, is_list=True)
        else:
            ends = [self._add(member, before) for member in node.members]
            if any(each.is_list for each in ends):
                raise TypeError(
                    "a group within a group needs then=, which makes one of its results"
                )
            end = FlowEnd([each.jobs[0] for each in ends], is_list=True)
        return end if node.then is None else self._add(node.then, end)

    def _add_call(self, node: Any, before: FlowEnd | None) -> FlowEnd:
        if not isinstance(node, TaskCall | PartialCall):
            raise TypeError(f"{node!r} is no step of a flow")
        is_partial = isinstance(node, PartialCall)
        if is_partial and before is None:
            raise TypeError(
                f"{node.task.name}.s() lacks its first argument, and nothing is before it"
            )
        if before is not None and before.has_failed:
            gets = "failures" if is_partial else "failed"
        elif before is not None and is_partial:
            gets = "all" if before.is_list else "one"
        else:
            gets = "none"
        queue = self._queue_of(node.task.queue)
        planned = Planned(new_job_id(), node, node.task, queue, gets)
        if before is None:
            planned.after = self._after
        else:
            planned.parents = before.jobs
            planned.after = [handle.id for handle in before.sent] or ()
            for place, parent in enumerate(before.jobs, len(planned.after)):
                parent.into.append([planned.id, place, False])
        self.jobs.append(planned)
        return FlowEnd([planned])


def _is_new(group: FlowGroup) -> bool:
    """Whether its jobs are sent with it."""
    return not isinstance(group.members[0], Handle)
