"""Sends jobs through one library, in a process of its own: ``python -m benchmarks.sender APP``.

Libraries patch, cache and log as they like, so no two of them share a process, and the program
that measures loads none of them. Reads one order a line as JSON and answers each with a line.
"""

import dataclasses
import importlib
import itertools
import json
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.apps import Call
from benchmarks.tasks import RECORD, TALLY

BULK = 2_500  # jobs a call when many are sent at once
# Between a job's start and the sending of the next, in seconds; at random, so that it falls into
# step with nobody's polling, and long enough for all to be idle again.
PAUSE = (0.02, 0.04)
PATIENCE = 30.0  # seconds for one job to start


@dataclass(frozen=True, slots=True)
class Order:
    """What to send: `count` jobs of a task, numbered from `first`, with more arguments alike.

    `how`: each by itself; in bulk, where the library can; spaced, which waits for each to start
    before the next; or answered, which waits for the result of each.
    `tenant`: for whom, in bulk, where the library knows tenants.
    `queues`: to which, in turns, where the library can choose.
    `seconds`: after which an answered order ends, with fewer jobs.
    """

    how: Literal["each", "bulk", "spaced", "answered"]
    task: str
    count: int
    first: int = 0
    rest: tuple[float | str, ...] = ()
    tenant: str = ""
    queues: Sequence[str] = ()
    seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of an order."""

    seconds: float
    cpu: float  # seconds of its own process
    stamps: list[int]  # time.time_ns() before each was sent; only of spaced orders
    round_trips: list[int]  # ns from before each until its result was there; only of answered ones


def main() -> None:
    app = importlib.import_module(f"benchmarks.apps.{sys.argv[1]}")
    for line in sys.stdin:
        order = Order(**json.loads(line))
        try:
            sent = send(app, order)
        except Exception as error:
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
            continue
        print(json.dumps(dataclasses.asdict(sent)), flush=True)


def send(app: Any, order: Order) -> Sent:
    """Carry out one order."""
    numbers = range(order.first, order.first + order.count)
    calls: list[Call] = [(number, *order.rest) for number in numbers]
    started, spent = time.time_ns(), time.process_time()
    stamps, round_trips = [], []
    if order.how == "answered":
        round_trips = list(_answered(app, order, calls))
    elif order.how == "spaced":
        stamps = list(_spaced(app, order.task, calls))
    elif order.how == "bulk" and hasattr(app, "send_bulk"):
        options = {"tenant": order.tenant} if order.tenant else {}
        for number, queue in enumerate(order.queues or [None]):
            of_queue = calls[number :: max(1, len(order.queues))]
            options |= {"queue": queue} if queue else {}
            for first in range(0, len(of_queue), BULK):
                app.send_bulk(order.task, of_queue[first : first + BULK], **options)
    else:
        # What it makes ready before the first is not part of the time.
        started, *_ = app.send_each(order.task, calls)
    cpu = time.process_time() - spent
    return Sent((time.time_ns() - started) / 1e9, cpu, stamps, round_trips)


def _answered(app: Any, order: Order, calls: list[Call]) -> Iterator[int]:
    end = time.monotonic() + order.seconds
    for call, queue in zip(calls, itertools.cycle(order.queues)):
        began = time.perf_counter_ns()
        app.call(order.task, call, queue)
        yield time.perf_counter_ns() - began
        if time.monotonic() > end:
            return


def _spaced(app: Any, task: str, calls: list[Call]) -> Iterator[int]:
    tally = Path(os.environ[TALLY])
    for started, call in enumerate(calls, tally.stat().st_size // RECORD.size + 1):
        yield from app.send_each(task, [call])
        deadline = time.monotonic() + PATIENCE
        time.sleep(random.uniform(*PAUSE))
        while tally.stat().st_size < started * RECORD.size:
            if time.monotonic() > deadline:
                raise TimeoutError(f"job {call[0]} has not started in {PATIENCE} s")
            time.sleep(0.002)


if __name__ == "__main__":
    main()
