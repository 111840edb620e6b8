"""What the GIL costs: states of real threads, from outside and within, and what comes of them."""

import asyncio
import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

from heori import Producer
from heori_common.current_job import JobStopped, JobTimeout
from heori_common.platform import shared_memory
from heori_consumer.between.slot_table import SlotTable
from heori_consumer.gil.inside import Lines, find_gil
from heori_consumer.gil.states import (
    GIL_WAIT,
    IO_WAIT,
    RUNNING,
    STATES,
    WAIT,
    GilFutex,
    Tally,
    state_of,
)
from heori_consumer.gil.usage import line_of
from heori_consumer.worker.interrupt import CoroutineCall
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

T = TypeVar("T")
TASKS = "tests.tasks.sample_tasks."
STATE = "heori_task_thread_state_seconds_total"
GIL = GilFutex(202, 0x7F0000001000)


@pytest.mark.parametrize(
    ("line", "state"),
    [
        (b"running\n", RUNNING),
        (b"202 0x7f0000001000 0x89 0x0 0x0 0x0 0x0 0x7f1 0x7f2\n", GIL_WAIT),
        (b"202 0x7f0000001064 0x89 0x0 0x0 0x0 0x0 0x7f1 0x7f2\n", GIL_WAIT),
        (b"202 0x7f0000002000 0x89 0x0 0x0 0x0 0x0 0x7f1 0x7f2\n", IO_WAIT),  # another lock
        (b"0 0x7f0000001000 0x89 0x0 0x0 0x0 0x0 0x7f1 0x7f2\n", IO_WAIT),
        (b"-1 0x7f0000001000 0x7f0000001000\n", IO_WAIT),  # no system call, a page fault say
    ],
)
def test_a_line_tells_what_a_thread_does(line: bytes, state: str) -> None:
    assert state_of(line, GIL) == state
    assert state_of(line, None) == (RUNNING if state == RUNNING else IO_WAIT)


def test_some_threads_stand_for_all() -> None:
    tally = Tally()
    busy = {(thread, 1): 1 for thread in range(100, 110)}

    def look(threads: object) -> dict[int, str]:
        assert isinstance(threads, list)
        assert len(threads) == 2
        return dict.fromkeys(threads, RUNNING)

    tally.look(busy, None, look, share=0.2, seconds=1.0)
    assert tally.threads == {RUNNING: pytest.approx(10.0)}


def test_of_the_coroutines_on_one_loop_one_runs_and_the_others_wait() -> None:
    tally = Tally()
    busy = {(100, 1): 1, (100, 2): 2, (101, 3): 1}  # the last one is beside the loop
    states = {100: RUNNING, 101: GIL_WAIT}
    tally.look(busy, (100, 2), lambda _: states, share=1.0, seconds=1.0)
    assert tally.threads == {RUNNING: 1.0, GIL_WAIT: 1.0}
    assert tally.tasks == {1: {IO_WAIT: 1.0}, 2: {RUNNING: 1.0, IO_WAIT: 1.0}, 3: {GIL_WAIT: 1.0}}


def test_the_gil_is_found_where_a_thread_waits_for_it() -> None:
    gil = find_gil()
    assert gil is not None
    computing = True

    def compute() -> None:
        while computing:
            pass

    thread = threading.Thread(target=compute)
    thread.start()
    number = thread.native_id
    assert number is not None
    try:
        with_gil = Lines()
        until(lambda: state_of(with_gil.read([number])[number], gil) == GIL_WAIT)
        # This lets go of the GIL while it looks.
        until(lambda: state_of(line_of(os.getpid(), number) or b"", gil) == RUNNING)
    finally:
        computing = False
        thread.join()
    # Joined it is when it has ended for Python; the kernel takes a moment more.
    until(lambda: line_of(os.getpid(), number) is None)
    assert with_gil.read([number]) == {}


