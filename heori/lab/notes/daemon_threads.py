"""Daemon threads: a program does not wait for them, and cuts them in the middle of what they do.

Each row is a real interpreter, of which the main thread ends while another thread writes lines to
a file (`ending`). They all run at the same time, as they mostly sleep.
"""

import json
import math
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from heori import formats
from heori.lab.notes import ending
from heori.lab.notes.ending import LINES
from heori.lab.notes.findings import Bars, Figures, NoteFindings, Spans, Statement, Step

RUNS, QUICK_RUNS = 5, 1
LOOK_S = 0.005
ASKS_S = 1.0  # in which a thread has asked for the GIL for sure
# What `ending` is told, and what that is.
WAYS = {
    "thread": "a thread",
    "daemon": "a daemon",
    "joined daemon": "a daemon that atexit joins",
    "executor": "a concurrent.futures job",
    "left": "a thread, left by os._exit",
    "signal": "a thread, left by SIGTERM",
}
WAITED_FOR = ("thread", "joined daemon", "executor")


def measure(step: Step, *, seed: int, quick: bool) -> Figures:  # noqa: ARG001 - nothing is drawn
    """End main threads while others are at work, and look what becomes of these."""
    runs = QUICK_RUNS if quick else RUNS
    figures: Figures = {"version": platform.python_version(), "ways": {how: [] for how in WAYS}}
    for run in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            programs = {how: EndedProgram(how, Path(folder, how)) for how in WAYS}
            running = list(programs.values())
            while running := [program for program in running if not program.has_ended()]:
                step(0.9 * run / runs)
                time.sleep(LOOK_S)
            for how, program in programs.items():
                figures["ways"][how].append(program.found())
    step(0.9)
    figures["outliving"] = _outliving()
    return figures


def findings(figures: Figures) -> NoteFindings:
    """See `heori.lab.notes`."""
    ways = figures["ways"]
    return NoteFindings(
        "A program waits for its threads when its main thread ends, and not for daemons: these are "
        "cut in the middle.",
        ("when the main thread ends", "lines of 10", "finally", "atexit", "the process ends"),
        [
            (
                name,
                _lines(ways[how]),
                _share(ways[how], "finally"),
                _share(ways[how], "atexit"),
                f"after {formats.duration(_after(ways[how]))}",
            )
            for how, name in WAYS.items()
        ],
        [*_of_threads(ways), *_of_ends(ways), *_of_version(figures)],
        "So a daemon thread is for what may be cut at any moment. Heori's renew locks "
        "(common/heori_common/locks/renewer.py), look at what threads do "
        "(consumer/heori_consumer/worker/link.py) and write what was logged, for which atexit "
        "waits a second (common/heori_common/outlet.py). A job is nothing of that kind, and a "
        "program that hands it to a daemon of its own loses it. In Heori its thread may be a "
        "daemon, too, so that a job that hangs does not keep its process "
        "(consumer/heori_consumer/worker/slots.py); but nothing depends on that thread: another "
        "process, the supervisor, waits for it while it drains, and gives the job back if it was "
        "cut (consumer/heori_consumer/pool/handle.py).",
        [
            Spans(
                "What goes on, until the process has ended",
                {
                    f"{name}: {who}": spans
                    for how, name in WAYS.items()
                    for who, spans in _spans(ways[how][-1]).items()
                },
            ),
            Bars(
                f"Lines of {LINES} in the file",
                {name: _mean(ways[how]) for how, name in WAYS.items()},
                ".3g",
            ),
        ],
    )


# What is found


def _of_threads(ways: Figures) -> list[Statement]:
    threads, daemons = ways["thread"], ways["daemon"]
    joined, jobs = ways["joined daemon"], ways["executor"]
    return [
        Statement(
            all(_is_whole(run) for run in threads),
            f"A thread is waited for: it wrote all {LINES} lines, and the process ended "
            f"{formats.duration(_after(threads))} after its main thread had.",
            f"A thread was not waited for: it wrote {_lines(threads)} of {LINES} lines.",
            "A program waits for a thread that is no daemon: all that it writes is written, and "
            "its `finally` runs.",
        ),
        Statement(
            all(run["lines"] < LINES and "finally" not in run["events"] for run in daemons),
            f"A daemon is cut: it wrote {_lines(daemons)} of {LINES} lines, its `finally` did not "
            f"run, and the process ended {formats.duration(_after(daemons))} after its main "
            "thread had.",
            f"A daemon wrote {_lines(daemons)} of {LINES} lines here: it came to its end before "
            "the process did.",
            "A program does not wait for a daemon: what it writes is written in part, and its "
            "`finally` does not run.",
        ),
        Statement(
            all(_is_whole(run) for run in joined),
            "A daemon for which atexit waits comes to its end.",
            f"A daemon for which atexit waits wrote {_lines(joined)} of {LINES} lines.",
            "A daemon for which atexit waits comes to its end.",
        ),
        Statement(
            all(_is_whole(run) and "next job" in run["events"] for run in jobs),
            "Jobs of concurrent.futures are waited for, and one that no thread had begun was run, "
            "too.",
            "Jobs of concurrent.futures were not waited for.",
            "A program waits for the jobs of concurrent.futures, and for those that have not "
            "begun, too.",
        ),
    ]


