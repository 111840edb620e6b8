"""What is sent again while Redis is away, how often, and for how long: one rule for all.

A command of Heori's is safe to send twice: a job is enqueued under its id once, what was
acknowledged is refused the second time, and a lock is asked for, renewed and released under the id
of its request. The exception is a claim, which takes other jobs the second time.

- `RedisClient`, which blocks, and `PushConnection.call` send a command again for PATIENCE_S, or for
  as long as they were told to; where there are sentinels, for FAILOVER_S at least. Then they raise,
  or answer with, RedisUnavailable. With a patience of 0 a command is sent once.
- `AsyncRedisClient` sends everything once, as claims go over it. Its only user, the consumer,
  repeats what may be repeated for as long as it takes; a claim in doubt it undoes first. (That is
  `heori_consumer.supervisor.redis_retry`.)
- Whoever waits for the end of a job, in whatever way, does so until its own timeout, through every
  outage: `RedisClient.try_many` sends once, and waits by this machine's clock.
- What `PushConnection.send` has sent is not sent again: it is about this connection, and whoever
  has sent it begins anew with the next.
- A refusal that passes (`RedisRefused.is_passing`: a replica, one that cannot store, a script that
  takes too long) is treated like an outage, and raised, or answered with, after the patience. Of
  commands that are sent in one go, those that were refused are sent again. Where a replica refuses,
  the connection is made anew. No other refusal is sent again, as it would be refused again; but a
  script that the server has lost is sent in full, as it was not executed.
- The first attempt again follows at once: mostly one connection was lost, and the server is there.
  Before each further one, and each new connection for pushes, there is a pause of up to 50 ms, by
  chance, so that not all come back at once. What it may be doubles up to 250 ms, and in a consumer
  up to 750 ms, or 2 s with thousands of them. There it begins with a millisecond for each consumer,
  as all may come back. To one that closes each connection nobody comes back at once more often than
  every 250 ms.
- Patience begins with the first failure: a connection may have been lost long ago, and whoever uses
  it next gets to know that after ANSWER_TIMEOUT_S only.
- A connection that breaks takes all idle ones to the same server with it. One to a former primary
  is left as soon as sentinels name another; they are asked every LOOK_S.
- A connection for pushes on which nothing has come for QUIET_S is asked with PING, and given up
  when it does not answer that, or a call, for as long; then its calls go over the next.
- One for commands is given up when an answer takes longer than ANSWER_TIMEOUT_S; in a consumer,
  than a third of a lease where that is less, as one answer is not to cost a lease, but not before
  QUIET_S.
"""

import random
from collections.abc import Callable
from typing import Any

from heori_common import clock
from heori_common.protocol.commands import Command, Word
from heori_common.redis.address import Address
from heori_common.redis.errors import RedisRefused

ANSWER_TIMEOUT_S = 10.0  # without an answer for so long, a server is taken to be away
LONGEST_WAIT_S = 5.0  # of a command that blocks; shorter than ANSWER_TIMEOUT_S
LATE_S = 0.5  # by which the answer to one that blocks may be late
CONNECT_TIMEOUT_S = 2.0  # a primary that takes no connection for so long is asked for anew
PATIENCE_S = 1.0  # whoever waits for an answer hears soon that there is none
FAILOVER_S = 15.0  # sentinels elect a primary within this time
# One that was replaced takes writes for ten seconds more, until sentinels demote it, and those are
# lost then. So they are asked this often.
LOOK_S = 1.0
QUIET_S = 3.0

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 0.25


def patience_for(where: Address, patience: float) -> float:
    """For how long a command is sent again, in seconds, by the rule above."""
    return max(patience, FAILOVER_S) if patience and where.sentinels else patience


def words_in_full(command: Command[Any], reply: object) -> tuple[Word, ...] | None:
    """What to send because the server has lost the script; None when that is not the reply."""
    if isinstance(reply, RedisRefused) and reply.code == "NOSCRIPT":
        return command.in_full
    return None


class Backoff:
    """The pauses between attempts.

    Each argument is asked when it comes to that.

    Args:
        longest: that a pause may be, in seconds.
        first: how long the first one may be at least, in seconds.
    """

    def __init__(
        self,
        longest: Callable[[], float] = lambda: LONGEST_PAUSE_S,
        first: Callable[[], float] = lambda: FIRST_PAUSE_S,
    ) -> None:
        self._longest = longest
        self._first = first
        self._next: float | None = None
        self._at_once_from = float("-inf")  # clock.now() when an attempt may follow at once again

    def pause(self) -> float:
        """How long to wait now, in seconds."""
        if self._next is None and clock.now() >= self._at_once_from:
            self._at_once_from = clock.now() + LONGEST_PAUSE_S
            self._next = self._first()
            return 0.0
        most = min(self._longest(), max(FIRST_PAUSE_S, self._next or self._first()))
        self._next = 2 * most
        # Any time up to that: of those that were cut off together few try at the same moment.
        return random.uniform(0.0, most)

    def reset(self) -> None:
        """It has worked; what follows the next failure is a first one."""
        self._next = None
