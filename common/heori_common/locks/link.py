"""Connections on which threads ask: one write and one read for a command, and nothing around it.

An uncontended lock is two commands, so that what a client does around each is most of its price:
`RedisClient`, which knows what to do in every kind of trouble, takes a third longer. So it is only
asked when there is trouble.
"""

import contextlib
import socket
from collections import deque
from typing import Any, TypeVar

from redis import exceptions

from heori_common.protocol.commands import Command
from heori_common.redis.address import Address
from heori_common.redis.client import RedisClient
from heori_common.redis.wire import Replies, pack

T = TypeVar("T")


class Links:
    """Executes commands that are safe to send again. Safe to share between threads.

    Args:
        redis_client: what makes the connections, and takes over when one breaks.
    """

    def __init__(self, url: str, redis_client: RedisClient) -> None:
        self._redis = redis_client
        # Only the client asks sentinels where the primary is now.
        self._is_direct = not Address.parse(url).sentinels
        self._idle: deque[_Link] = deque()

    def execute(self, command: Command[T]) -> tuple[T, bool]:
        """Execute a command; returns its reply, and whether it may have been executed before.

        Raises:
            RedisUnavailable: Redis cannot be reached.
            redis.exceptions.ResponseError: Redis refuses it.
        """
        if not self._is_direct:
            return self._redis.execute(command), True
        try:
            link = self._idle.pop() if self._idle else _Link(self._redis.connection())
            reply = link.ask(command.words)
            if isinstance(reply, exceptions.NoScriptError) and command.in_full is not None:
                reply = link.ask(command.in_full)
            if isinstance(reply, exceptions.ConnectionError):  # it is still starting
                raise reply
        except (exceptions.RedisError, OSError):
            self.close()  # the others lead to the same server
            return self._redis.execute(command), True
        self._idle.append(link)
        if isinstance(reply, Exception):
            raise reply
        return command.parse(reply), False

    def close(self) -> None:
        """Close the connections that nobody uses."""
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()


class _Link:
    def __init__(self, made: Any) -> None:
        made.connect()
        self._made = made
        self._socket: socket.socket = made._sock
        self._replies = Replies()

    def ask(self, words: Any) -> Any:
        """Send a command and read its reply; an error of the server's is one, too."""
        try:
            self._socket.sendall(pack(words))
            while True:
                data = self._socket.recv(1 << 16)
                if not data:
                    raise exceptions.ConnectionError("the server closed the connection")
                for reply in self._replies.feed(data):
                    return reply
        except BaseException:  # the reply may still be on its way
            self.close()
            raise

    def close(self) -> None:
        self._made.disconnect()
