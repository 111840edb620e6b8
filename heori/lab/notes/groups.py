"""A group of threads takes calls, and gives for each a future: pending, running, done.

The standard library's ThreadPoolExecutor and Heori's RedisExecutor get the same calls, and have as
many slots. Their futures are looked at again and again meanwhile, as any program may.
"""

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from heori import RedisExecutor, formats, task
from heori.lab.notes.findings import Figures, NoteFindings, Spans, Statement, Step
from heori.lab.notes.serving import serving

QUEUE = "groups"
SLOTS = 3
UNIT_S, QUICK_UNIT_S = 0.5, 0.08
# How long each call takes, in units: by three slots no two of them end at once. The last but one is
# cancelled, and the last one sent just before the `with` block is left.
CALLS = (4.0, 1.0, 2.5, 2.0, 1.0, 2.0, 1.0, 1.0)
LONG, RAISING, CANCELLED, LAST = 0, 2, 6, 7
TIMEOUT = 0.5  # units, for which the result of the long call is waited for
LOOK_S = 0.005  # between two looks at all futures
SINGLY, QUICK_SINGLY = 500, 30  # calls that do nothing, one after the other
AT_ONCE, QUICK_AT_ONCE = 5_000, 300  # and all at once
GO = "go"  # file: all that is tried with calls that run has been tried, and they may end
TRY_S = 30.0  # for calls to begin, and for that
STATES = ("pending", "running", "returned", "raised", "cancelled")
NAMES = {"threads": "ThreadPoolExecutor", "jobs": "RedisExecutor"}

Told = tuple[int, float]  # in which process a call was, and when it ended


class NoSuchRow(LookupError):
    """What one of the calls raises."""

    ended: float


@task(queue=QUEUE)
def call(number: int, seconds: float, folder: Path) -> Told:
    """Leave a mark when it has begun, and wait; on a busy machine for longer, until it may end."""
    (folder / str(number)).write_text(str(time.monotonic()))
    time.sleep(seconds)
    _wait_for(folder / GO)
    if number != RAISING:
        return os.getpid(), time.monotonic()
    error = NoSuchRow("no such row", 17)
    error.ended = time.monotonic()
    raise error


@task(queue=QUEUE)
def nothing(number: int) -> int:
    """The least that a call can do."""
    return number


def measure(step: Step, *, seed: int, quick: bool) -> Figures:  # noqa: ARG001 - nothing is drawn
    """Give both executors the same calls, and then many that do nothing."""
    unit = QUICK_UNIT_S if quick else UNIT_S
    singly, at_once = (QUICK_SINGLY, QUICK_AT_ONCE) if quick else (SINGLY, AT_ONCE)
    figures: Figures = {}
    with serving(__name__, [QUEUE], slots=SLOTS) as service:
        executors: dict[str, Callable[[], Executor]] = {
            "threads": lambda: ThreadPoolExecutor(SLOTS),
            "jobs": lambda: RedisExecutor(service.url, queue=QUEUE),
        }
        service.ready()
        for place, (name, executor) in enumerate(executors.items()):
            step((place + 0.1) / len(executors))
            figures[name] = _group(executor(), unit, step, place / len(executors))
            step((place + 0.8) / len(executors))
            with executor() as other:
                figures[name] |= _cost(other, singly, at_once)
    return figures


