"""An application that uses all of RQ: each of its 35 jobs ends as with RQ's own workers.

`examples/rq_app/expected.json` is what those of rq 3.0.0 have done.
"""

import json
import os
import runpy
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import IO, Any

import pytest
from redis import Redis

from tests.rigs.pages import ROOT
from tests.rigs.stock_rq import VERSION, until_idle
from tests.rigs.zygote import Started

pytestmark = pytest.mark.skipif(VERSION < (2, 6), reason="the application needs what 2.6 has")

FOLDER = ROOT / "examples/rq_app"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())


HEORI = ("heori", "worker", "--allow", "shop", "--log-format", "%(levelname)s %(message)s")
THREADS = ("heori", "consume", "--model", "threads")
# What a thread cannot do as a process can: it has no signal handlers, and no alarm that wakes it.
NOT_IN_THREADS = {
    "17 a_signal_handler",
    "18 a_timeout_that_is_caught",
    "19 a_timeout_with_something_to_tidy",
}

# What ends otherwise with an older rq installed, and since when it ends so: before, no result told
# that a job had returned Retry too often.
SINCE = {"27 retries_that_are_returned": (2, 8)}


def play(redis_url: str, *workers: tuple[str, ...], output: IO[str], **own: str) -> dict[str, Any]:
    """How the stories end with these workers."""
    environment = {**os.environ, "RQ_REDIS_URL": redis_url, "HEORI_REDIS_URL": redis_url, **own}
    started = [
        Started(
            *words,
            env=environment,
            cwd=FOLDER,
            stdout=output,
            stderr=output,
        )
        for words in workers
    ]
    try:
        command = [sys.executable, "play.py", "--seconds", "600"]
        ran = subprocess.run(
            command, cwd=FOLDER, env=environment, stdout=subprocess.PIPE, stderr=output, check=False
        )
        if ran.returncode == 0:
            with Redis.from_url(redis_url, socket_timeout=None) as redis:
                until_idle(redis)
    finally:
        for worker in started:
            worker.send_signal(signal.SIGTERM)
        codes = [worker.wait(60) for worker in started]
    output.seek(0)
    print(output.read()[-20_000:])  # is shown when the test has failed
    assert (ran.returncode, codes) == (0, [0] * len(started))
    return dict(json.loads(ran.stdout))


def different(ended: dict[str, Any]) -> dict[str, Any]:
    """The stories that have not ended as recorded, of those that this rq tells so."""
    return {
        name: end
        for name, end in ended.items()
        if end != EXPECTED[name] and SINCE.get(name, VERSION) <= VERSION
    }


@pytest.fixture
def output() -> Iterator[IO[str]]:
    """Where what is said goes."""
    with tempfile.TemporaryFile("w+") as file:
        yield file


def test_all_35_jobs_are_told() -> None:
    numbers = {int(name.split()[0]) for name in EXPECTED}
    assert numbers == set(range(1, 36))
    assert "never ended" not in EXPECTED.values()


@pytest.mark.skipif(VERSION != (3, 0), reason="they were recorded with rq 3.0")
def test_rqs_own_workers_end_them_as_recorded(redis_url: str, output: IO[str]) -> None:
    workers = runpy.run_path(str(FOLDER / "record.py"))["WORKERS"]
    words = [tuple(shlex.split(worker)[2:]) for worker in workers]  # less python -m
    ended = play(redis_url, *words, output=output)
    assert different(ended) == {}
    assert len(ended) == len(EXPECTED)


def test_heori_worker_ends_each_as_rqs_own_do(redis_url: str, output: IO[str]) -> None:
    ended = play(redis_url, (*HEORI, "shop"), (*HEORI, "ordered", "shop", "json"), output=output)
    assert different(ended) == {}
    assert len(ended) == len(EXPECTED) or VERSION != (3, 0)


def test_a_consumer_with_threads_does_but_for_what_threads_cannot(
    redis_url: str, output: IO[str]
) -> None:
    ended = play(
        redis_url,
        (*THREADS, "-q", "shop", "-q", "json"),
        (*THREADS, "-q", "ordered", "--slots", "1"),
        output=output,
        HEORI_ALLOW="shop",
        HEORI_ACCEPT="json,pickle",
    )
    differ = different(ended)
    assert differ.keys() == NOT_IN_THREADS, differ
