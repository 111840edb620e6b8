"""What can be acquired and released: one lock or several, blocking or not.

The exception that ends a job may strike its thread at any moment in here. So each step is noted
where it is done: what was got is taken back, and what was being released is released, behind it.
"""

import asyncio
import itertools
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from heori_common import clock
from heori_common.locks.arguments import check_timeout
from heori_common.locks.errors import DeadlockDetected, LockError, LockLost, NotHeld
from heori_common.locks.hold import HeldLock, Hold
from heori_common.locks.owner import LockOwner, Owner, current_owner
from heori_common.locks.request import AcquireRequest, ask
from heori_common.locks.session import Session, session_of
from heori_common.loggers import standard_logger
from heori_common.public import public
from heori_common.redis.errors import RedisRefused, RedisUnavailable

log = standard_logger(__name__)


class OneLock(HeldLock, Protocol):
    """What is known here of each lock; see `heori_common.locks.lock.Lock`."""

    latest: Hold | None

    def held(self, session: Session, owner: Owner) -> Hold | None:
        """What an owner or its job holds."""


@public
class Lockable:
    """One lock or several: what can be acquired and released, blocking or not.

    Args:
        locks: those that it is, in the order in which they are acquired.
        lease: seconds.
        owner: who holds it; None: the thread or task that acquires it.
    """

    def __init__(
        self, url: str, lease: float, locks: Sequence[OneLock], owner: LockOwner | None
    ) -> None:
        self._url = url
        self._lease = lease
        self._locks = locks
        self._passed_on = owner

    def acquire(self, timeout: float | None = None) -> bool:
        """Wait for it; a mutex that this thread or task holds is entered once more.

        Args:
            timeout: seconds; None waits for ever, 0 does not wait. True and False are refused: to
                `threading` they mean these two, and as numbers they would mean one second and 0.

        Returns:
            Whether it is held now.

        Raises:
            TypeError, ValueError: the timeout makes no sense.
            DeadlockDetected: it would wait for ever.
            LockLost: it was held here, has been lost, and is yet to be released.
            RedisUnavailable: Redis cannot be reached.
            RedisRefused: Redis refuses it; its memory is full, say.

        One that waits already waits on, though, while Redis is away or refuses for now.
        """
        request, entered = self._request(timeout)
        counted: list[Hold] = []
        try:
            return self._enter(entered, request.run() if request else [], counted)
        except DeadlockDetected:
            raise
        except BaseException:  # such as the one that ends a job, at whatever moment
            _take_back(request, counted)
            raise

    async def acquire_async(self, timeout: float | None = None) -> bool:
        """As `acquire`, without blocking the event loop.

        When it is lost, the task that holds it is cancelled.
        """
        request, entered = self._request(timeout)
        counted: list[Hold] = []
        try:
            return self._enter(entered, await request.run_async() if request else [], counted)
        except DeadlockDetected:
            raise
        except BaseException:  # a cancellation, too
            _take_back(request, counted)
            raise

    def release(self) -> None:
        """Give it back; the one that has waited longest has it then.

        While Redis is away, or refuses whatever is sent, it goes on trying in the background, until
        the lease is over anyway. So it does when it is interrupted, as by the exception that ends a
        job.

        Raises:
            LockLost: it was lost before.
            NotHeld: this thread or task does not hold it.
            RedisRefused: a key of the lock holds something else.
        """
        left: list[Hold] = []
        try:
            self._release(left)
        except LockError:
            raise
        except BaseException:  # such as the one that ends a job, at whatever moment
            self._leave_behind(left)
            raise

    async def release_async(self) -> None:
        """As `release`, without blocking the event loop."""
        left: list[Hold] = []
        try:
            await self._release_async(left)
        except LockError:
            raise
        except BaseException:  # a cancellation, too
            self._leave_behind(left)
            raise

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
        left: list[Hold] = []
        try:
            self._release(left)  # and not `release`, which may be struck before it takes care
        except LockLost:
            if error is None:  # else what happened in the block is the news
                raise
        except NotHeld:
            raise
        except BaseException:
            self._leave_behind(left)
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
        left: list[Hold] = []
        try:
            await self._release_async(left)
        except LockLost:
            if error is None:
                raise
            if isinstance(error, asyncio.CancelledError) and any(map(_uncancel, left)):
                raise  # it was cancelled for this, and for nothing else
        except NotHeld:
            raise
        except BaseException:
            self._leave_behind(left)
            raise

    def _request(self, timeout: float | None) -> tuple[AcquireRequest | None, list[Hold]]:
        """What is to be done to get what is not held here, and what is."""
        timeout = check_timeout(timeout)
        session, owner = self.session(), self.holder()
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

    def _enter(self, entered: list[Hold], got: list[Hold] | None, counted: list[Hold]) -> bool:
        """Enter what is held; tells one by one what was counted."""
        if got is None:
            return False
        by_key = {hold.lock.key: hold for hold in (*entered, *got)}
        for lock in self._locks:
            lock.latest = by_key[lock.key]
        for hold in entered:
            hold.depth += 1  # as in `_leave`
            counted.append(hold)
        return True

    def holder(self) -> Owner:
        """Who would hold it, if it were acquired here."""
        return current_owner() if self._passed_on is None else self._passed_on.owner

    def _mine(self, session: Session) -> list[Hold]:
        owner = self.holder()
        holds = []
        for lock in self._locks:
            hold = lock.held(session, owner)
            if hold is None:
                raise NotHeld(f"{lock} is not held here; release it where it was acquired")
            holds.append(hold)
        return holds

    def _release(self, left: list[Hold]) -> None:
        """Release it; tells one by one what was left."""
        session = self.session()
        lost: list[str] = []
        for holds in self._leave(session, left, lost):
            sent = clock.now()
            try:
                fates, repeated = session.execute(_release(session, holds))
            except (RedisUnavailable, RedisRefused) as error:
                if not error.is_general:
                    raise
                _release_later(session, holds, error)
                fates, repeated = ["unknown"] * len(holds), True
            lost += _lost(session, holds, fates, sent if repeated else None)
        if lost:
            raise LockLost("; ".join(lost))

    async def _release_async(self, left: list[Hold]) -> None:
        session = self.session()
        lost: list[str] = []
        for holds in self._leave(session, left, lost):
            sent = clock.now()
            try:
                fates, repeated = await ask(session, _release(session, holds))
            except (RedisUnavailable, RedisRefused) as error:
                if not error.is_general:
                    raise
                _release_later(session, holds, error)
                fates, repeated = ["unknown"] * len(holds), True
            lost += _lost(session, holds, fates, sent if repeated else None)
        if lost:
            raise LockLost("; ".join(lost))

    def _leave(self, session: Session, left: list[Hold], lost: list[str]) -> list[list[Hold]]:
        """Leave what is held here; returns what that ends, by request.

        Args:
            left: gets one by one what was left.
            lost: gets what was lost before, and has to be left once more.
        """
        holds = self._mine(session)
        for hold in holds:
            if hold.depth == 1 and hold.lease == 0:
                raise NotHeld(f"{hold.lock} is the job's, which keeps it until its end")
        for hold in holds:
            hold.depth -= 1  # no exception from elsewhere strikes before the end of the next call
            left.append(hold)
        lost += [f"{hold.lock} was lost: {hold.why}" for hold in holds if hold.depth and hold.why]
        ended = [hold for hold in holds if hold.depth == 0]
        if len(ended) == 1:
            return [ended]
        return [list(group) for _, group in itertools.groupby(ended, lambda hold: hold.id)]

    def _leave_behind(self, left: list[Hold]) -> None:
        """Release in the background what was to be released, as far as that was not done."""
        session, owner = self.session(), self.holder()
        done = {hold.lock.key for hold in left}
        for lock in self._locks:
            hold = None if lock.key in done else lock.held(session, owner)
            if hold is not None and (hold.depth > 1 or hold.lease):
                hold.depth -= 1
                left.append(hold)
        session.give_up(hold for hold in left if hold.depth == 0 and not hold.is_released)


