"""Tasks of the notes that Heori comes from: each is small, and shows one thing for ever.

`heori.demo.notes` sends their jobs, and `docker compose --profile lab up` runs both. Queues have
the numbers of the notes; note 8 has the tasks of `accounts`.
"""

import ctypes
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from heori import Retry, current_job, task
from heori.examples.workloads import count_words, hash_blocks

THREAD = "note-2"
WAITING = "note-3"
CRASHING = "note-4"
COMPUTING = ("note-5-threads", "note-5-processes")  # each model gets the same work
GROUP = "note-7"
LOCKS = "note-8"
BOUNDED, UNBOUNDED = "note-9", "note-9-unbounded"

NAMES = 100  # that a page has room for
WORDS, BLOCKS = 50_000, 2_500  # that take about as long, 100 ms of a core
WITHOUT_ANSWER = 40  # and its multiples

# All in seconds.
WRITING = 0.01
ANSWER = 0.5
STEP = 0.1


class UpdateLost(RuntimeError):
    """What this job wrote was overwritten by another that had read before and did not know."""


class GuestBook:
    """A page on the heap of a worker: each of its threads reads it, adds a name, writes it back."""

    def __init__(self, lock: AbstractContextManager[Any]) -> None:
        self._page: tuple[str, ...] = ()
        self._lock = lock

    def sign(self, name: str) -> None:
        """Add a name.

        Raises:
            UpdateLost: it is not there a moment later.
        """
        with self._lock:
            page = self._page
            time.sleep(WRITING)  # others have the GIL meanwhile
            self._page = (*page[1 - NAMES :], name)
        time.sleep(WRITING)
        if name not in self._page:
            raise UpdateLost(name)


_book, _locked_book = GuestBook(nullcontext()), GuestBook(threading.Lock())
_AGAIN = Retry(max=30, base="100ms", cap="5s")


@task(queue=THREAD, retry=_AGAIN, retry_on=UpdateLost)
def sign() -> None:
    """Wrong: threads that have read the same page overwrite each other; what is lost runs again."""
    _book.sign(current_job().id)


@task(queue=THREAD, retry=_AGAIN, retry_on=UpdateLost)
def sign_locked() -> None:
    """Right: whoever has the lock reads what the one before has written."""
    _locked_book.sign(current_job().id)


@task(queue=WAITING)
def wait_for_answer() -> None:
    """Wait, as for a database: no core is needed, and no GIL."""
    time.sleep(ANSWER)


@task(queue=CRASHING)
def crash() -> None:
    """Take the worker along, once: the second delivery finds that all is well."""
    if current_job().delivery == 1:
        ctypes.string_at(0)


@task(queue=COMPUTING[0])
def compute(number: int) -> int:
    """Compute in Python, and hold the GIL."""
    return count_words(WORDS, number)


@task(queue=COMPUTING[0])
def digest(number: int) -> str:
    """Compute in C, which lets go of the GIL."""
    return hash_blocks(BLOCKS, number)


@task(queue=GROUP)
def answer(number: int) -> int:
    """Become a result, or an exception.

    Raises:
        ValueError: there is no answer to that number.
    """
    time.sleep(ANSWER)
    if number % WITHOUT_ANSWER == 0:
        raise ValueError(f"there is no answer to {number}")
    return number * number


@task(queue=BOUNDED)
def consume() -> None:
    """Take what a producer has put there, at the pace of this side."""
    time.sleep(STEP)
