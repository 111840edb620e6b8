"""Full queues that are emptied: jobs that do nothing, that wait, and that compute.

All jobs are in Redis before the time begins, but out of sight; they appear at once when every
worker process has run a job. The time ends when the tally holds all of them and, where results
are kept, the library's own records say so, too.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.rig import Rig
from benchmarks.sender import Order
from benchmarks.systems import (
    FLOOR,
    RQ_FORK,
    RQ_POOL,
    RQ_SIMPLE,
    System,
    ardiq,
    celery,
    dramatiq,
    heori,
    huey,
    mayu,
    taskiq,
)
from benchmarks.tasks import work

WAIT = 0.02  # seconds that a job of the io kind waits
AT_ONCE = 50  # of them
COMPUTE = 0.005  # seconds that a job of the cpu kind computes, alone on a core
CEILING = "multiprocessing.Pool(2), no queue"


def drain(
    system: System,
    jobs: int,
    task: str = "nothing",
    rest: tuple[float, ...] = (),
    fields: Mapping[str, str] | None = None,
) -> Figures:
    """Drain one queue; see the columns for what is measured.

    Args:
        fields: that are added to the hash of each job.
    """
    task = system.task(task)
    with Rig(system, environment={"HEORI_ALLOW": "benchmarks"}) as rig:
        rig.hide(Order("bulk", task, jobs, rest=rest))
        if fields:
            rig.add_fields(fields)
        rig.consume()
        rig.warm_up(task, rest)
        base = rig.finished()
        rig.client.config_resetstat()
        reads = rig.client.info("stats")["total_reads_processed"]
        before, started = rig.cpu(), time.perf_counter()
        rig.release()
        rig.until(lambda: rig.done(jobs, base))
        seconds = time.perf_counter() - started
        after = rig.cpu()
        commands = {
            name.removeprefix("cmdstat_"): stat["calls"]
            for name, stat in rig.client.info("commandstats").items()
        }
        reads = rig.client.info("stats")["total_reads_processed"] - reads
        main, others, server = (
            (now - then) / jobs * 1e6 for now, then in zip(after, before, strict=True)
        )
        return {
            "jobs": jobs,
            "rate": jobs / seconds,
            "main_us": main,
            "others_us": others,
            "client_us": main + others,
            "server_us": server,
            "commands": sum(commands.values()) / jobs,
            "scripts": sum(commands.get(name, 0) for name in ("eval", "evalsha")) / jobs,
            "reads": reads / jobs,
            "repeats": rig.verify(jobs),
        }


def _drains(quick: bool) -> list[Case]:
    systems = [
        FLOOR,
        heori("threads", 1, 1),
        heori("threads", 1, 1, batch=8),
        heori("threads", 1, 1, batch=1, jobs=5_000),
        heori("threads", 1, 8),
        heori("processes", 2, 1),
        heori("hybrid", 2, 4),
        heori("asyncio", 1, 50),
        RQ_FORK,
        RQ_SIMPLE,
        RQ_POOL,
        ardiq(1),
        ardiq(2),
        ardiq(2, coroutines=False),
        mayu(1),
        mayu(2),
        mayu(2, results=False),
        dramatiq(2, 8),
        dramatiq(2, 8, results=True),
        huey("process", 2),
        taskiq(2),
        celery("prefork", 2),
        celery("prefork", 2, results=True),
    ]

    def measure(system: System) -> Figures:
        return drain(system, max(20, system.jobs // 50) if quick else system.jobs)

    return [Case.of(system, measure) for system in systems]


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
        Case(f"{AT_ONCE} bare {kind}, no queue", partial(_bare, wait, jobs))
        for kind, wait in (("threads", _wait_in_threads), ("coroutines", _wait_in_coroutines))
    ]
    return [*ceilings, *(Case.of(system, measure) for system in systems)]


def _bare(wait: Callable[[int], None], jobs: int) -> Figures:
    """The same waiting by one process that does nothing else: what no queue can do faster."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(wait, AT_ONCE).result()
        started = time.perf_counter()
        pool.submit(wait, jobs).result()
        rate = jobs / (time.perf_counter() - started)
    return {"rate": rate, "of_ceiling": rate / (AT_ONCE / WAIT) * 100}


def _wait_in_threads(jobs: int) -> None:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(time.sleep, [WAIT] * jobs))


def _wait_in_coroutines(jobs: int) -> None:
    async def wait(numbers: Iterator[int]) -> None:
        for _ in numbers:
            await asyncio.sleep(WAIT)

    async def wait_all() -> None:
        numbers = iter(range(jobs))
        await asyncio.gather(*(wait(numbers) for _ in range(AT_ONCE)))

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
    return [ceiling, *(Case.of(system, measure) for system in systems)]


def calibrate(seconds: float) -> int:
    """How many rounds of `work` take so long; from the fastest of some tries."""
    rounds, best = 10_000, float("inf")
    for _ in range(20):
        started = time.perf_counter()
        work(rounds)
        best = min(best, time.perf_counter() - started)
    return round(rounds * seconds / best)


def _pool(jobs: int, rounds: int) -> Figures:
    """The same work by two bare processes: what no queue can do faster."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(work, [rounds] * 2, chunksize=1)
        started = time.perf_counter()
        pool.map(work, [rounds] * jobs)
        return {"rate": jobs / (time.perf_counter() - started)}


_RATE = Column("rate", "jobs/s")
_REPEATS = Column("repeats", "run twice")

DRAIN = Kind(
    "drain",
    "Jobs that do nothing. CPU time, commands and round trips are per job.",
    (
        Column("jobs", "jobs"),
        _RATE,
        Column("of_rq", "× rq Simple", ".1f"),
        Column("of_floor", "of floor", ".2f"),
        Column("main_us", "main µs"),
        Column("others_us", "workers µs"),
        Column("server_us", "server µs"),
        Column("commands", "commands", ".1f"),
        Column("scripts", "scripts", ".3f"),
        Column("reads", "round trips", ".3f"),
        _REPEATS,
    ),
    _drains,
)
IO = Kind(
    "io",
    f"Jobs that wait for {WAIT * 1000:.0f} ms, {AT_ONCE} at once "
    f"(ceiling {AT_ONCE / WAIT:,.0f}/s; rq runs two)",
    (
        _RATE,
        Column("of_ceiling", "% of ceiling", ".1f"),
        Column("client_us", "CPU µs/job"),
        _REPEATS,
    ),
    _waits,
)
CPU = Kind(
    "cpu",
    f"Jobs that hold the GIL for about {COMPUTE * 1000:.0f} ms, in two processes",
    (_RATE, Column("of_pool", "% of bare pool", ".1f"), _REPEATS),
    _computations,
)
