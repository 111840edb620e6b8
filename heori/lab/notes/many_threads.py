"""Many threads cost little and share all: what waits goes on at the same time, and so does a crash.

Each thread waits for a hundredth of a second again and again, as for a database. While one waits
it lets go of the GIL, so that the others go on.
"""

import ctypes
import os
import threading
import time

import psutil

from heori import formats
from heori.lab.notes.findings import Curves, Figures, NoteFindings, Statement, Step
from heori_consumer.gil.usage import memory

THREADS, QUICK_THREADS = (1, 4, 16, 64, 256), (1, 8, 64)
WAIT_S = 0.01
SPAN_S, QUICK_SPAN_S = 1.0, 0.3
CRASHING = 4  # threads, one of which crashes
IDLE_S = 0.3  # for which the others of them wait before they tell that they are there
# Of what they would do, if waiting cost nothing: with so many it is as good as that.
FULL = 0.8
GAIN = 4  # times what one thread does, by 64 at least, however busy the machine is


def measure(step: Step, *, seed: int, quick: bool) -> Figures:  # noqa: ARG001 - nothing is drawn
    """Wait with more and more threads; weigh them; have one of a few crash."""
    figures: Figures = {"crash": _crash(), "waits": {}}
    numbers = QUICK_THREADS if quick else THREADS
    span = QUICK_SPAN_S if quick else SPAN_S
    for done, threads in enumerate(numbers):
        step(done / (len(numbers) + 1))
        figures["waits"][threads] = _wait(threads, span)
    step(len(numbers) / (len(numbers) + 1))
    figures["bytes"] = _bytes_of_one(max(numbers))
    return figures


def findings(figures: Figures) -> NoteFindings:
    """See `heori.lab.notes`."""
    waits = {int(threads): of for threads, of in figures["waits"].items()}
    one = waits[1]["rate"]
    most = max(waits)
    full = [threads for threads, of in waits.items() if of["rate"] >= FULL * threads * one]
    crash, weight = figures["crash"], figures["bytes"]
    return NoteFindings(
        "Many threads of one process are cheap, share everything, and crash together.",
        ("threads", "waits/s", "× one thread", "cores used"),
        [
            (
                str(threads),
                formats.count(of["rate"]),
                formats.times(of["rate"] / one),
                formats.cores(of["cores"]),
            )
            for threads, of in waits.items()
        ],
        [
            Statement(
                waits[64]["rate"] >= GAIN * one,
                f"64 threads wait {waits[64]['rate'] / one:.0f} times as often in a second as one: "
                "while one waits, the others have the GIL.",
                f"64 threads wait only {waits[64]['rate'] / one:.1f} times as often in a second as "
                "one: others use these cores.",
                "64 threads that wait get at least 4 times as much done as one.",
            ),
            Statement(
                len(full) == len(waits),
                f"Work that waits is done in proportion by up to {most} threads.",
                f"Work that waits is done in proportion by up to {max(full)} threads here, and "
                f"{waits[most]['rate'] / one:.0f} times as fast by {most}: then what it takes to "
                "begin and end a wait is more than this process can do.",
            ),
            Statement(
                weight is not None and weight < 1e6,
                f"A thread takes {formats.size(weight or 0)} of memory.",
                "A thread takes a megabyte or more here."
                if weight is not None
                else "This system does not tell what memory a process has.",
                "A thread takes less than 1 MB of memory.",
            ),
            Statement(
                crash["survivors"] == 0,
                f"One of {crash['threads']} threads read from an address that is not there, and "
                f"all of them were gone, by signal {crash['signal']}.",
                f"{crash['survivors']} threads went on after one of them had crashed.",
                "A thread that reads from an address that is not there takes all threads of its "
                "process with it.",
            ),
        ],
        "So `heori consume --model threads`, eight slots of one process unless told otherwise, is "
        "for work that waits, and what a slot more costs is next to nothing. Should a job crash, "
        "its neighbours are given back at once and run again, and the job that was at work is "
        "tried once more in a process of its own: consumer/heori_consumer/pool/handle.py, `bury`.",
        [
            Curves(
                "Waits a second by threads",
                "threads",
                {
                    "measured": [(threads, of["rate"]) for threads, of in waits.items()],
                    "if each did as one alone": [(threads, threads * one) for threads in waits],
                },
                log=True,
                faint=("if each did as one alone",),
            )
        ],
    )


def _wait(threads: int, span: float) -> Figures:
    """How many waits a second so many threads do, and what CPU time that takes."""
    counts = [0] * threads
    start = threading.Barrier(threads + 1)
    end = threading.Event()

    def work(number: int) -> None:
        start.wait()
        while not end.is_set():
            time.sleep(WAIT_S)
            counts[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    start.wait()
    began, used = time.perf_counter(), time.process_time()
    time.sleep(span)
    took, cpu, done = time.perf_counter() - began, time.process_time() - used, sum(counts)
    end.set()
    for worker in workers:
        worker.join()
    return {"rate": done / took, "cores": cpu / took}


def _bytes_of_one(threads: int) -> float | None:
    """What a thread that waits adds to the memory of its process; None if nobody tells."""
    end = threading.Event()
    waiting = threading.Barrier(threads + 1)

    def wait() -> None:
        waiting.wait()
        end.wait()

    before = own_memory()
    workers = [threading.Thread(target=wait) for _ in range(threads)]
    for worker in workers:
        worker.start()
    waiting.wait()
    after = own_memory()
    end.set()
    for worker in workers:
        worker.join()
    return None if before is None or after is None else max(0.0, after - before) / threads


def own_memory() -> int | None:
    """Bytes that this process takes from the machine; None if nobody tells."""
    has = memory(psutil.Process())
    return None if has is None else has.pss or has.rss


def _crash() -> Figures:
    """Have a copy of this process start threads of which one crashes; see who is left."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        silence()
        for number in range(CRASHING):
            threading.Thread(target=live_or_crash, args=(number, writing)).start()
        time.sleep(2 * IDLE_S)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        survivors = len(told.read())
    _, status = os.waitpid(pid, 0)
    return {
        "threads": CRASHING,
        "survivors": survivors,
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
    }


def live_or_crash(number: int, told: int) -> None:
    """Crash, if it is the first; else tell after a while that it is there."""
    if number == 0:
        ctypes.string_at(0)
    time.sleep(IDLE_S)
    os.write(told, b"x")


def silence() -> None:
    """What a crash would say here is no news."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
