"""`heori load` as a person runs it: paced, counted, and unmoved by a Redis that goes away."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from os import environ
from typing import Any, get_args

import psutil
import pytest
import redis as redis_py
from redis import Redis

from heori.demo.load import LoadPlan, Profile, parse_mix
from heori.demo.tally import Count, JobTally
from heori.examples import tasks
from heori_common.embedded import EmbeddedValkey
from heori_common.redis.client import RedisClient
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import is_alive, until
from tests.rigs.zygote import Started

Load = Callable[..., Started]


@pytest.fixture
def load() -> Iterator[Load]:
    """Start `heori load`; what is still there after the test is killed."""
    started: list[Started] = []

    def start(url: str, *arguments: str) -> Started:
        process = Started(
            *("heori", "load", "--json", *arguments),
            env={**environ, "HEORI_REDIS_URL": url, "HEORI_METRICS_PORT": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            if process.poll() is None:
                process.kill()


def told(process: Started) -> tuple[dict[str, Any], str]:
    """The last thing it says, and its messages; it must have ended well."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    record: dict[str, Any] = json.loads(out.splitlines()[-1])
    return record, err


@pytest.mark.parametrize(
    ("profile", "seconds", "due"),
    [
        ("steady", None, {0: 0, 0.999: 99, 1: 100, 10: 1000, 3600: 360_000}),
        ("steady", 5.0, {4: 400, 5: 500, 60: 500}),
        ("burst", None, {0: 0, 1: 500, 2: 1000, 9.9: 1000, 10: 1000, 11: 1500, 20: 2000}),
        ("ramp", None, {0: 0, 30: 750, 60: 3000, 61: 3100}),
        ("ramp", 10.0, {5: 125, 10: 500, 20: 500}),
    ],
)
def test_a_plan_says_how_many_are_due(
    profile: Profile, seconds: float | None, due: dict[float, int]
) -> None:
    plan = LoadPlan(profile, 100.0, {"count_tokens": 1}, seconds)
    assert {at: plan.due(at) for at in due} == due


@pytest.mark.parametrize("profile", get_args(Profile))
def test_what_is_due_never_shrinks_and_nothing_is_lost_by_rounding(profile: Profile) -> None:
    plan = LoadPlan(profile, 7.3, {"count_tokens": 1}, None)
    due = [plan.due(tick / 50) for tick in range(50 * 300)]
    assert all(0 <= after - before <= 2 for before, after in pairwise(due))
    assert due[-1] == pytest.approx(7.3 * (270 if profile == "ramp" else 300), abs=1)


@pytest.mark.parametrize("mix", ["", "tokens=x", "tokens=-1", "tokens=0", "sleep=1", "fetch,fetch"])
def test_a_mix_that_does_not_fit_is_refused(mix: str) -> None:
    with pytest.raises(ValueError, match="--mix"):
        parse_mix(mix)


@pytest.mark.parametrize(
    "arguments", [["--rate", "0"], ["--rate", "nan"], ["--for", "0"], ["--serve", "here:x"]]
)
def test_options_that_do_not_fit_are_refused(load: Load, arguments: list[str]) -> None:
    process = load("redis://127.0.0.1:1/0", *arguments)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    assert arguments[0] in err


def test_it_sends_just_what_was_asked_for_and_consumers_can_do_it(
    load: Load, consume: Callable[..., Consumer], redis_url: str
) -> None:
    consumer = consume(queue=tasks.QUEUE, HEORI_TASKS=tasks.__name__)
    process = load(redis_url, "--rate", "100", "--for", "2s", "--mix", "tokens=1,fetch=3,digest=1")
    said, _ = told(process)
    assert said["sent"] == {"count_tokens": 40, "fetch": 120, "digest": 40}
    assert said["unanswered"] == 0
    assert said["seconds"] >= 2
    consumer.stop()
    with RedisClient(redis_url) as redis_client:
        tally = JobTally(redis_client)
        tally.finish(said["sent"])
    done = {name: count.done for name, count in tally.counts.items()}
    assert done == said["sent"]


def test_its_files_can_be_fetched_while_it_runs(
    load: Load, consume: Callable[..., Consumer], redis_url: str
) -> None:
    consumer = consume(queue=tasks.QUEUE, HEORI_TASKS=tasks.__name__).ready()
    process = load(redis_url, "--rate", "50", "--mix", "fetch")
    until(lambda: consumer.metric("heori_jobs_total", outcome="succeeded") >= 20)
    server = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGTERM)
    said, _ = told(process)
    until(lambda: not any(is_alive(each) for each in server))
    consumer.stop()
    with RedisClient(redis_url) as redis_client:
        tally = JobTally(redis_client)
        tally.finish({"count_tokens": 0, "digest": 0, **said["sent"]})
    assert tally.counts["fetch"].done >= 20
    assert tally.counts["digest"] == Count()


def test_no_job_is_lost_or_sent_twice_while_redis_is_away(load: Load) -> None:
    with EmbeddedValkey({"appendonly": "yes", "appendfsync": "always"}) as server:
        process = load(server.url, "--rate", "200", "--mix", "tokens=1,digest=1")
        with redis_py.Redis.from_url(server.url, socket_timeout=None) as client:
            until(lambda: client.llen("rq:queue:stdlib") >= 100)
        server.stop()
        assert process.stderr is not None
        line = process.stderr.readline()
        while "away" not in line:
            assert line, "it ended without a word"
            line = process.stderr.readline()
        server.start()
        while "Redis is back after" not in line:
            assert line, "it ended without a word"
            line = process.stderr.readline()
        with redis_py.Redis.from_url(server.url, socket_timeout=None) as client:
            before = client.llen("rq:queue:stdlib")
            until(lambda: client.llen("rq:queue:stdlib") > before)
            process.send_signal(signal.SIGTERM)
            said, _ = told(process)
            sent = sum(said["sent"].values())
            assert client.llen("rq:queue:stdlib") == len(client.keys("rq:job:*")) == sent
    # In turns, also across the time without a server.
    assert abs(said["sent"]["count_tokens"] - said["sent"]["digest"]) <= 1


def test_a_full_redis_is_told_of_and_waited_for(load: Load, redis: Redis, redis_url: str) -> None:
    redis.config_set("maxmemory", 1)
    try:
        process = load(redis_url, "--rate", "100", "--for", "1s", "--mix", "digest")
        assert process.stderr is not None
        process.stderr.readline()
        assert "memory" in process.stderr.readline()
    finally:
        redis.config_set("maxmemory", 0)
    said, _ = told(process)
    assert said["sent"] == {"digest": 100}
    assert redis.llen("rq:queue:stdlib") == 100
