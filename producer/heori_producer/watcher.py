"""Reads keys again whenever they are written: all that a process waits for, in one thread.

It uses client tracking. After a connection has read a key, the first write to that key, by any
client, sends one message to the connection; the key is then read again. So one connection waits for
thousands of results, and for room in queues, and nothing polls. (Redis documentation, "Client-side
caching", opt-out mode.)
"""

import contextlib
import itertools
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from heori_common.given_back import rlock_given_back
from heori_common.importing import import_apart
from heori_common.protocol.commands import Command
from heori_common.redis.conversation import OnReply
from heori_common.redis.errors import RedisRefused, RedisUnavailable, away
from heori_common.redis.push import PushConnection
from heori_common.redis.resp import Word
from heori_common.redis.retries import words_in_full

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

# Keys that are read in one go, at most; fewer while what they hold is large: the server keeps in
# memory all replies that are not sent yet, and may disconnect whoever has too many. Nobody knows
# before how large they are. So it begins with few, and reads twice as many each time.
MOST_READS = 250
FIRST_READS = 4
READ_BYTES = 1_000_000  # of their replies, about
# Seconds for which new watches are collected: one write to the socket for all costs less.
COLLECT_S = 0.001
# What it does on its event loop. A program that only sends needs none, and does without asyncio.
_LOOP = "heori_producer.watcher_loop"


class User(Protocol):
    """Whoever uses a watcher."""

    def look(self) -> None:
        """See to what no write tells; called in the watcher's thread every few seconds."""


