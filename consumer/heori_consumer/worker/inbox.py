"""Where the jobs of a worker wait for its threads.

Each job wakes the thread that is to run it, and no other. `queue.SimpleQueue` wakes a second one
whenever a thread gets something: it finds nothing there, and asks for the GIL five times while the
job begins.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """First come, first served, by the thread that has had nothing to do for the shortest time.

    What that needs may still be in the caches of a core.

    Attributes:
        waiting: the places of the threads that have nothing to do; the last came last.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: deque[T] = deque()  # empty while anybody waits
        self.waiting: list[Seat[T]] = []

    def __len__(self) -> int:
        return len(self._items)

    def put(self, items: Sequence[T]) -> None:
        """Hand them to threads that wait, and keep the others for the next that ask."""
        with self._lock:
            given = [(self.waiting.pop(), item) for item in items[: len(self.waiting)]]
            self._items.extend(items[len(given) :])
        for seat, item in given:
            seat.give(item)

    def put_first(self, items: Sequence[T]) -> None:
        """The same, in front of those that are kept."""
        with self._lock:
            given = [(self.waiting.pop(), item) for item in items[: len(self.waiting)]]
            self._items.extendleft(reversed(items[len(given) :]))
        for seat, item in given:
            seat.give(item)

    def take_back(self, is_asked: Callable[[T], bool]) -> list[T]:
        """Those that are asked back and that no thread has got yet; the others stay."""
        with self._lock:
            items = take_all(self._items)
            back = [item for item in items if is_asked(item)]
            self._items.extend([item for item in items if not is_asked(item)])
        return back

    def seat(self) -> "Seat[T]":
        """The place of one more thread."""
        return Seat(self._lock, self._items, self.waiting)


def take_all(items: deque[T]) -> list[T]:
    """Everything, each thing once, though other threads take from it meanwhile."""
    taken: list[T] = []
    with contextlib.suppress(IndexError):
        while True:
            taken.append(items.popleft())
    return taken


class Seat(Generic[T]):
    """Where one thread gets what is in an inbox."""

    def __init__(self, lock: threading.Lock, items: deque[T], waiting: "list[Seat[T]]") -> None:
        self._lock = lock
        self._items = items
        self._waiting = waiting
        self._given: deque[T] = deque()
        self._woken = threading.Lock()
        self._woken.acquire()

    def get(self) -> T:
        """The next; waits until there is one."""
        try:
            return self._items.popleft()  # which no lock makes safer
        except IndexError:
            return self._wait()

    def _wait(self) -> T:
        with self._lock:
            if self._items:
                return self._items.popleft()
            self._waiting.append(self)
        self._woken.acquire()
        return self._given.popleft()

    def give(self, item: T) -> None:
        """Wake its thread with this."""
        self._given.append(item)
        self._woken.release()
