"""Full queues of jobs that do nothing, and are emptied.

All jobs are in Redis before the time begins, but out of sight; they appear at once when every
worker process has run a job. The time ends when the tally holds all of them and, where results
are kept, the library's own records say so, too.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.memory import pss
from benchmarks.rig import Rig, family
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

# Each that is written is on the disk within a second.
AOF: Mapping[str, Any] = {"appendonly": "yes", "appendfsync": "everysec"}
NETWORK = 0.0005  # seconds in each direction
LONG = 60_000  # jobs, for what drains as many as others have in a second
OURS = heori("threads", 1, 1, jobs=LONG)
ON_DISK, FAR = ", AOF everysec", ", 1 ms away"  # after the name of a system


def drain(
    system: System,
    jobs: int,
    task: str = "nothing",
    rest: tuple[float, ...] = (),
    *,
    fields: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    network: float = 0.0,
    environment: Mapping[str, str] | None = None,
    weighs: bool = False,
) -> Figures:
    """Drain one queue; see the columns for what is measured.

    Args:
        environment: of the workers.
        weighs: whether to look, when half of the jobs have begun, how much memory the consumer has.
        fields: that are added to the hash of each job.
        config, network: see `Rig`.
    """
    task = system.task(task)
    environment = {"HEORI_ALLOW": "benchmarks", **(environment or {})}
    with Rig(system, config=config, environment=environment, network=network) as rig:
        rig.hide(Order("bulk", task, jobs, rest=rest))
        if fields:
            rig.add_fields(fields)
        rig.consume()
        rig.warm_up(task, rest)
        base = rig.finished()
        rig.client.config_resetstat()
        reads = rig.client.info("stats")["total_reads_processed"]
        woken = rig.woken()
        before, started = rig.cpu(), time.perf_counter()
        rig.release()
        memory: Figures = {}
        if weighs:
            rig.until(lambda: rig.begun() * 2 >= jobs)
            main_process, *workers = pss(family(rig.consumers[-1]))
            memory = {"memory": main_process + sum(workers), "workers_memory": sum(workers)}
        rig.until(lambda: rig.done(jobs, base))
        seconds = time.perf_counter() - started
        after, woken = rig.cpu(), rig.woken() - woken
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
            "woken": woken / jobs,
            "others_us": others,
            "client_us": main + others,
            "server_us": server,
            "commands": sum(commands.values()) / jobs,
            "scripts": sum(commands.get(name, 0) for name in ("eval", "evalsha")) / jobs,
            "reads": reads / jobs,
            "repeats": rig.verify(jobs),
            "alone": 1e6 / server if server else 0.0,
            **memory,
        }


def _drains(quick: bool) -> list[Case]:
    floor = replace(FLOOR, jobs=LONG)
    systems = [
        floor,
        OURS,
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

    def measure(
        system: System, *, config: Mapping[str, Any] | None = None, network: float = 0.0
    ) -> Figures:
        jobs = min(400, max(20, system.jobs // 50)) if quick else system.jobs
        return drain(system, jobs, config=config, network=network)

    aof = [(system, partial(measure, system, config=AOF)) for system in (floor, OURS)]
    far = [
        (system, partial(measure, replace(system, jobs=jobs), network=NETWORK))
        for system, jobs in ((OURS, OURS.jobs), (ardiq(2), 5_000), (mayu(2), 2_500))
    ]
    return [
        *(Case.of(system, measure) for system in systems),
        *(Case(system.name + ON_DISK, take, system.missing()) for system, take in aof),
        *(Case(system.name + FAR, take, system.missing()) for system, take in far),
    ]


RATE = Column("rate", "jobs/s")
REPEATS = Column("repeats", "run twice")

DRAIN = Kind(
    "drain",
    "Jobs that do nothing. CPU time, commands and round trips are per job. The server alone, on a "
    f"core of its own, allows so many jobs/s. What is{FAR} is so by a relay on this machine "
    "(benchmarks/relay.py).",
    (
        Column("jobs", "jobs"),
        RATE,
        Column("of_rq", "× rq Simple", ".1f"),
        Column("of_floor", "of floor", ".2f"),
        Column("main_us", "main µs"),
        Column("others_us", "workers µs"),
        Column("server_us", "server µs"),
        Column("alone", "it allows"),
        Column("commands", "commands", ".1f"),
        Column("scripts", "scripts", ".3f"),
        Column("reads", "round trips", ".3f"),
        REPEATS,
    ),
    _drains,
    seconds=9,
)
