"""Programs that hold, await and release locks while Redis is in trouble."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from functools import partial

from heori import LockLost, Mutex, Semaphore
from tests.chaos.work import PATIENCE, Course
from tests.chaos.work_tasks import LEASE, section
from tests.rigs.waiting import until

# Of locks that are released in the midst of it: who gets one as late as that has found an orphan.
LONG_LEASE = 30.0
ORPHANED = 10.0  # seconds from the release, or the end of the trouble
ACROSS = 0.5  # seconds for which locks are held beyond the end of the trouble
PAUSE = 0.02  # seconds
BOTH = ("in a thread", "in a coroutine")


class Holders:
    """Threads and coroutines with locks: some hold one all the while, others contend."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._released: dict[str, float] = {}  # when, by where

    def threads(self) -> Iterable[Callable[[], None]]:
        """What each is to run in a thread of its own."""
        contend = [partial(self._contend, kind) for kind in ("mutex", "semaphore") * 2]
        wait = [partial(self._wait, where) for where in BOTH]
        return (*contend, *wait, self._across, self._within, self._coroutines)

    def ready(self) -> None:
        """Wait until all is held that is to be held across the trouble."""
        until(lambda: self._course.seen["held"] == 2 * len(BOTH))

    def orphans(self) -> int:
        """How many locks cannot be had though nobody has them any more."""
        url = self._course.url
        places = [f"{name} {where}" for name in ("across", "within") for where in BOTH]
        locks = [Mutex(name, url) for name in ("contended", "declared", "taken", "held", *places)]
        found = 0
        for lock in (*locks, *(Semaphore("shared", 2, url) for _ in range(2))):
            try:
                if lock.acquire(timeout=0.6 * LEASE):
                    lock.release()
                else:
                    found += 1
            except Exception as error:  # each kind is counted
                self._course.fail(f"acquiring at last: {type(error).__name__}")
        return found

    def _contend(self, kind: str) -> None:
        """Enter a lock, and leave it, again and again."""
        course = self._course
        name, permits = ("contended", 1) if kind == "mutex" else ("shared", 2)
        while not course.over.wait(PAUSE):
            lock = self._make(kind, name)
            try:
                lock.acquire()
            except Exception as error:  # each kind is counted
                course.refuse("acquiring", error)
                continue
            with section(str(course.directory), name, permits):
                time.sleep(PAUSE)
            self._released_by(lock.release, handed=True)

    async def _contend_async(self, kind: str) -> None:
        course = self._course
        name, permits = ("contended", 1) if kind == "mutex" else ("shared", 2)
        while not course.over.is_set():
            await asyncio.sleep(PAUSE)
            lock = self._make(kind, name)
            try:
                await lock.acquire_async()
            except Exception as error:  # each kind is counted
                course.refuse("acquiring", error)
                continue
            with section(str(course.directory), name, permits):
                await asyncio.sleep(PAUSE)
            try:
                await lock.release_async()
            except Exception as error:  # each kind is counted
                self._not_released(error, handed=True)
            else:
                course.see("sections")

    def _make(self, kind: str, name: str) -> Mutex | Semaphore:
        if kind == "mutex":
            return Mutex(name, self._course.url, LEASE)
        return Semaphore(name, 2, self._course.url, LEASE)

    def _across(self) -> None:
        """Hold a lock until the trouble is over."""
        lock = Mutex(f"across {BOTH[0]}", self._course.url, LEASE)
        lock.acquire()
        self._course.see("held")
        self._course.ended.wait()
        time.sleep(ACROSS)
        self._released_by(lock.release)

    def _within(self) -> None:
        """Release a lock in the midst of the trouble."""
        lock = Mutex(f"within {BOTH[0]}", self._course.url, LONG_LEASE)
        lock.acquire()
        self._course.see("held")
        self._course.begun.wait()
        time.sleep(self._course.seconds / 2)
        self._released_by(lock.release)
        self._released[BOTH[0]] = time.monotonic()

    def _wait(self, where: str) -> None:
        """Wait for the lock that is released in the midst of it, and get it."""
        course = self._course
        until(lambda: course.seen["held"] == 2 * len(BOTH))
        lock = Mutex(f"within {where}", course.url, LONG_LEASE)
        got = False
        while not got:
            try:
                got = lock.acquire(timeout=PATIENCE)
            except Exception as error:  # each kind is counted
                course.refuse("awaiting a lock", error)
                time.sleep(PAUSE)
                continue
            break
        course.ended.wait()
        since = max(self._released.get(where, 0.0), course.ended_at)
        if not got or time.monotonic() > since + ORPHANED:
            course.see("orphans")
        if got:
            self._released_by(lock.release, handed=True)

    def _coroutines(self) -> None:
        course = self._course

        async def across() -> None:
            async with Mutex(f"across {BOTH[1]}", course.url, LEASE):
                course.see("held")
                while not course.ended.is_set():  # noqa: ASYNC110 - a thread sets it
                    await asyncio.sleep(PAUSE)
                await asyncio.sleep(ACROSS)

        async def within() -> None:
            lock = Mutex(f"within {BOTH[1]}", course.url, LONG_LEASE)
            await lock.acquire_async()
            course.see("held")
            while not course.begun.is_set():  # noqa: ASYNC110 - a thread sets it
                await asyncio.sleep(PAUSE)
            await asyncio.sleep(course.seconds / 2)
            await lock.release_async()
            self._released[BOTH[1]] = time.monotonic()

        async def told(one: Callable[[], Coroutine[None, None, None]]) -> None:
            task = asyncio.ensure_future(one())
            await asyncio.wait([task])
            if task.cancelled():  # as a task is whose lock is lost
                course.see("locks lost")
            elif (error := task.exception()) is not None:
                self._not_released(error)
            else:
                course.see("sections")

        async def main() -> None:
            contend = (self._contend_async("mutex"), self._contend_async("semaphore"))
            await asyncio.gather(told(across), told(within), *contend)

        asyncio.run(main())

    def _released_by(self, release: Callable[[], None], *, handed: bool = False) -> None:
        """Release a lock, which must work at all times."""
        try:
            release()
        except Exception as error:  # each kind is counted
            self._not_released(error, handed=handed)
        else:
            self._course.see("sections")

    def _not_released(self, error: BaseException, *, handed: bool = False) -> None:
        """Count why a lock could not be released.

        Args:
            handed: whether it may have been handed over just then: until the first renewal it is
                leased for two seconds, which Redis may have been away for.
        """
        if isinstance(error, LockLost):
            if handed and not self._course.keeps:
                self._course.told_of("releasing: LockLost, just handed over")
            else:
                self._course.see("locks lost")
        else:
            self._course.fail(f"releasing: {type(error).__name__}")
