"""What is said on one connection, whatever carries it: commands, their replies, and pushes."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from heori_common import clock
from heori_common.loggers import standard_logger
from heori_common.redis.address import Address
from heori_common.redis.errors import RedisUnavailable, away, error_of
from heori_common.redis.resp import Push, ReplyReader, Word, pack

T = TypeVar("T")

log = standard_logger(__name__)

# Called with a reply; with RedisRefused or RedisUnavailable in its place, if that is what came.
OnReply = Callable[[Any], None]
OnPush = Callable[[list[Any]], None]

# What answers a subscription; it has the form of a message that nobody asked for.
_CONFIRMATIONS = {b"subscribe", b"unsubscribe"}


class Transport(Protocol):
    """What carries bytes; asyncio's transports do."""

    def write(self, data: bytes) -> None:
        """Send, without blocking for long. Failures are told by the end of the connection."""

    def abort(self) -> None:
        """Disconnect at once."""


class Conversation:
    """Commands that are sent in turn, and called back with their replies. It does no I/O itself.

    Those of event loops are an `asyncio.Protocol`, too; programs that have none do without asyncio.

    Args:
        on_push: called with each message that nobody asked for.

    Attributes:
        heard: clock.now() when anything came last.
        received: bytes that have come.
    """

    def __init__(self, where: Address, on_push: OnPush | None = None) -> None:
        self.where = where
        self.heard = 0.0
        self.received = 0
        self._on_push = on_push
        self._transport: Transport | None = None
        self._replies = self._new_reader()
        self._awaited: deque[OnReply] = deque()

    @property
    def is_connected(self) -> bool:
        """Whether commands can be sent."""
        return self._transport is not None

    def begin(self, transport: Transport) -> None:
        """Speak over this from now on."""
        self._transport = transport
        self._replies = self._new_reader()
        self.heard = clock.now()

    def send(self, commands: Sequence[tuple[Iterable[Word], OnReply]]) -> None:
        """Send commands in one go, and call each back.

        Raises:
            RedisUnavailable: it is not connected.
        """
        if self._transport is None:
            raise away(self.where, "the connection was lost")
        self._awaited.extend(on_reply for _, on_reply in commands)
        self._transport.write(b"".join(pack(words) for words, _ in commands))

    def end(self, why: Exception) -> None:
        """Disconnect; what was sent and not answered is answered with this."""
        for on_reply in self._let_go():
            call_back(on_reply, why)

    def _let_go(self) -> Iterable[OnReply]:
        """Disconnect; returns what is to be told."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        awaited, self._awaited = self._awaited, deque()
        return awaited

    def data_received(self, data: bytes) -> None:
        self.heard = clock.now()
        self.received += len(data)
        try:
            for reply in self._replies.feed(data):
                if self._transport is None:
                    return  # a callback has ended it
                if isinstance(reply, RedisUnavailable):  # the server can serve nobody for now
                    self.end(reply)
                    return
                if not isinstance(reply, Push) or reply[0] in _CONFIRMATIONS:
                    call_back(self._awaited.popleft(), reply)
                elif self._on_push is not None:
                    call_back(self._on_push, reply)
        except (ValueError, IndexError) as error:
            self.end(away(self.where, f"what it says makes no sense: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(away(self.where, f"the connection was lost: {exc or 'closed'}"))

    def _new_reader(self) -> ReplyReader:
        return ReplyReader(partial(error_of, where=self.where))


def call_back(callback: Callable[[T], None], value: T) -> None:
    """Tell somebody what has come. What goes wrong with that is no fault of the connection's."""
    try:
        callback(value)
    except Exception:
        log.exception("an answer of Redis' could not be dealt with")
