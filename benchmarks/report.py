"""From samples to tables; and where they were taken."""

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from rich import box
from rich.table import Table

from benchmarks import bound, features, locks, queues
from benchmarks.kinds import Figures, Kind, Results
from benchmarks.rig import Rig
from benchmarks.systems import BARE, FLOOR, RQ_SIMPLE, versions
from heori_common.embedded import EmbeddedValkey
from heori_common.platform import usable_cores


@dataclass(frozen=True, slots=True)
class Sample:
    """What one turn of one case yielded.

    Attributes:
        stolen: the share of all cores' time that other guests of a shared machine had meanwhile.
        seconds: how long it took, with all that it needs before and after.
    """

    kind: str
    case: str
    turn: int
    figures: Figures
    stolen: float
    seconds: float


def stolen(samples: Sequence[Sample]) -> str:
    """How much a virtual machine was disturbed, in a sentence: a figure beside it says little."""
    shares = [sample.stolen * 100 for sample in samples]
    return (
        f"taken by other guests of this machine: {statistics.median(shares):.0f}% of the cores, "
        f"{min(shares):.0f} to {max(shares):.0f}% of a turn"
    )


def medians(samples: Sequence[Sample]) -> Results:
    """Of each figure by itself; and ratios of medians to what a kind is measured against."""
    results: dict[str, dict[str, Figures]] = {}
    for kind, case in dict.fromkeys((sample.kind, sample.case) for sample in samples):
        taken = [each.figures for each in samples if (each.kind, each.case) == (kind, case)]
        results.setdefault(kind, {})[case] = {
            name: statistics.median(figures[name] for figures in taken) for name in taken[0]
        }
    for kind, base, figure, ratio, factor in (
        ("drain", RQ_SIMPLE.name, "rate", "of_rq", 1),
        ("drain", FLOOR.name, "rate", "of_floor", 1),
        ("features", features.PLAIN, "rate", "of_plain", 1),
        ("enqueue", FLOOR.name, "each", "of_floor", 1),
        ("enqueue", BARE.name, "each", "of_bare", 1),
        ("io", bound.COROUTINES, "rate", "of_bare", 1),
        ("io of thousands", bound.MANY_COROUTINES, "rate", "of_bare", 1),
        ("cpu", bound.CEILING, "rate", "of_pool", 100),
        ("queues", queues.case(1), "rate", "of_one", 1),
        ("locks", locks.pair_case(locks.BARE), "pair", "of_floor", 1),
    ):
        of = results.get(kind, {})
        if base in of:
            for figures in [each for each in of.values() if figure in each]:
                figures[ratio] = figures[figure] / of[base][figure] * factor
    return results


def table(kind: Kind, results: Results) -> Table:
    """One kind, a line for each case."""
    shown = Table(box=box.SIMPLE_HEAD)
    shown.add_column(kind.name, no_wrap=True)
    for column in kind.columns:
        shown.add_column(column.heading, justify="right")
    for case, figures in results.get(kind.name, {}).items():
        shown.add_row(
            case,
            *(
                format(figures[column.figure], column.form) if column.figure in figures else ""
                for column in kind.columns
            ),
        )
    return shown


def machine() -> dict[str, str]:
    """Where it was measured, with which versions, and which cores were used by whom."""
    with EmbeddedValkey() as valkey, Redis.from_url(valkey.url) as client:
        server: Any = client.info("server")
    ours = sorted(os.sched_getaffinity(0))
    load, *_ = os.getloadavg()
    return {
        "processor": _processor(),
        "cores": f"{os.cpu_count()}, usable {usable_cores() + len(Rig.server_cores or ()):g}",
        "placement": f"server on {_cores(Rig.server_cores or ours)}, all others on {_cores(ours)}"
        + ("" if Rig.server_cores else ", placed by the kernel"),
        "date": time.strftime("%Y-%m-%d"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load before": f"{load:.2f}",
        "python": platform.python_version(),
        "server": f"Valkey {server.get('valkey_version', server['redis_version'])}, loopback",
        "libraries": ", ".join(f"{name} {version}" for name, version in versions().items()),
        "commit": _commit(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _cores(numbers: Sequence[int]) -> str:
    return "cores " + ",".join(map(str, numbers))


def _commit() -> str:
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or "unknown"
