"""The connection on which Redis tells by itself: subscriptions, and client tracking.

Tracking: to read a key arms it, and the first write to it afterwards, whoever makes it, sends one
message. RESP3 allows that, subscriptions and commands on one connection, as messages that nobody
asked for have a type of their own, the push. (Redis documentation, "Client-side caching".)

`PushConnection` knows what is said, and does no I/O. `PushThread` keeps one in a thread of its own,
for programs that have no event loop, or many; `async_push` has the one of an event loop.
"""

import contextlib
import math
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from heori_common import clock
from heori_common.background import BackgroundThread, Bell
from heori_common.current_job import BLOCKED_AT_MOST_S
from heori_common.given_back import rlock_given_back
from heori_common.loggers import standard_logger
from heori_common.protocol.commands import Command
from heori_common.redis.address import Address
from heori_common.redis.conversation import Conversation, OnPush, OnReply, Transport, call_back
from heori_common.redis.dialed import Dialed
from heori_common.redis.dialer import Dialer
from heori_common.redis.errors import RedisRefused, RedisUnavailable, away
from heori_common.redis.resp import Word, pack
from heori_common.redis.retries import PATIENCE_S, QUIET_S, Backoff, patience_for, words_in_full

Words = tuple[Word, ...]

SOON_S = 0.01  # at least, until a thread looks again whether there is an answer

log = standard_logger(__name__)


class Reply(NamedTuple):
    """What has come of a call.

    Attributes:
        value: what was read; an error in its place, mostly RedisRefused or RedisUnavailable.
        repeated: whether it was sent more than once.
    """

    value: Any
    repeated: bool


Done = Callable[[Reply], None]
# Called when a connection is ready, with those words of its greeting that were refused.
OnReady = Callable[[Mapping[Words, RedisRefused]], None]


class _SentCommand:
    __slots__ = ("command", "data", "done", "patience", "repeated", "since")

    def __init__(self, command: Command[Any], done: Done, patience: float) -> None:
        self.command = command
        self.patience = patience
        # Here, where whoever asks is told that it cannot be encoded.
        self.data = pack(command.words)
        self.done = done
        self.since = clock.now()  # for how long it cannot be sent
        self.repeated = False

    def failed(self) -> None:
        if not self.repeated:
            self.repeated = True
            self.since = clock.now()


