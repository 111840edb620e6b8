"""A process has an address space of its own: code, data, heap and stack, and one thread at least.

What it says to another it must send. What that costs is measured by round trips: one says a byte,
and waits until the other has said it back.
"""

import contextlib
import ctypes
import json
import mmap
import os
import queue
import resource
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

import psutil

from heori import formats
from heori.lab.notes.findings import Bars, Figures, NoteFindings, Statement, Step
from heori_common.platform import own_mappings

ROUNDS, QUICK_ROUNDS = 5_000, 500
TURNS = 3  # of each way, in turns; the fastest counts
END = b"\0"
SWITCHED = 0.5  # context switches a round trip, at least, of what waits; else the answer was there
# What a process has, by how the kernel names and protects it.
REGIONS = ("code", "heap", "stack")


def measure(step: Step, *, seed: int, quick: bool) -> Figures:  # noqa: ARG001 - nothing is drawn
    """Change a global in a copy of this process; then send bytes to and fro in five ways."""
    figures: Figures = {"apart": _apart()}
    rounds = QUICK_ROUNDS if quick else ROUNDS
    ways: list[tuple[str, Callable[[], contextlib.AbstractContextManager[Callable[[], None]]]]] = [
        ("a pipe", _pipe),
        ("a socket", _socket),
        ("shared memory", _shared_memory),
        ("a file", _file),
        ("a thread", _thread),  # last: a process is not to be copied while it has threads
    ]
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in ways}
    for number, (name, way) in enumerate(ways):
        for turn in range(TURNS):
            step((number + turn / TURNS) / len(ways))
            with way() as round_trip:
                round_trip()
                switches, began = _switches(), time.perf_counter()
                for _ in range(rounds):
                    round_trip()
                took = time.perf_counter() - began
                seen[name].append((took / rounds, (_switches() - switches) / rounds))
    figures["messages"] = {
        name: dict(zip(("seconds", "switches"), min(found), strict=True))
        for name, found in seen.items()
    }
    return figures


def findings(figures: Figures) -> NoteFindings:
    """See `heori.lab.notes`."""
    apart, messages = figures["apart"], figures["messages"]
    parent, child = apart["parent"], apart["child"]
    by_cost = sorted(messages, key=lambda name: messages[name]["seconds"])
    between = [name for name in by_cost if name != "a thread"]
    switches = messages["a pipe"]["switches"]
    waiting = messages["a pipe"]["seconds"] / messages["a thread"]["seconds"]
    return NoteFindings(
        "A process has an address space of its own. It talks to others by messages, which cost.",
        ("a byte to and fro by", "time", "context switches"),
        [
            (
                name,
                formats.duration(messages[name]["seconds"]),
                f"{messages[name]['switches']:.1f}",
            )
            for name in by_cost
        ],
        [
            Statement(
                parent["text"] != child["text"] and parent["address"] == child["address"],
                f"At the same address, {child['address']:#x}, a process reads {parent['text']!r}, "
                f"and the copy of it that has changed its global reads {child['text']!r}.",
                "The copy's change of a global was seen in the original, or stands elsewhere: here "
                "memory was shared.",
                "A copy of a process that changes a global changes nothing in the original, which "
                "has that global at the same address.",
            ),
            Statement(
                all(parent["regions"].get(name) and child["regions"].get(name) for name in REGIONS),
                f"Each has code, a heap and a stack of its own ({_sizes(parent['regions'])}).",
                "This system does not tell what is where in a process.",
                "Each has code, a heap and a stack of its own.",
            ),
            Statement(
                parent["threads"] >= 1 and child["threads"] >= 1,
                f"Each has a thread at least: the original {parent['threads']}, the copy "
                f"{child['threads']}.",
                "This system does not tell how many threads a process has.",
                "Each has at least one thread.",
            ),
            Statement(
                switches >= SWITCHED,
                f"To wait for the answer of another process in a pipe took {switches:.1f} context "
                "switches.",
                f"The answer in a pipe was mostly there already: {switches:.1f} context switches.",
                "To wait for an answer in a pipe, a process gives up its core: that is at least "
                "0.5 context switches for each byte to and fro.",
            ),
            Statement(
                by_cost[0] == "a thread",
                "No message is as cheap as one to a thread of the same process.",
                f"A message by {by_cost[0]} is cheaper than one to a thread of the same process: "
                "there both wait for one GIL, and one of them always sleeps.",
            ),
            Statement(
                between[0] == "shared memory",
                "Between processes shared memory is the fastest, as nobody asks the kernel for "
                "anything, at the price of a core that does nothing but look.",
                f"Between processes {between[0]} is the fastest.",
            ),
            Statement(
                waiting >= 1,
                f"A pipe takes {waiting:.1f} times as long as a queue between two threads.",
                f"A pipe takes {waiting:.1f} times as long as a queue between two threads: these "
                "hand over the GIL each time.",
            ),
        ],
        "So Heori's workers are processes: what one job does to its memory, it does to no other "
        "process. And its supervisor sends jobs to them in batches, and reads what came of them in "
        "batches: a message for each would cost more than a small job. The code: "
        "consumer/heori_consumer/pool/link.py and worker/link.py.",
        [
            Bars(
                "µs for a byte to and fro",
                {name: messages[name]["seconds"] * 1e6 for name in by_cost},
            )
        ],
    )


