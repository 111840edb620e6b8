"""Jobs that no exception ends in time cost their worker its life: once for all of them."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psutil
import pytest
from rq.suspension import resume, suspend

from heori import Handle, JobFailed, Producer
from heori_common.platform import shared_memory
from heori_common.protocol.job import Claim
from heori_consumer.between.slot_table import AtStop, SlotTable
from heori_consumer.gil.states import GIL_WAIT, RUNNING
from heori_consumer.gil.usage import CoreUse, core_use
from heori_consumer.pool.lateness import (
    LOOKS,
    MOST_LOOKS,
    Accused,
    Doing,
    Lateness,
    Sentence,
    judge,
)
from tests.rigs.cgroups import part_of_a_core
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.tasks import late_tasks

TASKS = "tests.tasks.late_tasks"
ONE_WORKER = {
    "threads": ["--model", "threads", "--slots", "6"],
    "asyncio": ["--model", "asyncio", "--processes", "1", "--slots", "6"],
}
HOLDING, OWN_CALL, HELD_UP, UNKNOWN = Doing


def restarts(redis: Any, handle: Handle[Any]) -> int:
    return int(redis.hget(f"rq:job:{handle.id}", "heori_restarts") or 0)


def fails_late(handle: Handle[Any]) -> None:
    with pytest.raises(JobFailed, match=f"longer than its timeout of {late_tasks.LIMIT_S} s"):
        handle.result(60)


@pytest.mark.parametrize("model", ONE_WORKER)
def test_all_that_are_late_end_with_one_kill_and_the_others_run_again_once(
    model: str, consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consumer = consume(*ONE_WORKER[model], HEORI_TASKS=TASKS).ready()
    beside = producer.submit(late_tasks.hold, redis_url, "beside")
    redis.blpop(["beside began"], timeout=60)
    names = ["a", "b", "c", "d"]
    suspend(redis)  # so that all begin at once
    late = producer.submit_many(late_tasks.hang, [(redis_url, name) for name in names])
    again = producer.submit(late_tasks.hang_twice, redis_url, "again")
    resume(redis)
    for handle in late:
        fails_late(handle)
    fails_late(again)
    redis.rpush("beside may go", "now")
    assert beside.result(60) == "beside"
    starts = {name.decode(): int(count) for name, count in redis.hgetall("starts").items()}
    # The second kill is for the retry; who was beside the first may have been beside that, too.
    assert starts.pop("beside") in (2, 3)
    assert starts == dict.fromkeys(names, 1) | {"again": 2}
    assert consumer.metric("heori_worker_restarts_total", reason="timeout") == 2
    assert [restarts(redis, handle) for handle in late] == [0] * 4
    assert restarts(redis, beside) in (1, 2)
    assert consumer.metric("heori_jobs_restarted_total") == restarts(redis, beside)
    assert redis.hget(f"rq:job:{beside.id}", "heori_deliveries") == b"1"


@pytest.mark.parametrize("model", ONE_WORKER)
def test_who_holds_the_gil_is_to_blame_and_who_waits_for_it_runs_again(
    model: str, consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consumer = consume(*ONE_WORKER[model], HEORI_TASKS=TASKS).ready()
    names = [f"nap {number}" for number in range(4)]
    guilty = producer.submit(late_tasks.hog, redis_url, "hog", names[-1])
    naps = producer.submit_many(late_tasks.nap, [(redis_url, name) for name in names])
    assert [nap.result(60) for nap in naps] == names
    fails_late(guilty)
    assert int(redis.hget("starts", "hog")) == 1
    assert restarts(redis, guilty) == 0
    assert {restarts(redis, nap) for nap in naps} <= {0, 1}
    assert consumer.metric("heori_worker_restarts_total", reason="timeout") == 1


def test_who_holds_the_gil_within_its_own_limit_gets_a_process_of_its_own(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consumer = consume("--slots", "4", HEORI_TASKS=TASKS).ready()
    holder = producer.submit(late_tasks.hog_in_time, redis_url, "hog", "nap")
    nap = producer.submit(late_tasks.nap, redis_url, "nap")
    assert nap.result(60) == "nap"
    assert holder.result(60) == "hog"
    assert (restarts(redis, holder), restarts(redis, nap)) == (1, 1)
    assert redis.hget(f"rq:job:{holder.id}", "heori_suspicion") == b"2"
    assert consumer.metric("heori_worker_restarts_total", reason="timeout") == 1


def test_who_holds_the_event_loop_is_to_blame_and_who_waits_for_it_runs_again(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consumer = consume(*ONE_WORKER["asyncio"], HEORI_TASKS=TASKS).ready()
    names = [f"nap {number}" for number in range(4)]
    guilty = producer.submit(late_tasks.block_later, redis_url, "block", names[-1])
    naps = producer.submit_many(late_tasks.nap_later, [(redis_url, name) for name in names])
    assert [nap.result(60) for nap in naps] == names
    fails_late(guilty)
    assert int(redis.hget("starts", "block")) == 1
    assert {restarts(redis, nap) for nap in naps} <= {0, 1}
    assert consumer.metric("heori_worker_restarts_total", reason="timeout") == 1


def test_a_late_job_has_its_time_to_clean_up_where_its_worker_gets_hardly_any_core(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    """Three hundredths of one: what a late job is still to do takes two seconds or three."""
    consumer = consume("--slots", "2", HEORI_TASKS=TASKS).ready()
    beside = producer.submit(late_tasks.hold, redis_url, "beside")
    late = producer.submit(late_tasks.clean_up, redis_url, "late")
    redis.blpop(["beside began"], timeout=60)
    redis.blpop(["late began"], timeout=60)
    [worker] = consumer.workers
    with part_of_a_core(3) as processes:
        processes.write_text(str(worker.pid))
        fails_late(late)
        (processes.parents[2] / "cgroup.procs").write_text(str(worker.pid))  # as it was
    assert redis.get("late cleaned up") == b"1"
    redis.rpush("beside may go", "now")
    assert beside.result(60) == "beside"
    assert restarts(redis, beside) == 0
    assert consumer.metric("heori_worker_restarts_total") == 0


def test_a_start_that_a_drain_cut_short_is_counted(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consumer = consume("--slots", "1", HEORI_TASKS=TASKS, HEORI_GRACE="0").ready()
    begun = producer.submit(late_tasks.hold, redis_url, "begun")
    redis.blpop(["begun began"], timeout=60)
    waiting = producer.submit(late_tasks.hold, redis_url, "waiting")
    assert consumer.stop() == 0
    until(lambda: redis.llen("rq:queue:default") == 2)
    assert (restarts(redis, begun), restarts(redis, waiting)) == (1, 0)


# With a clock of their own


@pytest.fixture
def table() -> SlotTable:
    """One slot, whose job was to end a second ago at 11."""
    table = SlotTable(shared_memory(SlotTable.bytes_of(1, 0)), 1, 0)
    table.tell_gil(enabled=True)
    table.sit(0, 1000)
    table.take(0, 7, 9.0)
    return table


CLAIM = Claim("id", "default", "e", 1, 0.0, None, 1, None, None, b"")


def looks(first: float, last: float) -> list[float]:
    """When it looks, as often as the supervisor does."""
    return [first + n / 10 for n in range(round(10 * (last - first)) + 1)]


def killed_at(
    table: SlotTable,
    looks: Iterable[float],
    use: Callable[[float], CoreUse | None] = lambda _: None,
) -> float | None:
    """When it says that the worker must be killed.

    Args:
        use: what the worker has of the cores at such a time.
    """
    now = 0.0
    lateness = Lateness(table, lambda _: RUNNING, lambda: use(now))
    for now in looks:
        if lateness.look(now, {7: CLAIM}, {}) is not None:
            return round(now, 2)
    return None


def test_a_job_is_late_a_second_after_its_timeout(table: SlotTable) -> None:
    assert killed_at(table, looks(9.55, 20)) == 11.05


@pytest.mark.parametrize(
    ("share", "at"),
    [(0.0, 20), (0.05, 20), (0.25, 14), (0.5, 12), (0.99, 11), (1.0, 11), (4.0, 11)],
)
def test_of_a_core_only_the_share_counts_that_a_worker_gets_for_ten_seconds_at_most(
    table: SlotTable, share: float, at: float
) -> None:
    at_work = killed_at(table, looks(9.05, 30), lambda now: CoreUse(now * share, wants=True))
    assert at_work == pytest.approx(at, abs=0.5)
    at_rest = killed_at(table, looks(9.05, 30), lambda now: CoreUse(now * share, wants=False))
    assert at_rest == 11.05


def test_who_gets_a_core_again_has_the_rest_of_its_second(table: SlotTable) -> None:
    """It waits for one from 10.5 on for 2.5 s."""
    at = killed_at(
        table,
        looks(9.05, 30),
        lambda now: CoreUse(min(now, 10.5) + max(0.0, now - 13), wants=True),
    )
    assert at == pytest.approx(11 + 2.5, abs=0.3)


BESIDE = """
import sys, threading
def compute():
    while True:
        pass
