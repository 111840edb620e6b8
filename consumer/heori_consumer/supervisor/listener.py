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
        self._keys = keys
        self._canceled = {keys.canceled(queue).encode(): queue for queue in queues}
        self._scheduled = {keys.scheduled(queue).encode() for queue in queues}
        self._on_canceled = on_canceled
        self._on_scheduled = on_scheduled
        self._on_command = on_command
        self._queues = frozenset(queues)
        self._rung = asyncio.Event()
        self._told: set[str] = set()
        self._tracking: Words = ("CLIENT", "TRACKING", "ON")
        self._connection = AsyncPushConnection(
            redis_client.dialer,
            [self._tracking, ("SUBSCRIBE", keys.commands_to(consumer))],
            self._pushed,
            self._begin,
        )

    async def run(self) -> None:
        """Keep the connection and listen on it, for ever.

        Without it the claimer looks by itself, and says that Redis is away.
        """
        await self._connection.run()

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

    def _begin(self, refused: Mapping[Words, RedisRefused]) -> None:
        for words, error in refused.items():
            tracking = words == self._tracking
            loss = (
                "queues are looked at once a second" if tracking else "rq's commands are not heard"
            )
            if loss not in self._told:  # once, and not with each connection
                self._told.add(loss)
                log.error("Redis does not let us listen", so=loss, reason=str(error))
        self._watch_canceled(self._canceled)
        self._rung.set()

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