def _sizes(found: Figures) -> str:
    return ", ".join(f"{name} {formats.size(found.get(name, 0))}" for name in REGIONS)


# Address spaces


def _apart() -> Figures:
    """Copy this process, and have the copy change a global."""
    text = ctypes.create_string_buffer(b"parent")
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        text.value = b"child"
        os.write(writing, json.dumps(_about(text)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        child = json.loads(told.read())
    os.waitpid(pid, 0)
    return {"parent": _about(text), "child": child}


def _about(text: "ctypes.Array[ctypes.c_char]") -> Figures:
    return {
        "text": text.value.decode(),
        "address": ctypes.addressof(text),
        "regions": regions(),
        "threads": psutil.Process().num_threads(),
    }


def regions() -> dict[str, int]:
    """Bytes of the address space of this process, by what is there; empty where nobody tells."""
    found: dict[str, int] = {}
    for first, last, protection, name in own_mappings():
        kind = "code" if "x" in protection else name.strip("[]")
        if kind in REGIONS:
            found[kind] = found.get(kind, 0) + last - first
    return found


# Round trips


def _switches() -> int:
    """How often this process has given up its core, or lost it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_nvcsw + used.ru_nivcsw


@contextlib.contextmanager
def _echo(serve: Callable[[], None]) -> Iterator[None]:
    """A copy of this process that answers until it is told END."""
    pid = os.fork()
    if pid == 0:
        try:
            serve()
        finally:
            os._exit(0)
    try:
        yield
    finally:
        os.waitpid(pid, 0)


@contextlib.contextmanager
def _pipe() -> Iterator[Callable[[], None]]:
    (reading, answering), (asked, asking) = os.pipe(), os.pipe()

    def serve() -> None:
        while (said := os.read(asked, 1)) != END:
            os.write(answering, said)

    def round_trip() -> None:
        os.write(asking, b"x")
        os.read(reading, 1)

    with _echo(serve):
        yield round_trip
        os.write(asking, END)
    for file in (reading, answering, asked, asking):
        os.close(file)


@contextlib.contextmanager
def _socket() -> Iterator[Callable[[], None]]:
    ours, theirs = socket.socketpair()

    def serve() -> None:
        while (said := theirs.recv(1)) != END:
            theirs.send(said)

    def round_trip() -> None:
        ours.send(b"x")
        ours.recv(1)

    with ours, theirs, _echo(serve):
        yield round_trip
        ours.send(END)


@contextlib.contextmanager
def _shared_memory() -> Iterator[Callable[[], None]]:
    with mmap.mmap(-1, mmap.PAGESIZE) as memory:
        yield from _by_looking(memory.__getitem__, memory.__setitem__)


@contextlib.contextmanager
def _file() -> Iterator[Callable[[], None]]:
    with tempfile.TemporaryFile(buffering=0) as file:
        number = file.fileno()
        os.pwrite(number, bytes(2), 0)

        def read(place: int) -> int:
            return os.pread(number, 1, place)[0]

        def write(place: int, value: int) -> None:
            os.pwrite(number, bytes([value]), place)

        yield from _by_looking(read, write)


def _by_looking(
    read: Callable[[int], int], write: Callable[[int, int], None]
) -> Iterator[Callable[[], None]]:
    """By two bytes, at which each side looks again and again: what is asked, and the answer."""

    def wait_for(place: int, old: int) -> int:
        while (now := read(place)) == old:
            os.sched_yield()  # the other side may need this core
        return now

    def serve() -> None:
        asked = 0
        while (asked := wait_for(0, asked)) != 255:
            write(1, asked)

    latest = 0

    def round_trip() -> None:
        nonlocal latest
        before, latest = latest, latest % 200 + 1
        write(0, latest)
        wait_for(1, before)

    write(0, 0)
    write(1, 0)
    with _echo(serve):
        yield round_trip
        write(0, 255)


@contextlib.contextmanager
def _thread() -> Iterator[Callable[[], None]]:
    asked: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def serve() -> None:
        while (said := asked.get()) != END:
            answers.put(said)

    def round_trip() -> None:
        asked.put(b"x")
        answers.get()

    other = threading.Thread(target=serve)
    other.start()
    try:
        yield round_trip
    finally:
        asked.put(END)
        other.join()
