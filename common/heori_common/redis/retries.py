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
- What `PushConnection.send` has sent is not sent again: it is about this connection, and whoever
  has sent it begins anew with the next.
- A refusal is never sent again, as it would be refused again; but a script that the server has
  lost is sent in full, as it was not executed.
- Between two attempts, and before each new connection for pushes, there is a pause of up to 50 ms,
  by chance, so that not all come back at once. What it may be doubles up to 250 ms, and in a
  consumer up to 2 s. There it begins with a millisecond for each consumer, as all may come back.
- A connection that breaks takes all idle ones to the same server with it. One to a former primary
  is left as soon as sentinels name another; they are asked every LOOK_S.
- A connection for pushes on which nothing has come for QUIET_S is asked with PING, and given up
  when as long again nothing comes. One for commands is given up when an answer takes longer than
  ANSWER_TIMEOUT_S.
"""

import random
from collections.abc import Callable
from typing import Any

from heori_common.protocol.commands import Command, Word
from heori_common.redis.address import Address
from heori_common.redis.errors import RedisRefused

ANSWER_TIMEOUT_S = 10.0  # without an answer for so long, a server is taken to be away
LONGEST_WAIT_S = 5.0  # of a command that blocks; shorter than ANSWER_TIMEOUT_S
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

    Args:
        longest: that a pause may be, in seconds.
        first: how long the first one may be at least, in seconds, as it is when it comes to that.
    """

    def __init__(
        self, longest: float = LONGEST_PAUSE_S, first: Callable[[], float] = lambda: FIRST_PAUSE_S
    ) -> None:
        self._longest = longest
        self._first = first
        self._next: float | None = None

    def pause(self) -> float:
        """How long to wait now, in seconds."""
        most = min(self._longest, max(FIRST_PAUSE_S, self._next or self._first()))
        self._next = 2 * most
        # Any time up to that: of those that were cut off together few try at the same moment.
        return random.uniform(0.0, most)

    def reset(self) -> None:
        """It has worked; the next pause is a first one."""
        self._next = None
