"""What Redis tells a consumer by itself, over one connection, so that nothing polls.

*A queue may have got a job; a job was cancelled; `rq resume`*: client tracking. Reading a key
arms it, and the first write to it afterwards, whoever makes it, sends one message. No id is at
risk on the way, one connection watches everything, and an idle consumer costs nothing. (Redis
documentation, "Client-side caching", default mode.)

*rq's commands to one worker* (``rq.command``): a subscription. RESP3 allows both on one
connection, as messages that were not asked for have a type of their own, the push.
"""

import asyncio
import collections
import contextlib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import structlog
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from common.broker import AsyncBroker
from common.protocol.keys import Keys

log = structlog.get_logger()

RETRY = 0.5  # seconds, before connecting again
# A connection on which nothing has come for so long is asked whether it is still there, seconds.
QUIET = 5.0

Reply = Callable[[Any], None]


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
        broker: AsyncBroker,
        keys: Keys,
        queues: Sequence[str],
        consumer: str,
        *,
        on_canceled: Callable[[str], None],
        on_scheduled: Callable[[], None],
        on_command: Callable[[RemoteCommand], None],
    ) -> None:
        self._broker = broker
        self._keys = keys
        self._channel = keys.commands_to(consumer)
        self._canceled = {keys.canceled(queue).encode(): queue for queue in queues}
        self._scheduled = {keys.scheduled(queue).encode() for queue in queues}
        self._on_canceled = on_canceled
        self._on_scheduled = on_scheduled
        self._on_command = on_command
        self._rung = asyncio.Event()
        self._connection: AbstractConnection | None = None
        self._awaited: collections.deque[Reply] = collections.deque()
        self._told: set[str] = set()

    async def listen(self) -> None:
        """Keep the connection and listen on it, for ever."""
        while True:
            connection = self._broker.connection()
            try:
                await self._connect(connection)
                await self._read(connection)
            except (RedisError, OSError):
                await asyncio.sleep(RETRY)  # the claimer looks by itself meanwhile, and says so
            finally:
                self._connection = None
                await connection.disconnect(nowait=True)

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
            await self._send([(("EXISTS", self._keys.suspended()), self._ring_if_none)])
        else:
            await self._send(
                [(("LLEN", self._keys.queue(queue)), self._ring_if_any) for queue in queues]
            )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()

    async def watch_scheduled(self) -> bool:
        """Call back once for what is scheduled from now on; returns whether that is possible."""
        return await self._send([(("ZCARD", key), _ignore) for key in self._scheduled])

    async def _connect(self, connection: AbstractConnection) -> None:
        await connection.connect()  # type: ignore[no-untyped-call]
        # Without a handler of its own redis-py keeps the content of an invalidation to itself.
        parser: Any = connection._parser
        parser.set_invalidation_push_handler(_unchanged)
        for words, loss in (
            (("CLIENT", "TRACKING", "ON"), "queues are looked at once a second"),
            (("SUBSCRIBE", self._channel), "rq's commands are not heard"),
        ):
            await connection.send_command(*words)
            try:
                await connection.read_response(push_request=True)  # of a subscription: a push
            except ResponseError as error:
                if loss not in self._told:  # once, and not with each connection
                    self._told.add(loss)
                    log.error("Redis does not let us listen", so=loss, reason=str(error))
        self._awaited.clear()
        self._connection = connection
        await self._watch_canceled(self._canceled)
        self._rung.set()

    async def _read(self, connection: AbstractConnection) -> None:
        asked = False
        while True:
            try:
                message = await connection.read_response(timeout=QUIET, push_request=True)
            except ResponseError:  # a key of the wrong type; a claim names it
                self._awaited.popleft()
                continue
            if message is None:
                if asked:
                    raise TimeoutError
                await self._send([(("PING",), _ignore)])
            elif isinstance(message, list):
                await self._pushed(message)
            else:
                self._awaited.popleft()(message)
            asked = message is None

    async def _pushed(self, push: list[Any]) -> None:
        match push:
            case [b"invalidate", keys]:
                # None: everything is gone, by FLUSHALL
                written = {*self._canceled, *self._scheduled} if keys is None else set(keys)
                canceled = written & self._canceled.keys()
                if written & self._scheduled:
                    self._on_scheduled()
                if keys is None or written - canceled - self._scheduled:
                    self._rung.set()
                await self._watch_canceled(canceled)
            case [b"message", _, payload]:
                command = parse_command(payload)
                if command is None:
                    log.warning("a command that nobody can read", payload=repr(payload[:200]))
                else:
                    self._on_command(command)

    async def _watch_canceled(self, keys: Iterable[bytes]) -> None:
        """Arm registries of cancelled jobs; when they are, call back for what came before."""

        def tell(queue: str) -> Reply:
            return lambda _: self._on_canceled(queue)

        await self._send([(("ZCARD", key), tell(self._canceled[key])) for key in keys])

    async def _send(self, commands: Sequence[tuple[tuple[Any, ...], Reply]]) -> bool:
        """Send commands in one go, if possible; their replies are called when they come."""
        connection = self._connection
        # One that has been lost would be made anew by sending, and not be listened on.
        if connection is None or not connection.is_connected:
            return False
        if not commands:
            return True
        self._awaited.extend(reply for _, reply in commands)
        packed = connection.pack_commands([words for words, _ in commands])
        with contextlib.suppress(RedisError, OSError):  # reading fails as well, and begins anew
            await connection.send_packed_command(packed)
            return True
        return False

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


async def _unchanged(push: list[Any]) -> list[Any]:
    return push


def _ignore(_: object) -> None:
    pass
