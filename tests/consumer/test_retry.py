"""Retry policies, and the lengths of time they are written in."""

import copy
import math
import random
from datetime import timedelta
from typing import Any

import pytest
from rq import Retry as RqRetry
from rq.job import Job as RqJob

from heori import JobTimeout, Retry, task
from heori_common import tasks
from heori_common.duration import LONGEST_S, seconds
from heori_common.protocol.job import MalformedJob, NewJob, Retries, next_delay, parse_retries
from heori_common.protocol.payload import Call
from tests.tasks.protocol_tasks import plain


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(tasks, "_registry", dict(tasks.registered()))


@pytest.mark.parametrize(
    ("written", "length"),
    [
        (5, 5.0), (0, 0.0), (0.25, 0.25), ("5", 5.0), ("5s", 5.0), ("0.5s", 0.5), (".5 s", 0.5),
        ("500ms", 0.5), ("5min", 300.0), ("5m", 300.0), ("1h", 3600.0), (" 2d ", 172_800.0),
        (timedelta(minutes=1, milliseconds=5), 60.005), (LONGEST_S, LONGEST_S),
    ],
)  # fmt: skip
def test_a_length_of_time_may_be_written_in_several_ways(written: Any, length: float) -> None:
    assert seconds(written) == pytest.approx(length, abs=1e-12)
    assert isinstance(seconds(written), float)


@pytest.mark.parametrize(
    "written",
    [
        -1, -0.001, "-1s", "", "s", "5 parsecs", "1h30", "1e3", "٣s", "nan", math.nan, math.inf,
        10**400, LONGEST_S * 1.01, timedelta(seconds=-1), True, None, b"5s", [5],
    ],
)  # fmt: skip
def test_what_is_no_length_of_time_is_refused(written: Any) -> None:
    with pytest.raises(ValueError, match=r"is no length of time: .* such as 20s, 500ms"):
        seconds(written)


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        (Retry(), (1, 2, 4, 8, 16)),
        (Retry(3), (1, 2, 4)),
        (Retry(max=5, backoff="exponential", base="1s", cap="5s"), (1, 2, 4, 5, 5)),
        (Retry(max=4, backoff="linear", base=2, cap=5), (2, 4, 5, 5)),
        (Retry(max=2, backoff="constant", base="500ms"), (0.5, 0.5)),
        (Retry(max=2, base=0), (0, 0)),
        (Retry(intervals=(1, "5s", 30)), (1, 5, 30)),
        (Retry(max=4, intervals=[1, timedelta(seconds=5)]), (1, 5, 5, 5)),
    ],
)
def test_the_delays_are_those_declared(policy: Retry, delays: tuple[float, ...]) -> None:
    assert policy.delays() == delays
    assert policy.max == len(delays)


