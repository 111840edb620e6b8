"""The GIL: one thread at a time runs Python, and whatever lets go of it runs beside.

Each way of working is a copy of this process, which looks on from outside at what the threads of
the copy wait for, as Heori's supervisor does. Whose turn it was threads tell themselves: a thread
that reads the clock all the time, and finds a part of it missing, was not the one that ran.
"""

import contextlib
import importlib.util
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial

from heori import formats
from heori.lab.notes import at_once
from heori.lab.notes.at_once import Round, Turn
from heori.lab.notes.copies import in_copies, in_copy, watched
from heori.lab.notes.findings import (
    Bars,
    Chart,
    Curves,
    Figures,
    NoteFindings,
    Spans,
    Statement,
    Step,
)
from heori_common.platform import usable_cores
from heori_consumer.gil.inside import find_gil
from heori_consumer.gil.states import GIL_WAIT, GilFutex

SPAN_S, QUICK_SPAN_S = 0.3, 0.05
TURNS = 3  # of each way, in turns; the fastest counts
MOST_WORKERS, WAITERS = 8, 16  # at once: of those that compute, and of those that wait
WAIT_S = 0.005
SEEN_S, SHOWN = 0.06, 4  # whose turn it is: for how long, and of how many threads
# Python's own is 5 ms.
INTERVALS, QUICK_INTERVALS = (0.0001, 0.0005, 0.001, 0.005, 0.02), (0.0005, 0.005)
LATE_SPAN_S, QUICK_LATE_SPAN_S = 0.5, 0.1
OTHERS = tuple(f"python3.{minor}t" for minor in range(20, 12, -1))
PATIENCE_S = 20.0  # with another interpreter
WAITING_GAIN = 4  # of those that wait, at least, however busy the machine is
# Of what one does: no gain, and one that another core has brought.
SAME, GAIN = 1.4, 1.5


def measure(step: Step, *, seed: int, quick: bool) -> Figures:
    """Do four kinds of work in four ways; see whose turn it is, and how late one gets it."""
    gil = find_gil()
    workers = min(MOST_WORKERS, max(2, int(usable_cores())))
    shown = min(SHOWN, workers)
    figures: Figures = {
        "gil": at_once.has_gil(),
        "turns": {
            "Python": at_once.python_turns(shown, SEEN_S),
            "hashing": at_once.hashing_turns(shown, SEEN_S),
        },
        "work": {},
        "late": [],
    }
    works = _works(seed)
    for number, (name, work) in enumerate(works.items()):
        of = figures["work"][name] = {"workers": WAITERS if name == "waiting" else workers}
        for turn in range(1 if quick and name != "waiting" else TURNS):
            step(0.1 + 0.5 * (number + turn / TURNS) / len(works))
            wait = WAIT_S if name == "waiting" else 0.0
            _measure_ways(work, wait, QUICK_SPAN_S if quick else SPAN_S, of, gil)
    span = QUICK_LATE_SPAN_S if quick else LATE_SPAN_S
    for number, interval in enumerate((None, *(QUICK_INTERVALS if quick else INTERVALS))):
        step(0.6 + 0.3 * number / (1 + len(INTERVALS)))
        found = in_copy(partial(_late, interval, span))
        figures["late"].append({"interval": interval, **found})
    step(0.9)
    figures["free"] = free_threaded(workers, QUICK_SPAN_S if quick else SPAN_S)
    return figures


