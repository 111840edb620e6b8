"""A lock while this process holds it: until when, since when, and whether it has been lost."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Protocol

from heori_common import clock
from heori_common.locks.commands import LockRequest
from heori_common.locks.owner import Owner, settling


class HeldLock(Protocol):
    """What a hold, a request and the renewer know of a lock; see `heori_common.locks.lock.Lock`."""

    kind: str
    name: str
    key: str
    limit: int | None
    wanted: LockRequest
    on_lost: Callable[[Any], object] | None

    @property
    def url(self) -> str:
        """Of the server."""


class Hold:
    """A lock while this process holds it.

    Attributes:
        id: of the request that got it.
        fence: rises with each holder.
        lease: seconds; 0: its consumer renews it with the job's.
        depth: how often its owner has entered it; 0 as soon as it is being released.
        since: clock.now() when it was got.
        valid_until: clock.now() when the lease ends, unless it is renewed.
        why: how it was lost; None while it was not.
        task: the asyncio task to cancel when it is lost.
        was_cancelled: whether that was done.
        cancelling: how many cancellations of it others had asked for before.
    """

    __slots__ = (
        "_lost", "cancelling", "depth", "fence", "id", "is_released", "is_renewing", "lease",
        "lock", "owner", "renew_at", "since", "task", "valid_until", "was_cancelled", "why",
    )  # fmt: skip

    def __init__(
        self,
        lock: HeldLock,
        request: str,
        owner: Owner,
        fence: int,
        lease: float,
        valid_until: float,
        task: asyncio.Task[Any] | None,
        since: float | None = None,
    ) -> None:
        self.lock = lock
        self.id = request
        self.owner = owner
        self.fence = fence
        self.lease = lease
        self.task = task
        self.depth = 1
        self.since = clock.now() if since is None else since
        self._lost: threading.Event | None = None
        self.why: str | None = None
        self.was_cancelled = False
        self.cancelling = task.cancelling() if task is not None else 0
        self.is_released = False
        self.is_renewing = False
        self.extend(valid_until, self.since)

    def extend(self, valid_until: float, now: float) -> None:
        """The lease is known to last until then."""
        self.valid_until = valid_until
        # A lock that was handed over has a short lease, of which a third is over just as soon.
        left = min(self.lease, valid_until - now)
        self.renew_at = valid_until - left * 2 / 3

    @property
    def is_watched(self) -> bool:
        """Whether anybody is to be told when it is lost, other than its task."""
        return self._lost is not None or self.lock.on_lost is not None

    def disown(self, why: str) -> None:
        """It is another process' hold; nobody here has waited for its loss before."""
        self.why = why
        self._lost = None  # a thread that is no more may have had its lock

    @property
    def lost(self) -> threading.Event:
        """Set when it was lost. Made when it is asked for: most never are."""
        lost = self._lost
        if lost is None:
            with settling():  # two threads are to wait for the same one
                lost = self._lost = self._lost or threading.Event()
        if self.why is not None:
            lost.set()
        return lost
