"""What is wrong with a Redis that holds jobs, Heori's or any RQ's: it reads, and changes nothing.

Each check yields findings: a fact, what it means for the jobs, and the command that mends it. When
the server's user may not read something, the finding says so and nothing is guessed.
"""

from collections.abc import Iterator

from heori.inspect.checks.consumers import ConsumerChecks
from heori.inspect.checks.finding import Finding
from heori.inspect.checks.jobs import JobChecks
from heori.inspect.checks.keys import KeyChecks
from heori.inspect.checks.look import Look, Progress
from heori.inspect.checks.rq_leftovers import RqLeftovers
from heori.inspect.checks.server import ServerChecks
from heori.inspect.reader import NONSENSE
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisRefused


def examine(
    client: RedisClient, keys: Keys, max_payload: int, progress: Progress
) -> Iterator[Finding]:
    """All findings, the server's before the jobs'.

    Args:
        max_payload: bytes of arguments or a result, at most, by the settings.
        progress: called with what is being read, and how many of it so far.

    Raises:
        RedisUnavailable: the server is away.
        RedisRefused: it refuses whatever it is asked.
    """
    of_server = ServerChecks(client, keys.prefix, max_payload).all()
    look = Look(client, keys, progress)
    of_keys = KeyChecks(look)
    of_jobs = (
        *ConsumerChecks(look).all(),
        *JobChecks(look).all(),
        *RqLeftovers(look).all(),
    )
    for check in (*of_server, *of_keys.all(), *of_jobs, of_keys.unreadable):
        name = check.__name__.removeprefix("_")
        try:
            yield from list(check())
        except RedisRefused as error:
            if error.is_general and error.code != "NOPERM":
                raise
            said = error.said.removeprefix("NOPERM ")
            yield Finding(name, "unknown", f"the server does not let us see: {said}")
        except NONSENSE as error:
            yield Finding(name, "unknown", f"what the server says makes no sense: {error}")
