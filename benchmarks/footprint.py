"""Which parts the memory of a consumer with one worker has.

``python -m benchmarks.footprint`` prints what each import adds to an interpreter, and what the
processes of a consumer then share and have alone, in MB. It says where to look when a figure of
`memory` grows. Linux only, as that.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.memory import BUSY
from benchmarks.rig import Rig, family
from benchmarks.sender import Order
from benchmarks.systems import heori

ROLLUP = "/proc/{}/smaps_rollup"
# Each beside what those before it have imported.
IMPORTS = {
    "the interpreter": "sys",
    "asyncio, with ssl": "asyncio",
    "pydantic": "pydantic.root_model, pydantic.type_adapter",
    "psutil, msgpack": "psutil, msgpack",
    "Heori, and what else it imports": "heori.cli.run_consumer, heori_consumer.worker.forkserver",
}
# Each on its own, as the program does: without a look for garbage meanwhile.
PROGRAM = "import gc; gc.disable(); import {}; print(open('" + ROLLUP.format("self") + "').read())"
ROLES = ("the supervisor", "the process that forks workers", "the worker")
JOBS = 100


def of_imports() -> Iterator[tuple[str, float]]:
    """What each adds to what a process has written, in MB."""
    modules, before = [], 0.0
    for name, more in IMPORTS.items():
        modules.append(more)
        words = [sys.executable, "-c", PROGRAM.format(", ".join(modules))]
        told = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
        now = _read(told)["Pss_Anon"]
        yield name, now - before
        before = now


def of_processes() -> Iterator[tuple[str, float]]:
    """What those of a consumer have in memory after some jobs, in MB."""
    system = heori("threads", 1, 1)
    with Rig(system) as rig:
        consumer = rig.consume()
        rig.warm_up()
        rig.send(Order("bulk", system.task("wait"), JOBS, rest=(BUSY / 10,)))
        rig.until(lambda: rig.begun() >= JOBS)
        found = [_read(Path(ROLLUP.format(each.pid)).read_text()) for each in family(consumer)]
    alone = [each["Private_Dirty"] for each in found]
    yield "written before a fork, and shared", sum(each["Pss_Anon"] for each in found) - sum(alone)
    for role, has in zip(ROLES, alone, strict=True):
        yield f"written by {role} alone", has
    yield "files, which are libraries in C", sum(each["Pss_File"] for each in found)


def _read(rollup: str) -> dict[str, float]:
    rows = (line.split() for line in rollup.splitlines() if line.endswith(" kB"))
    return {name.rstrip(":"): int(size) * 1024 / 1e6 for name, size, _ in rows}


def _shown(title: str, parts: list[tuple[str, float]]) -> Table:
    table = Table("", "MB", title=title)
    for name, size in (*parts, ("all", sum(size for _, size in parts))):
        table.add_row(name, f"{size:.1f}")
    return table


if __name__ == "__main__":
    console = Console()
    console.print(_shown("what imports have written", list(of_imports())))
    console.print(_shown("a consumer of one worker", list(of_processes())))
