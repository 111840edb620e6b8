"""The inbox of a worker's threads: nothing is lost, and nothing comes twice."""

import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from heori_consumer.worker.inbox import Inbox
from tests.rigs.waiting import until

THREADS, ITEMS, AT_ONCE = 8, 4000, 7


class Taker(threading.Thread):
    """Gets what is in an inbox until that is None."""

    def __init__(self, inbox: Inbox[int | None]) -> None:
        super().__init__(daemon=True)
        self.got: list[int] = []
        self._seat = inbox.seat()
        self.start()

    def run(self) -> None:
        while (item := self._seat.get()) is not None:
            self.got.append(item)


def everything(_item: int | None) -> bool:
    return True


def is_even(item: int | None) -> bool:
    return item is not None and item % 2 == 0


@pytest.fixture
def inbox() -> Inbox[int | None]:
    return Inbox()


@pytest.fixture
def takers(inbox: Inbox[int | None]) -> Iterator[list[Taker]]:
    """One after the other, so that it is known which has waited for the shortest time."""
    started: list[Taker] = []
    for _ in range(THREADS):
        started.append(Taker(inbox))
        until(lambda: len(inbox.waiting) == len(started))
    yield started
    inbox.put([None] * THREADS)
    for taker in started:
        taker.join()


def test_what_waits_comes_in_its_order(inbox: Inbox[int | None]) -> None:
    inbox.put([1, 2])
    inbox.put([3])
    seat = inbox.seat()
    assert [seat.get() for _ in range(3)] == [1, 2, 3]


def test_what_nobody_has_got_is_taken_back(inbox: Inbox[int | None]) -> None:
    inbox.put([1, 2, 3])
    assert inbox.seat().get() == 1
    assert len(inbox) == 2
    assert inbox.take_back(everything) == [2, 3]
    assert not inbox
    assert inbox.take_back(everything) == []


def test_what_is_not_asked_back_stays_in_its_order(inbox: Inbox[int | None]) -> None:
    inbox.put([1, 2, 3, 4])
    assert inbox.take_back(lambda item: item in (1, 3)) == [1, 3]
    inbox.put([5])
    assert inbox.take_back(everything) == [2, 4, 5]


def test_the_thread_that_came_last_gets_it(inbox: Inbox[int | None], takers: list[Taker]) -> None:
    inbox.put([1])
    until(lambda: takers[-1].got == [1] and len(inbox.waiting) == THREADS)
    inbox.put([2, 3])
    until(lambda: len(inbox.waiting) == THREADS and sum(len(each.got) for each in takers) == 3)
    assert [each.got for each in takers[:-2]] == [[]] * (THREADS - 2)


def test_under_load_nothing_is_lost_and_nothing_comes_twice(
    inbox: Inbox[int | None], takers: list[Taker]
) -> None:
    back: list[int | None] = []
    for first in range(0, ITEMS, AT_ONCE):
        inbox.put(range(first, min(first + AT_ONCE, ITEMS)))
        if first % 5 == 0:
            back += inbox.take_back(everything if first % 2 else is_even)
    until(lambda: len(inbox.waiting) == THREADS)
    got = Counter(item for each in takers for item in each.got)
    assert got + Counter(back) == Counter(range(ITEMS))
