"""Full queues of jobs that wait, and of jobs that compute, beside the same without a queue."""

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

from benchmarks.drain import RATE, REPEATS, drain
from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.systems import (
    RQ_POOL,
    System,
    ardiq,
    celery,
    dramatiq,
    heori,
    huey,
    mayu,
    missing_package,
    taskiq,
)
from benchmarks.tasks import sort_numbers, work

WAIT = 0.02  # seconds that a job of the io kind waits
AT_ONCE = 50  # of them
THREADS, COROUTINES = (f"{AT_ONCE} bare {kind}, no queue" for kind in ("threads", "coroutines"))
LONG = 1.0  # seconds that a job waits where many do
MANY = 5_000  # of them at once
ROUNDS = 6  # as many jobs one after the other as there are at once
MANY_COROUTINES = "bare coroutines, no queue"
COMPUTE = 0.005  # seconds that a job of the cpu kind computes, alone on a core
CEILING = "multiprocessing.Pool(2), no queue"


def _waits(quick: bool) -> list[Case]:
    jobs = 100 if quick else 15_000
    systems = [
        heori("threads", 1, AT_ONCE),
        heori("hybrid", 2, AT_ONCE // 2),
        heori("asyncio", 1, AT_ONCE),
        RQ_POOL,
        ardiq(2, at_once=AT_ONCE // 2),
        mayu(2, AT_ONCE // 2),
        dramatiq(2, AT_ONCE // 2),
        huey("thread", AT_ONCE),
        taskiq(2, at_once=AT_ONCE // 2),
        celery("threads", AT_ONCE),
    ]

    def measure(system: System) -> Figures:
        figures = drain(system, min(jobs, system.jobs), "wait", (WAIT,))
        return {**figures, "of_ceiling": figures["rate"] / (AT_ONCE / WAIT) * 100}

    ceilings = [
        Case(bare, partial(_bare, wait, jobs, AT_ONCE, WAIT))
        for bare, wait in ((THREADS, _wait_in_threads), (COROUTINES, _wait_in_coroutines))
    ]
    return [*ceilings, *(Case.of(system, measure) for system in systems)]


def _many_waits(quick: bool) -> list[Case]:
    at_once, seconds = (100, 0.2) if quick else (MANY, LONG)
    jobs = ROUNDS * at_once

    def measure(system: System) -> Figures:
        figures = drain(system, jobs, "wait", (seconds,), weighs=True)
        return {**figures, "of_ceiling": figures["rate"] / (at_once / seconds) * 100}

    systems = [
        heori("asyncio", 1, at_once),
        ardiq(1, at_once=at_once),
        taskiq(1, at_once=at_once),
    ]
    bare = Case(MANY_COROUTINES, partial(_bare, _wait_in_coroutines, jobs, at_once, seconds))
    return [bare, *(Case.of(system, measure) for system in systems)]


def _bare(
    wait: Callable[[int, int, float], None], jobs: int, at_once: int, seconds: float
) -> Figures:
    """The same waiting by one process that does nothing else: what no queue can do faster."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(wait, at_once, at_once, 0.0).result()
        started = time.perf_counter()
        pool.submit(wait, jobs, at_once, seconds).result()
        rate = jobs / (time.perf_counter() - started)
    return {"rate": rate, "of_ceiling": rate / (at_once / seconds) * 100}


def _wait_in_threads(jobs: int, at_once: int, seconds: float) -> None:
    with ThreadPoolExecutor(at_once) as threads:
        list(threads.map(time.sleep, [seconds] * jobs))


def _wait_in_coroutines(jobs: int, at_once: int, seconds: float) -> None:
    async def wait(numbers: Iterator[int]) -> None:
        for _ in numbers:
            await asyncio.sleep(seconds)

    async def wait_all() -> None:
        numbers = iter(range(jobs))
        await asyncio.gather(*(wait(numbers) for _ in range(at_once)))

    asyncio.run(wait_all())


def _computations(quick: bool) -> list[Case]:
    jobs = 40 if quick else 2_000
    rounds = calibrate(COMPUTE)
    systems = [
        heori("processes", 2, 1),
        heori("hybrid", 2, 2),
        RQ_POOL,
        ardiq(2, coroutines=False),
        mayu(2),
        dramatiq(2, 8),
        huey("process", 2),
        taskiq(2),
        celery("prefork", 2),
        celery("prefork", 2, results=True),
    ]

    def measure(system: System) -> Figures:
        return drain(system, jobs, "compute", (rounds,))

    ceiling = Case(CEILING, partial(_pool, jobs, rounds))
    ours = systems[0]
    waiting = Case(f"waiting as long: {ours.name}", partial(drain, ours, jobs, "wait", (COMPUTE,)))
    return [ceiling, *(Case.of(system, measure) for system in systems), waiting]


def calibrate(seconds: float) -> int:
    """How many rounds of `work` take so long; from the fastest of some tries."""
    rounds, best = 10_000, float("inf")
    for _ in range(20):
        started = time.perf_counter()
        work(rounds)
        best = min(best, time.perf_counter() - started)
    return round(rounds * seconds / best)


def sortable(seconds: float) -> int:
    """How many numbers NumPy makes and sorts in so long, from the fastest of some tries.

    By processor and version of NumPy they differ several times. 0 where there is none.
    """
    if missing_package("numpy"):
        return 0
    numbers, best = 300_000, float("inf")
    for _ in range(5):
        started = time.perf_counter()
        sort_numbers(0, numbers)
        best = min(best, time.perf_counter() - started)
    return round(numbers * seconds / best)


def _pool(jobs: int, rounds: int) -> Figures:
    """The same work by two bare processes: what no queue can do faster."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(work, [rounds] * 2, chunksize=1)
        started = time.perf_counter()
        pool.map(work, [rounds] * jobs)
        return {"rate": jobs / (time.perf_counter() - started)}


IO = Kind(
    "io",
    f"Jobs that wait for {WAIT * 1000:.0f} ms, {AT_ONCE} at once "
    f"(ceiling {AT_ONCE / WAIT:,.0f}/s; rq runs two)",
    (
        RATE,
        Column("of_ceiling", "% of ceiling", ".1f"),
        Column("of_bare", "of bare ones", ".3f"),
        Column("client_us", "CPU µs/job"),
        REPEATS,
    ),
    _waits,
    seconds=9,
)
MANY_IO = Kind(
    "io of thousands",
    f"Jobs that wait for {LONG:.0f} s, {MANY:,} at once in one process "
    f"(ceiling {MANY / LONG:,.0f}/s), and MB of PSS then",
    (
        RATE,
        Column("of_ceiling", "% of ceiling", ".1f"),
        Column("of_bare", "of bare", ".3f"),
        Column("client_us", "CPU µs/job"),
        Column("memory", "MB", ".1f"),
        Column("workers_memory", "of the worker", ".1f"),
        REPEATS,
    ),
    _many_waits,
    seconds=12,
)
CPU = Kind(
    "cpu",
    f"Jobs that hold the GIL for about {COMPUTE * 1000:.0f} ms, in two processes; what each takes "
    "the main process, and how often that wakes for it; and jobs that leave the cores to others",
    (
        RATE,
        Column("of_pool", "% of bare pool", ".1f"),
        Column("main_us", "main µs"),
        Column("woken", "woken", ".2f"),
        Column("server_us", "server µs"),
        Column("scripts", "scripts", ".3f"),
        Column("commands", "commands", ".1f"),
        REPEATS,
    ),
    _computations,
    seconds=9,
)
