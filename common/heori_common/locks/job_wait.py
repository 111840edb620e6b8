"""A job that waits for another job, noted where deadlocks are searched for."""

import contextlib
from collections.abc import Callable, Iterator

from heori_common.current_job import running_job
from heori_common.locks.commands import LockCommands, job_owner
from heori_common.locks.errors import DeadlockDetected
from heori_common.locks.owner import current_owner
from heori_common.locks.status import steps
from heori_common.loggers import standard_logger
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_common.redis.retries import LONGEST_WAIT_S
from heori_common.settings import Settings

log = standard_logger(__name__)


@contextlib.contextmanager
def waiting_for(job_id: str, client: RedisClient, keys: Keys) -> Iterator[Callable[[], None]]:
    """While a job waits for another.

    Gives what is to be called before each wait of LONGEST_WAIT_S seconds at most; it raises
    DeadlockDetected when the other waits for what this one holds. Outside of jobs it does nothing.
    """
    if running_job() is None:
        yield lambda: None
        return
    owner, commands, settings = current_owner(), LockCommands(keys), Settings()
    noted = warned = False

    def note() -> None:
        nonlocal noted, warned
        command = commands.note_wait(
            owner.known_as,
            job_owner(job_id),
            about=owner.about,
            ttl=3 * LONGEST_WAIT_S,
            deadlock=settings.deadlock,
        )
        try:
            cycle = client.execute(command)
        except (RedisUnavailable, RedisRefused) as error:
            if not error.is_general:
                raise
            return  # it is noted before the next wait
        if cycle and settings.deadlock == "raise":
            raise DeadlockDetected(steps(cycle, keys))
        if cycle and not warned:
            warned = True
            log.warning("%s", DeadlockDetected(steps(cycle, keys)))
        noted = True

    try:
        yield note
    finally:
        if noted:
            with contextlib.suppress(RedisUnavailable, RedisRefused):  # the note ends by itself
                client.execute(commands.end_wait(owner.known_as))