def findings(figures: Figures) -> NoteFindings:
    """See `heori.lab.notes`."""
    both = [figures[name] for name in NAMES]
    threads, jobs = both
    return NoteFindings(
        "A group of threads takes calls, and gives a future for each. Heori gives the same futures "
        "for jobs, which any consumer runs.",
        ("the same calls to", *NAMES.values()),
        [
            ("they run in", *("this process" if it["here"] else "another process" for it in both)),
            ("of them at once, at most", *(str(it["most"]) for it in both)),
            ("result(timeout) gave up after", *(_time(it["timeout"]["waited"]) for it in both)),
            ("cancel of what waits, and of what runs", *(_cancelled(it["cancel"]) for it in both)),
            ("raised", *(_raised(it["raised"]) for it in both)),
            ("the end of a call is known after", *(_time(it["known"]) for it in both)),
            ("a call that does nothing, and its result", *(_time(it["one"]) for it in both)),
            ("such calls a second, all at once", *(formats.count(it["rate"]) for it in both)),
        ],
        [
            Statement(
                all(it["most"] == SLOTS and _in_order(it["states"]) for it in both),
                f"In both, {SLOTS} calls run at once, and the futures of the others are pending "
                "until one of these is done.",
                "Not every future was seen pending, then running, then done: it was looked at too "
                "seldom, or began late.",
            ),
            Statement(
                threads["raised"] == jobs["raised"] == ["NoSuchRow", ["no such row", 17]],
                "The error that a call raises is raised again where its result is asked for, with "
                f"class and arguments: {_raised(jobs['raised'])}, out of another process, too.",
                "The error of a call did not come as it was raised: "
                f"{_raised(threads['raised'])} by threads, {_raised(jobs['raised'])} by jobs.",
                "The error that a call raises is raised again where its result is asked for, with "
                "its class and arguments.",
            ),
            Statement(
                all(it["order"] == it["ended"] for it in both),
                "as_completed gives futures in the order in which their calls ended: "
                f"{_numbers(jobs['order'])}, and not that in which they were sent.",
                "as_completed gave futures in another order than that in which their calls ended: "
                f"{_numbers(threads['order'])} for {_numbers(threads['ended'])} by threads, "
                f"{_numbers(jobs['order'])} for {_numbers(jobs['ended'])} by jobs. Whoever waits "
                "was woken late.",
            ),
            Statement(
                all(it["timeout"]["raised"] and it["timeout"]["came"] for it in both),
                f"A timeout ends the wait, after {_time(jobs['timeout']['waited'])}, and not the "
                "call: its result came later.",
                "A result was there before its timeout, or did not come after it.",
                "A timeout ends the wait for a result and not the call: the result comes later.",
            ),
            Statement(
                all(it["cancel"]["waiting"] and not it["cancel"]["begun"] for it in both),
                "What has not begun can be cancelled, and then does not run.",
                "A call that was cancelled had begun before.",
                "What has not begun can be cancelled, and then does not run.",
            ),
            Statement(
                not any(it["cancel"]["running"] for it in both),
                "What runs cannot: cancel returned False, and the call went on to its end.",
                "The first call was cancelled: it was slow to begin here.",
                "What runs cannot be cancelled: cancel returns False.",
            ),
            Statement(
                all(it["left"]["done"] for it in both),
                "Leaving the with block waits for what was sent in it, here for "
                f"{_time(threads['left']['waited'])} and {_time(jobs['left']['waited'])}.",
                "A call had not ended when its with block was left, which cannot be.",
                "Leaving the with block waits for what was sent in it.",
            ),
            Statement(
                threads["here"] and not jobs["here"] and threads["one"] < jobs["one"],
                f"The threads are of this process, and a call costs {_time(threads['one'])}; a job "
                f"goes through Redis to another process, which may be on another machine, for "
                f"{_time(jobs['one'])}.",
                "A call by Redis to another process cost no more than one to a thread here.",
                "A call by Redis to another process costs more than one to a thread of this one.",
            ),
        ],
        "So a program that uses concurrent.futures changes one line to have its calls run on other "
        "machines; what it gains is that calls are not lost when it ends, or when a process that "
        "runs them does. What it pays is a way to Redis and back, so a call is to be worth more "
        "than that, or many are to go as one: map(chunksize=100). The code: "
        "producer/heori_producer/executor.py, and one thread that waits for all results: "
        "producer/heori_producer/watcher.py.",
        [_spans(name, figures[name]) for name in NAMES],
    )


def _time(seconds: float) -> str:
    return formats.duration(seconds)


def _cancelled(cancel: Figures) -> str:
    return f"{cancel['waiting']}, {cancel['running']}"


def _raised(raised: Sequence[Any]) -> str:
    kind, arguments = raised
    return f"{kind}({', '.join(map(repr, arguments))})"


def _numbers(order: Sequence[int]) -> str:
    return ", ".join(str(number + 1) for number in order)


def _in_order(states: Sequence[Sequence[tuple[str, float]]]) -> bool:
    """Whether each call was seen to run, and each for which there was no slot to wait before."""
    seen = [[state for state, _ in of] for of in states]
    return all(
        of[-2:] == ["running", "raised" if number == RAISING else "returned"]
        and (number < SLOTS or number == LAST or of[0] == "pending")
        for number, of in enumerate(seen)
        if number != CANCELLED
    )


def _spans(name: str, figures: Figures) -> Spans:
    labels = {RAISING: ", raises", CANCELLED: ", cancelled", LAST: ", awaited by with"}
    rows = {}
    for number, changes in enumerate(figures["states"]):
        ends = [at for _, at in changes[1:]] + [1.03 * figures["seconds"]]
        rows[f"call {number + 1}{labels.get(number, '')}"] = [
            (state, at, end) for (state, at), end in zip(changes, ends, strict=True)
        ]
    return Spans(f"{NAMES[name]}: what its futures are, by {SLOTS} slots", rows, STATES)


