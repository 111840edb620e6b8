"""Threads share the heap of their process; a stack each has of its own.

So two threads may read the same number, add one each, and write it back: one addition is lost.
The GIL does not help, as it may be handed over between the read and the write. Here it is asked to
be as often as it can (`sys.setswitchinterval`): what is seldom in production is seen in a second.
"""

import os
import sys
import threading
import time
from contextlib import nullcontext

from heori import formats
from heori.lab.notes.findings import Bars, Figures, NoteFindings, Statement, Step
from heori_common.platform import own_mappings, read_thread, usable_cores

THREADS = (1, 2, 4, 8)
ADDITIONS, QUICK_ADDITIONS = 200_000, 30_000  # by all threads together
TRIES = 20  # to lose one, at most
SWITCH_S = 1e-6  # after which the GIL is to be handed over
WAIT_S, LOOK_S = 2.0, 0.01  # for a thread to wait, and between two looks whether it does


def measure(step: Step, *, seed: int, quick: bool) -> Figures:  # noqa: ARG001 - nothing is drawn
    """Look where threads have their stacks; then count with some at the same number."""
    figures: Figures = {"stacks": _stacks(), "cores": usable_cores(), "counts": {}}
    additions = QUICK_ADDITIONS if quick else ADDITIONS
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        for number, threads in enumerate(THREADS):
            counts = {}
            for name, lock in (("alone", None), ("locked", threading.Lock())):
                step((number + (lock is not None) / 2) / len(THREADS))
                counts[name] = _some_counts(threads, additions // threads, lock)
            figures["counts"][threads] = counts
    finally:
        sys.setswitchinterval(interval)
    return figures


def findings(figures: Figures) -> NoteFindings:
    """See `heori.lab.notes`."""
    counts = {int(threads): of for threads, of in figures["counts"].items()}
    lost = {threads: _lost(of["alone"]) for threads, of in counts.items()}
    many = {threads: share for threads, share in lost.items() if threads > 1}
    worst = max(many, key=many.__getitem__)
    price = _each(counts[worst]["locked"]) / _each(counts[worst]["alone"])
    stacks = figures["stacks"]
    apart = [stack for stack in stacks if stack["stack"] is not None]
    return NoteFindings(
        "Threads share the heap of their process, and have stacks of their own. What they share "
        "needs a lock.",
        ("threads", "additions", "lost", "lost with a lock", "an addition", "with a lock"),
        [
            (
                str(threads),
                formats.count(of["alone"]["asked"]),
                f"{lost[threads]:.2%}",
                formats.count(of["locked"]["asked"] - of["locked"]["counted"]),
                f"{_each(of['alone']) * 1e9:,.0f} ns",
                f"{_each(of['locked']) * 1e9:,.0f} ns",
            )
            for threads, of in counts.items()
        ],
        [
            Statement(
                len({stack["object"] for stack in stacks}) == 1,
                f"{len(stacks)} threads found the same object at the same address: they share the "
                "heap.",
                "Threads found different objects under one name: they share no heap here.",
                "Threads find the same object at the same address: they share the heap.",
            ),
            Statement(
                len(apart) == len(stacks) == len({stack["stack"] for stack in apart}),
                "Each of them has a stack of its own, in another part of the address space.",
                "This system does not tell where threads have their stacks.",
                "Each thread has a stack of its own, in another part of the address space.",
            ),
            Statement(
                lost[1] == 0,
                "One thread alone counts right.",
                "One thread alone has lost additions, which cannot be.",
                "One thread alone loses no addition.",
            ),
            Statement(
                many[worst] > 0,
                f"{worst} threads without a lock lose {many[worst]:.2%} of their additions: each "
                "reads, and another writes before it does.",
                "By luck no addition was lost in this run; that proves nothing.",
                "Threads without a lock lose additions, at least 1 of 600,000 with two, four or "
                "eight threads.",
            ),
            Statement(
                all(_lost(of["locked"]) == 0 for of in counts.values()),
                f"With a lock none is lost; {worst} threads then take {price:.1f} times as long.",
                "Additions were lost although there was a lock, which cannot be.",
                "With a lock no addition is lost, whatever the number of threads.",
            ),
        ],
        "So a task that changes what other jobs of its process see needs a threading.Lock. One "
        "that changes what jobs anywhere see, such as a balance in a database, needs a lock that "
        "all of them know: heori.Mutex, as `heori lab locks` shows. Heori itself keeps what slots "
        "share in single steps of a dict or a deque: consumer/heori_consumer/worker/lending.py.",
        [
            Bars(
                "% of the additions lost, by threads without a lock",
                {f"{threads} thread{'s' * (threads > 1)}": lost[threads] * 100 for threads in lost},
                ".2f",
            )
        ],
    )


def _lost(count: Figures) -> float:
    return 1.0 - float(count["counted"]) / float(count["asked"])


def _each(count: Figures) -> float:
    """Seconds for an addition."""
    return float(count["seconds"]) / float(count["asked"])


def _some_counts(threads: int, additions: int, lock: "threading.Lock | None") -> Figures:
    """Count once; without a lock again until an addition is lost: on a busy machine it takes a
    while until one thread is interrupted by another.
    """
    asked = counted = 0
    seconds = 0.0
    for _ in range(TRIES if lock is None and threads > 1 else 1):
        began = time.perf_counter()
        counted += _count(threads, additions, lock)
        seconds += time.perf_counter() - began
        asked += additions * threads
        if counted < asked:
            break
    return {"asked": asked, "counted": counted, "seconds": seconds}


def _count(threads: int, additions: int, lock: "threading.Lock | None") -> int:
    """Have threads add one to a number, so many times each; returns the number."""
    total = [0]
    start = threading.Barrier(threads)

    def one_more(number: int) -> int:
        return number + 1

    def add() -> None:
        guard = lock or nullcontext()
        start.wait()
        for _ in range(additions):
            with guard:
                total[0] = one_more(total[0])

    _run([threading.Thread(target=add) for _ in range(threads)])
    return total[0]


def _stacks() -> list[Figures]:
    """Of some threads: where they find an object that all know, and which mapping has their stack.

    The kernel tells the stack pointer of a thread that waits (proc(5), ``syscall``).
    """
    shared = object()
    found: list[Figures] = []
    go = threading.Event()
    here = threading.Barrier(5)

    def stand() -> None:
        found.append({"object": id(shared), "thread": threading.get_native_id()})
        here.wait()
        go.wait()

    threads = [threading.Thread(target=stand) for _ in range(4)]
    for thread in threads:
        thread.start()
    here.wait()
    for each in found:
        each["stack"] = _stack_of(each["thread"])
    go.set()
    for thread in threads:
        thread.join()
    return found


def _stack_of(thread: int) -> int | None:
    """Where the mapping begins in which a waiting thread has its stack; None if nobody tells."""
    deadline = time.monotonic() + WAIT_S
    pointer = None
    while pointer is None and time.monotonic() < deadline:
        words = (read_thread(os.getpid(), thread, "syscall") or b"").split()
        if not words:
            return None
        if len(words) > 1:  # else it is "running", and will wait soon
            pointer = int(words[-2], 16)
        else:
            time.sleep(LOOK_S)
    if pointer is None:
        return None
    return next((first for first, last, *_ in own_mappings() if first <= pointer < last), None)


def _run(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
