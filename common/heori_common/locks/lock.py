"""The locks that programs use. Every one works in `with` and in `async with`."""

import asyncio
import itertools
import math
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from heori_common.locks.declared import hold_of
from heori_common.locks.errors import LockLost, NotHeld
from heori_common.locks.hold import Hold
from heori_common.locks.owner import Owner, current_owner
from heori_common.locks.request import AcquireRequest, ask
from heori_common.locks.session import Redis, Session, session_of, url_of
from heori_common.locks.status import Party, Status, status
from heori_common.loggers import standard_logger
from heori_common.names import MAX_NAME_CHARS
from heori_common.public import public
from heori_common.redis.errors import RedisUnavailable

log = standard_logger(__name__)

OnLost = Callable[["Lock"], object]


@public
class Lockable:
    """One lock or several: what can be acquired and released, blocking or not.

    Args:
        locks: those that it is, in the order in which they are acquired.
        lease: seconds.
    """

    def __init__(self, url: str, lease: float, locks: "Sequence[Lock]") -> None:
        self._url = url
        self._lease = lease
        self._locks = locks

    def acquire(self, timeout: float | None = None) -> bool:
        """Wait for it; a mutex that this thread or task holds is entered once more.

        Args:
            timeout: seconds; None waits for ever, 0 does not wait.

        Returns:
            Whether it is held now.

        Raises:
            DeadlockDetected: it would wait for ever.
            LockLost: it was held here, has been lost, and is yet to be released.
            RedisUnavailable: Redis cannot be reached.
        """
        request, entered = self._request(timeout)
        return self._enter(entered, request.run() if request else [])

    async def acquire_async(self, timeout: float | None = None) -> bool:
        """As `acquire`, without blocking the event loop.

        When it is lost, the task that holds it is cancelled.
        """
        request, entered = self._request(timeout)
        return self._enter(entered, await request.run_async() if request else [])

    def release(self) -> None:
        """Give it back; the one that has waited longest has it then.

        Without Redis it goes on trying in the background, until the lease is over anyway.

        Raises:
            LockLost: it was lost before.
            NotHeld: this thread or task does not hold it.
        """
        session = self.session()
        lost = []
        for holds in self._leave(session):
            sent = time.monotonic()
            try:
                fates, repeated = session.execute(_release(session, holds))
            except RedisUnavailable as error:
                _release_later(session, holds, error)
                fates, repeated = ["unknown"] * len(holds), True
            lost += _lost(session, holds, fates, sent if repeated else None)
        if lost:
            raise LockLost("; ".join(lost))

    async def release_async(self) -> None:
        """As `release`, without blocking the event loop."""
        session = self.session()
        lost = []
        for holds in self._leave(session):
            sent = time.monotonic()
            try:
                fates, repeated = await ask(session, _release(session, holds))
            except RedisUnavailable as error:
                _release_later(session, holds, error)
                fates, repeated = ["unknown"] * len(holds), True
            lost += _lost(session, holds, fates, sent if repeated else None)
        if lost:
            raise LockLost("; ".join(lost))

    @property
    def url(self) -> str:
        """Of the server."""
        return self._url

    def session(self) -> Session:
        """What this process has to do with the lock's server."""
        return session_of(self._url)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.release()
        except LockLost:
            if error is None:  # else what happened in the block is the news
                raise

    async def __aenter__(self) -> Self:
        await self.acquire_async()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        holds = self._mine(self.session())
        try:
            await self.release_async()
        except LockLost:
            if error is None:
                raise
            if isinstance(error, asyncio.CancelledError) and any(map(_uncancel, holds)):
                raise  # it was cancelled for this, and for nothing else

    def _request(self, timeout: float | None) -> tuple[AcquireRequest | None, list[Hold]]:
        """What is to be done to get what is not held here, and what is."""
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout={timeout}: seconds are needed, or None to wait for ever")
        session, owner = self.session(), current_owner()
        missing, entered = [], []
        for lock in self._locks:
            hold = lock.held(session, owner) if lock.limit is None else None
            if hold is None:
                missing.append(lock)
            elif hold.why is not None:
                raise LockLost(f"{lock} was lost: {hold.why}; release it first")
            else:
                entered.append(hold)
        return AcquireRequest(
            session, owner, missing, self._lease, timeout
        ) if missing else None, entered

    def _enter(self, entered: list[Hold], got: list[Hold] | None) -> bool:
        if got is None:
            return False
        for hold in entered:
            hold.depth += 1
        by_key = {hold.lock.key: hold for hold in (*entered, *got)}
        for lock in self._locks:
            lock.latest = by_key[lock.key]
        return True

    def _mine(self, session: Session) -> list[Hold]:
        owner = current_owner()
        holds = []
        for lock in self._locks:
            hold = lock.held(session, owner)
            if hold is None:
                raise NotHeld(f"{lock} is not held here; release it where it was acquired")
            holds.append(hold)
        return holds

    def _leave(self, session: Session) -> list[list[Hold]]:
        """Leave what is held here; returns what that ends, by request."""
        ended = []
        for hold in self._mine(session):
            if hold.depth == 1 and hold.lease == 0:
                raise NotHeld(f"{hold.lock} is the job's, which keeps it until its end")
            hold.depth -= 1
            if hold.depth == 0:
                session.drop(hold)
                ended.append(hold)
            elif hold.why is not None:
                raise LockLost(f"{hold.lock} was lost: {hold.why}")
        return [list(holds) for _, holds in itertools.groupby(ended, lambda hold: hold.id)]


