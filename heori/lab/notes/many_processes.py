"""Many processes are dear, share nothing, and do not crash together; and each has a GIL of its own.

What a process costs is measured three ways: as a copy of this one (fork), as an interpreter that
begins anew (spawn), and beside them as a thread.
"""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

import psutil

from heori import formats
from heori.lab.notes import at_once
from heori.lab.notes.copies import in_copies, in_copy
from heori.lab.notes.findings import Bars, Curves, Figures, NoteFindings, Statement, Step
from heori.lab.notes.many_threads import IDLE_S, live_or_crash, own_memory, silence
from heori_common.platform import usable_cores
from heori_consumer.gil.usage import memory

CRASHING = 4  # processes, one of which crashes
STARTS, QUICK_STARTS = 20, 10
SPAN_S, TURNS = 0.4, 4  # of each number, in turns; the fastest counts
GAIN = 0.7  # of another core, at least, by another process
WEIGHED = 4  # processes


def measure(step: Step, *, seed: int, quick: bool) -> Figures:  # noqa: ARG001 - nothing is drawn
    """Have one of a few crash; start and weigh some; compute with more and more of them."""
    figures: Figures = {"crash": _crash(), "cores": usable_cores(), "computing": {}}
    step(0.1)
    starts = QUICK_STARTS if quick else STARTS
    kinds = {"a thread": _thread, "a fork": _fork, "an interpreter": _spawn}
    # In turns, as a machine that has no core for a moment is slow to all of one kind otherwise.
    timed = [{name: _timed(way) for name, way in kinds.items()} for _ in range(starts)]
    figures["start"] = {name: min(turn[name] for turn in timed) for name in kinds}
    step(0.3)
    figures["bytes"] = _weigh()
    step(0.4)
    figures["one"] = in_copy(lambda: at_once.alone(at_once.compute, SPAN_S))
    numbers = sorted({1, 2, int(2 * usable_cores())})
    turns = [(turn, number) for turn in range(1 if quick else TURNS) for number in numbers]
    for done, (_, number) in enumerate(turns):
        step(0.4 + 0.5 * done / len(turns))
        best = figures["computing"].setdefault(number, {"processes": 0.0, "threads": 0.0})
        apart = sum(in_copies(number, partial(at_once.repeat, at_once.compute, SPAN_S)))
        best["processes"] = max(best["processes"], apart)
        together = at_once.by_threads(at_once.compute, number, SPAN_S)
        best["threads"] = max(best["threads"], together)
    figures["misses"] = _misses()
    return figures


def findings(figures: Figures) -> NoteFindings:
    """See `heori.lab.notes`."""
    computing = {int(number): of for number, of in figures["computing"].items()}
    start, weight, crash = figures["start"], figures["bytes"], figures["crash"]
    one = figures["one"]  # that has a core to itself
    cores = max(1, int(figures["cores"]))
    best = max(of["processes"] / one for of in computing.values())
    threads = max(of["threads"] / one for of in computing.values())
    misses = figures["misses"]
    return NoteFindings(
        "Many processes are dear and share nothing; one that crashes takes no other with it.",
        ("computing in Python", "processes", "threads"),
        [
            (
                f"{number} at once",
                f"{of['processes'] / one:.2f} × one",
                f"{of['threads'] / one:.2f} × one",
            )
            for number, of in computing.items()
        ],
        [
            Statement(
                crash["survivors"] == crash["processes"] - 1,
                f"One of {crash['processes']} processes read from an address that is not there, "
                f"and the other {crash['survivors']} went on.",
                f"Of {crash['processes']} processes, one of which crashed, {crash['survivors']} "
                "went on.",
                "The same crash in one of four processes leaves the other three at work.",
            ),
            Statement(
                start["a thread"] < start["a fork"] < start["an interpreter"],
                f"To start a thread takes {formats.duration(start['a thread'])}, a copy of this "
                f"process {formats.duration(start['a fork'])}, and an interpreter that begins anew "
                f"{formats.duration(start['an interpreter'])}.",
                "Here a process starts as fast as a thread: "
                + ", ".join(f"{name} in {formats.duration(took)}" for name, took in start.items())
                + ".",
                "To start a thread is faster than to copy a process, and that is faster than to "
                "begin an interpreter anew, each at its fastest.",
            ),
            Statement(
                weight is not None and weight["a fork"] < weight["an interpreter"],
                f"A copy that does nothing adds {_size(weight, 'a fork')}, as it shares the rest "
                "with the original; an interpreter that begins anew adds "
                f"{_size(weight, 'an interpreter')}.",
                f"A copy takes {_size(weight, 'a fork')}, and an interpreter that begins anew "
                f"{_size(weight, 'an interpreter')}."
                if weight is not None
                else "This system does not tell what memory a process has.",
                "A copy of a process adds less memory than an interpreter that begins anew.",
            ),
            Statement(
                cores > 1 and best >= 1 + GAIN,
                f"Processes compute {best:.1f} times as much as one, on {figures['cores']:g} "
                f"cores; threads {threads:.1f} times.",
                f"Processes compute {best:.1f} times as much as one here, on {figures['cores']:g} "
                f"cores, and threads {threads:.1f} times: others use these cores, or there is one.",
            ),
            Statement(
                misses is not None,
                f"A switch between two processes costs {misses or 0:,.0f} cache misses.",
                "How many cache misses a switch costs cannot be read here (perf may not, or is not "
                "there).",
            ),
        ],
        "So `heori consume --model processes` is for work that computes in Python: a process for "
        "each core, each with a GIL of its own. Heori's workers are copies of a process that has "
        "imported what they need, so that they start fast and share its memory: "
        "consumer/heori_consumer/pool/zygote.py. One that crashes is replaced, and nobody else "
        "notices: consumer/heori_consumer/pool/roster.py.",
        [
            Curves(
                "Computing in Python, × one process that has a core to itself",
                "at once",
                {
                    name: [(number, of[name] / one) for number, of in computing.items()]
                    for name in ("processes", "threads")
                },
            ),
            Bars("ms to start", {name: took * 1e3 for name, took in start.items()}, ",.2f"),
        ],
    )


