"""What the leader sends as the scheduler: due jobs move to their queues."""

from collections.abc import Sequence
from typing import NamedTuple

from heori_common.protocol.commands.builder import (
    Builders,
    Command,
    text,
    unpack,
)


class Moved(NamedTuple):
    """What came of one look at the scheduled jobs of some queues."""

    jobs: int  # put on their queues
    late: float  # seconds by which the latest of them was so
    held: int  # queues with scheduled jobs, whose scheduler's lock this consumer holds
    # Seconds until there may be something to do, queue by queue; None: nothing is scheduled.
    pauses: list[float | None]
    broken: list[str]  # keys that do not hold what they should


class SchedulingCommands(Builders):
    """Due jobs move to their queues."""

    def enqueue_due(
        self, queues: Sequence[str], *, consumer: str, lock_ttl: float, batch: int
    ) -> Command[Moved]:
        """Put due jobs on their queues, for those queues whose scheduler's lock is free or ours.

        Args:
            lock_ttl: seconds after which another may be elected, unless this is called again.
            batch: how many jobs to look at, at most.
        """

        def parse(reply: bytes) -> Moved:
            jobs, late, held, pauses, broken = unpack(reply)
            return Moved(
                jobs,
                float(late),
                held,
                [None if pause is False else float(pause) for pause in pauses],
                [key.decode() for key in broken],
            )

        keys = [
            key
            for queue in queues
            for key in (
                self.keys.scheduler_lock(queue),
                self.keys.scheduled(queue),
                self.keys.queue(queue),
            )
        ]
        return self._call(
            "enqueue_due",
            [self.keys.queues(), *keys],
            parse,
            consumer=consumer,
            lock_ttl_ms=round(lock_ttl * 1000),
            batch=batch,
        )

    def rates(self, queue: str, most: int) -> Command[list[tuple[str, float]]]:
        """The rates for which jobs of a queue wait, and when some may begin (epoch seconds).

        Args:
            most: rates, those that are due first.
        """
        return Command(
            ("ZRANGE", self.keys.rates(queue), 0, most - 1, "WITHSCORES"),
            lambda reply: [(text(rate), due / 1e6) for rate, due in reply],
        )

    def count_rate(self, queue: str, rate: str) -> Command[int]:
        """How many jobs of a queue wait for a rate."""
        return Command(("ZCARD", self.keys.rate_line(queue, rate)), int)

    def resign(self, queues: Sequence[str], *, consumer: str) -> Command[int]:
        """Let others be elected at once; reads how often this consumer was."""
        schedulers = [self.keys.scheduler_lock(queue) for queue in queues]
        counters = [self.keys.counter(queue) for queue in queues]
        return self._call("resign", schedulers + counters, int, consumer=consumer)