def findings(figures: Figures) -> NoteFindings:
    """See `heori.lab.notes`."""
    work, free = figures["work"], figures["free"]
    return NoteFindings(
        "The GIL lets one thread at a time run Python. What lets go of it runs beside, and so do "
        "other processes.",
        (
            "× one thread",
            "at once",
            "threads",
            "processes",
            "an event loop",
            "threads wait for the GIL",
        ),
        [
            (
                name,
                str(of["workers"]),
                *(f"{_gain(of, way):.2f}" for way in ("threads", "processes", "coroutines")),
                "?" if of["gil_wait"] is None else formats.share(of["gil_wait"]),
            )
            for name, of in work.items()
        ],
        [*_of_threads(figures), *_of_others(figures), _of_interval(figures), _of_free(figures)],
        (
            "So work that computes in Python wants processes, and work that waits, hashes or calls "
            "NumPy wants threads or, written for it, an event loop"
            if figures["gil"]
            else "So all work may have threads here: what computes wants as many as cores, and "
            "that which waits as many as wait, or an event loop that it was written for"
        )
        + ": `heori lab models` measures that "
        "with real consumers, and `heori consume --model auto` finds it out of how long threads "
        "wait for the GIL. A supervisor looks at its workers' threads from outside as this note "
        "did, which costs them nothing (consumer/heori_consumer/gil/sampler.py), and shows it as "
        "heori_worker_gil_wait_ratio. But for the model inline it is a process of its own, so that "
        "no job keeps the GIL from it when leases are to be extended: "
        "consumer/heori_consumer/supervisor/supervisor.py.",
        [
            Spans("Whose turn it is; the others wait", _rows(figures)),
            Bars("× as much as one thread that has a core to itself", _gains(work, free), ".2f"),
            *_lateness(figures),
        ],
    )


# What is found


def _of_threads(figures: Figures) -> list[Statement]:
    turns, python = figures["turns"]["Python"], figures["work"]["Python"]
    taken = _taken(turns)
    together, hashing = _together(turns), _together(figures["turns"]["hashing"])
    gain, waits = _gain(python, "threads"), python["gil_wait"]
    beside = figures["work"]["hashing"]["gil_wait"] or 0.0
    without = "although it has a GIL" if figures["gil"] else "as this interpreter has no GIL"
    return [
        Statement(
            figures["gil"] and together == 0 and len(taken) > 1,
            f"{len(turns)} threads computed in Python for {formats.duration(SEEN_S)}, and never "
            f"two at the same time: they took turns, {len(taken)} of them, the longest of "
            f"{formats.duration(max(taken))}.",
            f"Threads computed in Python at the same time, for {together:.0%} of the time: this "
            "interpreter has no GIL, or it is off."
            if together
            else "The threads did not come to take turns in so short a time."
            if figures["gil"]
            else "This interpreter has no GIL. The threads were not seen to compute at the same "
            "time: others use the cores, or there is one.",
            "Of threads that compute in Python, no two do so at the same time."
            if figures["gil"]
            else "",
        ),
        Statement(
            gain <= SAME,
            f"So {python['workers']} threads do {gain:.2f} times as much Python as one that has a "
            "core to itself.",
            f"{python['workers']} threads do {gain:.2f} times as much Python as one here, "
            f"{without}.",
            f"However many they are, they do at most {SAME} times as much Python as one that has a "
            "core to itself."
            if figures["gil"]
            else "",
        ),
        Statement(
            waits is not None and waits > beside,
            f"Seen from outside, they wait for the GIL for {formats.share(waits or 0)} of their "
            f"time, and threads that hash for {formats.share(beside)}.",
            "No thread waits for the GIL, as this interpreter has none."
            if not figures["gil"]
            else "What threads wait for is not to be seen here."
            if waits is None
            else f"They were seen to wait for the GIL for {formats.share(waits)} of their time, no "
            "longer than threads that hash.",
        ),
        Statement(
            hashing > 0,
            "Threads that hash large blocks do so at the same time, for "
            f"{hashing:.0%} of it: hashlib lets go of the GIL.",
            "Threads that hash were not seen to do so at the same time: here is one core.",
        ),
    ]


