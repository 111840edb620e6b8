"""What is held: memory of processes, bytes in Redis, and the cost of a claim from a long queue."""

import itertools
import statistics
import time
import uuid
from collections import defaultdict
from functools import partial
from pathlib import Path

import redis

from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.rig import Refused, Rig, family, stop
from benchmarks.sender import Order
from benchmarks.systems import (
    KEYS,
    QUEUE,
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
from heori_common.protocol.commands import Commands
from heori_common.protocol.job import RETURNED, Outcome
from heori_common.redis.client import RedisClient

THREADS = 51  # of the consumer that tells what a thread takes
PROCESSES = 3  # of the one that tells what a process takes
PROCESS, THREAD = "heori, each further process", "heori, each further thread"
PRELOADED = "heori, each further process with --preload"
SENT = heori("threads", 1, 1)  # whose jobs are claimed
BATCHES = (1, 64)  # jobs a claim
COMMANDS = Commands()
BUSY = 0.05  # seconds that a job keeps its slot, so that all slots have run one


def _memory(quick: bool) -> list[Case]:
    def measure(system: System) -> Figures:
        main, *others = pss(system)
        return {"total": main + sum(others), "main": main, "others": sum(others)}

    def each_process(*, preload: bool = False) -> Figures:
        one, several = (
            sum(pss(heori("processes", processes, 1, preload=preload)))
            for processes in (1, PROCESSES)
        )
        return {"each": (several - one) / (PROCESSES - 1)}

    def each_thread() -> Figures:
        more = sum(pss(heori("threads", 1, THREADS))) - sum(pss(heori("threads", 1, 1)))
        return {"each": more / (THREADS - 1)}

    peers = [RQ_SIMPLE, RQ_FORK, huey("thread", 1), huey("process", 1), dramatiq(1, 1)]
    if not quick:
        peers += [ardiq(1), ardiq(2), mayu(1), mayu(2)]
        peers += [dramatiq(2, 8), taskiq(1), celery("prefork", 1)]
    return [
        Case.of(heori("threads", 1, 1), measure),
        Case(PROCESS, each_process),
        Case(PRELOADED, partial(each_process, preload=True)),
        Case(THREAD, each_thread),
        *(Case.of(system, measure) for system in peers),
    ]


def pss(system: System) -> list[float]:
    """What each process of a consumer takes after some jobs, in MB; the first is its main one.

    Proportional set size: a page that n processes share counts 1/n for each, so that the sum is
    what the consumer takes from the machine (Linux, ``/proc/<pid>/smaps_rollup``).
    """
    with Rig(system) as rig:
        consumer = rig.consume()
        rig.warm_up()
        jobs = 2 * THREADS
        rig.send(Order("bulk", system.task("wait"), jobs, rest=(BUSY,)))
        rig.until(lambda: rig.begun() >= jobs)
        megabytes = []
        for process in family(consumer):
            try:
                rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
            except (FileNotFoundError, ProcessLookupError):
                continue  # a fork of one job
            # "Pss:" and a number of kB, which the kernel means as 1,024 bytes
            [pages] = [line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:")]
            megabytes.append(int(pages) * 1024 / 1e6)
        return megabytes


def _bytes(quick: bool) -> list[Case]:
    jobs = 100 if quick else 1_000

    def case(system: System, node: int) -> Case:
        def measure() -> Figures:
            return finished_bytes(system, jobs, node)

        return Case(bytes_case(system, node), measure, system.missing())

    ours = heori("threads", 1, 1)
    return [case(system, node) for node in (256, 4096) for system in (ours, RQ_SIMPLE)]


def bytes_case(system: System, node: int) -> str:
    """The name of a case."""
    return f"{system.name}, stream-node-max-bytes {node}"


def finished_bytes(system: System, jobs: int, node: int) -> Figures:
    """What Redis holds for each job that has ended, its result kept."""
    with Rig(system, config={"stream-node-max-bytes": node}) as rig:
        rig.consume()
        rig.warm_up()
        stop(rig.consumers[-1])
        before = rig.client.info("memory")["used_memory"]
        rig.consume()
        base = rig.finished()
        rig.send(Order("bulk", "nothing", jobs))
        rig.until(lambda: rig.done(jobs, base))
        stop(rig.consumers[-1])
        used = rig.client.info("memory")["used_memory"] - before
        rig.verify(jobs)
        [last] = rig.client.zrange(KEYS.finished(QUEUE), -1, -1)
        assert isinstance(last, bytes)
        sample = last.decode()
        return {
            "used": used / jobs,
            "job": _usage(rig.client, KEYS.job(sample)),
            "result": _usage(rig.client, KEYS.results(sample)),
        }


def _usage(client: "redis.Redis", key: str) -> float:
    return float(client.memory_usage(key, samples=0) or 0)


def _claim(quick: bool) -> list[Case]:
    short, long = (1_000, 20_000) if quick else (1_000, 1_000_000)
    rounds = 20 if quick else 500
    return [Case(f"heori, {short:,} and {long:,} jobs", lambda: claims(short, long, rounds))]


def claims(short: int, long: int, rounds: int) -> Figures:
    """Claim from a short and a long queue in turn, giving all back each time."""
    times: dict[str, list[float]] = defaultdict(list)
    with Rig(SENT) as few, Rig(SENT) as many:
        few.send(Order("bulk", "nothing", short))
        for first in range(0, long, 10_000):
            many.send(Order("bulk", "nothing", min(10_000, long - first), first))
        with RedisClient(few.url) as at_short, RedisClient(many.url) as at_long:
            for _, count in itertools.product(range(rounds), BATCHES):
                times[f"short_{count}"].append(_claim_once(at_short, count))
                times[f"long_{count}"].append(_claim_once(at_long, count))
    figures = {name: statistics.median(taken) for name, taken in times.items()}
    for count in BATCHES:
        figures[f"ratio_{count}"] = figures[f"long_{count}"] / figures[f"short_{count}"]
    return {**figures, "ratio": max(figures[f"ratio_{count}"] for count in BATCHES)}


def _claim_once(redis_client: RedisClient, count: int) -> float:
    """Claim so many jobs and give them back; returns what the claim took, in µs."""
    command = COMMANDS.claim(
        [QUEUE], count, lease=30, consumer="bench", token=uuid.uuid4().hex, max_payload=10**6
    )
    started = time.perf_counter()
    claims = redis_client.execute(command).claims
    taken = (time.perf_counter() - started) * 1e6
    if len(claims) != count:
        raise Refused(f"a claim did not get its {count} jobs")
    back = [(each, Outcome(RETURNED)) for each in claims]
    redis_client.execute(COMMANDS.give_back(back, consumer="bench", max_deliveries=3))
    return taken


MEMORY = Kind(
    "memory",
    "Memory of a consumer with all its processes, MB of PSS",
    (
        Column("total", "total", ".1f"),
        Column("main", "main process", ".1f"),
        Column("others", "all others", ".1f"),
        Column("each", "each", ".2f"),
    ),
    _memory,
)
BYTES = Kind(
    "bytes",
    "Bytes in Redis per finished job: growth of used_memory, and MEMORY USAGE of one job's keys",
    (Column("used", "all"), Column("job", "job hash"), Column("result", "result stream")),
    _bytes,
)
CLAIM = Kind(
    "claim",
    "One claim of 1 or 64 jobs from a short and a long queue, in turn: median µs at the client",
    tuple(
        Column(f"{figure}_{count}", f"{figure}, {count}", form)
        for count in BATCHES
        for figure, form in (("short", ",.0f"), ("long", ",.0f"), ("ratio", ".3f"))
    ),
    _claim,
    turns=1,  # its own turns are single calls; to fill the long queue takes minutes
)