def test_the_longest_row_of_retries_stays_under_its_cap() -> None:
    delays = Retry(max=1000, base="1d", cap="10d").delays()
    assert len(delays) == 1000
    assert max(delays) == delays[-1] == 864_000


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max": 0}, "max=0: a whole number from 1 to 1000"),
        ({"max": 1001}, "max=1001"),
        ({"max": 2.5}, "max=2.5"),
        ({"max": True}, "max=True"),
        ({"backoff": "quadratic"}, "backoff='quadratic': exponential, linear or constant"),
        ({"base": "soon"}, "base: 'soon' is no length of time"),
        ({"cap": -1}, "cap: -1 is no length of time"),
        ({"base": "10min"}, "base=600 s is over cap=300 s; raise cap"),
        ({"intervals": (1, "x")}, "intervals: 'x' is no length of time"),
        ({"intervals": (1, 5), "max": 1}, "max=1 leaves some of the 2 intervals out"),
        ({"intervals": (1, 5), "base": 2}, "have no part in them"),
        ({"max": 10**400}, r"max=1000.*\.\.\.: a whole number"),
        ({"backoff": "x" * 10_000}, r"backoff='x+\.\.\..*: exponential"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Retry(**options)


def test_intervals_written_as_one_text_are_not_read_letter_by_letter() -> None:
    with pytest.raises(TypeError, match="several delays are needed"):
        Retry(intervals="15")


def test_a_policy_is_a_value() -> None:
    policy = Retry(intervals=[1, 2])
    assert policy == Retry(2, intervals=("1s", "2s")) != Retry(2)
    assert copy.copy(policy) == policy
    assert len({policy, Retry(intervals=(1, 2))}) == 1
    with pytest.raises(AttributeError):
        policy.max = 7  # type: ignore[misc]


def test_jitter_keeps_at_least_half_of_a_delay_and_spreads_the_rest() -> None:
    random.seed(7)
    varied = [Retry().with_jitter(10) for _ in range(1000)]
    assert min(varied) >= 5
    assert max(varied) <= 10
    assert min(varied) < 5.5 < 9.5 < max(varied)
    assert Retry(jitter=False).with_jitter(10) == 10


@pytest.mark.parametrize(
    ("policy", "varied"),
    [
        (Retry(), True),
        (Retry(backoff="linear"), True),
        (Retry(backoff="constant", base=5), False),
        (Retry(intervals=(1, 3, 5)), False),
        (Retry(max=4, intervals=(1, "300ms")), False),
        (Retry(intervals=(1, 3, 5), jitter=True), True),
        (Retry(backoff="constant", base=5, jitter=True), True),
        (Retry(jitter=False), False),
    ],
)
def test_a_delay_that_is_named_is_exact_unless_jitter_is_asked_for(
    policy: Retry, varied: bool
) -> None:
    waited = {policy.with_jitter(delay) for delay in policy.delays() for _ in range(9)}
    assert (waited != set(policy.delays())) == varied


def test_the_delays_reach_the_consumer_as_they_were_declared() -> None:
    delays = Retry(intervals=(1, "2.5s", "20ms", "1d")).delays()
    fields = NewJob.create("a", Call("f", (), {}), 60, delays).fields()
    named = dict(zip(fields[::2], fields[1::2], strict=True))
    assert named["retry_intervals"] == "[1, 2.5, 0.02, 86400]"  # whole ones as RQ has them
    assert parse_retries(b"4", str(named["retry_intervals"]).encode()) == Retries(4, delays)


# Tasks


def test_a_task_keeps_its_policy() -> None:
    policy = Retry(intervals=(1, 5))
    task(retry=policy)(plain)
    assert tasks.find(plain).retry is policy
    task(retry=3)(plain)
    assert tasks.find(plain).retry == Retry(max=3)
    task(plain)
    assert tasks.find(plain).retry is None


@pytest.mark.parametrize(
    ("options", "error", "expected"),
    [
        ({}, ValueError(), True),
        ({}, JobTimeout(), True),
        ({}, SystemExit(), False),
        ({"retry_on": OSError}, ConnectionError(), True),
        ({"retry_on": (OSError, KeyError)}, KeyError(), True),
        ({"retry_on": (OSError,)}, ValueError(), False),
        ({"give_up_on": ValueError}, KeyError(), True),
        ({"give_up_on": (ValueError,)}, UnicodeError(), False),
        ({"retry_on": OSError, "give_up_on": FileNotFoundError}, FileNotFoundError(), False),
        ({"retry_on": SystemExit}, SystemExit(), True),
        ({"retry_on": ()}, ValueError(), False),
    ],
)
def test_only_some_errors_are_worth_another_try(
    options: dict[str, Any], error: BaseException, expected: bool
) -> None:
    task(**options)(plain)
    assert tasks.find(plain).retries(error) is expected


@pytest.mark.parametrize(
    ("options", "kind", "reason"),
    [
        ({"retry": 0}, ValueError, "max=0"),
        ({"retry": True}, ValueError, "max=True"),
        ({"retry": "always"}, ValueError, "max='always'"),
        ({"retry_on": "OSError"}, TypeError, "retry_on: 'OSError' is no class of exceptions"),
        ({"retry_on": (OSError, int)}, TypeError, "retry_on: <class 'int'> is no class"),
        ({"give_up_on": ValueError()}, TypeError, r"give_up_on: ValueError\(\) is no class"),
    ],
)
def test_settings_of_a_task_that_make_no_sense_are_refused(
    options: dict[str, Any], kind: type[Exception], reason: str
) -> None:
    with pytest.raises(kind, match=reason):
        task(**options)


# What remains of a job's retries


@pytest.mark.parametrize("retry", [
    RqRetry(max=3), RqRetry(max=3, interval=7), RqRetry(max=3, interval=[1, 5, 30]),
    RqRetry(max=4, interval=[1, 5]), RqRetry(max=2, interval=[1, 5, 30]),
])  # fmt: skip
def test_the_delay_before_each_retry_is_the_one_that_rq_would_wait(redis: Any, retry: Any) -> None:
    job = RqJob.create("tests.tasks.sample_tasks.add", connection=redis, retry=retry)
    waited = []
    while job.retries_left:
        fields = job.to_dict()
        retries = parse_retries(
            str(fields["retries_left"]).encode(), fields["retry_intervals"].encode()
        )
        assert retries is not None
        assert retries.left == job.retries_left
        waited.append(next_delay(retries))
        assert waited[-1] == job.get_retry_interval()
        job.retries_left -= 1
    assert len(waited) == retry.max


def test_a_job_without_retries_and_one_without_intervals_are_understood() -> None:
    assert parse_retries(None, None) is None
    assert parse_retries(b"", b"[1]") is None
    assert parse_retries(b"0", b"[1]") == Retries(0, (1.0,))
    for intervals in (None, b"", b"[]"):
        found = parse_retries(b"2", intervals)
        assert found == Retries(2, ())
        assert next_delay(found) == 0
    assert parse_retries(b"2", b"[0.5, 1]") == Retries(2, (0.5, 1.0))


@pytest.mark.parametrize(
    ("left", "intervals", "reason"),
    [
        (b"many", None, "retries_left b'many' is no whole number"),
        (b"-1", None, "retries_left -1 is below zero"),
        *(
            (b"1", text, "retry_intervals .* are no list of seconds")
            for text in (
                b"7", b"{}", b"[", b"\xff", b'["1s"]', b"[-1]", b"[null]", b"[true]", b"[[1]]",
                b"[NaN]", b"[1e999]", b"[1" + b"0" * 400 + b"]", b"[" * 100_000,
            )
        ),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("full_stack")
def test_retries_that_mean_nothing_are_told_of(
    left: bytes, intervals: bytes | None, reason: str
) -> None:
    with pytest.raises(MalformedJob, match=reason):
        parse_retries(left, intervals)
