"""Whether the loss to the GIL that is shown is the loss that there is.

The truth takes two runs of the same jobs: in threads of one process, and in as many processes.
What the threads fall short of is what the GIL costs. Beside it stands what a consumer of threads
has said about itself meanwhile, in one run and without a comparison.
"""

import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from functools import partial

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.drain import calibrate
from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.rig import Rig
from benchmarks.sender import Order
from benchmarks.systems import System, heori
from benchmarks.tasks import hash_blocks
from common import metrics as m

LENGTH = 0.02  # seconds that a job takes, alone on a core
SETTLE = 1.5  # seconds that a load runs before anything is counted
BURNERS = 2
BURN = "while True: pass"
# For each workload: how much of a job is computed in Python, in C without the GIL, and waited for.
WORKLOADS = {
    "pure Python": (1.0, 0.0, 0.0),
    "hashing": (0.0, 1.0, 0.0),
    "waiting": (0.0, 0.0, 1.0),
    "half Python, half hashing": (0.5, 0.5, 0.0),
    "half Python, half waiting": (0.5, 0.0, 0.5),
    "a fifth Python, rest waiting": (0.2, 0.0, 0.8),
}
THREADS = (2, 4, 8)
Values = dict[tuple[str, str], float]  # by the metric's name and its state, if it has one


def _cases(quick: bool) -> list[Case]:
    seconds = 0.5 if quick else 5.0
    rounds = calibrate(LENGTH)
    blocks = max(1, round(LENGTH / _block_seconds()))
    cases = []
    for name, shares in WORKLOADS.items():
        rest = (rounds * shares[0], blocks * shares[1], LENGTH * shares[2])
        cases += [
            Case(f"{name}, {threads} threads", partial(_compare, threads, rest, seconds))
            for threads in THREADS
        ]
    python = (float(rounds), 0.0, 0.0)
    for threads in THREADS[:2]:
        cases.append(
            Case(
                f"beside {BURNERS} burners: pure Python, {threads} threads",
                partial(_beside_burners, threads, python, seconds),
            )
        )
    return cases


def _compare(threads: int, rest: tuple[float, ...], seconds: float) -> Figures:
    said = _watch(heori("threads", 1, threads), rest, seconds)
    alone = _watch(heori("processes", threads, 1), rest, seconds)
    truth = max(0.0, 1.0 - said["rate"] / alone["rate"])
    return {**said, "processes": alone["rate"], "truth": truth, "error": abs(said["loss"] - truth)}


def _beside_burners(threads: int, rest: tuple[float, ...], seconds: float) -> Figures:
    """What the R figure is for: here the loss cannot be trusted, and it says so."""
    with _burning():
        return {**_watch(heori("threads", 1, threads), rest, seconds), "burners": BURNERS}


def _watch(system: System, rest: tuple[float, ...], seconds: float) -> Figures:
    """Keep all slots busy and read the consumer's metrics at both ends."""
    jobs = int((seconds + SETTLE + 3.0) * 8 / LENGTH)
    with Rig(system) as rig:
        rig.hide(Order("bulk", "toil", jobs, rest=rest))
        rig.consume()
        rig.warm_up()
        url = _url(rig)
        rig.release()
        time.sleep(SETTLE)
        started, before = time.monotonic(), _scrape(url)
        time.sleep(seconds)
        took, after = time.monotonic() - started, _scrape(url)
    grown = {key: value - before[key] for key, value in after.items()}
    cores = after[m.USABLE_CORES.name, ""]
    states = {state: grown[name, state] for name, state in grown if name == m.THREAD_STATE.name}
    busy = sum(states.values()) or 1.0
    parallelism = grown[m.WORKER_CPU.name, ""] / took
    waits = states.get("gil_wait", 0.0) / busy
    return {
        "rate": grown[m.JOBS.name, ""] / took,
        "waits": waits,
        "parallelism": parallelism,
        "loss": min(waits, max(0.0, 1.0 - parallelism / cores)),
        "starved": grown[m.RUNQUEUE_WAIT.name, ""] / busy,
        "cost": grown[m.SAMPLER_CPU.name, ""] / took * 100,
    }


def _url(rig: Rig) -> str:
    for line in rig.said().splitlines():
        if '"consuming"' in line:
            return str(json.loads(line)["metrics"])
    raise rig.refusal("it does not say where its metrics are")


def _scrape(url: str) -> Values:
    """The sums over everything but states."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    values: Values = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            values[sample.name, sample.labels.get("state", "")] += sample.value
    return values


@contextlib.contextmanager
def _burning() -> Iterator[None]:
    burners = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(BURNERS)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def _block_seconds() -> float:
    """How long a block takes to be hashed."""
    started = time.perf_counter()
    hash_blocks(50)
    return (time.perf_counter() - started) / 50


GIL = Kind(
    "gil",
    f"Loss to the GIL, of jobs of {LENGTH * 1000:.0f} ms: as a consumer of threads tells it, and "
    "as as many processes prove it",
    (
        Column("rate", "threads, jobs/s"),
        Column("processes", "processes, jobs/s"),
        Column("truth", "true loss", ".3f"),
        Column("loss", "gil_loss", ".3f"),
        Column("error", "error", ".3f"),
        Column("waits", "W", ".3f"),
        Column("parallelism", "EP", ".2f"),
        Column("starved", "R", ".3f"),
        Column("cost", "sampler, % of a core", ".2f"),
    ),
    _cases,
)