def _of_ends(ways: Figures) -> list[Statement]:
    ordered = [*ways["thread"], *ways["executor"]]
    left = [*ways["left"], *ways["signal"]]
    return [
        Statement(
            all(_at(run, "finally") < _at(run, "atexit") < math.inf for run in ordered)
            and all("atexit" in run["events"] for run in ways["daemon"]),
            "What atexit calls is called when these threads have ended, and while a daemon is "
            "still at work.",
            "What atexit calls was called before all threads had ended, or not at all.",
            "What atexit calls is called when all threads but daemons have ended.",
        ),
        Statement(
            not any(run["events"].keys() & {"finally", "atexit"} for run in left),
            f"Whoever leaves by os._exit or is ended by a signal waits for nobody: {_lines(left)} "
            "lines, no `finally`, and nothing that atexit calls.",
            "A process that was left by os._exit, or ended by a signal, had its threads come to "
            "their end.",
            "Whoever leaves by os._exit or is ended by a signal waits for nobody: no `finally` "
            "runs, and nothing that atexit calls.",
        ),
    ]


def _of_version(figures: Figures) -> list[Statement]:
    version, outliving = figures["version"], figures["outliving"]
    refused = all("no other thread" in run["events"] for run in figures["ways"]["daemon"])
    return [
        Statement(
            refused,
            f"Python {version} starts no more threads by then, not even for what atexit calls.",
            f"Python {version} starts another thread even then, for what atexit calls.",
        ),
        Statement(
            outliving == 0,
            f"When its interpreter has ended, Python {version} ends a daemon as soon as it asks "
            "for the GIL.",
            "What becomes of a daemon when the interpreter has ended is not to be seen here."
            if outliving is None
            else f"When its interpreter has ended, Python {version} leaves a daemon that asks for "
            "the GIL waiting for ever, until the process ends.",
        ),
    ]


def _is_whole(run: Figures) -> bool:
    return bool(run["lines"] == LINES and "finally" in run["events"])


def _at(run: Figures, event: str) -> float:
    return float(run["events"].get(event, math.inf))


def _after(runs: Sequence[Figures]) -> float:
    return statistics.median(float(run["ended"]) - _at(run, "main ends") for run in runs)


def _mean(runs: Sequence[Figures]) -> float:
    return statistics.mean(int(run["lines"]) for run in runs)


def _lines(runs: Sequence[Figures]) -> str:
    least, most = (of(run["lines"] for run in runs) for of in (min, max))
    return f"{least}" if least == most else f"{least} to {most}"


def _share(runs: Sequence[Figures], event: str) -> str:
    return f"{sum(event in run['events'] for run in runs)} of {len(runs)}"


def _spans(run: Figures) -> dict[str, list[tuple[str, float, float]]]:
    """What the main thread and the other did, by seconds from the beginning of the former."""
    events, ended = run["events"], run["ended"]
    began, main_ends = events["main begins"], events["main ends"]
    is_cut = "finally" not in events
    working = "the other, cut" if is_cut else "the other, to its end"
    until = ended if is_cut else events["finally"]
    return {
        "main": [
            ("main thread", 0.0, main_ends - began),
            ("main has ended", main_ends - began, ended - began),
        ],
        "the other": [(working, events["thread begins"] - began, until - began)],
    }


# How it is measured


@dataclass(slots=True)
class EndedProgram:
    """An interpreter that runs `ending`."""

    how: str
    path: Path
    ended: float = 0.0
    process: "subprocess.Popen[bytes]" = field(init=False)

    def __post_init__(self) -> None:
        self.process = _start(self.how, str(self.path))

    def has_ended(self) -> bool:
        """Whether it has; notes when it is first seen."""
        if not self.ended and self.process.poll() is not None:
            self.ended = time.monotonic()
        return bool(self.ended)

    def found(self) -> Figures:
        """What it has told, once it has ended."""
        told, _ = self.process.communicate()
        _, *records = map(json.loads, told.splitlines())
        return {
            "events": {record["what"]: record["at"] for record in records},
            "ended": self.ended,
            "code": self.process.returncode,
            "lines": len(self.path.read_bytes().splitlines()),
        }


def _start(*words: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-I", ending.__file__, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def _outliving() -> int | None:
    """How many daemons are there when the interpreter has ended; None if that is not to be seen."""
    with _start("outlive") as process:
        assert process.stdout is not None
        if not any(b"interpreter ended" in line for line in process.stdout):
            return None
        look = psutil.Process(process.pid)
        deadline = time.monotonic() + ASKS_S
        while (left := look.num_threads() - 1) and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        process.communicate()  # it waits for the end of its standard input
        return left
