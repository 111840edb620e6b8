"""Several jobs as one."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from heori import JobCanceled, JobFailed, Producer, group
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.tasks import sample_tasks


def test_results_come_in_order_over_one_connection(
    producer: Producer, consume: Callable[..., Consumer], redis: Any
) -> None:
    many = group(producer.submit_many(sample_tasks.add, [(n, 1) for n in range(2000)]))
    assert many.progress() == (0, 0, 2000)
    assert not many.wait(0.1)
    until(lambda: redis.info("clients")["tracking_clients"])
    connections = {each["id"] for each in redis.client_list()}
    assert not many.wait(0.1)
    more = {each["id"] for each in redis.client_list()} - connections
    assert not more, "however many are waited for"
    consume().ready()
    assert many.results(60) == list(range(1, 2001))
    assert many.wait(0)
    assert many.progress() == (2000, 0, 2000)
    assert asyncio.run(_awaited(many)) == list(range(1, 2001))


async def _awaited(many: Any, timeout: float = 120) -> Any:
    async with asyncio.timeout(timeout):
        return await many


@pytest.mark.usefixtures("looks_often")
def test_a_failure_is_raised_and_counted_and_the_others_go_on(
    producer: Producer, consume: Callable[..., Consumer]
) -> None:
    handles = [
        producer.submit(sample_tasks.add, 1, 1),
        producer.submit(sample_tasks.fail, "because"),
        producer.options(queue="elsewhere").submit(sample_tasks.add, 2, 2),
    ]
    mixed = group(handles)
    consume().ready()
    with pytest.raises(JobFailed, match="ValueError: because"):
        mixed.results(60)  # and does not wait for the third, which nobody runs
    assert mixed.progress() == (1, 1, 3)
    with pytest.raises(JobFailed, match="ValueError: because"):
        asyncio.run(_awaited(mixed))
    assert not mixed.wait(0.05)
    assert mixed.cancel() == 1
    assert mixed.wait(60)
    assert mixed.progress() == (1, 2, 3)


def test_what_is_not_done_in_time_is_said_and_goes_on(
    producer: Producer, consume: Callable[..., Consumer]
) -> None:
    two = group(producer.submit_many(sample_tasks.add, [1, 2]))
    with pytest.raises(TimeoutError, match="not all of 2 jobs have ended"):
        two.results(0.05)
    with pytest.raises(TimeoutError):
        asyncio.run(_awaited(two, 0.05))
    consume().ready()
    assert asyncio.run(_awaited(two)) == [3, 4], "who gave up has cancelled nothing"
    assert two.results(0) == [3, 4]


def test_what_has_ended_before_is_there_without_a_wait(
    producer: Producer, consume: Callable[..., Consumer]
) -> None:
    consume().ready()
    handles = [*producer.submit_many(sample_tasks.add, [1, 2])]
    assert group(handles).results(60) == [3, 4]
    assert group(handles).results(0) == [3, 4]
    assert group(handles).wait(0)
    failed = producer.submit(sample_tasks.fail, "because")
    assert group([failed]).wait(60)
    assert group([failed]).wait(0)
    with pytest.raises(JobFailed, match="ValueError: because"):
        group([*handles, failed]).results(0)
    waiting = producer.options(queue="elsewhere").submit(sample_tasks.add, 1)
    assert not group([*handles, waiting]).wait(0)
    with pytest.raises(TimeoutError, match="not all of 3 jobs have ended after 0 s"):
        group([*handles, waiting]).results(0)


@pytest.mark.usefixtures("looks_often")
def test_a_cancelled_group_says_so(producer: Producer) -> None:
    two = group(producer.submit_many(sample_tasks.add, [1, 2]))
    assert two.cancel() == 2
    with pytest.raises(JobCanceled):
        two.results(60)


def test_a_group_of_none_is_done(producer: Producer) -> None:
    none = group(producer.submit_many(sample_tasks.add, []))
    assert none.wait(0)
    assert none.results(0) == []
    assert none.progress() == (0, 0, 0)