@public
class Lock(Lockable):
    """What a mutex and a semaphore have in common.

    Attributes:
        kind: mutex or semaphore.
        name: of the thing that it protects. On one server, those of one kind and name are one.
        key: in Redis.
        limit: how many permits there are; None: it is a mutex.
        on_lost: called with the lock, in a thread of its own, when a holder has lost it.
        latest: what was held last through this object.
    """

    kind: str

    def __init__(
        self,
        name: str,
        limit: int | None,
        redis: Redis | None,
        lease: float,
        on_lost: OnLost | None,
    ) -> None:
        if not 0 < len(name) <= MAX_NAME_CHARS:
            raise ValueError(f"the name must be a string of 1 to {MAX_NAME_CHARS} characters")
        # Shorter ones are lost to a pause of the garbage collector.
        if not 0.1 <= lease < math.inf:
            raise ValueError(f"lease={lease}: seconds are needed, 0.1 at least")
        super().__init__(url_of(redis), lease, (self,))
        self.name = name
        self.limit = limit
        self.key = self.session().keys.lock(self.kind, name)
        self.on_lost = on_lost
        self.latest: Hold | None = None
        self._no_loss = threading.Event()

    def __repr__(self) -> str:
        return f"<{self}>"

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    def held(self, session: Session, owner: Owner) -> Hold | None:
        """What an owner or its job holds; of several permits the last got by this object."""
        stack = session.holds.get((self.key, owner.id))
        if not stack:
            return hold_of(self, owner)
        return self.latest if self.latest in stack else stack[-1]

    @property
    def hold(self) -> Hold:
        """What this thread or task holds; else what was held last through this object.

        Raises:
            NotHeld: nothing ever was.
        """
        hold = self.held(self.session(), current_owner()) or self.latest
        if hold is None:
            raise NotHeld(f"{self} was never acquired through this object")
        return hold

    @property
    def fence(self) -> int:
        """Higher than that of every earlier holder, of this and any other lock on the server.

        Raises:
            NotHeld: it was never acquired.
        """
        return self.hold.fence

    @property
    def lost(self) -> threading.Event:
        """Set when what is, or was last, held has been lost."""
        if self.latest is None:
            return self._no_loss
        return self.hold.lost

    @property
    def locked(self) -> bool:
        """Whether there is no permit to be had now; asks Redis."""
        return self.statistics().locked

    def owner(self) -> Party | None:
        """The holder, the first of several, as it is now; asks Redis."""
        return next(iter(self.statistics().holders), None)

    def statistics(self) -> Status:
        """Its holders and its waiters, as they are now; asks Redis.

        Raises:
            RedisUnavailable: Redis cannot be reached.
        """
        session = self.session()
        state, _ = session.execute(session.commands.read(self.key))
        return status(state, self.limit or 1)

    async def statistics_async(self) -> Status:
        """As `statistics`, without blocking the event loop."""
        session = self.session()
        state, _ = await ask(session, session.commands.read(self.key))
        return status(state, self.limit or 1)


