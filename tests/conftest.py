"""What all tests share: one Valkey of our own, emptied for each test, and real consumers."""

import asyncio
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, Protocol, Self, TypeVar

import psutil
import pytest
import redis as redis_py
from prometheus_client.parser import text_string_to_metric_families

from heori import Producer
from heori_common.embedded import EmbeddedValkey
from heori_common.protocol.commands import Command
from heori_common.redis.client import AsyncRedisClient, RedisClient
from heori_common.settings import Settings
from tests.rigs.zygote import Started
from tests.tasks import sample_tasks

T = TypeVar("T")

pytest_plugins = ["tests.rigs.lock_rig"]


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    """A server of this run's own."""
    with EmbeddedValkey() as server:
        yield server


# The files that take longest, as measured, the longest first: so that side by side with others no
# worker is left alone with one of them in the end.
LONG = (
    "test_lock_jobs",
    "test_models",
    "test_models_ending",
    "test_dead",
    "test_hostile",
    "test_crash",
    "test_executor",
    "test_schedule",
    "test_claiming",
    "test_send_from",
    "test_up",
    "test_gil",
    "test_lab_models",
    "test_cli",
    "test_benchmarks",
    "test_chaos",
    "test_serve",
    "test_tenants",
    "test_rq",
    "test_sentinel",
    "test_bounds",
    "test_load",
    "test_workers",
    "test_lock_faults",
    "test_metrics",
    "test_lab",
    "test_lock_scripts",
    "test_group",
    "test_locks",
    "test_scripts",
    "test_top",
    "test_live",
    "test_manifests",
)


def pytest_configure() -> None:
    # What a script starts in its background ignores SIGINT, and so would all that tests start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture
def redis_url(valkey: EmbeddedValkey) -> str:
    """Where that server is; it is empty."""
    with redis_py.Redis.from_url(valkey.url) as client:
        client.flushdb()
    return valkey.url


@pytest.fixture
def redis(redis_url: str) -> "Iterator[redis_py.Redis]":
    """A plain client, to look at what is really there."""
    with redis_py.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def settings(redis_url: str) -> Settings:
    """Settings for that server."""
    return Settings(redis_url=redis_url)


@pytest.fixture
def producer(redis_url: str) -> Iterator[Producer]:
    """A producer for that server."""
    with Producer(redis_url) as made:
        yield made


class Execute(Protocol):
    """Executes one command, whichever client does it."""

    def __call__(self, command: Command[T], /) -> T: ...


@pytest.fixture(params=["RedisClient", "AsyncRedisClient"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Execute]]:
    """Makes something that executes commands; each test runs with either redis_client."""
    opened: list[RedisClient] = []
    opened_async: list[AsyncRedisClient] = []
    with asyncio.Runner() as runner:

        def make(url: str) -> Execute:
            if request.param == "RedisClient":
                opened.append(RedisClient(url))
                return opened[-1].execute
            redis_client = AsyncRedisClient(url)
            opened_async.append(redis_client)
            return lambda command: runner.run(redis_client.execute(command))

        yield make
        for redis_client in opened:
            redis_client.close()
        for async_client in opened_async:
            runner.run(async_client.close())


