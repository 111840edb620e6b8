"""What is wrong with a Redis that holds jobs, Heori's or any RQ's: it reads, and changes nothing.

Each check yields findings: a fact, what it means for the jobs, and the command that mends it. When
the server's user may not read something, the finding says so and nothing is guessed.
"""

from collections.abc import Iterator

import redis

from heori.inspect.checks.finding import Finding
from heori.inspect.checks.jobs import JobChecks, Progress
from heori.inspect.checks.server import ServerChecks
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisRefused


def examine(
    client: redis.Redis, bulk: RedisClient, keys: Keys, max_payload: int, progress: Progress
) -> Iterator[Finding]:
    """All findings, the server's before the jobs'.

    Args:
        client: of the server, undecoded.
        bulk: of the same, for what is asked of many keys: it takes a fifth of the time.
        max_payload: bytes of arguments or a result, at most, by the settings.
        progress: called with what is being read, and how many of it so far.

    Raises:
        redis.RedisError, RedisUnavailable: the server is away.
    """
    of_server = ServerChecks(client, keys.prefix, max_payload).all()
    for check in (*of_server, *JobChecks(client, bulk, keys, progress).all()):
        try:
            yield from list(check())
        except (redis.ResponseError, RedisRefused) as error:
            name = check.__name__.removeprefix("_")
            yield Finding(name, "unknown", f"the server does not let us see: {error}")
