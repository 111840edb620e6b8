"""Queues and the consumers of them, as they are registered in Redis."""

from heori_common.protocol.commands import Commands, QueueCounts
from heori_common.redis.client import RedisClient

# A consumer's record, or a stock worker's, by RQ's names of the fields.
ConsumerRecord = dict[str, str]


def read_queue(client: RedisClient, commands: Commands, queue: str) -> QueueCounts:
    """How many jobs of a queue are where.

    Raises:
        RedisUnavailable: Redis cannot be reached.
    """
    return QueueCounts(*client.execute_many(commands.counts(queue)))


def read_queues(client: RedisClient, commands: Commands) -> dict[str, QueueCounts]:
    """The same of all queues that ever had a job, by name.

    Raises:
        RedisUnavailable: Redis cannot be reached.
    """
    return {
        queue: read_queue(client, commands, queue) for queue in client.execute(commands.queues())
    }


def read_oldest(client: RedisClient, commands: Commands, queue: str, now: float) -> float | None:
    """Seconds for which the next job of a queue has waited; None if none waits or it is not known.

    Args:
        now: the server's time, in epoch seconds.

    Raises:
        RedisUnavailable: Redis cannot be reached.
    """
    first = client.execute(commands.next_job(queue))
    since = client.execute(commands.enqueued_at(first)) if first is not None else None
    return None if since is None else max(0.0, now - since.timestamp())


def read_consumers(client: RedisClient, commands: Commands) -> dict[str, ConsumerRecord]:
    """The records of all consumers and stock workers that are registered, by name.

    Raises:
        RedisUnavailable: Redis cannot be reached.
    """
    return {
        name: record
        for name in client.execute(commands.consumers())
        if (record := client.execute(commands.consumer(name)))
    }
