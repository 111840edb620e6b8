"""What keeping jobs apart brings: such that compute in Python, and such that wait, in one queue.

A fixed pool, and one of auto that may become as large. It alone keeps the jobs apart.
"""

import json
import time
import urllib.request
from dataclasses import replace
from datetime import datetime
from functools import partial
from statistics import quantiles
from typing import Any

from benchmarks.auto import ENVIRONMENT, LEARN, LENGTH, LOOK, SCRAPE, Bench, Part, Work
from benchmarks.bound import calibrate
from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.rig import Rig
from benchmarks.systems import KEYS, QUEUE, System, heori

SIZES = ((1, 8), (2, 8), (2, 16))  # processes, threads of each
MEASURED = 10.0  # seconds
# Jobs whose times are read, the latest; among so few there are of either task.
LEAST_READ, MOST_READ = 100, 3_000
WAITS = 0.05  # seconds that a job of the one task waits
RATE = 300.0  # jobs a second that none exceeds here


def _measure(system: System, *, quick: bool) -> Figures:
    parts = Part("toil", (calibrate(LENGTH), 0.0, 0.0)), Part("wait", (WAITS,))
    learn, seconds = (1.0, 1.0) if quick else (LEARN, MEASURED)
    work = Work("Python, and waiting", parts, RATE, ())
    with Rig(heori("threads", 1, 1), environment=ENVIRONMENT) as rig:
        bench = Bench(rig, work)
        bench.offer(learn + seconds)
        with bench.consuming(system) as url:
            time.sleep(learn)
            rig.until(lambda: rig.client.zcard(KEYS.finished(QUEUE)) >= LEAST_READ, pause=LOOK)
            rate = bench.rate(url, seconds)
            with urllib.request.urlopen(f"{url}/slots", timeout=SCRAPE) as answer:
                kept = bool(json.load(answer).get("auto", {}).get("apart"))
        waited, computed = _times(rig, int(min(MOST_READ, max(LEAST_READ, rate * seconds))))
    cuts = quantiles(waited, n=100)
    return {
        "kept": float(kept),
        "rate": rate,
        "waiting": rate * len(waited) / (len(waited) + len(computed)),
        "waiting_p50": cuts[49] * 1e3,
        "waiting_p99": cuts[98] * 1e3,
        "computing_p50": quantiles(computed, n=100)[49] * 1e3,
    }


def _times(rig: Rig, jobs: int) -> tuple[list[float], list[float]]:
    """Seconds from being claimed to the end, of the latest jobs that waited and that computed."""
    ids: Any = rig.client.zrevrange(KEYS.finished(QUEUE), 0, jobs - 1)
    with rig.client.pipeline(transaction=False) as asked:
        for each in ids:
            asked.hmget(KEYS.job(each.decode()), "description", "started_at", "ended_at")
        told = asked.execute()
    times: tuple[list[float], list[float]] = [], []
    for description, started, ended in told:
        seconds = datetime.fromisoformat(ended.decode()) - datetime.fromisoformat(started.decode())
        times[b"toil" in description].append(seconds.total_seconds())
    return times


def _cases(quick: bool) -> list[Case]:
    cases = []
    for processes, slots in SIZES[:1] if quick else SIZES:
        size = f"{processes}×{slots}"
        fixed = heori("hybrid", processes, slots)
        bounds = "--max-processes", str(processes), "--max-slots", str(slots)
        kept = heori("auto", processes, slots)
        kept = replace(kept, words=(*kept.words, *bounds))
        for name, system in ((f"fixed {size}", fixed), (f"auto of at most {size}", kept)):
            cases.append(Case(name, partial(_measure, system, quick=quick)))
    return cases


KEPT_APART = Kind(
    "auto apart",
    f"Jobs that compute in Python for {LENGTH * 1e3:.0f} ms and jobs that wait for "
    f"{WAITS * 1e3:.0f} ms, half of each, after {LEARN:.0f} s; ms from being claimed to the end",
    (
        Column("kept", "kept apart"),
        Column("rate", "jobs/s", ",.1f"),
        Column("waiting", "of them wait", ",.1f"),
        Column("waiting_p50", "waiting: p50"),
        Column("waiting_p99", "p99"),
        Column("computing_p50", "computing: p50"),
    ),
    _cases,
    turns=1,
    seconds=40.0,
)
