"""Consumers on a server of their own, all of whose processes can be found and are ended."""

import collections
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import psutil
import redis

from heori import Producer
from heori_common.embedded import EmbeddedValkey
from heori_common.protocol.keys import Keys
from heori_common.protocol.payload import decode_failure
from tests.rigs.consumers import Consumer, processes_of
from tests.rigs.waiting import until

QUEUE = "default"
MODELS = {
    "threads": ["--model", "threads", "--slots", "8"],
    "processes": ["--model", "processes", "--processes", "2"],
    "hybrid": ["--model", "hybrid", "--processes", "2", "--slots", "4"],
    "asyncio": ["--model", "asyncio", "--processes", "1", "--slots", "16"],
    "auto": ["--model", "auto", "--processes", "2", "--slots", "4"],
}
SLOTS = {"threads": 8, "processes": 2, "hybrid": 8, "asyncio": 16, "auto": 8}  # of these

Report = Callable[[int, int], None]  # called with how much is done, and of how much
LIMIT = 300.0  # seconds after which a run is given up


class Fleet:
    """A Valkey, a producer, and any number of consumers of one model.

    Args:
        persistent: whether its server can be killed and started again, with all that was in it.
        settings: further environment variables of the consumers.

    Attributes:
        path: where the jobs note that they have begun.
    """

    def __init__(self, model: str, *, persistent: bool = False, **settings: str) -> None:
        self.model = model
        self._config = {"appendonly": "yes", "appendfsync": "always"} if persistent else {}
        self.consumers: list[Consumer] = []
        self.keys = Keys()
        self._settings = settings
        self._exits = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as exits:
            self.server = exits.enter_context(EmbeddedValkey(self._config))
            self.directory = Path(exits.enter_context(tempfile.TemporaryDirectory()))
            self.redis: Any = exits.enter_context(
                redis.Redis.from_url(self.server.url, socket_timeout=None)
            )
            self.producer = exits.enter_context(Producer(self.server.url))
            exits.callback(self._end)
            self._exits = exits.pop_all()
        self.path = self.directory / "runs"
        self.path.touch()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def start(
        self,
        *arguments: str,
        queues: Sequence[str] = (QUEUE,),
        program: str = "heori",
        **settings: str,
    ) -> Consumer:
        """Start a consumer; it is not ready yet."""
        served = [word for queue in queues for word in ("--queue", queue)]
        consumer = Consumer(
            [*served, *MODELS[self.model], *arguments],
            {
                "HEORI_REDIS_URL": self.server.url,
                "HEORI_TASKS": "tests.chaos.tasks",
                "HEORI_METRICS_PORT": "0",
                **self._settings,
                **settings,
            },
            program=program,
        )
        self.consumers.append(consumer)
        return consumer

    def count(self, key: str) -> int:
        """The members of a registry."""
        return int(self.redis.zcard(key))

    def finished(self, queue: str = QUEUE) -> int:
        """How many jobs are in RQ's finished registry."""
        return self.count(self.keys.finished(queue))

    def failed(self) -> int:
        """How many are in the failed one."""
        return self.count(self.keys.failed(QUEUE))

    def leases(self) -> int:
        """How many leases are held."""
        return self.count(self.keys.wip(QUEUE))

    def held_by(self, consumer: str) -> set[str]:
        """The jobs that a consumer of that name has leased."""
        ids = [
            member.decode().split(":")[0]
            for member in self.redis.zrange(self.keys.wip(QUEUE), 0, -1)
        ]
        pipeline = self.redis.pipeline(transaction=False)
        for job_id in ids:
            pipeline.hget(self.keys.job(job_id), "worker_name")
        holders = pipeline.execute()
        return {
            job_id
            for job_id, holder in zip(ids, holders, strict=True)
            if holder == consumer.encode()
        }

    def runs(self) -> "collections.Counter[int]":
        """How often each job has begun."""
        return collections.Counter(int(line) for line in self.path.read_bytes().split())

    def traceback(self, job_id: str) -> str:
        """What the dead letter of that job says."""
        [(_, entry)] = self.redis.xrevrange(self.keys.results(job_id), count=1)
        return decode_failure(entry[b"exc_string"])

    def zombies(self) -> int:
        """How many processes its living consumers have not buried, when given time for it."""

        def unburied() -> list[psutil.Process]:
            return [
                child for each in self.living() for child in _children(each) if _is_zombie(child)
            ]

        try:
            until(lambda: not unburied())
        except AssertionError:
            return len(unburied())
        return 0

    def left(self) -> int:
        """How many processes are left of consumers that are no more, when given time to end."""

        def left() -> list[psutil.Process]:
            living = self.living()
            return processes_of(each for each in self.consumers if each not in living)

        with contextlib.suppress(AssertionError):
            until(lambda: not left())
        return len(left())

    def living(self) -> list[Consumer]:
        """The consumers that have not ended."""
        return [each for each in self.consumers if each.process.poll() is None]

    def _end(self) -> None:
        """Whatever still runs is killed: those who want a drain have asked for it before."""
        for process in processes_of(self.consumers):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for consumer in self.consumers:
            consumer.join()


def rounds(done: Callable[[], int], most: int, every: float, report: Report) -> Iterator[float]:
    """Go round until so much is done.

    Args:
        done: how much is, now.
        every: seconds between two rounds.

    Yields:
        The time of each round, as time.monotonic() tells it.

    Raises:
        TimeoutError: it is not done in LIMIT seconds.
    """
    start = now = time.monotonic()
    while (so_far := done()) < most:
        if now - start > LIMIT:
            raise TimeoutError(f"{so_far} of {most} were done in {LIMIT:.0f} s")
        report(so_far, most)
        yield now
        time.sleep(every)
        now = time.monotonic()
    report(most, most)


def ready(consumers: Iterable[Consumer]) -> None:
    """Wait until all of them consume."""
    for consumer in consumers:
        consumer.ready()


def _children(consumer: Consumer) -> list[psutil.Process]:
    try:
        return psutil.Process(consumer.process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
