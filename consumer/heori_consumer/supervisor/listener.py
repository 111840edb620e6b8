"""Listens to Redis, over one connection, so that an idle consumer polls nothing.

*What is told to this consumer*, by others of ours and with ``rq.command``: hand-overs, wake-ups,
the jobs of it that were cancelled, and what people ask of it. These come by subscriptions.

*A key that was read is written*: this comes by client tracking. After a connection has read a key,
the first write to that key, by any client, sends one message to the connection. The message carries
the key and nothing else, so nothing is lost with it. (Redis documentation, "Client-side caching",
default mode.) Only the leader reads keys here.

RESP3 allows both on one connection, as it marks messages that are no replies: pushes.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

from heori_common import logs
from heori_common.protocol.keys import Keys
from heori_common.redis.async_client import AsyncRedisClient
from heori_common.redis.async_push import AsyncPushConnection
from heori_common.redis.conversation import OnReply
from heori_common.redis.errors import RedisRefused, away
from heori_common.redis.push import Words
from heori_common.redis.retries import Backoff

log = logs.get_logger(__name__)

OnWrite = Callable[[], None]

# Keys that are read in one go: about 2 ms of work, replies included. The reads of thousands of
# queues would keep the event loop from renewing a lead.
AT_ONCE = 100


class RemoteCommand(NamedTuple):
    """A command that was sent to this consumer with ``rq.command``."""

    name: str
    job_id: str
    execution_id: str


class Listener:
    """Calls back for whatever is told.

    Args:
        consumer: its name, under which ``rq.command`` finds it.
        on_connected: called after each connect, as anything may have been missed; and when all keys
            were deleted.
        on_told: called with what other consumers tell to this one.
        on_command: called with each of rq's commands, whatever its name.
        backoff: the pauses before each new connection.
    """

    def __init__(
        self,
        redis_client: AsyncRedisClient,
        keys: Keys,
        consumer: str,
        *,
        on_connected: Callable[[], None],
        on_told: Callable[[bytes], None],
        on_command: Callable[[RemoteCommand], None],
        backoff: Backoff,
    ) -> None:
        self._on_connected = on_connected
        self._on_told = on_told
        self._on_command = on_command
        self._tracked: dict[bytes, OnWrite] = {}  # by key
        self._losses_told: set[str] = set()
        self._tracking: Words = ("CLIENT", "TRACKING", "ON")
        self._telling: Words = ("SUBSCRIBE", keys.told(consumer))
        self._told = keys.told(consumer).encode()
        self._tracks = self._hears = False  # whether Redis lets us
        self._connection = AsyncPushConnection(
            redis_client.dialer,
            [self._tracking, self._telling, ("SUBSCRIBE", keys.commands_to(consumer))],
            self._pushed,
            self._connected,
            backoff,
        )

    async def run(self) -> None:
        """Keep the connection and listen on it, for ever.

        While there is none, the claimer looks into the queues, and says that Redis is away.
        """
        await self._connection.run()

    def connect_anew(self) -> None:
        """Leave the server that it listens to, and connect to where the address leads now."""
        connection = self._connection
        connection.end(away(connection.where, "another server may be the primary"))

    @property
    def is_told(self) -> bool:
        """Whether what is told to this consumer comes here."""
        return self._hears and self._connection.is_connected

    async def track(self, commands: Iterable[tuple[Words, OnReply, OnWrite]], /) -> bool:
        """Read keys, and be called back once when one is written after that.

        Args:
            commands: what reads, with the key as its second word; what is called with the reply, or
                with the error in its place; and what is called at the first write, or when that may
                have been missed.

        Returns:
            Whether that will be told. If not, not all was sent.
        """
        rest = iter(commands)
        while True:
            if not self._tracks or not self._connection.is_connected:
                return False
            some = list(islice(rest, AT_ONCE))
            if not some:
                return True
            self._tracked |= {str(words[1]).encode(): on_write for words, _, on_write in some}
            self._connection.send([(words, on_reply) for words, on_reply, _ in some])
            if len(some) == AT_ONCE:
                await asyncio.sleep(0)

    def forget(self, keys: Iterable[str]) -> None:
        """Do not call back for these keys any more."""
        for key in keys:
            self._tracked.pop(key.encode(), None)

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
        self._tracks = self._tracking not in refused
        self._hears = self._telling not in refused
        self._missed()

    def _pushed(self, push: list[Any]) -> None:
        match push:
            case [b"invalidate", None]:  # FLUSHALL
                self._missed()
            case [b"invalidate", keys]:
                self._written(keys)
            case [b"message", self._told, payload]:
                self._on_told(payload)
            case [b"message", _, payload]:
                command = parse_command(payload)
                if command is None:
                    log.warning("a command of rq's cannot be read", payload=repr(payload[:200]))
                else:
                    self._on_command(command)

    def _missed(self) -> None:
        self._written(self._tracked.copy())
        self._on_connected()

    def _written(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            if (call_back := self._tracked.pop(key, None)) is not None:
                call_back()


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
