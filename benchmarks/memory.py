"""What processes hold: those of a consumer, and one that sends."""

from functools import partial
from pathlib import Path

import psutil

from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.rig import Rig, family
from benchmarks.sender import Order
from benchmarks.systems import (
    RQ_FORK,
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

THREADS = 51  # of the consumer that tells what a thread takes
PROCESSES = 3  # of the one that tells what a process takes
SENDS = ", a process that sends"  # after the name of a library
PROCESS, THREAD = "heori, each further process", "heori, each further thread"
PRELOADED = "heori, each further process with --preload"
BUSY = 0.05  # seconds that a job keeps its slot, so that all slots have run one
# Sends one job as an application would, says which process it is, and stays.
PRODUCER = """
import importlib, os, sys
app = importlib.import_module(f"benchmarks.apps.{sys.argv[1]}")
app.send_each(sys.argv[2], [(0,)])
print(os.getpid(), flush=True)
sys.stdin.read()
"""


def _memory(quick: bool) -> list[Case]:
    def measure(system: System) -> Figures:
        main, *others = of_consumer(system)
        return {"total": main + sum(others), "main": main, "others": sum(others)}

    def each_process(*, preload: bool = False) -> Figures:
        one, several = (
            sum(of_consumer(heori("processes", processes, 1, preload=preload)))
            for processes in (1, PROCESSES)
        )
        return {"each": (several - one) / (PROCESSES - 1)}

    def each_thread() -> Figures:
        more, one = (sum(of_consumer(heori("threads", 1, threads))) for threads in (THREADS, 1))
        return {"each": (more - one) / (THREADS - 1)}

    def producer(system: System) -> Figures:
        return {"total": of_producer(system)}

    ours = heori("threads", 1, 1)
    peers = [RQ_SIMPLE, RQ_FORK, huey("thread", 1), huey("process", 1), dramatiq(1, 1), taskiq(1)]
    peers += [celery("prefork", 1), ardiq(1), ardiq(2), mayu(1), mayu(2)]
    producers = [ours, RQ_SIMPLE, huey("thread", 1), dramatiq(1, 1), taskiq(1)]
    producers += [celery("prefork", 1), ardiq(1), mayu(1)]
    return [
        *(Case.of(system, measure) for system in (ours, heori("asyncio", 1, 50))),
        Case(PROCESS, each_process),
        Case(PRELOADED, partial(each_process, preload=True)),
        Case(THREAD, each_thread),
        *(Case.of(system, measure) for system in (peers[:4] if quick else peers)),
        *(
            Case(producer_case(system), partial(producer, system), system.missing())
            for system in producers
        ),
    ]


def producer_case(system: System) -> str:
    """The name of a case."""
    return system.app + SENDS


def of_consumer(system: System) -> list[float]:
    """What each process of a consumer takes after some jobs, in MB; the first is its main one."""
    with Rig(system) as rig:
        consumer = rig.consume()
        rig.warm_up()
        jobs = 2 * THREADS
        rig.send(Order("bulk", system.task("wait"), jobs, rest=(BUSY,)))
        rig.until(lambda: rig.begun() >= jobs)
        return pss(family(consumer))


def of_producer(system: System) -> float:
    """What a process takes that has sent one job, in MB."""
    with Rig(system) as rig:
        pid = rig.start_beside("-c", PRODUCER, system.app, system.task("nothing"))
        return pss([psutil.Process(int(pid))])[0]


def pss(processes: list[psutil.Process]) -> list[float]:
    """What each takes, in MB; one that has ended meanwhile is left out.

    Proportional set size: a page that n processes share counts 1/n for each, so that the sum is
    what they take from the machine (Linux, ``/proc/<pid>/smaps_rollup``).
    """
    megabytes = []
    for process in processes:
        try:
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
        except (FileNotFoundError, ProcessLookupError):
            continue  # a fork of one job
        # "Pss:" and a number of kB, which the kernel means as 1,024 bytes
        [pages] = [line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:")]
        megabytes.append(int(pages) * 1024 / 1e6)
    return megabytes


MEMORY = Kind(
    "memory",
    "Memory of a consumer with all its processes, and of a process that has sent one job, MB of "
    "PSS",
    (
        Column("total", "total", ".1f"),
        Column("main", "main process", ".1f"),
        Column("others", "all others", ".1f"),
        Column("each", "each", ".2f"),
    ),
    _memory,
    seconds=4,
)
