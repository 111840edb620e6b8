"""What stays in Redis for ever, and the janitor's work without waiting for its minute."""

from typing import Any

from heori_common.protocol.commands import Command, Commands, Tidied
from heori_common.protocol.keys import Keys

KEYS = Keys()
# What one consumer of the queue default has, besides what expires.
OF_ONE_CONSUMER = {KEYS.queues(), KEYS.workers(), KEYS.workers_of("default")}
# What does not go with the last consumer either, once locks were used.
OF_LOCKS = {KEYS.fence(), KEYS.forced()}


def lasting(redis: Any) -> set[str]:
    """The names of all keys that have no TTL."""
    return {key.decode() for key in redis.scan_iter(count=1000) if redis.ttl(key) == -1}


def tidy(execute: Any, redis: Any, *, forget: float = 0.0) -> Tidied:
    """Look after all queues once, as who is elected for it."""
    dead = forgotten = 0
    deferring: dict[str, None] = {}
    cursor = ""
    while cursor != "0":
        if not cursor:
            redis.delete(KEYS.janitor())
        command: Command[Tidied | None] = Commands().tidy(
            consumer="tidy", interval=60, cursor=cursor or "0", forget=forget
        )
        found: Tidied | None = execute(command)
        if found is None:  # a consumer has come in between
            continue
        cursor, dead = found.cursor, dead + found.dead
        forgotten += found.forgotten
        deferring.update(dict.fromkeys(found.deferring))
    return Tidied(cursor, dead, forgotten, tuple(deferring))