# One group


def _group(executor: Executor, unit: float, step: Step, done: float) -> Figures:
    """Have calls run, look at their futures meanwhile, and do to them what can be done."""
    futures: list[Future[Told]] = []
    known: dict[int, float] = {}
    states: list[list[tuple[str, float]]] = [[] for _ in CALLS]
    over = threading.Event()
    began = time.monotonic()
    watch = threading.Thread(target=_watch, args=(futures, states, began, over))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def submit(number: int) -> None:
            future = executor.submit(call, number, CALLS[number] * unit, folder)
            future.add_done_callback(lambda _: known.setdefault(number, time.monotonic()))
            futures.append(future)

        watch.start()
        try:
            with executor:
                for number in range(LAST):
                    submit(number)
                for number in range(SLOTS):
                    _wait_for(folder / str(number))
                figures: Figures = {"timeout": _late(futures[LONG], TIMEOUT * unit)}
                running = futures[LONG].cancel()
                figures["cancel"] = {"waiting": futures[CANCELLED].cancel(), "running": running}
                order: list[int] = []
                (folder / GO).touch()
                for future in as_completed(futures):
                    step(done + 0.1 + 0.3 * len(order) / LAST)
                    order.append(futures.index(future))
                submit(LAST)
                sent = time.monotonic()
            left = time.monotonic()
            figures["left"] = {"done": futures[LAST].done(), "waited": left - sent}
        finally:
            over.set()
            watch.join()
        (folder / GO).unlink()
        begins = {int(mark.name): float(mark.read_text()) for mark in folder.iterdir()}
    figures["cancel"]["begun"] = CANCELLED in begins
    ended = {n: _ended(future) for n, future in enumerate(futures) if not future.cancelled()}
    error = futures[RAISING].exception()
    figures["timeout"]["came"] = LONG in ended
    return figures | {
        "states": states,
        "seconds": left - began,
        "order": [number for number in order if number in ended],
        "ended": sorted((number for number in ended if number != LAST), key=ended.__getitem__),
        "raised": [type(error).__name__, list(getattr(error, "args", ()))],
        "most": max(
            sum(begins[other] <= begin < end for other, end in ended.items())
            for begin in begins.values()
        ),
        "here": all(f.result()[0] == os.getpid() for f in futures if _returned(f)),
        "known": statistics.median(known[number] - end for number, end in ended.items()),
    }


def _watch(
    futures: Sequence["Future[Told]"],
    states: list[list[tuple[str, float]]],
    began: float,
    over: threading.Event,
) -> None:
    """Note what futures are, whenever it changes, until this is over and they are done."""
    while True:
        last = over.is_set()
        for future, changes in zip(list(futures), states, strict=False):
            state = _state(future)
            # A job that has ended runs no more, a moment before its future is done: no way back.
            if not changes or STATES.index(state) > STATES.index(changes[-1][0]):
                changes.append((state, time.monotonic() - began))
        if last:
            return
        over.wait(LOOK_S)


def _state(future: "Future[Told]") -> str:
    if future.cancelled():
        return "cancelled"
    if future.done():
        return "returned" if _returned(future) else "raised"
    return "running" if future.running() else "pending"


def _returned(future: "Future[Told]") -> bool:
    return not future.cancelled() and future.exception() is None


def _ended(future: "Future[Told]") -> float:
    """When a call has ended, as it says itself: by the one clock of this machine."""
    error = future.exception()
    return error.ended if isinstance(error, NoSuchRow) else future.result()[1]


def _late(future: "Future[Told]", timeout: float) -> Figures:
    """Wait for a result that comes later than that."""
    began = time.monotonic()
    try:
        future.result(timeout)
    except TimeoutError:
        return {"raised": True, "waited": time.monotonic() - began}
    return {"raised": False, "waited": time.monotonic() - began}


def _wait_for(mark: Path) -> None:
    deadline = time.monotonic() + TRY_S
    while not mark.exists() and time.monotonic() < deadline:
        time.sleep(LOOK_S)


# What a call costs


def _cost(executor: Executor, singly: int, at_once: int) -> Figures:
    """Seconds of a call that does nothing, and how many of them go through in a second."""
    executor.submit(nothing, 0).result()
    took = []
    for number in range(singly):
        began = time.perf_counter()
        executor.submit(nothing, number).result()
        took.append(time.perf_counter() - began)
    began = time.perf_counter()
    results = list(executor.map(nothing, range(at_once)))
    rate = at_once / (time.perf_counter() - began)
    return {"one": statistics.median(took), "rate": rate, "right": results == list(range(at_once))}
