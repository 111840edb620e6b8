"""The one connection on which a process is told that it was handed a lock.

A thread of its own reads it, for all threads and event loops. What must not be lost when whoever
asked for it goes away meanwhile is also asked for here: by coroutines, as one that is cancelled
leaves nothing half-read behind, and by the renewer, which a server that hangs must not stop.
"""

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from redis import exceptions

from heori_common.locks.commands import Grant, read_grant
from heori_common.protocol.commands import Command
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisUnavailable
from heori_common.redis.wire import Push, Replies, pack

# A connection on which nothing has come for so long is asked whether it is still there, seconds.
QUIET = 3.0
RETRY = 0.2  # seconds, before connecting again
# For how long a command is sent again while the server is away, in seconds: who has waited for a
# lock for minutes shall not lose the place because the server is started anew.
PATIENCE = 5.0
TRIES = round(PATIENCE / RETRY)  # after so many connections that broke, a command fails


class Reply(NamedTuple):
    """What has come of a command.

    Attributes:
        value: what was read, or an exception.
        repeated: whether it was sent more than once.
    """

    value: Any
    repeated: bool


Done = Callable[[Reply], None]


class _Call:
    """A command on its way; safe to send again, as all commands of locks are."""

    __slots__ = ("command", "done", "tries", "words")

    def __init__(self, command: Command[Any], done: Done) -> None:
        self.command = command
        self.words = command.words
        self.done = done
        self.tries = 0


class Line:
    """Sends commands and hears of grants.

    Args:
        channel: on which grants are told.
        on_grant: called with each, in the line's thread.
        on_connect: called with each new connection, as nobody knows what was missed before.
    """

    def __init__(
        self,
        client: RedisClient,
        channel: str,
        on_grant: Callable[[Grant], None],
        on_connect: Callable[[], None],
    ) -> None:
        self._redis = client
        self._channel = channel
        self._on_grant = on_grant
        self._on_connect = on_connect
        self._calls: deque[_Call] = deque()
        self._lock = threading.RLock()  # a callback may call
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._listening = threading.Event()
        self._closed = threading.Event()

    @property
    def is_listening(self) -> bool:
        """Whether a grant would be heard."""
        return self._listening.is_set()

    def listen(self, timeout: float) -> None:
        """Connect, if need be, and wait until a grant would be heard.

        Raises:
            RedisUnavailable: that takes longer.
        """
        with self._lock:
            self._start()
        if not self._listening.wait(timeout):
            raise RedisUnavailable(f"Redis at {self._redis.address} is away")

    def call(self, command: Command[Any], done: Done) -> None:
        """Send a command; `done` is called with its reply in the line's thread.

        It is sent again when the connection breaks.
        """
        self._send(_Call(command, done))

    def close(self) -> None:
        """Disconnect, and wait for the thread's end."""
        self._closed.set()
        with self._lock:
            self._break()
        if self._thread is not None:
            self._thread.join()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="heori-locks-line", daemon=True)
            self._thread.start()

    def _send(self, call: _Call) -> None:
        with self._lock:
            self._calls.append(call)
            self._start()
            if self._socket is not None:
                try:
                    self._socket.sendall(pack(call.words))
                except OSError:  # a part may have been sent; all is sent again
                    self._break()

    def _break(self) -> None:
        """End the connection, so that the thread makes a new one."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket = None

    def _run(self) -> None:
        while not self._closed.is_set():
            connection: Any = self._redis.connection()
            error: Exception | None = None
            try:
                connection.connect()
                self._talk(connection._sock)
            except (exceptions.RedisError, OSError) as failure:
                error = failure
            finally:
                with self._lock:
                    self._socket = None
                    self._listening.clear()
                connection.disconnect()
            self._give_up(error)
            self._closed.wait(RETRY)

    def _talk(self, connected: socket.socket) -> None:
        connected.settimeout(QUIET)
        replies = Replies()
        with self._lock:
            words = [("SUBSCRIBE", self._channel), *(call.words for call in self._calls)]
            connected.sendall(b"".join(map(pack, words)))
            self._socket = connected
        asked = False
        while not self._closed.is_set():
            try:
                data = connected.recv(1 << 16)
            except TimeoutError:
                if asked:
                    raise
                asked = True
                self._send(_Call(Command(("PING",), bytes), lambda _: None))
                continue
            if not data:
                raise exceptions.ConnectionError("the server closed the connection")
            asked = False
            for reply in replies.feed(data):
                if isinstance(reply, Push):
                    self._hear(reply)
                else:
                    self._answer(reply)

    def _hear(self, push: list[Any]) -> None:
        match push:
            case [b"message", _, payload]:
                self._on_grant(read_grant(payload))
            case [b"subscribe", *_]:
                self._listening.set()
                self._on_connect()

    def _answer(self, reply: Any) -> None:
        if isinstance(reply, exceptions.ConnectionError):  # the server is still starting
            raise reply
        with self._lock:
            call = self._calls.popleft()
        if isinstance(reply, exceptions.NoScriptError) and call.command.in_full is not None:
            call.words = call.command.in_full
            self._send(call)
        elif isinstance(reply, Exception):
            call.done(Reply(reply, call.tries > 0))
        else:
            call.done(Reply(call.command.parse(reply), call.tries > 0))

    def _give_up(self, error: Exception | None) -> None:
        """Fail what has been tried too often; the rest goes over the next connection."""
        why = RedisUnavailable(f"Redis at {self._redis.address} is away: {error}")
        failed = []
        with self._lock:
            for call in self._calls:
                call.tries += 1
                if call.tries >= TRIES or self._closed.is_set():
                    failed.append(call)
            for call in failed:
                self._calls.remove(call)
        for call in failed:
            call.done(Reply(why, repeated=True))