class PushConnection(Conversation):
    """What is said on a connection for pushes, and on the next one when it breaks.

    Args:
        greeting: commands that are sent on each new connection before all else, such as
            ``("SUBSCRIBE", channel)``.
        on_push: called with each message that nobody asked for.
        on_ready: called when the greeting was answered, each time: nobody knows what was missed.
        patience: for how long a call is sent again after it failed first, in seconds.
        backoff: the pauses before each new connection.

    Attributes:
        is_ready: whether all of the greeting was accepted, so that everything would be told.
    """

    def __init__(
        self,
        where: Address,
        greeting: Sequence[Words],
        on_push: OnPush,
        on_ready: OnReady,
        patience: float = PATIENCE_S,
        backoff: Backoff | None = None,
    ) -> None:
        super().__init__(where, on_push)
        self.is_ready = False
        self._greeting = greeting
        self._on_ready = on_ready
        self._patience = patience_for(where, patience)
        self._refused: dict[Words, RedisRefused] = {}
        self._unsent: list[_SentCommand] = []
        self._asked = 0.0  # clock.now() when the first was sent of what is not answered yet
        self._lock = rlock_given_back()  # a callback may call
        self._backoff = backoff or Backoff()
        self._is_refusing = False  # what was sent last
        self._why: Exception = away(where, "the connection was closed")

    @property
    def login_refused(self) -> RedisRefused | None:
        """Why there is no connection, when it is the login that the server does not take."""
        why = self._why
        if isinstance(why, RedisRefused) and not why.is_passing and not self.is_connected:
            return why
        return None

    def call(self, command: Command[Any], done: Done, at_most: float = math.inf) -> None:
        """Send a command, and again over the next connection when this one breaks.

        A refusal that passes ends the connection, so that there is a pause before the next attempt,
        and it goes to the server to which the address leads by then.

        Args:
            at_most: seconds for which it is sent again, where the patience is longer.

        Raises:
            ValueError: a word cannot be encoded; nothing is sent.
        """
        self._call(_SentCommand(command, done, min(self._patience, at_most)))

    def send(self, commands: Sequence[tuple[Iterable[Word], OnReply]]) -> None:
        """Send commands on this connection only.

        Raises:
            RedisUnavailable: there is none.
        """
        with self._lock:
            self._note_asking()
            super().send(commands)

    def start(self, transport: Transport) -> None:
        """Speak over a new connection."""
        with self._lock:
            self.begin(transport)
            self._refused = {}
            self.send([(words, partial(self._greeted, words)) for words in self._greeting])
            unsent, self._unsent = self._unsent, []
            for call in unsent:
                self._call(call)

    def check(self) -> None:
        """Ask whether a server that has said nothing for QUIET_S is there.

        Raises:
            RedisUnavailable: it was asked something so long ago, and does not answer.
        """
        with self._lock:
            if self.until_check() > 0:
                return
            if self._awaited:
                raise away(self.where, "it does not answer")
            self.send([(("PING",), _ignore)])

    def until_check(self) -> float:
        """In how many seconds to call `check`."""
        last = max(self.heard, self._asked) if self._awaited else self.heard
        return last + QUIET_S - clock.now()

    def end(self, why: Exception) -> None:
        """Disconnect, for this reason."""
        with self._lock:
            if self.is_connected:
                self._why = why
            self.is_ready = False
            awaited = self._let_go()
        for on_reply in awaited:  # not under the lock: callbacks may wait for locks of others
            call_back(on_reply, why)

    def expire(self, *, closing: bool = False) -> None:
        """Fail the calls whose time is over; the rest goes over the next connection.

        All of them fail when there will be none: on closing, or if the login is refused.
        """
        all_of_them = closing or self.login_refused is not None
        now = math.inf if all_of_them else clock.now()
        with self._lock:
            over = [call for call in self._unsent if call.since + call.patience <= now]
            self._unsent = [call for call in self._unsent if call.since + call.patience > now]
        for call in over:
            call_back(call.done, Reply(self._why, call.repeated))

    def _call(self, call: _SentCommand) -> None:
        with self._lock:
            transport = self._transport
            if transport is None:
                self._unsent.append(call)
                return
            try:
                self._note_asking()
                self._awaited.append(partial(self._answered, call))
                transport.write(call.data)
            except BaseException:
                # The thread was struck in between, say: it would wait for the reply to another's.
                transport.abort()
                raise

    def _note_asking(self) -> None:
        if not self._awaited:
            self._asked = clock.now()

    def _greeted(self, words: Words, reply: Any) -> None:
        if isinstance(reply, RedisUnavailable):
            return
        if isinstance(reply, RedisRefused):
            if reply.is_passing:
                self.refused_for_now(reply)
                return
            self._refused[words] = reply
        if words == self._greeting[-1]:
            if not self._is_refusing:
                self._backoff.reset()
            self.is_ready = not self._refused
            self._on_ready(self._refused)

    def _answered(self, call: _SentCommand, value: Any) -> None:
        if isinstance(value, RedisUnavailable):
            call.failed()
            self._call(call)
            return
        if isinstance(value, RedisRefused) and value.is_passing:
            call.failed()
            with self._lock:
                self._unsent.append(call)
            self.refused_for_now(value)
            return
        self._is_refusing = False
        if (in_full := words_in_full(call.command, value)) is not None:
            call.data = pack(in_full)
            self._call(call)
            return
        try:
            read = value if isinstance(value, Exception) else call.command.parse(value)
        except Exception as error:  # it belongs to whoever has asked
            read = error
        call.done(Reply(read, call.repeated))

    def refused_for_now(self, refusal: RedisRefused) -> None:
        """Make the connection anew, after a pause: the server does not take what was sent over it.

        For what `send` has sent, too.
        """
        self._is_refusing = True
        self.end(away(self.where, "the connection was closed, as it refuses for now"))
        self._why = refusal


