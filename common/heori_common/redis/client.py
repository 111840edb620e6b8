"""The blocking client: executes what `heori_common.protocol` builds.

An uncontended lock is two commands, so that what a client does around each is most of its price:
while there is no trouble, a command is one write and one read, and little else.
"""

import os
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

from heori_common import clock
from heori_common.protocol.commands import Command
from heori_common.redis.address import Address
from heori_common.redis.connection import BlockingConnection
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_common.redis.redis_py import Dialer
from heori_common.redis.retries import PATIENCE_S, Backoff, patience_for, words_in_full

T = TypeVar("T")
Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class RedisClient:
    """Executes commands and waits for the replies. Safe to share between threads.

    What it sends again, and for how long, says `heori_common.redis.retries`.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://`` or
            ``rediss+sentinel://``.
        patience: for how long a command is sent again when the server is away, in seconds; 0 for
            commands that must not be sent twice.

    Attributes:
        address: where it points, for people to read; without a password.

    Raises:
        ValueError: the URL is malformed.
    """

    def __init__(self, url: str, *, patience: float = PATIENCE_S) -> None:
        where = Address.parse(url)
        self.address = str(where)
        self._dialer = Dialer(where)
        self._follows = self._dialer.sentinels is not None
        self._patience = patience_for(where, patience)
        self._idle: deque[BlockingConnection] = deque()
        self._owner = os.getpid()
        weakref.finalize(self, _close_all, self._idle).atexit = False

    def execute(self, command: Command[T]) -> T:
        """Execute one command.

        Raises:
            RedisUnavailable: Redis cannot be reached.
            RedisRefused: it refuses the command.
        """
        return self.execute_and_tell(command)[0]

    def execute_and_tell(self, command: Command[T]) -> tuple[T, bool]:
        """As `execute`; returns also whether the command was sent more than once."""
        reply, repeated = self._persist(self._ask, command)
        return command.parse(reply), repeated

    def execute_many(self, commands: Sequence[Command[T]]) -> list[T]:
        """Execute commands in one round trip, each on its own.

        Raises:
            RedisUnavailable: Redis cannot be reached.
            RedisRefused: it refuses one of them.
        """
        replies = self.ask_many(commands)
        refusal = next((reply for reply in replies if isinstance(reply, RedisRefused)), None)
        if refusal is not None:
            raise refusal
        return [command.parse(reply) for command, reply in zip(commands, replies, strict=True)]

    def ask_many(self, commands: Sequence[Command[Any]]) -> list[Any]:
        """As `execute_many`; the replies are as they came, and refusals stand among them.

        Raises:
            RedisUnavailable: Redis cannot be reached.
        """
        return self._persist(self._ask_many, commands)[0]

    def close(self) -> None:
        """Close all connections that are not in use."""
        _close_all(self._idle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _persist(self, ask: Callable[[Asked], Answer], asked: Asked) -> tuple[Answer, bool]:
        """The answer, and whether anything was sent more than once."""
        began = clock.now()
        backoff = None
        while True:
            try:
                return ask(asked), backoff is not None
            except RedisUnavailable:
                if clock.now() - began >= self._patience:
                    raise
            self.close()  # the others lead to the same server
            backoff = backoff or Backoff()
            time.sleep(backoff.pause())

    def _ask(self, command: Command[Any]) -> Any:
        connection = self._connection()
        try:
            reply = connection.ask(command.words)
            if isinstance(reply, Exception):
                in_full = words_in_full(command, reply)
                reply = reply if in_full is None else connection.ask(in_full)
        except BaseException:  # the reply may still be on its way
            connection.close()
            raise
        self._idle.append(connection)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _ask_many(self, commands: Sequence[Command[Any]]) -> list[Any]:
        connection = self._connection()
        try:
            replies = connection.ask_many([command.words for command in commands])
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        for number, reply in enumerate(replies):
            if words_in_full(commands[number], reply) is not None:
                replies[number] = self._ask(commands[number])
            elif isinstance(reply, RedisUnavailable):
                raise reply
        return replies

    def _connection(self) -> BlockingConnection:
        if self._owner != os.getpid():  # a copy of the process must not speak for the other
            self._idle.clear()
            self._owner = os.getpid()
        try:
            connection = self._idle.pop()
            while self._follows and connection.has_moved:
                connection.close()
                connection = self._idle.pop()
        except IndexError:
            connection = BlockingConnection(self._dialer)
        return connection


def _close_all(connections: deque[BlockingConnection]) -> None:
    while connections:
        connections.pop().close()