def _size(weight: Figures | None, name: str) -> str:
    return formats.size((weight or {}).get(name, 0))


def _timed(start: Callable[[], None]) -> float:
    began = time.perf_counter()
    start()
    return time.perf_counter() - began


def _thread() -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()


def _fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _spawn() -> None:
    subprocess.run([sys.executable, "-I", "-c", ""], check=True)


def _weigh() -> dict[str, float] | None:
    """What each of some processes adds to the memory that all take; None if nobody tells.

    A copy counts for what it shares with nobody, and for its part of what it shares: so the
    original gets lighter by what the copies take over.
    """
    before = own_memory()
    copies = [_sleeping_copy() for _ in range(WEIGHED)]
    anew = subprocess.Popen(
        [sys.executable, "-I", "-c", "print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert anew.stdout is not None
        anew.stdout.readline()
        after = own_memory()
        has = [memory(psutil.Process(pid)) for pid, _ in copies]
        fresh = memory(psutil.Process(anew.pid))
    finally:
        for pid, end in copies:
            os.write(end, b"x")  # later copies have this end, too: to close it is not enough
            os.close(end)
            os.waitpid(pid, 0)
        anew.communicate()
    if before is None or after is None or fresh is None or fresh.pss is None:
        return None
    own = [each.pss for each in has if each is not None and each.pss is not None]
    return {
        "a fork": (sum(own) + after - before) / WEIGHED,
        "an interpreter": float(fresh.pss),
    }


def _sleeping_copy() -> tuple[int, int]:
    """A copy of this process that waits; its number, and a file: a byte there ends it."""
    waiting, end = os.pipe()
    there, ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(end)
        os.write(ready, b"x")
        os.read(waiting, 1)
        os._exit(0)
    os.read(there, 1)
    for file in (waiting, there, ready):
        os.close(file)
    return pid, end


def _crash() -> Figures:
    """Start copies of this process of which one crashes; see who is left."""
    reading, writing = os.pipe()
    pids = []
    for number in range(CRASHING):
        pid = os.fork()
        if pid == 0:
            silence()
            live_or_crash(number, writing)
            os._exit(0)
        pids.append(pid)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        survivors = len(told.read())
    for pid in pids:
        os.waitpid(pid, 0)
    return {"processes": CRASHING, "survivors": survivors, "seconds": IDLE_S}


def _misses() -> float | None:
    """Cache misses a switch between two processes, by perf(1); None if it may not read them."""
    if (perf := shutil.which("perf")) is None:
        return None
    rounds = 20_000
    ping = (
        "import os\n"
        "(a, b), (c, d) = os.pipe(), os.pipe()\n"
        "if os.fork() == 0:\n"
        f"    [os.write(b, os.read(c, 1)) for _ in range({rounds})]\n"
        "    os._exit(0)\n"
        f"[(os.write(d, b'x'), os.read(a, 1)) for _ in range({rounds})]\n"
    )
    counted = []
    for code in (ping, ping.replace(str(rounds), "1")):
        run = subprocess.run(
            [perf, "stat", "-x,", "-e", "cache-misses", sys.executable, "-I", "-c", code],
            capture_output=True,
            text=True,
            check=False,
        )
        count = run.stderr.strip().rpartition("\n")[2].partition(",")[0]
        if not count.isdecimal():
            return None
        counted.append(int(count))
    return max(0, counted[0] - counted[1]) / (2 * rounds)
