"""The connection for commands that blocks; `async_connection` has the one of event loops."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from heori_common.redis.dialer import Dialer
from heori_common.redis.errors import RedisRefused, RedisUnavailable, away, error_of
from heori_common.redis.resp import Push, ReplyReader, Word, pack


class BlockingConnection:
    """A command is one write, and its reply one read. For one thread at a time."""

    def __init__(self, dialer: Dialer, seconds: float | None = None) -> None:
        """Connect; see `Dialer.dial`.

        Raises:
            RedisUnavailable, RedisRefused: that cannot be done.
        """
        self._where = dialer.where
        self._dialer = dialer
        self._dialed = dialer.dial(seconds)
        self._socket = self._dialed.socket
        self._replies = ReplyReader(partial(error_of, where=self._where))

    @property
    def has_moved(self) -> bool:
        """Whether the sentinels have named another primary since it was connected."""
        return self._dialer.has_moved(self._dialed)

    def ask(self, words: Iterable[Word], meanwhile: Callable[[], object] | None = None) -> Any:
        """Send a command and wait for its reply, an exception for an error of the server's.

        Args:
            meanwhile: called when the command was sent, while the server is at it.

        Raises:
            RedisUnavailable: there is no reply. Close it then.
            RedisRefused: the command is too large; likewise.
        """
        data = pack(words)  # what cannot be encoded is no fault of the connection's
        try:
            self._send(data)
            if meanwhile is not None:
                meanwhile()
            while True:
                for reply in self._receive():
                    if type(reply) is not Push:
                        return reply
        except (OSError, ValueError) as error:
            raise self._away(error) from error

    def ask_many(
        self, commands: Sequence[Iterable[Word]], seconds: float | None = None
    ) -> list[Any]:
        """As `ask`, for commands that are sent in one go.

        Args:
            seconds: for which the server may say nothing; None for ANSWER_TIMEOUT_S, or what the
                URL says.
        """
        replies: list[Any] = []
        data = b"".join(map(pack, commands))
        usual = self._socket.gettimeout()
        try:
            if seconds is not None:
                self._socket.settimeout(seconds)
            self._send(data)
            while len(replies) < len(commands):
                replies += [reply for reply in self._receive() if type(reply) is not Push]
            if seconds is not None:
                self._socket.settimeout(usual)
        except (OSError, ValueError) as error:
            raise self._away(error) from error
        return replies

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except ConnectionError:
            # Had the server said why before it hung up, that is still to be read.
            with contextlib.suppress(OSError, ValueError):
                self._receive()
            raise

    def _receive(self) -> list[Any]:
        data = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the server closed the connection")
        replies = self._replies.feed(data)
        for reply in replies:
            if isinstance(reply, RedisRefused) and reply.is_size:
                raise reply
        return replies

    def _away(self, error: Exception) -> RedisUnavailable:
        late = isinstance(error, TimeoutError | BlockingIOError)
        return away(self._where, "no reply in time" if late else error)

    def close(self) -> None:
        """Disconnect."""
        self._dialed.hang_up()