def _of_others(figures: Figures) -> list[Statement]:
    work = figures["work"]
    python, waiting = work["Python"], work["waiting"]
    gained = {name: _gain(work[name], "threads") for name in work if name in ("hashing", "NumPy")}
    told = " and ".join(f"{name} {gain:.1f} times" for name, gain in gained.items())
    missing = "" if "NumPy" in work else " (NumPy is not installed here)"
    return [
        Statement(
            min(gained.values()) >= GAIN,
            f"What lets go of the GIL gains by threads: {told}{missing}.",
            f"By threads gains {told} here{missing}: others use the cores, or there is one.",
        ),
        Statement(
            _gain(python, "processes") >= GAIN,
            f"Processes have a GIL each: {python['workers']} do "
            f"{_gain(python, 'processes'):.1f} times as much Python as one.",
            f"{python['workers']} processes do {_gain(python, 'processes'):.1f} times as much "
            "Python as one here: others use the cores, or there is one.",
        ),
        Statement(
            _gain(python, "coroutines") <= SAME and _gain(waiting, "coroutines") >= WAITING_GAIN,
            f"An event loop is one thread: it does {_gain(python, 'coroutines'):.1f} times as much "
            f"Python, and {_gain(waiting, 'coroutines'):.0f} times as much that waits, with "
            f"{waiting['workers']} coroutines.",
            f"An event loop does {_gain(python, 'coroutines'):.1f} times as much Python as one "
            f"thread here, and {_gain(waiting, 'coroutines'):.0f} times as much that waits.",
            f"An event loop is one thread: it does at most {SAME} times as much Python as one, and "
            f"with {WAITERS} coroutines at least {WAITING_GAIN} times as much that waits.",
        ),
    ]


def _of_interval(figures: Figures) -> Statement:
    late = {of["interval"]: of for of in figures["late"]}
    usual, short = late[0.005], late[0.0005]
    change = short["rate"] / usual["rate"] - 1
    price = f"{abs(change):.0%} {'more' if change > 0 else 'less'}"
    told = (
        f"A thread that wakes beside one that computes goes on {formats.duration(usual['late'])} "
        "late at a switch interval of 5 ms, which is Python's own, and "
        f"{formats.duration(short['late'])} late at 0.5 ms; with nobody beside it, "
        f"{formats.duration(late[None]['late'])}."
    )
    return Statement(
        short["late"] < usual["late"] / 2,
        f"{told} Two threads that compute do {price} at the shorter one.",
        f"{told} That is not the interval's doing alone: this interpreter has no GIL, or others "
        "use the cores.",
    )


def _of_free(figures: Figures) -> Statement:
    free = figures["free"]
    if free is None:
        return Statement(
            False,
            "A free-threaded interpreter was measured.",
            "There is no free-threaded interpreter beside this one to compare with (no "
            "python3.14t or the like on the PATH)."
            if figures["gil"]
            else "This interpreter is a free-threaded one.",
        )
    gain = free["rates"]["threads"] / free["rates"]["one"]
    speed = free["rates"]["one"] / figures["work"]["Python"]["one"]
    return Statement(
        gain >= GAIN,
        f"Python {free['version']} has no GIL: {len(free['turns'])} of its threads do {gain:.1f} "
        f"times as much Python as one of them, which does {speed:.2f} times as much as one here.",
        f"Python {free['version']} was built without a GIL, and its threads do {gain:.1f} times as "
        "much as one of them: others use the cores, or there is one.",
    )


def _gain(of: Figures, way: str) -> float:
    return float(of[way] / of["one"])


def _gains(work: Figures, free: Figures | None) -> dict[str, float]:
    python = work["Python"]
    gains = {
        f"{name}, {of['workers']} threads": _gain(of, "threads")
        for name, of in work.items()
        if name != "waiting"
    }
    gains[f"Python, {python['workers']} processes"] = _gain(python, "processes")
    gains["Python, an event loop"] = _gain(python, "coroutines")
    if free is not None:
        name = f"Python {free['version']}, {len(free['turns'])} threads"
        gains[name] = free["rates"]["threads"] / free["rates"]["one"]
    return gains


