"""Mends at once what consumers mend from time to time, and what nobody else would."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from heori_common.protocol.commands import Command, Commands
from heori_common.protocol.commands.maintenance import Round
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient

AT_ONCE = 100  # queues


class Mended(NamedTuple):
    """What was done, and to how many."""

    did: str
    number: int


def mend(client: RedisClient, keys: Keys) -> Iterator[Mended]:
    """Look after everything that dead workers of rq's may have left.

    Raises:
        RedisUnavailable: the server is away.
        RedisRefused: it takes no writes, or not from this user.
    """
    commands = Commands(keys)
    queues: list[str] = client.execute(commands.queues())
    retried = failed = returned = 0
    for first in range(0, len(queues), AT_ONCE):
        left = client.execute(commands.reclaim_stock(queues[first : first + AT_ONCE]))
        retried += len(left.retried)
        failed += len(left.failed)
        returned += len(left.returned)
    yield Mended("jobs of dead stock workers retried", retried)
    yield Mended("jobs of dead stock workers failed", failed)
    yield Mended("jobs that were popped and not begun put back", returned)
    started = sum(
        _all(client, lambda cursor, queue=queue: commands.start_waiting(queue, cursor))  # type: ignore[misc]
        for queue in queues
    )
    yield Mended("jobs queued that need not wait for others", started)
    yield Mended("slots of rate limits freed", _all(client, commands.tidy_limits))
    yield Mended("jobs struck from groups that are gone", _all(client, commands.tidy_groups))


def _all(client: RedisClient, look: Callable[[str], Command[Round]]) -> int:
    found = client.execute(look("0"))
    number = found.number
    while found.cursor != "0":
        found = client.execute(look(found.cursor))
        number += found.number
    return number
