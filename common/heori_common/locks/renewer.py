"""Keeps the leases of all that this process holds, and tells holders that have lost theirs.

One thread renews every lease when a third of it is over. It never waits for Redis: a server that
hangs must not keep it from noticing that time is up. Time is this process's monotonic clock, and
a lease is counted from when its renewal was *sent*, so it ends here before it ends at the server.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from heori_common import clock
from heori_common.background import BackgroundThread, Bell, start_thread
from heori_common.given_back import lock_given_back
from heori_common.locks.commands import MOST_RENEWED, LockCommands
from heori_common.locks.hold import Hold
from heori_common.locks.statistics import Statistics
from heori_common.loggers import standard_logger
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_common.redis.push import PushThread, Reply

log = standard_logger(__name__)

RENEW_RETRY_S = 0.5  # until a renewal that failed is tried again, at most
ABANDON_AGAIN_S = 1.0  # after which what was given up is given up again, see `Renewer.abandon`
# With a lease that is due, those are renewed that are due within this share of theirs. Else locks
# that were got one after the other would be renewed one by one for ever.
RENEW_EARLY_SHARE = 0.1
SWEEP_EVERY_S = 10.0  # between two looks for locks that others have left behind


class Renewer:
    """Renews, and tells of losses. Safe to call from any thread.

    Args:
        forsaken: called with what nobody will release, as its thread or task has ended.
    """

    def __init__(
        self,
        push: PushThread,
        commands: LockCommands,
        statistics: Statistics,
        forsaken: Callable[[list[Hold]], None],
    ) -> None:
        self._push = push
        self._commands = commands
        self._statistics = statistics
        self._forsaken = forsaken
        self._holds: dict[int, Hold] = {}
        self._late: list[tuple[float, Callable[[], None]]] = []
        self._given_up: dict[str, list[str]] = {}
        self._lock = lock_given_back()
        self._bell = Bell()
        self._wake_at = self._sleeps_until = float("inf")
        self._next_sweep = 0.0
        self._failed = 0  # renewals one after the other, each of up to MOST_RENEWED locks
        self._thread = BackgroundThread(self._run, "heori-locks-renewer")
        self._closed = False

    def keep(self, hold: Hold) -> None:
        """Renew it from now on."""
        self._holds[id(hold)] = hold
        self._look_at(min(hold.renew_at, hold.valid_until))

    def drop(self, hold: Hold) -> None:
        """Renew it no more; it is released, or has been lost."""
        hold.is_released = True
        self._holds.pop(id(hold), None)

    def kept(self) -> list[Hold]:
        """All that is to be renewed: not what its owner is releasing, which expires if need be."""
        return [hold for hold in self._holds.copy().values() if hold.depth and not hold.is_released]

    def look(self) -> None:
        """Look now what is to be done: an owner has ended."""
        self._look_at(0.0)

    def abandon(self, locks: list[str], request: str, lease: float) -> None:
        """Give up a request of which nobody knows what has become.

        And once more later: what was sent on a connection that broke may still arrive. While Redis
        is away, or refuses whatever is sent, it goes on trying.

        Args:
            lease: seconds after which it is over by itself.
        """
        release = self._commands.release(locks, request)
        over = clock.now() + lease

        def give_up() -> None:
            self._push.call(release, again)

        def again(reply: Reply) -> None:
            error = reply.value
            is_general = isinstance(error, RedisUnavailable | RedisRefused) and error.is_general
            if is_general and clock.now() < over:
                self._later(give_up)
            else:
                self._given_up.pop(request, None)

        self._given_up[request] = locks
        give_up()
        self._later(give_up)

    def is_giving_up(self, locks: Iterable[str]) -> bool:
        """Whether requests for some of these locks are being given up here."""
        being = {lock for given_up in list(self._given_up.values()) for lock in given_up}
        return not being.isdisjoint(locks)

    def close(self) -> None:
        """Stop renewing, and wait for the thread's end."""
        self._closed = True
        self._bell.ring()
        self._thread.join()

    def _later(self, give_up: Callable[[], None]) -> None:
        when = clock.now() + ABANDON_AGAIN_S
        with self._lock:
            self._late.append((when, give_up))
        self._look_at(when)

    def _look_at(self, when: float) -> None:
        """Have the thread awake at that time; most holds end long before."""
        if when < self._wake_at:
            with self._lock:
                self._wake_at = min(when, self._wake_at)
        # Asked apart, as whoever has set that may have been struck before it rang.
        if when < self._sleeps_until:
            self._bell.ring()
        self._thread.begin()

    def _run(self) -> None:
        while not self._closed:
            until = self._wake_at
            if (pause := until - clock.now()) > 0:
                self._sleeps_until = until  # until here, whoever changes that rings
                self._bell.wait(pause)
                self._sleeps_until = float("inf")
                continue
            with self._lock:
                self._wake_at = float("inf")  # what comes from now on tells by itself
            try:
                self._look_at(self._renew_all())
            except Exception:  # whatever it is, the other locks must be kept
                log.exception("the renewer of locks failed")
                self._look_at(clock.now() + RENEW_RETRY_S)

    def _renew_all(self) -> float:
        """Do what is due; returns when something is due again."""
        now = clock.now()
        following = float("inf")
        due, forsaken = [], []
        for hold in self.kept():
            if hold.valid_until <= now:
                self._statistics.note("expired")
                self.lose(hold, "its lease ran out before it could be renewed")
            elif hold.owner.is_gone:
                log.warning("%s was never released: its thread or task has ended", hold.lock)
                forsaken.append(hold)
            elif hold.renew_at <= now + hold.lease * RENEW_EARLY_SHARE and not hold.is_renewing:
                due.append(hold)
            else:
                following = min(following, hold.renew_at, hold.valid_until)
        if forsaken:
            self._forsaken(forsaken)
        for first in range(0, len(due), MOST_RENEWED):
            self._renew(due[first : first + MOST_RENEWED])
            following = min(following, now + RENEW_RETRY_S)
        with self._lock:
            ready = [give_up for when, give_up in self._late if when <= now]
            self._late = [(when, give_up) for when, give_up in self._late if when > now]
            following = min([following, *(when for when, _ in self._late)])
        for give_up in ready:
            give_up()
        if self._holds and now >= self._next_sweep:
            self._next_sweep = now + SWEEP_EVERY_S
            self._push.call(self._commands.sweep(), _ignore)
        # A renewal on its way changes when to look again; until then, look at the clock.
        renewing = [hold.valid_until for hold in due] + [now + RENEW_RETRY_S] * bool(due)
        return min([following, *renewing])

    def _renew(self, holds: list[Hold]) -> None:
        sent = clock.now()
        for hold in holds:
            hold.is_renewing = True
        command = self._commands.renew(
            [(hold.lock.key, hold.id, round(hold.lease * 1e6)) for hold in holds]
        )
        self._push.call(command, partial(self._renewed, holds, sent))

    def _renewed(self, holds: list[Hold], sent: float, reply: Reply) -> None:
        lost = reply.value
        for number, hold in enumerate(holds):
            hold.is_renewing = False
            if isinstance(lost, Exception):
                hold.renew_at = clock.now() + min(RENEW_RETRY_S, hold.lease / 10)
            elif number in lost and hold.depth:
                self.lose(hold, "Redis knows of it no more: it expired or was released by force")
                continue
            else:
                hold.extend(sent + hold.lease, clock.now())
            self._look_at(min(hold.renew_at, hold.valid_until))
        if not isinstance(lost, Exception):
            if self._failed:
                log.info("locks are renewed again, after %d attempts in vain", self._failed)
            self._failed = 0
            return
        if not self._failed:
            log.warning("locks cannot be renewed, and are tried again: %s", lost)
        self._failed += 1

    def lose(self, hold: Hold, why: str) -> None:
        """Tell a holder that it has lost the lock; once."""
        if hold.why is not None:
            return
        hold.why = why
        self._holds.pop(id(hold), None)
        # If only its time is over, Redis may still count on it.
        self._push.call(self._commands.release([hold.lock.key], hold.id), _ignore)
        self._statistics.note("lost")
        log.warning("%s was lost (fence %d): %s", hold.lock, hold.fence, why)
        self.tell(hold)
        if hold.task is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed
                hold.task.get_loop().call_soon_threadsafe(self._cancel, hold, hold.task)

    @staticmethod
    def tell(hold: Hold) -> None:
        """Tell whoever waits to hear of its loss.

        In a thread of its own: it runs the code of others, and an event's lock may be held for ever
        by one who waited for it and was struck.
        """
        if hold.is_watched:
            start_thread(partial(_tell, hold), "heori-lock-lost")

    @staticmethod
    def _cancel(hold: Hold, task: asyncio.Task[Any]) -> None:
        if hold.depth:  # else it is being released, which tells of the loss
            hold.was_cancelled = task.cancel(f"{hold.lock} was lost: {hold.why}")


def _tell(hold: Hold) -> None:
    hold.lost.set()
    if hold.lock.on_lost is not None:
        hold.lock.on_lost(hold.lock)


def _ignore(_: Reply) -> None:
    """What has become of it need not be known."""