class Consumer:
    """A consumer: the real command in a process of its own.

    Args:
        program: the module that it is.
        fresh: in an interpreter of its own too, which inherits what the calling thread may do.
    """

    def __init__(
        self,
        arguments: list[str],
        environment: dict[str, str],
        *,
        program: str = "heori",
        fresh: bool = False,
    ) -> None:
        words = [program, "consume", *arguments]
        options: dict[str, Any] = {
            "env": {**os.environ, **environment},
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        self.process: Started | subprocess.Popen[str] = (
            subprocess.Popen([sys.executable, "-m", *words], text=True, **options)
            if fresh
            else Started(*words, **options)
        )
        self.log: list[dict[str, Any]] = []
        self._lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        # Closed by who reads it: a worker that was stopped while it started keeps the other end,
        # and closing it from elsewhere would wait for this line.
        with self.process.stderr as lines:
            for line in lines:
                try:
                    record = json.loads(line)
                except ValueError:
                    record = {"event": line.rstrip()}
                self.log.append(record)
                self._lines.put(record)
        self._lines.put(None)

    def wait_for(self, event: str, timeout: float = 60.0) -> dict[str, Any]:
        """Wait for a line of its log that has not been waited for yet."""
        deadline = time.monotonic() + timeout
        while (line := self._lines.get(timeout=max(0.01, deadline - time.monotonic()))) is not None:
            if line["event"] == event:
                return line
        raise AssertionError(f"it ended without saying {event!r}: {self.log}")

    def ready(self) -> Self:
        """Wait until it consumes."""
        self.url = self.wait_for("consuming")["metrics"]
        return self

    @property
    def workers(self) -> list[psutil.Process]:
        """Its worker processes, most recently started last."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                # forkserver children have no children of their own in these tests
                if child.ppid() != self.process.pid:
                    found.append(child)
            except psutil.NoSuchProcess:
                continue
        return sorted(found, key=lambda child: child.create_time())

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        return sum(self.samples(name, **labels))

    def samples(self, name: str, **labels: str) -> list[float]:
        """A metric's samples that have these labels."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=5) as answer:
            text = answer.read().decode()
        return [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def stop(self, number: int = signal.SIGTERM, timeout: float = 60.0) -> int:
        """Send a signal and wait for its end; returns the exit code."""
        self.process.send_signal(number)
        return self.join(timeout)

    def join(self, timeout: float = 60.0) -> int:
        """Wait for its end; returns the exit code."""
        code = self.process.wait(timeout)
        self._reader.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture
def consume(redis_url: str) -> Iterator[Callable[..., Consumer]]:
    """Start consumers; whatever is still there after the test is killed, and so is told."""
    started: list[Consumer] = []

    def start(
        *arguments: str,
        queue: str = "default",
        program: str = "heori",
        fresh: bool = False,
        **environment: str,
    ) -> Consumer:
        consumer = Consumer(
            ["--queue", queue, *arguments],
            {
                "HEORI_REDIS_URL": redis_url,
                "HEORI_TASKS": "tests.tasks.sample_tasks",
                "HEORI_METRICS_PORT": "0",
                **environment,
            },
            program=program,
            fresh=fresh,
        )
        started.append(consumer)
        return consumer

    yield start
    for consumer in started:
        if consumer.process.poll() is None:
            family = psutil.Process(consumer.process.pid).children(recursive=True)
            consumer.stop()
            # An orphan that has ended stays a zombie until this machine's init looks after it.
            until(lambda ended=family: not any(is_alive(child) for child in ended), timeout=5)  # type: ignore[misc]
        else:
            consumer.join()
        print(*consumer.log[-50:], sep="\n")  # is shown when the test has failed


MODELS = {
    "threads": ["--model", "threads", "--slots", "4"],
    "processes": ["--model", "processes", "--processes", "2"],
    "hybrid": ["--model", "hybrid", "--processes", "2", "--slots", "2"],
    "asyncio": ["--model", "asyncio", "--processes", "1", "--slots", "4"],
    "inline": ["--model", "inline"],
}


# What crashes inline takes the consumer with it, which `tests/consumer/test_crash.py` is about.
IN_PROCESSES = [model for model in MODELS if model != "inline"]


@pytest.fixture(params=MODELS)
def consumer(request: pytest.FixtureRequest, consume: Callable[..., Consumer]) -> Consumer:
    """A consumer of each execution model."""
    return consume(*MODELS[request.param]).ready()


def run_short_jobs(producer: Producer) -> None:
    """So that consumers know that jobs are short, and prefetch."""
    *_, last = producer.submit_many(sample_tasks.add, [(n, 0) for n in range(2000)])
    last.result(60)


Heori = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def heori(redis_url: str) -> Heori:
    """Run a command to its end."""

    def run(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        own = {"HEORI_REDIS_URL": redis_url, "HEORI_TASKS": "tests.tasks.sample_tasks"}
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as error:
            environment = {**os.environ, **own, **environment}
            process = Started("heori", *words, env=environment, stdout=output, stderr=error)
            try:
                code = process.wait(40)
            finally:
                process.kill()
            output.seek(0)
            error.seek(0)
            return subprocess.CompletedProcess(words, code, output.read(), error.read())

    return run


def is_alive(process: psutil.Process) -> bool:
    """Whether a process still runs."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(condition: Callable[[], object], timeout: float = 60.0) -> None:
    """Wait until something that has no signal of its own is so."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)