if sys.argv[1:]:
    threading.Thread(target=compute, daemon=True).start()
print(flush=True)
input()
"""


@pytest.mark.parametrize("computes", [True, False])
def test_the_kernel_tells_of_all_threads_whether_a_process_wants_a_core(
    computes: bool,
) -> None:
    words = [sys.executable, "-c", BESIDE, *(["beside"] if computes else [])]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seen = psutil.Process(process.pid)

        def use() -> CoreUse:
            found = core_use(seen)
            assert found is not None
            return found

        until(lambda: use().wants is computes)  # its main thread goes to sleep
        first = use().cpu
        if computes:
            until(lambda: use().cpu > first)
            assert all(use().wants for _ in range(20))
        process.send_signal(signal.SIGSTOP)
        until(lambda: seen.status() == psutil.STATUS_STOPPED)
        stopped = use()
        process.send_signal(signal.SIGCONT)
        assert stopped.wants
        process.communicate(b"\n")
    assert core_use(seen) is None
    assert core_use(None) is None


def test_who_began_a_little_later_ends_with_it_if_its_own_timeout_is_over() -> None:
    table = SlotTable(shared_memory(SlotTable.bytes_of(3, 0)), 3, 0)
    claims = {}
    for slot, since in enumerate((9.0, 9.9, 10.5)):
        table.sit(slot, 1000 + slot)
        table.take(slot, slot + 1, since)
        claims[slot + 1] = CLAIM
    lateness = Lateness(table, lambda _: RUNNING, lambda: None)
    assert lateness.look(11.1, claims, {}) == Sentence(frozenset({1, 2}), frozenset())


def test_what_comes_later_and_has_less_time_is_late_before_what_was_there() -> None:
    table = SlotTable(shared_memory(SlotTable.bytes_of(2, 0)), 2, 0)
    for slot in range(2):
        table.sit(slot, 1000 + slot)
    table.take(0, 1, 9.0)
    claims = {1: CLAIM._replace(timeout=100)}
    lateness = Lateness(table, lambda _: RUNNING, lambda: None)
    assert lateness.look(9.5, claims, {}) is None
    claims[2] = CLAIM
    table.take(1, 2, 9.6)
    assert [lateness.look(now, claims, {}) for now in looks(9.65, 11.55)] == [None] * 20
    assert lateness.look(11.65, claims, {}) == Sentence(frozenset({2}), frozenset())
    del claims[2]
    ends = [now for now in looks(11.75, 120) if lateness.look(now, claims, {}) is not None]
    assert ends == pytest.approx(looks(110.05, 119.95))


def test_what_was_granted_more_time_has_it() -> None:
    table = SlotTable(shared_memory(SlotTable.bytes_of(1, 0)), 1, 0)
    table.sit(0, 1000)
    table.take(0, 7, 9.0)
    table.grant(0, 9.7, AtStop.ENDS)  # or less
    assert killed_at(table, looks(9.55, 20)) == 10.75
    table.grant(0, 20.0, AtStop.ENDS)
    assert killed_at(table, looks(9.55, 30)) == 21.05


def test_a_pause_of_the_whole_consumer_is_no_time_to_end_a_job_in(table: SlotTable) -> None:
    pauses = [*looks(9.55, 10.55), *looks(20, 20.2), *looks(30, 40)]
    assert killed_at(table, pauses) == pytest.approx(30.1, abs=0.2)


def test_who_held_the_gil_is_sought_for_some_looks_and_then_it_is_let_go_in_peace(
    table: SlotTable,
) -> None:
    table.be_alive(9.0)
    assert killed_at(table, looks(9.55, 20)) == 11.25
    lateness = Lateness(table, lambda _: RUNNING, lambda: None)
    assert lateness.look(11.1, {7: CLAIM}, {}) is None
    for now in looks(11.2, 12.15):  # the worker can end its job itself, and gets a second for it
        table.be_alive(now)
        assert lateness.look(now, {7: CLAIM}, {}) is None
    table.be_alive(12.25)
    assert lateness.look(12.25, {7: CLAIM}, {}) == Sentence(frozenset({7}), frozenset())


@pytest.mark.parametrize("share", [0.05, 1.0])
@pytest.mark.parametrize("every", [0.6, 0.8, 2.0, 5.0, 8.0])
def test_a_gil_that_is_held_and_let_go_again_and_again_delays_no_end_for_ever(
    table: SlotTable, every: float, share: float
) -> None:
    def use(now: float) -> CoreUse:
        table.be_alive(now // every * every)
        return CoreUse(now * share, wants=True)

    at = killed_at(table, looks(9.05, 200), use)
    assert at is not None
    assert at <= 20.5  # where the GIL is held just then, its holder is sought for some looks


@pytest.mark.parametrize("every", [0.2, 0.5, 1.0])
def test_a_supervisor_that_looks_seldom_sees_a_hung_job_all_the_same(
    table: SlotTable, every: float
) -> None:
    seldom = [9.05 + n * every for n in range(200)]
    at = killed_at(table, seldom, lambda now: CoreUse(now * 0.01, wants=True))
    assert at == pytest.approx(20, abs=2 * every)


def test_of_several_that_seem_to_run_the_one_is_sought_that_is_never_seen_to_wait() -> None:
    table = SlotTable(shared_memory(SlotTable.bytes_of(2, 0)), 2, 0)
    table.tell_gil(enabled=True)
    for slot in (0, 1):
        table.sit(slot, 1000 + slot)
        table.take(slot, slot + 1, 9.0)
    table.be_alive(9.0)
    claims = {1: CLAIM, 2: CLAIM}
    # It waits, and the machine is so busy that each time it asks for the GIL takes long.
    seen = [RUNNING] * 2 * LOOKS + [GIL_WAIT, RUNNING]
    asking = iter(seen)
    lateness = Lateness(
        table, lambda thread: RUNNING if thread == 1000 else next(asking), lambda: None
    )
    found = [lateness.look(11.1 + n / 10, claims, {}) for n in range(len(seen) - 1)]
    assert found == [None] * (len(seen) - 2) + [Sentence(frozenset({1}), frozenset())]
    # Two that compute, one of which may have let go of it: nobody can tell.
    lateness = Lateness(table, lambda _: RUNNING, lambda: None)
    found = [lateness.look(11.1 + n / 10, claims, {}) for n in range(MOST_LOOKS)]
    assert found == [None] * (MOST_LOOKS - 1) + [Sentence(frozenset({1, 2}), frozenset())]


LATE, IN_TIME = True, False


@pytest.mark.parametrize(
    ("jobs", "ends", "apart"),
    [
        ([(LATE, OWN_CALL), (LATE, OWN_CALL), (IN_TIME, OWN_CALL)], {0, 1}, set()),
        ([(LATE, HELD_UP), (LATE, HOLDING), (IN_TIME, HELD_UP)], {1}, set()),
        ([(LATE, HELD_UP), (IN_TIME, HOLDING), (IN_TIME, OWN_CALL)], set(), {1}),
        ([(LATE, HELD_UP), (IN_TIME, OWN_CALL)], set(), {1}),  # it waits and does not let go
        ([(LATE, HELD_UP), (LATE, OWN_CALL), (IN_TIME, HOLDING)], {1}, {2}),
        ([(LATE, HELD_UP), (IN_TIME, HELD_UP)], {0}, set()),  # by what none of them is
        ([(LATE, HELD_UP)], {0}, set()),
        ([(LATE, UNKNOWN)], {0}, set()),
        ([(LATE, UNKNOWN), (LATE, UNKNOWN), (IN_TIME, UNKNOWN)], set(), {0, 1}),
    ],
)
def test_who_is_to_blame(
    jobs: Sequence[tuple[bool, Doing]], ends: set[int], apart: set[int]
) -> None:
    accused = [
        Accused(number, overdue, asked=False, doing=doing)
        for number, (overdue, doing) in enumerate(jobs)
    ]
    assert judge(accused) == Sentence(frozenset(ends), frozenset(apart))


def test_who_was_asked_to_stop_ends_whatever_it_does() -> None:
    jobs = [
        Accused(1, overdue=True, asked=True, doing=HELD_UP),
        Accused(2, overdue=False, asked=False, doing=HOLDING),
    ]
    assert judge(jobs) == Sentence(frozenset({1}), frozenset())
