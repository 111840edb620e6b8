"""How jobs pass into a queue, and wait their turn while it is at its limit."""

import contextlib
from collections.abc import Sequence
from typing import Any

from heori_common import clock
from heori_common.errors import HeoriError
from heori_common.protocol.commands import (
    PLACE_LEASE_S,
    Commands,
    Cursor,
    Enqueued,
)
from heori_common.protocol.job import NewJob
from heori_common.public import public
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_producer.steps import Steps, Wait

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
        sent: the handles of these.
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
        self.sent: list[Any] = []


def wait_for_room(
    commands: Commands,
    queue: str,
    jobs: Sequence[NewJob],
    told: Enqueued,
    patience: float | None,
    cursor: Cursor | None,
    options: dict[str, Any],
) -> Steps[Enqueued]:
    """Send the rest of some jobs that were not all let in; it is at its end when all are.

    Args:
        told: of the first attempt.
        patience: seconds to wait for room without any; None for as long as it takes.
        cursor, options: of `Commands.enqueue`, as then.

    Raises:
        QueueFull: not all were let in; `taken` is how many were.
    """
    if options["when_full"] != "block":
        raise _full(queue, told, told.taken)
    try:
        return (yield from _wait_and_send(commands, queue, jobs, told, patience, cursor, options))
    finally:
        # The place ends by itself, and what was sent is sent.
        with contextlib.suppress(RedisUnavailable, RedisRefused):
            yield commands.leave(queue, jobs[0].id)


def _wait_and_send(
    commands: Commands,
    queue: str,
    jobs: Sequence[NewJob],
    told: Enqueued,
    patience: float | None,
    cursor: Cursor | None,
    options: dict[str, Any],
) -> Steps[Enqueued]:
    sent, progress = told.taken, clock.now()
    limit_is_old = False
    while sent < len(jobs):
        left = LOOK_EVERY_S
        if patience is not None:
            left = min(LOOK_EVERY_S, progress + patience - clock.now())
            if left <= 0:
                raise _full(queue, told, sent, patience)
        if limit_is_old:
            room = len(jobs)
        else:
            # One job is enough to look, and to keep the place.
            depth = yield _turn(commands, queue, told, left)
            room = 1 if depth is None or told.ahead is not None else told.limit - depth
        answer: Enqueued = yield commands.enqueue(
            queue,
            jobs[sent : sent + room],
            ticket=jobs[0].id,
            cursor=cursor and cursor.moved(sent),
            **options,
        )
        if answer.taken or answer.same:
            sent, progress = sent + answer.taken, clock.now()
        # A job was let in though no room was seen: somebody has set another limit.
        limit_is_old = (
            not limit_is_old and told.ahead is None and depth is None and answer.taken > 0
        )
        # When all were taken nothing is told but that, and it was this one's turn.
        told = answer if answer.limit else told._replace(ahead=None)
    return answer


def _turn(commands: Commands, queue: str, told: Enqueued, seconds: float) -> Wait:
    """To wait for room, whose answer is the depth then; or for the one who is ahead in the line."""
    keys = commands.keys
    if told.ahead is None:
        depth, limit = commands.depth(queue), told.limit
        return Wait(
            queue,
            [(keys.queue(queue), depth)],
            lambda _, depth: isinstance(depth, int) and depth < limit,
            seconds,
        )
    stands = commands.stands(queue, told.ahead)
    ahead = keys.ticket(queue, told.ahead)
    return Wait(queue, [(ahead, stands)], lambda _, stands: stands is False, seconds)


def _full(queue: str, told: Enqueued, sent: int, waited: float | None = None) -> QueueFull:
    over = max(0, told.depth - told.limit) + 1
    retry_after = over / told.rate if told.rate > 0 else None
    return QueueFull(queue, told.depth, told.limit, retry_after, sent, waited)
