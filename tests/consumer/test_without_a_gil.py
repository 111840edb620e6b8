"""Workers whose interpreter has no GIL: nothing is said to wait for one."""

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable
from urllib.request import urlopen

import psutil
import pytest

from heori import Producer
from heori_common.platform import shared_memory
from heori_consumer.beat import Beat
from heori_consumer.between.slot_table import SlotTable
from heori_consumer.gil.inside import gil_enabled
from heori_consumer.gil.sampler import Sampler
from heori_consumer.gil.states import GilFutex, Tally
from heori_consumer.gil.usage import known_state
from tests.rigs.consumers import Consumer
from tests.tasks import sample_tasks

MODELS = ["threads", "processes", "hybrid", "asyncio", "auto"]
free_threaded = pytest.mark.skipif(
    gil_enabled(), reason="this Python has a GIL; try a free-threaded one, such as python3.14t"
)


class Worker:
    """What the sampler sees of a worker, which is this process."""

    def __init__(self, *, gil: bool) -> None:
        file = shared_memory(SlotTable.bytes_of(2, 0))
        self.table = SlotTable(file, 2, 0)
        os.close(file)
        self.table.tell_gil(enabled=gil)
        self.name = "0"
        self.tasks = {1: "t"}
        self.gil: GilFutex | None = None
        self.seen: Tally | None = None
        self.gil_waits: dict[int, float] = {}
        self.ready = True
        self.process = psutil.Process()

    def look_inside(self) -> None:
        """It is not to."""


@pytest.mark.parametrize("gil", [True, False])
def test_an_estimate_takes_no_wait_for_one_for_the_gil_where_there_is_none(*, gil: bool) -> None:
    worker = Worker(gil=gil)
    for slot in range(2):
        worker.table.sit(slot, threading.get_native_id() + slot)
        worker.table.take(slot, slot + 1, time.monotonic())
        worker.table.begin(slot, 1, None)
    sampler = Sampler(lambda: [worker], 64.0, "estimate", asyncio.Event(), Beat())
    began = time.monotonic()
    sampler._look(began)
    sampler._renew(began)
    used = time.process_time()
    while time.process_time() - used < 0.5:
        pass
    for second in range(1, 4):
        sampler._look(began + second)
    sampler._renew(began + 4)
    place = sampler.report.places["0"]
    assert place.source == "estimate"
    assert place.gil_enabled is gil
    assert (place.gil_wait > 0) is gil
    assert (place.gil_loss > 0) is gil
    assert (sampler.report.speedups["t"] > 1) is gil


def test_what_a_thread_waits_for_is_known_where_there_is_no_gil() -> None:
    stop = threading.Event()
    waiting = threading.Thread(target=stop.wait, args=(60,))
    waiting.start()
    native = waiting.native_id or 0
    try:
        with_one, without = (Worker(gil=gil).table for gil in (True, False))
        seen = set()
        while "io_wait" not in seen:  # it may have yet to come there
            assert known_state(os.getpid(), native, None, with_one) in {None, "running"}
            seen.add(known_state(os.getpid(), native, None, without))
        assert seen <= {"running", "io_wait"}
    finally:
        stop.set()
        waiting.join()


@free_threaded
@pytest.mark.parametrize("model", MODELS)
def test_the_gil_stays_off_and_nothing_waits_for_it(
    model: str, consume: Callable[..., Consumer], producer: Producer
) -> None:
    consumer = consume("--model", model).ready()
    jobs = [producer.submit(sample_tasks.spin, 0.5) for _ in range(8)]
    for job in jobs:
        job.result(120)
    with urlopen(f"{consumer.url}/slots", timeout=60) as reply:
        workers = json.load(reply)["workers"]
    assert {worker["gil_enabled"] for worker in workers} == {False}
    assert all("gil_wait" not in worker["thread_seconds"] for worker in workers)
    assert {worker["gil_loss"] for worker in workers} == {0.0}