def _rows(figures: Figures) -> dict[str, list[tuple[str, float, float]]]:
    """The turns of all threads, each kind of work from its own beginning."""
    of_works = {**figures["turns"]}
    if figures["free"] is not None:
        of_works[figures["free"]["version"]] = figures["free"]["turns"][:SHOWN]
    rows = {}
    for name, turns in of_works.items():
        state = "hashing, outside of the GIL" if name == "hashing" else "computing in Python"
        began = min(start for row in turns for start, _ in row)
        for number, row in enumerate(turns, 1):
            spans = [(state, start - began, end - began) for start, end in row]
            rows[f"{name}, thread {number}"] = spans
    return rows


def _lateness(figures: Figures) -> list[Chart]:
    late = [(of["interval"] * 1e3, of["late"] * 1e3) for of in figures["late"] if of["interval"]]
    return [
        Curves(
            "ms by which a thread that wakes beside one that computes is late",
            "switch interval in ms",
            {"measured": late, "the switch interval": [(at, at) for at, _ in late]},
            log=True,
            faint=("the switch interval",),
        )
    ]


def _taken(turns: Sequence[Sequence[Turn]]) -> list[float]:
    """How long each turn was, until another thread's began or all ended."""
    in_order = sorted((*turn, thread) for thread, row in enumerate(turns) for turn in row)
    of_one = [list(found) for _, found in itertools.groupby(in_order, lambda each: each[2])]
    return [found[-1][1] - found[0][0] for found in of_one]


def _together(turns: Sequence[Sequence[Turn]]) -> float:
    """The part of the time of all of it in which two threads or more had a turn."""
    changes = sorted(
        change for row in turns for start, end in row for change in ((start, 1), (end, -1))
    )
    together, at_it = 0.0, 0
    for (now, change), (then, _) in itertools.pairwise(changes):
        at_it += change
        together += (then - now) * (at_it > 1)
    return together / (changes[-1][0] - changes[0][0])


# How it is measured


def _works(seed: int) -> dict[str, Round]:
    works: dict[str, Round] = {"Python": at_once.compute, "hashing": at_once.digest}
    if importlib.util.find_spec("numpy") is not None:
        # No threads of its own: a process that has some is not to be copied.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        import numpy as np  # noqa: PLC0415 - where it is installed

        numbers = np.random.default_rng(seed).random(50_000)
        works["NumPy"] = lambda: np.sort(numbers)
    works["waiting"] = partial(time.sleep, WAIT_S)
    return works


def _measure_ways(work: Round, wait: float, span: float, of: Figures, gil: GilFutex | None) -> None:
    """Do this kind of work in each way, and keep the best of what was found so far.

    By one before the others and after them: what shares a core's parts with it may come or go.
    """
    number = of["workers"]
    by_one = partial(at_once.repeat if wait else at_once.alone, work, span)
    before = in_copy(by_one)
    threads, seen = watched(lambda tell: at_once.by_threads(work, number, span, tell), gil)
    found = {
        "threads": threads,
        "processes": sum(in_copies(number, lambda: at_once.repeat(work, span))),
        "coroutines": in_copy(lambda: at_once.by_coroutines(work, number, span, wait=wait)),
        "one": max(before, in_copy(by_one)),
    }
    of.update({way: max(rate, of.get(way, 0.0)) for way, rate in found.items()})
    of["gil_wait"] = seen[GIL_WAIT] / seen.total() if seen else None


def _late(interval: float | None, span: float) -> Figures:
    if interval is None:
        return {"late": statistics.median(at_once.lateness(WAIT_S, span, beside=False)), "rate": 0}
    sys.setswitchinterval(interval)
    late = statistics.median(at_once.lateness(WAIT_S, span, beside=True))
    return {"late": late, "rate": at_once.by_threads(at_once.compute, 2, span)}


def free_threaded(threads: int, span: float) -> Figures | None:
    """What an interpreter without a GIL does; None if there is none on the PATH."""
    for name in OTHERS:
        with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
            told = subprocess.run(
                [shutil.which(name) or "", "-I", at_once.__file__, str(threads), str(span)],
                capture_output=True,
                check=True,
                timeout=PATIENCE_S,
            )
            found: Figures = json.loads(told.stdout)
            if not found["gil"]:
                return found
    return None
