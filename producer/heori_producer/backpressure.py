"""Where jobs pass on their way into a queue, and wait their turn while it is at its limit."""

import contextlib
from collections.abc import Sequence
from typing import Any

from heori_common import clock
from heori_common.errors import HeoriError
from heori_common.protocol.commands import PLACE_LEASE_S, Commands, Cursor, Enqueued, WhenFull
from heori_common.protocol.job import NewJob
from heori_common.public import public
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisUnavailable
from heori_producer.handle import Handle
from heori_producer.job_future import JobEvent
from heori_producer.watcher import Watcher

# However quiet it is, look this often: it keeps the place in the line, and were a wake-up ever
# lost, jobs would be late and not forgotten.
LOOK_EVERY_S = PLACE_LEASE_S / 3


@public
class QueueFull(HeoriError, RuntimeError):
    """A queue is at its limit.

    Attributes:
        queue: which.
        depth: how many jobs wait in it.
        limit: how many may.
        retry_after: seconds until there should be room again, as fast as jobs have left the
            queue of late; None when none have.
        taken: how many jobs of the same call were let in before.
        sent: these jobs.
    """

    def __init__(
        self,
        queue: str,
        depth: int,
        limit: int,
        retry_after: float | None,
        taken: int = 0,
        waited: float | None = None,
    ) -> None:
        when = "no job leaves it" if retry_after is None else f"try again in {retry_after:.1f} s"
        after = "" if waited is None else f", and there was no room for {waited:g} s"
        super().__init__(f"queue {queue} is full: {depth} of {limit} jobs wait{after}; {when}")
        self.queue = queue
        self.depth = depth
        self.limit = limit
        self.retry_after = retry_after
        self.taken = taken
        self.sent: list[Handle[Any]] = []


class Backpressure:
    """Sends jobs as queues have room for them. Safe to share between threads."""

    def __init__(self, client: RedisClient, commands: Commands, watcher: Watcher) -> None:
        self._redis = client
        self._commands = commands
        self._watcher = watcher

    def send(
        self,
        queue: str,
        jobs: Sequence[NewJob],
        *,
        when_full: WhenFull,
        patience: float | None,
        cursor: Cursor | None = None,
        **options: Any,
    ) -> Enqueued:
        """Send jobs; returns when all are in.

        Args:
            patience: seconds to wait for room without any; None for as long as it takes.
            cursor, options: of `Commands.enqueue`.

        Raises:
            QueueFull: not all were let in; `taken` is how many were.
        """
        told = self._redis.execute(
            self._commands.enqueue(queue, jobs, when_full=when_full, cursor=cursor, **options)
        )
        if told.taken == len(jobs):
            return told
        if when_full != "block":
            raise _full(queue, told, told.taken)
        try:
            return self._wait_and_send(queue, jobs, told, patience, cursor, options)
        finally:
            with contextlib.suppress(RedisUnavailable):  # the place ends by itself
                self._redis.execute_many(self._commands.leave(queue, jobs[0].id))

    def _wait_and_send(
        self,
        queue: str,
        jobs: Sequence[NewJob],
        told: Enqueued,
        patience: float | None,
        cursor: Cursor | None,
        options: dict[str, Any],
    ) -> Enqueued:
        sent, progress = told.taken, clock.now()
        while sent < len(jobs):
            left = LOOK_EVERY_S
            if patience is not None:
                left = min(LOOK_EVERY_S, progress + patience - clock.now())
                if left <= 0:
                    raise _full(queue, told, sent, patience)
            # One job is enough to look, and to keep the place.
            room = self._wait(queue, told, left) or 1
            answer = self._redis.execute(
                self._commands.enqueue(
                    queue,
                    jobs[sent : sent + room],
                    ticket=jobs[0].id,
                    cursor=cursor and cursor.moved(sent),
                    **options,
                )
            )
            if answer.taken or answer.same:
                sent, progress = sent + answer.taken, clock.now()
            # When all were taken nothing is told but that, and it was this one's turn.
            told = answer if answer.limit else told._replace(ahead=None)
        return answer

    def _wait(self, queue: str, told: Enqueued, seconds: float) -> int:
        """Wait for something to happen; returns how many jobs there seems to be room for."""
        happened = JobEvent(queue)
        room = 0

        def on_depth(depth: object) -> None:
            nonlocal room
            if isinstance(depth, int) and depth < told.limit:
                room = told.limit - depth
                happened.set()

        def on_place(stands: object) -> None:
            if stands is False:
                happened.set()

        keys = self._commands.keys
        if told.ahead is None:
            watch = self._watcher.watch(keys.queue(queue), self._commands.depth(queue), on_depth)
        else:
            ahead = told.ahead
            watch = self._watcher.watch(
                keys.ticket(queue, ahead), self._commands.stands(queue, ahead), on_place
            )
        with watch:
            happened.wait(seconds)
        return room


def _full(queue: str, told: Enqueued, sent: int, waited: float | None = None) -> QueueFull:
    over = max(0, told.depth - told.limit) + 1
    retry_after = over / told.rate if told.rate > 0 else None
    return QueueFull(queue, told.depth, told.limit, retry_after, sent, waited)
