"""What it costs that jobs wait for each other: a fan-in of very many, and chains of two lengths."""

import time
from functools import partial

from benchmarks.apps.heori_tasks import add_up, one_more
from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.rig import Refused, Rig
from benchmarks.systems import heori
from heori import Producer, chain, group

SYSTEM = heori("threads", 1, 1)
PATIENCE_S = 600.0


def _cases(quick: bool) -> list[Case]:
    jobs, short, long = (300, 20, 100) if quick else (100_000, 1000, 10_000)
    measured = {
        f"{jobs:,} jobs": partial(alone, jobs),
        f"a fan-in of {jobs:,}": partial(fan_in, jobs),
        f"a chain of {short:,}": partial(line, short),
        f"a chain of {long:,}": partial(line, long),
    }
    return [Case(name, measure, SYSTEM.missing()) for name, measure in measured.items()]


def alone(jobs: int) -> Figures:
    """As many jobs that know nothing of each other."""
    with Rig(SYSTEM) as rig, Producer(rig.url) as producer:
        rig.consume()
        rig.warm_up()
        began = time.perf_counter()
        handles = producer.submit_many(one_more, range(jobs))
        sent = time.perf_counter()
        results = group(handles).results(PATIENCE_S)
        return _figures(began, sent, jobs, results == list(range(1, jobs + 1)))


def fan_in(jobs: int) -> Figures:
    """The same, and one more that gets what they have returned."""
    with Rig(SYSTEM) as rig, Producer(rig.url) as producer:
        rig.consume()
        rig.warm_up()
        began = time.perf_counter()
        flow = group([one_more.s(number) for number in range(jobs)], then=add_up.s())
        handle = producer.submit_flow(flow)
        sent = time.perf_counter()
        result = handle.result(PATIENCE_S)
        return _figures(began, sent, jobs + 1, result == jobs * (jobs + 1) // 2)


def line(steps: int) -> Figures:
    """Each step gets what the one before has returned."""
    with Rig(SYSTEM) as rig, Producer(rig.url) as producer:
        rig.consume()
        rig.warm_up()
        began = time.perf_counter()
        handle = producer.submit_flow(chain(one_more.s(0), *[one_more.s()] * (steps - 1)))
        sent = time.perf_counter()
        return _figures(began, sent, steps, handle.result(PATIENCE_S) == steps)


def _figures(began: float, sent: float, jobs: int, is_right: bool) -> Figures:
    if not is_right:
        raise Refused("the results are not what they must be")
    now = time.perf_counter()
    return {
        "send_s": sent - began,
        "seconds": now - began,
        "job_ms": (now - began) / jobs * 1000,
        "run_ms": (now - sent) / jobs * 1000,
    }


FLOWS = Kind(
    "flows",
    f"Jobs that wait for each other, with {SYSTEM.name}: sent and run to the end",
    (
        Column("send_s", "sent after s", ".1f"),
        Column("seconds", "all after s", ".1f"),
        Column("job_ms", "ms/job", ".3f"),
        Column("run_ms", "ms/job once sent", ".3f"),
    ),
    _cases,
    seconds=60,
    turns=1,
)
