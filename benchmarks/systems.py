"""Who is measured: Heori in its models, each peer in the way that suits it, and the floor."""

import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, get_args

import redis

from benchmarks.apps import SLOTS
from heori_common.protocol.keys import Keys
from heori_common.settings import Model

QUEUE = "bench"
KEYS = Keys()
COROUTINES = ("nothing", "wait", "mail", "webhook")  # tasks that exist as coroutines, too


def missing_package(package: str) -> str | None:
    """Why what needs it cannot be measured here, if it cannot."""
    if importlib.util.find_spec(package) is None:
        return f"{package} is not installed (make bench installs it)"
    return None


@dataclass(frozen=True, slots=True)
class Library:
    """What is to be known about a library from outside.

    Attributes:
        packages: distributions that must be installed, the first one being its own.
        queue: the key that holds what waits; renamed, the jobs are out of sight.
        finished: how many jobs its records call done, but for a constant; None if it keeps none.
        group: which reads the queue, where that is a stream whose sender makes no group.
        python: the oldest that it runs on.
    """

    packages: tuple[str, ...]
    queue: str
    finished: Callable[["redis.Redis"], int] | None
    group: str | None = None
    python: tuple[int, int] = (3, 11)

    def missing(self) -> str | None:
        """Why it cannot be measured here, if it cannot."""
        for package in self.packages:
            missing = missing_package(package)
            if missing and sys.version_info < self.python:
                needed = ".".join(map(str, self.python))
                return f"{package} needs Python {needed} (make bench BENCH_PYTHON=python{needed})"
            if missing:
                return missing
        return None


@dataclass(frozen=True, slots=True)
class System:
    """One library, with one way to start its workers."""

    name: str
    app: str  # in benchmarks.apps
    words: tuple[str, ...]  # after python
    processes: int = 1  # that run jobs
    jobs: int = 20_000  # for a drain of some seconds
    results: bool = False  # whether it keeps results
    safe: bool = False  # whether it loses nothing when a consumer is killed
    coroutines: bool = False  # whether its tasks had better be coroutines
    runs: bool = True  # whether it runs what it is sent; the floor does not
    queues: tuple[str, ...] = (QUEUE,)
    environment: Mapping[str, str] = field(default_factory=dict)  # of its workers

    @property
    def library(self) -> Library:
        return LIBRARIES[self.app]

    def task(self, name: str) -> str:
        """The variant of a task that suits it."""
        return f"{name}_async" if self.coroutines and name in COROUTINES else name

    def missing(self) -> str | None:
        """Why it cannot be measured here, if it cannot."""
        if missing := self.library.missing():
            return missing
        if self.app == "heori":
            model = self.words[self.words.index("--model") + 1]
            if model not in get_args(Model):
                return f"heori consume has no --model {model}"
        return None


def heori(
    model: str,
    processes: int,
    slots: int,
    *,
    batch: int | None = None,
    jobs: int = 20_000,
    queues: tuple[str, ...] = (QUEUE,),
    preload: bool = False,
) -> System:
    """Heori, as `heori consume` is started; P × S is part of its name, and a batch not its own."""
    words = ["-m", "heori", "consume", *(word for queue in queues for word in ("-q", queue))]
    words += ["--model", model]
    words += ["--processes", str(processes), "--slots", str(slots)]
    words += ["--batch", str(batch)] if batch is not None else []
    words += ["--preload"] if preload else []
    return System(
        f"heori {model} {processes}×{slots}" + ("" if batch is None else f", batch {batch}"),
        "heori",
        tuple(words),
        processes,
        jobs,
        results=True,
        safe=True,
        coroutines=model == "asyncio",
        queues=queues,
    )


def rq(name: str, *words: str, processes: int = 1, jobs: int = 600) -> System:
    """RQ, with one line of log per job off, as for all others."""
    rest = (QUEUE, "--serializer", "json", "--quiet")
    return System(f"rq {name}", "rq", ("-m", "rq.cli", *words, *rest), processes, jobs, True)


def rq_pool(processes: int) -> System:
    """RQ's worker-pool, of workers that do not fork for each job."""
    words = ("worker-pool", "-n", str(processes), "-w", "rq.worker.SimpleWorker")
    name = f"worker-pool, {processes} SimpleWorkers"
    return rq(name, *words, processes=processes, jobs=600 * processes)


def dramatiq(processes: int, threads: int, *, results: bool = False) -> System:
    """dramatiq; it redelivers what a dead worker had after its heartbeat's 60 seconds."""
    words = ("-m", "dramatiq", "benchmarks.apps.dramatiq")
    rest = ("--processes", str(processes), "--threads", str(threads))
    name = f"dramatiq {processes}×{threads}" + (" + results" if results else "")
    return System(name, "dramatiq", words + rest, processes, 10_000, results, safe=True)