@public
class Mutex(Lock):
    """One holder at a time, the longest waiting first. Its holder may enter it again.

    The holder is the thread or the asyncio task that has acquired it, and it alone releases it.

    Args:
        redis: a URL or a redis-py client; without one, `HEORI_REDIS_URL`.
        lease: seconds after which the lock of a process that has died goes to the next. As long as
            the holder's process lives, it is renewed.
        on_lost: called with the lock, in a thread of its own, when it is lost while held.

    Raises:
        ValueError, TypeError: an argument makes no sense.
    """

    kind = "mutex"

    def __init__(
        self,
        name: str,
        redis: Redis | None = None,
        lease: float = 30.0,
        *,
        on_lost: OnLost | None = None,
    ) -> None:
        super().__init__(name, None, redis, lease, on_lost)


@public
class Semaphore(Lock):
    """At most so many holders at a time, the longest waiting first.

    Acquiring it again takes another permit, and waits for it; a holder that would wait for its own
    permits gets a DeadlockDetected.

    Args:
        permits: how many, unless `set_permits` was called, on whatever machine. Where programs
            differ in this, each gets a permit only while fewer than it says itself are in use.
        redis, lease, on_lost: as for `Mutex`.

    Raises:
        ValueError, TypeError: an argument makes no sense.
    """

    kind = "semaphore"

    def __init__(
        self,
        name: str,
        permits: int,
        redis: Redis | None = None,
        lease: float = 30.0,
        *,
        on_lost: OnLost | None = None,
    ) -> None:
        super().__init__(name, _permits(permits), redis, lease, on_lost)

    def set_permits(self, permits: int | None) -> None:
        """Change the limit for all, now and until it is changed again.

        When it is lowered, holders keep what they have, and nobody gets more until there is room.

        Args:
            permits: None goes back to what each program says.

        Raises:
            ValueError: there must be one at least.
            RedisUnavailable: Redis cannot be reached.
        """
        session = self.session()
        limit = None if permits is None else _permits(permits)
        session.execute(session.commands.set_limit(self.key, limit))


@public
def acquire_all(locks: Sequence[Lock]) -> Lockable:
    """Several locks as one, which is acquired all or none.

    While it waits it holds none of them, so that it blocks nobody and cannot deadlock with others
    that do the same, in whatever order they name them. It has to find all of them free at the same
    moment, though: where each is always in use, entering them one after the other, always in the
    same order, comes to its end sooner.

    ::

        with acquire_all([Mutex("account:5"), Mutex("account:7")]):
            ...

    Raises:
        ValueError: there are none, one is named twice, or they are not on the same server.
    """
    by_key = {lock.key: lock for lock in sorted(locks, key=lambda lock: lock.key)}
    if not locks or len(by_key) < len(locks):
        raise ValueError("acquire_all needs one lock at least, and each of them once")
    urls = {lock._url for lock in locks}
    if len(urls) > 1:
        raise ValueError("acquire_all needs locks on one server")
    return Lockable(urls.pop(), min(lock._lease for lock in locks), tuple(by_key.values()))


def _permits(permits: int) -> int:
    if permits < 1 or permits != int(permits):
        raise ValueError(f"permits={permits!r}: a whole number is needed, 1 at least")
    return int(permits)


def _release(session: Session, holds: list[Hold]) -> Any:
    return session.commands.release([hold.lock.key for hold in holds], holds[0].id)


def _lost(
    session: Session, holds: list[Hold], fates: list[str], sent_before: float | None
) -> list[str]:
    """Count what was held; returns what had been lost.

    Args:
        fates: what Redis says each was, or unknown.
        sent_before: time.monotonic() when the release was sent first, if it was sent again: it may
            itself be why the lock is gone, unless the lease was over by then.
    """
    lost = []
    for hold, fate in zip(holds, fates, strict=True):
        released = sent_before is not None and sent_before < hold.valid_until
        if hold.why is None and fate != "held" and not released:
            how = "its lease was over" if fate == "unknown" else "Redis knew of it no more"
            session.renewer.lose(hold, f"{how} when it was released")
        if hold.why is not None:
            lost.append(f"{hold.lock} was lost: {hold.why}")
        session.count_hold(hold)
    return lost


def _release_later(session: Session, holds: list[Hold], error: RedisUnavailable) -> None:
    names = ", ".join(str(hold.lock) for hold in holds)
    log.warning("%s will be released when Redis is back: %s", names, error)
    lease = max(hold.lease for hold in holds)
    session.renewer.abandon([hold.lock.key for hold in holds], holds[0].id, lease)


def _uncancel(hold: Hold) -> bool:
    """Take back the cancellation that told of the loss; returns whether there is no other."""
    if hold.task is None or not hold.was_cancelled:
        return False
    hold.was_cancelled = False
    return hold.task.uncancel() <= hold.cancelling
