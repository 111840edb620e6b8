"""The blocking client: executes what `heori_common.protocol` builds.

An uncontended lock is two commands, so that what a client does around each is most of its price:
while there is no trouble, a command is one write and one read, and little else.
"""

import math
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

from heori_common import clock
from heori_common.process_id import process_id
from heori_common.protocol.commands import Command
from heori_common.redis.address import Address
from heori_common.redis.connection import BlockingConnection
from heori_common.redis.dialer import Dialer
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_common.redis.retries import PATIENCE_S, Backoff, patience_for, words_in_full

T = TypeVar("T")
Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
Ask = Callable[[BlockingConnection, Asked], Answer]


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
        on_other_server: what is called when a server answers after a replica was left: whoever
            else is connected to that address should leave it, too.

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
        self._owner = process_id()
        self.on_other_server: Callable[[], None] | None = None
        self._has_left = False  # a replica
        weakref.finalize(self, _close_all, self._idle).atexit = False

    def execute(self, command: Command[T]) -> T:
        """Execute one command.

        Raises:
            RedisUnavailable: Redis cannot be reached.
            RedisRefused: it refuses the command; if for now only, after the client's patience.
        """
        return command.parse(self._persist(_ask, command)[0])

    def execute_and_tell(self, command: Command[T], at_most: float = math.inf) -> tuple[T, bool]:
        """As `execute`; returns also whether the command was sent more than once.

        Args:
            at_most: seconds for which it is sent again, where the client's patience is longer.
        """
        reply, repeated = self._persist(_ask, command, at_most)
        return command.parse(reply), repeated

    def execute_many(self, commands: Sequence[Command[T]]) -> list[T]:
        """Execute commands in one round trip, each on its own.

        Raises:
            RedisUnavailable: Redis cannot be reached.
            RedisRefused: it refuses one of them.
        """
        return _parsed(commands, self.ask_many(commands))

    def try_many(self, commands: Sequence[Command[T]], seconds: float) -> list[T]:
        """As `execute_many`, but once, whatever the patience.

        For commands that block: whoever calls goes by this machine's clock, and not the server's.

        Args:
            seconds: for which the server may say nothing; a connection that is made before, too.
        """

        def ask(connection: BlockingConnection, commands: Sequence[Command[T]]) -> list[Any]:
            return _ask_many(connection, commands, seconds)

        return _parsed(commands, self._once(ask, commands, seconds))

    def ask_many(self, commands: Sequence[Command[Any]]) -> list[Any]:
        """As `execute_many`; the replies are as they came, and refusals stand among them.

        Raises:
            RedisUnavailable: Redis cannot be reached.
        """
        replies: dict[int, Any] = {}

        def ask(connection: BlockingConnection, left: list[int]) -> RedisRefused | None:
            some = _ask_many(connection, [commands[number] for number in left])
            replies.update(zip(left, some, strict=True))
            # Each of the others was executed, or is refused for good.
            left[:] = [number for number in left if _is_passing(replies[number])]
            return replies[left[0]] if left else None

        try:
            self._persist(ask, list(range(len(commands))))
        except RedisRefused:
            if len(replies) < len(commands):  # there was no connection
                raise
        return [replies[number] for number in range(len(commands))]

    def close(self) -> None:
        """Close all connections that are not in use."""
        _close_all(self._idle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _persist(
        self, ask: Ask[Asked, Answer], asked: Asked, at_most: float = math.inf
    ) -> tuple[Answer, bool]:
        """The answer, and whether anything was sent more than once."""
        backoff = until = None
        while True:
            try:
                return self._once(ask, asked), backoff is not None
            except (RedisUnavailable, RedisRefused) as error:
                until = until or clock.now() + min(self._patience, at_most)
                if not error.is_passing or clock.now() >= until:
                    raise
            backoff = backoff or Backoff()
            time.sleep(backoff.pause())

    def _once(self, ask: Ask[Asked, Answer], asked: Asked, seconds: float | None = None) -> Answer:
        """The answer.

        Args:
            ask: returns a refusal in the answer's place, and raises what is wrong with the
                connection.
        """
        try:
            connection = self._connection(seconds)
            try:
                answer = ask(connection, asked)
            except BaseException:  # the reply may still be on its way
                connection.close()
                raise
            self._idle.append(connection)
            if isinstance(answer, Exception):
                raise answer
        except (RedisUnavailable, RedisRefused) as error:
            if error.needs_reconnect:
                self.close()  # the others lead to the same server
                self._has_left |= isinstance(error, RedisRefused) and error.is_passing
            raise
        if self._has_left:
            self._has_left = False
            if self.on_other_server is not None:
                self.on_other_server()
        return answer

    def _connection(self, seconds: float | None) -> BlockingConnection:
        if self._owner != process_id():  # a copy of the process must not speak for the other
            self._idle.clear()
            self._owner = process_id()
        try:
            connection = self._idle.pop()
            while self._follows and connection.has_moved:
                connection.close()
                connection = self._idle.pop()
        except IndexError:
            connection = BlockingConnection(self._dialer, seconds)
        return connection


def _ask(connection: BlockingConnection, command: Command[Any]) -> Any:
    reply = connection.ask(command.words, command.meanwhile)
    if isinstance(reply, Exception) and (in_full := words_in_full(command, reply)) is not None:
        return connection.ask(in_full)
    return reply


def _ask_many(
    connection: BlockingConnection, commands: Sequence[Command[Any]], seconds: float | None = None
) -> list[Any]:
    replies = connection.ask_many([command.words for command in commands], seconds)
    for number, reply in enumerate(replies):
        if (in_full := words_in_full(commands[number], reply)) is not None:
            replies[number] = connection.ask(in_full)
        if isinstance(replies[number], RedisUnavailable):
            raise replies[number]
    return replies


def _parsed(commands: Sequence[Command[T]], replies: Sequence[Any]) -> list[T]:
    refusal = next((reply for reply in replies if isinstance(reply, RedisRefused)), None)
    if refusal is not None:
        raise refusal
    return [command.parse(reply) for command, reply in zip(commands, replies, strict=True)]


def _is_passing(reply: object) -> bool:
    return isinstance(reply, RedisRefused) and reply.is_passing


def _close_all(connections: deque[BlockingConnection]) -> None:
    while connections:
        connections.pop().close()
