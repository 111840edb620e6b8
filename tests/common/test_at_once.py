"""What threads do at once, which without a GIL is truly at once."""

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from heori_common.locks.hold import Hold
from heori_common.locks.lock import Mutex
from heori_common.locks.owner import LockOwner
from heori_common.locks.statistics import Statistics
from heori_consumer.between.slot_table import SlotTable
from heori_consumer.worker.link import _take_all

T = TypeVar("T")
THREADS = 8
ROUNDS = 200


@pytest.fixture(autouse=True)
def switches_often() -> Iterator[None]:
    """Where there is a GIL, it changes hands as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(do: Callable[[int], T]) -> list[T]:
    """What each of some threads returns, which begin together."""
    start = threading.Barrier(THREADS)
    done: list[T] = []

    def run(number: int) -> None:
        start.wait()
        done.append(do(number))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == THREADS
    return done


def test_nothing_that_happens_to_locks_goes_uncounted() -> None:
    statistics = Statistics()

    def note(_: int) -> None:
        for _ in range(ROUNDS):
            statistics.note("lost")
            statistics.note("abandoned", 2)

    at_once(note)
    assert statistics.lost == THREADS * ROUNDS
    assert statistics.abandoned == 2 * THREADS * ROUNDS


def test_all_who_wait_for_the_loss_of_a_lock_wait_for_the_same_event() -> None:
    owner = LockOwner().owner
    for _ in range(ROUNDS // 10):
        hold = Hold(Mutex("a"), "request", owner, 1, 10.0, float("inf"), None)
        assert len(set(map(id, at_once(lambda _, hold=hold: hold.lost)))) == 1  # type: ignore[misc]


def test_a_table_is_in_use_as_far_as_the_furthest_slot(tmp_path: Path) -> None:
    file = tmp_path / "table"
    file.write_bytes(bytes(SlotTable.bytes_of(1, 0, ROUNDS * THREADS)))
    with file.open("r+b") as memory:
        table = SlotTable(memory.fileno(), 1, 0, ROUNDS * THREADS)

    def use(number: int) -> None:
        for slots in range(number, ROUNDS * THREADS, THREADS):
            table.use(slots + 1)
            assert table.used() > slots

    at_once(use)
    assert table.used() == ROUNDS * THREADS


def test_what_jobs_tell_while_it_is_taken_is_taken_then_or_later() -> None:
    told: dict[int, int] = {}
    taken: dict[int, int] = {}

    def tell_or_take(number: int) -> None:
        for latest in range(ROUNDS):
            if number:
                told[number] = latest
            else:
                taken.update(_take_all(told))

    at_once(tell_or_take)
    taken.update(_take_all(told))
    assert taken == dict.fromkeys(range(1, THREADS), ROUNDS - 1)
