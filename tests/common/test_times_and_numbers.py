"""Times and numbers that rq, Redis or a datetime cannot hold are refused where they are given."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from rq import Queue
from rq.registry import ScheduledJobRegistry as ScheduledJobs
from rq.serializers import JSONSerializer

import heori
from heori import (
    CurrentJob,
    Mutex,
    Producer,
    RedisExecutor,
    Retry,
    Semaphore,
    Settings,
    group,
    task,
)
from heori_common import tasks
from heori_common.duration import LONGEST_S, check_wait, moment
from heori_common.errors import InvalidSetting
from tests.tasks import sample_tasks, served_tasks

WEST, EAST = timezone(timedelta(hours=-14)), timezone(timedelta(hours=14))
FAR = [
    math.nan,
    math.inf,
    -math.inf,
    1e308,
    -1e308,
    10**400,
    -(10**400),
    10**5000,
    LONGEST_S * 1.01,
]
NONE = [True, False, "x" * 10_000, b"1", [1], 1j, object()]
LATEST = datetime(9998, 12, 31, 23, 59, 59, tzinfo=UTC)
URL = "redis://127.0.0.1:1/0"


def job(progress: Any) -> None:
    CurrentJob("a", "b", "c", 1, 5, lambda *_: None).progress(progress)


TAKES: dict[str, tuple[Callable[[Any], object], list[Any]]] = {
    "timeout": (lambda value: task(timeout=value), [*FAR, *NONE, 0, -2, 1.5, None]),
    "result_ttl": (lambda value: task(result_ttl=value), [*FAR, *NONE, 0, -2, 1.5]),
    "retry": (lambda value: task(retry=value), [*FAR, *NONE, 0, -1, 1001, 1.5]),
    "max": (lambda value: Retry(max=value), [*FAR, *NONE, 0, -1, 1001, 1.5]),
    "base": (lambda value: Retry(base=value), [*FAR, *NONE, -1, None]),
    "cap": (lambda value: Retry(cap=value), [*FAR, *NONE, -1, None]),
    "jitter": (lambda value: Retry(jitter=value), [*FAR, *NONE[2:], 0, 1]),
    "intervals": (lambda value: Retry(intervals=(1, value)), [*FAR, *NONE, -1, None]),
    "many intervals": (
        lambda value: Retry(intervals=value),
        [range(1001), iter(int, 1), "15", b"1"],
    ),
    "full_timeout": (lambda value: Producer(URL, full_timeout=value), [*FAR, *NONE, -1]),
    "wait": (lambda value: check_wait("timeout", value, least=-LONGEST_S), [*FAR, *NONE]),
    "map": (
        lambda value: RedisExecutor(URL).map(sample_tasks.add, [1], timeout=value),
        [*FAR, *NONE],
    ),
    "group": (lambda value: group([]).wait(value), [*FAR, *NONE]),
    "lease": (lambda value: Mutex("a", URL, lease=value), [*FAR, *NONE, 0, -1, 0.01, None]),
    "permits": (lambda value: Semaphore("a", value, URL), [*FAR, *NONE, 0, -1, 1.5, None]),
    "progress": (job, [*FAR, *NONE[2:], -0.1, 1.1]),
}
SETTINGS: dict[str, list[Any]] = {
    "lease": [0, 0.5], "unknown_wait": [-1], "full_timeout": [-1], "grace": [-1],
    "max_deliveries": [0, 1.5], "max_payload": [0], "api_max_body": [0], "key_ttl": [0, 1.5],
    "lend_slots": [-1, 1001], "api_port": [-1, 65536], "metrics_port": [-1, 65536],
    "queue_limits": [f"a={value}" for value in ("0", "-1", "nan", "9" * 400, "9" * 6000, "1e3")],
}  # fmt: skip


def refused(call: Callable[[], object]) -> str:
    with pytest.raises((ValueError, TypeError)) as told:
        call()
    message = str(told.value)
    assert message.isprintable(), message
    assert len(message) < 700, message
    return message


@pytest.mark.parametrize(("take", "values"), TAKES.values(), ids=TAKES)
def test_what_is_no_time_and_no_number_is_refused_in_few_words(
    take: Callable[[Any], object], values: list[Any]
) -> None:
    for value in values:
        refused(lambda value=value: take(value))  # type: ignore[misc]


@pytest.mark.parametrize(("name", "values"), SETTINGS.items(), ids=SETTINGS)
def test_a_setting_has_bounds_in_the_program_and_in_the_environment(
    name: str, values: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    far = [] if name == "queue_limits" else [value for value in FAR if value != LONGEST_S * 1.01]
    for value in [*values, *far]:
        assert name in refused(lambda value=value: Settings(**{name: value}))  # type: ignore[misc]
        if value != 10**5000:
            monkeypatch.setenv(f"HEORI_{name.upper()}", str(value))
            with pytest.raises(InvalidSetting, match=f"HEORI_{name.upper()}"):
                getattr(Settings(), name)


@pytest.mark.parametrize("long", ["x" * 100_000, "\x1b]0;title\x07\n\u202e" * 10_000], ids=len)
def test_what_is_repeated_of_a_call_or_a_setting_is_cut(long: str) -> None:
    anything = tasks.find(served_tasks.anything)
    for value in ({long: object()}, {"a": {long: {long: object()}}}):
        refused(lambda value=value: anything.to_send([value], {}, strict=True))  # type: ignore[misc]
        refused(lambda value=value: anything.to_send([], {"b": value}, strict=True))  # type: ignore[misc]
        refused(lambda value=value: anything.dump_result(value, strict=True))  # type: ignore[misc]
    refused(lambda: anything.to_send([], {long: object()}, strict=True))
    refused(lambda: tasks.find(served_tasks.order).to_send([], {long: long}))
    settings: Any = Settings
    refused(lambda: settings(**{long: 1}))
    refused(lambda: Settings(api_tokens_file=Path(long)))
    with pytest.raises(AttributeError) as told:
        getattr(heori, long)
    assert len(str(told.value)) < 1000


def test_a_moment_that_rq_or_a_datetime_cannot_hold_is_refused() -> None:
    for at in (
        datetime.max.replace(tzinfo=WEST),
        datetime.max.replace(tzinfo=EAST),
        datetime(9999, 1, 1, tzinfo=UTC),
        datetime(2050, 1, 1),  # noqa: DTZ001 - what is refused
        *("2050-01-01T00:00:00Z", 2e9, math.nan, 10**5000, None),
    ):
        assert refused(lambda at=at: moment("at", at)).startswith("at=")  # type: ignore[misc]


def test_the_latest_moments_are_read_by_rq_in_every_zone(producer: Producer, redis: Any) -> None:
    queue = Queue("default", connection=redis, serializer=JSONSerializer)
    registry: Any = ScheduledJobs(queue=queue)  # type: ignore[no-untyped-call]
    for given in (LATEST, LATEST.astimezone(EAST), LATEST.astimezone(WEST)):
        handle = producer.options(at=given).submit(sample_tasks.add, 1)
        found = registry.get_scheduled_time(handle.id)
        assert found == LATEST
        assert [found.astimezone(zone).year for zone in (EAST, WEST)] == [9999, 9998]
    century = producer.options(delay=LONGEST_S).submit(sample_tasks.add, 1)
    assert 2100 < registry.get_scheduled_time(century.id).year < 2200
    for past in (datetime.min.replace(tzinfo=EAST), datetime.min.replace(tzinfo=WEST)):
        assert producer.options(at=past).submit(sample_tasks.add, 1).status() == "queued"
