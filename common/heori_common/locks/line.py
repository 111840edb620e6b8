"""Connections on which a thread asks for a lock and hears itself that it was handed one.

A thread that waits for another one to hear of it costs two wake-ups at each change of hands, and
the lock is idle meanwhile. So the first threads of a process that wait have a connection each, and
listen on it. Where anything goes wrong with it they go on as all others do: the session's client
asks for them, and its thread for pushes wakes them.
"""

import itertools
import socket
import weakref
from collections import deque
from collections.abc import Iterable
from typing import Any, TypeVar

from heori_common.locks.commands import Grant, read_grant
from heori_common.protocol.commands import Command
from heori_common.redis.connection import BlockingConnection
from heori_common.redis.dialer import Dialer
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_common.redis.plain import kernel_time
from heori_common.redis.resp import Push, Word, pack
from heori_common.redis.retries import words_in_full

T = TypeVar("T")

_READS = socket.SOL_SOCKET, socket.SO_RCVTIMEO
MOST_LINES = 16  # of one process; each is a connection, which stays


class Line(BlockingConnection):
    """A connection that has subscribed to a channel of its own. For one thread at a time.

    Args:
        channel: on which its thread is told of a grant.
        seconds: for which the server may say nothing until it has subscribed.

    Raises:
        RedisUnavailable, RedisRefused: there is none to be had, or its user may not subscribe.
    """

    def __init__(self, dialer: Dialer, channel: str, seconds: float) -> None:
        super().__init__(dialer, seconds)
        self.channel = channel
        self._heard: deque[Grant] = deque()
        self._subscribed = False
        # How long its reads wait in the kernel; None where it has a timeout of Python's.
        self._usual: bytes | None = None
        if self._socket.gettimeout() is None:
            self._usual = self._socket.getsockopt(*_READS, len(kernel_time(seconds)))
        usual = self._socket.gettimeout()
        try:
            self._socket.settimeout(seconds)
            self._send(pack(("SUBSCRIBE", channel)))
            while not self._subscribed:
                for refusal in self._take_replies():
                    raise refusal
            self._socket.settimeout(usual)
        except (OSError, ValueError) as error:
            self.close()
            raise self._away(error) from error
        except BaseException:
            self.close()
            raise

    def execute(self, command: Command[T]) -> T:
        """Execute a command; what is heard meanwhile is kept.

        Raises:
            RedisUnavailable, RedisRefused: it was not, or nobody knows. Close it then.
        """
        reply = self._reply_to(command.words)
        if (in_full := words_in_full(command, reply)) is not None:
            reply = self._reply_to(in_full)
        if isinstance(reply, Exception):
            raise reply
        return command.parse(reply)

    def grant(self, seconds: float) -> Grant | None:
        """Wait for a grant, for so long at most.

        Raises:
            RedisUnavailable: the connection is lost. Close it then.
        """
        if not self._heard:
            try:
                self._take_replies_within(max(seconds, 0.001))
            except (TimeoutError, BlockingIOError):
                return None
            except (OSError, ValueError) as error:
                raise self._away(error) from error
        return self._heard.popleft() if self._heard else None

    def _take_replies_within(self, seconds: float) -> None:
        if self._usual is None:
            usual = self._socket.gettimeout()
            self._socket.settimeout(seconds)
            try:
                self._take_replies()
            finally:
                self._socket.settimeout(usual)
            return
        # Each call of the system that may block lets go of the GIL, which other threads then take
        # though this one has the lock. This way the read alone does.
        self._socket.setsockopt(*_READS, kernel_time(seconds))
        try:
            self._take_replies()
        finally:
            self._socket.setsockopt(*_READS, self._usual)

    def _reply_to(self, words: Iterable[Word]) -> Any:
        data = pack(words)
        try:
            self._send(data)
            while not (replies := self._take_replies()):
                pass
        except (OSError, ValueError) as error:
            raise self._away(error) from error
        return replies[0]

    def _take_replies(self) -> list[Any]:
        """What has come, but for what nobody asked for."""
        replies = []
        for came in self._receive():
            if type(came) is not Push:
                replies.append(came)
            elif came[0] == b"message":
                self._heard.append(read_grant(came[2]))
            else:
                self._subscribed = True
        return replies


class LinePool:
    """Those of one process to one server. Safe to share between threads.

    Args:
        channel: of the process; those of its lines begin with it.
    """

    def __init__(self, dialer: Dialer, channel: str) -> None:
        self._dialer = dialer
        self._channel = channel
        self._numbers = itertools.count()
        self._idle: deque[Line] = deque()
        self._all: weakref.WeakSet[Line] = weakref.WeakSet()
        self._is_refused = False

    def take(self) -> Line | None:
        """One that nobody uses; None where there is none."""
        if not self._idle:
            return None  # mostly; to be told so by an exception takes much longer
        try:
            while (line := self._idle.pop()).has_moved:
                line.close()
        except IndexError:
            return None
        return line

    @property
    def has_room(self) -> bool:
        """Whether one more may be tried."""
        return len(self._all) < MOST_LINES and not self._is_refused

    def open(self, seconds: float) -> Line | None:
        """One more, within so many seconds; None when it is not to be had."""
        channel = f"{self._channel}/{next(self._numbers)}"
        try:
            line = Line(self._dialer, channel, max(seconds, 0.001))
        except (RedisUnavailable, RedisRefused) as error:
            # The thread for pushes, which tries again and again, tells why.
            self._is_refused = isinstance(error, RedisRefused)
            return None
        self._all.add(line)
        return line

    def give_back(self, line: Line) -> None:
        """It is used no more."""
        self._idle.append(line)

    def close(self) -> None:
        """Disconnect all that nobody uses: one was lost, and they lead to the same server."""
        while (line := self.take()) is not None:
            line.close()
