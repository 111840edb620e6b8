"""Consumers: the real command in a process of its own."""

import contextlib
import json
import os
import queue
import random
import resource
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterable
from typing import Any, Protocol, Self

import psutil
import redis as redis_py
from prometheus_client.parser import text_string_to_metric_families

from heori import Producer
from heori_common.embedded import EmbeddedValkey
from tests.rigs.waiting import is_alive, until
from tests.rigs.zygote import Started
from tests.tasks import sample_tasks

# A metric's name and its labels.
Sample = tuple[str, tuple[tuple[str, str], ...]]


class Consumer:
    """A consumer: the real command in a process of its own.

    Args:
        program: the module that it is.
        command: of it.
        fresh: in an interpreter of its own too, which inherits what the calling thread may do.

    Attributes:
        mark: of all that it starts (see `processes_of`).
    """

    def __init__(
        self,
        arguments: list[str],
        environment: dict[str, str],
        *,
        program: str = "heori",
        command: str = "consume",
        fresh: bool = False,
    ) -> None:
        words = [program, command, *arguments]
        options: dict[str, Any] = {
            "env": {**os.environ, **environment},
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        self.mark = new_mark()
        self.process: Started | subprocess.Popen[str] = (
            subprocess.Popen([sys.executable, "-m", *words], text=True, process_group=0, **options)
            if fresh
            else Started(
                *words,
                **options,
                mark=self.mark,
            )
        )
        if fresh:  # before it has started anything
            put_mark(self.process.pid, self.mark)
        self.log: list[dict[str, Any]] = []
        self._before: dict[Sample, float] = {}
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

    def wait_for(self, event: str, timeout: float = 120.0) -> dict[str, Any]:
        """Wait for a line of its log that has not been waited for yet."""
        deadline = time.monotonic() + timeout
        while (line := self._lines.get(timeout=max(0.01, deadline - time.monotonic()))) is not None:
            if line["event"] == event:
                return line
        raise AssertionError(f"it ended without saying {event!r}: {self.log}")

    def ready(self) -> Self:
        """Wait until it consumes."""
        told = self.wait_for("consuming")
        self.url, self.name = told["metrics"], told["consumer"]
        return self

    @property
    def workers(self) -> list[psutil.Process]:
        """Its worker processes, most recently started last."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                # What jobs leave is below them; or it is an orphan, in the session of another.
                parent = child.parent()
                if (
                    parent is not None
                    and parent.ppid() == self.process.pid
                    and os.getsid(child.pid) == child.pid
                ):
                    found.append(child)
        return sorted(found, key=lambda child: child.create_time())

    @property
    def family(self) -> list[psutil.Process]:
        """All processes below it, the forkserver first."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def signal_group(self, *numbers: int) -> None:
        """Send signals to all of its processes at once, as systemd does.

        A terminal, or `timeout`, reaches those of its process group, which workers leave.
        """
        workers = self.workers  # before, as looking for them takes time
        for number in numbers:
            os.killpg(self.process.pid, number)
        for worker in workers:
            for number in numbers:
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.send_signal(number)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        return sum(self.samples(name, **labels))

    def metrics(self, *names: str) -> list[float]:
        """The sum of each metric's samples, of one look: each has the consumer write them all."""
        seen = self._scrape(names)
        return [
            sum(self._since(sample, value) for sample, value in seen.items() if sample[0] == name)
            for name in names
        ]

    def samples(self, name: str, **labels: str) -> list[float]:
        """A metric's samples that have these labels; of what only rises, the rise since `begin`."""
        return [
            self._since(sample, value)
            for sample, value in self._scrape((name,)).items()
            if sample[0] == name and labels.items() <= dict(sample[1]).items()
        ]

    def _since(self, sample: "Sample", value: float) -> float:
        return value - self._before.get(sample, 0.0)

    def begin(self) -> None:
        """Forget what it has said and counted so far: another test begins."""
        while not self._lines.empty():
            self._lines.get()
        self._before = {
            sample: value
            for sample, value in self._scrape().items()
            if sample[0].endswith(("_total", "_count", "_sum", "_bucket"))
        }

    def _scrape(self, names: tuple[str, ...] = ("heori_",)) -> dict["Sample", float]:
        """All samples whose names begin so; to read others, which most are, takes long."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines(keepends=True)
        return {
            (sample.name, tuple(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(
                "".join(line for line in lines if line.startswith(names))
            )
            for sample in family.samples
        }

    def stop(self, number: int = signal.SIGTERM, timeout: float = 60.0) -> int:
        """Send a signal and wait for its end; returns the exit code."""
        self.process.send_signal(number)
        return self.join(timeout)

    def join(self, timeout: float = 60.0) -> int:
        """Wait for its end; returns the exit code."""
        code = self.process.wait(timeout)
        self._reader.join(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def nothing_left(self) -> bool:
        """Whether all that it has started has ended, whatever became of it meanwhile."""
        return not processes_of([self])


class Marked(Protocol):
    """What has marked all that it starts."""

    mark: int


def new_mark() -> int:
    """A mark that no other has."""
    return random.SystemRandom().randrange(1 << 40, 1 << 50)


def put_mark(pid: int, mark: int) -> None:
    """Mark a process and all that it will start from now on.

    They inherit this limit, which Linux has not looked at since 2.4.30.
    """
    resource.prlimit(pid, resource.RLIMIT_RSS, (mark, mark))


def processes_of(starters: Iterable[Marked]) -> list[psutil.Process]:
    """All that run of what these have started, whatever became of it meanwhile."""
    marks = {starter.mark for starter in starters}
    return [each for each in psutil.process_iter() if _mark(each) in marks and is_alive(each)]


def _mark(process: psutil.Process) -> int | None:
    try:
        return resource.prlimit(process.pid, resource.RLIMIT_RSS)[1]
    except (ProcessLookupError, PermissionError):
        return None


MODELS = {
    "threads": ["--model", "threads", "--slots", "4"],
    "processes": ["--model", "processes", "--processes", "2"],
    "hybrid": ["--model", "hybrid", "--processes", "2", "--slots", "2"],
    "asyncio": ["--model", "asyncio", "--processes", "1", "--slots", "4"],
    "auto": ["--model", "auto", "--processes", "2", "--slots", "2", "--advise"],
    "inline": ["--model", "inline"],
}


# Those that tests share: of each model, and with slots for many jobs that wait for locks.
SHARED = MODELS | {
    "locks in auto": ["--model", "auto", "--processes", "1", "--slots", "8", "--advise"],
    "locks in processes": ["--model", "processes", "--processes", "2"],
    "locks in asyncio": ["--model", "asyncio", "--processes", "1", "--slots", "8"],
}
SHARED_TASKS = ",".join(
    f"tests.tasks.{name}_tasks" for name in ("sample", "protocol", "lock", "raising", "rq")
)
# What crashes inline takes the consumer with it, which `tests/consumer/test_crash.py` is about.
IN_PROCESSES = [model for model in MODELS if model != "inline"]


class SharedConsumers:
    """Consumers that tests use one after the other, each with a server of its own."""

    def __init__(self) -> None:
        self._servers: dict[str, EmbeddedValkey] = {}
        self._running: dict[str, Consumer] = {}

    def url(self, name: str) -> str:
        """Where the server is on which one of them has its jobs."""
        if name not in self._servers:
            self._servers[name] = server = EmbeddedValkey()
            server.__enter__()
        return self._servers[name].url

    def take(self, name: str) -> Consumer:
        """An idle one, which has said and counted nothing yet."""
        consumer = self._running.get(name)
        if consumer is None or not self._is_idle(consumer):
            consumer = self._running[name] = Consumer(
                ["--queue", "default", *SHARED[name]],
                {
                    "HEORI_REDIS_URL": self.url(name),
                    "HEORI_TASKS": SHARED_TASKS,
                    "HEORI_ALLOW": "math,tests.tasks.strangers,tests.tasks.callback_tasks",
                    "HEORI_ACCEPT": "json,pickle",
                    "HEORI_METRICS_PORT": "0",
                },
            ).ready()
            with redis_py.Redis.from_url(self.url(name), socket_timeout=None) as client:
                # What rq's tools ask of it before is told to nobody.
                until(lambda: client.pubsub_channels(f"rq:pubsub:{consumer.name}"))
        consumer.begin()
        return consumer

    def _is_idle(self, consumer: Consumer) -> bool:
        try:
            if consumer.process.poll() is None:
                until(lambda: consumer.metric("heori_jobs_held") == 0, timeout=5)
                return True
        except AssertionError:  # the test before has left it with a job that does not end
            consumer.process.kill()
        consumer.join()
        return False

    def end(self, name: str) -> None:
        """End one with its server, and see that nothing is left of it."""
        with contextlib.ExitStack() as exits:
            if (server := self._servers.pop(name, None)) is not None:
                exits.push(server)
            if (consumer := self._running.pop(name, None)) is not None:
                family = psutil.Process(consumer.process.pid).children(recursive=True)
                assert consumer.stop() == 0, consumer.log[-50:]
                until(lambda: not any(is_alive(child) for child in family))

    def close(self) -> None:
        """End all that are left."""
        with contextlib.ExitStack() as exits:
            for name in self._servers:
                exits.callback(self.end, name)


SHORT_JOBS = 2000


def run_short_jobs(producer: Producer) -> None:
    """So that consumers know that jobs are short, and prefetch."""
    *_, last = producer.submit_many(sample_tasks.add, [(n, 0) for n in range(SHORT_JOBS)])
    last.result(60)
