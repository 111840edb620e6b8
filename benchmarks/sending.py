"""How fast jobs are sent, and how soon an idle worker begins with one."""

import statistics
import time

from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.rig import Rig
from benchmarks.sender import Order
from benchmarks.systems import (
    BARE,
    FLOOR,
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

HUEY = huey("thread", 4)  # whose latency is to be beaten
BY_RQ = "heori threads 1×8, sent by rq"
SAMPLES = 500
EACH, BULK = 10_000, 100_000  # jobs that are sent one by one, and in bulk: a second or more
SETTLE = 1.0  # seconds for polls to slow down as they do when there is nothing to do


def _latency(quick: bool) -> list[Case]:
    systems = [
        heori("threads", 1, 8),
        heori("processes", 2, 1),
        heori("hybrid", 2, 4),
        heori("asyncio", 1, 50),
        HUEY,
        ardiq(1),
        mayu(1),
        taskiq(2),
        RQ_SIMPLE,
        RQ_FORK,
        dramatiq(2, 8),
        celery("prefork", 2),
    ]

    samples = SAMPLES // 10 if quick else SAMPLES
    by_rq = Case(BY_RQ, lambda: pick_up(systems[0], samples, "rq"), systems[0].missing())
    return [
        *(Case.of(system, lambda system: pick_up(system, samples)) for system in systems),
        by_rq,
    ]


def pick_up(system: System, samples: int, app: str | None = None) -> Figures:
    """Send jobs to idle workers, with pauses, and tell how soon each began.

    Args:
        app: by which library, if not the system's own.
    """
    task = system.task("nothing")
    with Rig(system) as rig:
        rig.consume()
        rig.warm_up(task)
        time.sleep(SETTLE)
        sent = rig.send(Order("spaced", task, samples), app).stamps
        rig.until(lambda: rig.begun() >= samples)
        rig.verify(samples)
        begun = {record.number: record.at for record in reversed(rig.records())}
        delays = [(begun[number] - at) / 1e6 for number, at in enumerate(sent)]
    percentiles = statistics.quantiles(delays, n=100, method="inclusive")
    return {"p50": percentiles[49], "p99": percentiles[98], "most": max(delays)}


def _enqueue(quick: bool) -> list[Case]:
    divisor = 50 if quick else 1
    systems = [
        FLOOR,
        BARE,
        heori("threads", 1, 1),
        RQ_SIMPLE,
        ardiq(1),
        mayu(1),
        dramatiq(2, 8),
        huey("process", 2),
        taskiq(2),
        celery("prefork", 2),
    ]

    def measure(system: System) -> Figures:
        each, many = EACH // divisor, BULK // divisor
        task = system.task("nothing")
        with Rig(system) as rig:
            rig.send(Order("each", task, 10))  # connects, and loads what is loaded once
            figures = sent(rig, Order("each", task, each))
            if system in (FLOOR, BARE):
                del figures["each_client"]  # it makes all words of all jobs ready before
            if system.app in ("heori", "ardiq", "rq"):
                many = many // 10 if system.app == "rq" else many
                figures |= sent(rig, Order("bulk", task, many))
            return figures

    return [Case.of(system, measure) for system in systems]


def sent(rig: Rig, order: Order) -> Figures:
    """Jobs a second, and µs of CPU time a job in the client and in the server."""
    before = sum(rig.server.cpu_times()[:2])
    done = rig.send(order)
    server = sum(rig.server.cpu_times()[:2]) - before
    return {
        order.how: order.count / done.seconds,
        f"{order.how}_client": done.cpu / order.count * 1e6,
        f"{order.how}_server": server / order.count * 1e6,
    }


LATENCY = Kind(
    "latency",
    "From the call that sends a job to its first line, ms, with idle workers",
    (Column("p50", "p50", ".2f"), Column("p99", "p99", ".2f"), Column("most", "most", ".2f")),
    _latency,
    seconds=20,
)
ENQUEUE = Kind(
    "enqueue",
    "Sending jobs with one small argument, jobs/s; the floor is a bare EVALSHA of the same "
    "bytes through redis-py, and the bare socket has no client at all",
    (
        Column("each", "one by one"),
        Column("of_floor", "of floor", ".2f"),
        Column("of_bare", "of a bare socket", ".2f"),
        Column("each_client", "client, µs"),
        Column("each_server", "server, µs"),
        Column("bulk", "in bulk"),
        Column("bulk_client", "client, µs", ".1f"),
        Column("bulk_server", "server, µs", ".1f"),
    ),
    _enqueue,
    seconds=6,
)
