"""Whether the loss to the GIL that is shown is the loss that there is.

The truth takes a comparison: the same jobs in threads of one process, and in as many processes.
What the threads fall short of is what the GIL costs. Beside it stands what the consumer of threads
has said about itself, without a comparison. Both consumers are there all the time and take turns
of a few seconds, one being stopped (SIGSTOP) while the other works, so that whatever the machine
does meanwhile hits both.
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

import psutil
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.bound import calibrate
from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.rig import Rig, family
from benchmarks.sender import Order
from benchmarks.systems import System, heori
from benchmarks.tasks import hash_blocks
from heori_common import metrics as m
from heori_common.platform import usable_cores

LENGTH = 0.02  # seconds that a job takes, alone on a core
TURNS = 3
TURN = 2.5  # seconds, of each side
SETTLE = 0.5  # seconds that a side works before its turn is measured
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
BESIDE = f"beside {BURNERS} burners: "


def _cases(quick: bool) -> list[Case]:
    turns = 1 if quick else TURNS
    rounds = calibrate(LENGTH)
    blocks = max(1, round(LENGTH / block_seconds()))
    cases = []
    for name, shares in WORKLOADS.items():
        rest = (rounds * shares[0], blocks * shares[1], LENGTH * shares[2])
        cases += [
            Case(f"{name}, {threads} threads", partial(_compare, threads, rest, turns))
            for threads in THREADS
        ]
    python = (float(rounds), 0.0, 0.0)
    return cases + [
        Case(
            f"{BESIDE}pure Python, {threads} threads",
            partial(_beside_burners, threads, python, turns),
        )
        for threads in THREADS[:2]
    ]


def _compare(threads: int, rest: tuple[float, ...], turns: int) -> Figures:
    with _loaded(rest, turns, heori("threads", 1, threads), heori("processes", threads, 1)) as (
        in_threads,
        in_processes,
    ):
        for _ in range(turns):
            in_threads.take_turn()
            in_processes.take_turn()
        said, rate = in_threads.figures(), in_processes.figures()["rate"]
        truth = max(0.0, 1.0 - said["rate"] / rate)
        others = max(said["others"], in_processes.figures()["others"])
    return {
        **said,
        "processes": rate,
        "truth": truth,
        "error": abs(said["loss"] - truth),
        "others": others,
    }


def _beside_burners(threads: int, rest: tuple[float, ...], turns: int) -> Figures:
    """What R is for: here the loss cannot be trusted, and it says so."""
    with _loaded(rest, turns, heori("threads", 1, threads)) as [side], burning():
        for _ in range(turns):
            side.take_turn()
        return {**side.figures(), "burners": BURNERS}


@contextlib.contextmanager
def _loaded(rest: tuple[float, ...], turns: int, *systems: System) -> Iterator[list["_Side"]]:
    """Consumers that wait for their turns at one queue with more jobs than they can do."""
    jobs = round(turns * len(systems) * (TURN + SETTLE) * max(THREADS) / LENGTH)
    with Rig(systems[0]) as rig:
        rig.hide(Order("bulk", "toil", jobs, rest=rest))
        sides = []
        for number, system in enumerate(systems):
            rig.consume(system)
            rig.until(lambda ready=number + 1: rig.said().count('"consuming"') == ready)  # type: ignore[misc]
            sides.append(_Side(rig))
        rig.release()
        try:
            yield sides
        finally:
            for side in sides:
                side.wake()


class _Side:
    """One consumer, the one that was started last."""

    def __init__(self, rig: Rig) -> None:
        lines = [line for line in rig.said().splitlines() if '"consuming"' in line]
        self._url = json.loads(lines[-1])["metrics"]
        self._rig = rig
        self._processes = family(rig.consumers[-1])
        self._total: dict[str, float] = defaultdict(float)
        self._sleep()

    def take_turn(self) -> None:
        """Work for a while, and add up what that was."""
        self.wake()
        time.sleep(SETTLE)
        before = self._read()
        time.sleep(TURN)
        after = self._read()
        self._sleep()
        for name, value in after.items():
            self._total[name] += value - before.get(name, 0.0)

    def figures(self) -> Figures:
        """What came of all turns."""
        total = self._total
        states = {
            name: value
            for name, value in total.items()
            if name in ("running", "gil_wait", "io_wait")
        }
        busy = sum(states.values()) or 1.0
        waits, parallelism = total["gil_wait"] / busy, total["workers"] / total["time"]
        return {
            "rate": total[m.JOBS.name] / total["time"],
            "waits": waits,
            "parallelism": parallelism,
            "loss": min(waits, max(0.0, 1.0 - parallelism / usable_cores())),
            "starved": total[m.RUNQUEUE_WAIT.name] / busy,
            "cost": total[m.SAMPLER_CPU.name] / total["time"] * 100,
            "others": total["others"] / total["time"] / usable_cores(),
        }

    def wake(self) -> None:
        """Go on."""
        for process in self._processes:
            process.resume()

    def _sleep(self) -> None:
        for process in self._processes:
            process.suspend()

    def _read(self) -> dict[str, float]:
        """Counters of now: of the consumer, of its processes, and of the machine."""
        with urllib.request.urlopen(f"{self._url}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        read: dict[str, float] = defaultdict(float)
        for metric in text_string_to_metric_families(text):
            for sample in metric.samples:
                key = sample.labels["state"] if sample.name == m.THREAD_STATE.name else sample.name
                read[key] += sample.value
        supervisor, *others = self._processes
        workers = sum(_cpu(process) for process in others)
        machine = psutil.cpu_times()
        used = sum(machine[:3]) + sum(machine[5:8])  # less idle, iowait and guests
        ours = workers + _cpu(supervisor) + _cpu(self._rig.server)
        read["time"], read["workers"], read["others"] = time.monotonic(), workers, used - ours
        return read


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextlib.contextmanager
def burning() -> Iterator[None]:
    burners = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(BURNERS)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def block_seconds() -> float:
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
        Column("others", "others' share of the cores", ".2f"),
    ),
    _cases,
    seconds=30,
)
