"""What is held: memory of processes, bytes in Redis, and the cost of a claim from a long queue."""

import statistics
import time
import uuid
from pathlib import Path

import redis

from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.rig import Rig, family, stop
from benchmarks.sender import Order
from benchmarks.systems import (
    KEYS,
    QUEUE,
    RQ_FORK,
    RQ_SIMPLE,
    System,
    celery,
    dramatiq,
    heori,
    huey,
    taskiq,
)
from common.broker import Broker
from common.protocol.commands import Commands, GivenBack

THREADS = 51  # of the consumer that tells what a thread takes
PROCESSES = 3  # of the one that tells what a process takes
EACH_PROCESS, EACH_THREAD = "heori, each further process", "heori, each further thread"
BUSY = 0.05  # seconds that a job keeps its slot, so that all slots have run one


def _memory(quick: bool) -> list[Case]:
    def measure(system: System) -> Figures:
        return {"total": pss(system)}

    def each_process() -> Figures:
        more = pss(heori("processes", PROCESSES, 1)) - pss(heori("processes", 1, 1))
        return {"each": more / (PROCESSES - 1)}

    def each_thread() -> Figures:
        more = pss(heori("threads", 1, THREADS)) - pss(heori("threads", 1, 1))
        return {"each": more / (THREADS - 1)}

    peers = [RQ_SIMPLE, RQ_FORK, huey("thread", 1), huey("process", 1), dramatiq(1, 1)]
    if not quick:
        peers += [dramatiq(2, 8), taskiq(1), celery("prefork", 1)]
    return [
        Case.of(heori("threads", 1, 1), measure),
        Case(EACH_PROCESS, each_process),
        Case(EACH_THREAD, each_thread),
        *(Case.of(system, measure) for system in peers),
    ]


def pss(system: System) -> float:
    """What all processes of a consumer take after some jobs, in MB.

    Proportional set size: a page that n processes share counts 1/n for each, so that the sum is
    what the consumer takes from the machine (Linux, ``/proc/<pid>/smaps_rollup``).
    """
    with Rig(system) as rig:
        consumer = rig.consume()
        rig.warm_up()
        jobs = 2 * THREADS
        rig.send(Order("bulk", system.task("wait"), jobs, rest=(BUSY,)))
        rig.until(lambda: rig.begun() >= jobs)
        kilobytes = 0
        for process in family(consumer):
            try:
                rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
            except (FileNotFoundError, ProcessLookupError):
                continue  # a fork of one job
            kilobytes += sum(
                int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")
            )
        return kilobytes / 1000


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

    def case(count: int) -> Case:
        return Case(f"{count} jobs a claim", lambda: claim(count, short, long, rounds))

    return [case(1), case(64)]


def claim(count: int, short: int, long: int, rounds: int) -> Figures:
    """Claim from a short and a long queue in turn, giving all back each time."""
    system = heori("threads", 1, 1)
    commands = Commands()
    with Rig(system) as few, Rig(system) as many:
        times: dict[Rig, list[float]] = {few: [], many: []}
        few.send(Order("bulk", "nothing", short))
        for first in range(0, long, 10_000):
            many.send(Order("bulk", "nothing", min(10_000, long - first), first))
        with Broker(few.url) as one, Broker(many.url) as other:
            for _ in range(rounds):
                for rig, broker in ((few, one), (many, other)):
                    command = commands.claim(
                        [QUEUE],
                        count,
                        lease=30,
                        consumer="bench",
                        token=uuid.uuid4().hex,
                        max_payload=10**6,
                    )
                    started = time.perf_counter()
                    claims = broker.execute(command)
                    times[rig].append((time.perf_counter() - started) * 1e6)
                    assert claims is not None
                    assert len(claims) == count
                    back = [GivenBack(each, counted=False) for each in claims]
                    broker.execute(commands.release(back, consumer="bench", max_deliveries=3))
    few_us, many_us = statistics.median(times[few]), statistics.median(times[many])
    return {"few": few_us, "many": many_us, "ratio": many_us / few_us}


MEMORY = Kind(
    "memory",
    "Memory of a consumer with all its processes, MB of PSS",
    (Column("total", "total", ".1f"), Column("each", "each", ".2f")),
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
    "One claim from a queue of 1,000 and of 1,000,000 jobs, µs at the client, in turn",
    (Column("few", "1,000"), Column("many", "1,000,000"), Column("ratio", "ratio", ".3f")),
    _claim,
    turns=1,  # its own turns are single calls; to fill the long queue takes a minute
)
