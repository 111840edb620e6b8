"""Queues and the consumers of them, as they are registered in Redis."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from heori_common.protocol.commands import Command, Commands, QueueCounts
from heori_common.redis.client import RedisClient

T = TypeVar("T")
# A consumer's record, or a stock worker's, by RQ's names of the fields.
ConsumerRecord = dict[str, str]

PAGE = 1000  # commands in one round trip, so that thousands of queues take a few
MOST_STANDSTILLS = 5  # consumers that are named


def read_queue(client: RedisClient, commands: Commands, queue: str) -> QueueCounts:
    """How many jobs of a queue are where.

    Raises:
        RedisUnavailable: Redis cannot be reached.
    """
    return QueueCounts(*client.execute_many(commands.counts(queue)))


def read_queues(client: RedisClient, commands: Commands) -> dict[str, QueueCounts]:
    """The same of all queues that are listed, by name.

    Raises:
        RedisUnavailable: Redis cannot be reached.
    """
    queues = client.execute(commands.queues())
    counts = _execute_all(
        client, [command for queue in queues for command in commands.counts(queue)]
    )
    size = len(counts) // max(1, len(queues))
    return {
        queue: QueueCounts(*counts[size * number : size * (number + 1)])
        for number, queue in enumerate(queues)
    }


def read_oldest(
    client: RedisClient, commands: Commands, queues: Iterable[str], now: float
) -> dict[str, float]:
    """Seconds for which the next job of each of these queues has waited, where that is known.

    Args:
        now: the server's time, in epoch seconds.

    Raises:
        RedisUnavailable: Redis cannot be reached.
    """
    names = list(queues)
    first = dict(
        zip(names, _execute_all(client, [commands.next_job(name) for name in names]), strict=True)
    )
    jobs = {name: job for name, job in first.items() if job is not None}
    since = _execute_all(client, [commands.enqueued_at(job) for job in jobs.values()])
    return {
        name: max(0.0, now - moment.timestamp())
        for name, moment in zip(jobs, since, strict=True)
        if moment is not None
    }


def at_standstill(records: dict[str, ConsumerRecord]) -> dict[str, str]:
    """The consumers whose slots all wait for jobs of their own queues; and which queues."""
    return {
        name: queues
        for name, record in records.items()
        if (queues := record.get("heori_waits_for", ""))
    }


def describe_standstills(waits_for: Mapping[str, str]) -> list[str]:
    """A line for each consumer whose slots all wait, given the queues; of many, the first few."""
    lines = [
        f"All slots of {name} wait for jobs of {queues}: start another consumer, or let this one "
        "lend more slots (HEORI_LEND_SLOTS)."
        for name, queues in list(waits_for.items())[:MOST_STANDSTILLS]
    ]
    if (others := len(waits_for) - len(lines)) > 0:
        lines.append(f"So do those of {others:,} more.")
    return lines


def read_consumers(client: RedisClient, commands: Commands) -> dict[str, ConsumerRecord]:
    """The records of all consumers and stock workers that are registered, by name.

    Raises:
        RedisUnavailable: Redis cannot be reached.
    """
    names = client.execute(commands.consumers())
    records = _execute_all(client, [commands.consumer(name) for name in names])
    return {name: record for name, record in zip(names, records, strict=True) if record}


def _execute_all(client: RedisClient, commands: Sequence[Command[T]]) -> list[T]:
    replies: list[T] = []
    for first in range(0, len(commands), PAGE):
        replies += client.execute_many(commands[first : first + PAGE])
    return replies
