"""Commands whose output is closed, full, or read by nobody any more."""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from typing import IO

import psutil
import pytest
import redis as redis_py

from heori.cli.ending import REFUSED
from heori.cli.streams import UNREAD, UNTOLD
from tests.rigs.waiting import until
from tests.rigs.zygote import Started

SEND = ("send", "tests.tasks.sample_tasks.add", "--args", "[1, 2]")
COMMANDS = [
    SEND,
    ("status",),
    ("top", "--once", "--every", "100ms"),
    ("dead", "purge", "--all", "--yes"),
    ("limit", "default"),
    ("--help",),
]
Run = Callable[..., tuple[int, str]]


def full() -> IO[bytes]:
    return open("/dev/full", "wb")  # noqa: PTH123


def gone() -> IO[bytes]:
    """A pipe that nobody reads any more."""
    read, write = os.pipe()
    os.close(read)
    return os.fdopen(write, "wb")


@pytest.fixture
def run(redis_url: str) -> Run:
    """Run a command to its end; its exit code and what it says on standard error."""

    def run(
        *words: str, stdout: Callable[[], IO[bytes]], stderr: Callable[[], IO[bytes]] | None = None
    ) -> tuple[int, str]:
        read, write = os.pipe()
        own = {"HEORI_REDIS_URL": redis_url, "HEORI_TASKS": "tests.tasks.sample_tasks"}
        with (
            os.fdopen(read) as said,
            stdout() as out,
            stderr() if stderr else os.fdopen(write, "wb") as error,
        ):
            process = Started("heori", *words, env={**os.environ, **own}, stdout=out, stderr=error)
            error.close()
            if stderr:
                os.close(write)
            return process.wait(120), said.read()

    return run


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_lost_answer_is_told_by_the_exit_code_and_a_reader_that_has_gone_by_nothing_else(
    words: tuple[str, ...], run: Run, redis: redis_py.Redis
) -> None:
    code, said = run(*words, stdout=full)
    reason = "the answer cannot be written to standard output: No space left on device"
    assert (code, said) == (UNTOLD, f"heori: it is done, but {reason}\n")
    assert run(*words, stdout=gone) == (UNREAD, "")
    assert run(*words, stdout=full, stderr=full)[0] == UNTOLD
    if words[0] == "send":
        assert redis.llen("rq:queue:default") == 3


def test_what_is_refused_is_so_whether_it_can_be_told_or_not(run: Run) -> None:
    wrong = ("send", "tests.tasks.sample_tasks.nothing")
    for stdout in (full, gone):
        code, said = run(*wrong, stdout=stdout)
        assert (code, said.splitlines()[0].startswith("heori: ")) == (REFUSED, True)
    for stderr in (full, gone):
        assert run(*wrong, stdout=full, stderr=stderr)[0] == REFUSED


@pytest.mark.parametrize(
    ("redirection", "code"), [("<&- >&- 2>&-", UNTOLD), (">&-", UNTOLD), ("2>&- >/dev/null", 0)]
)
def test_a_job_is_sent_once_with_descriptors_closed(
    redirection: str, code: int, redis: redis_py.Redis, redis_url: str
) -> None:
    command = [sys.executable, "-m", "heori", *SEND]
    own = {"HEORI_REDIS_URL": redis_url, "HEORI_TASKS": "tests.tasks.sample_tasks"}
    ran = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *command],
        check=False,
        env={**os.environ, **own},
        capture_output=True,
        timeout=120,
    )
    assert ran.returncode == code
    assert redis.llen("rq:queue:default") == 1


def test_a_closed_standard_input_is_an_empty_one(redis_url: str) -> None:
    command = [sys.executable, "-m", "heori", *SEND[:2], "--from", "-"]
    own = {"HEORI_REDIS_URL": redis_url, "HEORI_TASKS": "tests.tasks.sample_tasks"}
    ran = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *command],
        check=False,
        env={**os.environ, **own},
        capture_output=True,
        timeout=120,
    )
    assert (ran.returncode, ran.stderr) == (0, b"")


def test_up_ends_in_order_when_nobody_reads_it_any_more() -> None:
    with gone() as stdout:
        process = Started("heori", "up", "--forever", env=dict(os.environ), stdout=stdout)
    assert process.wait(120) == UNREAD


def test_the_service_serves_whatever_becomes_of_its_output(redis_url: str) -> None:
    own = {"HEORI_REDIS_URL": redis_url, "HEORI_TASKS": "tests.tasks.served_tasks"}
    with gone() as output:
        process = Started(
            *("heori", "serve", "--port", "0"),
            env={**os.environ, **own},
            stdout=output,
            stderr=output,
        )

    def answers() -> bool:
        assert process.poll() is None
        for each in psutil.Process(process.pid).net_connections():
            if each.status == psutil.CONN_LISTEN:  # nothing tells its port
                url = f"http://127.0.0.1:{each.laddr.port}/docs"
                with urllib.request.urlopen(url, timeout=60) as answer:
                    return bool(answer.status == 200)
        return False

    until(answers)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0
