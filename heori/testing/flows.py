"""Runs flows where they are sent: each job in its turn, with what those before it have returned."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from heori.testing.inline import NOTHING, InlineEnd, InlineJob, registered, run
from heori_common.calls import FlowFailure
from heori_common.values.results import Stored, read_loosely
from heori_producer.errors import JobCanceled
from heori_producer.planning import Plan, Planned


def run_flow(plan: Plan, before: Mapping[str, InlineJob]) -> list[InlineJob]:
    """Run the jobs of a flow, which are encoded, in their order; those in vain are cancelled.

    Args:
        before: what has run already, by id.

    Raises:
        ValueError: a step gets the result of a job that has not run inline.
    """
    ended = dict(before)
    for planned in plan.jobs:
        ended[planned.id] = _run(planned, ended)
    return [ended[planned.id] for planned in plan.jobs]


def _run(planned: Planned, ended: Mapping[str, InlineJob]) -> InlineJob:
    ids = [*planned.after, *(each.id for each in planned.parents)]
    parents = [ended[each] for each in ids if each in ended]
    task = registered(planned.task.name)
    first: Any = NOTHING
    if planned.gets in {"failed", "failures"}:
        failures = list(_failures(parents))
        if not failures:
            return _canceled(planned, "all before it have ended well", "")
        if planned.gets == "failures":
            first = [asdict(each) for each in failures]
    else:
        for each in parents:
            if each.ended.status != "finished":
                cause = each.ended.cause or each.id
                return _canceled(planned, f"it was to run after {cause}, which has failed", cause)
        if planned.gets != "none":
            if len(parents) < len(ids):
                unknown = ", ".join(each for each in ids if each not in ended)
                raise ValueError(f"{task.name} gets what {unknown} returns, which has not run here")
            values = [_value(each) for each in parents]
            first = values if planned.gets == "all" else values[0]
    assert planned.job is not None, "it was not encoded"
    end = run(planned.job, task, planned.queue, first)
    return InlineJob(planned.id, planned.queue, task, end, first)


def _canceled(planned: Planned, reason: str, cause: str) -> InlineJob:
    end = InlineEnd(JobCanceled(planned.id, reason), "canceled", None, 0, cause)
    return InlineJob(planned.id, planned.queue, registered(planned.task.name), end)


def _failures(jobs: list[InlineJob]) -> Iterator[FlowFailure]:
    """Of those that have failed themselves."""
    for each in jobs:
        if each.ended.status == "failed":
            last = str(each.ended.end).rstrip().rpartition("\n")[2]
            yield FlowFailure(each.id, each.task.name, "failed", last)


def _value(job: InlineJob) -> Any:
    stored = job.ended.end
    assert isinstance(stored, Stored), "it has ended well"
    return read_loosely(stored)
