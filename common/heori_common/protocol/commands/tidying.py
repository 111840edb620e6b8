"""What the elected janitor sends: what is of no use to anybody goes."""

from typing import NamedTuple

from heori_common.protocol.commands.builder import RESULT_TTL_S, Builders, Command, text, unpack

# Of one call, which so takes Redis a few milliseconds at most.
MOST_QUEUES = 100
MOST_STRUCK = 5_000  # entries of registries and names of dead consumers
FORGET_QUEUE_S = 60.0  # seconds until a queue is not listed any more that is empty and not served
RECORD_TTL_S = 480  # rq.defaults.DEFAULT_WORKER_TTL and what rq adds to it


class Tidied(NamedTuple):
    """What came of one look at some queues."""

    cursor: str  # for the next call; "0" when all queues were looked at
    dead: int  # consumers and stock workers that are not registered any more
    forgotten: int  # queues that are not listed any more
    deferring: tuple[str, ...]  # queues in which jobs wait for others


class TidyingCommands(Builders):
    """What nobody needs any more goes."""

    def tidy(
        self,
        *,
        consumer: str,
        interval: float,
        cursor: str = "0",
        forget: float = FORGET_QUEUE_S,
        thorough: bool = True,
    ) -> Command[Tidied | None]:
        """Look after some of all queues; None when another consumer does, or has just done so.

        Args:
            interval: seconds after the last call within which no other consumer is elected.
            cursor: of the last call, to go on from there.
            forget: seconds until a queue is not listed any more of which nothing is left.
            thorough: look at all queues for names of dead consumers, whether any was found or not.
        """

        def parse(reply: bytes | None) -> Tidied | None:
            if reply is None:
                return None
            cursor, dead, forgotten, deferring = unpack(reply)
            return Tidied(cursor.decode(), dead, forgotten, tuple(map(text, deferring)))

        keys = [self.keys.janitor(), self.keys.queues(), self.keys.workers(), self.keys.idle()]
        return self._call(
            "tidy",
            keys,
            parse,
            consumer=consumer,
            interval_ms=round(interval * 1000),
            cursor=cursor,
            most_queues=MOST_QUEUES,
            most_struck=MOST_STRUCK,
            forget_s=forget,
            thorough=thorough,
            record_ttl_s=RECORD_TTL_S,
            result_ttl_s=RESULT_TTL_S,
        )
