"""What runs where it is sent ends as it would in a consumer."""

from collections.abc import Callable
from typing import Any

import pytest

from heori import Handle, JobFailed, Producer
from heori.testing import inline
from tests.rigs.consumers import Consumer
from tests.tasks import sample_tasks


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
