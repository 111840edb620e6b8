"""The locks that programs use. Every one works in `with` and in `async with`."""

import threading
from collections.abc import Callable, Iterable

from heori_common.errors import short
from heori_common.locks.arguments import check_lease, check_permits
from heori_common.locks.commands import LockRequest
from heori_common.locks.declared import hold_of
from heori_common.locks.errors import NotHeld
from heori_common.locks.hold import Hold
from heori_common.locks.lockable import Lockable
from heori_common.locks.owner import LockOwner, Owner
from heori_common.locks.request import ask
from heori_common.locks.session import Redis, Session, url_of
from heori_common.locks.status import Party, Status, status
from heori_common.names import check_name
from heori_common.public import public

OnLost = Callable[["Lock"], object]


@public
class Lock(Lockable):
    """What a mutex and a semaphore have in common.

    Attributes:
        kind: mutex or semaphore.
        name: of the thing that it protects. On one server, those of one kind and name are one.
        key: in Redis.
        limit: how many permits there are; None: it is a mutex.
        wanted: what is asked for when it is acquired.
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
        owner: LockOwner | None,
    ) -> None:
        check_name(self.kind, name)
        if on_lost is not None and not callable(on_lost):
            raise TypeError(f"on_lost={short(on_lost)}: something to call with the lock is needed")
        if owner is not None and not isinstance(owner, LockOwner):
            raise TypeError(f"owner={short(owner)}: a LockOwner is needed")
        super().__init__(url_of(redis), check_lease(lease), (self,), owner)
        self.name = name
        self.limit = limit
        self.key = self.session().keys.lock(self.kind, name)
        self.wanted = LockRequest(self.key, limit)
        self.on_lost = on_lost
        self.latest: Hold | None = None
        self._no_loss = threading.Event()

    def __repr__(self) -> str:
        return f"<{self}>"

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    def held(self, session: Session, owner: Owner) -> Hold | None:
        """What an owner or its job holds; of several permits the last got by this object."""
        stack = session.held(self.key, owner)
        if not stack:
            return hold_of(self, owner)
        return self.latest if self.latest in stack else stack[-1]

    @property
    def hold(self) -> Hold:
        """What this thread or task holds; else what was held last through this object.

        Raises:
            NotHeld: nothing ever was.
        """
        hold = self.held(self.session(), self.holder()) or self.latest
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

    The holder is the thread or the asyncio task that has acquired it, and it alone releases it. A
    `LockOwner` holds it in their place where it is passed on, as by a web framework that runs the
    two halves of a generator in two threads.

    Args:
        name: of the thing that it protects: 1 to 512 characters that can be seen.
        redis: a URL or a redis-py client; without one, `HEORI_REDIS_URL`.
        lease: seconds after which the lock of a process that has died goes to the next. As long as
            the holder's process lives, it is renewed. From 0.1 to a year.
        on_lost: called with the lock, in a thread of its own, when it is lost while held.
        owner: who holds it; without one, the thread or task that acquires it.

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
        owner: LockOwner | None = None,
    ) -> None:
        super().__init__(name, None, redis, lease, on_lost, owner)


@public
class Semaphore(Lock):
    """At most so many holders at a time, the longest waiting first.

    Acquiring it again takes another permit, and waits for it; a holder that would wait for its own
    permits gets a DeadlockDetected.

    Args:
        permits: how many, unless `set_permits` was called, on whatever machine. Where programs
            differ in this, each gets a permit only while fewer than it says itself are in use.
        name, redis, lease, on_lost, owner: as for `Mutex`.

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
        owner: LockOwner | None = None,
    ) -> None:
        super().__init__(name, check_permits(permits), redis, lease, on_lost, owner)

    def set_permits(self, permits: int | None) -> None:
        """Change the limit for all, now and until it is changed again.

        When it is lowered, holders keep what they have, and nobody gets more until there is room.

        Args:
            permits: None goes back to what each program says.

        Raises:
            TypeError, ValueError: that is no number of permits.
            RedisUnavailable: Redis cannot be reached.
        """
        limit = None if permits is None else check_permits(permits)
        session = self.session()
        session.execute(session.commands.set_limit(self.key, limit))


@public
def acquire_all(locks: Iterable[Lock]) -> Lockable:
    """Several locks as one, which is acquired all or none.

    While it waits it holds none of them, so that it blocks nobody and cannot deadlock with others
    that do the same, in whatever order they name them. It has to find all of them free at the same
    moment, though: where each is always in use, entering them one after the other, always in the
    same order, comes to its end sooner.

    ::

        with acquire_all([Mutex("account:5"), Mutex("account:7")]):
            ...

    Raises:
        TypeError: something else than mutexes and semaphores is given.
        ValueError: there are none, one is named twice, or they are not on the same server or have
            not the same owner.
    """
    if not isinstance(locks, Iterable):
        raise TypeError(
            f"acquire_all({short(locks)}): several locks are needed, such as a list of them"
        )
    given = list(locks)
    for lock in given:
        if not isinstance(lock, Lock):
            raise TypeError(f"acquire_all: {short(lock)} is no Mutex and no Semaphore")
    by_key = {lock.key: lock for lock in sorted(given, key=lambda lock: lock.key)}
    if not given or len(by_key) < len(given):
        raise ValueError("acquire_all needs one lock at least, and each of them once")
    first, *others = by_key.values()
    if any(lock._url != first._url for lock in others):
        raise ValueError("acquire_all needs locks on one server")
    if any(lock._passed_on is not first._passed_on for lock in others):
        raise ValueError("acquire_all needs locks of one owner")
    lease = min(lock._lease for lock in given)
    return Lockable(first._url, lease, tuple(by_key.values()), first._passed_on)