class PushThread(PushConnection):
    """Kept by a thread of its own, which begins with the first use; callbacks are called in it.

    Safe to share between threads. What must not be lost when whoever asked for it goes away
    meanwhile is asked for here, and by whoever must not wait for a server that hangs. All of them
    depend on this thread, so nothing ends it: an error is told to the one whose it is, or ends the
    connection, and a new one is made.

    Args:
        name: of the thread.
    """

    def __init__(
        self,
        dialer: Dialer,
        name: str,
        greeting: Sequence[Words],
        on_push: OnPush,
        on_ready: OnReady,
        patience: float = PATIENCE_S,
    ) -> None:
        super().__init__(dialer.where, greeting, on_push, self._settled, patience)
        self._dialer = dialer
        self._name = name
        self._when_ready = on_ready
        self._greeting_is_over = False
        self._waiting: set[Bell] = set()  # for the greeting to be over
        self._thread = BackgroundThread(self._run, name)
        self._closed = threading.Event()

    def call(self, command: Command[Any], done: Done, at_most: float = math.inf) -> None:
        """As `PushConnection.call`."""
        self._thread.begin()
        super().call(command, done, at_most)

    def wait_until_greeted(self, timeout: float) -> None:
        """Connect, if need be, and wait until the greeting was answered, and `on_ready` called.

        Args:
            timeout: in seconds.

        Raises:
            RedisUnavailable, RedisRefused: there is no connection after that time, for this reason.
        """
        self._thread.begin()
        give_up = clock.now() + timeout
        bell = Bell()
        self._waiting.add(bell)
        try:
            while not self._greeting_is_over:
                left = give_up - clock.now()
                if left <= 0:
                    raise self._why
                bell.wait(min(left, BLOCKED_AT_MOST_S))
        finally:
            self._waiting.discard(bell)

    def close(self) -> None:
        """Disconnect, and wait for the thread's end."""
        self._closed.set()
        with self._lock:
            if self._transport is not None:
                self._transport.abort()
        self._thread.join()

    def end(self, why: Exception) -> None:
        """Disconnect, for this reason."""
        self._greeting_is_over = False
        super().end(why)

    def _settled(self, refused: Mapping[Words, RedisRefused]) -> None:
        try:
            self._when_ready(refused)
        finally:
            self._greeting_is_over = True
            for bell in self._waiting.copy():
                bell.ring()

    def _run(self) -> None:
        told = ""
        while not self._closed.is_set():
            try:
                self._talk(self._dialer.dial())
            except (RedisUnavailable, RedisRefused) as error:
                self._why = error
            except Exception as error:  # what nobody has foreseen; there may be many who wait
                self._why = away(self.where, f"{type(error).__name__}: {error}")
                if str(error) != told:
                    told = str(error)
                    log.exception("the connection of %s has failed; it is made anew", self._name)
            self.expire()
            self._closed.wait(self._backoff.pause())
        self.expire(closing=True)

    def _talk(self, dialed: Dialed) -> None:
        try:
            dialed.socket.settimeout(QUIET_S)
            self.start(_SocketTransport(dialed.socket))
            while self.is_connected and not self._closed.is_set():
                try:
                    data = dialed.socket.recv(1 << 16)
                except TimeoutError:
                    if self._dialer.has_moved(dialed):
                        break
                    self.check()
                    dialed.socket.settimeout(max(SOON_S, self.until_check()))
                except OSError as error:
                    raise away(self.where, error) from error
                else:
                    if not data:
                        raise away(self.where, "the server closed the connection")
                    self.data_received(data)
        finally:
            self.end(away(self.where, "the connection was closed"))
            dialed.hang_up()


class _SocketTransport:
    """What a thread reads from, and any writes to."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    def write(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError:  # a part may have been sent; the thread that reads hears of the end
            self.abort()

    def abort(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


def _ignore(_: object) -> None:
    """What came is of no interest, but that something came."""
