"""What Redis tells a consumer by itself, over one connection, so that nothing polls.

*A queue may have got a job; a job was cancelled; `rq resume`*: client tracking. Reading a key
arms it, and the first write to it afterwards, whoever makes it, sends one message. No id is at
risk on the way, one connection watches everything, and an idle consumer costs nothing. (Redis
documentation, "Client-side caching", default mode.)

*rq's commands to one worker* (``rq.command``): a subscription. RESP3 allows both on one
connection, as messages that were not asked for have a type of their own, the push.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from redis.exceptions import RedisError, ResponseError

from heori_common import logs
from heori_common.protocol.keys import Keys
from heori_common.redis.client import AsyncRedisClient
from heori_common.redis.wire import AsyncConnection, OnReply, Word

log = logs.get_logger(__name__)

RETRY = 0.5  # seconds, before connecting again
# A connection on which nothing has come for so long is asked whether it is still there, seconds.
QUIET = 5.0
MOST_WATCHED = 10_000  # queues, of tenants, whose cancelled jobs are heard of


class RemoteCommand(NamedTuple):
    """What somebody has asked of this consumer with rq's means."""

    name: str
    job_id: str
    execution_id: str


class Listener:
    """Rings when a queue may have got a job, and calls back for everything else.

    Args:
        on_canceled: called with the queue in which jobs may have been cancelled, also after
            each connect, as nobody knows what was missed.
        on_scheduled: called when `watch_scheduled` was, and a job was scheduled since.
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
        self._redis = redis_client
        self._keys = keys
        self._channel = keys.commands_to(consumer)
        self._canceled = {keys.canceled(queue).encode(): queue for queue in queues}
        self._scheduled = {keys.scheduled(queue).encode() for queue in queues}
        self._on_canceled = on_canceled
        self._on_scheduled = on_scheduled
        self._on_command = on_command
        self._queues = frozenset(queues)
        self._rung = asyncio.Event()
        self._connection: AsyncConnection | None = None
        self._told: set[str] = set()

    async def run(self) -> None:
        """Keep the connection and listen on it, for ever."""
        while True:
            connection = self._redis.connection(self._pushed)
            try:
                await self._connect(connection)
                await self._watch(connection)
            except (RedisError, OSError):
                pass  # the claimer looks by itself meanwhile, and says so
            finally:
                self._connection = None
                await connection.close()
            await asyncio.sleep(RETRY)

    def ring(self) -> None:
        """Ring by hand."""
        self._rung.set()

    def arm(self) -> None:
        """Forget earlier rings. Call it before looking into the queues."""
        self._rung.clear()

    async def wait(self, seconds: float, queues: Iterable[str], *, suspended: bool) -> None:
        """Wait until one of the queues gets a job, or so long.

        Args:
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
        """Call back, from now on, when jobs of these queues are cancelled, too."""
        keys = {self._keys.canceled(queue).encode(): queue for queue in queues}
        new = set(keys) - self._canceled.keys()
        if (
            len(self._canceled) > MOST_WATCHED
        ):  # they are watched again when there is a job of theirs
            self._canceled = {
                key: queue for key, queue in self._canceled.items() if queue in self._queues
            }
            new = set(keys)
        self._canceled |= keys
        self._watch_canceled(new)

    async def watch_scheduled(self) -> bool:
        """Call back once for what is scheduled from now on; returns whether that is possible."""
        return self._send([(("ZCARD", key), _ignore) for key in self._scheduled])

    async def _connect(self, connection: AsyncConnection) -> None:
        await connection.connect()
        for words, loss in (
            (("CLIENT", "TRACKING", "ON"), "queues are looked at once a second"),
            (("SUBSCRIBE", self._channel), "rq's commands are not heard"),
        ):
            try:
                await connection.ask(words, QUIET)
            except ResponseError as error:
                if loss not in self._told:  # once, and not with each connection
                    self._told.add(loss)
                    log.error("Redis does not let us listen", so=loss, reason=str(error))
        self._connection = connection
        self._watch_canceled(self._canceled)
        self._rung.set()

    async def _watch(self, connection: AsyncConnection) -> None:
        """Return when the connection is lost, or answers no more."""
        while True:
            before = connection.heard
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(QUIET):
                    await connection.lost()
                    return
            if connection.heard == before:
                await connection.ask(("PING",), QUIET)

    def _pushed(self, push: list[Any]) -> None:
        match push:
            case [b"invalidate", keys]:
                # None: everything is gone, by FLUSHALL
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
                    log.warning("a command that nobody can read", payload=repr(payload[:200]))
                else:
                    self._on_command(command)

    def _watch_canceled(self, keys: Iterable[bytes]) -> None:
        """Arm registries of cancelled jobs; when they are, call back for what came before."""

        def tell(queue: str) -> OnReply:
            return lambda _: self._on_canceled(queue)

        self._send([(("ZCARD", key), tell(self._canceled[key])) for key in keys])

    def _send(self, commands: Sequence[tuple[Iterable[Word], OnReply]]) -> bool:
        """Send commands, if possible; replies are called back, refusals are a claim's to name."""
        connection = self._connection
        if connection is None or not connection.is_connected:
            return False
        if commands:
            connection.send([(words, _unless_refused(on_reply)) for words, on_reply in commands])
        return True

    def _ring_if_any(self, length: int) -> None:
        if length > 0:
            self._rung.set()

    def _ring_if_none(self, found: int) -> None:
        if not found:
            self._rung.set()


def parse_command(payload: bytes) -> RemoteCommand | None:
    """Read a command as ``rq.command.send_command`` publishes it; None for anything else."""
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