def _take_back(request: AcquireRequest | None, counted: list[Hold]) -> None:
    for hold in counted:
        hold.depth -= 1
    if request is not None:
        request.take_back()


def _release(session: Session, holds: list[Hold]) -> Any:
    return session.commands.release([hold.lock.key for hold in holds], holds[0].id)


def _lost(
    session: Session, holds: list[Hold], fates: list[str], sent_before: float | None
) -> list[str]:
    """Count what was held; returns what had been lost.

    Args:
        fates: what Redis says each was, or unknown.
        sent_before: clock.now() when the release was sent first, if it was sent again: it may
            itself be why the lock is gone, unless the lease was over by then.
    """
    lost = []
    for hold, fate in zip(holds, fates, strict=True):
        released = sent_before is not None and sent_before < hold.valid_until
        if hold.why is None and fate != "held" and not released:
            how = "its lease was over" if fate == "unknown" else "Redis knew of it no more"
            session.renewer.lose(hold, f"{how} when it was released")
        session.drop(hold)
        if hold.why is not None:
            lost.append(f"{hold.lock} was lost: {hold.why}")
        session.count_hold(hold)
    return lost


def _release_later(session: Session, holds: list[Hold], error: Exception) -> None:
    names = ", ".join(str(hold.lock) for hold in holds)
    log.warning("%s will be released as soon as Redis takes it: %s", names, error)
    lease = max(hold.lease for hold in holds)
    session.renewer.abandon([hold.lock.key for hold in holds], holds[0].id, lease)


def _uncancel(hold: Hold) -> bool:
    """Take back the cancellation that told of the loss; returns whether there is no other."""
    if hold.task is None or not hold.was_cancelled:
        return False
    hold.was_cancelled = False
    return hold.task.uncancel() <= hold.cancelling