def test_a_coroutine_is_timed_without_what_runs_between_its_steps() -> None:
    steps: list[int] = []

    async def job() -> str:
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass
        with contextlib.suppress(KeyError):
            await asyncio.wait_for(asyncio.sleep(60), 0.01)
        return "done"

    async def beside() -> None:
        end = time.thread_time() + 0.5
        while time.thread_time() < end:
            pass

    async def main() -> None:
        call = CoroutineCall(3, steps.append)
        other = asyncio.create_task(beside())
        with pytest.raises(TimeoutError):
            await call.call(job(), time.thread_time())
        await other
        assert 0.05 <= call.cpu_time < 0.4

    asyncio.run(main())
    assert steps == [3, -1] * (len(steps) // 2)


async def called(call: CoroutineCall, coroutine: Coroutine[Any, Any, T]) -> T:
    """As a coroutine, of which a task can be made."""
    return await call.call(coroutine, time.thread_time())


def a_call() -> CoroutineCall:
    return CoroutineCall(0, lambda _: None)


def test_a_coroutine_that_is_cancelled_ends_as_it_likes() -> None:
    async def failing() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise KeyError("as its own") from None

    async def main() -> None:
        for coroutine, error in (
            (failing(), KeyError),
            (asyncio.sleep(60), asyncio.CancelledError),
        ):
            task = asyncio.create_task(called(a_call(), coroutine))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(error):
                await task
        assert await called(a_call(), asyncio.sleep(0, "value")) == "value"

    asyncio.run(main())


@pytest.mark.parametrize(("late", "error"), [(False, JobStopped), (True, JobTimeout)])
def test_a_coroutine_is_ended_once_and_has_time_to_clean_up(
    late: bool, error: type[Exception]
) -> None:
    cleaned: list[str] = []

    async def main() -> None:
        call = a_call()

        def end() -> None:
            call.time_out() if late else call.stop(1)

        async def job() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                end()  # it is asked again, as long as it has not ended
                call.stop(1)
                await asyncio.sleep(0)
                cleaned.append("up")

        end()  # it has not begun
        task = asyncio.create_task(called(call, job()))
        await asyncio.sleep(0)
        threading.Thread(target=end).start()
        with pytest.raises(error):
            await task
        end()

    asyncio.run(main())
    assert cleaned == ["up"]


def test_the_table_tells_who_is_busy_and_how_far_behind_a_loop_is() -> None:
    table = SlotTable(shared_memory(SlotTable.bytes_of(3, 1)), 3, 1)
    for slot in range(3):
        table.sit(slot, 1000 + slot)
    table.take(1, 7, time.monotonic())
    table.begin(1, 2, None)
    table.take(2, 8, time.monotonic())
    table.begin(2, 2, None)
    table.sit(2, 1001)
    assert table.busy() == {(1001, 2): 2}
    assert table.taken_in({1001}) == [(1001, 7), (1001, 8)]
    table.finish(2)
    table.sit(2, 1002)
    assert table.busy() == {(1001, 2): 1}
    assert table.at_work() is None
    table.step(1)
    assert table.at_work() == (1001, 2)
    table.step(-1)
    assert sorted(table.threads()) == [1000, 1001, 1002]
    assert (table.at(), table.loop_busy(), table.loop_lag()) == (-1, 0.0, 0.0)
    table.loop_works()
    assert table.ask_loop()
    assert not table.ask_loop()
    until(lambda: table.loop_lag() > 0.01 < table.loop_busy())
    table.loop_waits()
    table.loop_answers()
    busy, lag = table.loop_busy(), table.loop_lag()
    assert (table.loop_busy(), table.loop_lag()) == (busy, lag)


def seconds(consumer: Consumer, task: str, *states: str) -> float:
    return sum(consumer.metric(STATE, task=TASKS + task, state=state) for state in states)


def share(consumer: Consumer, task: str, state: str) -> float:
    """Of the time of threads that had a job of the task."""
    return seconds(consumer, task, state) / seconds(consumer, task, *STATES)


@pytest.mark.parametrize("source", ["external", "internal"])
def test_threads_that_compute_wait_for_the_gil_and_sleep_are_told_apart(
    source: str, consume: Callable[..., Consumer], producer: Producer
) -> None:
    consumer = consume("--model", "threads", "--slots", "4", HEORI_GIL_SOURCE=source).ready()
    producer.submit(sample_tasks.nap, 6.0)
    alone = producer.submit(sample_tasks.digest, 1.0)
    alone.result(60)
    both = [producer.submit(sample_tasks.spin, 4.0) for _ in range(2)]
    # While they run: the figure is that of the last seconds, and 0 once nothing runs.
    until(lambda: 0 < consumer.metric("heori_worker_gil_wait_ratio", worker="0") < 0.8)
    for handle in both:
        handle.result(60)
    until(lambda: seconds(consumer, "nap", *STATES) > 5)
    until(lambda: seconds(consumer, "spin", *STATES) > 6)
    # Wide bounds: on cores that others keep busy, a thread that wakes up has to wait for one first.
    assert share(consumer, "nap", IO_WAIT) > 0.7
    assert share(consumer, "digest", RUNNING) > 0.5
    assert 0.05 < share(consumer, "spin", GIL_WAIT) < 0.8
    assert 0.2 < share(consumer, "spin", RUNNING) < 0.95
    assert consumer.metric("heori_gil_signal_source", worker="0", source=source) == 1
    assert consumer.metric("heori_worker_gil_enabled", worker="0") == 1
    assert consumer.metric("heori_job_cpu_seconds_sum", task=TASKS + "nap") < 1
    assert consumer.metric("heori_job_cpu_seconds_sum", task=TASKS + "spin") < 6


def test_cpu_time_alone_gives_an_estimate_that_takes_no_sleep_for_the_gil(
    consume: Callable[..., Consumer], producer: Producer
) -> None:
    consumer = consume("--slots", "4", HEORI_GIL_SOURCE="estimate").ready()
    for waiting in [producer.submit(sample_tasks.nap, 3.0) for _ in range(4)]:
        waiting.result(60)
    until(lambda: consumer.metric("heori_worker_thread_state_seconds_total", state=WAIT) > 5)
    slept = consumer.metric("heori_worker_gil_wait_ratio")
    assert consumer.metric("heori_worker_gil_loss_ratio") < 0.3
    # For as long as it takes: it is little while others have the cores, as nobody can tell then
    # what these wait for.
    waited = 0.0
    for _ in range(30):
        handles = [producer.submit(sample_tasks.spin, 2.0) for _ in range(4)]
        while any(handle.status() != "finished" for handle in handles):
            waited = max(waited, consumer.metric("heori_worker_gil_wait_ratio"))
            time.sleep(0.05)
        if waited > slept + 0.03 and seconds(consumer, "spin", RUNNING) > 0.5:
            break
    assert waited > slept + 0.03
    assert seconds(consumer, "spin", RUNNING) > 0.5
    assert consumer.metric("heori_gil_signal_source", source="estimate") == 1
    assert seconds(consumer, "spin", GIL_WAIT, IO_WAIT) == 0


PR_CAPBSET_DROP, CAP_SYS_PTRACE = 24, 19  # <sys/prctl.h>, <linux/capability.h>


def test_a_worker_that_no_other_process_may_look_at_looks_at_itself(
    consume: Callable[..., Consumer], producer: Producer
) -> None:
    with ThreadPoolExecutor(1) as thread:  # what it gives up here is given up in this thread only
        thread.submit(ctypes.CDLL(None).prctl, PR_CAPBSET_DROP, CAP_SYS_PTRACE, 0, 0, 0).result()
        tasks = "tests.tasks.sealed_tasks,tests.tasks.sample_tasks"
        consumer = thread.submit(consume, "--slots", "2", fresh=True, HEORI_TASKS=tasks).result()
    consumer.ready()
    # For as long as it takes: what it sees of itself it tells once a second, when it gets the GIL.
    for _ in range(10):
        for handle in [producer.submit(sample_tasks.spin, 1.5) for _ in range(2)]:
            handle.result(60)
        if seconds(consumer, "spin", *STATES) > 1:
            break
    assert seconds(consumer, "spin", *STATES) > 1
    source = "internal" if os.geteuid() == 0 else "estimate"  # who else owns no file of its own
    until(lambda: consumer.metric("heori_gil_signal_source", source=source) == 1)
    assert consumer.metric("heori_gil_signal_source", source="external") == 0


def test_counters_go_on_where_a_killed_worker_left_them(
    consume: Callable[..., Consumer], producer: Producer
) -> None:
    consumer = consume("--slots", "2").ready()
    counters = (
        "heori_worker_cpu_seconds_total",
        "heori_worker_thread_state_seconds_total",
        "heori_worker_context_switches_total",
        "heori_task_thread_state_seconds_total",
        "heori_jobs_total",
    )
    for handle in [producer.submit(sample_tasks.spin, 2.0) for _ in range(2)]:
        handle.result(60)
    until(lambda: consumer.metric("heori_worker_thread_state_seconds_total") > 2)
    until(lambda: all(consumer.metrics(*counters)))
    latest = consumer.metrics(*counters)
    [worker] = consumer.workers
    os.kill(worker.pid, signal.SIGKILL)
    again = producer.submit(sample_tasks.spin, 1.5)
    first = latest
    while latest[0] < first[0] + 0.2:  # of CPU, which may be little while others have the cores
        if again.status() == "finished":
            again = producer.submit(sample_tasks.spin, 1.5)
        now = consumer.metrics(*counters)
        assert all(new >= old for new, old in zip(now, latest, strict=True)), (latest, now)
        latest = now
        time.sleep(0.02)
    again.result(60)
    assert consumer.metric("heori_worker_restarts_total", reason="SIGKILL") == 1


def test_an_event_loop_that_is_held_up_is_seen(
    consume: Callable[..., Consumer], producer: Producer
) -> None:
    consumer = consume("--model", "asyncio", "--processes", "1", "--slots", "5").ready()
    waiting = [producer.submit(sample_tasks.add_later, 1, b=2) for _ in range(5)]
    for handle in waiting:
        handle.result(60)

    def is_seen_meanwhile() -> bool:
        until(lambda: consumer.metric("heori_worker_loop_lag_seconds") < 1)
        holding = producer.submit(sample_tasks.spin_on_loop, 3.0)
        while holding.status() != "finished":
            lag = consumer.metric("heori_worker_loop_lag_seconds")
            if lag > 1 and consumer.metric("heori_slots_running") == 1:
                holding.result(60)
                return True
        return False

    # A busy machine may keep this test from looking in time.
    assert any(is_seen_meanwhile() for _ in range(5)), "while it is held up, not afterwards"
    until(lambda: consumer.metric("heori_worker_loop_busy_seconds_total") > 2.5)
    until(lambda: seconds(consumer, "spin_on_loop", RUNNING) > 2)
    holder, others = (
        consumer.metric("heori_job_cpu_seconds_sum", task=TASKS + name)
        for name in ("spin_on_loop", "add_later")
    )
    assert others < holder / 2


@pytest.fixture
def nobody_looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a system without these files."""
    find_gil.cache_clear()
    monkeypatch.setattr("heori_common.platform.PROC", "/nowhere")
    yield
    find_gil.cache_clear()


@pytest.mark.usefixtures("nobody_looks")
def test_where_there_is_no_proc_the_gil_is_not_found() -> None:
    assert find_gil() is None
    assert not [each for each in threading.enumerate() if each.name == "wants-the-gil"]


def test_beside_an_event_loop_it_is_told_what_threads_lose_to_the_gil_and_not_what_coroutines_do(
    consume: Callable[..., Consumer], producer: Producer
) -> None:
    consumer = consume("--model", "auto", "--processes", "1", "--slots", "2").ready()
    speedup = "heori_task_process_speedup_ratio"
    producer.submit(sample_tasks.spin_on_loop, 2.0).result(60)
    until(lambda: seconds(consumer, "spin_on_loop", RUNNING) > 1)
    producer.submit_many(sample_tasks.spin, [(4.0,)] * 2)
    until(lambda: consumer.samples(speedup, task=TASKS + "spin"))
    assert consumer.samples(speedup, task=TASKS + "spin_on_loop") == []
