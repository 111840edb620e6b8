"""Listens to Redis, over one connection, so that an idle consumer polls nothing.

*A queue may have got a job, a job was cancelled or scheduled, `rq resume`*: these come by client
tracking. After a connection has read a key, the first write to that key, by any client, sends one
message to the connection. The message carries the key and no job, so no job is lost with it.
(Redis documentation, "Client-side caching", default mode.)

*rq's commands to one worker* (``rq.command``): these come by a subscription. RESP3 allows both on
one connection, as it marks messages that are no replies: pushes.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from heori_common import logs
from heori_common.protocol.keys import Keys
from heori_common.redis.async_client import AsyncRedisClient
from heori_common.redis.conversation import OnReply
from heori_common.redis.errors import RedisRefused
from heori_common.redis.push import AsyncPushConnection, Words
from heori_common.redis.resp import Word

log = logs.get_logger(__name__)

# Queues, most of them of tenants, whose cancelled jobs are listened for. With more, those of
# tenants are forgotten, and each is watched again as soon as a job of it is claimed.
MOST_WATCHED_QUEUES = 10_000


class RemoteCommand(NamedTuple):
    """A command that was sent to this consumer with ``rq.command``."""

    name: str
    job_id: str
    execution_id: str


class Listener:
    """Rings when a queue may have got a job, and calls back for everything else.

    Args:
        consumer: its name, under which ``rq.command`` finds it.
        on_canceled: called with a queue in which jobs may have been cancelled; with each queue
            after each connect, as messages may have been missed.
        on_scheduled: called once after each `watch_scheduled`, when a job is scheduled.
        on_command: called with each of rq's commands, whatever its name.
    """

    def __init__(
        self,
        redis_client: AsyncRedisClient,
        keys: Keys,
        queues: Sequence[str],
        consumer: str,
        *,
        on_canceled: Callable[[str], None],
        on_scheduled: Callable[[], None],
        on_command: Callable[[RemoteCommand], None],
    ) -> None:
        self._keys = keys
        self._canceled = {keys.canceled(queue).encode(): queue for queue in queues}
        self._scheduled = {keys.scheduled(queue).encode() for queue in queues}
        self._on_canceled = on_canceled
        self._on_scheduled = on_scheduled
        self._on_command = on_command
        self._queues = frozenset(queues)
        self._rung = asyncio.Event()
        self._losses_told: set[str] = set()
        self._tracking: Words = ("CLIENT", "TRACKING", "ON")
        self._connection = AsyncPushConnection(
            redis_client.dialer,
            [self._tracking, ("SUBSCRIBE", keys.commands_to(consumer))],
            self._pushed,
            self._connected,
        )

    async def run(self) -> None:
        """Keep the connection and listen on it, for ever.

        While there is none, the claimer looks into the queues, and says that Redis is away.
        """
        await self._connection.run()

    def ring(self) -> None:
        """Ring, for a reason that Redis does not tell."""
        self._rung.set()

    def arm(self) -> None:
        """Forget earlier rings. Call it before looking into the queues."""
        self._rung.clear()

    async def wait(self, seconds: float, queues: Iterable[str], *, suspended: bool) -> None:
        """Wait until one of the queues may have got a job.

        Args:
            seconds: for how long at most.
            suspended: wait for `rq resume` instead.
        """
        if suspended:
            self._send([(("EXISTS", self._keys.suspended()), self._ring_if_none)])
        else:
            keys = self._keys
            self._send(
                [
                    (words, self._ring_if_any)
                    for queue in queues
                    for words in (("LLEN", keys.queue(queue)), ("ZCARD", keys.turns(queue)))
                ]
            )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()

    def watch_canceled(self, queues: Iterable[str]) -> None:
        """Listen for cancelled jobs of these queues, too, from now on."""
        keys = {self._keys.canceled(queue).encode(): queue for queue in queues}
        new = set(keys) - self._canceled.keys()
        if len(self._canceled) > MOST_WATCHED_QUEUES:
            self._canceled = {
                key: queue for key, queue in self._canceled.items() if queue in self._queues
            }
            new = set(keys)
        self._canceled |= keys
        self._watch_canceled(new)

    async def watch_scheduled(self) -> bool:
        """Call `on_scheduled` when the next job is scheduled; returns False when not connected."""
        return self._send([(("ZCARD", key), _ignore) for key in self._scheduled])

    def _connected(self, refused: Mapping[Words, RedisRefused]) -> None:
        for words, error in refused.items():
            tracking = words == self._tracking
            loss = (
                "queues are looked at once a second" if tracking else "rq's commands are not heard"
            )
            if loss not in self._losses_told:  # once, and not after each connect
                self._losses_told.add(loss)
                log.error("Redis does not let us listen", so=loss, reason=str(error))
        self._watch_canceled(self._canceled)
        self._rung.set()

    def _pushed(self, push: list[Any]) -> None:
        match push:
            case [b"invalidate", keys]:
                # Without keys it is FLUSHALL: all keys were written.
                written = {*self._canceled, *self._scheduled} if keys is None else set(keys)
                canceled = written & self._canceled.keys()
                if written & self._scheduled:
                    self._on_scheduled()
                if keys is None or written - canceled - self._scheduled:
                    self._rung.set()
                self._watch_canceled(canceled)
            case [b"message", _, payload]:
                command = parse_command(payload)
                if command is None:
                    log.warning("a command of rq's cannot be read", payload=repr(payload[:200]))
                else:
                    self._on_command(command)

    def _watch_canceled(self, keys: Iterable[bytes]) -> None:
        """Track the registries of cancelled jobs, and call back for jobs that are there already."""

        def call_back(queue: str) -> OnReply:
            return lambda _: self._on_canceled(queue)

        self._send([(("ZCARD", key), call_back(self._canceled[key])) for key in keys])

    def _send(self, commands: Sequence[tuple[Iterable[Word], OnReply]]) -> bool:
        """Send commands; returns False when not connected.

        A refusal is passed over: the next claim is refused, too, and the claimer says so.
        """
        if not self._connection.is_connected:
            return False
        if commands:
            self._connection.send(
                [(words, _unless_refused(on_reply)) for words, on_reply in commands]
            )
        return True

    def _ring_if_any(self, length: int) -> None:
        if length > 0:
            self._rung.set()

    def _ring_if_none(self, found: int) -> None:
        if not found:
            self._rung.set()


def parse_command(payload: bytes) -> RemoteCommand | None:
    """Read what ``rq.command.send_command`` publishes; None when it is something else."""
    try:
        fields = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    words = [fields.get(name, "") for name in ("command", "job_id", "execution_id")]
    if not words[0] or not all(isinstance(word, str) for word in words):
        return None
    return RemoteCommand(*words)


def _unless_refused(on_reply: OnReply) -> OnReply:
    return lambda reply: None if isinstance(reply, Exception) else on_reply(reply)


def _ignore(_: object) -> None:
    pass