class Watch:
    """One key that is watched until `stop` or `drop` is called.

    Attributes:
        command: what reads the key.
        on_reply: called with each reply.
    """

    def __init__(
        self, watcher: "Watcher", key: str, command: Command[Any], on_reply: OnReply
    ) -> None:
        self._watcher = watcher
        self.key = key.encode()
        self.command = command
        self.on_reply = on_reply
        self.stopped = False

    def stop(self) -> None:
        """End it: nothing is called back from now on."""
        self._watcher.forget(self)

    def drop(self) -> None:
        """As `stop`, for a finalizer, which must not wait for a lock."""
        self.stopped = True
        self._watcher.sweep_soon(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Watcher:
    """Watches keys, in a thread that starts with the first watch. Safe to share between threads.

    The thread ends when there is no user any more: it has none that is kept only by it.

    Args:
        url: as for `heori_common.redis.client.RedisClient`.

    Attributes:
        url: as given.
        connection: on which it watches, while it does.

    Raises:
        ValueError: the URL is malformed.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._users: set[weakref.ref[User]] = set()
        self.reset()

    def reset(self) -> None:
        """Begin anew, in a forked process: it has a copy of this, but no thread."""
        self._lock = rlock_given_back()
        self._dropped: deque[Watch] = deque()  # that are still to be forgotten
        self._watches: dict[bytes, list[Watch]] = {}
        self._due: deque[Watch] = deque()  # whose keys are to be read next
        self._reads = FIRST_READS  # at a time
        self._is_reading = False
        self._thread: threading.Thread | None = None
        self._ending: threading.Thread | None = None  # the one before, if it may still be there
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self.connection: PushConnection | None = None

    def watch(self, key: str, command: Command[T], on_reply: Callable[[Any], None]) -> Watch:
        """Read a key now, and again after each write to it, until the watch is stopped.

        Args:
            command: reads the key.
            on_reply: called in the watcher's thread with what was read, or with the RedisRefused
                that came in its place, unless that passes. It must not block.
        """
        made = Watch(self, key, command, on_reply)
        with self._lock:
            self._watches.setdefault(made.key, []).append(made)
            self._due.append(made)
            loop = self._start() if len(self._due) == 1 else None
        if loop is not None:
            loop.call_soon_threadsafe(loop.call_later, COLLECT_S, self._read_due)
        return made

    def forget(self, watch: Watch) -> None:
        """Stop a watch."""
        with self._lock:
            watch.stopped = True
            others = self._watches.get(watch.key, [])
            if watch in others:
                others.remove(watch)
                if not others:
                    del self._watches[watch.key]

    def sweep_soon(self, watch: Watch) -> None:
        """Forget a watch later, in the watcher's thread."""
        self._dropped.append(watch)
        self._call(self._sweep)

    def ask(self, command: Command[T], on_reply: Callable[[T], None]) -> None:
        """Execute a command once. Call it in the watcher's thread, from a callback.

        Args:
            on_reply: called with what was read; never, if Redis refuses or the connection breaks.
                In the end of that all keys are read again.
        """

        def reply(value: Any) -> None:
            in_full = words_in_full(command, value)
            if in_full is None:
                last(value)
            else:
                self._send([(_NOT_TRACKED, _ignore), (in_full, last)])

        def last(value: Any) -> None:
            if not isinstance(value, Exception):
                on_reply(command.parse(value))
            else:
                self._await_end_of(value)

        self._send([(_NOT_TRACKED, _ignore), (command.words, reply)])

    @property
    def is_used(self) -> bool:
        """Whether it has a user."""
        return any(user() is not None for user in list(self._users))

    def enter(self, user: User) -> None:
        """Be used by this until it leaves, or nobody has it any more."""
        with self._lock:
            self._users.add(weakref.ref(user, self._let_go))

    def leave(self, user: User) -> None:
        """Be no longer used by this; the last one waits for the end of the thread."""
        with self._lock:
            self._users.discard(weakref.ref(user))
            thread = None if self.is_used else self._end()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def connect_anew(self) -> None:
        """Leave the server, as another may be the primary at its address."""
        self._call(self._leave)

    def _let_go(self, user: "weakref.ref[User]") -> None:
        self._users.discard(user)
        self._call(self._end_if_unused)  # this is a finalizer, which must not wait for a lock

    def _call(self, call: Callable[[], object]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(call)

    def _start(self) -> "asyncio.AbstractEventLoop":
        if self._thread is None:
            self._thread, self._loop, self._main = import_apart(_LOOP).begin(self, self._ending)
        assert self._loop is not None
        return self._loop

    def _end(self) -> threading.Thread | None:
        """Have the thread end, if there is one; returns it."""
        self._watches.clear()
        self._due.clear()
        if self._thread is None or self._main is None:
            return None
        self._ending, self._thread = self._thread, None
        self._call(self._main.cancel)
        return self._ending

    # All that follows runs in the watcher's thread.

    def _end_if_unused(self) -> None:
        with self._lock:
            in_use = self.is_used or self._watches
            if not in_use and self._is_own_thread():
                self._end()

    def _is_own_thread(self) -> bool:
        return threading.current_thread() is self._thread

    def _sweep(self) -> None:
        while self._dropped:
            self.forget(self._dropped.popleft())

    def look(self) -> None:
        """Look for what Redis does not tell."""
        connection = self.connection
        if connection is None:
            return
        if (refused := connection.login_refused) is not None:
            self._refuse_all(refused)
        elif connection.is_connected:
            self._send([(("ROLE",), self._see_role)])
            if not connection.is_ready:  # Redis refuses to track: read all keys instead
                self.read_all()
            self._let_users_look()

    def _see_role(self, role: Any) -> None:
        match role:
            case [b"slave", *_]:  # and nothing may ever be told here any more
                self._leave()

    def _leave(self) -> None:
        if (connection := self.connection) is not None:
            connection.end(away(connection.where, "another server may be the primary"))

    # No variable of a coroutine that sleeps may hold on to a watch or a user.

    def _refuse_all(self, refused: RedisRefused) -> None:
        with self._lock:
            watches = self._all_watches()
        for watch in watches:
            self._reader(watch)(refused)

    def _let_users_look(self) -> None:
        for ref in list(self._users):
            if (user := ref()) is not None:
                user.look()
        self._end_if_unused()

    def pushed(self, push: list[Any]) -> None:
        """See what Redis tells by itself."""
        match push:
            case [b"invalidate", None]:  # everything is gone, by FLUSHALL
                self.read_all()
            case [b"invalidate", keys]:
                with self._lock:
                    written = [watch for key in keys for watch in self._watches.get(key, ())]
                    first = not self._due
                    self._due += written
                if first and written and self._loop is not None:
                    # Later, so that all messages that came together lead to one write.
                    self._loop.call_soon(self._read_due)

    def read_all(self) -> None:
        """Read all keys: nobody knows what was missed."""
        with self._lock:
            self._due = deque(self._all_watches())
        self._read_due()

    def _all_watches(self) -> list[Watch]:
        return list(itertools.chain.from_iterable(self._watches.values()))

    def _read_due(self) -> None:
        connection = self.connection
        if connection is None or not connection.is_connected:
            return  # once it is connected, all keys are read
        if self._is_reading:
            return  # once that has come, the next are read
        reads: list[tuple[Iterable[Word], OnReply]] = []
        with self._lock:
            while self._due and len(reads) < self._reads:
                watch = self._due.popleft()
                if not watch.stopped:
                    reads.append((watch.command.words, self._reader(watch)))
        if not reads:
            return
        self._is_reading = True
        before = connection.received
        words, last = reads[-1]

        def on_last(value: Any) -> None:
            mean = (connection.received - before) // len(reads)
            fitting = READ_BYTES // max(1, mean)
            if isinstance(value, RedisUnavailable):  # perhaps because it was too much
                fitting = len(reads) // 4
            self._reads = max(1, min(2 * self._reads, fitting, MOST_READS))
            self._is_reading = False
            last(value)
            self._read_due()

        self._send([*reads[:-1], (words, on_last)])

    def _send(self, commands: list[tuple[Iterable[Word], OnReply]]) -> None:
        connection = self.connection
        if connection is not None and connection.is_connected and commands:
            connection.send(commands)

    def _reader(self, watch: Watch) -> OnReply:
        def reply(value: Any) -> None:
            if self._await_end_of(value) or watch.stopped:
                return
            watch.on_reply(value if isinstance(value, Exception) else watch.command.parse(value))

        return reply

    def _await_end_of(self, value: Any) -> bool:
        """Whether this passes; then all keys are read again, after the next connect."""
        if isinstance(value, RedisRefused) and value.is_passing and self.connection is not None:
            self.connection.refused_for_now(value)
        return isinstance(value, RedisUnavailable | RedisRefused) and value.is_passing


# Sent before a command whose keys are not to be tracked.
_NOT_TRACKED = ("CLIENT", "CACHING", "NO")


def _ignore(_: object) -> None:
    pass
