"""What runs where it is sent ends as it would in a consumer."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heori import FlowFailure, Handle, JobCanceled, JobFailed, Producer, chain, group
from heori.testing import inline, recording
from tests.rigs.consumers import Consumer
from tests.rigs.either import KINDS, Either
from tests.tasks import flow_tasks, sample_tasks
from tests.tasks.flow_tasks import begin, double, total


def come_of(handle: Handle[Any]) -> tuple[str, object]:
    """Its status, and its result or what of its failure does not depend on where it ran."""
    try:
        result: object = handle.result(timeout=60)
    except JobFailed as failed:
        result = failed.error_type, failed.error_text, failed.error_notes
    return handle.status(), result


CALLS: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (sample_tasks.add, (1,)),
    (sample_tasks.add_later, (1, 2)),
    (sample_tasks.fail, ("told",)),
    (sample_tasks.wrong_type, ()),
    (sample_tasks.flaky_soon, (3,)),
    (sample_tasks.leave, ("SystemExit",)),
]


@pytest.mark.parametrize("shared", ["threads"], indirect=True)
def test_it_ends_as_in_a_consumer(shared: Consumer, producer: Producer) -> None:
    with inline() as sent:
        here = [come_of(producer.submit(task, *args)) for task, args in CALLS]
    assert len(sent.jobs) == len(CALLS)
    there = [come_of(producer.submit(task, *args)) for task, args in CALLS]
    assert here == there
    assert {status for status, _ in here} == {"finished", "failed"}


def test_what_ends_the_test_is_no_failure_of_a_job(producer: Producer) -> None:
    with inline(), pytest.raises(KeyboardInterrupt):
        producer.submit(sample_tasks.leave, "KeyboardInterrupt")
    assert producer.submit(sample_tasks.add, 1).status() == "queued"  # all is as it was before


def flows(path: str) -> list[Any]:
    """Of each kind: one that ends well, one that fails, and those that handle that."""
    fails = flow_tasks.fails_without.s(1, path)
    refuses: Any = flow_tasks.join.s()  # by its hint, a number
    return [
        chain(begin.s(1), flow_tasks.move.s(2, twice=True), flow_tasks.tell.s()),
        chain(
            double.s(2),
            group([double.s(), flow_tasks.fails_without.s("/")], then=total.s(more=1)),
            on_failure=flow_tasks.handle.s(),
        ),
        group([chain(begin.s(n), flow_tasks.tell.s()) for n in (1, 2)], then=flow_tasks.join.s()),
        group([flow_tasks.nothing.s(), flow_tasks.nothing.s()], then=flow_tasks.count.s()),
        chain(fails, double.s(), double.s(3)),
        group([double.s(1), fails], then=total.s(), on_failure=flow_tasks.handle.s()),
        chain(double.s(1), refuses),
        group([double.s(1), double.s(2)]),
    ]


def comes_of_flow(flow: Any) -> tuple[object, ...]:
    """The ends of all of its jobs and of the whole, in which ids are numbers."""
    names = {each.id: f"job {number}" for number, each in enumerate(flow.handles)}
    ends: list[object] = []
    for each in (flow, *flow.handles):
        try:
            ends.append(each.result(60))
        except JobCanceled:
            ends.append("canceled")
        except JobFailed as failed:
            ends.append(failed.error_type)
    return (
        *(replace(e, job_id=names[e.job_id]) if isinstance(e, FlowFailure) else e
          for end in ends for e in (end if isinstance(end, list) else [end])),
        *(each.status() for each in flow.handles),
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_flows_end_as_in_a_consumer(
    kind: str, redis_url: str, consume: Callable[..., Consumer], tmp_path: Path
) -> None:
    all_of_them = flows(str(tmp_path / "nothing"))
    with Either.made(kind, redis_url) as producer:
        with inline() as sent:
            here = [comes_of_flow(producer.submit_flow(each)) for each in all_of_them]
        consume(
            "--queue", "default", "--queue", "elsewhere", HEORI_TASKS=flow_tasks.__name__
        ).ready()
        there = [comes_of_flow(producer.submit_flow(each)) for each in all_of_them]
    assert here == there
    told = {each for end in here for each in end if isinstance(each, str)}
    assert {"finished", "failed", "canceled"} <= told
    sent.assert_sent(double, 3)
    sent.assert_sent(flow_tasks.move, begin(1), 2, twice=True)


@pytest.mark.parametrize("kind", KINDS)
def test_both_producers_run_jobs_inline_without_a_server(kind: str) -> None:
    with (
        inline() as sent,
        Either.made(kind, "redis://127.0.0.1:1/0") as producer,
    ):
        keyed = producer.options(key="k", queue="slow")
        first = keyed.submit(sample_tasks.add, 1)
        assert (first.result(), first.status(), first.running(), first.cancel()) == (
            3, "finished", False, False,
        )  # fmt: skip
        assert keyed.submit(sample_tasks.add, 2).id == first.id
        assert [each.result() for each in producer.submit_many(sample_tasks.add, [1, 2])] == [3, 4]
        assert producer.send(f"{sample_tasks.__name__}.add", 5).result() == 7
        flow = producer.submit_flow(chain(double.s(1), double.s()))
        assert (flow.result(), flow.cancel()) == (4, 0)
        step: Any = double.s()
        with pytest.raises(TypeError, match="lacks its first argument"):
            producer.submit_flow(step)
    sent.options(queue="slow").assert_sent(sample_tasks.add, 1)
    assert [each.arguments for each in sent.to(double)] == [{"number": 1}, {"number": 2}]


@pytest.mark.parametrize("kind", KINDS)
def test_what_goes_to_redis_is_noted(kind: str, redis_url: str, redis: Any) -> None:
    with recording() as sent, Either.made(kind, redis_url) as producer:
        producer.submit(sample_tasks.add, 1)
        flow = producer.options(queue="slow").submit_flow(chain(begin.s(1), flow_tasks.move.s(2)))
    assert redis.llen("rq:queue:default") == 1
    sent.assert_sent(sample_tasks.add, 1)
    assert sent.options(queue="slow").assert_sent(begin, 1).handle.id == flow.handles[0].id
    [step] = sent.to(flow_tasks.move)
    assert step.arguments == {"days": 2, "twice": False}
    with pytest.raises(AssertionError, match="was not sent; sent were"):
        sent.assert_sent(double, 1)
