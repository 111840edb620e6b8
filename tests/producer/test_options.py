"""How jobs are sent is said apart from their arguments; what makes no sense is refused there."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from heori import Options, Producer, RedisExecutor, Sender, group
from tests.tasks import sample_tasks

SOON = datetime(2050, 1, 1, tzinfo=UTC)
LATER = SOON + timedelta(hours=1)
NAIVE = datetime(2050, 1, 1)  # noqa: DTZ001 - it is what is refused


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"at": SOON, "delay": 1}, "delay and at are ways to say when; only one of them"),
        ({"at": SOON, "debounce": 1}, "at and debounce are ways to say when"),
        ({"delay": 0, "debounce": 1, "at": SOON}, "delay, at and debounce are ways"),
        ({"debounce": "soon"}, "'soon' is no length of time"),
        ({"debounce": -1}, "-1 is no length of time"),
        ({"expires": 0}, "expires=0: no job would run"),
        ({"expires": "-1s"}, "'-1s' is no length of time"),
        ({"expires": NAIVE}, "expires=.*: a datetime with a time zone is needed"),
        ({"expires": "1min", "delay": 60}, "expires=1min: no job would run"),
        ({"expires": 5, "debounce": "5s"}, "expires=5: no job would run"),
        ({"expires": SOON, "at": LATER}, "expires=2050-01-01 .*: no job would run"),
        ({"expires": SOON, "at": SOON}, "no job would run"),
        ({"unique": "until_done", "key": "a"}, "neither key nor debounce goes with it"),
        ({"unique": "until_done", "debounce": 1}, "neither key nor debounce goes with it"),
        ({"after": 5}, "after=5: handles or ids of jobs are needed"),
        ({"after": ["a", "\ud800"]}, r"after='.ud800': no job has an id that is no Unicode text"),
        ({"after": [5]}, "after=5: handles or ids of jobs are needed"),
        ({"after": "x", "delay": 1}, "delay says when, and after= does, too"),
        ({"after": "x", "unique": "until_done"}, "unique is for a call that waits for nothing"),
        ({"unique": "for ever"}, "unique='for ever': \"until_done\" or None is needed"),
        ({"unique": True}, 'unique=True: "until_done" or None is needed'),
        ({"when_full": "drop"}, "when_full='drop': one of block, reject, drop_oldest is needed"),
        ({"full_timeout": -1}, "full_timeout=-1: seconds from 0 up are needed"),
        ({"queue": "a,b"}, "queue"),
        ({"tenant": "a b"}, "tenant"),
        ({"key": ""}, "key ''"),
        ({"at_front": 1}, "at_front=1: True or False is needed"),
        ({"dealy": 1}, "there is no option dealy; known: queue, tenant, delay, at, at_front"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_where_it_is_given(
    producer: Producer, redis: Any, options: dict[str, Any], reason: str
) -> None:
    for give in (producer.options, producer.options(queue="q").options, RedisExecutor):
        with pytest.raises((ValueError, TypeError), match=reason):
            give(**options)
    assert redis.keys("*") == []


def test_what_makes_sense_together_is_taken(producer: Producer) -> None:
    for options in (
        {"expires": "1min", "delay": 59},
        {"expires": SOON, "at": NAIVE.replace(year=2049, tzinfo=UTC)},
        {"expires": "1h", "at": LATER},  # so long after it is sent, whenever that is
        {"debounce": 1, "key": "a", "expires": 2, "queue": "x", "tenant": "t"},
        {"unique": "until_done", "delay": 5, "at_front": True},
        {"when_full": "reject", "full_timeout": 5},
    ):
        given: Any = options
        assert isinstance(producer.options(**given), Sender)
        assert dataclasses.replace(Options(), **given) == Options(**given)


def test_a_sender_never_changes_and_adds_to_what_it_has(producer: Producer) -> None:
    sender = producer.options(queue="a", tenant="t", delay=60)
    assert sender.options(queue="b").submit(sample_tasks.add, 1).queue == "b@@t"
    assert sender.options(tenant=None).submit(sample_tasks.add, 1).queue == "a"
    handles = [sender.submit(sample_tasks.add, 1), *sender.submit_many(sample_tasks.add, [1, 2])]
    assert {(each.queue, each.status()) for each in handles} == {("a@@t", "scheduled")}
    assert producer.submit(sample_tasks.add, 1).status() == "queued"
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().queue = "x"  # type: ignore[misc]


@pytest.mark.parametrize("option", [{"key": "a"}, {"unique": "until_done"}, {"debounce": 5}])
def test_what_is_for_one_job_is_refused_for_many(
    producer: Producer, redis: Any, redis_url: str, option: Any
) -> None:
    [name] = option
    told = pytest.raises(ValueError, match=f"^{name} is for one job, and not for many at once")
    with told:
        producer.options(**option).submit_many(sample_tasks.add, [1])
    with told:
        RedisExecutor(redis_url, **option)
    assert redis.keys("*") == []


def test_an_executor_takes_the_options_of_many_jobs(redis: Any, redis_url: str) -> None:
    executor = RedisExecutor(redis_url, queue="a", tenant="t", delay=60, expires="1h")
    [future, *_] = [executor.submit(sample_tasks.add, 1), executor.submit(sample_tasks.add, 2)]
    assert future.handle is not None
    assert redis.zcard("rq:scheduled:a") == 2
    assert redis.hexists(f"rq:job:{future.handle.id}", "heori_options")
    assert future.cancel()
    executor.shutdown(wait=False, cancel_futures=True)


def test_what_is_no_list_of_calls_is_refused(producer: Producer, redis: Any) -> None:
    wrong: Any = 5
    with pytest.raises(TypeError, match="submit_many takes a list of calls or the like; not 5"):
        producer.submit_many(sample_tasks.add, wrong)
    with pytest.raises(TypeError, match="takes several handles or calls, such as a list; not 5"):
        group(wrong)
    assert redis.keys("*") == []
