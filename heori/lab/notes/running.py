"""Runs an experiment in a process of its own, and shows how far it is."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from heori.demo.processes import Child, Interrupt, Interrupted
from heori.lab.notes import measuring
from heori.lab.notes.findings import Figures
from heori.lab.steal import Steal
from heori.terminal import Console

LOOK_S = 0.05
# In the order of the notes; with what each is about, for --help.
NOTES = {
    "process": "an address space of its own, and what a message to another costs",
    "thread": "a heap that is shared, a stack that is not, and updates that are lost",
    "many-threads": "cheap, and they share a crash, too",
    "many-processes": "dear, a GIL for each, and one crash takes one",
    "gil": "one thread at a time in Python, and what runs beside",
    "daemon-threads": "cut in the middle when the program ends, unlike all others",
    "groups": "futures of threads, and of jobs: pending, running, done",
    "locks": "an owner, a line, a price, and what becomes of who waits for each other",
    "producer-consumer": "a buffer between two sides, and what a bound to it is for",
}


@dataclass(frozen=True, slots=True)
class NoteOptions:
    """What was asked for."""

    seed: int
    quick: bool
    out: Path | None  # where charts go
    json: bool


@dataclass(frozen=True, slots=True)
class Measured:
    """What one experiment has measured.

    Attributes:
        stolen: the share of the cores' time that other guests of this machine had meanwhile.
    """

    name: str
    figures: Figures
    seconds: float
    stolen: float


def run_notes(
    names: Sequence[str], options: NoteOptions, interrupt: Interrupt
) -> Iterator[Measured]:
    """Do experiments, one after the other; each is told when it is done.

    Raises:
        ChildFailed: one of their processes has died.
        Interrupted: a signal came.
    """
    for number, name in enumerate(names, 1):
        terminal = Console(sys.stderr)
        with Progress(
            TextColumn("{task.description:24}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=terminal,
            transient=True,
            disable=options.json or not terminal.is_terminal,
        ) as progress:
            bar = progress.add_task(f"{number} of {len(names)}: {name}", total=1.0)
            measured = _run(name, options, interrupt, partial(progress.update, bar))
        yield measured


def _run(
    name: str, options: NoteOptions, interrupt: Interrupt, update: Callable[..., None]
) -> Measured:
    steal, began = Steal(), time.monotonic()
    how = "quick" if options.quick else "whole"
    with ExitStack() as stack:
        # It may end in the middle, and leave what it has there.
        folder = stack.enter_context(TemporaryDirectory(ignore_cleanup_errors=True))
        words = (measuring.__name__, name, str(options.seed), how)
        child = stack.enter_context(Child(f"note {name}", *words, TMPDIR=folder))
        while not child.finished:
            if interrupt.number:
                raise Interrupted
            if child.report:
                update(completed=child.report["done"])
            time.sleep(LOOK_S)
    return Measured(name, child.report["figures"], time.monotonic() - began, steal.share())
