"""Listens to Redis, over one connection, so that an idle consumer polls nothing.

*A hand-over or a wake-up for this consumer* and *rq's commands to it* (``rq.command``): these come
by subscriptions.

*A queue may have got a job, a job was cancelled or scheduled, `rq resume`*: these come by client
tracking. After a connection has read a key, the first write to that key, by any client, sends one
message to the connection. The message carries the key and no job, so no job is lost with it.
(Redis documentation, "Client-side caching", default mode.)

RESP3 allows both on one connection, as it marks messages that are no replies: pushes.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from heori_common import logs
from heori_common.protocol.commands.builder import unpack
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
    """Calls back for whatever is told.

    Args:
        consumer: its name, under which ``rq.command`` finds it.
        on_canceled: called with a queue in which jobs may have been cancelled; with each queue
            after each connect, as messages may have been missed.
        on_scheduled: called once after each `watch_scheduled`, when a job is scheduled.
        on_command: called with each of rq's commands, whatever its name.
        on_told: called with what is told to this consumer alone: a kind, and what belongs to it.
        on_changed: called with queues that were watched and may have got jobs.
        on_connected: called after each connect, as anything may have been missed.
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
        on_told: Callable[[Sequence[Any]], None],
        on_changed: Callable[[Collection[str]], None],
        on_connected: Callable[[], None],
    ) -> None:
        self._keys = keys
        self._canceled = {keys.canceled(queue).encode(): queue for queue in queues}
        self._scheduled = {keys.scheduled(queue).encode() for queue in queues}
        self._on_canceled = on_canceled
        self._on_scheduled = on_scheduled
        self._on_command = on_command
        self._on_told = on_told
        self._on_changed = on_changed
        self._on_connected = on_connected
        self._hears = False
        self._told = keys.told(consumer).encode()
        self._queues = frozenset(queues)
        self._losses_told: set[str] = set()
        self._tracking: Words = ("CLIENT", "TRACKING", "ON")
        self._telling: Words = ("SUBSCRIBE", keys.told(consumer))
        self._queue_keys = {
            key.encode(): queue
            for queue in queues
            for key in (keys.queue(queue), keys.turns(queue))
        }
        self._suspended = keys.suspended().encode()
        self._connection = AsyncPushConnection(
            redis_client.dialer,
            [self._tracking, self._telling, ("SUBSCRIBE", keys.commands_to(consumer))],
            self._pushed,
            self._connected,
        )

    async def run(self) -> None:
        """Keep the connection and listen on it, for ever.

        While there is none, the claimer looks into the queues, and says that Redis is away.
        """
        await self._connection.run()

    @property
    def is_told(self) -> bool:
        """Whether what is told to this consumer comes here."""
        return self._hears and self._connection.is_connected

    def watch_queues(self, queues: Iterable[str], on_length: Callable[[str, int], None]) -> bool:
        """Have `on_changed` called once when one of these, or `rq suspend`, is written.

        Args:
            on_length: called with how much is in each now.

        Returns:
            Whether it could be asked for.
        """
        keys = self._keys

        def answer(queue: str) -> OnReply:
            return lambda length: on_length(queue, length)

        commands: list[tuple[Iterable[Word], OnReply]] = [
            (words, answer(queue))
            for queue in queues
            for words in (("LLEN", keys.queue(queue)), ("ZCARD", keys.turns(queue)))
        ]
        return self._send([(("EXISTS", self._suspended), _ignore), *commands])

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
            loss = (
                "queues are looked at once a second"
                if words in (self._tracking, self._telling)
                else "rq's commands are not heard"
            )
            if loss not in self._losses_told:  # once, and not after each connect
                self._losses_told.add(loss)
                log.error("Redis does not let us listen", so=loss, reason=str(error))
        self._hears = self._telling not in refused
        self._watch_canceled(self._canceled)
        self._on_connected()

    def _pushed(self, push: list[Any]) -> None:
        match push:
            case [b"invalidate", keys]:
                # Without keys it is FLUSHALL: all keys were written.
                written = {*self._canceled, *self._scheduled} if keys is None else set(keys)
                canceled = written & self._canceled.keys()
                if written & self._scheduled:
                    self._on_scheduled()
                self._watch_canceled(canceled)
                changed = {self._queue_keys[key] for key in written & self._queue_keys.keys()}
                if self._suspended in written:
                    changed = set(self._queue_keys.values())
                if keys is None:
                    self._on_connected()
                elif changed:
                    self._on_changed(changed)
            case [b"message", self._told, payload]:
                self._on_told(unpack(payload))
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
