"""What `@task(rate=…)` takes, and what it counts together."""

from typing import Any

import pytest

from heori import InvalidArguments, Producer, task
from heori_common import tasks
from heori_common.protocol.job import parse_options
from heori_common.rate import RateTemplate, parse_rate
from tests.tasks import limited_tasks

RATES = {
    "100/min": 100 / 60,
    "1/s": 1.0,
    " 5 / 10s ": 0.5,
    "3/hour": 3 / 3600,
    "1/2d": 1 / 172_800,
    "10000/s": 10_000.0,
    "7/500ms": 14.0,
}


def call(customer: str, /, number: int, *, zone: str = "eu") -> None: ...


@pytest.mark.parametrize("rate", RATES)
def test_a_rate_is_jobs_and_a_time(rate: str) -> None:
    assert parse_rate(rate) == pytest.approx(RATES[rate])


@pytest.mark.parametrize(
    "rate",
    ["", "100", "/s", "0/s", "-1/s", "1.5/s", "1/0s", "1/fortnight", "10001/s", "1/1000d", "∞/s"],
)
def test_what_is_no_rate_is_refused(rate: str) -> None:
    with pytest.raises(ValueError, match=r"^rate="):
        parse_rate(rate)


def test_a_burst_is_what_comes_in_a_tenth_of_a_second_and_two_at_least() -> None:
    for rate, burst in (("100/min", 2), ("1000/s", 100), ("25/s", 3)):
        assert RateTemplate(call, rate, None, None).fill_in(("a", 1), {}).burst == burst
    assert RateTemplate(call, "1/h", None, 1).fill_in(("a", 1), {}).burst == 1


def test_a_key_says_what_is_counted_together() -> None:
    rate = RateTemplate(call, "50/s", "api:{customer}:{zone}", 3).fill_in(("a",), {"number": 1})
    assert rate == ("api:a:eu", 20_000.0, 3)
    assert RateTemplate(call, "50/s", None, 3).fill_in((), {}).name == f"{__name__}.call"


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"rate": 100}, TypeError, "a text such as"),
        ({"rate": "fast"}, ValueError, "jobs and a time are needed"),
        ({"rate": "1/s", "burst": 0}, ValueError, "from 1 to"),
        ({"rate": "1/s", "burst": 1.5}, TypeError, "a whole number"),
        ({"rate": "1/s", "burst": True}, TypeError, "a whole number"),
        ({"rate": "1/s", "rate_key": "{nobody}"}, ValueError, "names no parameter"),
        ({"rate": "1/s", "rate_key": ""}, ValueError, "needs a name"),
        ({"rate": "1/s", "rate_key": 7}, TypeError, "a name is needed"),
        ({"rate_key": "x"}, ValueError, "give that, too"),
        ({"burst": 2}, ValueError, "give that, too"),
    ],
)
def test_a_mistake_is_told_where_the_task_is_made(
    options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        task(**options)(call)


def test_a_job_carries_its_rate(producer: Producer, redis: Any) -> None:
    handle = producer.submit(limited_tasks.call, "acme", 1)
    field = redis.hget(f"rq:job:{handle.id}", "heori_options")
    assert parse_options(field) == {"rate": ["api:acme", 5000.0, 5]}
    plain = producer.submit(limited_tasks.plain, 1)
    assert not redis.hexists(f"rq:job:{plain.id}", "heori_options")


def test_a_name_that_no_rate_can_have_is_refused_before_anything_is_sent() -> None:
    found = tasks.find(limited_tasks.call)
    for customer in ("\x00", "x" * 600):
        with pytest.raises(InvalidArguments, match=r"'api:.customer.' cannot be filled in"):
            found.rate_of((customer, 1), {})