def huey(kind: str, workers: int) -> System:
    """huey, as threads or processes."""
    words = ("-m", "huey.bin.huey_consumer", "benchmarks.apps.huey.app", "-q")
    rest = ("-k", kind, "-w", str(workers))
    name = f"huey {workers} {'threads' if kind == 'thread' else 'processes'}"
    processes = workers if kind == "process" else 1
    return System(name, "huey", words + rest, processes, 10_000, True)


def taskiq(processes: int, *, at_once: int = 100) -> System:
    """taskiq, with its default of 100 coroutines a process; redelivers after 10 minutes."""
    words = ("-m", "taskiq", "worker", "benchmarks.apps.taskiq:broker", "--log-level", "WARNING")
    rest = ("--workers", str(processes), "--max-async-tasks", str(at_once))
    name = f"taskiq {processes}, stream + results"
    return System(name, "taskiq", words + rest, processes, 6_000, True, True, True)


def celery(pool: str, workers: int, *, results: bool = False) -> System:
    """Celery; it acknowledges before it runs."""
    words = ("-m", "celery", "-A", "benchmarks.apps.celery", "worker", "-l", "WARNING")
    rest = ("-P", pool, "-c", str(workers))
    name = f"celery {pool} {workers}" + (" + results" if results else "")
    processes = workers if pool == "prefork" else 1
    return System(name, "celery", words + rest, processes, 3_000, results)


def ardiq(processes: int, *, at_once: int = 16, coroutines: bool = True) -> System:
    """ardiq, with its default of 16 at once in a process; redelivers after a minute.

    Its functions had better be coroutines; plain ones run in threads.
    """
    words = ("-m", "ardiq", "run", "benchmarks.apps.ardiq:app", "--quiet")
    return System(
        f"ardiq {processes}×{at_once}" + ("" if coroutines else ", plain functions") + " + results",
        "ardiq",
        (*words, "--workers", str(processes)),
        processes,
        results=True,
        safe=True,
        coroutines=coroutines,
        environment={SLOTS: str(at_once)},
    )


def mayu(processes: int, threads: int = 1, *, results: bool = True) -> System:
    """mayu, which is made for Python without a GIL and runs one job a process where there is one.

    It can be told to use threads all the same. It redelivers after 30 seconds.
    """
    words = ["-m", "mayu", "worker", "benchmarks.apps.mayu:app", "--log-level", "WARNING"]
    words += ["--mode", "process" if threads == 1 else "thread", "--processes", str(processes)]
    words += [] if threads == 1 else ["--threads", str(threads)]
    name = f"mayu {processes}×{threads}" + (" + results" if results else "")
    return System(name, "mayu", tuple(words), processes, results=results, safe=True)


FLOOR = System("floor", "floor", ("-m", "benchmarks.apps.floor"), runs=False, results=True)
BARE = System("floor, a bare socket", "bare", (), runs=False)
RQ_FORK = rq("Worker (forks)", "worker", jobs=150)
RQ_SIMPLE = rq("SimpleWorker", "worker", "-w", "rq.worker.SimpleWorker")
RQ_POOL = rq_pool(2)


def _cardinality(key: str, client: "redis.Redis") -> int:
    return client.zcard(key)


def _huey_results(client: "redis.Redis") -> int:
    return client.hlen(f"huey.results.{QUEUE}")


def _ardiq_results(client: "redis.Redis") -> int:
    return client.zcard(f"ardiq:{QUEUE}:index:results")


def _expiring(client: "redis.Redis") -> int:
    """Of those libraries that give a time to live to results and to nothing else."""
    found: dict[str, Any] = client.info("keyspace").get("db0", {})
    return int(found.get("expires", 0))


_RQ = Library(("rq",), KEYS.queue(QUEUE), partial(_cardinality, KEYS.finished(QUEUE)))
LIBRARIES = {
    "heori": _RQ,
    "floor": _RQ,
    "bare": _RQ,
    "rq": _RQ,
    "dramatiq": Library(("dramatiq",), f"dramatiq:{QUEUE}", _expiring),
    "huey": Library(("huey",), f"huey.redis.{QUEUE}", _huey_results),
    "taskiq": Library(("taskiq", "taskiq_redis"), QUEUE, _expiring),
    "celery": Library(("celery",), QUEUE, _expiring),
    "ardiq": Library(
        ("ardiq",), f"ardiq:{QUEUE}:queues:default", _ardiq_results, "workers", (3, 12)
    ),
    # Each of its workers has a record that expires, too.
    "mayu": Library(("mayu",), f"mayu:{{{QUEUE}}}:stream", _expiring, "mayu", (3, 13)),
}


def versions() -> dict[str, str]:
    """Of all libraries that are installed."""
    peers = ("ardiq", "mayu", "dramatiq", "huey", "taskiq", "taskiq-redis", "celery")
    names = ("heori", "rq", "redis", *peers, "python-redis-lock", "pottery", "pydantic", "pillow")
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
