"""How long a few jobs of one tenant take while another's flood waits."""

import statistics
import time

from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.rig import Rig
from benchmarks.sender import Order
from benchmarks.systems import heori

SYSTEM = heori("asyncio", 1, 100)
FEW, FLOOD = 10, 100_000
SECONDS = 0.05  # that each job takes
ALONE, BESIDE, WITHOUT = "alone", "beside another tenant's flood", "the same without tenants"


def _cases(quick: bool) -> list[Case]:
    flood, samples = (1_000, 3) if quick else (FLOOD, 50)
    return [
        Case(ALONE, lambda: measure(0, samples, ("", "")), SYSTEM.missing()),
        Case(BESIDE, lambda: measure(flood, samples, ("big", "small")), SYSTEM.missing()),
        # One time: then the flood is over.
        Case(WITHOUT, lambda: measure(flood, 1, ("", "")), SYSTEM.missing()),
    ]


def measure(flood: int, samples: int, tenants: tuple[str, str]) -> Figures:
    """Send a few jobs again and again, behind a flood, and time each few."""
    task = SYSTEM.task("wait")
    with Rig(SYSTEM) as rig:
        rig.consume()
        rig.warm_up(task, (SECONDS,))
        if flood:
            rig.send(Order("bulk", task, flood, FEW * samples, (SECONDS,), tenants[0]))
        waits = [_wait_for_few(rig, task, number, tenants[1]) for number in range(samples)]
        left = max(0, flood + FEW * samples - rig.begun())
    return {"wait": statistics.median(waits), "most": max(waits), "left": left}


def _wait_for_few(rig: Rig, task: str, number: int, tenant: str) -> float:
    """Milliseconds from before the sending until the last of them is done."""
    first = number * FEW
    begun = rig.begun()
    sent = time.time_ns()
    rig.send(Order("bulk", task, FEW, first, (SECONDS,), tenant))
    starts: dict[int, int] = {}

    def all_begun() -> bool:
        nonlocal begun
        new = rig.records(begun)
        begun += len(new)
        starts.update((each.number, each.at) for each in new if 0 <= each.number - first < FEW)
        return len(starts) == FEW

    rig.until(all_begun, patience=300)
    return (max(starts.values()) - sent) / 1e6 + SECONDS * 1000


TENANTS = Kind(
    "tenants",
    f"From the sending of {FEW} jobs of {SECONDS * 1000:.0f} ms until all are done, ms, with "
    f"{SYSTEM.name}; the flood is {FLOOD:,} such jobs",
    (
        Column("wait", "median", ".1f"),
        Column("most", "most", ",.1f"),
        Column("left", "left of the flood"),
    ),
    _cases,
    seconds=60,
    turns=1,
)
